//! Which brokers get the replicas of new partitions: striped over racks and brokers, as Kafka's
//! placer does it.
//!
//! Leaders go round the racks and within a rack round its brokers that serve; followers come from the
//! racks that follow, so that as many racks as possible hold a partition. After as many partitions as
//! there are serving brokers, everything is shuffled, so that the same sets don't come again. Fenced
//! brokers may follow but never lead.

use std::collections::BTreeMap;

use super::Context;
use super::error::{ControlError, ControlErrorKind};
use crate::cluster::ids::DIRECTORY_UNASSIGNED;
use crate::cluster::image::Partition;

/// Brokers of one rack in one state, handed out in turn. Each round starts one further.
#[derive(Default)]
struct Ring {
    brokers: Vec<i32>,
    taken: usize,
    start: usize,
    round: usize,
}

impl Ring {
    fn next(&mut self, round: usize) -> Option<i32> {
        if self.brokers.is_empty() {
            return None;
        }
        if self.round != round {
            self.round = round;
            self.taken = 0;
            self.start = (self.start + 1) % self.brokers.len();
        }
        if self.taken == self.brokers.len() {
            return None;
        }
        let broker = self.brokers[(self.start + self.taken) % self.brokers.len()];
        self.taken += 1;
        Some(broker)
    }
}

#[derive(Default)]
struct Rack {
    serving: Ring,
    fenced: Ring,
}

impl Rack {
    fn next(&mut self, round: usize) -> Option<i32> {
        self.serving.next(round).or_else(|| self.fenced.next(round))
    }
}

/// Places partition after partition.
struct Placer {
    racks: Vec<Rack>,
    brokers: usize,
    serving: usize,
    round: usize,
    first_rack: usize,
}

impl Placer {
    fn new(context: &mut Context<'_>) -> Self {
        let mut by_name: BTreeMap<Option<&str>, Rack> = BTreeMap::new();
        let (mut brokers, mut serving) = (0, 0);
        let usable = context
            .image
            .brokers
            .values()
            .filter(|broker| !broker.in_controlled_shutdown && !broker.is_cordoned());
        for broker in usable {
            let rack = by_name.entry(broker.rack.as_deref()).or_default();
            if broker.fenced {
                rack.fenced.brokers.push(broker.id);
            } else {
                rack.serving.brokers.push(broker.id);
                serving += 1;
            }
            brokers += 1;
        }
        let mut racks: Vec<Rack> = by_name.into_values().collect();
        for ring in racks
            .iter_mut()
            .flat_map(|rack| [&mut rack.serving, &mut rack.fenced])
        {
            if !ring.brokers.is_empty() {
                ring.start = context.random_below(ring.brokers.len());
            }
        }
        let first_rack = match racks.len() {
            0 => 0,
            len => context.random_below(len),
        };
        Self {
            racks,
            brokers,
            serving,
            round: 0,
            first_rack,
        }
    }

    /// The replicas of one more partition. There are enough brokers, and one of them serves.
    fn place(&mut self, replication_factor: usize, context: &mut Context<'_>) -> Vec<i32> {
        if self.round == self.serving && self.serving > 1 {
            self.shuffle(context);
            self.round = 0;
        }
        let racks = self.racks.len();
        self.first_rack %= racks;
        let round = self.round;
        let in_order = (self.first_rack..racks).chain(0..self.first_rack);
        let (leader_rack, leader) = in_order
            .clone()
            .find_map(|rack| Some((rack, self.racks[rack].serving.next(round)?)))
            .expect("a round ends before the serving brokers do");
        let mut replicas = vec![leader];
        // The leader's rack sits out once; others have their turn before it has another.
        let mut skip = Some(leader_rack);
        for rack in in_order.cycle() {
            if replicas.len() == replication_factor {
                break;
            }
            if skip == Some(rack) {
                skip = None;
            } else {
                replicas.extend(self.racks[rack].next(round));
            }
        }
        self.round += 1;
        self.first_rack += 1;
        replicas
    }

    fn shuffle(&mut self, context: &mut Context<'_>) {
        shuffle(&mut self.racks, context);
        for rack in &mut self.racks {
            for ring in [&mut rack.serving, &mut rack.fenced] {
                shuffle(&mut ring.brokers, context);
                // Rounds are counted from zero again, and none of them is the one before.
                ring.round = usize::MAX;
            }
        }
    }
}

fn shuffle<T>(items: &mut [T], context: &mut Context<'_>) {
    for last in (1..items.len()).rev() {
        items.swap(last, context.random_below(last + 1));
    }
}

/// `count` new partitions on brokers that the controller chooses, in no directory yet.
pub(super) fn place_partitions(
    context: &mut Context<'_>,
    count: usize,
    replication_factor: i16,
) -> Result<Vec<Partition>, ControlError> {
    let refused = |message| {
        Err(ControlError::new(
            ControlErrorKind::InvalidReplicationFactor,
            message,
        ))
    };
    let mut placer = Placer::new(context);
    let factor = match usize::try_from(replication_factor) {
        Ok(factor) if factor > 0 => factor,
        _ => {
            return refused(format!(
                "Invalid replication factor {replication_factor}: \
                 the replication factor must be positive."
            ));
        }
    };
    if placer.serving == 0 {
        return refused(
            "All brokers are currently fenced, or have all their log directories cordoned."
                .to_owned(),
        );
    }
    if factor > placer.brokers {
        return refused(format!(
            "The target replication factor of {factor} cannot be reached because only {} \
             broker(s) are registered or some brokers have all their log directories cordoned.",
            placer.brokers
        ));
    }
    let partitions = (0..count).map(|_| {
        let replicas = placer.place(factor, context);
        new_partition(context, replicas).expect("the first replica's broker serves")
    });
    Ok(partitions.collect())
}

/// A new partition on `replicas`, in no directory yet; `None` when none of them can lead it.
pub(super) fn new_partition(context: &Context<'_>, replicas: Vec<i32>) -> Option<Partition> {
    let image = context.image;
    let isr: Vec<i32> = replicas
        .iter()
        .copied()
        .filter(|id| image.is_active_broker(*id))
        .collect();
    let directories = vec![DIRECTORY_UNASSIGNED; replicas.len()];
    (!isr.is_empty()).then(|| Partition::new(replicas, directories, isr))
}

/// Checks replicas that the client chose. `expected` is how many the other partitions have.
pub(super) fn check_manual_assignment(
    context: &Context<'_>,
    replicas: &[i32],
    expected: Option<usize>,
) -> Result<(), ControlError> {
    let refused = |message| {
        Err(ControlError::new(
            ControlErrorKind::InvalidReplicaAssignment,
            message,
        ))
    };
    if replicas.is_empty() {
        return refused("The manual partition assignment includes an empty replica list.".into());
    }
    let mut sorted = replicas.to_vec();
    sorted.sort_unstable();
    let mut previous = None;
    for id in sorted {
        if !context.image.brokers.contains_key(&id) {
            return refused(format!(
                "The manual partition assignment includes broker {id}, \
                 but no such broker is registered."
            ));
        }
        if previous == Some(id) {
            return refused(format!(
                "The manual partition assignment includes the broker {id} more than once."
            ));
        }
        previous = Some(id);
    }
    match expected {
        Some(expected) if expected != replicas.len() => refused(format!(
            "The manual partition assignment includes a partition with {} replica(s), \
             but this is not consistent with previous partitions, which have {expected} replica(s).",
            replicas.len()
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
