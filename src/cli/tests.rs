//! The start, up to where the shards would begin; in folders and on ports of its own.

use std::fs;
use std::net::{IpAddr, TcpListener};
use std::path::Path;

use clap::Parser;
use corelog_shards::log::uuid_text;
use tempfile::TempDir;

use super::config::{self, ConfigArgs, ConfigCommandError};
use super::folders::FolderError;
use super::start::{BrokerArgs, Prepared, StartArgs, StartError, listen_for_http, prepare};
use super::{AddressError, Cli, Command, HostError, addresses, host};
use crate::config::{Endpoint, HTTP_LISTENER, HttpConfig};

fn temp() -> TempDir {
    tempfile::tempdir().unwrap()
}

/// Arguments of a start in `folder`, on a free port, with small journals.
fn args(folder: &Path, overrides: &[&str]) -> StartArgs {
    let mut all = vec![
        format!("log.dirs={}", folder.join("data").display()),
        "listeners=PLAINTEXT://localhost:0".to_owned(),
        "corelog.journal.bytes=67108864".to_owned(),
        // Its default is one port for all.
        "corelog.http.listener=".to_owned(),
    ];
    all.extend(overrides.iter().map(|&text| text.to_owned()));
    StartArgs {
        config: BrokerArgs {
            overrides: all,
            ..BrokerArgs::default()
        },
        ..StartArgs::default()
    }
}

fn start(folder: &Path, overrides: &[&str]) -> Result<Prepared, StartError> {
    prepare(&args(folder, overrides))
}

fn meta(folder: &Path) -> String {
    fs::read_to_string(folder.join("data/meta.properties")).unwrap()
}

#[test]
fn a_first_start_makes_the_folder_and_says_where_it_listens() {
    let folder = temp();
    let prepared = start(folder.path(), &[]).unwrap();
    assert!(prepared.folders.of_metadata().is_new);
    assert!(!prepared.cores.is_empty());

    let [listener] = prepared.listeners.as_slice() else {
        panic!("{:?}", prepared.listeners);
    };
    let port = listener.addresses[0].port();
    assert_ne!(port, 0);
    assert!(
        listener
            .addresses
            .iter()
            .all(|a| a.ip().is_loopback() && a.port() == port)
    );
    assert_eq!(
        prepared.advertised[0].to_string(),
        format!("PLAINTEXT://localhost:{port}")
    );

    let text = meta(folder.path());
    let directory = uuid_text::format(prepared.folders.of_metadata().id);
    let cluster = &prepared.folders.cluster_id;
    assert_eq!(
        text,
        format!("#\nnode.id=1\ndirectory.id={directory}\nversion=1\ncluster.id={cluster}\n")
    );
    assert_eq!(cluster.len(), 22);

    let banner = prepared.banner();
    assert!(
        banner.contains(&format!("node 1 of cluster {cluster}")),
        "{banner}"
    );
    assert!(banner.contains(&format!("127.0.0.1:{port}")), "{banner}");
    assert!(
        banner.contains(&format!("--override listeners=PLAINTEXT://:{port}")),
        "{banner}"
    );
}

#[test]
fn how_to_open_it_names_the_listeners_that_there_are() {
    let folder = temp();
    let overrides = [
        "listeners=INNER://localhost:0,OUTER://localhost:0",
        "listener.security.protocol.map=INNER:PLAINTEXT,OUTER:PLAINTEXT",
        "inter.broker.listener.name=INNER",
    ];
    let prepared = start(folder.path(), &overrides).unwrap();
    let port = |at: usize| prepared.listeners[at].addresses[0].port();
    let everywhere = |host| format!("INNER://{host}:{},OUTER://{host}:{}", port(0), port(1));
    let open = format!(
        "--override listeners={} --override advertised.listeners={}",
        everywhere(""),
        everywhere("THIS_HOST")
    );
    let banner = prepared.banner();
    assert!(banner.contains(&open), "{banner}");
}

#[test]
fn a_second_start_finds_the_same_identity() {
    let folder = temp();
    let first = start(folder.path(), &[]).unwrap();
    let ids = |started: &Prepared| {
        let folders = &started.folders;
        (folders.cluster_id.clone(), folders.of_metadata().id)
    };
    let before = ids(&first);
    drop(first);
    let second = start(folder.path(), &[]).unwrap();
    assert!(!second.folders.of_metadata().is_new);
    assert_eq!(ids(&second), before);
}

#[test]
fn a_second_process_is_kept_off_the_folder() {
    let folder = temp();
    let first = start(folder.path(), &[]).unwrap();
    let refused = start(folder.path(), &[]).unwrap_err();
    assert!(
        matches!(refused, StartError::Folder(FolderError::Locked(_))),
        "{refused}"
    );
    assert!(
        refused
            .to_string()
            .contains("another process uses the data folder"),
        "{refused}"
    );
    drop(first);
    start(folder.path(), &[]).unwrap();
}

#[test]
fn a_folder_of_another_node_or_cluster_is_refused() {
    let folder = temp();
    let first = start(folder.path(), &["node.id=7"]).unwrap();
    let cluster = first.folders.cluster_id.clone();
    drop(first);
    let refused = start(folder.path(), &["node.id=8"])
        .unwrap_err()
        .to_string();
    assert!(
        refused.starts_with("Stored node id 7 doesn't match node.id=8 in "),
        "{refused}"
    );

    let mut other = args(folder.path(), &["node.id=7"]);
    other.cluster_id = Some("AAAAvq5RoCT_tSx4LqFJgg".to_owned());
    let refused = prepare(&other).unwrap_err().to_string();
    let end = format!("Expected AAAAvq5RoCT_tSx4LqFJgg, but read {cluster}");
    assert!(
        refused.starts_with("Invalid cluster.id in: ") && refused.ends_with(&end),
        "{refused}"
    );
    other.cluster_id = Some(cluster);
    prepare(&other).unwrap();
}

#[test]
fn an_empty_folder_may_be_given_a_cluster_id() {
    let folder = temp();
    let mut args = args(folder.path(), &[]);
    args.cluster_id = Some("GAUsQvq5RoCT_tSx4LqFJg".to_owned());
    assert_eq!(
        prepare(&args).unwrap().folders.cluster_id,
        "GAUsQvq5RoCT_tSx4LqFJg"
    );
    assert!(meta(folder.path()).contains("cluster.id=GAUsQvq5RoCT_tSx4LqFJg\n"));
}

#[test]
fn a_port_in_use_is_refused_before_a_folder_is_made() {
    let folder = temp();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let listeners = format!("listeners=PLAINTEXT://127.0.0.1:{port}");
    let refused = start(folder.path(), &[&listeners]).unwrap_err();
    assert!(
        matches!(refused, StartError::Address(AddressError::InUse { .. })),
        "{refused}"
    );
    assert!(
        refused.to_string().contains("is in use by another process"),
        "{refused}"
    );
    assert!(!folder.path().join("data").exists());
    // Every interface is that one as well.
    let listeners = format!("listeners=PLAINTEXT://:{port}");
    let refused = start(folder.path(), &[&listeners]).unwrap_err();
    assert!(
        matches!(refused, StartError::Address(AddressError::InUse { .. })),
        "{refused}"
    );
    drop(taken);
    start(folder.path(), &[&listeners]).unwrap();
}

#[test]
fn a_port_for_metrics_that_is_taken_matters_only_if_it_was_chosen() {
    let folder = temp();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let chosen = format!("corelog.http.listener={address}");
    let refused = start(folder.path(), &[&chosen]).unwrap_err();
    assert!(
        matches!(refused, StartError::Address(AddressError::InUse { .. })),
        "{refused}"
    );
    let text = refused.to_string();
    assert!(text.contains("corelog.http.listener"), "{text}");
    let default = HttpConfig {
        endpoint: Endpoint {
            listener: HTTP_LISTENER.to_owned(),
            host: address.ip().to_string(),
            port: address.port(),
        },
        is_default: true,
    };
    assert!(listen_for_http(Some(&default)).unwrap().is_empty());
    drop(taken);
    assert_eq!(listen_for_http(Some(&default)).unwrap().len(), 1);
    let both = start(folder.path(), &["corelog.http.listener=localhost:0"]).unwrap();
    let ports = both
        .http
        .iter()
        .map(|http| http.local_addr().unwrap().port());
    let ports: Vec<u16> = ports.collect();
    assert!(ports.iter().all(|port| *port == ports[0]), "{ports:?}");
}

#[test]
fn hosts_and_addresses() {
    let endpoint = |host: &str, port| Endpoint {
        listener: "PLAINTEXT".to_owned(),
        host: host.to_owned(),
        port,
    };
    let bind = |host: &str| addresses::bind_addresses(&[endpoint(host, 0)]);
    let all = bind("").unwrap();
    assert!(all[0].addresses[0].ip().is_unspecified());
    let told = addresses::advertise(&[endpoint("", 0)], &all);
    assert!(!told[0].host.is_empty());
    assert_eq!(told[0].port, all[0].addresses[0].port());

    let local = bind("localhost").unwrap();
    let v4: IpAddr = "127.0.0.1".parse().unwrap();
    assert!(local[0].addresses.iter().any(|address| address.ip() == v4));

    let foreign = bind("192.0.2.1").unwrap_err();
    assert!(matches!(foreign, AddressError::NotHere { .. }), "{foreign}");
    let unknown = bind("no.such.host.invalid").unwrap_err();
    assert!(
        matches!(unknown, AddressError::Unresolved { .. }),
        "{unknown}"
    );

    let two = [endpoint("127.0.0.1", 0), endpoint("127.0.0.1", 0)];
    let two = addresses::bind_addresses(&two).unwrap();
    assert_ne!(two[0].addresses, two[1].addresses);
}

#[test]
fn too_little_room_for_the_journals_is_refused() {
    let folder = temp();
    host::check_room(folder.path(), 2, 1 << 20).unwrap();
    let refused = host::check_room(folder.path(), 2, 1 << 60).unwrap_err();
    assert!(
        matches!(refused, HostError::TooLittleRoom { .. }),
        "{refused}"
    );
    assert!(
        refused
            .to_string()
            .contains("set a smaller corelog.journal.bytes"),
        "{refused}"
    );
    // A folder in use opens however full the disk is by now.
    fs::create_dir(folder.path().join("journal")).unwrap();
    fs::write(folder.path().join("journal/0000-0000.journal"), "groups").unwrap();
    host::check_room(folder.path(), 2, 1 << 60).unwrap();
}

#[test]
fn no_start_runs_without_room_for_its_first_journals() {
    let folder = temp();
    // The largest journals there may be, for more shards than any disk has room for.
    let mut wide = args(folder.path(), &["corelog.journal.bytes=68719476736"]);
    wide.config.cores = Some(4096);
    for round in 0..2 {
        let refused = prepare(&wide).unwrap_err();
        assert!(
            matches!(refused, StartError::Host(HostError::TooLittleRoom { .. })),
            "{round}: {refused}"
        );
        let left = fs::read_dir(folder.path().join("data")).unwrap();
        let left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, [".lock"], "no identity is left in it");
    }
    start(folder.path(), &[]).unwrap();
    // A folder that was used keeps its identity.
    let used = meta(folder.path());
    prepare(&wide).unwrap_err();
    assert_eq!(meta(folder.path()), used);
}

#[test]
fn a_folder_that_does_not_tell_of_its_journals_is_left_out() {
    let folder = temp();
    let [a, b] = ["a", "b"].map(|name| folder.path().join(name));
    let folders = [
        format!("log.dirs={},{}", a.display(), b.display()),
        format!("metadata.log.dir={}", b.display()),
    ];
    let folders = folders.each_ref().map(String::as_str);
    drop(start(folder.path(), &folders).unwrap());
    fs::write(a.join("journal"), "no folder").unwrap();
    let prepared = start(folder.path(), &folders).unwrap();
    let offline = prepared.folders.all.iter().map(|folder| folder.is_offline);
    assert_eq!(offline.collect::<Vec<_>>(), [true, false]);
    drop(prepared);
    // Nothing works without the one of the metadata log.
    fs::write(b.join("journal"), "no folder").unwrap();
    let refused = start(folder.path(), &folders).unwrap_err();
    assert!(
        matches!(refused, StartError::Folder(FolderError::Metadata(_))),
        "{refused}"
    );
}

#[test]
fn direct_io_is_probed_and_nothing_left_behind() {
    let folder = temp();
    host::check_direct_io(folder.path()).unwrap();
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    // What a file system without it would answer; /proc has none.
    let refused = host::check_direct_io(Path::new("/proc")).unwrap_err();
    assert!(matches!(refused, HostError::NoDirectIo { .. }), "{refused}");
}

#[test]
fn limits_are_raised_to_what_is_allowed() {
    use nix::sys::resource::{Resource, getrlimit};
    let hard = getrlimit(Resource::RLIMIT_NOFILE).unwrap().1;
    let warning = host::raise_limits();
    assert_eq!(warning.is_some(), hard < 1024);
    assert_eq!(getrlimit(Resource::RLIMIT_NOFILE).unwrap().0, hard);
}

#[test]
fn a_file_that_is_wrong_is_named() {
    let folder = temp();
    let path = folder.path().join("server.properties");
    let with_file = || {
        let mut args = args(folder.path(), &[]);
        args.config.file = Some(path.clone());
        prepare(&args).map(drop).map_err(|error| error.to_string())
    };
    let missing = with_file().unwrap_err();
    assert!(missing.starts_with("can't read ") && missing.contains("server.properties"));
    fs::write(&path, "num.partitions=0\n").unwrap();
    let refused = with_file().unwrap_err();
    assert!(
        refused.ends_with("Value must be at least 1 (valid: [1,...])"),
        "{refused}"
    );
    assert!(refused.starts_with(path.to_str().unwrap()), "{refused}");
    fs::write(&path, "num.partitions=5\n").unwrap();
    with_file().unwrap();
}

#[test]
fn the_command_line() {
    let parse = |line: &str| Cli::try_parse_from(line.split(' '));
    let Command::Start(args) =
        parse("corelog start my.properties --override a=1 --override b=2=3 --cores 2 --log debug")
            .unwrap()
            .command
    else {
        panic!("another command");
    };
    assert_eq!(
        args.config.file.as_deref(),
        Some(Path::new("my.properties"))
    );
    assert_eq!(args.config.overrides, ["a=1", "b=2=3"]);
    assert_eq!(
        (args.config.cores, args.log.as_deref()),
        (Some(2), Some("debug"))
    );
    assert!(parse("corelog start --cores 0").is_err());
    assert!(parse("corelog").is_err());
    let mut args = self::args(temp().path(), &[]);
    args.config.cores = Some(1);
    let folder = temp();
    args.config.overrides[0] = format!("log.dirs={}", folder.path().display());
    assert_eq!(prepare(&args).unwrap().cores.len(), 1);
}

#[test]
fn the_reference_is_printed() {
    let print = |names: &[&str]| {
        let names = names.iter().map(|&name| name.to_owned()).collect();
        let mut out = Vec::new();
        let outcome = config::run(&ConfigArgs { names }, &mut out);
        outcome.map(|()| String::from_utf8(out).unwrap())
    };
    assert!(
        print(&[])
            .unwrap()
            .starts_with("# Configuration of Corelog")
    );
    assert!(
        print(&["retention.ms"])
            .unwrap()
            .contains("default `604800000`")
    );
    let refused = print(&["retention"]).unwrap_err();
    assert!(matches!(refused, ConfigCommandError::Unknown(name) if name == "retention"));
}
