//! On real files and loopback sockets.

use std::cell::Cell;
use std::collections::VecDeque;
use std::future::Future;
use std::io::{ErrorKind, Write};
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::pin::pin;
use std::rc::Rc;
use std::sync::mpsc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use nix::sys::socket::{MsgFlags, send};

use crate::io::futures::poll_once;
use crate::io::{BLOCK, Io, OpenMode, Stop, lane};
use crate::runtime::{StartError, check_io_uring, cores, run_shards};

/// Runs `test` as a shard of its own, in an empty directory.
fn on_a_shard<F: Future<Output = ()> + 'static>(
    test: impl Fn(Io, Rc<Path>) -> F + Clone + Send + 'static,
) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().to_owned();
    let core = cores().expect("the affinity")[0];
    let (done, finished) = mpsc::channel();
    run_shards(&[core], move |io, _| {
        let test = test(io, Rc::from(path.as_path()));
        let done = done.clone();
        async move {
            test.await;
            done.send(()).expect("somebody waits");
        }
    })
    .expect("a shard");
    finished.recv().expect("the test came to its end");
}

fn loopback() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

/// Has a call of this thread refused from now on, as a container's profile does.
#[allow(unsafe_code)]
fn forbid(call: libc::c_long) {
    let step = |code: u32, jf: u8, k: u32| libc::sock_filter {
        code: code as u16,
        jt: 0,
        jf,
        k,
    };
    let answer = |k| step(libc::BPF_RET | libc::BPF_K, 0, k);
    // The call's number is what the filter is given first.
    let mut filter = [
        step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0),
        step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 1, call as u32),
        answer(libc::SECCOMP_RET_ERRNO | libc::EPERM as u32),
        answer(libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog {
        len: filter.len() as u16,
        filter: filter.as_mut_ptr(),
    };
    // SAFETY: the program and its filter outlive the call, which copies them.
    let outcomes = unsafe {
        [
            libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0),
            libc::prctl(
                libc::PR_SET_SECCOMP,
                libc::SECCOMP_MODE_FILTER,
                &raw const program,
            ),
        ]
    };
    assert_eq!(outcomes, [0, 0]);
}

#[test]
fn each_call_that_may_be_forbidden_is_found_to_be() {
    let calls = [
        libc::SYS_io_uring_setup,
        libc::SYS_io_uring_enter,
        libc::SYS_io_uring_register,
        libc::SYS_epoll_pwait2,
    ];
    for call in calls {
        let probed = std::thread::spawn(move || {
            forbid(call);
            check_io_uring()
        });
        let outcome = probed.join().expect("no panic");
        assert!(
            matches!(outcome, Err(StartError::IoUringForbidden)),
            "call {call}: {outcome:?}"
        );
    }
}

#[test]
fn files_keep_what_is_written() {
    on_a_shard(|io, directory| async move {
        let path = directory.join("file");
        let file = io.open(&path, OpenMode::CREATE).await.unwrap();
        assert!(file.read_at(0, BLOCK).await.unwrap().is_empty());

        let mut buffer = io.buffer(3 * BLOCK - 5);
        assert_eq!(buffer.len(), 3 * BLOCK);
        assert!(buffer.iter().all(|&byte| byte == 0));
        assert_eq!(buffer.as_ptr() as usize % BLOCK, 0);
        buffer[..5].copy_from_slice(b"first");
        buffer[2 * BLOCK] = 7;
        let (result, buffer) = file.write_at(buffer, BLOCK, 0).await;
        result.unwrap();
        // A part was written, the whole comes back.
        assert_eq!(buffer.len(), 3 * BLOCK);
        assert_eq!(buffer[2 * BLOCK], 7);
        let (result, _) = file.write_at(buffer, 3 * BLOCK, BLOCK as u64).await;
        result.unwrap();
        file.sync().await.unwrap();
        assert_eq!(io.file_len(&path).await.unwrap(), 4 * BLOCK as u64);

        let mut read = file.read_at(BLOCK as u64, 8 * BLOCK).await.unwrap();
        assert_eq!(read.len(), 3 * BLOCK);
        assert_eq!((&read[..5], read[2 * BLOCK]), (&b"first"[..], 7));
        read[0] = b'F';
        let (result, _) = file.write_at(read, BLOCK, 0).await;
        result.unwrap();
        assert_eq!(&file.read_at(0, BLOCK).await.unwrap()[..5], b"First");

        file.truncate(100).await.unwrap();
        assert_eq!(file.read_at(0, BLOCK).await.unwrap().len(), 100);
        file.allocate(8 * BLOCK as u64).await.unwrap();
        assert_eq!(io.file_len(&path).await.unwrap(), 100);
        file.close().await.unwrap();
    });
}

#[test]
fn unaligned_access_is_refused() {
    on_a_shard(|io, directory| async move {
        let mode = OpenMode {
            sync_on_write: true,
            ..OpenMode::CREATE
        };
        let file = io.open(&directory.join("file"), mode).await.unwrap();
        let (result, buffer) = file.write_at(io.buffer(BLOCK), 100, 0).await;
        assert_eq!(result.unwrap_err().kind(), ErrorKind::InvalidInput);
        let (result, buffer) = file.write_at(buffer, BLOCK, 512).await;
        assert_eq!(result.unwrap_err().kind(), ErrorKind::InvalidInput);
        let (result, _) = file.write_at(buffer, BLOCK, 0).await;
        result.unwrap();
        let read = file.read_at(1, BLOCK).await;
        assert_eq!(read.err().unwrap().kind(), ErrorKind::InvalidInput);
    });
}

#[test]
fn paths_can_be_worked_with() {
    on_a_shard(|io, directory| async move {
        let nested = directory.join("a/b");
        io.create_dir_all(&nested).await.unwrap();
        io.write_small(&nested.join("small"), b"content")
            .await
            .unwrap();
        io.write_small(&nested.join("small"), b"other")
            .await
            .unwrap();
        assert_eq!(
            io.read_small(&nested.join("small")).await.unwrap(),
            b"other"
        );
        io.rename(&nested.join("small"), &nested.join("z"))
            .await
            .unwrap();
        io.create_dir_all(&nested.join("c")).await.unwrap();
        io.sync_dir(&nested).await.unwrap();
        let listed = io.list_dir(&nested).await.unwrap();
        let listed: Vec<_> = listed.iter().map(|e| (e.name.as_str(), e.is_dir)).collect();
        assert_eq!(listed, [("c", true), ("z", false)]);
        assert_eq!(io.file_len(&nested.join("z")).await.unwrap(), 5);

        let linked = directory.join("linked");
        io.create_dir_all(&linked).await.unwrap();
        for (to, name) in [("a/b/c", "dir"), ("a/b/z", "file"), ("gone", "nothing")] {
            std::os::unix::fs::symlink(directory.join(to), linked.join(name)).unwrap();
        }
        let listed = io.list_dir(&linked).await.unwrap();
        let listed: Vec<_> = listed.iter().map(|e| (e.name.as_str(), e.is_dir)).collect();
        // One that leads nowhere may have led to a directory that will be back.
        assert_eq!(listed, [("dir", true), ("file", false), ("nothing", true)]);
        // One that leads to itself keeps nobody from the others.
        std::os::unix::fs::symlink(linked.join("loop"), linked.join("loop")).unwrap();
        let listed = io.list_dir(&linked).await.unwrap();
        let listed: Vec<_> = listed.iter().map(|e| (e.name.as_str(), e.is_dir)).collect();
        let unknown = [("loop", true), ("nothing", true)];
        assert_eq!(listed, [[("dir", true), ("file", false)], unknown].concat());

        // Of a link to a directory the link goes, and of one to a file nothing.
        let not_a_dir = io.remove_dir(&nested.join("z")).await;
        assert_eq!(not_a_dir.unwrap_err().kind(), ErrorKind::NotADirectory);
        io.remove_dir(&linked.join("dir")).await.unwrap();
        assert!(!linked.join("dir").exists() && nested.join("c").is_dir());

        let not_empty = io.remove_dir(&directory.join("a")).await;
        assert_eq!(not_empty.unwrap_err().kind(), ErrorKind::DirectoryNotEmpty);
        io.remove_file(&nested.join("z")).await.unwrap();
        let gone = io.open(&nested.join("z"), OpenMode::READ).await;
        assert_eq!(gone.err().unwrap().kind(), ErrorKind::NotFound);
        let space = io.free_space(&directory).await.unwrap();
        assert!(space.available > 0 && space.available <= space.total);
    });
}

#[test]
fn a_large_file_is_removed_in_steps() {
    on_a_shard(|io, directory| async move {
        let path = directory.join("large");
        let file = io.open(&path, OpenMode::CREATE).await.unwrap();
        file.truncate(100 << 20).await.unwrap();
        drop(file);
        io.remove_file(&path).await.unwrap();
        let gone = io.file_len(&path).await;
        assert_eq!(gone.unwrap_err().kind(), ErrorKind::NotFound);
    });
}

#[test]
fn connections_carry_bytes_both_ways_at_once() {
    const TOTAL: usize = 8 << 20;
    on_a_shard(|io, _| async move {
        let listener = io.listen(loopback()).unwrap();
        let address = listener.local_addr();
        let accepting = io.clone();
        io.spawn("accept", async move {
            let (mut read, mut write, peer) = listener.accept().await.unwrap();
            assert!(peer.ip().is_loopback());
            // An echo that reads with one task and writes with another.
            let (sender, receiver) = lane::<Bytes>(1024);
            let (sender, receiver) = (sender.connect(&accepting), receiver.connect(&accepting));
            let (to_write, mut to_send) = (sender.await, receiver.await);
            accepting.spawn("echo", async move {
                while let Some(bytes) = to_send.recv().await {
                    let mut slices = VecDeque::from([bytes]);
                    while let Some(more) = to_send.try_recv() {
                        slices.push_back(more);
                    }
                    write.write(&mut slices).await.unwrap();
                    assert!(slices.is_empty());
                }
                write.shutdown().unwrap();
            });
            loop {
                let mut buffer = BytesMut::new();
                if read.read(&mut buffer, 64 << 10).await.unwrap() == 0 {
                    break;
                }
                let mut bytes = buffer.freeze();
                while let Err(back) = to_write.try_send(bytes) {
                    bytes = back;
                    accepting.yield_now().await;
                }
            }
        });
        let (mut read, mut write) = io.connect(address).await.unwrap();
        io.spawn("send", async move {
            let mut slices: VecDeque<Bytes> = (0..TOTAL / 1024)
                .map(|i| Bytes::from(vec![i as u8; 1024]))
                .collect();
            write.write(&mut slices).await.unwrap();
            write.shutdown().unwrap();
        });
        read.set_low_water(100_000).unwrap();
        let mut received = BytesMut::with_capacity(TOTAL + 1);
        loop {
            if TOTAL - received.len() < 100_000 {
                read.set_low_water(1).unwrap();
            }
            if read.read(&mut received, 1).await.unwrap() == 0 {
                break;
            }
        }
        assert_eq!(received.len(), TOTAL);
        let intact = received
            .chunks(1024)
            .enumerate()
            .all(|(i, chunk)| chunk.iter().all(|&byte| byte == i as u8));
        assert!(intact);
    });
}

#[test]
fn dropped_halves_close_the_connection() {
    on_a_shard(|io, _| async move {
        let listener = io.listen(loopback()).unwrap();
        let address = listener.local_addr();
        let client = std::thread::spawn(move || {
            use std::io::{Read, Write};
            let mut client = std::net::TcpStream::connect(address).unwrap();
            client.write_all(b"hello").unwrap();
            client
                .set_read_timeout(Some(Duration::from_secs(10)))
                .unwrap();
            client.read(&mut [0; 10]).unwrap()
        });
        let (mut read, write, _) = listener.accept().await.unwrap();
        let mut buffer = BytesMut::new();
        assert_eq!(read.read(&mut buffer, 4096).await.unwrap(), 5);
        drop((read, write));
        while !client.is_finished() {
            io.sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(client.join().unwrap(), 0);
    });
}

#[test]
fn dropped_files_are_closed() {
    on_a_shard(|io, directory| async move {
        let path = directory.join("file");
        drop(io.open(&path, OpenMode::CREATE).await.unwrap());
        for _ in 0..500 {
            drop(io.open(&path, OpenMode::READ).await.unwrap());
        }
        until_closed(&io, &path).await;
    });
}

#[test]
fn what_nobody_waits_for_any_more_goes_on_and_leaves_nothing() {
    on_a_shard(|io, directory| async move {
        let path = directory.join("file");
        let file = io.open(&path, OpenMode::CREATE).await.unwrap();
        let mut blocks = io.buffer(2 * BLOCK);
        blocks.fill(7);
        file.write_at(blocks, 2 * BLOCK, 0).await.0.unwrap();
        for _ in 0..100 {
            assert!(
                poll_once(pin!(io.open(&path, OpenMode::READ)))
                    .await
                    .is_none()
            );
            assert!(poll_once(pin!(file.read_at(0, BLOCK))).await.is_none());
            let mut again = io.buffer(BLOCK);
            again.fill(7);
            assert!(
                poll_once(pin!(file.write_at(again, BLOCK, BLOCK as u64)))
                    .await
                    .is_none()
            );
        }
        let read = file.read_at(0, 2 * BLOCK).await.unwrap();
        assert!(read.iter().all(|byte| *byte == 7));
        drop(file);
        until_closed(&io, &path).await;
    });
}

/// Waits until no descriptor of this process is of that file.
async fn until_closed(io: &Io, path: &Path) {
    let is_of_it =
        |entry: std::fs::DirEntry| std::fs::read_link(entry.path()).is_ok_and(|name| name == path);
    let is_open = || {
        let mut descriptors = std::fs::read_dir("/proc/self/fd").unwrap();
        descriptors.any(|entry| entry.is_ok_and(is_of_it))
    };
    let deadline = io.now() + Duration::from_secs(10);
    while is_open() {
        assert!(io.now() < deadline, "it stays open");
        io.sleep(Duration::from_millis(1)).await;
    }
}

#[test]
fn tasks_run_after_their_spawner_and_can_be_cancelled() {
    on_a_shard(|io, _| async move {
        let ran = Rc::new(Cell::new(0));
        let counter = Rc::clone(&ran);
        let task = io.spawn("count", async move { counter.set(counter.get() + 1) });
        assert_eq!(ran.get(), 0);
        task.await;
        assert_eq!(ran.get(), 1);

        let sleeping = Rc::clone(&ran);
        let sleeper = io.clone();
        let task = io.spawn("sleep", async move {
            sleeper.sleep(Duration::from_secs(3600)).await;
            drop(sleeping);
        });
        io.yield_now().await;
        assert_eq!(Rc::strong_count(&ran), 2);
        task.cancel();
        task.await;
        assert_eq!(Rc::strong_count(&ran), 1);

        io.spawn_guarded("panic", async { panic!("on purpose") })
            .await;
    });
}

#[test]
fn time_passes_and_yielding_lets_timers_fire() {
    on_a_shard(|io, _| async move {
        let start = io.now();
        io.sleep(Duration::from_millis(5)).await;
        assert!(io.now() - start >= Duration::from_millis(5));
        assert!(io.wall_ms() > 1_600_000_000_000);
        assert_ne!(io.random_u64(), io.random_u64());

        let fired = Rc::new(Cell::new(false));
        let (timer, flag) = (io.clone(), Rc::clone(&fired));
        io.spawn("timer", async move {
            timer.sleep(Duration::from_millis(2)).await;
            flag.set(true);
        });
        let mut slice = io.slice();
        let mut yields = 0;
        while !fired.get() {
            if slice.is_over(&io) {
                yields += 1;
                io.yield_now().await;
                slice = io.slice();
            }
        }
        assert!(yields > 0);
        io.sleep(Duration::ZERO).await;
    });
}

#[test]
fn files_that_are_never_waited_for_leave_the_others_their_turn() {
    on_a_shard(|io, directory| async move {
        let file = io.open(&directory.join("file"), OpenMode::CREATE).await;
        let file = file.unwrap();
        let slept = Rc::new(Cell::new(false));
        let (sleeper, flag) = (io.clone(), Rc::clone(&slept));
        io.spawn("sleep", async move {
            sleeper.sleep(Duration::from_millis(1)).await;
            flag.set(true);
        });
        while !slept.get() {
            // At the end of a file: completes as soon as it is submitted.
            assert!(file.read_at(0, BLOCK).await.unwrap().is_empty());
        }
    });
}

#[test]
fn urgent_data_does_not_stop_a_connection() {
    on_a_shard(|io, _| async move {
        let listener = io.listen(loopback()).unwrap();
        let mut peer = std::net::TcpStream::connect(listener.local_addr()).unwrap();
        let (mut read, _write, _) = listener.accept().await.unwrap();
        peer.write_all(b"abc").unwrap();
        send(peer.as_raw_fd(), b"!", MsgFlags::MSG_OOB).unwrap();
        peer.write_all(b"def").unwrap();
        let mut buffer = BytesMut::new();
        while buffer != b"abcdef"[..] {
            assert_ne!(read.read(&mut buffer, 4096).await.unwrap(), 0);
        }
    });
}

#[test]
fn shards_talk_over_lanes_and_stop_together() {
    const MESSAGES: u64 = 100_000;
    let allowed = cores().expect("the affinity");
    if allowed.len() < 2 {
        eprintln!("skipped: one core only");
        return;
    }
    let (to_second, from_first) = lane::<u64>(256);
    let (to_first, from_second) = lane::<u64>(256);
    type Ends = (crate::io::LaneSender<u64>, crate::io::LaneReceiver<u64>);
    let ends: [Ends; 2] = [(to_second, from_second), (to_first, from_first)];
    let ends = std::sync::Arc::new(std::sync::Mutex::new(ends.map(Some)));
    let stop = Stop::new();
    run_shards(&allowed[..2], move |io, shard| {
        let (sender, receiver) = ends.lock().unwrap()[shard].take().unwrap();
        let stop = stop.clone();
        async move {
            let (sender, receiver) = (sender.connect(&io), receiver.connect(&io));
            let (sender, mut receiver) = (sender.await, receiver.await);
            if shard == 0 {
                for number in 0..MESSAGES {
                    let mut message = number;
                    while let Err(back) = sender.try_send(message) {
                        message = back;
                        io.yield_now().await;
                    }
                }
                assert_eq!(receiver.recv().await, Some(MESSAGES));
                // From another thread, as the one for signals does.
                std::thread::spawn(move || stop.request());
            } else {
                for number in 0..MESSAGES {
                    assert_eq!(receiver.recv().await, Some(number));
                }
                sender.try_send(MESSAGES).unwrap();
                stop.requested().await;
                // The other shard is gone, and with it its end.
                while receiver.recv().await.is_some() {}
            }
        }
    })
    .expect("two shards");
}

#[test]
fn a_missing_core_is_an_error() {
    let ran = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let flag = ran.clone();
    let core = cores().expect("the affinity")[0];
    let outcome = run_shards(&[core, 1_000], move |_, _| {
        flag.store(true, std::sync::atomic::Ordering::Relaxed);
        async {}
    });
    assert!(outcome.unwrap_err().to_string().contains("core 1000"));
    assert!(!ran.load(std::sync::atomic::Ordering::Relaxed));
}
