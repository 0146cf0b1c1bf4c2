//! How far a start has come, put together for people.
//!
//! All of it is an estimate: journals become known one after the other, and end within their last file;
//! partitions are counted once the metadata is there. The time that is left is that of what is being
//! done: the journals, then the partitions.

use std::fmt;
use std::time::Duration;

use corelog_shards::metrics::RecoveryMetrics;

/// Of all shards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    pub journal_bytes: u64,
    pub journal_bytes_read: u64,
    pub partitions: u64,
    pub partitions_opened: u64,
    /// Of what is being done, by the slowest shard; `None` before there is anything to go by.
    pub left: Option<Duration>,
}

impl Recovery {
    /// After so long.
    pub(super) fn of<'a>(
        shards: impl Iterator<Item = &'a RecoveryMetrics>,
        elapsed: Duration,
    ) -> Recovery {
        let mut all = Recovery::default();
        for shard in shards {
            let bytes = (shard.journal_bytes.get(), shard.journal_bytes_read.get());
            let opened = (shard.partitions.get(), shard.partitions_opened.get());
            let left = match shard.journal_nanos.get() {
                0 => left(bytes, elapsed),
                nanos => {
                    let since = elapsed.saturating_sub(Duration::from_nanos(nanos));
                    left(opened, since)
                }
            };
            all.journal_bytes += bytes.0;
            all.journal_bytes_read += bytes.1;
            all.partitions += opened.0;
            all.partitions_opened += opened.1;
            all.left = all.left.max(left);
        }
        all
    }
}

/// At the rate so far.
fn left((all, done): (u64, u64), elapsed: Duration) -> Option<Duration> {
    let rest = all.saturating_sub(done) as f64;
    (done > 0).then(|| Duration::from_secs_f64(elapsed.as_secs_f64() * rest / done as f64))
}

impl fmt::Display for Recovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} of {} MiB of journals read, {} of {} partitions opened",
            self.journal_bytes_read >> 20,
            self.journal_bytes.div_ceil(1 << 20),
            self.partitions_opened,
            self.partitions
        )?;
        match self.left {
            Some(left) => write!(f, ", about {} s left", left.as_secs_f64().ceil()),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn the_time_left_is_that_of_the_slowest_shard_at_its_rate() {
        let shards = [RecoveryMetrics::default(), RecoveryMetrics::default()];
        let told = |seconds| Recovery::of(shards.iter(), Duration::from_secs(seconds)).to_string();
        assert_eq!(
            told(1),
            "0 of 0 MiB of journals read, 0 of 0 partitions opened"
        );
        shards[0].journal_bytes.set(400 * MIB);
        shards[0].journal_bytes_read.set(100 * MIB);
        shards[1].journal_bytes.set(400 * MIB);
        shards[1].journal_bytes_read.set(200 * MIB);
        assert_eq!(
            told(3),
            "300 of 800 MiB of journals read, 0 of 0 partitions opened, about 9 s left"
        );
        for shard in &shards {
            shard.journal_bytes_read.set(400 * MIB);
            shard.journal_nanos.set(8_000_000_000);
        }
        assert_eq!(
            told(8),
            "800 of 800 MiB of journals read, 0 of 0 partitions opened"
        );
        shards[1].partitions.set(50);
        shards[1].partitions_opened.set(10);
        assert_eq!(
            told(10),
            "800 of 800 MiB of journals read, 10 of 50 partitions opened, about 8 s left"
        );
    }
}
