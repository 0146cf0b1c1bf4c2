//! How a metadata log begins.

use super::features::{FEATURES, Feature, METADATA_VERSION};
use super::records::{BeginTransactionRecord, EndTransactionRecord, FeatureLevelRecord, Record};

/// The records that a new cluster starts with, in one metadata transaction as Kafka writes them: the
/// level of each feature that is on, `metadata.version` first since it says how the rest is to be read.
pub fn bootstrap_records() -> Vec<Record> {
    let is_metadata_version = |feature: &&Feature| feature.name == METADATA_VERSION;
    let (first, others): (Vec<&Feature>, Vec<&Feature>) = FEATURES
        .iter()
        .filter(|feature| feature.bootstrap_level > 0)
        .partition(is_metadata_version);
    let levels = first.into_iter().chain(others).map(|feature| {
        Record::from(FeatureLevelRecord {
            name: feature.name.to_owned(),
            feature_level: feature.bootstrap_level,
        })
    });
    let mut records = vec![Record::from(BeginTransactionRecord {
        name: Some("Bootstrap records".to_owned()),
    })];
    records.extend(levels);
    records.push(Record::from(EndTransactionRecord {}));
    records
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::features::MetadataVersion;
    use crate::cluster::image::{Image, Replayer};

    #[test]
    fn a_new_cluster_is_at_the_latest_metadata_version() {
        let mut replayer = Replayer::new(Image::empty("c"));
        for (offset, record) in (0..).zip(bootstrap_records()) {
            replayer
                .replay(offset, 1, &record)
                .expect("fits an empty log");
        }
        assert_eq!(replayer.open_transaction(), None);
        let image = replayer.image();
        assert_eq!(image.metadata_version(), MetadataVersion::LATEST);
        let features = image.features.iter();
        let features: Vec<_> = features.map(|(name, level)| (&**name, *level)).collect();
        assert_eq!(features, [("group.version", 1), ("metadata.version", 30)]);
        assert!(!image.is_elr_enabled());
    }
}
