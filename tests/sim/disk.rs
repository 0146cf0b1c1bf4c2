//! A disk that has no room for a while, or fails now and then.

use std::time::Duration;

use corelog_shards::io::Random;
use corelog_shards::io::sim::{Faults, NodeId, World};

use crate::story::Story;

/// Room that is left on a disk that is nearly full, at the most, in bytes.
const ROOM_MAX: u64 = 100_000;

/// How often what a disk does fails: of each kind by chance nothing.
#[derive(Clone, Debug)]
pub struct Errors {
    read: f64,
    write: f64,
    whole_write: f64,
    sync: f64,
    reads_max: u32,
    others_max: u32,
}

impl Errors {
    pub fn draw(random: &mut Random) -> Errors {
        let mut rate = |most: f64| match random.below(2) {
            0 => 0.0,
            _ => most * (1 + random.below(100)) as f64 / 100.0,
        };
        Errors {
            read: rate(0.4),
            write: rate(0.005),
            whole_write: rate(0.005),
            sync: rate(0.01),
            reads_max: 1 + random.below(5) as u32,
            others_max: 1 + random.below(4) as u32,
        }
    }

    /// Adds them. A place that cannot be read stays so for no longer than `lasts_max`.
    pub fn add(&self, faults: Faults, lasts_max: Duration) -> Faults {
        Faults {
            read_error: self.read,
            read_error_lasts_max: lasts_max,
            write_error: self.write,
            whole_write_error: self.whole_write,
            sync_error: self.sync,
            read_errors_max: self.reads_max,
            disk_errors_max: self.others_max,
            ..faults
        }
    }
}

/// From now on there is little room on a node's disk, or none.
pub fn fill(world: &mut World, node: NodeId, story: &Story) {
    let used = world.disk_used(node);
    let room = world.random_below(ROOM_MAX);
    story.event(world.now(), format!("of the disk {room} bytes are free"));
    world.set_disk_capacity(node, used + room);
}

/// There is room again.
pub fn give_room(world: &mut World, node: NodeId, story: &Story) {
    story.event(world.now(), "the disk has room again".to_owned());
    world.set_disk_capacity(node, u64::MAX);
}
