//! Names of the folders and files of a partition, exactly as Apache Kafka chooses them.
//!
//! Purpose: `orders-3/00000000000000000042.log` and its companions, so that Kafka's own tools read
//! our folders and a folder written by Kafka is read here. Pure functions; every parser is total
//! and answers `None` for names that neither Kafka nor Corelog would have written, also where Kafka
//! itself is laxer (`orders-03`, `42.log`): two names for the same thing could hide data.
//!
//! What it does not do: touch a disk, or decide whether a topic may be created under a name.

use uuid::Uuid;

use super::uuid_text;

/// Longest name of a file that Linux file systems take.
const NAME_BYTES_MAX: usize = 255;
/// Longest name of a topic, which leaves room for the partition.
const TOPIC_BYTES_MAX: usize = 249;
const OFFSET_DIGITS: usize = 20;
const DELETED_SUFFIX: &str = ".deleted";
const CLEANED_SUFFIX: &str = ".cleaned";

/// Holds the topic id, one in each partition's folder.
pub const PARTITION_METADATA: &str = "partition.metadata";

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FileKind {
    Log,
    OffsetIndex,
    TimeIndex,
    TxnIndex,
    ProducerSnapshot,
}

impl FileKind {
    pub const ALL: [FileKind; 5] = [
        FileKind::Log,
        FileKind::OffsetIndex,
        FileKind::TimeIndex,
        FileKind::TxnIndex,
        FileKind::ProducerSnapshot,
    ];

    fn suffix(self) -> &'static str {
        match self {
            FileKind::Log => ".log",
            FileKind::OffsetIndex => ".index",
            FileKind::TimeIndex => ".timeindex",
            FileKind::TxnIndex => ".txnindex",
            FileKind::ProducerSnapshot => ".snapshot",
        }
    }
}

/// A file that belongs to the segment (or, for a snapshot, ends at the offset) `base_offset`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SegmentFile {
    pub base_offset: i64,
    pub kind: FileKind,
    /// Marked for removal: nobody reads it any more.
    pub deleted: bool,
}

impl SegmentFile {
    pub fn new(base_offset: i64, kind: FileKind) -> Self {
        assert!(base_offset >= 0, "a segment starts at offset {base_offset}");
        SegmentFile {
            base_offset,
            kind,
            deleted: false,
        }
    }

    /// The same file, marked for removal.
    pub fn deleted(self) -> Self {
        SegmentFile {
            deleted: true,
            ..self
        }
    }

    pub fn name(self) -> String {
        let deleted = if self.deleted { DELETED_SUFFIX } else { "" };
        format!("{:020}{}{deleted}", self.base_offset, self.kind.suffix())
    }

    /// The name under which compaction writes it, until it takes the place of what it was made of. Apache Kafka
    /// removes such files when it starts.
    pub fn cleaned_name(self) -> String {
        self.name() + CLEANED_SUFFIX
    }

    /// Whether a file is what compaction has written and not put in its place.
    pub fn is_cleaned_name(name: &str) -> bool {
        let file = name.strip_suffix(CLEANED_SUFFIX).and_then(Self::parse);
        file.is_some()
    }

    pub fn parse(name: &str) -> Option<Self> {
        let (name, deleted) = match name.strip_suffix(DELETED_SUFFIX) {
            Some(rest) => (rest, true),
            None => (name, false),
        };
        let (digits, suffix) = name.split_at_checked(OFFSET_DIGITS)?;
        if !digits.bytes().all(|digit| digit.is_ascii_digit()) {
            return None;
        }
        Some(SegmentFile {
            base_offset: digits.parse().ok()?,
            kind: FileKind::ALL
                .into_iter()
                .find(|kind| kind.suffix() == suffix)?,
            deleted,
        })
    }
}

/// What the folder is for, told by its suffix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DirPurpose {
    Live,
    /// Being removed after its topic was deleted; the name of a long topic is cut.
    Delete,
    /// A replica on its way from another data folder; the name of a long topic is cut.
    Future,
    /// Found at start without a topic in the metadata; the name may be cut.
    Stray,
}

impl DirPurpose {
    const MARKED: [(DirPurpose, &'static str); 3] = [
        (DirPurpose::Delete, "-delete"),
        (DirPurpose::Future, "-future"),
        (DirPurpose::Stray, "-stray"),
    ];

    fn mark(self) -> &'static str {
        let mut marked = Self::MARKED.into_iter();
        let found = marked.find(|(purpose, _)| *purpose == self);
        found.map_or("", |(_, mark)| mark)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionDir {
    pub topic: String,
    pub partition: i32,
    pub purpose: DirPurpose,
}

impl PartitionDir {
    /// Takes a folder's name apart. The last dash counts, since topics have dashes of their own.
    pub fn parse(name: &str) -> Option<Self> {
        let marked = DirPurpose::MARKED
            .into_iter()
            .find_map(|(purpose, suffix)| Some((purpose, name.strip_suffix(suffix)?)));
        let (purpose, name) = match marked {
            None => (DirPurpose::Live, name),
            Some((purpose, rest)) => {
                let (name, unique) = rest.rsplit_once('.')?;
                if unique.is_empty() {
                    return None;
                }
                (purpose, name)
            }
        };
        let (topic, partition) = name.rsplit_once('-')?;
        if !is_topic_name(topic) {
            return None;
        }
        Some(PartitionDir {
            topic: topic.to_owned(),
            partition: canonical_number(partition)?,
            purpose,
        })
    }
}

/// The folder of a partition in use.
pub fn partition_dir(topic: &str, partition: i32) -> String {
    format!("{topic}-{partition}")
}

/// The name a folder gets before its removal, or when nobody knows its topic. `unique` keeps it apart
/// from earlier topics of the same name; a long topic is cut so that the name still fits a file system.
pub fn dir_set_aside(dir: &PartitionDir, purpose: DirPurpose, unique: Uuid) -> String {
    let (topic, partition) = (&dir.topic, dir.partition);
    let suffix = format!("-{partition}.{}{}", unique.simple(), purpose.mark());
    let topic_bytes = topic.floor_char_boundary(NAME_BYTES_MAX - suffix.len());
    format!("{}{suffix}", &topic[..topic_bytes])
}

/// Letters, digits, dot, underscore and dash; 1 to 249 of them; not a name for a folder itself.
pub fn is_topic_name(topic: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    !topic.is_empty()
        && topic.len() <= TOPIC_BYTES_MAX
        && !matches!(topic, "." | "..")
        && topic.bytes().all(legal)
}

/// A number written the one way it is written: no sign, no leading zero.
fn canonical_number(text: &str) -> Option<i32> {
    let plain = text.bytes().all(|digit| digit.is_ascii_digit());
    let padded = text.len() > 1 && text.starts_with('0');
    if plain && !padded {
        text.parse().ok()
    } else {
        None
    }
}

/// The content of `partition.metadata` (version 0).
pub fn format_partition_metadata(topic_id: Uuid) -> String {
    format!("version: 0\ntopic_id: {}", uuid_text::format(topic_id))
}

/// The topic id in the content of `partition.metadata`. Versions above 0 are read as Kafka reads
/// them: later ones may only add lines.
pub fn parse_partition_metadata(content: &str) -> Option<Uuid> {
    let mut lines = content.lines();
    let version: i32 = value_of(lines.next()?, "version")?.parse().ok()?;
    let topic_id = uuid_text::parse(value_of(lines.next()?, "topic_id")?)?;
    (version >= 0 && !topic_id.is_nil()).then_some(topic_id)
}

fn value_of<'line>(line: &'line str, key: &str) -> Option<&'line str> {
    let value = line.strip_prefix(key)?.strip_prefix(':')?;
    let trimmed = value.trim_start();
    (trimmed.len() < value.len()).then_some(trimmed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segment_files_have_kafka_names() {
        let log = SegmentFile::new(42, FileKind::Log);
        assert_eq!(log.name(), "00000000000000000042.log");
        assert_eq!(log.deleted().name(), "00000000000000000042.log.deleted");
        assert_eq!(
            SegmentFile::new(i64::MAX, FileKind::TimeIndex).name(),
            "09223372036854775807.timeindex"
        );
        for kind in FileKind::ALL {
            for base_offset in [0, 1, 1 << 40, i64::MAX] {
                let file = SegmentFile::new(base_offset, kind);
                for file in [file, file.deleted()] {
                    assert_eq!(SegmentFile::parse(&file.name()), Some(file));
                }
            }
        }
    }

    #[test]
    fn other_files_are_not_segment_files() {
        for name in [
            "",
            ".deleted",
            "42.log",
            "00000000000000000042",
            "00000000000000000042.swap",
            "00000000000000000042.log.cleaned",
            "000000000000000000042.log",
            "-0000000000000000042.log",
            "+0000000000000000042.log",
            "09223372036854775808.log",
            "99999999999999999999.log",
            "leader-epoch-checkpoint",
            "0000000000000000000\u{e9}.log",
            "\u{1f980}\u{1f980}\u{1f980}\u{1f980}\u{1f980}.log",
        ] {
            assert_eq!(SegmentFile::parse(name), None, "{name:?}");
        }
    }

    fn deleted(topic: &str, partition: i32, unique: u128) -> String {
        let dir = PartitionDir {
            topic: topic.to_owned(),
            partition,
            purpose: DirPurpose::Live,
        };
        dir_set_aside(&dir, DirPurpose::Delete, Uuid::from_u128(unique))
    }

    #[test]
    fn folders_name_topic_and_partition() {
        for (topic, partition) in [("t", 0), ("a-b-c", 12), ("x.y-delete", 3), ("--", i32::MAX)] {
            let dir = PartitionDir::parse(&partition_dir(topic, partition)).unwrap();
            assert_eq!(
                (dir.topic.as_str(), dir.partition, dir.purpose),
                (topic, partition, DirPurpose::Live)
            );
            let deleted = deleted(topic, partition, 7);
            let dir = PartitionDir::parse(&deleted).unwrap();
            assert_eq!(
                (dir.topic.as_str(), dir.partition, dir.purpose),
                (topic, partition, DirPurpose::Delete)
            );
        }
        assert_eq!(
            deleted("t", 4, 0xabc),
            "t-4.00000000000000000000000000000abc-delete"
        );
        let moved = PartitionDir::parse("t-1.abc-future").unwrap();
        assert_eq!(moved.purpose, DirPurpose::Future);
        let stray = PartitionDir::parse("t-1.abc-stray").unwrap();
        assert_eq!(stray.purpose, DirPurpose::Stray);
    }

    #[test]
    fn long_topics_are_cut_when_deleted() {
        let topic = "t".repeat(249);
        let name = deleted(&topic, 123, 7);
        assert_eq!(name.len(), 255);
        let dir = PartitionDir::parse(&name).unwrap();
        assert_eq!(dir.partition, 123);
        assert!(topic.starts_with(&dir.topic));
    }

    #[test]
    fn other_folders_are_not_partitions() {
        for name in [
            "",
            "-",
            "t",
            "t-",
            "-0",
            "t-00",
            "t-+1",
            "t-2147483648",
            "lost+found",
            "a b-0",
            "..-0",
            "t-0-delete",
            "t-0.-delete",
            "t-x.abc-delete",
            "-delete",
            ".-delete",
            "t\u{e9}-0",
        ] {
            assert_eq!(PartitionDir::parse(name), None, "{name:?}");
        }
        assert_eq!(
            PartitionDir::parse(&partition_dir(&"t".repeat(250), 0)),
            None
        );
    }

    #[test]
    fn partition_metadata_is_kafkas() {
        let id = Uuid::from_u128(1);
        let content = format_partition_metadata(id);
        assert_eq!(content, "version: 0\ntopic_id: AAAAAAAAAAAAAAAAAAAAAQ");
        assert_eq!(parse_partition_metadata(&content), Some(id));
        assert_eq!(parse_partition_metadata(&(content + "\n")), Some(id));
        for bad in [
            "",
            "version: 0",
            "version: 0\n",
            "version: -1\ntopic_id: AAAAAAAAAAAAAAAAAAAAAQ",
            "version: 0\ntopic_id: AAAAAAAAAAAAAAAAAAAAAA",
            "version:0\ntopic_id: AAAAAAAAAAAAAAAAAAAAAQ",
            "topic_id: AAAAAAAAAAAAAAAAAAAAAQ\nversion: 0",
            "version: 0\ntopic_id: nonsense",
        ] {
            assert_eq!(parse_partition_metadata(bad), None, "{bad:?}");
        }
    }
}
