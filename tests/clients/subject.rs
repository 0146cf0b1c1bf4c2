//! The broker that the suites are pointed at: this build, or, with `CORELOG_CLIENTS_AGAINST=apache-kafka`, Apache Kafka
//! itself, which shows that a suite asserts what Kafka does.

use std::path::Path;

use crate::apache_kafka::ApacheKafka;
use crate::harness::Broker;
use crate::tally::Missing;

/// Old segments are looked for often, so that a suite can wait for them to go.
pub const PROPERTIES: [&str; 2] = [
    "log.retention.check.interval.ms=500",
    "log.initial.task.delay.ms=500",
];

pub enum Subject {
    Corelog(Broker),
    ApacheKafka(ApacheKafka),
}

impl Subject {
    pub fn start() -> Result<Subject, Missing> {
        match std::env::var("CORELOG_CLIENTS_AGAINST").as_deref() {
            Ok("apache-kafka") => Ok(Subject::ApacheKafka(ApacheKafka::start()?)),
            Ok(other) => panic!("CORELOG_CLIENTS_AGAINST={other}: only apache-kafka is known"),
            Err(_) => Ok(Subject::Corelog(Broker::start(&PROPERTIES))),
        }
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
}
