//! The requests of a group's member, and their replies.

use anyhow::{Context, Result};
use bytes::Bytes;
use kafka_protocol::messages::{
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, FindCoordinatorRequest,
    FindCoordinatorResponse, HeartbeatRequest, HeartbeatResponse, JoinGroupRequest,
    JoinGroupResponse, LeaveGroupRequest, LeaveGroupResponse, OffsetCommitRequest,
    OffsetCommitResponse, OffsetFetchRequest, OffsetFetchResponse, SyncGroupRequest,
    SyncGroupResponse,
};
use kafka_protocol::protocol::Decodable;

use crate::connection::Connection;

macro_rules! apis {
    ($($(#[$doc:meta])* $api:ident($request:ty, $response:ty, $least:literal..=$most:literal),)*) => {
        /// Which request.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Api {
            $($(#[$doc])* $api,)*
        }

        /// A request.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Ask {
            $($(#[$doc])* $api($request),)*
        }

        /// A reply.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Answer {
            $($(#[$doc])* $api($response),)*
        }

        impl Ask {
            pub fn api(&self) -> Api {
                match self {
                    $(Self::$api(_) => Api::$api,)*
                }
            }

            /// Sends it over a connection.
            ///
            /// # Errors
            /// If the broker does not speak a version that has what is needed, or the connection is lost.
            pub fn send(&self, connection: &mut Connection<Api>, now_ns: u64) -> Result<()> {
                match self {
                    $(Self::$api(request) => {
                        let version = connection.within::<$request>($least, $most)?;
                        connection.queue(request, version, Some(Api::$api), now_ns)?;
                    })*
                }
                connection.flush()
            }
        }

        impl Api {
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$api => stringify!($api),)*
                }
            }

            /// Reads the body of a reply.
            pub fn decode(self, version: i16, body: &mut Bytes) -> Result<Answer> {
                match self {
                    $(Self::$api => <$response>::decode(body, version).map(Answer::$api),)*
                }
                .with_context(|| self.name())
            }
        }
    };
}

// From the first version that has several groups or members, or the last one, in one field.
apis! {
    FindCoordinator(FindCoordinatorRequest, FindCoordinatorResponse, 4..=6),
    JoinGroup(JoinGroupRequest, JoinGroupResponse, 4..=9),
    SyncGroup(SyncGroupRequest, SyncGroupResponse, 3..=5),
    Heartbeat(HeartbeatRequest, HeartbeatResponse, 3..=4),
    LeaveGroup(LeaveGroupRequest, LeaveGroupResponse, 3..=5),
    ConsumerGroupHeartbeat(ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, 0..=1),
    OffsetCommit(OffsetCommitRequest, OffsetCommitResponse, 7..=9),
    OffsetFetch(OffsetFetchRequest, OffsetFetchResponse, 8..=9),
}
