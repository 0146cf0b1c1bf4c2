//! What is known of the data folders.

use std::path::Path;

use corelog_shards::shard::FolderFacts;
use prometheus::proto::LabelPair;

use super::series::{Families, labels};
use crate::metrics::monitor::Known;

impl Families {
    pub(super) fn folders(&mut self, known: &Known) {
        let offline = known.folders.iter().filter(|folder| folder.is_offline);
        self.gauges(
            "corelog_offline_folders",
            "Data folders that have failed (Kafka: LogManager OfflineLogDirectoryCount).",
            [(Vec::new(), offline.count() as f64)],
        );
        let folders = known.folders.iter();
        self.gauges(
            "corelog_folder_offline",
            "1 for a data folder that has failed (Kafka: LogManager LogDirectoryOffline).",
            folders.map(|folder| (of_folder(folder), f64::from(u8::from(folder.is_offline)))),
        );
        let uses = known.by_folder();
        let in_folders = || known.folders.iter().map(of_folder).zip(&uses);
        self.gauges(
            "corelog_folder_partitions",
            "Partitions in the folder.",
            in_folders().map(|(folder, used)| (folder, used.partitions as f64)),
        );
        self.gauges(
            "corelog_folder_size_bytes",
            "Bytes of the logs in the folder, copies of partitions that are being moved there \
             included; what is in the journal only is counted as well.",
            in_folders().map(|(folder, used)| (folder, used.bytes as f64)),
        );
        let journals = known.journals.iter();
        self.gauges(
            "corelog_journal_size_bytes",
            "Bytes of the journal files in the folder: at most corelog.journal.bytes for each core, \
             and what the state of very many partitions takes.",
            journals.map(|(path, bytes)| (of_path(path), *bytes as f64)),
        );
    }
}

fn of_folder(folder: &FolderFacts) -> Vec<LabelPair> {
    of_path(&folder.path)
}

fn of_path(path: &Path) -> Vec<LabelPair> {
    labels([("folder", path.display().to_string())])
}
