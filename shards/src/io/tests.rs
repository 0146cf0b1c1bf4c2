//! The parts that need neither disk nor network. Futures are polled by hand.

use std::future::Future;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::task::{OnPanic, supervise};
use super::{AppendBuf, Instant, Notify, Stop, align_down, align_up, slot};

fn poll_once<F: Future>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn instants_saturate() {
    let start = Instant::from_nanos(1_000);
    let later = start + Duration::from_nanos(500);
    assert_eq!(later - start, Duration::from_nanos(500));
    assert_eq!(start - later, Duration::ZERO);
    assert_eq!(start - Duration::from_secs(1), Instant::from_nanos(0));
    assert_eq!(later + Duration::MAX, Instant::from_nanos(u64::MAX));
}

#[test]
fn blocks_are_rounded() {
    assert_eq!((align_up(0), align_down(0)), (0, 0));
    assert_eq!((align_up(1), align_down(4095)), (4096, 0));
    assert_eq!((align_up(4096), align_down(4097)), (4096, 4096));
}

#[test]
fn append_buf_gives_slices_that_outlive_it() {
    let mut buf = AppendBuf::new(16);
    buf.append(b"hello ");
    let hello = buf.slice(0..5);
    buf.append(b"world");
    let both = buf.slice(0..11);
    assert_eq!(buf.as_ref(), b"hello world");
    assert_eq!((buf.len(), buf.remaining()), (11, 5));
    assert!(buf.slice(3..3).is_empty());
    drop(buf);
    let read = std::thread::spawn(move || (hello.to_vec(), both.to_vec()));
    let (hello, both) = read.join().expect("reading does not panic");
    assert_eq!(hello, b"hello");
    assert_eq!(both, b"hello world");
}

#[test]
#[should_panic(expected = "do not fit")]
fn append_buf_has_an_end() {
    let mut buf = AppendBuf::new(4);
    buf.append(b"hello");
}

#[test]
#[should_panic(expected = "not within")]
fn append_buf_slices_only_what_was_written() {
    let buf = AppendBuf::new(4);
    buf.slice(0..1);
}

#[test]
fn slot_delivers_once() {
    let (completer, slot_) = slot();
    let mut waiting = pin!(slot_);
    assert!(poll_once(waiting.as_mut()).is_pending());
    completer.complete(5);
    assert_eq!(poll_once(waiting.as_mut()), Poll::Ready(Some(5)));
    assert_eq!(poll_once(waiting.as_mut()), Poll::Ready(None));
}

#[test]
fn slot_tells_of_either_side_going_away() {
    let (completer, mut waiting) = slot::<u8>();
    assert!(!completer.is_abandoned());
    drop(completer);
    assert_eq!(poll_once(pin!(&mut waiting)), Poll::Ready(None));

    let (completer, waiting) = slot::<u8>();
    drop(waiting);
    assert!(completer.is_abandoned());
    completer.complete(1);
}

#[test]
fn notifications_coalesce() {
    let notify = Notify::new();
    notify.notify_one();
    notify.notify_one();
    assert!(poll_once(pin!(notify.notified())).is_ready());
    assert!(poll_once(pin!(notify.notified())).is_pending());

    let mut first = pin!(notify.notified());
    let mut second = pin!(notify.notified());
    assert!(poll_once(first.as_mut()).is_pending());
    assert!(poll_once(second.as_mut()).is_pending());
    notify.notify_one();
    assert!(poll_once(second.as_mut()).is_pending());
    assert!(poll_once(first.as_mut()).is_ready());
    notify.notify_all();
    assert!(poll_once(second.as_mut()).is_ready());
    assert!(poll_once(pin!(notify.notified())).is_pending());
}

#[test]
fn a_notification_nobody_used_goes_on() {
    let notify = Notify::new();
    let mut given_up = Box::pin(notify.notified());
    let mut patient = pin!(notify.notified());
    assert!(poll_once(given_up.as_mut()).is_pending());
    assert!(poll_once(patient.as_mut()).is_pending());
    notify.notify_one();
    drop(given_up);
    assert!(poll_once(patient.as_mut()).is_ready());

    let mut given_up = Box::pin(notify.notified());
    assert!(poll_once(given_up.as_mut()).is_pending());
    notify.notify_all();
    drop(given_up);
    assert!(poll_once(pin!(notify.notified())).is_pending());
}

#[test]
fn stop_is_heard_by_all() {
    let stop = Stop::new();
    let mut early = pin!(stop.requested());
    assert!(poll_once(early.as_mut()).is_pending());
    stop.clone().request();
    assert!(poll_once(early.as_mut()).is_ready());
    assert!(poll_once(pin!(stop.requested())).is_ready());
}

#[test]
fn a_cancelled_task_drops_its_future() {
    let held = Rc::new(());
    let inside = Rc::clone(&held);
    let (task, handle) = supervise("test", OnPanic::Propagate, async move {
        std::future::pending::<()>().await;
        drop(inside);
    });
    let mut task = pin!(task);
    assert!(poll_once(task.as_mut()).is_pending());
    handle.cancel();
    assert!(!handle.is_done());
    assert!(poll_once(task.as_mut()).is_ready());
    assert!(handle.is_done());
    assert_eq!(Rc::strong_count(&held), 1);
    assert!(poll_once(pin!(handle)).is_ready());
}

#[test]
fn a_contained_panic_ends_the_task_alone() {
    let (task, handle) = supervise("test", OnPanic::Contain, async { panic!("on purpose") });
    assert!(poll_once(pin!(task)).is_ready());
    assert!(handle.is_done());
}

#[test]
fn a_dropped_task_counts_as_done() {
    let (task, handle) = supervise("test", OnPanic::Propagate, std::future::pending());
    drop(task);
    assert!(poll_once(pin!(handle)).is_ready());
}
