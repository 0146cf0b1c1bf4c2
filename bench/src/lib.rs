//! Measurements of Corelog: criterion benches and the comparison with Apache Kafka.
