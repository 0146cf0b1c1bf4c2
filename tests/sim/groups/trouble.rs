//! What happens to the connections of a client, whoever it is.

use std::time::Duration;

use corelog_shards::io::sim::{NodeId, World};

use super::plan::Feature;
use super::sim::Sim;

/// How long connections stand still at the most: longer than a session, and than clients wait.
pub const STALL_MAX: Duration = Duration::from_secs(12);

/// Something of what is switched on happens to all connections of a client.
pub fn trouble(world: &mut World, sim: &Sim, broker: NodeId, client: NodeId, name: &str) {
    let tell = |world: &World, what: String| {
        sim.story
            .event(world.now(), format!("connections of {name} {what}"));
    };
    let (what, is_mine) = (world.random_below(6), world.random_below(2) == 0);
    match what {
        0..=2 if sim.plan.has(Feature::Resets) => {
            tell(world, "are reset".to_owned());
            world.reset_connections(client, broker);
        }
        3 | 4 if sim.plan.has(Feature::HalfClosed) => {
            let (from, to, way) = match is_mine {
                true => (client, broker, "to"),
                false => (broker, client, "from"),
            };
            tell(world, format!("end, {way} the broker"));
            world.half_close(from, to);
        }
        5 if sim.plan.has(Feature::Stalls) => {
            let most_ms = [100, 2_000, STALL_MAX.as_millis() as u64];
            let most_ms = most_ms[world.random_below(3) as usize];
            let pause = Duration::from_millis(1 + world.random_below(most_ms));
            tell(world, format!("stand still for {pause:?}"));
            world.stall_connections(client, broker, pause);
        }
        _ => {}
    }
}
