//! Feature levels: what all nodes of a cluster agreed to be able to read and do.
//!
//! One table names each feature, the levels this version works with and the level a new cluster
//! starts at. `metadata.version` is special: it decides the versions that records are written at.

use super::image::Image;

/// The level of `metadata.version`, in Kafka's numbering.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MetadataVersion(pub i16);

impl MetadataVersion {
    /// 3.3-IV3, the lowest that Kafka 4 reads.
    pub const MINIMUM: Self = Self(7);
    /// 3.7-IV2: replicas are assigned to directories.
    pub const DIRECTORY_ASSIGNMENT: Self = Self(17);
    /// 4.0-IV1: eligible leader replicas.
    pub const ELIGIBLE_LEADER_REPLICAS: Self = Self(23);
    /// 4.3-IV0: directories can be cordoned.
    pub const CORDONED_DIRECTORIES: Self = Self(30);
    /// What a new cluster starts at, and the highest understood.
    pub const LATEST: Self = Self::CORDONED_DIRECTORIES;

    const ZK_MIGRATION: Self = Self(8);

    pub(super) fn register_broker_record_version(self) -> i16 {
        if self >= Self::CORDONED_DIRECTORIES {
            4
        } else if self >= Self::DIRECTORY_ASSIGNMENT {
            3
        } else if self >= Self::ZK_MIGRATION {
            2
        } else {
            1
        }
    }

    pub(super) fn partition_record_version(self) -> i16 {
        if self >= Self::ELIGIBLE_LEADER_REPLICAS {
            2
        } else if self >= Self::DIRECTORY_ASSIGNMENT {
            1
        } else {
            0
        }
    }
}

pub const METADATA_VERSION: &str = "metadata.version";
pub const GROUP_VERSION: &str = "group.version";
pub const ELIGIBLE_LEADER_REPLICAS: &str = "eligible.leader.replicas.version";

/// A feature this version knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Feature {
    pub name: &'static str,
    pub min_level: i16,
    pub max_level: i16,
    /// The level of a newly made cluster; 0 leaves the feature off.
    pub bootstrap_level: i16,
}

/// All known features, by name. A folder that Apache Kafka 4.3 made has every one of them turned on,
/// so all their levels can be read; a new cluster turns on only what is served.
pub const FEATURES: &[Feature] = &[
    feature(ELIGIBLE_LEADER_REPLICAS, 0, 1, 0),
    feature(GROUP_VERSION, 0, 1, 1),
    feature("kraft.version", 0, 1, 0),
    feature(
        METADATA_VERSION,
        MetadataVersion::MINIMUM.0,
        MetadataVersion::LATEST.0,
        MetadataVersion::LATEST.0,
    ),
    feature("share.version", 0, 1, 0),
    feature("streams.version", 0, 1, 0),
    feature("transaction.version", 0, 2, 0),
];

const fn feature(
    name: &'static str,
    min_level: i16,
    max_level: i16,
    bootstrap_level: i16,
) -> Feature {
    Feature {
        name,
        min_level,
        max_level,
        bootstrap_level,
    }
}

/// The first finalized feature whose level this version can't work with, and its level. A node must
/// not go on with such an image: others may rely on what it doesn't know.
pub fn first_unsupported(image: &Image) -> Option<(&str, i16)> {
    let is_supported = |name: &str, level: i16| {
        let feature = FEATURES.iter().find(|feature| feature.name == name);
        feature.is_some_and(|feature| (feature.min_level..=feature.max_level).contains(&level))
    };
    let mut levels = image
        .features
        .iter()
        .map(|(name, level)| (name.as_str(), *level));
    levels.find(|(name, level)| !is_supported(name, *level))
}
