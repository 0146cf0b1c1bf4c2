//! What consumers of the classic protocol tell each other through the coordinator: `ConsumerProtocolSubscription` in
//! JoinGroup, `ConsumerProtocolAssignment` in SyncGroup. The coordinator looks into it to know the topics of a group,
//! and to have such members in groups of the consumer protocol.
//!
//! Both begin with their version. One that is too new is read as the newest that is known here, as in Kafka: versions
//! only add to the end.

use bytes::Bytes;

use crate::schema::{Reader, Structure, Version, Wire, WireError, structures};

/// The protocol type of groups of consumers.
pub const CONSUMER: &str = "consumer";

const NEWEST: i16 = 3;

structures! {
    /// What a consumer tells when it joins.
    Subscription {
        topics: Vec<String>,
        user_data: Option<Bytes>,
        owned_partitions: Vec<NamedPartitions> [since 1],
        generation_id: i32 [since 2 default -1],
        rack_id: Option<String> [since 3],
    }

    /// What a consumer is assigned.
    Assignment {
        partitions: Vec<NamedPartitions>,
        user_data: Option<Bytes>,
    }

    NamedPartitions {
        topic: String,
        partitions: Vec<i32>,
    }
}

impl Subscription {
    /// What a member's metadata says.
    pub fn parse(metadata: &[u8]) -> Result<Self, WireError> {
        parse(metadata)
    }

    #[cfg(test)]
    pub fn to_bytes(&self, version: i16) -> Bytes {
        let mut bytes = version.to_be_bytes().to_vec();
        self.encode(Version::plain(version), &mut bytes);
        bytes.into()
    }
}

impl Assignment {
    pub fn parse(assignment: &[u8]) -> Result<Self, WireError> {
        parse(assignment)
    }

    /// The assignment in the version of a member's metadata, which its client then understands.
    pub fn to_bytes(&self, metadata: &[u8]) -> Result<Bytes, WireError> {
        let version = version_of(&mut Reader::new(metadata))?;
        let mut bytes = Vec::new();
        version.number.encode(version, &mut bytes);
        self.encode(version, &mut bytes);
        Ok(bytes.into())
    }
}

/// The topics that a consumer subscribes to: what all versions begin with.
pub fn topics(metadata: &[u8]) -> Result<Vec<String>, WireError> {
    let mut reader = Reader::new(metadata);
    version_of(&mut reader)?;
    let oldest = Subscription::decode(Version::plain(0), &mut reader)?;
    Ok(oldest.topics)
}

fn parse<T: Structure>(bytes: &[u8]) -> Result<T, WireError> {
    let mut reader = Reader::new(bytes);
    let version = version_of(&mut reader)?;
    T::decode(version, &mut reader)
}

fn version_of(reader: &mut Reader<'_>) -> Result<Version, WireError> {
    let version = i16::decode(Version::plain(0), reader)?;
    match version {
        0.. => Ok(Version::plain(version.min(NEWEST))),
        _ => Err(WireError::NegativeLength(version.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subscription(version: i16) -> Vec<u8> {
        let mut bytes = version.to_be_bytes().to_vec();
        bytes.extend([0, 0, 0, 1, 0, 1, b't', 0xff, 0xff, 0xff, 0xff]);
        if version >= 1 {
            bytes.extend([0, 0, 0, 1, 0, 1, b't', 0, 0, 0, 1, 0, 0, 0, 5]);
        }
        if version >= 2 {
            bytes.extend([0, 0, 0, 7]);
        }
        if version >= 3 {
            bytes.extend([0, 1, b'r']);
        }
        bytes
    }

    #[test]
    fn subscriptions_of_all_versions() {
        let owned = NamedPartitions {
            topic: "t".to_owned(),
            partitions: vec![5],
        };
        for version in 0..=3 {
            let expected = Subscription {
                topics: vec!["t".to_owned()],
                user_data: None,
                owned_partitions: vec![owned.clone(); usize::from(version >= 1)],
                generation_id: if version >= 2 { 7 } else { -1 },
                rack_id: (version >= 3).then(|| "r".to_owned()),
            };
            let bytes = subscription(version);
            assert_eq!(Subscription::parse(&bytes).as_ref(), Ok(&expected));
            assert_eq!(topics(&bytes).as_ref(), Ok(&expected.topics));
            let cut = &bytes[..bytes.len() - 1];
            assert!(Subscription::parse(cut).is_err());
        }
    }

    #[test]
    fn a_version_that_is_not_known_is_read_as_the_newest() {
        let mut newer = subscription(3);
        newer[1] = 9;
        newer.extend(*b"more");
        assert_eq!(
            Subscription::parse(&newer),
            Subscription::parse(&subscription(3))
        );
        assert!(Subscription::parse(&[0xff, 0xff, 0, 0, 0, 0]).is_err());
    }

    #[test]
    fn an_assignment_is_written_in_the_version_of_the_subscription() {
        let assignment = Assignment {
            partitions: vec![NamedPartitions {
                topic: "t".to_owned(),
                partitions: vec![0, 1],
            }],
            user_data: None,
        };
        for version in [0, 3] {
            let bytes = assignment.to_bytes(&subscription(version)).expect("sound");
            let mut expected = version.to_be_bytes().to_vec();
            expected.extend([0, 0, 0, 1, 0, 1, b't', 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 1]);
            expected.extend([0xff; 4]);
            assert_eq!(&bytes[..], expected);
            assert_eq!(Assignment::parse(&bytes).as_ref(), Ok(&assignment));
        }
        assert!(assignment.to_bytes(&[0]).is_err());
    }
}
