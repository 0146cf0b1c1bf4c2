//! What a crash leaves, and what goes wrong on the way.

use std::io::ErrorKind;
use std::path::Path;
use std::pin::pin;
use std::rc::Rc;

use crate::io::futures::poll_once;
use crate::io::random::Random;
use crate::io::sim::{Crash, Faults, NodeId, Operation, World};
use crate::io::{BLOCK, File, Io, OpenMode};

const B: u64 = BLOCK as u64;

fn started(seed: u64) -> (World, NodeId) {
    let mut world = World::new(seed, Faults::none());
    let node = world.add_node();
    world.start(node, 1, |_, _| async {});
    (world, node)
}

fn crash_and_restart(world: &mut World, node: NodeId, crash: Crash) {
    world.crash(node, crash);
    world.start(node, 1, |_, _| async {});
}

async fn write(io: &Io, file: &File, block: u64, value: u8) -> std::io::Result<()> {
    let mut buffer = io.buffer(BLOCK);
    buffer.fill(value);
    file.write_at(buffer, BLOCK, block * B).await.0
}

async fn read(io: &Io, path: &Path) -> Vec<u8> {
    let file = io.open(path, OpenMode::READ).await.unwrap();
    let len = io.file_len(path).await.unwrap() as usize;
    let read = file.read_at(0, len.next_multiple_of(BLOCK).max(BLOCK));
    let bytes = read.await.unwrap().to_vec();
    assert_eq!(bytes.len(), len);
    bytes
}

/// A durable file of `blocks` blocks of ones.
async fn durable_file(io: &Io, path: &Path, mode: OpenMode, blocks: u64) -> File {
    let file = io.open(path, mode).await.unwrap();
    for block in 0..blocks {
        write(io, &file, block, 1).await.unwrap();
    }
    file.sync().await.unwrap();
    io.sync_dir(path.parent().unwrap()).await.unwrap();
    file
}

#[test]
fn what_was_synced_stays() {
    for seed in 0..100 {
        let (mut world, node) = started(seed);
        let path = Path::new("/dir/file");
        world.block_on(node, move |io| async move {
            io.create_dir_all(Path::new("/dir")).await.unwrap();
            io.sync_dir(Path::new("/")).await.unwrap();
            durable_file(&io, path, OpenMode::CREATE, 3).await;
        });
        crash_and_restart(&mut world, node, Crash::PowerLoss);
        let bytes = world.block_on(node, move |io| async move { read(&io, path).await });
        assert_eq!(bytes, [1; 3 * BLOCK]);
    }
}

#[test]
fn unsynced_sectors_are_kept_lost_or_torn() {
    let (mut kept, mut lost, mut torn) = (0, 0, 0);
    for seed in 0..200 {
        let (mut world, node) = started(seed);
        let path = Path::new("/file");
        world.block_on(node, move |io| async move {
            let file = durable_file(&io, path, OpenMode::CREATE, 1).await;
            write(&io, &file, 0, 2).await.unwrap();
        });
        crash_and_restart(&mut world, node, Crash::PowerLoss);
        let bytes = world.block_on(node, move |io| async move { read(&io, path).await });
        let sectors: Vec<u8> = bytes.chunks(512).map(|sector| sector[0]).collect();
        assert!(
            bytes
                .chunks(512)
                .all(|s| s.iter().all(|&byte| byte == s[0]))
        );
        assert!(sectors.iter().all(|&value| value == 1 || value == 2));
        match sectors.iter().filter(|&&value| value == 2).count() {
            0 => lost += 1,
            8 => kept += 1,
            _ => torn += 1,
        }
    }
    assert!(kept > 20 && lost > 20 && torn > 50, "{kept} {lost} {torn}");
}

#[test]
fn a_kill_loses_nothing_that_was_written() {
    for seed in 0..50 {
        let (mut world, node) = started(seed);
        let path = Path::new("/file");
        world.block_on(node, move |io| async move {
            let file = io.open(path, OpenMode::CREATE).await.unwrap();
            write(&io, &file, 0, 2).await.unwrap();
        });
        crash_and_restart(&mut world, node, Crash::Kill);
        let bytes = world.block_on(node, move |io| async move { read(&io, path).await });
        assert_eq!(bytes, [2; BLOCK]);
        // Until the power fails, too.
        crash_and_restart(&mut world, node, Crash::PowerLoss);
        let found = world.block_on(node, move |io| async move {
            let file = io.open(path, OpenMode::READ).await;
            file.is_ok()
        });
        let _either = found;
    }
}

#[test]
fn a_write_under_way_ends_anyhow() {
    let mut outcomes = std::collections::BTreeSet::new();
    for seed in 0..200 {
        let (mut world, node) = started(seed);
        let path = Path::new("/file");
        world.block_on(node, move |io| async move {
            let file = durable_file(&io, path, OpenMode::CREATE, 4).await;
            let writer = io.clone();
            io.spawn("writer", async move {
                let mut buffer = writer.buffer(4 * BLOCK);
                buffer.fill(2);
                file.write_at(buffer, 4 * BLOCK, 0).await.0.unwrap();
                panic!("the crash comes first");
            });
            io.yield_now().await;
        });
        crash_and_restart(&mut world, node, Crash::Kill);
        let bytes = world.block_on(node, move |io| async move { read(&io, path).await });
        let new = bytes.chunks(BLOCK).filter(|block| block[0] == 2).count();
        assert!(
            bytes
                .chunks(BLOCK)
                .all(|b| b.iter().all(|&byte| byte == b[0]))
        );
        outcomes.insert(new);
    }
    assert_eq!(outcomes.into_iter().collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
}

#[test]
fn synchronous_writes_are_durable_at_once() {
    for seed in 0..100 {
        let (mut world, node) = started(seed);
        let path = Path::new("/file");
        world.block_on(node, move |io| async move {
            let mode = OpenMode {
                sync_on_write: true,
                ..OpenMode::CREATE
            };
            let file = durable_file(&io, path, mode, 1).await;
            write(&io, &file, 1, 3).await.unwrap();
            write(&io, &file, 0, 2).await.unwrap();
        });
        crash_and_restart(&mut world, node, Crash::PowerLoss);
        let bytes = world.block_on(node, move |io| async move { read(&io, path).await });
        assert_eq!((bytes[0], bytes[BLOCK - 1], bytes[BLOCK]), (2, 2, 3));
    }
}

#[test]
fn a_write_after_the_sync_began_is_not_covered() {
    let mut lost = 0;
    for seed in 0..100 {
        let (mut world, node) = started(seed);
        let path = Path::new("/file");
        world.block_on(node, move |io| async move {
            let file = Rc::new(durable_file(&io, path, OpenMode::CREATE, 1).await);
            let (writer, target) = (io.clone(), Rc::clone(&file));
            let writing = io.spawn("writer", async move {
                write(&writer, &target, 0, 2).await.unwrap();
            });
            // Begins before that write has completed.
            file.sync().await.unwrap();
            writing.await;
        });
        crash_and_restart(&mut world, node, Crash::PowerLoss);
        let bytes = world.block_on(node, move |io| async move { read(&io, path).await });
        lost += u32::from(bytes[0] == 1);
    }
    assert!(lost > 10, "{lost}");
}

#[test]
fn a_failed_sync_is_not_made_up_for() {
    let mut lost = 0;
    for seed in 0..100 {
        let (mut world, node) = started(seed);
        let path = Path::new("/file");
        world.fail_next(node, Operation::Sync, "another");
        world.block_on(node, move |io| async move {
            let file = durable_file(&io, path, OpenMode::CREATE, 1).await;
            drop(file);
        });
        world.fail_next(node, Operation::Sync, "file");
        world.block_on(node, move |io| async move {
            let file = io.open(path, OpenMode::READ_WRITE).await.unwrap();
            write(&io, &file, 0, 2).await.unwrap();
            let failed = file.sync().await.unwrap_err();
            assert_eq!(failed.raw_os_error(), Some(libc::EIO));
            file.sync().await.unwrap();
            assert_eq!(read(&io, path).await[0], 2);
        });
        crash_and_restart(&mut world, node, Crash::PowerLoss);
        let bytes = world.block_on(node, move |io| async move { read(&io, path).await });
        lost += u32::from(bytes[0] == 1);
    }
    assert!(lost > 20, "{lost}");
}

#[test]
fn a_durable_write_vouches_for_a_length_only_if_the_file_grows_by_it() {
    const DURABLE: OpenMode = OpenMode {
        sync_on_write: true,
        ..OpenMode::READ_WRITE
    };
    for (at, least) in [(2, 1), (3, 4)] {
        let mut lost = 0;
        for seed in 0..100 {
            let (mut world, node) = started(seed);
            let path = Path::new("/file");
            world.block_on(node, move |io| async move {
                durable_file(&io, path, OpenMode::CREATE, 1).await;
            });
            world.fail_next(node, Operation::Sync, "file");
            world.block_on(node, move |io| async move {
                let file = io.open(path, OpenMode::READ_WRITE).await.unwrap();
                write(&io, &file, 2, 2).await.unwrap();
                file.sync().await.unwrap_err();
                let durable = io.open(path, DURABLE).await.unwrap();
                write(&io, &durable, at, 3).await.unwrap();
            });
            crash_and_restart(&mut world, node, Crash::PowerLoss);
            let len = world.block_on(node, move |io| async move { io.file_len(path).await });
            let blocks = len.unwrap() / B;
            assert!(blocks >= least, "seed {seed}: {blocks} blocks");
            lost += u32::from(blocks == 1);
        }
        assert_eq!(lost > 20, least == 1, "{lost} with a write at {at}");
    }
}

#[test]
fn names_are_durable_only_with_their_directory() {
    let (mut found, mut missing) = (0, 0);
    for seed in 0..100 {
        let (mut world, node) = started(seed);
        world.block_on(node, |io| async move {
            durable_file(&io, Path::new("/kept"), OpenMode::CREATE, 1).await;
            let file = io.open(Path::new("/new"), OpenMode::CREATE).await.unwrap();
            write(&io, &file, 0, 2).await.unwrap();
            file.sync().await.unwrap();
            io.rename(Path::new("/kept"), Path::new("/renamed"))
                .await
                .unwrap();
        });
        crash_and_restart(&mut world, node, Crash::PowerLoss);
        let names = world.block_on(node, |io| async move {
            let listed = io.list_dir(Path::new("/")).await.unwrap();
            listed
                .into_iter()
                .map(|entry| entry.name)
                .collect::<Vec<_>>()
        });
        match names.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["kept"] => missing += 1,
            // The changes of one directory survive in their order.
            ["kept", "new"] => found += 1,
            ["new", "renamed"] => found += 1,
            ref other => panic!("{other:?}"),
        }
    }
    assert!(found > 20 && missing > 20, "{found} {missing}");
}

#[test]
fn a_small_file_is_the_old_one_or_the_new_one() {
    let mut seen = [0; 3];
    for seed in 0..300 {
        let (mut world, node) = started(seed);
        let path = Path::new("/small");
        world.block_on(node, move |io| async move {
            io.write_small(path, b"old").await.unwrap();
        });
        let io = world.io(node);
        let writing = world.io(node).spawn("writer", async move {
            io.write_small(path, b"newer").await.unwrap();
        });
        let steps = world.random_below(40);
        world.run_steps(steps);
        let is_done = writing.is_done();
        let crash = match world.random_below(2) {
            0 => Crash::Kill,
            _ => Crash::PowerLoss,
        };
        crash_and_restart(&mut world, node, crash);
        let bytes = world.block_on(
            node,
            move |io| async move { io.read_small(path).await.unwrap() },
        );
        match &bytes[..] {
            b"old" if !is_done => seen[0] += 1,
            b"newer" if !is_done => seen[1] += 1,
            b"newer" => seen[2] += 1,
            other => panic!("{other:?}, done: {is_done}"),
        }
    }
    assert!(seen.iter().all(|&count| count > 5), "{seen:?}");
}

#[test]
fn a_full_disk_refuses_and_has_room_again() {
    for seed in 0..50 {
        let (mut world, node) = started(seed);
        world.set_disk_capacity(node, 3 * B);
        let path = Path::new("/file");
        world.block_on(node, move |io| async move {
            let file = durable_file(&io, path, OpenMode::CREATE, 2).await;
            let mut buffer = io.buffer(2 * BLOCK);
            buffer.fill(7);
            let (result, _) = file.write_at(buffer, 2 * BLOCK, 2 * B).await;
            assert_eq!(result.unwrap_err().kind(), ErrorKind::StorageFull);
            // What has its room already can still be overwritten.
            write(&io, &file, 0, 5).await.unwrap();
            let full = file.allocate(10 * B).await.unwrap_err();
            assert_eq!(full.kind(), ErrorKind::StorageFull);
        });
        world.set_disk_capacity(node, 10 * B);
        world.block_on(node, move |io| async move {
            let file = io.open(path, OpenMode::READ_WRITE).await.unwrap();
            file.allocate(10 * B).await.unwrap();
            assert_eq!(io.free_space(path).await.unwrap().available, 0);
            drop(file);
            io.remove_file(path).await.unwrap();
            assert_eq!(
                io.free_space(Path::new("/")).await.unwrap().available,
                10 * B
            );
        });
    }
}

#[test]
fn rot_is_seen_by_readers_and_survives() {
    let (mut world, node) = started(1);
    let path = Path::new("/file");
    world.block_on(node, move |io| async move {
        durable_file(&io, path, OpenMode::CREATE, 1).await;
    });
    world.rot(node, path, 100, 3).unwrap();
    crash_and_restart(&mut world, node, Crash::PowerLoss);
    let bytes = world.block_on(node, move |io| async move { read(&io, path).await });
    assert_eq!((bytes[99], bytes[100], bytes[101]), (1, 1 ^ 8, 1));
    assert!(world.rot(node, path, B, 0).is_err());
    assert!(world.rot(node, Path::new("/none"), 0, 0).is_err());
}

#[test]
fn ordered_and_budgeted_errors() {
    let (mut world, node) = started(2);
    let path = Path::new("/file");
    world.fail_next(node, Operation::Write, "file");
    world.fail_next(node, Operation::Read, "file");
    world.fail_next(node, Operation::SyncDir, "/");
    world.block_on(node, move |io| async move {
        let file = io.open(path, OpenMode::CREATE).await.unwrap();
        let failed = write(&io, &file, 0, 1).await.unwrap_err();
        assert_eq!(failed.raw_os_error(), Some(libc::EIO));
        write(&io, &file, 0, 1).await.unwrap();
        assert!(file.read_at(0, BLOCK).await.is_err());
        assert!(io.sync_dir(Path::new("/")).await.is_err());
        io.sync_dir(Path::new("/")).await.unwrap();
    });
    world.set_faults(Faults {
        read_error: 0.5,
        read_errors_max: 4,
        ..Faults::none()
    });
    let failed = world.block_on(node, move |io| async move {
        let file = io.open(path, OpenMode::READ).await.unwrap();
        let mut failed = 0;
        for _ in 0..100 {
            failed += u32::from(file.read_at(0, BLOCK).await.is_err());
        }
        failed
    });
    assert_eq!(failed, 4);
}

#[test]
fn direct_io_is_strict() {
    let (mut world, node) = started(3);
    world.block_on(node, |io| async move {
        let path = Path::new("/file");
        let file = io.open(path, OpenMode::CREATE).await.unwrap();
        for (len, position) in [(100, 0), (BLOCK, 512), (512, 0)] {
            let (result, _) = file.write_at(io.buffer(BLOCK), len, position).await;
            assert_eq!(result.unwrap_err().kind(), ErrorKind::InvalidInput);
        }
        assert!(file.read_at(0, 100).await.is_err());
        let read_only = io.open(path, OpenMode::READ).await.unwrap();
        assert!(write(&io, &read_only, 0, 1).await.is_err());
        let nowhere = io.open(Path::new("/no/file"), OpenMode::CREATE).await;
        assert_eq!(nowhere.err().unwrap().kind(), ErrorKind::NotFound);
        file.truncate(100).await.unwrap();
        assert_eq!(file.read_at(0, BLOCK).await.unwrap().len(), 100);
    });
}

/// None of them is done before another task had its turn.
#[test]
fn every_operation_suspends() {
    let (mut world, node) = started(5);
    world.block_on(node, |io| async move {
        macro_rules! assert_suspends {
            ($($operation:expr;)*) => {
                $(assert!(
                    poll_once(pin!($operation)).await.is_none(),
                    stringify!($operation)
                );)*
            };
        }
        let path = Path::new("/file");
        let dir = Path::new("/");
        let file = durable_file(&io, path, OpenMode::CREATE, 2).await;
        let closed = io.open(path, OpenMode::READ).await.unwrap();
        assert_suspends! {
            io.open(path, OpenMode::READ);
            file.write_at(io.buffer(BLOCK), BLOCK, 0);
            file.read_at(0, BLOCK);
            file.sync();
            file.truncate(B);
            file.allocate(3 * B);
            closed.close();
            io.create_dir_all(Path::new("/a/b"));
            io.remove_dir(Path::new("/a/b"));
            io.remove_file(path);
            io.rename(path, Path::new("/other"));
            io.sync_dir(dir);
            io.list_dir(dir);
            io.file_len(path);
            io.read_small(path);
            io.write_small(path, b"new");
            io.write_behind(path, b"new");
            io.free_space(dir);
        }
    });
}

/// Many files, cut and grown and written at random: after a power loss every sector
/// is one that was there since its file was last synced, or zero behind a cut.
#[test]
fn nothing_is_found_that_was_never_there() {
    for seed in 0..200 {
        let (mut world, node) = started(seed);
        let path = Path::new("/file");
        let writes = world.block_on(node, move |io| async move {
            let mut random = Random::from_seed(seed);
            let file = durable_file(&io, path, OpenMode::CREATE, 4).await;
            let mut possible = vec![std::collections::BTreeSet::from([1u8]); 8];
            let mut len = 4 * B;
            for value in 2..random.between(3, 40) as u8 {
                match random.below(6) {
                    0 => {
                        len = random.below(8) * B + random.below(2) * 100;
                        file.truncate(len).await.unwrap();
                        for (block, possible) in possible.iter_mut().enumerate() {
                            if (block as u64 + 1) * B > len {
                                possible.insert(0);
                            }
                        }
                    }
                    1 => {
                        file.sync().await.unwrap();
                        let now = read(&io, path).await;
                        for (block, possible) in possible.iter_mut().enumerate() {
                            possible.clear();
                            let from = (block * BLOCK).min(now.len());
                            let to = (from + BLOCK).min(now.len());
                            possible.extend(&now[from..to]);
                            possible.insert(0);
                        }
                    }
                    _ => {
                        let block = random.below(8);
                        write(&io, &file, block, value).await.unwrap();
                        possible[block as usize].insert(value);
                        len = len.max((block + 1) * B);
                        for possible in &mut possible {
                            possible.insert(0);
                        }
                    }
                }
                assert_eq!(io.file_len(path).await.unwrap(), len);
            }
            possible
        });
        crash_and_restart(&mut world, node, Crash::PowerLoss);
        let bytes = world.block_on(node, move |io| async move {
            let file = io.open(path, OpenMode::READ_WRITE).await.unwrap();
            // Whatever lies behind the end must be zeros once it is in front of it.
            let len = io.file_len(path).await.unwrap() as usize;
            file.truncate(8 * B).await.unwrap();
            let bytes = read(&io, path).await;
            assert!(bytes[len..].iter().all(|&byte| byte == 0));
            bytes
        });
        for (block, possible) in bytes.chunks(BLOCK).zip(&writes) {
            for sector in block.chunks(512) {
                assert!(
                    sector.iter().all(|byte| possible.contains(byte)),
                    "seed {seed}"
                );
            }
        }
    }
}
