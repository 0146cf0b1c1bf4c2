//! How many replicas lie in each directory: kept beside the image where partitions are placed, so
//! that placing one costs nothing per partition that there is.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::Image;

/// Replicas by directory. Those that have none yet count under the id that says so.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DirectoryCounts(BTreeMap<Uuid, usize>);

impl DirectoryCounts {
    /// Counts all of them.
    pub fn of(image: &Image) -> Self {
        let mut counts = Self::default();
        for topic in image.topics.iter() {
            for partition in topic.partitions.values() {
                counts.add(&partition.directories);
            }
        }
        counts
    }

    pub fn replicas_in(&self, directory: Uuid) -> usize {
        self.0.get(&directory).copied().unwrap_or(0)
    }

    /// Counts one more in `directory`.
    pub fn add_replica(&mut self, directory: Uuid) {
        *self.0.entry(directory).or_insert(0) += 1;
    }

    pub(super) fn add(&mut self, of_replicas: &[Uuid]) {
        for directory in of_replicas {
            self.add_replica(*directory);
        }
    }

    pub(super) fn remove(&mut self, of_replicas: &[Uuid]) {
        for directory in of_replicas {
            let count = self.0.get_mut(directory).expect("it was counted");
            *count -= 1;
            if *count == 0 {
                self.0.remove(directory);
            }
        }
    }
}
