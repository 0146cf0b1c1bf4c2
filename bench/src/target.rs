//! What is loaded: the address of a broker, and where to look at what it uses.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};

use crate::metrics::{Inside, Metrics};
use crate::usage::{ContextSwitches, ProcessUsage};

/// A broker that runs.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    pub addr: SocketAddr,
    /// Its process, where it runs on this machine.
    pub pid: Option<u32>,
    /// Where it serves Corelog's metrics, if it does.
    pub http: Option<SocketAddr>,
}

/// Its counters at one moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    usage: Option<(ProcessUsage, ContextSwitches)>,
    metrics: Option<Metrics>,
}

/// What it used between two moments.
#[derive(Clone, Debug)]
pub struct BrokerReport {
    pub cpu: Duration,
    /// Resident bytes at the later moment.
    pub rss: u64,
    pub disk_written: u64,
    pub disk_read: u64,
    pub context_switches: u64,
}

impl Target {
    /// Before a load: asking for metrics is over when what the broker uses begins to count.
    pub fn before(&self) -> Result<Snapshot> {
        let metrics = self.http.map(Metrics::of).transpose()?;
        let usage = self.usage()?;
        Ok(Snapshot { usage, metrics })
    }

    /// Behind a load: what the broker used is known before it is asked for metrics.
    pub fn after(&self) -> Result<Snapshot> {
        let usage = self.usage()?;
        let metrics = self.http.map(Metrics::of).transpose()?;
        Ok(Snapshot { usage, metrics })
    }

    fn usage(&self) -> Result<Option<(ProcessUsage, ContextSwitches)>> {
        let usage = |pid| Ok((ProcessUsage::of(pid)?, ContextSwitches::of(pid)?));
        self.pid.map(usage).transpose()
    }
}

impl Snapshot {
    /// None where the process is not known.
    pub fn used_since(&self, earlier: &Self) -> Option<BrokerReport> {
        let (before, switches_before) = earlier.usage.as_ref()?;
        let (after, switches) = self.usage.as_ref()?;
        Some(BrokerReport {
            cpu: after.cpu.saturating_sub(before.cpu),
            rss: after.rss,
            disk_written: after.disk_written - before.disk_written,
            disk_read: after.disk_read - before.disk_read,
            context_switches: switches.since(switches_before),
        })
    }

    /// None where no metrics are served.
    pub fn inside_since(&self, earlier: &Self) -> Option<Inside> {
        Some(self.metrics.as_ref()?.since(earlier.metrics.as_ref()?))
    }
}

impl BrokerReport {
    pub fn cpu_seconds_a_gb(&self, bytes: u64) -> f64 {
        self.cpu.as_secs_f64() / (bytes as f64 / 1e9)
    }

    pub(crate) fn json(&self, bytes: u64) -> Value {
        json!({
            "cpu_s": self.cpu.as_secs_f64(),
            "cpu_s_a_gb": self.cpu_seconds_a_gb(bytes),
            "rss_bytes": self.rss,
            "disk_bytes_a_byte": self.disk_written as f64 / bytes as f64,
            "context_switches": self.context_switches,
        })
    }
}
