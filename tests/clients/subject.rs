//! The broker that the suites are pointed at: this build, or, with `CORELOG_CLIENTS_AGAINST=apache-kafka`, Apache Kafka
//! itself, which shows that a suite asserts what Kafka does.

use std::path::{Path, PathBuf};

use crate::apache_kafka::ApacheKafka;
use crate::harness::{Broker, Launch};
use crate::tally::Missing;

/// Far above what a broker with a few clients needs, far below what one hostile length asks for.
const MEMORY_MAX_BYTES: u64 = 768 << 20;

/// Old segments and what is to be compacted are looked for often, so that a suite can wait for that; the metadata log
/// goes by snapshots all the time; the first member of a group does not wait long for others, and a member that is killed
/// is soon missed.
pub const PROPERTIES: [&str; 10] = [
    "log.retention.check.interval.ms=500",
    "log.initial.task.delay.ms=500",
    "log.cleaner.backoff.ms=200",
    "metadata.log.max.record.bytes.between.snapshots=5000",
    "metadata.max.retention.bytes=50000",
    "group.initial.rebalance.delay.ms=100",
    "group.consumer.min.session.timeout.ms=6000",
    "group.consumer.session.timeout.ms=6000",
    "group.consumer.min.heartbeat.interval.ms=500",
    "group.consumer.heartbeat.interval.ms=500",
];

pub enum Subject {
    Corelog(Broker),
    ApacheKafka(ApacheKafka),
}

impl Subject {
    pub fn start() -> Result<Subject, Missing> {
        if against_apache_kafka() {
            Ok(Subject::ApacheKafka(ApacheKafka::start()?))
        } else {
            Ok(Subject::Corelog(Broker::start(&PROPERTIES)))
        }
    }

    /// With folders of these names, in one that is made for it.
    pub fn start_in(folders: &[&str]) -> Result<Subject, Missing> {
        if against_apache_kafka() {
            return Ok(Subject::ApacheKafka(ApacheKafka::start_in(folders)?));
        }
        Ok(Subject::Corelog(Broker::launch(Launch {
            overrides: &PROPERTIES,
            folders,
            ..Launch::default()
        })))
    }

    /// The folder of this name.
    pub fn folder_called(&self, name: &str) -> PathBuf {
        self.folder().with_file_name(name)
    }

    pub fn bootstrap(&self) -> String {
        match self {
            Subject::Corelog(broker) => broker.bootstrap(),
            Subject::ApacheKafka(kafka) => kafka.bootstrap(),
        }
    }

    /// The folder with the partitions' folders.
    pub fn folder(&self) -> &Path {
        match self {
            Subject::Corelog(broker) => broker.folder(),
            Subject::ApacheKafka(kafka) => kafka.folder(),
        }
    }

    /// A clean stop.
    pub fn stop(&mut self) {
        match self {
            Subject::Corelog(broker) => broker.stop(),
            Subject::ApacheKafka(kafka) => kafka.stop(),
        }
    }

    /// An end without warning; whatever was acknowledged must be there after `restart`.
    pub fn kill9(&mut self) {
        match self {
            Subject::Corelog(broker) => broker.kill9(),
            Subject::ApacheKafka(kafka) => kafka.kill9(),
        }
    }

    pub fn restart(&mut self) {
        match self {
            Subject::Corelog(broker) => broker.restart(),
            Subject::ApacheKafka(kafka) => kafka.start_again(),
        }
    }

    /// The broker lives, and never needed more memory than its budgets allow. What a Java heap takes says nothing.
    pub fn assert_modest(&mut self) {
        if let Subject::Corelog(broker) = self {
            assert!(
                broker.is_running(),
                "the broker has ended:\n{}",
                broker.log()
            );
            let peak = broker.memory_peak_bytes();
            assert!(
                peak < MEMORY_MAX_BYTES,
                "the broker took {} MiB at its peak",
                peak >> 20
            );
        }
    }
}

pub fn against_apache_kafka() -> bool {
    match std::env::var("CORELOG_CLIENTS_AGAINST").as_deref() {
        Ok("apache-kafka") => true,
        Ok(other) => panic!("CORELOG_CLIENTS_AGAINST={other}: only apache-kafka is known"),
        Err(_) => false,
    }
}
