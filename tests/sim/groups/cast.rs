//! The members of all groups, and what happens to them: they stop and come back, are killed, cut off, replaced.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use corelog_shards::io::Instant;
use corelog_shards::io::sim::{Crash, NodeId, World};

use super::classic::Classic;
use super::generations::INSTANCE_PREFIX;
use super::holders::Process;
use super::member::{Character, Handle, Member, Protocol, Wish};
use super::modern::Modern;
use super::plan::{Feature, protocol};
use super::sim::Sim;
use super::trouble::trouble;

/// How long a member stays away at the most: longer than its session, too.
const AWAY_MS_MAX: u64 = 15_000;

/// A place for one member at a time, on a node of its own.
struct Seat {
    node: NodeId,
    character: Character,
    handle: Option<Rc<Handle>>,
    is_contested: Rc<Cell<bool>>,
    back_at: Instant,
    is_cut: bool,
}

pub struct Cast {
    sim: Rc<Sim>,
    broker: NodeId,
    seats: Vec<Seat>,
    /// Static members whose place another process wants.
    rivals: Vec<(NodeId, Rc<Handle>)>,
    processes: Process,
}

impl Cast {
    pub fn new(world: &mut World, sim: &Rc<Sim>, broker: NodeId) -> Cast {
        let mut seats = Vec::new();
        for (group, members) in sim.plan.groups() {
            for (number, member) in members.iter().enumerate() {
                let is_static = sim.plan.is_static(member);
                let character = Character {
                    group: group.to_owned(),
                    protocol: member.protocol,
                    instance: is_static.then(|| format!("{INSTANCE_PREFIX}{number}")),
                    wanted: sim.plan.wanted(member),
                };
                seats.push(Seat {
                    node: world.add_node(),
                    character,
                    handle: None,
                    is_contested: Rc::default(),
                    back_at: world.now() + Duration::from_millis(member.late_ms),
                    is_cut: false,
                });
            }
        }
        Cast {
            sim: sim.clone(),
            broker,
            seats,
            rivals: Vec::new(),
            processes: 0,
        }
    }

    fn has(&self, feature: Feature) -> bool {
        self.sim.plan.has(feature)
    }

    fn tell(&self, world: &World, event: String) {
        self.sim.story.event(world.now(), event);
    }

    /// Lets those come back whose time has come, and takes away those who have stopped.
    pub fn go_on(&mut self, world: &mut World) {
        for at in 0..self.seats.len() {
            let seat = &mut self.seats[at];
            match &seat.handle {
                Some(handle) if handle.has_ended.get() => {
                    seat.handle = None;
                    world.crash(seat.node, Crash::Kill);
                }
                None if seat.back_at <= world.now() => self.come(world, at),
                _ => {}
            }
        }
    }

    fn come(&mut self, world: &mut World, at: usize) {
        self.processes += 1;
        let process = self.processes;
        let seat = &mut self.seats[at];
        if seat.character.group == "mixed" && world.random_below(2) == 0 {
            seat.character.protocol = protocol("mixed", |bound| world.random_below(bound));
        }
        let character = seat.character.clone();
        let handle = Rc::new(Handle {
            character: character.clone(),
            process,
            wish: Cell::new(Wish::Stay),
            has_ended: Cell::new(false),
            is_contested: seat.is_contested.clone(),
            place: RefCell::default(),
            knows_topics: RefCell::new(BTreeMap::new()),
        });
        seat.handle = Some(handle.clone());
        if handle.is_contested.get() {
            self.sim.holders.borrow_mut().contest(process);
        }
        let node = seat.node;
        world.start(node, 1, |_, _| async {});
        let io = world.io(node);
        let client = self.sim.client(io.clone(), &format!("client-{process}"));
        let member = Member::new(self.sim.clone(), client, handle);
        match character.protocol {
            Protocol::Consumer(_) => io.spawn("member", Modern::new(member).live()),
            _ => io.spawn("member", Classic::new(member).live()),
        };
        self.tell(world, format!("{process} comes: {character:?}"));
    }

    fn away(world: &mut World) -> Instant {
        world.now() + Duration::from_millis(world.random_below(AWAY_MS_MAX))
    }

    /// Something happens to somebody.
    pub fn disturb(&mut self, world: &mut World) {
        if self.seats.is_empty() {
            return;
        }
        let at = world.random_below(self.seats.len() as u64) as usize;
        let event = world.random_below(10);
        let Some(handle) = self.seats[at].handle.clone() else {
            return;
        };
        let (node, process) = (self.seats[at].node, handle.process);
        match event {
            0 | 1 if self.has(Feature::Stops) => {
                self.tell(world, format!("{process} is to stop"));
                handle.wish.set(Wish::Stop);
                self.seats[at].back_at = Self::away(world);
            }
            2 if self.has(Feature::MemberKills) => {
                self.tell(world, format!("{process} is killed"));
                let is_static = handle.character.instance.is_some();
                let how = match world.random_below(2) {
                    // What it has sent last comes to the broker, and nobody has taken its place by then.
                    0 if !is_static => Crash::PowerLoss,
                    _ => Crash::Kill,
                };
                self.kill(world, node, &handle, how);
                self.seats[at].handle = None;
                self.seats[at].back_at = Self::away(world);
            }
            3 if self.has(Feature::Rivals) && handle.character.instance.is_some() => {
                self.tell(world, format!("{process} gets a rival"));
                handle.is_contested.set(true);
                self.sim.holders.borrow_mut().contest(process);
                self.rivals.push((node, handle));
                self.seats[at].handle = None;
                self.seats[at].node = world.add_node();
                self.seats[at].back_at = Self::away(world);
            }
            4 if self.seats[at].is_cut => {
                self.tell(world, format!("{process} is not cut off any more"));
                world.heal(node, self.broker);
                self.seats[at].is_cut = false;
            }
            4 if self.has(Feature::Cuts) => {
                self.tell(world, format!("{process} is cut off"));
                world.cut(node, self.broker);
                self.seats[at].is_cut = true;
            }
            5.. => trouble(
                world,
                &self.sim,
                self.broker,
                node,
                &format!("client-{process}"),
            ),
            _ => {}
        }
    }

    fn kill(&self, world: &mut World, node: NodeId, handle: &Handle, how: Crash) {
        self.sim.holders.borrow_mut().release_all(handle.process);
        world.crash(node, how);
    }

    /// Everybody can reach the broker, nobody wants another one's place, and who is away stays so.
    pub fn calm_down(&mut self, world: &mut World) {
        self.tell(world, "calm".to_owned());
        for (node, handle) in std::mem::take(&mut self.rivals) {
            self.kill(world, node, &handle, Crash::Kill);
        }
        for seat in &mut self.seats {
            world.heal(seat.node, self.broker);
            seat.is_cut = false;
            if seat.handle.is_none() && world.random_below(2) == 0 {
                seat.back_at = world.now();
            }
        }
        self.go_on(world);
        let never = world.now() + Duration::from_secs(1_000_000);
        for seat in &mut self.seats {
            seat.back_at = never;
        }
    }

    /// Everybody ends.
    pub fn end(&mut self, world: &mut World) {
        for seat in std::mem::take(&mut self.seats) {
            world.crash(seat.node, Crash::Kill);
        }
    }

    /// Those who are members, or are to be.
    pub fn members(&self) -> Vec<Rc<Handle>> {
        let handles = self.seats.iter().filter_map(|seat| seat.handle.clone());
        handles.filter(|it| it.wish.get() == Wish::Stay).collect()
    }
}
