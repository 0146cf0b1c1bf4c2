//! Folders that are opened: one, and several together.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use corelog_shards::log::uuid_text;
use nix::fcntl::{FcntlArg, fcntl};
use tempfile::TempDir;

use super::{DataFolders, FolderError, WHOLE_FILE};

fn temp() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn open(folder: &Path, node_id: i32) -> Result<DataFolders, FolderError> {
    DataFolders::open(&[folder.to_owned()], folder, node_id, None)
}

/// The folders of these names within one, the first with the metadata log.
fn open_in(folder: &Path, names: &[&str]) -> Result<DataFolders, FolderError> {
    let paths: Vec<PathBuf> = names.iter().map(|name| folder.join(name)).collect();
    DataFolders::open(&paths, &paths[0], 1, None)
}

/// One that cannot be made: a file is in its place.
fn break_folder(path: &Path) {
    fs::write(path, "no folder").unwrap();
}

#[test]
fn the_lock_of_an_apache_kafka_counts_as_well() {
    // Java's FileChannel.lock takes a POSIX lock, which excludes ours even within one process.
    let folder = temp();
    let file = File::create(folder.path().join(".lock")).unwrap();
    fcntl(&file, FcntlArg::F_SETLK(&WHOLE_FILE)).unwrap();
    let refused = open(folder.path(), 1).unwrap_err();
    assert!(matches!(refused, FolderError::Locked(_)), "{refused}");
    drop(file);
    open(folder.path(), 1).unwrap();
}

#[test]
fn meta_properties_of_apache_kafka_are_understood() {
    let folder = temp();
    let write = |text: &str| fs::write(folder.path().join("meta.properties"), text).unwrap();
    let open = || open(folder.path(), 1);
    write(
        "#\n#Sat Nov 21 11:16:48 UTC 2026\nnode.id=1\ndirectory.id=kiuJ4c5ASnW-dblTQUC0zA\n\
         version=1\ncluster.id=GAUsQvq5RoCT_tSx4LqFJg\n",
    );
    let opened = open().unwrap();
    assert_eq!(opened.cluster_id, "GAUsQvq5RoCT_tSx4LqFJg");
    assert_eq!(
        uuid_text::format(opened.all[0].id),
        "kiuJ4c5ASnW-dblTQUC0zA"
    );
    assert!(!opened.all[0].is_new);
    drop(opened);

    // Before Apache Kafka 3.7 folders had no id: they get one.
    write("version=1\nnode.id=1\ncluster.id=x\n");
    let given = open().unwrap().all[0].id;
    assert_eq!(open().unwrap().all[0].id, given);

    let refused = [
        (
            "version=7\nnode.id=1\ncluster.id=x",
            "Unknown meta.properties version number 7",
        ),
        ("node.id=1\ncluster.id=x", "Failed to find version"),
        ("version=1\ncluster.id=x", "Failed to find node.id"),
        ("version=1\nnode.id=1", "Failed to find cluster.id"),
        (
            "version=1\nnode.id=one\ncluster.id=x",
            "node.id=one is not valid",
        ),
        (
            "version=1\nnode.id=1\ncluster.id=x\ndirectory.id=y",
            "directory.id=y is not valid",
        ),
    ];
    for (text, why) in refused {
        write(text);
        let error = open().unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
}

#[test]
fn a_folder_with_data_and_no_meta_properties_is_refused() {
    let folder = temp();
    fs::create_dir(folder.path().join("lost+found")).unwrap();
    for left in ["meta.properties.tmp", ".direct-io-probe"] {
        fs::write(folder.path().join(left), "half").unwrap();
    }
    drop(open(folder.path(), 1).unwrap());
    fs::remove_file(folder.path().join("meta.properties")).unwrap();
    fs::create_dir(folder.path().join("topic-0")).unwrap();
    let refused = open(folder.path(), 1).unwrap_err();
    assert!(matches!(refused, FolderError::NoMeta(_)), "{refused}");
    // Nor was anything written.
    assert!(!folder.path().join("meta.properties").exists());
}

#[test]
fn an_abandoned_folder_keeps_its_lock_and_has_no_identity() {
    let folder = temp();
    open(folder.path(), 1).unwrap().abandon();
    assert!(folder.path().join(".lock").exists());
    assert!(!folder.path().join("meta.properties").exists());
    // Another's data is welcome.
    let opened = open(folder.path(), 2).unwrap();
    assert!(opened.all[0].is_new);
}

#[test]
fn a_first_start_that_comes_to_nothing_leaves_no_identity() {
    let folder = temp();
    let [a, m] = ["a", "m"].map(|name| folder.path().join(name));
    // Its own identity cannot be written.
    fs::create_dir_all(a.join("meta.properties.tmp")).unwrap();
    let refused = DataFolders::open(std::slice::from_ref(&a), &m, 1, None).unwrap_err();
    assert!(matches!(refused, FolderError::NoneLeft(_)), "{refused}");
    assert!(!m.join("meta.properties").exists());
}

#[test]
fn several_folders_belong_to_one_node_each_with_an_id_of_its_own() {
    let folder = temp();
    let first = open_in(folder.path(), &["a", "b"]).unwrap();
    assert!(
        first
            .all
            .iter()
            .all(|folder| folder.is_new && !folder.is_offline)
    );
    assert_eq!(first.all[0].device, first.all[1].device);
    let ids: Vec<_> = first.all.iter().map(|folder| folder.id).collect();
    assert_ne!(ids[0], ids[1]);
    let cluster_id = first.cluster_id.clone();
    let locked = open_in(folder.path(), &["c", "b"]).unwrap_err();
    assert!(matches!(locked, FolderError::Locked(_)), "{locked}");
    drop(first);

    // One more is made this node's; in another order they are still the same.
    let paths = ["c", "b", "a"].map(|name| folder.path().join(name));
    let second = DataFolders::open(&paths, &paths[2], 1, None).unwrap();
    assert_eq!(second.cluster_id, cluster_id);
    assert_eq!([second.all[2].id, second.all[1].id], ids[..]);
    let new: Vec<bool> = second.all.iter().map(|folder| folder.is_new).collect();
    assert_eq!(new, [true, false, false]);
    assert_eq!((second.metadata, second.log_dirs), (2, 3));
    drop(second);

    // One less.
    let third = open_in(folder.path(), &["a"]).unwrap();
    assert_eq!(third.all[0].id, ids[0]);
}

#[test]
fn the_metadata_log_may_have_a_folder_of_its_own() {
    let folder = temp();
    let [a, m] = ["a", "m"].map(|name| folder.path().join(name));
    let opened = DataFolders::open(std::slice::from_ref(&a), &m, 1, None).unwrap();
    assert_eq!((opened.metadata, opened.log_dirs), (1, 1));
    assert_eq!(opened.of_metadata().path, m);
    drop(opened);

    // Never silently two of them, nor an empty one in place of the one that is used.
    let refused =
        DataFolders::open(std::slice::from_ref(&a), &folder.path().join("n"), 1, None).unwrap_err();
    assert!(
        matches!(refused, FolderError::EmptyMetadata { .. }),
        "{refused}"
    );
    fs::create_dir(m.join("__cluster_metadata-0")).unwrap();
    let refused = DataFolders::open(&[a.clone(), m.clone()], &a, 1, None).unwrap_err();
    assert!(
        refused
            .to_string()
            .contains("Found unexpected metadata location in data directory"),
        "{refused}"
    );
    DataFolders::open(&[a, m.clone()], &m, 1, None).unwrap();
}

#[test]
fn a_broken_folder_is_left_out_unless_nothing_works_without_it() {
    let folder = temp();
    let ids = open_in(folder.path(), &["a", "b"]).unwrap();
    let (a, b) = (ids.all[0].id, ids.all[1].id);
    drop(ids);
    fs::rename(folder.path().join("b"), folder.path().join("kept")).unwrap();
    break_folder(&folder.path().join("b"));
    let opened = open_in(folder.path(), &["a", "b"]).unwrap();
    let offline: Vec<bool> = opened.all.iter().map(|folder| folder.is_offline).collect();
    assert_eq!(offline, [false, true]);
    assert_eq!(opened.all[0].id, a);
    drop(opened);

    let refused = open_in(folder.path(), &["b", "a"]).unwrap_err();
    assert!(matches!(refused, FolderError::Metadata(_)), "{refused}");
    let [a_path, b_path] = ["a", "b"].map(|name| folder.path().join(name));
    let refused = DataFolders::open(std::slice::from_ref(&b_path), &a_path, 1, None).unwrap_err();
    assert!(matches!(refused, FolderError::NoneLeft(_)), "{refused}");
    let refused = open(&b_path, 1).unwrap_err();
    assert!(matches!(refused, FolderError::Io { .. }), "{refused}");

    // Back again, with what it had.
    fs::remove_file(&b_path).unwrap();
    fs::rename(folder.path().join("kept"), &b_path).unwrap();
    assert_eq!(open_in(folder.path(), &["a", "b"]).unwrap().all[1].id, b);

    // Nor does one that cannot be understood keep the others down.
    fs::write(b_path.join("meta.properties"), "version=1\n").unwrap();
    assert!(open_in(folder.path(), &["a", "b"]).unwrap().all[1].is_offline);
}

#[test]
fn folders_that_cannot_be_of_one_node_are_refused() {
    let folder = temp();
    let copy = |from: &str, to: &str| {
        let meta = fs::read(folder.path().join(from).join("meta.properties")).unwrap();
        fs::create_dir_all(folder.path().join(to)).unwrap();
        fs::write(folder.path().join(to).join("meta.properties"), meta).unwrap();
    };
    drop(open_in(folder.path(), &["a", "b"]).unwrap());
    drop(open_in(folder.path(), &["other"]).unwrap());
    let refused = open_in(folder.path(), &["a", "other"]).unwrap_err();
    assert!(
        matches!(refused, FolderError::OtherCluster { .. }),
        "{refused}"
    );
    copy("a", "copy");
    let refused = open_in(folder.path(), &["a", "copy"]).unwrap_err();
    assert!(
        matches!(refused, FolderError::DuplicateId { .. }),
        "{refused}"
    );
    std::os::unix::fs::symlink(folder.path().join("a"), folder.path().join("link")).unwrap();
    let refused = open_in(folder.path(), &["a", "link"]).unwrap_err();
    assert!(matches!(refused, FolderError::Duplicate(_)), "{refused}");
    drop(open(&folder.path().join("seven"), 7).unwrap());
    let refused = open_in(folder.path(), &["a", "seven"]).unwrap_err();
    assert!(
        matches!(refused, FolderError::OtherNode { .. }),
        "{refused}"
    );
}
