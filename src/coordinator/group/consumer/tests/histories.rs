//! Clients that do anything at any time, lost replies, changing topics, crashes: what holds all the same.

use super::super::patterns::Pattern;
use super::*;

const HISTORIES: u64 = 200;
const STEPS: usize = 250;
const CLIENTS_MAX: usize = 7;
/// More than any time-out of a group.
const QUIET_ROUNDS: usize = 150;
const TOPICS: [&str; 5] = ["a", "b", "c", "ab", "x"];
const REGEXES: [&str; 3] = ["a.*", "[b-x]", "none"];

type Partitions = BTreeSet<(Uuid, i32)>;

/// A client as it sees itself.
#[derive(Clone)]
struct Client {
    id: String,
    instance: Option<String>,
    epoch: i32,
    names: Vec<&'static str>,
    regex: Option<&'static str>,
    assignor: Option<&'static str>,
    /// What it works on.
    owned: Partitions,
    /// What it was told to work on.
    assigned: Partitions,
    /// What it last said of `owned`.
    said: Option<Partitions>,
    /// The last reply is missing: it says all anew.
    is_unsure: bool,
}

impl Client {
    fn new(number: u64, random: &mut Random) -> Self {
        let mut client = Self {
            id: format!("member-{number}"),
            instance: (random.below(3) == 0).then(|| format!("instance-{}", random.below(4))),
            epoch: JOIN,
            names: Vec::new(),
            regex: None,
            assignor: [None, Some("uniform"), Some("range")][random.below(3)],
            owned: Partitions::new(),
            assigned: Partitions::new(),
            said: None,
            is_unsure: false,
        };
        client.subscribe(random);
        client
    }

    fn subscribe(&mut self, random: &mut Random) {
        self.names = TOPICS
            .into_iter()
            .filter(|_| random.below(3) == 0)
            .collect();
        self.regex = (random.below(3) == 0).then(|| REGEXES[random.below(REGEXES.len())]);
        self.is_unsure = true;
    }

    /// Drops all that it has, to join again.
    fn begin_anew(&mut self) {
        self.epoch = JOIN;
        self.owned.clear();
        self.assigned.clear();
        self.said = None;
    }

    /// Does what it was told to.
    fn reconcile(&mut self) {
        self.owned.clone_from(&self.assigned);
    }

    fn ask(&mut self) -> Ask {
        let mut ask = Ask::of(&self.id, self.epoch);
        if let Some(instance) = &self.instance {
            ask = ask.instance(instance);
        }
        if self.epoch == JOIN || self.is_unsure {
            ask = ask
                .names(&self.names)
                .regex(self.regex.unwrap_or(""))
                .rebalance(REBALANCE);
        }
        if let Some(assignor) = self.assignor {
            ask = ask.assignor(assignor);
        }
        if self.epoch == JOIN || self.is_unsure || self.said.as_ref() != Some(&self.owned) {
            let mut topics: BTreeMap<Uuid, Vec<i32>> = BTreeMap::new();
            for (topic, partition) in &self.owned {
                topics.entry(*topic).or_default().push(*partition);
            }
            ask = ask.owns(&topics.into_iter().collect::<Vec<_>>());
            self.said = Some(self.owned.clone());
        }
        ask
    }

    /// Whether it goes on.
    fn hear(&mut self, answer: Answer) -> bool {
        self.is_unsure = false;
        let answer = match answer {
            Ok(answer) => answer,
            Err((ResponseError::FencedMemberEpoch | ResponseError::UnknownMemberId, _)) => {
                self.begin_anew();
                return true;
            }
            // It tries again until the instance is free.
            Err((ResponseError::UnreleasedInstanceId, _)) => return true,
            Err((ResponseError::FencedInstanceId, _)) => return false,
            Err(refused) => panic!("{refused:?}"),
        };
        assert!(answer.member_epoch >= self.epoch, "an epoch goes back");
        self.epoch = answer.member_epoch;
        if let Some(topics) = assigned(&answer) {
            let flat = topics
                .iter()
                .flat_map(|(topic, partitions)| partitions.iter().map(|p| (*topic, *p)));
            self.assigned = flat.collect();
            // New ones at once, others when it gets to it.
            self.owned.extend(&self.assigned);
        }
        true
    }
}

struct History {
    world: World,
    random: Random,
    clients: Vec<Client>,
    clients_made: u64,
}

impl History {
    fn new(seed: u64) -> Self {
        let interval = ["0", "1000"][seed as usize % 2];
        Self {
            world: World::with(&[("group.consumer.assignment.interval.ms", interval)]),
            random: Random::new(seed),
            clients: Vec::new(),
            clients_made: 0,
        }
    }

    fn step(&mut self) {
        let action = self.random.below(40);
        if self.clients.is_empty() || action == 0 && self.clients.len() < CLIENTS_MAX {
            self.clients_made += 1;
            self.clients
                .push(Client::new(self.clients_made, &mut self.random));
        }
        let place = self.random.below(self.clients.len());
        match action {
            0..=17 => self.heartbeat(place),
            18..=20 => self.lose_reply(place),
            21..=27 => self.clients[place].reconcile(),
            28 => self.clients[place].subscribe(&mut self.random),
            29 => self.leave(place),
            30 => self.restart_client(place),
            31 if self.random.below(2) == 0 => _ = self.clients.swap_remove(place),
            32..=33 => self.change_topics(),
            34 => self.crash(),
            _ => {
                let time = Duration::from_millis(self.random.draw() % 8_000);
                self.world.pass(time);
            }
        }
        self.check();
    }

    fn heartbeat(&mut self, place: usize) {
        let client = &mut self.clients[place];
        let answer = self.world.heartbeat(client.ask());
        if !client.hear(answer) {
            self.clients.swap_remove(place);
        }
    }

    fn lose_reply(&mut self, place: usize) {
        let client = &mut self.clients[place];
        let _ = self.world.heartbeat(client.ask());
        client.is_unsure = true;
    }

    fn leave(&mut self, place: usize) {
        let client = self.clients.swap_remove(place);
        let mut ask = Ask::leave(&client.id);
        if let Some(instance) = &client.instance {
            ask = ask.instance(instance);
        }
        let _ = self.world.heartbeat(ask);
    }

    /// The client is there again under a new id, perhaps after a word of goodbye.
    fn restart_client(&mut self, place: usize) {
        let client = &mut self.clients[place];
        if let Some(instance) = &client.instance
            && self.random.below(3) > 0
        {
            let away = Ask::of(&client.id, LEAVE_STATIC).instance(instance);
            let _ = self.world.heartbeat(away);
        }
        client.begin_anew();
        self.clients_made += 1;
        client.id = format!("member-{}", self.clients_made);
    }

    fn change_topics(&mut self) {
        let name = TOPICS[self.random.below(TOPICS.len())];
        let topics = &self.world.metadata.image().topics;
        match topics
            .by_name(name)
            .map(|topic| topic.partition_count() as i32)
        {
            None => self
                .world
                .create_topic(name, 1 + self.random.below(5) as i32),
            Some(_) if self.random.below(3) == 0 => self.world.delete_topic(name),
            Some(partitions) if partitions < 12 => {
                self.world.add_partitions(name, partitions..partitions + 2)
            }
            Some(_) => {}
        }
    }

    /// The log, whole or compacted, says what the group was.
    fn crash(&mut self) {
        let compacted = self.world.replayed(self.world.compacted().into_iter());
        assert_eq!(compacted.durable, self.world.group.durable);
        let before = std::mem::replace(&mut self.world.group, ConsumerGroup::new(GROUP.into()));
        self.world.restart();
        assert_eq!(before.durable, self.world.group.durable);
    }

    /// Nobody works on what the group does not know of; and the group gives nothing away twice, as the world checks.
    fn check(&self) {
        let members = &self.world.group.durable.members;
        for client in &self.clients {
            let Some(member) = members.get(&client.id) else {
                // It was fenced and will hear of it.
                continue;
            };
            let known = partitions_of(&member.assigned).chain(partitions_of(&member.revoking));
            let known: Partitions = known.collect();
            assert!(
                client.owned.is_subset(&known),
                "{} works on what it does not have",
                client.id
            );
        }
    }

    /// Nothing happens any more but heartbeats.
    fn calm_down(&mut self) {
        for _ in 0..QUIET_ROUNDS {
            self.world.pass(SECOND);
            for place in (0..self.clients.len()).rev() {
                self.clients[place].reconcile();
                self.heartbeat(place);
                self.check();
            }
        }
        let durable = &self.world.group.durable;
        let epoch = durable.epoch;
        let state = self.world.group.state();
        if self.clients.is_empty() {
            return assert_eq!(state, State::Empty);
        }
        assert_eq!(state, State::Stable);
        assert_eq!(durable.target_epoch, epoch);
        let mut all = Partitions::new();
        for client in &self.clients {
            // Of several clients with one instance, one is in.
            let Some(member) = durable.members.get(&client.id) else {
                assert!(client.instance.is_some());
                continue;
            };
            // Nothing is written of a target that never was anything but empty.
            let target = durable.targets.get(&client.id).into_iter().flatten();
            let target: Partitions = target
                .flat_map(|(topic, partitions)| partitions.iter().map(|p| (*topic, *p)))
                .collect();
            let assigned: Partitions = partitions_of(&member.assigned).collect();
            assert_eq!(assigned, target);
            assert_eq!(client.owned, target);
            all.extend(target);
        }
        assert_eq!(all, self.subscribed());
    }

    /// All partitions that some member subscribes to.
    fn subscribed(&self) -> Partitions {
        let members = &self.world.group.durable.members;
        let is_subscribed = |name: &str| {
            members.values().any(|member| {
                let matches =
                    |regex| Pattern::new(regex).is_ok_and(|pattern| pattern.matches(name));
                member.subscribed_topics.contains(name) || member.regex().is_some_and(matches)
            })
        };
        let topics = self.world.metadata.image().topics.iter();
        let topics = topics.filter(|topic| is_subscribed(&topic.name));
        topics
            .flat_map(|topic| topic.partitions.keys().map(|id| (topic.id, *id)))
            .collect()
    }
}

#[test]
fn whatever_happens_partitions_have_one_owner_and_quiet_groups_settle() {
    for seed in 0..HISTORIES {
        let run = std::panic::catch_unwind(|| {
            let mut history = History::new(seed);
            (0..STEPS).for_each(|_| history.step());
            history.calm_down();
            history.crash();
        });
        assert!(run.is_ok(), "history {seed} went wrong");
    }
}
