//! Groups of real clients that go over from the classic to the consumer protocol and back, by a restart of one member
//! after another, while records come in.
//!
//! Three members join with `group.protocol=classic`; one after the other leaves and comes back with `consumer`, and one
//! after the other goes back to `classic`. In one of the two stories the broker is killed in the middle of each way.
//! Each time all partitions have an owner in the end, and Kafka's own tool says of which type the group is.
//!
//! No partition ever has two owners. Each member processes a partition in order and without gaps, together they process
//! all records at least once, and what is committed in the end is the end of the log.
//!
//! Members with librdkafka speak no `cooperative-sticky` here: when one of them leads, its assignments carry notes of that
//! assignor, and Kafka takes no such group over.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::member::{Member, Story, has_settled, owned_twice};
use crate::subject::Subject;

const MEMBERS: usize = 3;
const PARTITIONS: i32 = 6;
/// For everybody to have a share.
const SETTLE_MAX: Duration = Duration::from_secs(90);
const PROCESS_MAX: Duration = Duration::from_secs(120);

#[derive(Clone, Copy)]
pub enum Client {
    Java,
    Librdkafka,
}

/// A group that goes over and back.
#[derive(Clone, Copy)]
pub struct Migration {
    /// Also the topic's and the group's name.
    pub name: &'static str,
    pub members: [Client; MEMBERS],
    /// The protocol of members that speak the classic one.
    pub classic: &'static str,
    /// Whether members have an instance id.
    pub is_static: bool,
}

/// `GroupHost.java`, which holds the members in Java and Kafka's tool.
struct Host {
    bootstrap: String,
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Host {
    fn start(mut command: Command, bootstrap: String) -> Host {
        let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = piped.spawn().expect("java");
        Host {
            bootstrap,
            input: child.stdin.take().expect("a pipe"),
            output: BufReader::new(child.stdout.take().expect("a pipe")),
            child,
        }
    }

    /// What it says to this.
    fn ask(&mut self, words: &[&str]) -> Vec<String> {
        writeln!(self.input, "{}", words.join(" ")).expect("it reads");
        let lines = (&mut self.output).lines();
        let lines = lines.map(|line| line.expect("text"));
        let said: Vec<String> = lines.take_while(|line| line != ".").collect();
        let status = self.child.try_wait().expect("its status");
        assert!(status.is_none(), "{words:?} was its last: {said:?}");
        said
    }

    /// What `kafka-consumer-groups` prints, by lines and words.
    fn tool(&mut self, words: &[&str]) -> Vec<Vec<String>> {
        let bootstrap = self.bootstrap.clone();
        let said = self.ask(&[&["groups", "--bootstrap-server", &bootstrap], words].concat());
        let words = |line: String| line.split_whitespace().map(str::to_owned).collect();
        said.into_iter().map(words).collect()
    }

    /// The offsets that the group has committed in its topic and the ends of the logs, by partition.
    fn committed_and_ends(&mut self, group: &str) -> BTreeMap<i32, [i64; 2]> {
        let rows = self.tool(&["--describe", "--offsets", "--group", group]);
        let numbers = rows.iter().filter_map(|row| {
            let [_, topic, partition, committed, end, ..] = &row[..] else {
                return None;
            };
            let numbers = [committed.parse().ok()?, end.parse().ok()?];
            (topic == group).then_some((partition.parse().ok()?, numbers))
        });
        numbers.collect()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // Already gone is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

enum Running {
    InHost(PathBuf),
    Alone(Member),
}

impl Running {
    fn log(&self) -> &Path {
        match self {
            Running::InHost(log) => log,
            Running::Alone(member) => member.log(),
        }
    }
}

struct Group {
    migration: Migration,
    members: Vec<Running>,
    /// Of all members that ever were.
    logs: Vec<PathBuf>,
    wrong: Option<String>,
}

impl Group {
    fn has_settled(&self) -> bool {
        has_settled(self.members.iter().map(Running::log), PARTITIONS)
    }

    fn stories(&self) -> Vec<Story> {
        self.logs.iter().map(|log| Story::told_in(log)).collect()
    }

    fn processed(&self) -> BTreeSet<(i32, i64)> {
        let stories = self.stories().into_iter();
        stories.flat_map(|story| story.processed).collect()
    }
}

/// All groups on one broker.
pub struct Migrations<'a> {
    broker: &'a mut Subject,
    /// Of the members' logs.
    folder: &'a Path,
    host: Host,
    /// `member.py` with librdkafka.
    librdkafka: &'a dyn Fn() -> Command,
    groups: Vec<Group>,
}

impl<'a> Migrations<'a> {
    pub fn new(
        migrations: &[Migration],
        broker: &'a mut Subject,
        folder: &'a Path,
        host: Command,
        librdkafka: &'a dyn Fn() -> Command,
    ) -> Self {
        let group = |migration: &Migration| Group {
            migration: *migration,
            members: Vec::new(),
            logs: Vec::new(),
            wrong: None,
        };
        Self {
            folder,
            host: Host::start(host, broker.bootstrap()),
            broker,
            librdkafka,
            groups: migrations.iter().map(group).collect(),
        }
    }

    /// Has all groups go over and back; what went wrong, by group. The broker may be killed in the middle of each way.
    pub fn run(mut self, kills_broker: bool) -> BTreeMap<&'static str, Option<String>> {
        let address = self.broker.bootstrap();
        let names: Vec<&str> = self.groups.iter().map(|it| it.migration.name).collect();
        let partitions = PARTITIONS.to_string();
        let produce = [&["produce", &address, &partitions], &names[..]].concat();
        self.host.ask(&produce);
        for member in 0..MEMBERS {
            self.join(member, false);
        }
        self.settle("before", "Classic", [0, 0]);
        for (way, to_consumer) in [("upgrade", true), ("downgrade", false)] {
            for member in 0..MEMBERS {
                self.leave();
                self.join(member, to_consumer);
                if kills_broker && member == 1 {
                    self.await_first_share();
                    self.broker.kill9();
                    self.broker.restart();
                }
                let restarted = member + 1;
                let consumer = if to_consumer {
                    restarted
                } else {
                    MEMBERS - restarted
                };
                let when = format!("{way} of member {member}");
                match consumer {
                    0 => self.settle(&when, "Classic", [0, 0]),
                    MEMBERS => self.settle(&when, "Consumer", [0, 0]),
                    _ => self.settle(&when, "Consumer", [MEMBERS - consumer, consumer]),
                }
            }
        }
        self.finish();
        let outcome = |group: Group| {
            let stories = group.stories();
            let twice = owned_twice(&stories);
            let disorder = stories.into_iter().find_map(|story| story.wrong);
            (group.migration.name, group.wrong.or(twice).or(disorder))
        };
        self.groups.into_iter().map(outcome).collect()
    }

    /// Has the member of each group join that there is in this place.
    fn join(&mut self, place: usize, speaks_consumer: bool) {
        let address = self.broker.bootstrap();
        for group in &mut self.groups {
            let migration = group.migration;
            let name = migration.name;
            let log = format!("{name}-{}.log", group.logs.len());
            let log = self.folder.join(log);
            let protocol = match speaks_consumer {
                true => "consumer",
                false => migration.classic,
            };
            let instance = migration.is_static.then(|| format!("instance-{place}"));
            let mut arguments = vec![&*address, name, name, protocol];
            arguments.extend(instance.as_deref());
            group.logs.push(log.clone());
            group.members.push(match migration.members[place] {
                Client::Java => {
                    let path = log.to_str().expect("a path in UTF-8");
                    self.host.ask(&[&["join", path], &arguments[..]].concat());
                    Running::InHost(log)
                }
                Client::Librdkafka => {
                    let mut command = (self.librdkafka)();
                    command.args(arguments);
                    Running::Alone(Member::start(command, log))
                }
            });
        }
    }

    /// Waits until one of those that have joined last owns something: the other groups are in the middle of it then.
    fn await_first_share(&self) {
        let has_share = |group: &Group| {
            let last = group.members.last();
            last.is_some_and(|member| !Story::told_in(member.log()).owned.is_empty())
        };
        let begin = Instant::now();
        while begin.elapsed() < SETTLE_MAX && !self.groups.iter().any(has_share) {
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Has the member of each group leave that is there for the longest time.
    fn leave(&mut self) {
        for group in &mut self.groups {
            match group.members.remove(0) {
                Running::InHost(log) => {
                    let path = log.to_str().expect("a path in UTF-8");
                    self.host.ask(&["leave", path]);
                }
                Running::Alone(member) => member.leave(),
            }
        }
    }

    /// Waits until everybody has a share. The groups are of this type then; those that are on their way have so many
    /// members that still are to be upgraded, and so many that are.
    fn settle(&mut self, when: &str, kind: &str, by_protocol: [usize; 2]) {
        self.until(when, SETTLE_MAX, |_, group| group.has_settled());
        let types = self.host.tool(&["--list", "--type"]);
        let members = (self.host).tool(&["--describe", "--members", "--verbose", "--all-groups"]);
        for group in &mut self.groups {
            let name = group.migration.name;
            let expected = [name, kind];
            if !types.iter().any(|row| *row == expected) {
                let wrong = format!("{when}: not {kind} in {types:?}");
                group.wrong.get_or_insert(wrong);
            }
            let seen = members_by_protocol(&members, name);
            if seen != by_protocol {
                let wrong = format!("{when}: {seen:?} and not {by_protocol:?} in {members:?}");
                group.wrong.get_or_insert(wrong);
            }
        }
    }

    /// Has everything processed that the producer has sent, and committed, too.
    fn finish(&mut self) {
        let sent = self.host.ask(&["stop"]);
        let Some(sent) = sent.first().and_then(|sent| sent.parse::<i64>().ok()) else {
            panic!("the producer failed: {sent:?}")
        };
        let all = move |partition| (0..sent).map(move |offset| (partition, offset));
        let all: BTreeSet<(i32, i64)> = (0..PARTITIONS).flat_map(all).collect();
        self.until("processing", PROCESS_MAX, |_, group| {
            group.processed() == all
        });
        let ends: BTreeMap<i32, [i64; 2]> = (0..PARTITIONS).map(|it| (it, [sent, sent])).collect();
        self.until("committing", PROCESS_MAX, |host, group| {
            host.committed_and_ends(group.migration.name) == ends
        });
    }

    fn until(
        &mut self,
        what: &str,
        most: Duration,
        mut done: impl FnMut(&mut Host, &Group) -> bool,
    ) {
        let begin = Instant::now();
        for group in &mut self.groups {
            while group.wrong.is_none() && !done(&mut self.host, group) {
                thread::sleep(Duration::from_millis(50));
                if begin.elapsed() > most {
                    let owned = |member: &Running| Story::told_in(member.log()).owned;
                    let shares: Vec<_> = group.members.iter().map(owned).collect();
                    let processed = group.processed().len();
                    group.wrong = Some(format!(
                        "{what}: not within {most:?}, partitions {shares:?}, {processed} records processed"
                    ));
                }
            }
        }
    }
}

/// How many members the column `UPGRADED` says false and true of, which is there while both protocols are spoken.
fn members_by_protocol(table: &[Vec<String>], group: &str) -> [usize; 2] {
    let of_group = |row: &&Vec<String>| row.first().is_some_and(|first| first == group);
    let rows: Vec<_> = table.iter().filter(of_group).collect();
    let saying = |word: &str| {
        rows.iter()
            .filter(|row| row.last().is_some_and(|last| last == word))
            .count()
    };
    [saying("false"), saying("true")]
}
