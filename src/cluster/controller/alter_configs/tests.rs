use super::super::testing::{Cluster, properties, refusal};
use super::*;
use crate::cluster::controller::ControlErrorKind as Kind;
use crate::cluster::records::FeatureLevelRecord;

const TOPIC: i8 = 2;
const BROKER: i8 = 4;

fn alteration(
    resource_type: i8,
    name: &str,
    configs: &[(&str, AlterOp, &str)],
) -> ResourceAlteration {
    let config = |(name, op, value): &(&str, AlterOp, &str)| ConfigAlteration {
        name: (*name).to_owned(),
        op: *op,
        value: Some((*value).to_owned()),
    };
    ResourceAlteration {
        resource_type,
        name: name.to_owned(),
        configs: configs.iter().map(config).collect(),
    }
}

fn alter(cluster: &mut Cluster, resources: &[ResourceAlteration]) -> AlterConfigsReply {
    let request = IncrementalAlterConfigs {
        resources: resources.to_vec(),
        validate_only: false,
    };
    cluster.run(|context| incremental_alter_configs(context, &request))
}

fn replace(
    cluster: &mut Cluster,
    name: &str,
    configs: &[(&str, Option<&str>)],
) -> Result<(), ControlError> {
    let own = |(name, value): &(&str, Option<&str>)| ((*name).to_owned(), value.map(str::to_owned));
    let request = LegacyAlterConfigs {
        resources: vec![ResourceReplacement {
            resource_type: TOPIC,
            name: name.to_owned(),
            configs: configs.iter().map(own).collect(),
        }],
        validate_only: false,
    };
    cluster
        .run(|context| legacy_alter_configs(context, &request))
        .remove(0)
}

fn topic_properties(cluster: &Cluster) -> Properties {
    let all = cluster.image().properties(&ConfigResource::topic("t"));
    all.cloned().unwrap_or_default()
}

fn with_topic() -> Cluster {
    let mut cluster = Cluster::of(&[1]);
    cluster.add_topic("t", &[&[1]]);
    cluster
}

#[test]
fn lists_and_single_values_change_step_by_step() {
    use AlterOp::*;
    let steps: &[(&str, AlterOp, &str, &str)] = &[
        ("x", Set, "1", "1"),
        ("x", Set, "2", "2"),
        ("x", Delete, "", ""),
        ("list", Append, "a,b", "a,b"),
        ("list", Append, "b,c", "a,b,c"),
        ("list", Subtract, "b,z", "a,c"),
        ("list", Delete, "", ""),
        // What nobody set starts from the default.
        ("cleanup.policy", Append, "compact", "delete,compact"),
        ("cleanup.policy", Subtract, "delete", "compact"),
    ];
    let mut cluster = with_topic();
    for (name, op, value, expected) in steps {
        let reply = alter(
            &mut cluster,
            &[alteration(TOPIC, "t", &[(name, *op, value)])],
        );
        assert_eq!(reply, [Ok(())]);
        let now = topic_properties(&cluster);
        let now = now.get(*name).map_or("", String::as_str);
        assert_eq!(now, *expected, "{name} {op:?} {value}");
    }
}

#[test]
fn what_is_said_already_is_no_record() {
    let mut cluster = with_topic();
    let set = alteration(TOPIC, "t", &[("x", AlterOp::Set, "1")]);
    alter(&mut cluster, std::slice::from_ref(&set));
    let request = IncrementalAlterConfigs {
        resources: vec![set, alteration(BROKER, "", &[("dyn.x", AlterOp::Set, "1")])],
        validate_only: false,
    };
    let mut records_of = |request| {
        let decision = cluster.decide(|context| incremental_alter_configs(context, request));
        assert_eq!(decision.reply, [Ok(()), Ok(())]);
        let count = decision.records.len();
        cluster.commit(decision.records);
        count
    };
    assert_eq!(records_of(&request), 1);
    // A broker reloads even so.
    assert_eq!(records_of(&request), 1);
}

#[test]
fn brokers_and_their_default_are_told_apart() {
    let mut cluster = Cluster::of(&[1]);
    let reply = alter(
        &mut cluster,
        &[
            alteration(BROKER, "1", &[("dyn.x", AlterOp::Set, "own")]),
            alteration(
                BROKER,
                "",
                &[
                    ("dyn.x", AlterOp::Set, "all"),
                    ("dyn.list", AlterOp::Append, "a"),
                ],
            ),
        ],
    );
    assert_eq!(reply, [Ok(()), Ok(())]);
    let image = cluster.image();
    assert_eq!(
        image.property(&ConfigResource::broker(1), "dyn.x"),
        Some("own")
    );
    assert_eq!(
        image.properties(&ConfigResource::cluster_default()),
        Some(&properties(&[("dyn.list", "a"), ("dyn.x", "all")]))
    );
}

#[test]
fn what_is_refused_and_how() {
    use AlterOp::*;
    let long = "x".repeat(VALUE_BYTES_MAX + 1);
    let no_value = ResourceAlteration {
        configs: ["x", "y"]
            .map(|name| ConfigAlteration {
                name: name.into(),
                op: Set,
                value: None,
            })
            .to_vec(),
        ..alteration(TOPIC, "t", &[])
    };
    let table = [
        (
            alteration(TOPIC, "t", &[("x", Set, "1"), ("x", Delete, "")]),
            Kind::InvalidRequest,
            "Error due to duplicate config keys",
        ),
        (
            no_value,
            Kind::InvalidRequest,
            "Null value not supported for : x, y",
        ),
        (
            alteration(TOPIC, "t", &[("x", Append, "1")]),
            Kind::InvalidConfig,
            "Can't APPEND to key x because its type is not LIST.",
        ),
        (
            alteration(TOPIC, "t", &[("x", Subtract, "1")]),
            Kind::InvalidConfig,
            "Can't SUBTRACT to key x because its type is not LIST.",
        ),
        (
            alteration(TOPIC, "t", &[("bad", Set, "v")]),
            Kind::InvalidConfig,
            "Invalid value v for configuration bad",
        ),
        (
            alteration(TOPIC, "t", &[("x", Set, &long)]),
            Kind::InvalidConfig,
            "The configuration value cannot be added because it exceeds the maximum value size \
             of 32767 bytes.",
        ),
        (
            alteration(TOPIC, "t", &[("x", Unknown(9), "1")]),
            Kind::InvalidRequest,
            "Unknown operations type 9",
        ),
        (
            alteration(TOPIC, "nope", &[("x", Set, "1")]),
            Kind::UnknownTopic,
            "The topic 'nope' does not exist.",
        ),
        (
            alteration(TOPIC, "", &[("x", Set, "1")]),
            Kind::InvalidRequest,
            "Default topic resources are not allowed.",
        ),
        (
            alteration(TOPIC, "a b", &[("x", Set, "1")]),
            Kind::InvalidTopic,
            "Topic name is invalid: 'a b' contains one or more characters other than \
             ASCII alphanumerics, '.', '_' and '-'",
        ),
        (
            alteration(BROKER, "2", &[("dyn.x", Set, "1")]),
            Kind::InvalidRequest,
            "Unexpected broker id, expected 1, but received 2",
        ),
        (
            alteration(BROKER, "one", &[("dyn.x", Set, "1")]),
            Kind::InvalidRequest,
            "Node id must be an integer, but it is: one",
        ),
        (
            alteration(BROKER, "1", &[("static", Set, "1")]),
            Kind::InvalidRequest,
            "Cannot update these configs dynamically: Set(static)",
        ),
        (
            alteration(BROKER, "", &[("dyn.x", Append, "1")]),
            Kind::InvalidConfig,
            "Config value append is not allowed for config key: dyn.x",
        ),
        (
            alteration(99, "t", &[("x", Set, "1")]),
            Kind::InvalidRequest,
            "Unknown resource type 99",
        ),
    ];
    let mut cluster = with_topic();
    for (asked, kind, message) in table {
        let reply = alter(&mut cluster, &[asked]);
        assert_eq!(refusal(&reply[0]), (kind, message));
    }
    assert!(cluster.image().configs.is_empty());
}

#[test]
fn a_resource_changes_as_a_whole_and_apart_from_others() {
    let mut cluster = with_topic();
    cluster.add_topic("u", &[&[1]]);
    let set = |name, value| (name, AlterOp::Set, value);
    let reply = alter(
        &mut cluster,
        &[
            alteration(TOPIC, "t", &[set("x", "1"), set("bad", "1")]),
            alteration(TOPIC, "u", &[set("x", "1")]),
            alteration(BROKER, "", &[set("dyn.x", "1")]),
            alteration(BROKER, "", &[set("dyn.y", "1")]),
        ],
    );
    assert_eq!(refusal(&reply[0]).0, Kind::InvalidConfig);
    assert_eq!(reply[1], Ok(()));
    for repeated in &reply[2..] {
        assert_eq!(
            refusal(repeated),
            (
                Kind::InvalidRequest,
                "Each resource must appear at most once."
            )
        );
    }
    let configured: Vec<_> = cluster
        .image()
        .configs
        .keys()
        .map(|of| of.name.as_str())
        .collect();
    assert_eq!(configured, ["u"]);
}

#[test]
fn validation_alone_changes_nothing() {
    let mut cluster = with_topic();
    let request = IncrementalAlterConfigs {
        resources: vec![alteration(TOPIC, "t", &[("x", AlterOp::Set, "1")])],
        validate_only: true,
    };
    let decision = cluster.decide(|context| incremental_alter_configs(context, &request));
    assert_eq!(decision.reply, [Ok(())]);
    assert!(decision.records.is_empty());
}

#[test]
fn the_legacy_form_replaces_all() {
    let mut cluster = with_topic();
    replace(&mut cluster, "t", &[("a", Some("1")), ("b", Some("2"))]).unwrap();
    replace(&mut cluster, "t", &[("b", Some("3")), ("c", Some("4"))]).unwrap();
    assert_eq!(
        topic_properties(&cluster),
        properties(&[("b", "3"), ("c", "4")])
    );
    replace(&mut cluster, "t", &[]).unwrap();
    assert!(topic_properties(&cluster).is_empty());

    let result = replace(&mut cluster, "t", &[("a", None)]);
    assert_eq!(
        refusal(&result),
        (Kind::InvalidRequest, "Null value not supported for : a")
    );
    let result = replace(&mut cluster, "t", &[("a", Some("1")), ("a", Some("2"))]);
    assert_eq!(
        refusal(&result),
        (Kind::InvalidRequest, "Error due to duplicate config keys")
    );
    let result = replace(&mut cluster, "nope", &[("a", Some("1"))]);
    assert_eq!(refusal(&result).0, Kind::UnknownTopic);
}

#[test]
fn eligible_replicas_tie_the_minimum_of_in_sync_ones() {
    let mut cluster = with_topic();
    let feature = FeatureLevelRecord {
        name: "eligible.leader.replicas.version".into(),
        feature_level: 1,
    };
    cluster.commit(vec![feature.into()]);
    let name = MIN_INSYNC_REPLICAS;
    let reply = alter(
        &mut cluster,
        &[
            alteration(BROKER, "1", &[(name, AlterOp::Set, "1")]),
            alteration(BROKER, "", &[(name, AlterOp::Delete, "")]),
        ],
    );
    assert_eq!(
        refusal(&reply[0]),
        (
            Kind::InvalidConfig,
            "Broker-level min.insync.replicas cannot be altered while ELR is enabled."
        )
    );
    assert_eq!(
        refusal(&reply[1]),
        (
            Kind::InvalidConfig,
            "Cluster-level min.insync.replicas cannot be removed while ELR is enabled."
        )
    );
    let request = IncrementalAlterConfigs {
        resources: vec![
            alteration(TOPIC, "t", &[(name, AlterOp::Set, "2")]),
            alteration(BROKER, "", &[(name, AlterOp::Set, "2")]),
        ],
        validate_only: false,
    };
    let decision = cluster.decide(|context| incremental_alter_configs(context, &request));
    let cleared: Vec<_> = decision
        .records
        .iter()
        .filter_map(|record| match record {
            Record::ClearElr(clear) => Some(clear.topic_name.as_str()),
            _ => None,
        })
        .collect();
    assert_eq!(cleared, ["t", ""]);
}
