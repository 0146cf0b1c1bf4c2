//! Other replicas for partitions that exist. Moving records between nodes is not there yet, so that a
//! partition can be assigned to where it is, and what Kafka refuses is refused.

use super::error::{ControlError, ControlErrorKind};
use super::placement::check_manual_assignment;
use super::{Context, Decision};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlterReassignments {
    pub topics: Vec<(String, Vec<Reassignment>)>,
    pub may_change_replication_factor: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reassignment {
    pub partition: i32,
    /// `None` cancels the reassignment under way.
    pub replicas: Option<Vec<i32>>,
}

/// For each partition, in the order of the request.
pub type AlterReassignmentsReply = Vec<Vec<Result<(), ControlError>>>;

pub fn alter_reassignments(
    context: &Context<'_>,
    request: &AlterReassignments,
) -> Decision<AlterReassignmentsReply> {
    let may_change = request.may_change_replication_factor;
    let topics = request.topics.iter().map(|(topic, partitions)| {
        let partitions = partitions.iter();
        let results = partitions.map(|wanted| check(context, topic, wanted, may_change));
        results.collect()
    });
    Decision::new(Vec::new(), topics.collect())
}

fn check(
    context: &Context<'_>,
    name: &str,
    wanted: &Reassignment,
    may_change_replication_factor: bool,
) -> Result<(), ControlError> {
    let unknown = |what: String| ControlError::new(ControlErrorKind::UnknownTopic, what);
    let topic = context.image.topics.by_name(name);
    let topic = topic.ok_or_else(|| unknown(format!("Unable to find a topic named {name}.")))?;
    let id = wanted.partition;
    let partition = topic.partition(id);
    let partition =
        partition.ok_or_else(|| unknown(format!("Unable to find partition {name}:{id}.")))?;
    let Some(replicas) = &wanted.replicas else {
        return Err(ControlError::new(
            ControlErrorKind::NoReassignmentInProgress,
            "No partition reassignment is in progress.",
        ));
    };
    check_manual_assignment(context, replicas, None)?;
    let (factor, wanted) = (partition.replicas.len(), replicas.len());
    if !may_change_replication_factor && factor != wanted {
        return Err(ControlError::new(
            ControlErrorKind::InvalidReplicationFactor,
            format!("The replication factor is changed from {factor} to {wanted}"),
        ));
    }
    match *replicas == partition.replicas {
        true => Ok(()),
        false => Err(ControlError::new(
            ControlErrorKind::InvalidReplicaAssignment,
            "Replicas cannot be moved between brokers yet.",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Cluster, refusal};
    use super::ControlErrorKind::*;
    use super::*;

    #[test]
    fn a_partition_can_be_assigned_to_where_it_is() {
        let mut cluster = Cluster::of(&[1, 2]);
        cluster.add_topic("t", &[&[1]]);
        let mut alter = |topic: &str, partition, replicas: Option<&[i32]>, may_change| {
            let wanted = Reassignment {
                partition,
                replicas: replicas.map(<[i32]>::to_vec),
            };
            let request = AlterReassignments {
                topics: vec![(topic.to_owned(), vec![wanted])],
                may_change_replication_factor: may_change,
            };
            let decision = cluster.decide(|context| alter_reassignments(context, &request));
            assert_eq!(decision.records, []);
            decision.reply[0][0].clone()
        };
        assert_eq!(alter("t", 0, Some(&[1]), false), Ok(()));
        let refused: [(&str, i32, Option<&[i32]>, _, &str); 6] = [
            (
                "u",
                0,
                Some(&[1]),
                UnknownTopic,
                "Unable to find a topic named u.",
            ),
            (
                "t",
                9,
                Some(&[1]),
                UnknownTopic,
                "Unable to find partition t:9.",
            ),
            (
                "t",
                0,
                None,
                NoReassignmentInProgress,
                "No partition reassignment is in progress.",
            ),
            (
                "t",
                0,
                Some(&[7]),
                InvalidReplicaAssignment,
                "The manual partition assignment includes broker 7, but no such broker is registered.",
            ),
            (
                "t",
                0,
                Some(&[1, 2]),
                InvalidReplicationFactor,
                "The replication factor is changed from 1 to 2",
            ),
            (
                "t",
                0,
                Some(&[2]),
                InvalidReplicaAssignment,
                "Replicas cannot be moved between brokers yet.",
            ),
        ];
        for (topic, partition, replicas, kind, text) in refused {
            let outcome = alter(topic, partition, replicas, false);
            assert_eq!(refusal(&outcome), (kind, text));
        }
    }
}
