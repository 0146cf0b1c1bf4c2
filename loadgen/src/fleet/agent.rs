//! An agent: runs its part of what a coordinator tells it, one coordinator after the other.

use std::net::{TcpListener, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::SILENCE_MAX;
use super::wire::{Done, FromAgent, Job, ToAgent, VERSION, receive, send};
use crate::engine::{self, Orders, Settings, Start, Status, wall_ns};
use crate::report::Host;

/// No start is further away, ahead or behind.
const START_MAX: Duration = Duration::from_secs(60);
/// Between two looks for somebody who connects.
const ACCEPT_EVERY: Duration = Duration::from_millis(50);

/// Serves coordinators until `stop`, one at a time; others are refused meanwhile. `told` hears of what happens, in words.
pub fn serve(
    listener: &TcpListener,
    threads: usize,
    stop: &AtomicBool,
    told: impl Fn(String) + Sync,
) -> Result<()> {
    listener.set_nonblocking(true)?;
    let is_busy = AtomicBool::new(false);
    std::thread::scope(|scope| {
        while !stop.load(Ordering::Relaxed) {
            let Ok((stream, peer)) = listener.accept() else {
                std::thread::sleep(ACCEPT_EVERY);
                continue;
            };
            if is_busy.swap(true, Ordering::Relaxed) {
                // Who does not wait for the answer does not get it.
                let _ = send(&stream, &FromAgent::Busy);
                continue;
            }
            let (is_busy, told) = (&is_busy, &told);
            scope.spawn(move || {
                told(format!("{peer}: connected"));
                match work(&stream, threads, stop) {
                    Ok(()) => told(format!("{peer}: done")),
                    Err(error) => told(format!("{peer}: {error:#}")),
                }
                is_busy.store(false, Ordering::Relaxed);
            });
        }
    });
    Ok(())
}

fn work(stream: &TcpStream, threads: usize, stop: &AtomicBool) -> Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(SILENCE_MAX))?;
    stream.set_write_timeout(Some(SILENCE_MAX))?;
    let ToAgent::Hello { version } = receive(stream)? else {
        bail!("it did not say hello");
    };
    if version != VERSION {
        let why = format!("it is of version {VERSION}, the coordinator of {version}");
        send(stream, &FromAgent::Refused { why: why.clone() })?;
        bail!(why);
    }
    send(stream, &FromAgent::Hello { host: Host::here() })?;
    let mut job = None;
    let (own_wall_ns, shared_wall_ns) = loop {
        match receive(stream)? {
            ToAgent::Clock => send(stream, &FromAgent::Clock { wall_ns: wall_ns() })?,
            ToAgent::Job(given) => job = Some(given),
            ToAgent::Start {
                own_wall_ns,
                wall_ns,
            } => break (own_wall_ns, wall_ns),
            ToAgent::Hello { .. } | ToAgent::Orders(_) => bail!("orders before the start"),
        }
    };
    let job = job.context("a start without a job")?;
    let (now, now_wall_ns) = (Instant::now(), wall_ns());
    let ahead = Duration::from_nanos(own_wall_ns.saturating_sub(now_wall_ns));
    // The timetable of who is late begins in time: what is due meanwhile is late.
    let late = Duration::from_nanos(now_wall_ns.saturating_sub(own_wall_ns));
    ensure!(
        ahead.max(late) < START_MAX,
        "the start is {} s away: the clock was set",
        ahead.max(late).as_secs()
    );
    let at = (now + ahead).checked_sub(late);
    let start = Start {
        at: at.context("a start before this machine's own")?,
        wall_ns: shared_wall_ns,
    };
    let outcome = run(stream, &job, threads, start, stop);
    let message = match outcome {
        Ok(_) if stop.load(Ordering::Relaxed) => FromAgent::Failed {
            why: "it was stopped where it runs".into(),
        },
        Ok(done) => FromAgent::Done(Box::new(done)),
        Err(error) => FromAgent::Failed {
            why: format!("{error:#}"),
        },
    };
    send(stream, &message)
}

fn run(
    stream: &TcpStream,
    job: &Job,
    threads: usize,
    start: Start,
    stop: &AtomicBool,
) -> Result<Done> {
    let settings = Settings {
        bootstrap: job.bootstrap.clone(),
        threads,
    };
    let orders = Mutex::new(Orders::default());
    let has_ended = AtomicBool::new(false);
    let give_up = || {
        let mut orders = orders.lock().expect("nobody panics here");
        orders.stop = true;
        orders.give_up = true;
    };
    let outcome = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !has_ended.load(Ordering::Relaxed) {
                match receive(stream) {
                    Ok(ToAgent::Orders(newest)) => {
                        *orders.lock().expect("nobody panics here") = newest;
                    }
                    // The coordinator is gone, and nobody wants the rest.
                    _ => return give_up(),
                }
            }
        });
        let outcome = engine::run_part(
            &job.workload,
            &settings,
            &job.preparation,
            job.part,
            || start,
            |status: Status| {
                let is_news = status.moment.is_some();
                if stop.load(Ordering::Relaxed)
                    || (is_news && send(stream, &FromAgent::Status(Box::new(status))).is_err())
                {
                    give_up();
                }
                orders.lock().expect("nobody panics here").clone()
            },
        );
        // The reader ends with the next order, of which there is one each second.
        has_ended.store(true, Ordering::Relaxed);
        outcome
    })?;
    Ok(Done {
        measurements: outcome.measurements,
        acknowledged: outcome.acknowledged,
        received: outcome.received,
        ends: outcome.ends,
    })
}
