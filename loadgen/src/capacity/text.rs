//! A plan for people and for programs.

use std::fmt::Write;

use super::bill::{Bill, Source};

impl Bill {
    /// As JSON.
    pub fn to_json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("numbers and text");
        text.push('\n');
        text
    }

    /// As text: what to buy, then why, then what was assumed.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        let node = &self.node;
        let cores = |cores: Option<u64>| cores.map_or("not told".into(), |it| it.to_string());
        let mbit = |bytes: f64| format!("{:.0} Mbit/s", bytes * 8.0 / 1e6);
        let _ = writeln!(
            text,
            "{} nodes; {} is the binding resource.\n",
            self.nodes, self.binding_resource
        );
        let rows = [
            ("", "a node".to_owned(), "all".to_owned()),
            ("cores", cores(node.cores), cores(self.cores)),
            (
                "memory",
                format!("{:.1} GB", node.memory_bytes / 1e9),
                format!("{:.1} GB", node.memory_bytes * self.nodes as f64 / 1e9),
            ),
            (
                "disks",
                format!("{} of {:.2} TB", node.disks, node.disk_bytes / 1e12),
                self.disks.to_string(),
            ),
            (
                "kept",
                String::new(),
                format!("{:.2} TB", self.stored_bytes / 1e12),
            ),
            (
                "disk writes",
                format!("{:.1} MB/s", node.disk_written_bytes_per_s / 1e6),
                String::new(),
            ),
            (
                "network in",
                mbit(node.network_in_bytes_per_s),
                String::new(),
            ),
            (
                "network out",
                mbit(node.network_out_bytes_per_s),
                String::new(),
            ),
        ];
        for (name, each, all) in rows {
            let line = format!("{name:<14}{each:>20}{all:>20}");
            let _ = writeln!(text, "{}", line.trim_end());
        }
        text.push_str(
            "\nRates of a node are at the peak, while so many nodes have failed as may.\n",
        );
        text.push_str("\nNodes asked for by\n");
        for demand in &self.demands {
            let _ = writeln!(
                text,
                "{:>6}  {}: {}",
                demand.nodes, demand.resource, demand.why
            );
        }
        text.push_str("\nAssumptions\n");
        for assumption in &self.assumptions {
            let from = match assumption.from {
                Source::Given => "given",
                Source::Default => "default",
                Source::Measured => "measured",
                Source::Assumed => "assumed",
            };
            let _ = writeln!(
                text,
                "{from:>10}  {}: {}",
                assumption.what, assumption.value
            );
        }
        if !self.beyond.is_empty() {
            text.push_str("\nBeyond what was measured\n");
            for sentence in &self.beyond {
                let _ = writeln!(text, "  {sentence}");
            }
        }
        text
    }
}
