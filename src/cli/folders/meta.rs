//! `meta.properties`: whose a folder is. It appears whole or not at all: it is written beside, synced
//! and renamed.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::Path;

use corelog_shards::log::uuid_text;
use uuid::Uuid;

use super::error::FolderError;
use crate::cluster::ids::is_reserved;
use crate::config::{Entry, parse_properties, render_property};

pub(super) const META: &str = "meta.properties";
/// Under which it is written.
pub(super) const META_BESIDE: &str = "meta.properties.tmp";

/// The contents of `meta.properties`, version 1.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Meta {
    pub(super) node_id: i32,
    pub(super) cluster_id: String,
    /// Files of older versions of Apache Kafka have none.
    pub(super) directory_id: Option<Uuid>,
}

impl Meta {
    /// `None` if there is none.
    pub(super) fn read(folder: &Path) -> Result<Option<Meta>, FolderError> {
        let path = folder.join(META);
        match fs::read(&path) {
            Ok(bytes) => Meta::parse(&path, &bytes).map(Some),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(source) => Err(FolderError::Io { path, source }),
        }
    }

    fn parse(path: &Path, bytes: &[u8]) -> Result<Meta, FolderError> {
        let malformed = |why: String| FolderError::Malformed {
            path: path.to_owned(),
            why,
        };
        let entries = parse_properties(bytes).map_err(|error| malformed(error.to_string()))?;
        let value = |name: &str| {
            let found = |entry: &&Entry| entry.name == name;
            let entry = entries.iter().rev().find(found);
            entry
                .map(|entry| entry.value.trim())
                .filter(|value| !value.is_empty())
        };
        let required =
            |name: &str| value(name).ok_or_else(|| malformed(format!("Failed to find {name}")));
        match required("version")? {
            "1" => {}
            other => {
                let why = format!("Unknown meta.properties version number {other}");
                return Err(malformed(why));
            }
        }
        let node_id = required("node.id")?;
        let directory_id = value("directory.id");
        let wrong = |name: &str, text: &str| malformed(format!("{name}={text} is not valid"));
        Ok(Meta {
            node_id: node_id.parse().map_err(|_| wrong("node.id", node_id))?,
            cluster_id: required("cluster.id")?.to_owned(),
            directory_id: match directory_id {
                None => None,
                Some(text) => {
                    let id = uuid_text::parse(text).filter(|id| !is_reserved(*id));
                    Some(id.ok_or_else(|| wrong("directory.id", text))?)
                }
            },
        })
    }

    /// Whether it is this node's, of this cluster.
    pub(super) fn check(
        &self,
        folder: &Path,
        node_id: i32,
        cluster_id: &str,
    ) -> Result<(), FolderError> {
        let path = folder.join(META);
        if self.node_id != node_id {
            return Err(FolderError::OtherNode {
                path,
                stored: self.node_id,
                configured: node_id,
            });
        }
        if self.cluster_id != cluster_id {
            return Err(FolderError::OtherCluster {
                path,
                stored: self.cluster_id.clone(),
                wanted: cluster_id.to_owned(),
            });
        }
        Ok(())
    }

    pub(super) fn write(&self, folder: &Path, directory_id: Uuid) -> io::Result<()> {
        let text = [
            "#\n".to_owned(),
            render_property("node.id", &self.node_id.to_string()),
            render_property("directory.id", &uuid_text::format(directory_id)),
            render_property("version", "1"),
            render_property("cluster.id", &self.cluster_id),
        ];
        let beside = folder.join(META_BESIDE);
        let mut file = File::create(&beside)?;
        file.write_all(text.concat().as_bytes())?;
        file.sync_all()?;
        fs::rename(&beside, folder.join(META))?;
        File::open(folder)?.sync_all()
    }
}
