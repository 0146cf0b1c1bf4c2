//! Messages between coordinator and agents: JSON with its length before it.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};

use anyhow::{Context, Result, anyhow, ensure};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::engine::{Orders, Part, Preparation, Status};
use crate::measure::Measurements;
use crate::report::Host;
use crate::verify::{Acknowledged, Received};
use crate::workload::Workload;

/// The longest message that is believed to be one.
const MESSAGE_BYTES_MAX: usize = 1 << 30;

/// Both sides must be of the same version, since neither checks what the other one has checked.
pub(super) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// From the coordinator.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum ToAgent {
    Hello {
        version: String,
    },
    Clock,
    Job(Box<Job>),
    Start {
        /// On the clock of the agent, in nanoseconds since 1970.
        own_wall_ns: u64,
        /// On the clock of the coordinator.
        wall_ns: u64,
    },
    Orders(Orders),
}

/// From an agent.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum FromAgent {
    Hello {
        host: Host,
    },
    /// It works for another coordinator.
    Busy,
    Refused {
        why: String,
    },
    Clock {
        wall_ns: u64,
    },
    Status(Box<Status>),
    Done(Box<Done>),
    Failed {
        why: String,
    },
}

/// What an agent is to do.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Job {
    pub workload: Workload,
    pub bootstrap: Vec<SocketAddr>,
    pub preparation: Preparation,
    pub part: Part,
}

/// What came of it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Done {
    pub measurements: Measurements,
    pub acknowledged: Acknowledged,
    pub received: Vec<Received>,
    pub ends: Option<Vec<i64>>,
}

pub(super) fn send<T: Serialize>(mut stream: &TcpStream, message: &T) -> Result<()> {
    let mut frame = vec![0; 4];
    serde_json::to_writer(&mut frame, message)?;
    let length = u32::try_from(frame.len() - 4)?;
    frame[..4].copy_from_slice(&length.to_be_bytes());
    stream.write_all(&frame).map_err(lost)
}

pub(super) fn receive<T: DeserializeOwned>(mut stream: &TcpStream) -> Result<T> {
    let mut length = [0; 4];
    stream.read_exact(&mut length).map_err(lost)?;
    let length = u32::from_be_bytes(length) as usize;
    ensure!(
        length <= MESSAGE_BYTES_MAX,
        "a message of {length} bytes: this is no load generator"
    );
    let mut message = Vec::new();
    // Memory grows with what really comes.
    stream
        .take(length as u64)
        .read_to_end(&mut message)
        .map_err(lost)?;
    ensure!(
        message.len() == length,
        lost(ErrorKind::UnexpectedEof.into())
    );
    serde_json::from_slice(&message).context("a message that is none")
}

fn lost(error: std::io::Error) -> anyhow::Error {
    anyhow!("the connection is lost ({})", error.kind())
}
