//! Real clients against a broker of this build, each as a suite of its own in `tests/clients/`, in its own language.
//!
//! A suite installs its client if need be (`toolchains.rs`), gets a fresh broker and its address, and prints a line for
//! each check. The last line of the run is the count over all suites. What a suite printed stays in the target folder,
//! under `tmp/clients/`.
//!
//! `CORELOG_CLIENTS_AGAINST=apache-kafka cargo test --test clients` runs the same suites against Apache Kafka: what fails
//! there is an error of the suite.

mod harness;

#[path = "clients/apache_kafka.rs"]
mod apache_kafka;
#[path = "clients/member.rs"]
mod member;
#[path = "clients/members.rs"]
mod members;
#[path = "clients/migrations.rs"]
mod migrations;
#[path = "clients/run.rs"]
mod run;
#[path = "clients/subject.rs"]
mod subject;
#[path = "clients/tally.rs"]
mod tally;
#[path = "clients/toolchains.rs"]
mod toolchains;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use apache_kafka::ApacheKafka;
use harness::{Broker, Launch};
use members::Group;
use migrations::{Client, Migration, Migrations};
use subject::Subject;
use tally::{Counts, Missing, suite};

/// A script of `tests/clients/python` with this interpreter.
fn python(interpreter: &Path, script: &str) -> Command {
    let mut command = Command::new(interpreter);
    command
        .arg("-B")
        .arg(toolchains::sources().join("python").join(script));
    command
}

/// A suite in Python that uses one of the installed clients.
fn python_client(name: &str, script: &str) {
    suite(name, || {
        let interpreter = toolchains::python()?;
        let broker = Subject::start()?;
        let mut command = python(&interpreter, script);
        command.arg(broker.bootstrap());
        Ok(run::checks(name, command))
    });
}

/// A class of `tests/clients/java`, which leaves logging to the checks.
fn java(class: &str) -> Result<Command, Missing> {
    let mut command = Command::new("java");
    command
        .args([
            "-Xmx512m",
            "-XX:+UseSerialGC",
            "-Dorg.slf4j.simpleLogger.defaultLogLevel=off",
        ])
        .args(["-cp", &toolchains::java()?.classpath, class]);
    Ok(command)
}

fn java_client(name: &str, class: &str) {
    suite(name, || {
        let mut command = java(class)?;
        let broker = Subject::start()?;
        command.arg(broker.bootstrap());
        Ok(run::checks(name, command))
    });
}

#[test]
fn kcat() {
    suite("kcat", || {
        toolchains::debian("kcat", "kcat")?;
        let broker = Subject::start()?;
        let mut command = python(&toolchains::any_python()?, "kcat_suite.py");
        command.arg(broker.bootstrap());
        Ok(run::checks("kcat", command))
    });
}

#[test]
fn confluent_kafka() {
    python_client("confluent-kafka", "confluent_suite.py");
}

#[test]
fn kafka_python() {
    python_client("kafka-python", "kafka_python_suite.py");
}

#[test]
fn settings() {
    python_client("settings", "settings_suite.py");
}

/// Consumer groups, with members of two clients.
#[test]
fn groups() {
    python_client("groups", "groups_suite.py");
}

/// Groups of all clients and both protocols while members and the broker are killed.
#[test]
fn group_members() {
    let in_python = |name, client: &'static str, protocol, is_static| {
        let interpreter = toolchains::python()?;
        let program = Box::new(move || {
            let mut command = python(&interpreter, "member.py");
            command.arg(client);
            command
        });
        Ok(Group {
            name,
            program,
            protocol: Some(protocol),
            is_static,
        })
    };
    let in_java = |name, protocol, is_static| {
        toolchains::java()?;
        Ok(Group {
            name,
            program: Box::new(|| java("GroupMember").expect("it is there")),
            protocol: Some(protocol),
            is_static,
        })
    };
    suite("group-members", || {
        let modules = toolchains::node()?;
        let in_javascript = move || {
            let mut command = Command::new("node");
            command
                .env("NODE_PATH", &modules)
                .arg(toolchains::sources().join("node/member.js"));
            command
        };
        let groups = vec![
            in_python("librdkafka-classic", "confluent", "classic", false)?,
            in_python("librdkafka-cooperative", "confluent", "cooperative", false)?,
            in_python("librdkafka-static", "confluent", "classic", true)?,
            in_python("librdkafka-consumer", "confluent", "consumer", false)?,
            // Not kafka-python: its 3.0.0 validates offsets for ever once the leader's epoch has changed.
            in_python("aiokafka", "aiokafka", "classic", false)?,
            Group {
                name: "kafkajs",
                program: Box::new(in_javascript),
                protocol: None,
                is_static: false,
            },
            in_java("java-cooperative", "cooperative", false)?,
            in_java("java-consumer", "consumer", false)?,
            in_java("java-consumer-static", "consumer", true)?,
        ];
        let mut broker = Subject::start()?;
        let address = broker.bootstrap();
        let interpreter = toolchains::python()?;
        let fill = |topic: &str, partitions: i32, records: i64| {
            let mut command = python(&interpreter, "member.py");
            command.args(["fill", &address, topic]);
            command.args([partitions.to_string(), records.to_string()]);
            assert!(command.status().expect("python").success(), "{topic}");
        };
        let folder = emptied("group-members");
        let outcomes = members::live(groups, &mut broker, &folder, fill);
        Ok(counted(outcomes, &folder))
    });
}

/// Groups that go over from one protocol to the other and back while they work.
#[test]
fn group_migrations() {
    use Client::{Java, Librdkafka};
    let migration = |name, members, classic, is_static| Migration {
        name,
        members,
        classic,
        is_static,
    };
    let calm = [
        migration("java-range", [Java; 3], "classic", false),
        migration("java-static", [Java; 3], "classic", true),
        migration("librdkafka", [Librdkafka; 3], "classic", false),
        migration("mixed", [Java, Librdkafka, Java], "classic", false),
    ];
    let killed = [
        migration("java-cooperative", [Java; 3], "cooperative", false),
        migration("java-static", [Java; 3], "cooperative", true),
        migration("librdkafka-static", [Librdkafka; 3], "classic", true),
        migration("mixed", [Librdkafka, Java, Librdkafka], "classic", false),
    ];
    suite("group-migrations", || {
        let interpreter = toolchains::python()?;
        let librdkafka = || {
            let mut command = python(&interpreter, "member.py");
            command.arg("confluent");
            command
        };
        let migrate = |migrations: &[Migration], kills_broker: bool| {
            let host = java("GroupHost")?;
            let folder = emptied(match kills_broker {
                true => "group-migrations-killed",
                false => "group-migrations",
            });
            let mut broker = Subject::start()?;
            let groups = Migrations::new(migrations, &mut broker, &folder, host, &librdkafka);
            Ok(counted(groups.run(kills_broker), &folder))
        };
        thread::scope(|scope| {
            let killed = scope.spawn(|| migrate(&killed, true));
            let calm = migrate(&calm, false);
            let killed = killed.join().unwrap_or_else(|panic| resume_unwind(panic));
            Ok(calm? + killed?)
        })
    });
}

/// An empty folder in the cache.
fn emptied(name: &str) -> PathBuf {
    let folder = toolchains::cache().join(name);
    // What an earlier run has left there.
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("a folder");
    folder
}

/// Of groups, each of which is a check; it names what went wrong.
fn counted(outcomes: BTreeMap<&str, Option<String>>, logs: &Path) -> Counts {
    let mut counts = Counts::default();
    for (name, wrong) in outcomes {
        match wrong {
            None => counts.passed += 1,
            Some(wrong) => {
                println!("{name}: {wrong}; see {}", logs.display());
                counts.failed += 1;
            }
        }
    }
    counts
}

#[test]
fn aiokafka() {
    python_client("aiokafka", "aiokafka_suite.py");
}

#[test]
fn kafkajs() {
    suite("kafkajs", || {
        let modules = toolchains::node()?;
        let broker = Subject::start()?;
        let mut command = Command::new("node");
        command
            .env("NODE_PATH", modules)
            .arg(toolchains::sources().join("node/kafkajs_suite.js"))
            .arg(broker.bootstrap());
        Ok(run::checks("kafkajs", command))
    });
}

#[test]
fn java_clients() {
    java_client("java-clients", "ClientsSuite");
}

#[test]
fn java_tools() {
    java_client("java-tools", "ToolsSuite");
}

/// What `kafka-consumer-groups` prints, against what it printed of Apache Kafka.
#[test]
fn java_group_command() {
    suite("java-group-command", || {
        let mut command = java("GroupCommandSuite")?;
        let broker = Subject::start()?;
        let expectation = toolchains::sources().join("java/kafka-consumer-groups.txt");
        command.arg(broker.bootstrap()).arg(expectation);
        Ok(run::checks("java-group-command", command))
    });
}

/// Several data folders, and moves from one to another.
#[test]
fn folders() {
    suite("folders", || {
        let mut command = java("FoldersSuite")?;
        let names = ["data", "data-1", "data-2"];
        let broker = Subject::start_in(&names)?;
        let folders = names.map(|name| broker.folder_called(name));
        command.arg(broker.bootstrap()).args(folders);
        Ok(run::checks("folders", command))
    });
}

#[test]
fn franz_go() {
    suite("franz-go", || {
        let program = toolchains::go()?;
        let broker = Subject::start()?;
        let mut command = Command::new(program);
        command.arg(broker.bootstrap());
        Ok(run::checks("franz-go", command))
    });
}

/// Segments as Apache Kafka's own tool sees them: the rolled ones of a running broker, then all of a stopped one.
#[test]
fn segments() {
    suite("segments", || {
        let mut running = java("SegmentsSuite")?;
        let mut stopped = java("SegmentsSuite")?;
        let mut broker = Subject::start()?;
        running
            .arg("running")
            .arg(broker.folder())
            .arg(broker.bootstrap());
        let counts = run::checks("segments-running", running);
        broker.stop();
        stopped.arg("stopped").arg(broker.folder());
        Ok(counts + run::checks("segments-stopped", stopped))
    });
}

/// Compacted and truncated logs in the eyes of Apache Kafka's clients and tools, on a running broker and on a stopped one.
#[test]
fn compacted_logs() {
    suite("compacted", || {
        let mut running = java("CompactedSuite")?;
        let mut stopped = java("CompactedSuite")?;
        let mut broker = Subject::start()?;
        running
            .arg("running")
            .arg(broker.folder())
            .arg(broker.bootstrap());
        let counts = run::checks("compacted-running", running);
        broker.stop();
        stopped.arg("stopped").arg(broker.folder());
        Ok(counts + run::checks("compacted-stopped", stopped))
    });
}

/// Snapshots of the metadata in the eyes of Apache Kafka's own tools.
#[test]
fn metadata_snapshots() {
    suite("metadata-snapshots", || {
        let mut command = java("SnapshotSuite")?;
        let broker = Subject::start()?;
        command.arg(broker.folder()).arg(broker.bootstrap());
        Ok(run::checks("metadata-snapshots", command))
    });
}

/// The indexes of aborted transactions in a folder, but for empty ones.
fn aborted_transactions(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let paths = |dir: &Path| {
        let entries = fs::read_dir(dir).expect("a folder");
        entries.map(|entry| entry.expect("an entry").path())
    };
    let files = paths(folder).filter(|path| path.is_dir());
    files
        .flat_map(|dir| paths(&dir))
        .filter(|path| path.extension() == Some(OsStr::new("txnindex")))
        .map(|path| (path.clone(), fs::read(path).expect("an index")))
        .filter(|(_, bytes)| !bytes.is_empty())
        .collect()
}

/// A folder that Apache Kafka wrote, opened by Corelog: same topics, records, offsets, configs, and room for more.
#[test]
fn apache_kafkas_folder() {
    suite("apache-kafkas-folder", || {
        let interpreter = toolchains::python()?;
        let mut kafka = ApacheKafka::start()?;
        let record = toolchains::cache().join("apache-kafkas-folder.json");
        let run = |bootstrap: String, phase: &str| {
            let mut command = python(&interpreter, "recorded_suite.py");
            command.arg(bootstrap).arg(phase).arg(&record);
            run::checks(&format!("apache-kafkas-folder-{phase}"), command)
        };
        let written = run(kafka.bootstrap(), "write");
        kafka.stop();
        let indexes = aborted_transactions(kafka.folder());
        let read = if subject::against_apache_kafka() {
            kafka.start_again();
            run(kafka.bootstrap(), "read")
        } else {
            let broker = Broker::launch(Launch {
                folder: Some(kafka.folder()),
                ..Launch::default()
            });
            run(broker.bootstrap(), "read")
        };
        assert!(
            indexes.len() > 2,
            "markers of aborted transactions in several segments"
        );
        assert_eq!(aborted_transactions(kafka.folder()), indexes);
        Ok(written + read)
    });
}

/// A whole book, line by line with keys, through one client in and another out, with an end of the broker without
/// warning in between.
#[test]
fn a_whole_text() {
    suite("whole-text", || {
        let interpreter = toolchains::python()?;
        toolchains::debian("kcat", "kcat")?;
        let text = toolchains::public_domain_text()?;
        let mut broker = Subject::start()?;
        let run = |broker: &Subject, phase: &str| {
            let mut command = python(&interpreter, "text_suite.py");
            command.arg(broker.bootstrap()).arg(phase).arg(&text);
            run::checks(&format!("whole-text-{phase}"), command)
        };
        let written = run(&broker, "write");
        broker.kill9();
        broker.restart();
        Ok(written + run(&broker, "read"))
    });
}

/// Every API at every version, in kafka-python's encoding.
#[test]
fn every_version() {
    python_client("every-version", "versions_suite.py");
}

/// Broken and hostile clients; none of them may cost memory by what it claims, or the broker's life.
#[test]
fn hostile() {
    suite("hostile", || {
        let mut broker = Subject::start()?;
        let mut command = python(&toolchains::any_python()?, "hostile.py");
        command.arg(broker.bootstrap());
        let counts = run::checks("hostile", command);
        broker.assert_modest();
        Ok(counts)
    });
}
