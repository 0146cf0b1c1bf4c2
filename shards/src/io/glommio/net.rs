//! Sockets: glommio waits for readiness, plain system calls move the bytes.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, RawFd};
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use ::glommio::net::{TcpListener, TcpStream};
use bytes::{Buf, Bytes, BytesMut};
use futures_io::{AsyncRead, AsyncWrite};
use nix::sys::socket::{
    AddressFamily, Backlog, MsgFlags, Shutdown, SockFlag, SockType, SockaddrStorage, bind, listen,
    sendmsg, setsockopt, shutdown, socket, sockopt,
};

use super::{Executor, os_error};
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
    listener: TcpListener,
    address: SocketAddr,
}

/// One connection, shared by its two halves. A borrow lasts for one poll, and
/// reading and writing wait on different sources, so the halves don't meet.
struct Stream {
    tcp: RefCell<TcpStream>,
    descriptor: RawFd,
}

pub struct ReadHalf {
    stream: Rc<Stream>,
}

pub struct WriteHalf {
    stream: Rc<Stream>,
    executor: Rc<Executor>,
}

#[allow(unsafe_code)]
impl Executor {
    pub(in crate::io) fn listen(&self, address: SocketAddr) -> io::Result<Listener> {
        let family = match address {
            SocketAddr::V4(_) => AddressFamily::Inet,
            SocketAddr::V6(_) => AddressFamily::Inet6,
        };
        let socket = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
        // The first lets us have a port on which old connections of another program
        // linger; the second lets every shard listen on it.
        setsockopt(&socket, sockopt::ReuseAddr, &true)?;
        setsockopt(&socket, sockopt::ReusePort, &true)?;
        bind(socket.as_raw_fd(), &SockaddrStorage::from(address))?;
        listen(&socket, Backlog::new(BACKLOG)?)?;
        // SAFETY: an open listening socket that nobody else owns.
        let listener = unsafe { TcpListener::from_raw_fd(socket.into_raw_fd()) };
        let address = listener.local_addr().map_err(os_error)?;
        Ok(Listener { listener, address })
    }

    pub(in crate::io) async fn connect(
        self: &Rc<Self>,
        address: SocketAddr,
    ) -> io::Result<(ReadHalf, WriteHalf)> {
        let tcp = TcpStream::connect(address).await.map_err(os_error)?;
        self.halves(tcp)
    }

    pub(in crate::io) async fn accept(
        self: &Rc<Self>,
        listener: &Listener,
    ) -> io::Result<(ReadHalf, WriteHalf, SocketAddr)> {
        let tcp = match listener.listener.accept().await.map_err(os_error) {
            Ok(tcp) => tcp,
            Err(error) => {
                if is_exhaustion(&error) {
                    self.sleep(ACCEPT_PAUSE).await;
                }
                return Err(error);
            }
        };
        let peer = tcp.peer_addr().map_err(os_error)?;
        let (read, write) = self.halves(tcp)?;
        Ok((read, write, peer))
    }

    fn halves(self: &Rc<Self>, tcp: TcpStream) -> io::Result<(ReadHalf, WriteHalf)> {
        tcp.set_nodelay(true).map_err(os_error)?;
        let descriptor = tcp.as_raw_fd();
        let stream = Rc::new(Stream {
            tcp: RefCell::new(tcp),
            descriptor,
        });
        let read = ReadHalf {
            stream: Rc::clone(&stream),
        };
        let write = WriteHalf {
            stream,
            executor: Rc::clone(self),
        };
        Ok((read, write))
    }
}

impl Listener {
    pub(in crate::io) fn local_addr(&self) -> SocketAddr {
        self.address
    }
}

#[allow(unsafe_code)]
impl ReadHalf {
    pub(in crate::io) async fn read(
        &mut self,
        buffer: &mut BytesMut,
        room: usize,
    ) -> io::Result<usize> {
        loop {
            let received = poll_fn(|cx| {
                buffer.reserve(room);
                let spare = buffer.spare_capacity_mut();
                // SAFETY: glommio hands the slice to recv(2) and never reads from it, so
                // that the bytes need not be initialised, let alone zeroed for each read.
                let spare = unsafe {
                    std::slice::from_raw_parts_mut(spare.as_mut_ptr().cast::<u8>(), spare.len())
                };
                let polled = Pin::new(&mut *self.stream.tcp.borrow_mut()).poll_read(cx, spare);
                if polled.is_pending() && buffer.is_empty() {
                    // Nothing is written to the room once the call has returned.
                    *buffer = BytesMut::new();
                }
                polled
            })
            .await;
            match received {
                Ok(received) => {
                    // SAFETY: the kernel has written that many bytes of the spare capacity.
                    unsafe { buffer.set_len(buffer.len() + received) };
                    return Ok(received);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Asks to be woken only once `bytes` are there, or the end or an error is.
    pub(in crate::io) fn set_low_water(&mut self, bytes: usize) -> io::Result<()> {
        let value = libc::c_int::try_from(bytes.max(1)).unwrap_or(libc::c_int::MAX);
        // SAFETY: the descriptor is open as long as `stream` is, and the option's value
        // is an int that outlives the call.
        let outcome = unsafe {
            libc::setsockopt(
                self.stream.descriptor,
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
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let sent = self.wait_and_send_first(slices).await?;
                    advance(slices, sent);
                    0
                }
                Err(error) => return Err(error),
            };
            if burst >= WRITE_BURST && !slices.is_empty() {
                burst = 0;
                self.executor.yield_now().await;
            }
        }
        Ok(())
    }

    pub(in crate::io) fn try_write(&mut self, slices: &mut VecDeque<Bytes>) -> io::Result<bool> {
        while !slices.is_empty() {
            match self.send(slices) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Gives the socket what it takes of the first slices, without waiting, and
    /// removes that from them.
    fn send(&mut self, slices: &mut VecDeque<Bytes>) -> io::Result<usize> {
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
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        loop {
            match sendmsg::<()>(self.stream.descriptor, &vectors[..count], &[], flags, None) {
                Ok(sent) => {
                    advance(slices, sent);
                    return Ok(sent);
                }
                Err(nix::errno::Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// Waits until the socket takes more and gives it some of the first slice:
    /// glommio has no way to wait alone.
    async fn wait_and_send_first(&mut self, slices: &VecDeque<Bytes>) -> io::Result<usize> {
        let Some(first) = slices.front() else {
            return Ok(0);
        };
        loop {
            let sent =
                poll_fn(|cx| Pin::new(&mut *self.stream.tcp.borrow_mut()).poll_write(cx, first))
                    .await;
            match sent {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                sent => return sent,
            }
        }
    }

    /// Ends this direction; the peer reads the end once it has read the rest.
    pub(in crate::io) fn shutdown(&mut self) -> io::Result<()> {
        Ok(shutdown(self.stream.descriptor, Shutdown::Write)?)
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
