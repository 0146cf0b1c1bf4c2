//! Corelog: what a Kafka client sees.

pub mod cluster;
