use super::super::testing::{Cluster, properties, refusal};
use super::*;
use crate::cluster::controller::ControlErrorKind as Kind;
use crate::cluster::records::FeatureLevelRecord;

const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const GROUP: i8 = 32;
/// A list of the topic, without a default.
const LIST: &str = "leader.replication.throttled.replicas";
/// Of the topic, of type LONG.
const AGE: &str = "retention.ms";
/// Of a running broker.
const THREADS: &str = "log.cleaner.threads";

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
        (AGE, Set, "1", "1"),
        (AGE, Set, "2", "2"),
        (AGE, Delete, "", ""),
        (LIST, Append, "0:1,0:2", "0:1,0:2"),
        (LIST, Append, "0:2,0:3", "0:1,0:2,0:3"),
        (LIST, Subtract, "0:2,9:9", "0:1,0:3"),
        (LIST, Delete, "", ""),
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
    let set = alteration(TOPIC, "t", &[(AGE, AlterOp::Set, "1")]);
    alter(&mut cluster, std::slice::from_ref(&set));
    let request = IncrementalAlterConfigs {
        resources: vec![set, alteration(BROKER, "", &[(THREADS, AlterOp::Set, "1")])],
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
            alteration(BROKER, "1", &[(THREADS, AlterOp::Set, "2")]),
            alteration(
                BROKER,
                "",
                &[
                    (THREADS, AlterOp::Set, "1"),
                    ("log.cleanup.policy", AlterOp::Append, "compact"),
                ],
            ),
        ],
    );
    assert_eq!(reply, [Ok(()), Ok(())]);
    let image = cluster.image();
    assert_eq!(
        image.property(&ConfigResource::broker(1), THREADS),
        Some("2")
    );
    assert_eq!(
        image.properties(&ConfigResource::cluster_default()),
        Some(&properties(&[
            ("log.cleanup.policy", "delete,compact"),
            (THREADS, "1")
        ]))
    );
}

#[test]
fn what_is_refused_and_how() {
    use AlterOp::*;
    let long = "x".repeat(VALUE_BYTES_MAX + 1);
    let no_value = ResourceAlteration {
        configs: [AGE, LIST]
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
            alteration(TOPIC, "t", &[(AGE, Set, "1"), (AGE, Delete, "")]),
            Kind::InvalidRequest,
            "Error due to duplicate config keys",
        ),
        (
            no_value,
            Kind::InvalidRequest,
            "Null value not supported for : retention.ms, leader.replication.throttled.replicas",
        ),
        (
            alteration(TOPIC, "t", &[(AGE, Append, "1")]),
            Kind::InvalidConfig,
            "Can't APPEND to key retention.ms because its type is not LIST.",
        ),
        (
            alteration(TOPIC, "t", &[(AGE, Subtract, "1")]),
            Kind::InvalidConfig,
            "Can't SUBTRACT to key retention.ms because its type is not LIST.",
        ),
        (
            alteration(TOPIC, "t", &[(AGE, Set, "soon")]),
            Kind::InvalidConfig,
            "Invalid value soon for configuration retention.ms: Not a number of type LONG",
        ),
        (
            alteration(TOPIC, "t", &[(LIST, Set, &long)]),
            Kind::InvalidConfig,
            "The configuration value cannot be added because it exceeds the maximum value size \
             of 32767 bytes.",
        ),
        (
            alteration(TOPIC, "t", &[(AGE, Unknown(9), "1")]),
            Kind::InvalidRequest,
            "Unknown operations type 9",
        ),
        (
            alteration(TOPIC, "nope", &[(AGE, Set, "1")]),
            Kind::UnknownTopic,
            "The topic 'nope' does not exist.",
        ),
        (
            alteration(TOPIC, "", &[(AGE, Set, "1")]),
            Kind::InvalidRequest,
            "Default topic resources are not allowed.",
        ),
        (
            alteration(TOPIC, "a b", &[(AGE, Set, "1")]),
            Kind::InvalidTopic,
            "Topic name is invalid: 'a b' contains one or more characters other than \
             ASCII alphanumerics, '.', '_' and '-'",
        ),
        (
            alteration(BROKER, "2", &[(THREADS, Set, "1")]),
            Kind::InvalidRequest,
            "Unexpected broker id, expected 1, but received 2",
        ),
        (
            alteration(BROKER, "one", &[(THREADS, Set, "1")]),
            Kind::InvalidRequest,
            "Node id must be an integer, but it is: one",
        ),
        (
            alteration(BROKER, "1", &[("broker.rack", Set, "1")]),
            Kind::InvalidRequest,
            "Cannot update these configs dynamically: [broker.rack]",
        ),
        (
            alteration(BROKER, "", &[(THREADS, Append, "1")]),
            Kind::InvalidConfig,
            "Config value append is not allowed for config key: log.cleaner.threads",
        ),
        (
            alteration(BROKER, "", &[("nobody.knows", Append, "1")]),
            Kind::InvalidConfig,
            "Unknown config name: nobody.knows",
        ),
        (
            alteration(TOPIC, "t", &[("nobody.knows", Set, "1")]),
            Kind::InvalidConfig,
            "Unknown topic config name: nobody.knows",
        ),
        (
            alteration(99, "t", &[(AGE, Set, "1")]),
            Kind::InvalidRequest,
            "Unknown resource type 99",
        ),
        (
            alteration(8, "1", &[("root", Set, "INFO")]),
            Kind::InvalidRequest,
            "Unsupported resource type: BROKER_LOGGER",
        ),
        (
            alteration(16, "m", &[("interval.ms", Set, "1000")]),
            Kind::InvalidRequest,
            "Unsupported resource type: CLIENT_METRICS",
        ),
        (
            alteration(GROUP, "", &[("consumer.session.timeout.ms", Set, "50000")]),
            Kind::InvalidRequest,
            "Default group resources are not allowed.",
        ),
        (
            alteration(GROUP, "g", &[(AGE, Set, "1")]),
            Kind::InvalidConfig,
            "Unknown group config name: retention.ms",
        ),
        (
            alteration(GROUP, "g", &[("consumer.session.timeout.ms", Set, "5")]),
            Kind::InvalidConfig,
            "consumer.session.timeout.ms must be greater than or equal to \
             group.consumer.min.session.timeout.ms",
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
fn a_group_has_settings_whether_or_not_it_is_there() {
    let mut cluster = with_topic();
    let name = "consumer.session.timeout.ms";
    let alter_group = |cluster: &mut Cluster, op| {
        let asked = alteration(GROUP, "g", &[(name, op, "50000")]);
        assert_eq!(alter(cluster, &[asked]), [Ok(())]);
    };
    alter_group(&mut cluster, AlterOp::Set);
    let group = ConfigResource::group("g");
    assert_eq!(cluster.image().property(&group, name), Some("50000"));
    alter_group(&mut cluster, AlterOp::Delete);
    assert_eq!(cluster.image().properties(&group), None);
}

#[test]
fn a_resource_changes_as_a_whole_and_apart_from_others() {
    let mut cluster = with_topic();
    cluster.add_topic("u", &[&[1]]);
    let set = |name, value| (name, AlterOp::Set, value);
    let reply = alter(
        &mut cluster,
        &[
            alteration(TOPIC, "t", &[set(AGE, "1"), set("nobody.knows", "1")]),
            alteration(TOPIC, "u", &[set(AGE, "1")]),
            alteration(BROKER, "", &[set(THREADS, "1")]),
            alteration(BROKER, "", &[set("num.io.threads", "1")]),
            // One broker, however its number is written.
            alteration(BROKER, "1", &[set(THREADS, "1")]),
            alteration(BROKER, "01", &[set(THREADS, "1")]),
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
fn a_request_with_too_many_resources_is_refused_whole() {
    let mut cluster = with_topic();
    let of_nobody = |n| alteration(TOPIC, &format!("nobody-{n}"), &[]);
    let mut resources: Vec<_> = (0..RECORDS_PER_REQUEST_MAX).map(of_nobody).collect();
    resources.push(alteration(TOPIC, "t", &[(AGE, AlterOp::Set, "1")]));
    let reply = alter(&mut cluster, &resources);
    assert_eq!(reply.len(), resources.len());
    let last = reply.last().expect("one for each");
    assert_eq!(refusal(last).0, Kind::PolicyViolation);
    assert!(cluster.image().configs.is_empty());
}

#[test]
fn validation_alone_changes_nothing() {
    let mut cluster = with_topic();
    let request = IncrementalAlterConfigs {
        resources: vec![alteration(TOPIC, "t", &[(AGE, AlterOp::Set, "1")])],
        validate_only: true,
    };
    let decision = cluster.decide(|context| incremental_alter_configs(context, &request));
    assert_eq!(decision.reply, [Ok(())]);
    assert!(decision.records.is_empty());
}

#[test]
fn the_legacy_form_replaces_all() {
    let mut cluster = with_topic();
    replace(
        &mut cluster,
        "t",
        &[(AGE, Some("1")), ("segment.ms", Some("2"))],
    )
    .unwrap();
    replace(
        &mut cluster,
        "t",
        &[("segment.ms", Some("3")), ("flush.ms", Some("4"))],
    )
    .unwrap();
    assert_eq!(
        topic_properties(&cluster),
        properties(&[("segment.ms", "3"), ("flush.ms", "4")])
    );
    replace(&mut cluster, "t", &[]).unwrap();
    assert!(topic_properties(&cluster).is_empty());

    let result = replace(&mut cluster, "t", &[(AGE, None)]);
    assert_eq!(
        refusal(&result),
        (
            Kind::InvalidRequest,
            "Null value not supported for : retention.ms"
        )
    );
    let result = replace(&mut cluster, "t", &[(AGE, Some("1")), (AGE, Some("2"))]);
    assert_eq!(
        refusal(&result),
        (Kind::InvalidRequest, "Error due to duplicate config keys")
    );
    let result = replace(&mut cluster, "nope", &[(AGE, Some("1"))]);
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

#[test]
fn a_long_name_can_be_removed_but_not_set() {
    let long = "n".repeat(NAME_BYTES_MAX + 1);
    let mut cluster = with_topic();
    let own = cluster.policy.node_id.to_string();
    let set = |name| alteration(BROKER, &own, &[(name, AlterOp::Set, "1")]);
    assert_eq!(
        alter(&mut cluster, &[set(&long[..NAME_BYTES_MAX])]),
        [Ok(())]
    );
    let refused = alter(&mut cluster, &[set(&long)]);
    let (kind, message) = refusal(&refused[0]);
    assert_eq!(kind, Kind::InvalidConfig);
    assert!(message.contains("1024 bytes"), "{message}");

    // A log of before there was a limit.
    let resource = ConfigResource::broker(cluster.policy.node_id);
    cluster.commit(vec![
        config_record(&resource, &long, Some("1".into())).into(),
    ]);
    let removal = alteration(BROKER, &own, &[(&long, AlterOp::Delete, "")]);
    assert_eq!(alter(&mut cluster, &[removal]), [Ok(())]);
    assert_eq!(cluster.image().property(&resource, &long), None);
}

#[test]
fn directories_are_cordoned_once_all_nodes_know_of_it() {
    const DIRS: &str = "cordoned.log.dirs";
    let mut cluster = Cluster::of(&[1]);
    cluster.file = properties(&[("log.dirs", "/a,/b")]);
    let mut alter_at = |level: i16, op: AlterOp| {
        let level = FeatureLevelRecord {
            name: "metadata.version".into(),
            feature_level: level,
        };
        cluster.commit(vec![level.into()]);
        alter(
            &mut cluster,
            &[alteration(BROKER, "1", &[(DIRS, op, "/b")])],
        )
        .remove(0)
    };
    let why = "The cordoned.log.dirs configuration value cannot be set because it requires \
               metadata.version >= 4.3-IV0";
    for op in [AlterOp::Set, AlterOp::Append, AlterOp::Delete] {
        assert_eq!(refusal(&alter_at(29, op)), (Kind::InvalidConfig, why));
        assert_eq!(alter_at(30, op), Ok(()));
    }
}
