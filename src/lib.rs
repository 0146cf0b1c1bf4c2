//! Corelog: what a Kafka client sees.
