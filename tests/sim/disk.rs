//! A disk that has no room for a while, or fails now and then.

use std::time::Duration;

use corelog_shards::io::sim::{Faults, NodeId, World};

use crate::story::Story;

/// Room that is left on a disk that is nearly full, at the most, in bytes.
const ROOM_MAX: u64 = 100_000;

/// Adds reads, writes and syncs that fail. A place that cannot be read stays so for no longer than `lasts_max`.
pub fn with_errors(faults: Faults, lasts_max: Duration) -> Faults {
    Faults {
        read_error: 0.2,
        read_error_lasts_max: lasts_max,
        write_error: 0.002,
        sync_error: 0.002,
        read_errors_max: 3,
        disk_errors_max: 2,
        ..faults
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
