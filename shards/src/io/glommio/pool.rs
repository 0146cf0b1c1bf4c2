//! Threads beside a shard for what would block it. glommio has such a pool, but only its own way of
//! sleeping hears that something is done there.

use std::future::poll_fn;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::thread;

use super::RemoteWaker;
use crate::io::task::panic_message;

/// Threads of each shard.
const THREADS: usize = 2;

type Job = Box<dyn FnOnce() + Send>;

pub(super) struct Pool {
    jobs: flume::Sender<Job>,
}

/// Where a job leaves what came of it.
struct Outcome<T> {
    result: Option<io::Result<T>>,
    waiting: Option<RemoteWaker>,
}

impl Pool {
    pub(super) fn start() -> io::Result<Pool> {
        let (jobs, todo) = flume::unbounded::<Job>();
        for _ in 0..THREADS {
            let todo = todo.clone();
            let thread = thread::Builder::new().name("paths".to_owned());
            thread.spawn(move || todo.into_iter().for_each(|job| job()))?;
        }
        Ok(Pool { jobs })
    }

    /// Runs `work` on one of the threads. A panic in it is an error for the caller. If the future is
    /// dropped, the work is done all the same.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let outcome = Arc::new(Mutex::new(Outcome {
            result: None,
            waiting: None,
        }));
        let of_job = Arc::clone(&outcome);
        let job = Box::new(move || {
            let result = catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
                let what = panic_message(panic.as_ref());
                Err(io::Error::other(format!(
                    "blocking operation panicked: {what}"
                )))
            });
            let mut outcome = of_job.lock().unwrap_or_else(PoisonError::into_inner);
            outcome.result = Some(result);
            let waiting = outcome.waiting.take();
            drop(outcome);
            if let Some(waker) = waiting {
                waker.wake();
            }
        });
        self.jobs
            .send(job)
            .map_err(|_| io::Error::other("the threads for blocking operations are gone"))?;
        poll_fn(|cx| {
            let mut outcome = outcome.lock().unwrap_or_else(PoisonError::into_inner);
            match outcome.result.take() {
                Some(result) => Poll::Ready(result),
                None => {
                    outcome.waiting = Some(RemoteWaker::new(cx.waker()));
                    Poll::Pending
                }
            }
        })
        .await
    }
}
