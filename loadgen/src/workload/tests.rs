use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use clap::{Args, FromArgMatches};

use super::settings::{Given, Layer, lay};
use super::*;

fn toml(text: &str) -> Result<Workload, Faults> {
    let read = file::parse(text, Path::new("w.toml"));
    lay(read.base, &[read.layer], read.faults)
}

fn refusal(text: &str) -> String {
    toml(text).expect_err(text).to_string()
}

fn args(args: &[&str]) -> WorkloadArgs {
    let command = WorkloadArgs::augment_args(clap::Command::new("test").no_binary_name(true));
    let matches = command.try_get_matches_from(args).expect("known flags");
    WorkloadArgs::from_arg_matches(&matches).expect("known flags")
}

fn flags(flags: &[&str]) -> Result<Workload, Faults> {
    args(flags).resolve()
}

/// A workload for each form that a setting has.
fn varied() -> Vec<Workload> {
    let loads = [
        Load::Open(Shape::Constant(0.25)),
        Load::Open(Shape::Poisson(1234.5)),
        Load::Open(Shape::Ramp(0.0, 100_000.0)),
        Load::Open(Shape::Steps(vec![1_000.0, 0.0, 2_000.5])),
        Load::Open(Shape::Bursts {
            base: 0.0,
            peak: 1e8,
            every: Duration::from_millis(1_500),
            length: Duration::from_millis(1),
        }),
        Load::Open(Shape::Trace(vec![
            (Duration::ZERO, 0.0),
            (Duration::from_micros(10_500), 7.25),
        ])),
        Load::Max,
    ];
    let with_load = loads.into_iter().map(|load| Workload {
        load,
        ..Workload::default()
    });
    let mut all: Vec<Workload> = with_load.collect();
    let mut odd = Workload {
        name: "a \"name\" with \\ and ü".into(),
        verify: true,
        seed: i64::MAX.cast_unsigned(),
        ..Workload::default()
    };
    odd.topics.count = 3;
    odd.topics.replication_factor = 3;
    odd.topics.configs = [("retention.ms", "1000"), ("cleanup.policy", "a=b,\"c\"\n")]
        .map(|(name, value)| (name.into(), value.into()))
        .into();
    odd.producers.acks = Acks::Leader;
    odd.producers.idempotence = false;
    odd.producers.in_flight = 256;
    odd.producers.batch_bytes = 1_000_001;
    odd.producers.linger = Duration::ZERO;
    odd.producers.codec = Codec::Zstd;
    odd.consumers.backlog_bytes = 10 << 20;
    odd.records.sizes = Sizes::Weighted(vec![(100, 0.5), (16 << 20, 1e-3)]);
    odd.records.keys = Keys::Zipf(1_000_000, 0.99);
    odd.records.compressibility = 0.125;
    all.push(odd.clone());
    odd.records.sizes = Sizes::Range(40, 4_096);
    odd.records.keys = Keys::Uniform(7);
    odd.producers.acks = Acks::None;
    odd.verify = false;
    all.push(odd);
    all
}

#[test]
fn every_workload_is_read_from_what_its_settings_show() {
    let named = NAMED.iter().map(Named::workload);
    for workload in named.chain(varied()).chain([Workload::default()]) {
        let shown = SETTINGS.iter().filter_map(|setting| {
            let input = setting.show(&workload)?;
            Some(Given {
                setting,
                raw: format!("{input:?}"),
                input,
                place: Place::Flag,
            })
        });
        let layer = Layer {
            given: shown.collect(),
            ..Layer::default()
        };
        let read = lay(Workload::default(), &[layer], Vec::new());
        assert_eq!(read.unwrap_or_else(|faults| panic!("{faults}")), workload);
    }
}

#[test]
fn a_file_reads_as_it_is_written_by_hand() {
    let read = toml(
        r#"
based-on = "fan-out"
duration = 90               # seconds
warm-up = "1.5s"
topics.partitions = 0x18

[topics.configs]
retention.ms = 60_000       # quotes are not needed
"segment.bytes" = "1048576"

[producers]
acks = "all"
linger = 20                 # milliseconds
batch-size = "64KiB"

[consumers]
backlog = "1MB"

[records]
sizes = ["100:9", "10KiB:1"]
keys = "zipf:1000:1"

[load]
rate = 2_000.5
poisson = true
"#,
    )
    .expect("valid");
    assert_eq!(read.name, "w");
    assert_eq!(read.consumers.fan_out, 5);
    assert_eq!(read.duration, Duration::from_secs(90));
    assert_eq!(read.warm_up, Duration::from_millis(1_500));
    assert_eq!(read.topics.partitions, 24);
    assert_eq!(read.topics.configs["retention.ms"], "60000");
    assert_eq!(read.topics.configs["segment.bytes"], "1048576");
    assert_eq!(read.producers.linger, Duration::from_millis(20));
    assert_eq!(read.producers.batch_bytes, 65_536);
    assert_eq!(read.consumers.backlog_bytes, 1_000_000);
    let sizes = vec![(100, 9.0), (10_240, 1.0)];
    assert_eq!(read.records.sizes, Sizes::Weighted(sizes));
    assert_eq!(read.records.keys, Keys::Zipf(1_000, 1.0));
    assert_eq!(read.load, Load::Open(Shape::Poisson(2_000.5)));
}

#[test]
fn all_faults_of_a_file_are_told_at_once() {
    let text = r#"based-on = "fire-hose"
duration = "1 fortnight"
speed = 3

[topics]
partitions = 0
count = "two"

[producers]
batch.size = 100
acks = 2
linger = "90s"

[load]
rate = 100
max = true
"#;
    assert_eq!(
        refusal(text),
        "\
w.toml:1: based-on = \"fire-hose\": must be one of small-records, firehose, many-partitions, fan-out, catch-up, bursty
w.toml:2: duration = \"1 fortnight\": must be a time from 100ms to 2592000s, in s unless a unit is given
w.toml:3: unknown key speed: must be one of based-on, name, warm-up, duration, verify, seed, [topics], [producers], \
         [consumers], [records], [load]
w.toml:6: topics.partitions = 0: must be a whole number from 1 to 100000
w.toml:7: topics.count = \"two\": must be a whole number from 1 to 100000
w.toml:10: unknown key producers.batch: must be one of count, acks, enable-idempotence, \
         connections, max-in-flight-requests-per-connection, batch-size, linger, compression-type
w.toml:11: producers.acks = 2: must be one of 0, 1, all
w.toml:12: producers.linger = \"90s\": must be a time from 0s to 60s, in ms unless a unit is given
w.toml:16: load.max = true: only one load can be given, and load.rate is one"
    );
}

#[test]
fn broken_toml_is_told_with_its_line_and_with_other_faults() {
    let told = refusal("seed = -1\nduration = = 3\nduration = 3\n[topics\ncount = 0\n");
    for line in ["w.toml:1: seed = -1: must be", "w.toml:2: ", "w.toml:4: "] {
        assert!(told.contains(line), "{line} in\n{told}");
    }
    let told = refusal("seed = 1\nseed = 2\n");
    assert!(told.starts_with("w.toml:2: duplicate key"), "{told}");
    assert!(refusal("topics = 5").starts_with("w.toml:1: topics = 5: must be a table"));
}

/// Values just outside of what a setting allows, and of the wrong type.
const REFUSED: &[(&str, &[&str])] = &[
    ("name", &["5", "\"\"", "\"a\\nb\"", "[\"a\"]"]),
    (
        "warm-up",
        &["-1", "\"86401s\"", "\"-1s\"", "true", "\"1x\"", "\"\""],
    ),
    (
        "duration",
        &["0", "\"99ms\"", "\"721h\"", "[1]", "1979-05-27"],
    ),
    ("verify", &["1", "\"yes\"", "\"true\""]),
    ("seed", &["-1", "1.5", "\"1\"", "99999999999999999999"]),
    ("topics.name", &["\"\"", "\"a b\"", "\"..\"", "7"]),
    ("topics.count", &["0", "100001", "2.0", "\"2\""]),
    ("topics.partitions", &["0", "100001", "true"]),
    ("topics.replication-factor", &["0", "-2", "32768", "\"1\""]),
    ("topics.configs", &["1", "[\"a=b\"]", "{ a = [1] }"]),
    ("producers.count", &["0", "10001"]),
    ("producers.acks", &["2", "\"none\"", "true"]),
    ("producers.enable-idempotence", &["0", "\"false\""]),
    (
        "producers.max-in-flight-requests-per-connection",
        &["0", "10001"],
    ),
    (
        "producers.batch-size",
        &["0", "\"101MiB\"", "1.5", "\"1 parsec\""],
    ),
    ("producers.linger", &["60001", "\"61s\"", "false"]),
    (
        "producers.compression-type",
        &["\"bzip2\"", "\"LZ4\"", "true"],
    ),
    ("consumers.count", &["-1", "10001"]),
    ("consumers.fan-out", &["0", "1001"]),
    ("producers.connections", &["0", "1001", "\"two\""]),
    ("consumers.connections", &["0", "1001"]),
    ("consumers.backlog", &["-1", "\"101TiB\""]),
    (
        "records.sizes",
        &[
            "35",
            "16777217",
            "\"100..50\"",
            "\"35..50\"",
            "[]",
            "[100, 200]",
            "[\"100:0\"]",
            "[\"100:-1\"]",
            "[\"35:1\"]",
            "\"100:1e10\"",
            "1.5",
        ],
    ),
    (
        "records.keys",
        &[
            "\"uniform\"",
            "\"uniform:0\"",
            "\"uniform:1000000000001\"",
            "\"zipf:10\"",
            "\"zipf:10:10.1\"",
            "\"zipf:10:-1\"",
            "5",
        ],
    ),
    (
        "records.compressibility",
        &["-0.1", "1.01", "\"0.5\"", "nan"],
    ),
    (
        "load.rate",
        &["0", "0.0009", "100000001", "-5", "\"5\"", "inf"],
    ),
    ("load.ramp", &["\"5\"", "\"1:100000001\"", "\"-1:5\"", "5"]),
    ("load.steps", &["[]", "[-1]", "[100000001]", "[\"a\"]", "5"]),
    (
        "load.bursts",
        &[
            "\"1:2:3\"",
            "\"1:2:0s:1s\"",
            "\"1:2:10s:11s\"",
            "\"1:2:10s:0s\"",
            "\"1:2:86401s:1s\"",
            "\"100000001:2:10s:1s\"",
            "5",
        ],
    ),
    ("load.trace", &["5"]),
    ("load.max", &["false", "1"]),
    ("load.poisson", &["1", "\"true\""]),
];

#[test]
fn every_setting_refuses_with_line_key_value_and_range() {
    for setting in SETTINGS {
        let refused = REFUSED.iter().find(|(key, _)| *key == setting.key);
        let (_, values) = refused.unwrap_or_else(|| panic!("{} is not tried", setting.key));
        for value in *values {
            let told = refusal(&format!("\n\n{} = {value}\n", setting.key));
            let (key, allowed) = (setting.key, setting.allowed());
            let expected = format!("w.toml:3: {key} = {value}: must be {allowed}");
            assert_eq!(told, expected);
        }
    }
    assert_eq!(REFUSED.len(), SETTINGS.len());
}

#[test]
fn the_bounds_themselves_are_allowed() {
    for (key, values) in [
        ("warm-up", &["0", "\"24h\""][..]),
        ("duration", &["0.1", "\"720h\"", "\"60m\""]),
        ("topics.name", &["\"a.B_c-9\""]),
        ("topics.replication-factor", &["-1", "1", "32767"]),
        ("producers.batch-size", &["1", "\"100mib\""]),
        ("producers.linger", &["0", "60000", "\"60s\"", "0.5"]),
        (
            "records.sizes",
            &["40", "\"16MiB\"", "\"40..40\"", "\"100:9,10KiB:1\""],
        ),
        (
            "records.keys",
            &[
                "\"none\"",
                "\"uniform:1000000000000\"",
                "\"zipf:1:10\"",
                "\"zipf:9:0\"",
            ],
        ),
        ("records.compressibility", &["0", "1", "0.5"]),
        ("load.rate", &["1", "0.05", "100000000"]),
        ("load.ramp", &["\"0:100000000\"", "\"5:5\""]),
        ("load.steps", &["[0, 100000000]", "\"1000,2000,4000\""]),
        (
            "load.bursts",
            &[
                "\"1000:20000:10s:1s\"",
                "\"0:5:86400:86400\"",
                "\"5:5:1ms:1ms\"",
            ],
        ),
        ("load.trace", &["[\"0s:1000\", \"10s:5000\"]"]),
    ] {
        for value in values {
            let text = format!("{key} = {value}");
            if let Err(faults) = toml(&text) {
                panic!("{text}: {faults}");
            }
        }
    }
}

#[test]
fn what_is_impossible_together_is_refused() {
    for (text, told) in [
        (
            "topics.count = 100_000\ntopics.partitions = 11",
            "w.toml:2: topics.partitions = 11: all topics together can have at most 1000000 partitions",
        ),
        (
            "producers.acks = 1",
            "w.toml:1: producers.acks = 1: idempotence needs acks of all: change acks, or set enable-idempotence to \
             false",
        ),
        (
            "[producers]\nmax-in-flight-requests-per-connection = 6",
            "w.toml:2: producers.max-in-flight-requests-per-connection = 6: idempotence allows a max-in-flight from 1 \
             to 5: change it, or set enable-idempotence to false",
        ),
        (
            "verify = true\nconsumers.count = 0",
            "w.toml:1: verify = true: verification needs at least 1 consumer",
        ),
        (
            "verify = true\nproducers.acks = 0\nproducers.enable-idempotence = false",
            "w.toml:1: verify = true: verification needs acks of 1 or all: nothing is lost that was never acknowledged",
        ),
        (
            "consumers.count = 0\nconsumers.backlog = 1",
            "w.toml:2: consumers.backlog = 1: a backlog needs at least 1 consumer that catches up with it",
        ),
        (
            "consumers.backlog = \"66MB\"",
            "w.toml:1: consumers.backlog = \"66MB\": consumers would never begin: the backlog can be at most the 65MB \
             that the whole run produces",
        ),
        (
            "load.steps = [0, 0]",
            "w.toml:1: load.steps = [0, 0]: not a single record is due in the whole run",
        ),
        (
            "load.max = true\nload.poisson = true",
            "w.toml:2: load.poisson = true: only a constant rate can be made random",
        ),
        (
            "load.trace = [\"1s:5\"]",
            "w.toml:1: load.trace = [\"1s:5\"]: `1s:5`: the first time must be 0",
        ),
        (
            "load.trace = [\"0:5\", \"0.5ms:7\"]",
            "w.toml:1: load.trace = [\"0:5\", \"0.5ms:7\"]: `0.5ms:7`: must be at least 1ms after the time before it",
        ),
        (
            "load.trace = [\n\"5\"]",
            "w.toml:1: load.trace = [...: `5`: must be a time and a rate from 0 to 100000000 records a second",
        ),
        (
            "load.trace = []",
            "w.toml:1: load.trace = []: a trace must have from 1 to 1000000 times with their rates",
        ),
    ] {
        assert_eq!(refusal(text), told);
    }
}

#[test]
fn flags_say_the_same_as_a_file() {
    let by_flags = flags(&[
        "--workload=catch-up",
        "--name=w",
        "--warm-up=0",
        "--duration=2m",
        "--verify",
        "--seed=9",
        "--topic=t",
        "--topics=2",
        "--partitions=3",
        "--replication-factor",
        "-1",
        "--topic-config=retention.ms=1",
        "--topic-config=cleanup.policy=compact,delete",
        "--producers=4",
        "--acks=1",
        "--enable-idempotence=false",
        "--max-in-flight=16",
        "--batch-size=1KiB",
        "--linger=1",
        "--compression-type=lz4",
        "--consumers=3",
        "--fan-out=2",
        "--backlog=1MB",
        "--record-sizes=100..1000",
        "--keys=zipf:1000000:0.99",
        "--compressibility=0.5",
        "--rate=5000",
        "--poisson",
    ])
    .expect("valid");
    let by_file = toml(
        r#"
based-on = "catch-up"
warm-up = 0
duration = "2m"
verify = true
seed = 9
[topics]
name = "t"
count = 2
partitions = 3
replication-factor = -1
configs = { retention.ms = 1, cleanup.policy = "compact,delete" }
[producers]
count = 4
acks = 1
enable-idempotence = false
max-in-flight-requests-per-connection = 16
batch-size = "1KiB"
linger = 1
compression-type = "lz4"
[consumers]
count = 3
fan-out = 2
backlog = "1MB"
[records]
sizes = "100..1000"
keys = "zipf:1000000:0.99"
compressibility = 0.5
[load]
rate = 5000
poisson = true
"#,
    )
    .expect("valid");
    assert_eq!(by_flags, by_file);
}

#[test]
fn each_load_has_a_flag() {
    for (given, shape) in [
        (&["--ramp=100:10000"][..], Shape::Ramp(100.0, 10_000.0)),
        (&["--steps", "100,200"], Shape::Steps(vec![100.0, 200.0])),
        (
            &["--bursts", "1:2:10s:500ms"],
            Shape::Bursts {
                base: 1.0,
                peak: 2.0,
                every: Duration::from_secs(10),
                length: Duration::from_millis(500),
            },
        ),
        (&["--rate", "5"], Shape::Constant(5.0)),
        (
            &["-wbursty", "--rate", "5", "--poisson=true"],
            Shape::Poisson(5.0),
        ),
    ] {
        assert_eq!(flags(given).expect("valid").load, Load::Open(shape));
    }
    assert_eq!(flags(&["--max"]).expect("valid").load, Load::Max);
}

#[test]
fn flags_are_refused_as_they_were_given() {
    for (given, told) in [
        (
            &["--rate", "-5", "--acks", "2"][..],
            "--acks 2: must be one of 0, 1, all\n--rate -5: must be a number from 0.001 to 100000000",
        ),
        (
            &["--rate=5", "--ramp=1:2"],
            "--ramp 1:2: only one load can be given, and --rate is one",
        ),
        (
            &["--max", "--poisson"],
            "--poisson true: only a constant rate can be made random",
        ),
        (
            &["--topic-config", "retention.ms"],
            "--topic-config retention.ms: `retention.ms` must be NAME=VALUE",
        ),
        (
            &["-w", "firehose", "--verify"],
            "--verify true: verification needs at least 1 consumer",
        ),
        (
            &["-w", "no-such-file.toml"],
            "no-such-file.toml: is neither a workload file (No such file or directory (os error 2)) nor one of \
             small-records, firehose, many-partitions, fan-out, catch-up, bursty",
        ),
    ] {
        assert_eq!(flags(given).expect_err("impossible").to_string(), told);
    }
}

#[test]
fn flags_are_laid_over_a_file_and_faults_of_both_are_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("steady.toml");
    let file_name = file.to_str().expect("text");
    fs::write(&file, "load.rate = 7\nload.poisson = true\nduration = 9\n").expect("written");
    let laid = flags(&["-w", file_name, "--rate", "8"]).expect("valid");
    assert_eq!(laid.name, "steady");
    assert_eq!(laid.load, Load::Open(Shape::Poisson(8.0)));
    assert_eq!(laid.duration, Duration::from_secs(9));

    fs::write(&file, "seed = 1\nverify = 9\n").expect("written");
    let told = flags(&["-w", file_name, "--rate", "x"]).expect_err("impossible");
    let expected = format!(
        "{file_name}:2: verify = 9: must be true or false\n--rate x: must be a number from 0.001 to 100000000"
    );
    assert_eq!(told.to_string(), expected);
}

#[test]
fn a_trace_lies_beside_its_workload() {
    let folder = tempfile::tempdir().expect("a folder");
    let trace = folder.path().join("rates.txt");
    let file = folder.path().join("traced.toml");
    fs::write(&file, "load.trace = \"rates.txt\"\n").expect("written");

    fs::write(
        &trace,
        "# seconds, records a second\n0,100\n\n10 \t 2000.5 # peak\n1m, 0\n",
    )
    .expect("written");
    let points = [(0, 100.0), (10, 2_000.5), (60, 0.0)];
    let points = points.map(|(time, rate)| (Duration::from_secs(time), rate));
    let traced = || flags(&["--workload", &file.display().to_string()]);
    let read = traced().expect("valid");
    assert_eq!(read.load, Load::Open(Shape::Trace(points.into())));

    fs::write(&trace, "0 100\n5 -1\nsix\n0 7\n").expect("written");
    let trace = trace.display();
    assert_eq!(
        traced().expect_err("impossible").to_string(),
        format!(
            "{trace}:2: `5 -1`: must be a time and a rate from 0 to 100000000 records a second\n\
             {trace}:3: `six`: must be a time and a rate from 0 to 100000000 records a second\n\
             {trace}:4: `0 7`: must be at least 1ms after the time before it"
        )
    );
    let missing = flags(&["--trace", "no-such-trace"])
        .expect_err("missing")
        .to_string();
    assert!(
        missing.starts_with("no-such-trace: the trace cannot be read: "),
        "{missing}"
    );
}

#[test]
fn the_table_is_in_order() {
    let keys: BTreeSet<&str> = SETTINGS.iter().map(|setting| setting.key).collect();
    let flags: BTreeSet<&str> = SETTINGS.iter().map(|setting| setting.flag).collect();
    assert_eq!(keys.len(), SETTINGS.len());
    assert_eq!(flags.len(), SETTINGS.len());
    let command = WorkloadArgs::augment_args(clap::Command::new("test"));
    command.debug_assert();
    let mut tables: Vec<&str> = SETTINGS
        .iter()
        .map(|setting| setting.key.split_once('.').map_or("", |(table, _)| table))
        .collect();
    tables.dedup();
    assert_eq!(
        tables,
        ["", "topics", "producers", "consumers", "records", "load"]
    );
}

#[test]
fn the_reference_names_everything() {
    let reference = reference();
    for setting in SETTINGS {
        let (_, name) = setting.key.split_once('.').unwrap_or(("", setting.key));
        let beginning = format!("\n- `{name}` (`--{}`)", setting.flag);
        assert!(reference.contains(&beginning), "{beginning}");
        assert!(reference.contains(&setting.allowed()));
    }
    assert!(reference.contains(
        "\n- `linger` (`--linger`), default `5ms`: A batch is sent once its first record is so old, however small it \
         is. Must be a time from 0s to 60s, in ms unless a unit is given.\n"
    ));
    assert!(NAMED.iter().all(|named| reference.contains(named.purpose)));
}

#[test]
fn sizes_know_their_mean() {
    assert_eq!(Sizes::Fixed(5).mean(), 5.0);
    assert_eq!(Sizes::Range(1, 4).mean(), 2.5);
    let weighted = Sizes::Weighted(vec![(100, 9.0), (1_000, 1.0)]);
    assert_eq!(weighted.mean(), 190.0);
}
