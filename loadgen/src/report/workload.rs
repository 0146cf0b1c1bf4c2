//! A workload by names with units, for the JSON, and for people.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::workload::{Acks, Assignor, Codec, GroupProtocol, Keys, Load, Shape, Sizes, Workload};

/// Everything about a workload.
pub(crate) fn values(workload: &Workload) -> BTreeMap<String, Value> {
    let Workload {
        name,
        topics,
        producers,
        consumers,
        records,
        load,
        warm_up,
        duration,
        verify,
        seed,
    } = workload;
    let all = [
        ("name", json!(name)),
        ("topics.name", json!(topics.name)),
        ("topics.count", json!(topics.count)),
        ("topics.partitions", json!(topics.partitions)),
        (
            "topics.replication_factor",
            json!(topics.replication_factor),
        ),
        ("topics.configs", json!(topics.configs)),
        ("producers.count", json!(producers.count)),
        ("producers.acks", json!(acks(producers.acks))),
        ("producers.idempotence", json!(producers.idempotence)),
        ("producers.connections", json!(producers.connections)),
        ("producers.in_flight", json!(producers.in_flight)),
        ("producers.batch_bytes", json!(producers.batch_bytes)),
        (
            "producers.linger_ms",
            json!(producers.linger.as_secs_f64() * 1e3),
        ),
        ("producers.codec", json!(codec(producers.codec))),
        ("consumers.count", json!(consumers.count)),
        ("consumers.fan_out", json!(consumers.fan_out)),
        ("consumers.connections", json!(consumers.connections)),
        ("consumers.backlog_bytes", json!(consumers.backlog_bytes)),
        (
            "consumers.group_protocol",
            json!(protocol(consumers.group.protocol)),
        ),
        (
            "consumers.assignor",
            json!(assignor(consumers.group.assignor)),
        ),
        (
            "consumers.session_timeout_ms",
            json!(consumers.group.session_timeout.as_secs_f64() * 1e3),
        ),
        (
            "consumers.commit_interval_ms",
            json!(consumers.group.commit_interval.as_secs_f64() * 1e3),
        ),
        ("records.size_bytes", sizes(&records.sizes)),
        ("records.keys", keys(records.keys)),
        ("records.compressibility", json!(records.compressibility)),
        ("load", rates(load)),
        ("warm_up_s", json!(warm_up.as_secs_f64())),
        ("duration_s", json!(duration.as_secs_f64())),
        ("verify", json!(verify)),
        ("seed", json!(seed)),
    ];
    all.map(|(name, value)| (name.to_owned(), value)).into()
}

/// A value as text, without the marks of JSON.
pub(super) fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Object(fields) => {
            let fields = fields
                .iter()
                .map(|(name, value)| format!("{name} {}", text(value)));
            fields.collect::<Vec<_>>().join(", ")
        }
        Value::Array(values) => values.iter().map(text).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

fn acks(acks: Acks) -> &'static str {
    match acks {
        Acks::None => "0",
        Acks::Leader => "1",
        Acks::All => "all",
    }
}

fn protocol(protocol: Option<GroupProtocol>) -> &'static str {
    match protocol {
        None => "none",
        Some(GroupProtocol::Classic) => "classic",
        Some(GroupProtocol::Consumer) => "consumer",
    }
}

fn assignor(assignor: Assignor) -> &'static str {
    match assignor {
        Assignor::Default => "default",
        Assignor::Range => "range",
        Assignor::CooperativeSticky => "cooperative-sticky",
        Assignor::Uniform => "uniform",
    }
}

fn codec(codec: Codec) -> &'static str {
    match codec {
        Codec::None => "none",
        Codec::Gzip => "gzip",
        Codec::Snappy => "snappy",
        Codec::Lz4 => "lz4",
        Codec::Zstd => "zstd",
    }
}

fn sizes(sizes: &Sizes) -> Value {
    match sizes {
        Sizes::Fixed(bytes) => json!(bytes),
        Sizes::Range(from, to) => json!({ "from": from, "to": to }),
        Sizes::Weighted(sizes) => sizes
            .iter()
            .map(|(bytes, weight)| json!({ "bytes": bytes, "weight": weight }))
            .collect(),
    }
}

fn keys(keys: Keys) -> Value {
    match keys {
        Keys::None => json!("none"),
        Keys::Uniform(count) => json!({ "uniform": count }),
        Keys::Zipf(count, exponent) => json!({ "zipf": count, "exponent": exponent }),
    }
}

fn rates(load: &Load) -> Value {
    let shape = match load {
        Load::Max => return json!("max"),
        Load::Open(shape) => shape,
    };
    match shape {
        Shape::Constant(rate) => json!({ "constant_records_per_s": rate }),
        Shape::Poisson(rate) => json!({ "poisson_records_per_s": rate }),
        Shape::Ramp(from, to) => json!({ "ramp_records_per_s": { "from": from, "to": to } }),
        Shape::Steps(rates) => json!({ "steps_records_per_s": rates }),
        Shape::Bursts {
            base,
            peak,
            every,
            length,
        } => json!({
            "base_records_per_s": base,
            "burst_records_per_s": peak,
            "burst_every_s": every.as_secs_f64(),
            "burst_length_s": length.as_secs_f64(),
        }),
        Shape::Trace(points) => {
            let longest = points.iter().map(|(_, rate)| *rate).fold(0.0, f64::max);
            json!({ "trace_points": points.len(), "trace_peak_records_per_s": longest })
        }
    }
}
