//! Clients that do anything at any time, and crashes: what holds all the same.

use std::collections::BTreeMap;

use super::*;

const HISTORIES: u64 = 400;
const STEPS: usize = 150;

/// A client as it sees itself.
struct Client {
    ask: Ask,
    generation: i32,
    /// Whom to assign, if it leads.
    assigns: Option<Vec<String>>,
    joins: Vec<Slot<JoinGroupResponse>>,
    /// With the assignment that it is about, if there is one.
    syncs: Vec<(String, Slot<SyncGroupResponse>)>,
}

impl Client {
    /// What its assignments name: static members keep theirs under another id.
    fn name(&self) -> &str {
        self.ask.instance.as_deref().unwrap_or(&self.ask.id)
    }
}

struct History {
    world: World,
    random: Random,
    clients: Vec<Client>,
    /// Who led, by generation.
    leaders: BTreeMap<i32, String>,
    generation: i32,
}

impl History {
    fn new(seed: u64) -> Self {
        Self {
            world: World::with(&[("group.max.size", "6")]),
            random: Random::new(seed),
            clients: Vec::new(),
            leaders: BTreeMap::new(),
            generation: 0,
        }
    }

    fn step(&mut self) {
        let action = self.random.below(20);
        if self.clients.is_empty() || action == 0 && self.clients.len() < 9 {
            self.add_client();
        }
        let place = self.random.below(self.clients.len());
        match action {
            0..=6 => self.join(place),
            7..=11 => self.sync(place),
            12..=14 => self.heartbeat(place),
            15 => self.leave(place),
            16 => self.restart_client(place),
            17 if self.random.below(4) == 0 => self.crash(),
            _ => {
                let millis = self.random.below(4000) as u64;
                self.world.pass(Duration::from_millis(millis));
            }
        }
        self.read_replies();
        self.check();
    }

    fn add_client(&mut self) {
        let mut ask = Ask::new();
        match self.random.below(3) {
            0 => ask = ask.instance(["i", "j", "k"][self.random.below(3)]),
            1 => ask = ask.version(3),
            _ => {}
        }
        ask.rebalance = SECOND * self.random.below(20) as u32;
        self.clients.push(Client {
            ask,
            generation: -1,
            assigns: None,
            joins: Vec::new(),
            syncs: Vec::new(),
        });
    }

    fn join(&mut self, place: usize) {
        let client = &mut self.clients[place];
        client.ask.protocols = match self.random.below(4) {
            0 => vec![("range", vec![self.random.draw() as u8].into())],
            1 => vec![("sticky", Bytes::new()), ("range", Bytes::new())],
            _ => client.ask.protocols.clone(),
        };
        let reply = self.world.join(&client.ask);
        client.joins.push(reply);
    }

    fn sync(&mut self, place: usize) {
        let client = &self.clients[place];
        let generation = client.generation;
        let members = client.assigns.clone().unwrap_or_default();
        let names = |id: &String| match id.split_once('-') {
            Some((instance, _)) if instance.len() == 1 => instance.to_string(),
            _ => id.clone(),
        };
        let mut assignments: Vec<_> = members
            .iter()
            .map(|id| (id.clone(), format!("{} in {generation}", names(id))))
            .collect();
        if !assignments.is_empty() && self.random.below(4) == 0 {
            let forgotten = self.random.below(assignments.len());
            assignments.swap_remove(forgotten);
            assignments.push(("nobody".to_string(), "lost".to_string()));
        }
        let assignments: Vec<_> = assignments
            .iter()
            .map(|(id, assignment)| (id.as_str(), assignment.as_str()))
            .collect();
        let mut request = sync_request(&client.ask.id, generation, &assignments);
        request.group_instance_id = client.ask.instance.as_deref().map(text);
        let expected = format!("{} in {generation}", client.name());
        let reply = self.world.sync_with(request);
        self.clients[place].syncs.push((expected, reply));
    }

    fn heartbeat(&mut self, place: usize) {
        let (id, generation) = (
            self.clients[place].ask.id.clone(),
            self.clients[place].generation,
        );
        self.world.heartbeat(&id, generation);
    }

    fn leave(&mut self, place: usize) {
        let ask = self.clients[place].ask.clone();
        self.world.leave(&[(&ask.id, ask.instance.as_deref())]);
    }

    /// The client forgets who it was; its requests are still on their way.
    fn restart_client(&mut self, place: usize) {
        let client = &mut self.clients[place];
        client.ask.id.clear();
        client.generation = -1;
        client.assigns = None;
    }

    /// The broker forgets all that is not in its log.
    fn crash(&mut self) {
        if self.world.log.is_empty() {
            return;
        }
        self.world.group = self.world.restored();
        self.world
            .run(|group, context, out| group.loaded(context, out));
        self.generation = self.world.group.generation();
        self.leaders
            .retain(|generation, _| *generation <= self.generation);
        for client in &mut self.clients {
            client.joins.clear();
            client.syncs.clear();
            if client.generation > self.generation {
                client.generation = -1;
                client.assigns = None;
            }
        }
    }

    fn read_replies(&mut self) {
        for client in &mut self.clients {
            for mut reply in std::mem::take(&mut client.joins) {
                match reply.try_take() {
                    None => client.joins.push(reply),
                    Some(answer) => read_join(client, answer, &mut self.leaders),
                }
            }
            for (expected, mut reply) in std::mem::take(&mut client.syncs) {
                match reply.try_take() {
                    None => client.syncs.push((expected, reply)),
                    Some(answer) if answer.error_code == 0 && !answer.assignment.is_empty() => {
                        assert_eq!(answer.assignment, expected, "its own work, of its time");
                    }
                    Some(_) => {}
                }
            }
        }
    }

    fn check(&mut self) {
        let group = &self.world.group;
        assert!(group.generation() >= self.generation, "no way back");
        self.generation = group.generation();
        if matches!(group.state(), State::Empty | State::Stable) && !self.world.log.is_empty() {
            assert_eq!(self.world.restored().to_value(), group.to_value());
        }
        // A member that nobody waits as any more is still one; the other way round it can't be.
        let waiting = self.clients.iter().map(|client| client.joins.len()).sum();
        assert!(group.members.joining() <= waiting);
    }

    /// All fall silent: then everybody has been answered, and nothing is left.
    fn end(&mut self) {
        self.world.pass(Duration::from_secs(400));
        self.read_replies();
        self.check();
        for client in &self.clients {
            assert!(client.joins.is_empty() && client.syncs.is_empty());
        }
        assert_eq!(self.world.group.state(), State::Empty);
        assert_eq!(self.world.group.next_deadline(), None);
    }
}

fn read_join(client: &mut Client, answer: JoinGroupResponse, leaders: &mut BTreeMap<i32, String>) {
    match error(answer.error_code) {
        None => {
            client.ask.id = answer.member_id.to_string();
            client.generation = answer.generation_id;
            let leads = answer.leader == answer.member_id;
            assert_eq!(leads, !answer.members.is_empty());
            if leads {
                let mut members = answer.members.iter();
                assert!(members.any(|member| member.member_id == answer.member_id));
                let name = client.name().to_string();
                let leader = leaders.entry(answer.generation_id).or_insert(name);
                assert_eq!(leader, client.name(), "one leader a generation");
            }
            let ids = answer
                .members
                .iter()
                .map(|member| member.member_id.to_string());
            client.assigns = (leads && !answer.skip_assignment).then(|| ids.collect());
        }
        Some(ResponseError::MemberIdRequired) => client.ask.id = answer.member_id.to_string(),
        Some(ResponseError::RebalanceInProgress) => {}
        Some(_) => {
            client.ask.id.clear();
            client.generation = -1;
            client.assigns = None;
        }
    }
}

#[test]
fn whatever_clients_do() {
    for seed in 0..HISTORIES {
        let mut history = History::new(seed);
        for _ in 0..STEPS {
            history.step();
        }
        history.end();
    }
}
