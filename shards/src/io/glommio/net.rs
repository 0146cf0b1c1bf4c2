//! Sockets: the poller waits for readiness, plain system calls move the bytes.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, Backlog, MsgFlags, SockFlag, SockType, SockaddrStorage, bind, connect, listen,
    sendmsg, setsockopt, socket, sockopt,
};

use super::Executor;
use super::poller::Watched;
use crate::io::is_exhaustion;

/// How many slices one system call takes.
const SLICES_MAX: usize = 64;

/// Connections that may wait to be accepted; the kernel lowers it to its own limit.
const BACKLOG: i32 = 1024;

/// How long accepting rests when descriptors or memory have run out. The
/// connection stays in the queue, so trying again at once would spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// After how many bytes that went out without waiting the others get their turn.
const WRITE_BURST: usize = 1 << 20;

pub struct Listener {
    watched: Watched,
    socket: TcpListener,
    address: SocketAddr,
}

/// One connection, shared by its two halves.
struct Stream {
    watched: Watched,
    socket: TcpStream,
}

pub struct ReadHalf {
    stream: Rc<Stream>,
}

pub struct WriteHalf {
    stream: Rc<Stream>,
    executor: Rc<Executor>,
}

fn stream_socket(address: SocketAddr) -> io::Result<OwnedFd> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::Inet,
        SocketAddr::V6(_) => AddressFamily::Inet6,
    };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    Ok(socket(family, SockType::Stream, flags, None)?)
}

impl Executor {
    pub(in crate::io) fn listen(&self, address: SocketAddr) -> io::Result<Listener> {
        let socket = stream_socket(address)?;
        // The first lets us have a port on which old connections of another program
        // linger; the second lets every shard listen on it.
        setsockopt(&socket, sockopt::ReuseAddr, &true)?;
        setsockopt(&socket, sockopt::ReusePort, &true)?;
        bind(socket.as_raw_fd(), &SockaddrStorage::from(address))?;
        listen(&socket, Backlog::new(BACKLOG)?)?;
        let socket = TcpListener::from(socket);
        Ok(Listener {
            watched: self.poller.watch(socket.as_fd())?,
            address: socket.local_addr()?,
            socket,
        })
    }

    pub(in crate::io) async fn connect(
        self: &Rc<Self>,
        address: SocketAddr,
    ) -> io::Result<(ReadHalf, WriteHalf)> {
        let socket = stream_socket(address)?;
        match connect(socket.as_raw_fd(), &SockaddrStorage::from(address)) {
            Ok(()) | Err(Errno::EINPROGRESS) => {}
            Err(errno) => return Err(errno.into()),
        }
        let stream = self.stream(TcpStream::from(socket))?;
        // A socket that is on its way is not writable, which is not known yet.
        stream.watched.found_full();
        poll_fn(|cx| stream.watched.poll_writable(cx)).await;
        match stream.socket.take_error()? {
            Some(error) => Err(error),
            None => Ok(self.halves(stream)),
        }
    }

    pub(in crate::io) async fn accept(
        self: &Rc<Self>,
        listener: &Listener,
    ) -> io::Result<(ReadHalf, WriteHalf, SocketAddr)> {
        let accepted = poll_fn(|cx| listener.poll_accept(cx)).await;
        let accepted = accepted.and_then(|(socket, peer)| Ok((self.stream(socket)?, peer)));
        match accepted {
            Ok((stream, peer)) => {
                let (read, write) = self.halves(stream);
                Ok((read, write, peer))
            }
            Err(error) => {
                if is_exhaustion(&error) {
                    self.sleep(ACCEPT_PAUSE).await;
                }
                Err(error)
            }
        }
    }

    /// Each read and write says itself that it does not wait.
    fn stream(&self, socket: TcpStream) -> io::Result<Stream> {
        socket.set_nodelay(true)?;
        Ok(Stream {
            watched: self.poller.watch(socket.as_fd())?,
            socket,
        })
    }

    fn halves(self: &Rc<Self>, stream: Stream) -> (ReadHalf, WriteHalf) {
        let stream = Rc::new(stream);
        let read = ReadHalf {
            stream: Rc::clone(&stream),
        };
        let write = WriteHalf {
            stream,
            executor: Rc::clone(self),
        };
        (read, write)
    }
}

impl Listener {
    pub(in crate::io) fn local_addr(&self) -> SocketAddr {
        self.address
    }

    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(TcpStream, SocketAddr)>> {
        loop {
            ready!(self.watched.poll_readable(cx));
            match self.socket.accept() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.watched.found_empty();
                }
                accepted => return Poll::Ready(accepted),
            }
        }
    }
}

impl ReadHalf {
    pub(in crate::io) async fn read(
        &mut self,
        buffer: &mut BytesMut,
        room: usize,
    ) -> io::Result<usize> {
        poll_fn(|cx| self.poll_read(cx, buffer, room)).await
    }

    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut BytesMut,
        room: usize,
    ) -> Poll<io::Result<usize>> {
        let watched = &self.stream.watched;
        loop {
            if watched.poll_readable(cx).is_pending() {
                if buffer.is_empty() {
                    *buffer = BytesMut::new();
                }
                return Poll::Pending;
            }
            buffer.reserve(room);
            match self.receive(buffer) {
                Ok(received) => {
                    if buffer.len() < buffer.capacity() {
                        watched.read_less();
                    }
                    return Poll::Ready(Ok(received));
                }
                Err(Errno::EAGAIN) => watched.found_empty(),
                Err(Errno::EINTR) => {}
                Err(errno) => return Poll::Ready(Err(errno.into())),
            }
        }
    }

    /// Receives into the spare capacity, which need not be initialised, let alone zeroed each time.
    #[allow(unsafe_code)]
    fn receive(&self, buffer: &mut BytesMut) -> Result<usize, Errno> {
        let spare = buffer.spare_capacity_mut();
        // SAFETY: the socket is open, and the kernel writes at most as many bytes as there is room.
        let received = unsafe {
            libc::recv(
                self.stream.socket.as_raw_fd(),
                spare.as_mut_ptr().cast(),
                spare.len(),
                libc::MSG_DONTWAIT,
            )
        };
        let received = Errno::result(received)? as usize;
        // SAFETY: the kernel has written that many bytes of the spare capacity.
        unsafe { buffer.set_len(buffer.len() + received) };
        Ok(received)
    }

    /// Asks to be woken only once `bytes` are there, or the end or an error is.
    #[allow(unsafe_code)]
    pub(in crate::io) fn set_low_water(&mut self, bytes: usize) -> io::Result<()> {
        let value = libc::c_int::try_from(bytes.max(1)).unwrap_or(libc::c_int::MAX);
        // SAFETY: the descriptor is open as long as `stream` is, and the option's value
        // is an int that outlives the call.
        let outcome = unsafe {
            libc::setsockopt(
                self.stream.socket.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_RCVLOWAT,
                (&raw const value).cast(),
                size_of::<libc::c_int>() as libc::socklen_t,
            )
        };
        if outcome == 0 {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    }
}

impl WriteHalf {
    pub(in crate::io) async fn write(&mut self, slices: &mut VecDeque<Bytes>) -> io::Result<()> {
        let mut burst = 0;
        while !slices.is_empty() {
            burst += match self.send(slices) {
                Ok(sent) => sent,
                Err(Errno::EAGAIN) => {
                    self.stream.watched.found_full();
                    poll_fn(|cx| self.stream.watched.poll_writable(cx)).await;
                    0
                }
                Err(errno) => return Err(errno.into()),
            };
            if burst >= WRITE_BURST && !slices.is_empty() {
                burst = 0;
                self.executor.yield_now().await;
            }
        }
        Ok(())
    }

    /// Gives the socket what it takes of the first slices, without waiting, and
    /// removes that from them.
    fn send(&mut self, slices: &mut VecDeque<Bytes>) -> Result<usize, Errno> {
        while slices.front().is_some_and(Bytes::is_empty) {
            slices.pop_front();
        }
        let mut vectors = [IoSlice::new(&[]); SLICES_MAX];
        let count = slices.len().min(SLICES_MAX);
        for (vector, slice) in vectors.iter_mut().zip(slices.iter()) {
            *vector = IoSlice::new(slice);
        }
        if count == 0 {
            return Ok(0);
        }
        let socket = self.stream.socket.as_raw_fd();
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        loop {
            match sendmsg::<()>(socket, &vectors[..count], &[], flags, None) {
                Ok(sent) => {
                    advance(slices, sent);
                    return Ok(sent);
                }
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno),
            }
        }
    }

    /// Ends this direction; the peer reads the end once it has read the rest.
    pub(in crate::io) fn shutdown(&mut self) -> io::Result<()> {
        self.stream.socket.shutdown(Shutdown::Write)
    }
}

/// Drops the first `sent` bytes.
fn advance(slices: &mut VecDeque<Bytes>, mut sent: usize) {
    while let Some(first) = slices.front_mut() {
        if sent < first.len() {
            first.advance(sent);
            return;
        }
        sent -= first.len();
        slices.pop_front();
    }
    assert_eq!(sent, 0, "more was sent than there was");
}
