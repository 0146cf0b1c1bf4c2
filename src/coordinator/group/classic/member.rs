//! A member of a classic group.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use corelog_shards::io::Instant;
use kafka_protocol::messages::{JoinGroupRequest, JoinGroupResponse, SyncGroupResponse};

use crate::coordinator::Replier;
use crate::coordinator::group::Caller;
use crate::coordinator::memory::text_bytes;

/// A way of assigning that a member can take part in, with what it tells the leader for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Protocol {
    pub name: String,
    pub metadata: Bytes,
}

/// What a protocol takes beside its texts.
const PROTOCOL_OVERHEAD_BYTES: usize = 100;

/// What a member takes beside its texts, its protocols and its place among the members.
const MEMBER_OVERHEAD_BYTES: usize = 300;

/// What a member joins with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Terms {
    /// The one it likes best first; each name once.
    pub protocols: Vec<Protocol>,
    /// As the client gave it, below zero too.
    pub rebalance_timeout_ms: i32,
    pub session_timeout_ms: i32,
}

impl Terms {
    /// Copies what a request says: what a group keeps must not hold on to the request's buffer.
    pub fn of(request: &JoinGroupRequest, version: i16) -> Self {
        let mut names = BTreeSet::new();
        let offered = request.protocols.iter();
        let protocols = offered.filter(|protocol| names.insert(&*protocol.name));
        Self {
            protocols: protocols
                .map(|protocol| Protocol {
                    name: protocol.name.to_string(),
                    metadata: Bytes::copy_from_slice(&protocol.metadata),
                })
                .collect(),
            rebalance_timeout_ms: match version {
                0 => request.session_timeout_ms,
                _ => request.rebalance_timeout_ms,
            },
            session_timeout_ms: request.session_timeout_ms,
        }
    }

    /// What the protocols take.
    pub fn bytes(&self) -> usize {
        let bytes = |protocol: &Protocol| {
            PROTOCOL_OVERHEAD_BYTES + protocol.name.len() + protocol.metadata.len()
        };
        self.protocols.iter().map(bytes).sum()
    }
}

/// What a member takes in memory that joins like this, in bytes.
pub(super) fn bytes_of_join(request: &JoinGroupRequest, caller: &Caller) -> usize {
    // What stands behind the owner's name: a dash and a UUID.
    const ID_BYTES: usize = 37;
    let instance_id = request.group_instance_id.as_deref().unwrap_or_default();
    let owner = match instance_id {
        "" => caller.client_id.len(),
        instance_id => instance_id.len(),
    };
    let id = match request.member_id.len() {
        0 => owner + ID_BYTES,
        given => given,
    };
    let texts = [instance_id, &caller.client_id, &caller.client_host];
    let protocols = request.protocols.iter();
    bytes_of(
        id,
        texts,
        protocols.map(|protocol| (&*protocol.name, &protocol.metadata)),
    )
}

/// What a member takes with an id of so many bytes, that of its instance, and the id and the host of its client.
fn bytes_of<'a>(
    id: usize,
    [instance_id, client_id, client_host]: [&str; 3],
    protocols: impl Iterator<Item = (&'a str, &'a Bytes)>,
) -> usize {
    let texts = 2 * instance_id.len() + text_bytes(client_id) + text_bytes(client_host);
    MEMBER_OVERHEAD_BYTES + id + texts + bytes_of_protocols(protocols)
}

/// What names and metadata of protocols take. The topics that the longest metadata may name are counted with it: they
/// are kept beside it, in less than twice of what it takes.
fn bytes_of_protocols<'a>(protocols: impl Iterator<Item = (&'a str, &'a Bytes)>) -> usize {
    let (mut all, mut longest) = (0, 0);
    for (name, metadata) in protocols {
        all += 2 * (PROTOCOL_OVERHEAD_BYTES + name.len()) + metadata.len();
        longest = longest.max(metadata.len());
    }
    all + 2 * longest
}

pub(super) struct Member {
    pub id: Rc<str>,
    /// That of a static member, which may come back under another id.
    pub instance_id: Option<Rc<str>>,
    pub client_id: String,
    pub client_host: String,
    pub terms: Terms,
    /// Empty while the member has none. Changed by [`Members`](super::members::Members) alone.
    pub(super) assignment: Bytes,
    /// Its first join is not answered yet, so that it doesn't know its id and can't send heartbeats.
    pub is_new: bool,
    /// When its session ends. None once it has passed while the member was waiting for a reply: the
    /// reply begins a new one.
    pub deadline: Option<Instant>,
    /// Counted by [`Members`](super::members::Members), which alone changes it.
    pub(super) join: Option<Replier<JoinGroupResponse>>,
    pub sync: Option<Replier<SyncGroupResponse>>,
}

impl Member {
    /// What it takes in memory beside its assignment and its place among the members, in bytes.
    pub fn bytes(&self) -> usize {
        let instance_id = self.instance_id.as_deref().unwrap_or_default();
        let texts = [instance_id, &self.client_id, &self.client_host];
        let protocols = self.terms.protocols.iter();
        let protocols = protocols.map(|protocol| (&*protocol.name, &protocol.metadata));
        bytes_of(self.id.len(), texts, protocols)
    }

    pub fn is_static(&self) -> bool {
        self.instance_id.is_some()
    }

    pub fn awaits_join(&self) -> bool {
        self.join.is_some()
    }

    /// Whether the end of its session is nothing against it, since it waits for us.
    pub fn is_excused(&self) -> bool {
        !self.is_new && (self.join.is_some() || self.sync.is_some())
    }

    pub fn session_timeout(&self) -> Duration {
        millis(self.terms.session_timeout_ms)
    }

    /// What it tells the leader if the group takes this protocol.
    pub fn metadata(&self, protocol: &str) -> Bytes {
        let mut protocols = self.terms.protocols.iter();
        protocols
            .find(|own| own.name == protocol)
            .map(|own| own.metadata.clone())
            .unwrap_or_default()
    }
}

/// A time-out as clients give it; there is none below zero.
pub(super) fn millis(timeout_ms: i32) -> Duration {
    Duration::from_millis(timeout_ms.max(0) as u64)
}
