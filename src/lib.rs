//! Corelog: what a Kafka client sees. The modules stand in the order of the data.

pub mod cli;
pub mod config;

pub mod serve;

pub mod net;

pub mod budget;
pub mod lines;
pub mod turns;

pub mod protocol;

pub mod api;

pub mod fetch;

pub mod broker;
pub mod cluster;
pub mod coordinator;
pub mod metrics;
pub mod replay;
pub mod schema;
