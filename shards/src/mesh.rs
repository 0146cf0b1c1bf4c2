//! Messages between shards: one bounded lane for each ordered pair, and no way to deadlock.
//!
//! A request takes one of [`REQUESTS_MAX`] credits for its peer and gives it back when the reply is
//! in. A lane has room for all requests and all replies that credits allow, and for the two notices,
//! so that sending a reply or a notice never fails and never waits; only a request waits, for a
//! credit. That wait is the back-pressure: nothing grows.
//!
//! Notices say which waiting fetches have news. Per pair of shards one is on its way at a time; what
//! comes up meanwhile is gathered, each fetch once.
//!
//! What a lost message would mean: none can be lost, since a shard that panics ends the process.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

use rustc_hash::FxHashSet;

use crate::io::{
    Completer, ConnectedReceiver, ConnectedSender, Io, Landmark, LaneReceiver, LaneSender, Notify,
    Slot, slot,
};
use crate::mutation::{Mutation, is_on, strikes};
use crate::route::ShardId;
use crate::shard::message::{Reply, Request, WatchId};

/// Requests that may be under way from one shard to another.
pub const REQUESTS_MAX: usize = 1024;
/// Room of a lane: requests of the one, replies to the other, the two notices.
pub const LANE_CAPACITY: usize = 2 * REQUESTS_MAX + 2;

/// What travels.
pub enum Message {
    /// Something to do for the sender; the reply names `id`.
    Request(u32, Request),
    /// The answer to the request `id` of the receiver.
    Reply(u32, Reply),
    /// These waiting fetches of the receiver have news.
    Wakes(Vec<WatchId>),
    /// The last [`Message::Wakes`] was taken.
    WakesTaken,
}

/// What one shard knows of one other.
struct Peer {
    sender: ConnectedSender<Message>,
    waiting: RefCell<Waiting>,
    credit: Notify,
    wakes: RefCell<FxHashSet<WatchId>>,
    wakes_under_way: Cell<bool>,
}

/// Requests whose replies have not come, by id.
struct Waiting {
    slots: Vec<Option<Completer<Reply>>>,
    free: Vec<u32>,
}

/// The lanes of one shard to all others.
pub struct Mesh {
    io: Io,
    peers: Vec<Option<Peer>>,
}

/// Both ends of a shard's lanes before its executor runs; `None` in its own place.
pub struct Ends {
    senders: Vec<Option<LaneSender<Message>>>,
    receivers: Vec<Option<LaneReceiver<Message>>>,
}

/// Lanes for all pairs of `shards` shards, sorted by the shard that holds the ends.
pub fn lanes(shards: usize) -> Vec<Ends> {
    let none = |_| Ends {
        senders: (0..shards).map(|_| None).collect(),
        receivers: (0..shards).map(|_| None).collect(),
    };
    let mut ends: Vec<Ends> = (0..shards).map(none).collect();
    let capacity = match is_on(Mutation::DropReplyOfFullLane) {
        true => REQUESTS_MAX,
        false => LANE_CAPACITY,
    };
    for from in 0..shards {
        for to in (0..shards).filter(|to| *to != from) {
            let (sender, receiver) = crate::io::lane(capacity);
            ends[from].senders[to] = Some(sender);
            ends[to].receivers[from] = Some(receiver);
        }
    }
    ends
}

impl Mesh {
    /// Connects a shard's lanes; waits for all others to do so.
    pub async fn connect(
        io: &Io,
        ends: Ends,
    ) -> (Self, Vec<(ShardId, ConnectedReceiver<Message>)>) {
        // All ends are announced before any is waited for: the others wait as well.
        let announced = |sender: LaneSender<Message>| sender.connect(io);
        let senders: Vec<_> = ends
            .senders
            .into_iter()
            .map(|sender| sender.map(announced))
            .collect();
        let announced = |receiver: LaneReceiver<Message>| receiver.connect(io);
        let receivers: Vec<_> = ends
            .receivers
            .into_iter()
            .map(|receiver| receiver.map(announced))
            .collect();
        let mut peers = Vec::new();
        for sender in senders {
            peers.push(match sender {
                Some(sender) => Some(Peer::new(sender.await)),
                None => None,
            });
        }
        let mut connected = Vec::new();
        for (from, receiver) in receivers.into_iter().enumerate() {
            if let Some(receiver) = receiver {
                connected.push((from, receiver.await));
            }
        }
        let io = io.clone();
        (Self { io, peers }, connected)
    }

    fn peer(&self, shard: ShardId) -> &Peer {
        self.peers[shard]
            .as_ref()
            .expect("a shard sends itself nothing")
    }

    /// Sends a request as soon as there is a credit for it; the slot gets the reply.
    pub async fn request(&self, to: ShardId, request: Request) -> Slot<Reply> {
        let peer = self.peer(to);
        loop {
            let id = peer.waiting.borrow_mut().take();
            if let Some(id) = id {
                return peer.send_request(id, request);
            }
            self.io.reached(Landmark::CreditsUsedUp);
            peer.credit.notified().await;
        }
    }

    /// Answers a request. Its room was reserved with the request.
    pub fn reply(&self, to: ShardId, id: u32, reply: Reply) {
        self.peer(to).send(Message::Reply(id, reply));
    }

    /// Takes a reply that came in.
    pub fn complete(&self, from: ShardId, id: u32, reply: Reply) {
        let peer = self.peer(from);
        peer.waiting.borrow_mut().give_back(id).complete(reply);
        if !is_on(Mutation::ForgetCredit) {
            peer.credit.notify_one();
        }
    }

    /// Tells a waiting fetch of another shard that there is news.
    pub fn wake(&self, to: ShardId, watch: WatchId) {
        let peer = self.peer(to);
        peer.wakes.borrow_mut().insert(watch);
        peer.send_wakes();
    }

    /// The peer has taken the wakes that were under way.
    pub fn wakes_taken(&self, from: ShardId) {
        let peer = self.peer(from);
        peer.wakes_under_way.set(false);
        peer.send_wakes();
    }

    /// Confirms wakes, so that the next may come.
    pub fn take_wakes(&self, from: ShardId) {
        self.peer(from).send(Message::WakesTaken);
    }
}

impl Peer {
    fn new(sender: ConnectedSender<Message>) -> Self {
        Self {
            sender,
            waiting: RefCell::new(Waiting::new(REQUESTS_MAX)),
            credit: Notify::new(),
            wakes: RefCell::default(),
            wakes_under_way: Cell::new(false),
        }
    }

    fn send(&self, message: Message) {
        // Credits keep a lane from overflowing; a refusal means that the other shard has stopped, and
        // then nobody waits for the message.
        let _ = self.sender.try_send(message);
    }

    fn send_request(&self, id: u32, request: Request) -> Slot<Reply> {
        let (completer, slot) = slot();
        self.waiting.borrow_mut().slots[id as usize] = Some(completer);
        self.send(Message::Request(id, request));
        slot
    }

    fn send_wakes(&self) {
        if self.wakes_under_way.get() || self.wakes.borrow().is_empty() {
            return;
        }
        let wakes = self.wakes.borrow_mut().drain().collect();
        self.wakes_under_way.set(true);
        self.send(Message::Wakes(wakes));
    }
}

impl Waiting {
    fn new(max: usize) -> Self {
        Self {
            slots: (0..max).map(|_| None).collect(),
            free: (0..max as u32).rev().collect(),
        }
    }

    fn take(&mut self) -> Option<u32> {
        self.free.pop()
    }

    fn give_back(&mut self, id: u32) -> Completer<Reply> {
        let completer = self.slots[id as usize]
            .take()
            .expect("one reply for a request");
        self.free.push(id);
        completer
    }
}

/// Messages that came in together: drained in batches, so that one wake-up serves many.
pub async fn drain(
    receiver: &mut ConnectedReceiver<Message>,
    into: &mut VecDeque<Message>,
    most: usize,
) -> bool {
    let Some(first) = receiver.recv().await else {
        return false;
    };
    into.push_back(first);
    while into.len() < most {
        match receiver.try_recv() {
            Some(message) => into.push_back(message),
            None => break,
        }
    }
    if into.len() > 1 && strikes(Mutation::SwapRequests, 10) {
        into.swap(0, 1);
    }
    true
}
