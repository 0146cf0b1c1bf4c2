//! From a measured curve and what a team needs to nodes, cores, disks, network and memory.
//!
//! What is believed of the curve is one thing: a node that kept the promise at so many bytes and records appended and
//! so many bytes read in a second keeps it at less of each. Replication counts as appends on each replica, and as reads
//! on the leader. All else is in the list of assumptions, and what would need more belief than that is refused.

use serde::{Deserialize, Serialize};

use super::inputs::Needs;
use crate::limit::{Bound, Curve, Path, Point, Promise, Rate};
use crate::report::time;

/// Records may be so many times longer or shorter than those that were measured.
const RECORD_RATIO_MAX: f64 = 4.0;
/// The replication factor may be so much higher than the one that was measured.
const REPLICATION_BEYOND_MAX: f64 = 2.0;
/// A cluster may have so many times the nodes that were measured.
const NODES_RATIO_MAX: f64 = 50.0;

/// What to buy, and why. Names carry their units; a later version adds names.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bill {
    pub nodes: u64,
    /// The resource that asks for the most nodes.
    pub binding_resource: String,
    /// Each of these, for each node.
    pub node: NodeBill,
    /// Cores of all nodes; none if nobody told those of the measured node.
    pub cores: Option<u64>,
    pub disks: u64,
    /// For all replicas, at the end of the retention.
    pub stored_bytes: f64,
    /// How many nodes each resource asks for, those that may fail included.
    pub demands: Vec<Demand>,
    pub assumptions: Vec<Assumption>,
    /// Where the plan goes beyond what was measured, or the measurement is not what it could be.
    pub beyond: Vec<String>,
}

/// One node, while so many others have failed as may.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NodeBill {
    pub cores: Option<u64>,
    pub memory_bytes: f64,
    pub disks: u64,
    pub disk_bytes: f64,
    pub disk_written_bytes_per_s: f64,
    pub network_in_bytes_per_s: f64,
    pub network_out_bytes_per_s: f64,
    pub appended_bytes_per_s: f64,
    pub appended_records_per_s: f64,
    pub read_bytes_per_s: f64,
}

/// What one resource asks for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Demand {
    pub resource: String,
    pub nodes: u64,
    pub why: String,
}

/// Something that the plan takes for true.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assumption {
    pub what: String,
    pub value: String,
    pub from: Source,
}

/// Who says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    Given,
    Default,
    Measured,
    Assumed,
}

/// What one node did and will do in a second.
#[derive(Clone, Copy, Debug)]
struct Work {
    appended_bytes: f64,
    appended_records: f64,
    read_bytes: f64,
}

impl Work {
    fn of(rate: Rate, replication_factor: f64, fan_out: f64) -> Self {
        Self {
            appended_bytes: rate.bytes_per_s * replication_factor,
            appended_records: rate.records_per_s * replication_factor,
            read_bytes: rate.bytes_per_s * (fan_out + replication_factor - 1.0),
        }
    }

    fn times(self, factor: f64) -> Self {
        Self {
            appended_bytes: self.appended_bytes * factor,
            appended_records: self.appended_records * factor,
            read_bytes: self.read_bytes * factor,
        }
    }
}

/// Plans, or says why the curve does not allow it.
pub fn plan(needs: &Needs, curve: &Curve) -> Result<Bill, Vec<String>> {
    let limit = limit(needs.slo.as_ref(), curve).map_err(|why| vec![why])?;
    let refusals = refusals(needs, curve);
    if !refusals.is_empty() {
        return Err(refusals);
    }
    let load = curve.load;
    // Inputs are as they go over the network: so is what a record of the curve is reckoned as.
    let wire_share = load.wire_record_bytes / load.record_bytes;
    let record_size = needs.record_size.unwrap_or(load.record_bytes) * wire_share;
    let limit = Rate {
        bytes_per_s: limit.records_per_s * load.wire_record_bytes,
        ..limit
    };
    let measured = Work::of(limit, load.replication_factor, load.fan_out)
        .times((1.0 - needs.headroom) / curve.node.count);
    let peak = needs.input * needs.peak_factor;
    let peak = Rate {
        records_per_s: peak / record_size,
        bytes_per_s: peak,
    };
    let needed = Work::of(peak, needs.replication_factor, needs.fan_out);
    let stored_bytes =
        needs.input * needs.retention * needs.replication_factor * needs.storage_overhead;
    let written = needed.appended_bytes * needs.write_amplification;
    let network = needed.appended_bytes.max(needed.read_bytes);
    let failures = needs.node_failures;
    let at_work = |resource: &str, needed: f64, each: f64, unit: &str| {
        let carrying = (needed / each).ceil().max(1.0);
        Demand {
            resource: resource.to_owned(),
            nodes: (carrying + failures) as u64,
            why: format!(
                "{} of {} {unit} each carry the peak, {failures} may fail",
                carrying,
                amount(each, unit)
            ),
        }
    };
    let mut demands = vec![
        at_work(
            "appended bytes",
            needed.appended_bytes,
            measured.appended_bytes,
            "MB/s",
        ),
        at_work(
            "appended records",
            needed.appended_records,
            measured.appended_records,
            "records/s",
        ),
        at_work(
            "network",
            network,
            needs.network * needs.network_fill_max,
            "MB/s",
        ),
        at_work(
            "disk writes",
            written,
            needs.disk_write * needs.disks_per_node_max,
            "MB/s",
        ),
    ];
    if needed.read_bytes > 0.0 {
        demands.push(at_work(
            "read bytes",
            needed.read_bytes,
            measured.read_bytes,
            "MB/s",
        ));
    }
    let room = needs.disk_size * needs.disks_per_node_max * needs.disk_fill_max;
    demands.push(Demand {
        resource: "disk space".into(),
        nodes: (stored_bytes / room).ceil().max(1.0) as u64,
        why: format!(
            "{:.2} TB are kept, {:.2} TB have room in a node",
            stored_bytes / 1e12,
            room / 1e12
        ),
    });
    demands.push(Demand {
        resource: "replicas".into(),
        nodes: needs.replication_factor as u64,
        why: "each replica has a node of its own".into(),
    });
    demands.push(Demand {
        resource: "quorum".into(),
        nodes: (2.0 * failures + 1.0) as u64,
        why: format!("a majority of controllers is left when {failures} fail"),
    });
    // The first of those that ask for the most.
    demands.sort_by_key(|demand| std::cmp::Reverse(demand.nodes));
    let (nodes, binding_resource) = (demands[0].nodes, demands[0].resource.clone());
    let most = (NODES_RATIO_MAX * curve.node.count) as u64;
    if nodes > most {
        return Err(vec![format!(
            "the plan would have {nodes} nodes, by {binding_resource}: from {} measured it is believed up to {most}; measure \
             larger nodes or more of them",
            curve.node.count
        )]);
    }
    let carrying = nodes as f64 - failures;
    let each = needed.times(1.0 / carrying);
    let written_each = each.appended_bytes * needs.write_amplification;
    let for_space = stored_bytes / nodes as f64 / (needs.disk_size * needs.disk_fill_max);
    let disks = for_space
        .max(written_each / needs.disk_write)
        .ceil()
        .max(1.0) as u64;
    let cores = (curve.node.cores > 0.0).then_some(curve.node.cores as u64);
    let node = NodeBill {
        cores,
        memory_bytes: needs.memory_base + each.appended_bytes * needs.tail_window,
        disks,
        disk_bytes: needs.disk_size,
        disk_written_bytes_per_s: written_each,
        network_in_bytes_per_s: each.appended_bytes,
        network_out_bytes_per_s: each.read_bytes,
        appended_bytes_per_s: each.appended_bytes,
        appended_records_per_s: each.appended_records,
        read_bytes_per_s: each.read_bytes,
    };
    Ok(Bill {
        nodes,
        binding_resource,
        cores: cores.map(|cores| cores * nodes),
        disks: disks * nodes,
        stored_bytes,
        demands,
        assumptions: assumptions(needs, curve, limit),
        beyond: beyond(needs, curve, node.memory_bytes),
        node,
    })
}

/// The highest rate that was seen to keep the promise, over all measured nodes.
fn limit(promise: Option<&Promise>, curve: &Curve) -> Result<Rate, String> {
    let Some(promise) = promise.filter(|promise| promise.to_string() != curve.promise) else {
        return curve.limit.ok_or_else(|| {
            format!(
                "the curve has no rate that kept its promise, {}",
                curve.promise
            )
        });
    };
    let keeps = |point: &&Point| {
        point.kept
            && promise.terms().iter().all(|term| {
                let latency = term.path.of_point(point);
                latency.count > 0 && term.part.of(latency) < term.below_ns
            })
    };
    let best = curve.points.iter().rfind(keeps);
    best.map(|point| point.rate).ok_or_else(|| {
        let term = promise.terms()[0];
        let kept = curve.points.iter().filter(|point| point.kept);
        let latencies = kept.map(|point| term.path.of_point(point));
        let lowest = latencies
            .filter(|latency| latency.count > 0)
            .map(|latency| term.part.of(latency))
            .min();
        let lowest = lowest.map_or("nothing".into(), |ns| time(ns as f64));
        format!(
            "no measured rate kept {promise}: the lowest {} was {lowest}; measure with --slo '{promise}'",
            term.name()
        )
    })
}

impl Path {
    fn of_point(self, point: &Point) -> &crate::report::Latency {
        match self {
            Self::Produce => &point.produce_latency_ns,
            Self::EndToEnd => &point.end_to_end_latency_ns,
        }
    }
}

/// What the curve says nothing of.
fn refusals(needs: &Needs, curve: &Curve) -> Vec<String> {
    let load = curve.load;
    let mut refusals = Vec::new();
    if let Some(size) = needs.record_size {
        let (least, most) = (
            load.record_bytes / RECORD_RATIO_MAX,
            load.record_bytes * RECORD_RATIO_MAX,
        );
        if !(least..=most).contains(&size) {
            refusals.push(format!(
                "record-size {size:.0}: the curve is of {:.0} bytes and believed from {least:.0} to {most:.0}; measure with \
                 --record-sizes {size:.0}",
                load.record_bytes
            ));
        }
    }
    let most = load.replication_factor + REPLICATION_BEYOND_MAX;
    if needs.replication_factor > most {
        refusals.push(format!(
            "replication-factor {}: the curve is of {} and believed up to {most}; measure with --replication-factor",
            needs.replication_factor, load.replication_factor
        ));
    }
    let is_read = needs.fan_out + needs.replication_factor > 1.0;
    if is_read && load.fan_out + load.replication_factor <= 1.0 {
        refusals.push(
            "the curve was measured without anybody who reads, and says nothing of readers or replicas; measure with at \
             least 1 consumer"
                .into(),
        );
    }
    refusals
}

fn assumptions(needs: &Needs, curve: &Curve, limit: Rate) -> Vec<Assumption> {
    let mut all: Vec<Assumption> = needs
        .stated
        .iter()
        .map(|stated| Assumption {
            what: stated.key.to_owned(),
            value: stated.value.clone(),
            from: match stated.is_given {
                true => Source::Given,
                false => Source::Default,
            },
        })
        .collect();
    let mut add = |what: &str, value: String, from| {
        all.push(Assumption {
            what: what.to_owned(),
            value,
            from,
        });
    };
    let load = curve.load;
    add(
        "rate at the promise",
        format!(
            "{:.0} records/s, {:.2} MB/s over the network on {} node(s) for {} s",
            limit.records_per_s,
            limit.bytes_per_s / 1e6,
            curve.node.count,
            curve.hold_s
        ),
        Source::Measured,
    );
    add(
        "measured with",
        format!(
            "records of {:.0} bytes ({:.0} on the network), fan-out {}, replication factor {}, {} partitions",
            load.record_bytes,
            load.wire_record_bytes,
            load.fan_out,
            load.replication_factor,
            load.partitions
        ),
        Source::Measured,
    );
    if needs.slo.is_none() {
        add("slo", curve.promise.clone(), Source::Measured);
    }
    for (what, value) in [
        ("hardware", "each node is as the measured one"),
        ("balance", "leaders, replicas and readers are spread evenly"),
        ("scale", "so many nodes do so many times the work of one"),
        (
            "replication",
            "a replica costs an append on its node and a read on the leader's",
        ),
        (
            "failure",
            "the nodes that are left carry the whole peak; what failed is not filled up from the others meanwhile",
        ),
        ("partitions", "about as many on a node as were measured"),
        (
            "batches",
            "records are as compressible, and come in batches as long, as those that were measured",
        ),
    ] {
        add(what, value.to_owned(), Source::Assumed);
    }
    all
}

fn beyond(needs: &Needs, curve: &Curve, memory_bytes: f64) -> Vec<String> {
    let load = curve.load;
    let mut beyond = Vec::new();
    match curve.bound {
        Bound::Promise | Bound::Nothing => {}
        Bound::Generator => beyond
            .push("The generator was the limit of the measurement: fewer nodes may do.".to_owned()),
        Bound::Most => {
            beyond.push("The measurement was told not to go higher: fewer nodes may do.".to_owned())
        }
        Bound::Interrupted => {
            beyond.push("The measurement was ended early: fewer nodes may do.".to_owned())
        }
    }
    if needs.replication_factor > load.replication_factor {
        beyond.push(format!(
            "The latency of {} replicas was not measured, that of {} was: a write that waits for other nodes takes \
             longer. Measure the promise again with replication.",
            needs.replication_factor, load.replication_factor
        ));
    }
    if needs
        .record_size
        .is_some_and(|size| size != load.record_bytes)
    {
        beyond.push(format!(
            "Records have another length than the measured {:.0} bytes: bytes and records a second both stay within what \
             was measured.",
            load.record_bytes
        ));
    }
    if curve.node.is_shared {
        beyond.push(
            "The generator ran on the measured node and used a part of its cores: fewer nodes may do.".to_owned(),
        );
    }
    if curve.node.cores == 0.0 {
        beyond.push(
            "Nobody told the cores of the measured node (find-limit --node-cores).".to_owned(),
        );
    }
    if curve.node.memory_bytes > 0.0 && memory_bytes > curve.node.memory_bytes {
        beyond.push(format!(
            "A node needs {:.1} GB of memory, the measured one has {:.1} GB.",
            memory_bytes / 1e9,
            curve.node.memory_bytes / 1e9
        ));
    }
    beyond
}

fn amount(value: f64, unit: &str) -> String {
    match unit {
        "MB/s" => format!("{:.1}", value / 1e6),
        _ => format!("{value:.0}"),
    }
}
