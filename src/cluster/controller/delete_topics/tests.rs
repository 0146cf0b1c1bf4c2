use super::super::testing::{Cluster, refusal};
use super::*;
use crate::cluster::controller::ControlErrorKind as Kind;

fn delete(cluster: &mut Cluster, references: &[TopicReference]) -> Vec<DeletedTopic> {
    cluster.run(|context| delete_topics(context, references))
}

#[test]
fn topics_go_by_name_and_by_id() {
    let mut cluster = Cluster::of(&[1]);
    let a = cluster.add_topic("a", &[&[1]]);
    let b = cluster.add_topic("b", &[&[1]]);
    cluster.add_topic("c", &[&[1]]);
    let mut reply = delete(
        &mut cluster,
        &[TopicReference::by_name("a"), TopicReference::by_id(b)],
    );
    reply.sort_by(|left, right| left.name.cmp(&right.name));
    let expected = [("a", a), ("b", b)].map(|(name, id)| DeletedTopic {
        name: Some(name.into()),
        id,
        result: Ok(()),
    });
    assert_eq!(reply, expected);
    let left: Vec<_> = cluster
        .image()
        .topics
        .iter()
        .map(|topic| &*topic.name)
        .collect();
    assert_eq!(left, ["c"]);
}

#[test]
fn what_is_refused_and_how() {
    let mut cluster = Cluster::of(&[1]);
    let a = cluster.add_topic("a", &[&[1]]);
    let by_name = TopicReference::by_name;
    let by_id = TopicReference::by_id;
    let both = TopicReference {
        name: Some("a".into()),
        id: a,
    };
    let table: [(&[TopicReference], Kind, &str); 7] = [
        (
            &[by_name("b")],
            Kind::UnknownTopic,
            "This server does not host this topic-partition.",
        ),
        (
            &[by_id(Uuid::from_u128(7))],
            Kind::UnknownTopicId,
            "This server does not host this topic ID.",
        ),
        (
            &[TopicReference::default()],
            Kind::InvalidRequest,
            "Neither topic name nor id were specified.",
        ),
        (
            &[both],
            Kind::InvalidRequest,
            "You may not specify both topic name and topic id.",
        ),
        (
            &[by_name("a"), by_name("a")],
            Kind::InvalidRequest,
            "Duplicate topic name.",
        ),
        (
            &[by_id(a), by_id(a)],
            Kind::InvalidRequest,
            "Duplicate topic id.",
        ),
        (
            &[by_id(a), by_name("a")],
            Kind::InvalidRequest,
            "The provided topic name maps to an ID that was already supplied.",
        ),
    ];
    for (references, kind, message) in table {
        let reply = delete(&mut cluster, references);
        assert_eq!(reply.len(), 1, "{references:?}");
        assert_eq!(refusal(&reply[0].result), (kind, message));
    }
    assert_eq!(cluster.image().topics.len(), 1);

    cluster.policy.topics_can_be_deleted = false;
    let reply = delete(&mut cluster, &[by_name("a")]);
    assert_eq!(refusal(&reply[0].result).0, Kind::TopicDeletionDisabled);
}

#[test]
fn the_configuration_goes_with_the_topic() {
    let mut cluster = Cluster::of(&[1]);
    cluster.add_topic("a", &[&[1]]);
    let resource = crate::cluster::image::ConfigResource::topic("a");
    let record = crate::cluster::image::config_record(&resource, "x", Some("1".into()));
    cluster.commit(vec![record.into()]);
    assert!(cluster.image().properties(&resource).is_some());
    delete(&mut cluster, &[TopicReference::by_name("a")]);
    assert!(cluster.image().properties(&resource).is_none());
}
