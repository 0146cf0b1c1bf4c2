//! Groups of real clients while members and the broker are killed: who owns what, and what was processed.
//!
//! Every member is a process of its own. All groups live through the same story at the same time:
//!
//! 1. two members share the partitions out;
//! 2. one of them is killed and another one joins (or, if it is static, comes back as the one it was; in the consumer
//!    protocol it has to say before that it will), and before that has settled, the broker is killed and begins anew;
//! 3. one more joins, and the broker is killed once more;
//! 4. the first one leaves;
//! 5. what is left of them processes the rest.
//!
//! Each time all partitions have an owner in the end. Each member processes a partition that it owns in order and without
//! gaps, and together they process everything at least once.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use crate::member::{Member, Story, has_settled};
use crate::subject::Subject;

const PARTITIONS: i32 = 6;
/// Of each partition.
const RECORDS: i64 = 1000;
/// For everybody to have a share; a busy machine starts twenty clients slowly.
const SETTLE_MAX: Duration = Duration::from_secs(90);
const PROCESS_MAX: Duration = Duration::from_secs(120);

/// How the members of a group are started.
pub struct Group {
    /// Of client and protocol; also the topic's and the group's name.
    pub name: &'static str,
    /// The member's program with all arguments but those that [`Group::member`] adds.
    pub program: Box<dyn Fn() -> Command>,
    /// `None` where the client speaks only one.
    pub protocol: Option<&'static str>,
    /// Whether members have an instance id, under which one that comes back is the one that was there.
    pub is_static: bool,
}

impl Group {
    fn member(&self, broker: &str, folder: &Path, letter: char) -> Member {
        let instance = self.is_static.then(|| format!("instance-{letter}"));
        let mut command = (self.program)();
        command.args([broker, self.name, self.name]);
        command.args(self.protocol);
        command.args(instance);
        Member::start(command, folder.join(format!("{}-{letter}.log", self.name)))
    }
}

/// A group and its members that run; the logs of all that ever did.
struct Company {
    group: Group,
    members: Vec<Member>,
    logs: BTreeSet<PathBuf>,
    wrong: Option<String>,
}

impl Company {
    fn join(&mut self, broker: &str, folder: &Path, letter: char) {
        let member = self.group.member(broker, folder, letter);
        self.logs.insert(member.log().to_owned());
        self.members.push(member);
    }

    fn has_settled(&self) -> bool {
        has_settled(self.members.iter().map(Member::log), PARTITIONS)
    }

    fn stories(&self) -> Vec<Story> {
        self.logs.iter().map(|log| Story::told_in(log)).collect()
    }

    fn processed(&self) -> usize {
        let all = self.stories().into_iter().flat_map(|story| story.processed);
        all.collect::<BTreeSet<_>>().len()
    }
}

fn until(companies: &mut [Company], what: &str, most: Duration, done: impl Fn(&Company) -> bool) {
    let begin = Instant::now();
    let late = |company: &&mut Company| company.wrong.is_none() && !done(company);
    while begin.elapsed() < most {
        if companies.iter_mut().filter(late).count() == 0 {
            return;
        }
        thread::sleep(Duration::from_millis(50));
    }
    for company in companies.iter_mut().filter(late) {
        let shares: Vec<_> = company
            .members
            .iter()
            .map(|member| Story::told_in(member.log()).owned)
            .collect();
        let processed = company.processed();
        company.wrong = Some(format!(
            "{what}: not within {most:?}, partitions {shares:?}, {processed} records processed"
        ));
    }
}

/// Has all groups live through the story; what went wrong, by group.
pub fn live(
    groups: Vec<Group>,
    broker: &mut Subject,
    folder: &Path,
    fill: impl Fn(&str, i32, i64),
) -> BTreeMap<&'static str, Option<String>> {
    let mut companies: Vec<Company> = Vec::new();
    for group in groups {
        fill(group.name, PARTITIONS, RECORDS);
        companies.push(Company {
            group,
            members: Vec::new(),
            logs: BTreeSet::new(),
            wrong: None,
        });
    }
    let address = broker.bootstrap();
    for company in &mut companies {
        company.join(&address, folder, 'a');
        company.join(&address, folder, 'b');
    }
    until(
        &mut companies,
        "two share",
        SETTLE_MAX,
        Company::has_settled,
    );
    for company in &mut companies {
        let comes_next = if company.group.is_static { 'b' } else { 'c' };
        let goes = company.members.remove(1);
        if company.group.is_static && company.group.protocol == Some("consumer") {
            goes.leave();
        } else {
            goes.kill9();
        }
        company.join(&address, folder, comes_next);
    }
    broker.kill9();
    broker.restart();
    until(
        &mut companies,
        "one was killed",
        SETTLE_MAX,
        Company::has_settled,
    );
    for company in &mut companies {
        company.join(&address, folder, 'd');
    }
    broker.kill9();
    broker.restart();
    until(
        &mut companies,
        "a third one",
        SETTLE_MAX,
        Company::has_settled,
    );
    for company in &mut companies {
        company.members.remove(0).leave();
    }
    until(
        &mut companies,
        "one has left",
        SETTLE_MAX,
        Company::has_settled,
    );
    let all = PARTITIONS as usize * RECORDS as usize;
    until(&mut companies, "the rest", PROCESS_MAX, |company| {
        company.processed() == all
    });
    let outcome = |company: Company| {
        let disorder = company.stories().into_iter().find_map(|story| story.wrong);
        (company.group.name, company.wrong.or(disorder))
    };
    companies.into_iter().map(outcome).collect()
}
