//! The coordinator: splits a workload over agents and puts together what they send.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::SILENCE_MAX;
use super::wire::{FromAgent, Job, ToAgent, VERSION, receive, send};
use crate::client::Backoff;
use crate::engine::{
    Conductor, Orders, Outcome, Part, PartOutcome, Start, Status, prepare_unless, wall_ns,
};
use crate::measure::Progress;
use crate::report::Host;
use crate::workload::Workload;

const CONNECT_MAX: Duration = Duration::from_secs(5);
/// How long an agent may still be busy with its last work.
const BUSY_MAX: Duration = Duration::from_secs(10);
/// How often each clock is asked.
const CLOCK_ASKED: usize = 16;
/// From the last message before the start to the start: time for agents to look at the cluster.
const START_AHEAD: Duration = Duration::from_secs(1);
/// Between two looks at how all parts go.
const TURN_EVERY: Duration = Duration::from_millis(50);
const PROGRESS_EVERY: Duration = Duration::from_millis(250);
/// Agents hear of the coordinator at least so often.
const ORDERS_EVERY: Duration = Duration::from_secs(1);

/// What came of a run on agents.
#[derive(Debug)]
pub struct Ran {
    /// Of the agents that came to the end. Without a verification if one did not, since its part of the ledgers is
    /// missing.
    pub outcome: Outcome,
    /// The agents' machines.
    pub hosts: Vec<Host>,
    /// How far the clocks of two agents may be apart at the most, in nanoseconds.
    pub clock_error_ns: u64,
    /// Agents that were lost on the way.
    pub lost: Vec<Lost>,
}

/// An agent that did not come to the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    pub agent: String,
    pub why: String,
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "agent {} was lost: {}", self.agent, self.why)
    }
}

struct Agent {
    address: SocketAddr,
    stream: TcpStream,
    host: Host,
    clock: Clock,
}

/// How an agent's clock stands to the coordinator's.
#[derive(Clone, Copy, Debug, Default)]
struct Clock {
    /// Added to the coordinator's time it gives the agent's, in nanoseconds.
    offset_ns: i64,
    error_ns: u64,
}

/// How an agent goes on.
enum State {
    Running(Status),
    Done(Box<PartOutcome>),
    Lost(String),
}

/// Runs the workload on these agents against these brokers. When an agent is lost, the others stop, and what they have
/// is the outcome.
///
/// # Errors
/// If an agent cannot be reached or refuses before the start, or all are lost.
pub fn run(
    workload: &Workload,
    bootstrap: &[SocketAddr],
    agents: &[SocketAddr],
    stop: &AtomicBool,
    progress: impl FnMut(Progress),
) -> Result<Ran> {
    for (at, address) in agents.iter().enumerate() {
        ensure!(
            !agents[..at].contains(address),
            "agent {address} is named twice"
        );
    }
    let agents = agents
        .iter()
        .map(|address| Agent::meet(*address).with_context(|| format!("agent {address}")))
        .collect::<Result<Vec<_>>>()?;
    let preparation = prepare_unless(stop, workload, bootstrap)?;
    for (index, agent) in (0..).zip(&agents) {
        let job = Job {
            workload: workload.clone(),
            bootstrap: bootstrap.to_vec(),
            preparation: preparation.clone(),
            part: Part {
                index,
                count: agents.len() as u32,
            },
        };
        let sent = send(&agent.stream, &ToAgent::Job(Box::new(job)));
        sent.with_context(|| format!("agent {}", agent.address))?;
    }
    let start = Start {
        at: Instant::now() + START_AHEAD,
        wall_ns: wall_ns() + START_AHEAD.as_nanos() as u64,
    };
    for agent in &agents {
        let message = ToAgent::Start {
            own_wall_ns: start.wall_ns.saturating_add_signed(agent.clock.offset_ns),
            wall_ns: start.wall_ns,
        };
        send(&agent.stream, &message).with_context(|| format!("agent {}", agent.address))?;
    }
    let mut conductor = Conductor::new(workload, bootstrap);
    let states = conduct(workload, &agents, start, &mut conductor, stop, progress)?;
    let mut parts = Vec::new();
    let mut lost = Vec::new();
    for (agent, state) in agents.iter().zip(states) {
        let why = match state {
            State::Done(mut part) => {
                for thread in &mut part.measurements.threads {
                    thread.name = format!("{} of {}", thread.name, agent.address);
                }
                parts.push(*part);
                continue;
            }
            State::Lost(why) => why,
            State::Running(_) => "it did not come to an end".into(),
        };
        lost.push(Lost {
            agent: agent.address.to_string(),
            why,
        });
    }
    if parts.is_empty() {
        let lost: Vec<String> = lost.iter().map(Lost::to_string).collect();
        bail!("{}", lost.join("; "));
    }
    let mut outcome = Outcome::of(workload, parts);
    if !lost.is_empty() {
        outcome.verification = None;
    }
    let mut errors: Vec<u64> = agents.iter().map(|agent| agent.clock.error_ns).collect();
    errors.sort_unstable_by(|one, other| other.cmp(one));
    Ok(Ran {
        outcome,
        hosts: agents.into_iter().map(|agent| agent.host).collect(),
        clock_error_ns: errors.iter().take(2).sum(),
        lost,
    })
}

impl Agent {
    /// Connects; waits a little for one that is not done with its last work yet.
    fn meet(address: SocketAddr) -> Result<Self> {
        let mut backoff = Backoff::within(BUSY_MAX);
        loop {
            match Self::greet(address)? {
                Some(agent) => return Ok(agent),
                None => ensure!(backoff.wait(), "it works for another coordinator"),
            }
        }
    }

    /// `None` if it is busy.
    fn greet(address: SocketAddr) -> Result<Option<Self>> {
        let stream = TcpStream::connect_timeout(&address, CONNECT_MAX).context("connecting")?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(SILENCE_MAX))?;
        stream.set_write_timeout(Some(SILENCE_MAX))?;
        let version = VERSION.to_owned();
        // A busy one may be gone before it hears that; what it said is still there.
        let sent = send(&stream, &ToAgent::Hello { version });
        let host = match receive(&stream).or_else(|error| sent.and(Err(error)))? {
            FromAgent::Hello { host } => host,
            FromAgent::Busy => return Ok(None),
            FromAgent::Refused { why } => bail!("it refuses: {why}"),
            _ => bail!("it did not say hello"),
        };
        let clock = Clock::of(&stream)?;
        Ok(Some(Self {
            address,
            stream,
            host,
            clock,
        }))
    }
}

impl Clock {
    /// By the quickest of some questions: the answer was given somewhere between question and reply.
    fn of(stream: &TcpStream) -> Result<Self> {
        let mut best: Option<Self> = None;
        for _ in 0..CLOCK_ASKED {
            let asked = Instant::now();
            let asked_wall_ns = wall_ns();
            send(stream, &ToAgent::Clock)?;
            let FromAgent::Clock { wall_ns } = receive(stream)? else {
                bail!("it did not tell its time");
            };
            let half_ns = asked.elapsed().as_nanos() as u64 / 2;
            let clock = Self {
                offset_ns: wall_ns.wrapping_sub(asked_wall_ns + half_ns) as i64,
                error_ns: half_ns,
            };
            if best.is_none_or(|best| clock.error_ns < best.error_ns) {
                best = Some(clock);
            }
        }
        best.context("no clock was asked")
    }
}

/// Keeps all parts going until each has come to its end, and says how.
fn conduct(
    workload: &Workload,
    agents: &[Agent],
    start: Start,
    conductor: &mut Conductor<'_>,
    stop: &AtomicBool,
    mut progress: impl FnMut(Progress),
) -> Result<Vec<State>> {
    let mut states: Vec<State> = Vec::new();
    states.resize_with(agents.len(), || State::Running(Status::default()));
    std::thread::scope(|scope| {
        let (sender, events) = channel();
        for (at, agent) in agents.iter().enumerate() {
            let sender = sender.clone();
            scope.spawn(move || listen(at, &agent.stream, &sender));
        }
        drop(sender);
        let mut sent: BTreeMap<usize, (Orders, Instant)> = BTreeMap::new();
        let mut shown = start.at;
        let mut moments = BTreeMap::new();
        let mut has_lost = false;
        while states
            .iter()
            .any(|state| matches!(state, State::Running(_)))
        {
            match events.recv_timeout(TURN_EVERY) {
                Ok((at, State::Running(status))) => {
                    moments.extend(status.moment.clone().map(|moment| (at, moment)));
                    states[at] = State::Running(status);
                }
                Ok((at, state)) => {
                    has_lost |= matches!(state, State::Lost(_));
                    states[at] = state;
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            let running = states.iter().filter_map(|state| match state {
                State::Running(status) => Some(status),
                State::Done(_) | State::Lost(_) => None,
            });
            let running: Vec<&Status> = running.collect();
            if running.is_empty() {
                continue;
            }
            let must_stop = stop.load(Ordering::Relaxed) || has_lost;
            let orders = conductor.conduct(&running, must_stop);
            for (at, agent) in agents.iter().enumerate() {
                let is_known = sent
                    .get(&at)
                    .is_some_and(|(known, when)| known == orders && when.elapsed() < ORDERS_EVERY);
                if is_known || matches!(states[at], State::Lost(_)) {
                    continue;
                }
                // That it is lost, the one who listens to it will tell.
                let _ = send(&agent.stream, &ToAgent::Orders(orders.clone()));
                sent.insert(at, (orders.clone(), Instant::now()));
            }
            if shown.elapsed() >= PROGRESS_EVERY {
                shown = Instant::now();
                progress(Progress::of(
                    moments.values(),
                    start.at.elapsed(),
                    workload.whole(),
                ));
            }
        }
        // Who listens to a lost agent ends as well.
        for agent in agents {
            let _ = agent.stream.shutdown(std::net::Shutdown::Both);
        }
    });
    ensure!(!states.is_empty(), "no agent is named");
    Ok(states)
}

/// Hands on what an agent says, to its end.
fn listen(at: usize, stream: &TcpStream, to: &Sender<(usize, State)>) {
    loop {
        let state = match receive(stream) {
            Ok(FromAgent::Status(status)) => State::Running(*status),
            Ok(FromAgent::Done(done)) => State::Done(Box::new(PartOutcome {
                measurements: done.measurements,
                acknowledged: done.acknowledged,
                received: done.received,
            })),
            Ok(FromAgent::Failed { why }) => State::Lost(why),
            Ok(_) => State::Lost("it says what was not asked".into()),
            Err(error) => State::Lost(format!("{error:#}")),
        };
        let is_end = !matches!(state, State::Running(_));
        if to.send((at, state)).is_err() || is_end {
            return;
        }
    }
}
