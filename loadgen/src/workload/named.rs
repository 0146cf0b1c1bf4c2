//! Workloads that ship with the load generator, sized for a machine of a few cores.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{
    Acks, Assignor, Codec, Consumers, Group, GroupProtocol, Keys, Load, Producers, Records, Shape,
    Sizes, Topics, Workload,
};

/// A workload with a name.
#[derive(Clone, Copy, Debug)]
pub struct Named {
    /// How to ask for it.
    pub name: &'static str,
    /// What it is for, in one line.
    pub purpose: &'static str,
    lay: fn(&mut Workload),
}

impl Named {
    /// The workload itself.
    pub fn workload(&self) -> Workload {
        let mut workload = Workload {
            name: self.name.into(),
            ..Workload::default()
        };
        // Not the topic of another one, which has other partitions.
        workload.topics.name = format!("loadgen-{}", self.name);
        (self.lay)(&mut workload);
        workload
    }
}

/// The workload of that name.
pub fn named(name: &str) -> Option<Workload> {
    let named = NAMED.iter().find(|named| named.name == name)?;
    Some(named.workload())
}

/// All there are.
pub static NAMED: &[Named] = &[
    Named {
        name: "small-records",
        purpose: "many small records, such as events and clicks: what each record and each batch costs",
        lay: |w| {
            w.topics.partitions = 12;
            w.producers.count = 4;
            w.records.sizes = Sizes::Fixed(100);
            w.load = Load::Open(Shape::Constant(50_000.0));
        },
    },
    Named {
        name: "firehose",
        purpose: "large batches as fast as they are acknowledged: what a broker takes in at saturation",
        lay: |w| {
            w.topics.partitions = 12;
            w.producers.count = 4;
            w.producers.batch_bytes = 64 << 10;
            w.consumers.count = 0;
            w.load = Load::Max;
        },
    },
    Named {
        name: "many-partitions",
        purpose: "a thousand partitions with a little load on each: what a partition costs",
        lay: |w| {
            w.topics.count = 10;
            w.topics.partitions = 100;
            w.producers.count = 4;
            w.consumers.count = 2;
            w.records.keys = Keys::Uniform(1_000_000);
            w.load = Load::Open(Shape::Constant(10_000.0));
        },
    },
    Named {
        name: "fan-out",
        purpose: "each record read five times: what reading costs, and how long records take to all readers",
        lay: |w| {
            w.topics.partitions = 12;
            w.producers.count = 2;
            w.consumers.fan_out = 5;
            w.load = Load::Open(Shape::Constant(5_000.0));
        },
    },
    Named {
        name: "groups",
        purpose: "two groups of four consumers: what rebalances and commits cost beside reading",
        lay: |w| {
            w.topics.partitions = 12;
            w.producers.count = 2;
            w.consumers.count = 4;
            w.consumers.fan_out = 2;
            w.consumers.group.protocol = Some(GroupProtocol::Classic);
            w.load = Load::Open(Shape::Constant(5_000.0));
        },
    },
    Named {
        name: "catch-up",
        purpose: "a consumer that is 500 MB behind: how fast it drains, and what that does to producers",
        lay: |w| {
            w.topics.partitions = 12;
            w.producers.count = 2;
            w.producers.batch_bytes = 64 << 10;
            w.consumers.backlog_bytes = 500_000_000;
            w.load = Load::Open(Shape::Constant(20_000.0));
            w.duration = Duration::from_secs(120);
        },
    },
    Named {
        name: "bursty",
        purpose: "a second of ten times the rate in every ten: how queues build up, and how fast they go away",
        lay: |w| {
            w.topics.partitions = 12;
            w.producers.count = 4;
            w.load = Load::Open(Shape::Bursts {
                base: 2_000.0,
                peak: 20_000.0,
                every: Duration::from_secs(10),
                length: Duration::from_secs(1),
            });
        },
    },
];

/// A thousand records of a thousand bytes a second, with what Kafka's own producer does by default: what everything
/// else is laid over.
impl Default for Workload {
    fn default() -> Self {
        Self {
            name: "default".into(),
            topics: Topics {
                name: "loadgen".into(),
                count: 1,
                partitions: 6,
                replication_factor: -1,
                configs: BTreeMap::new(),
            },
            producers: Producers {
                count: 1,
                acks: Acks::All,
                idempotence: true,
                connections: 1,
                in_flight: 5,
                batch_bytes: 16 << 10,
                linger: Duration::from_millis(5),
                codec: Codec::None,
            },
            consumers: Consumers {
                count: 1,
                fan_out: 1,
                connections: 1,
                backlog_bytes: 0,
                group: Group {
                    protocol: None,
                    assignor: Assignor::Default,
                    session_timeout: Duration::from_secs(45),
                    commit_interval: Duration::from_secs(5),
                },
            },
            records: Records {
                sizes: Sizes::Fixed(1_000),
                keys: Keys::None,
                compressibility: 0.0,
            },
            load: Load::Open(Shape::Constant(1_000.0)),
            warm_up: Duration::from_secs(5),
            duration: Duration::from_secs(60),
            verify: false,
            seed: 1,
        }
    }
}
