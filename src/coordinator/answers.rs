//! Answers that take their time: a member that joins a group waits for the others, for minutes if need be.
//!
//! Shards have a limited number of questions to each other under way. So one that may wait for long does not stay a
//! question: it leaves a place here for its answer, goes to the other shard, and is over; when there is an answer, that
//! comes as a question of its own. Whoever ceases to wait gives up his place, and the answer goes nowhere.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::rc::Rc;

use corelog_shards::io::{Completer, slot};
use corelog_shards::mutation::{Mutation, strikes};
use corelog_shards::shard::Shard;
use rustc_hash::FxHashMap;

use crate::broker::Broker;

type Erased = Box<dyn Any + Send>;

/// Those who wait on this shard.
#[derive(Default)]
pub struct Answers {
    next: Cell<u64>,
    waiting: RefCell<FxHashMap<u64, Completer<Erased>>>,
}

impl Answers {
    fn deliver(&self, id: u64, answer: Erased) {
        let waiting = self.waiting.borrow_mut().remove(&id);
        if let Some(completer) = waiting
            && !strikes(Mutation::DropFarAnswer, 5)
        {
            completer.complete(answer);
        }
    }

    /// How many wait.
    #[cfg(test)]
    pub fn waiting(&self) -> usize {
        self.waiting.borrow().len()
    }
}

/// Gives up its place when the wait is over, however it ends.
struct Place {
    broker: Rc<Broker>,
    id: u64,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.broker.answers.waiting.borrow_mut().remove(&self.id);
    }
}

/// Has another shard, or this one, answer a question that may take long. `ask` puts it there; what it returns may wait.
pub async fn answer_of<T, F>(
    broker: Rc<Broker>,
    owner: usize,
    ask: impl FnOnce(Shard) -> F + Send + 'static,
) -> T
where
    T: Send + 'static,
    F: Future<Output = T> + 'static,
{
    let shard = broker.shard.clone();
    if owner == shard.id() {
        return ask(shard).await;
    }
    let id = broker.answers.next.get();
    broker.answers.next.set(id + 1);
    let (completer, answer) = slot();
    broker.answers.waiting.borrow_mut().insert(id, completer);
    let _place = Place { broker, id };
    let home = shard.id();
    shard
        .run_on(owner, move |there| async move {
            let answering = ask(there.clone());
            let io = there.io().clone();
            io.spawn("far answer", async move {
                let answer: Erased = Box::new(answering.await);
                let deliver = move |shard: Shard| async move {
                    Broker::of(&shard).answers.deliver(id, answer);
                };
                there.run_on(home, deliver).await;
            });
        })
        .await;
    let answer = answer.await.expect("the place is given up behind this");
    *answer.downcast().expect("the answer to this question")
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::pin::pin;
    use std::time::Duration;

    use corelog_shards::io::futures::poll_once;
    use corelog_shards::io::sim::{Faults, World};
    use corelog_shards::mesh;

    use super::*;
    use crate::broker::testing::broker_of_shard;

    const SHARDS: usize = 2;
    /// Longer than the other shard takes.
    const LONG_ENOUGH: Duration = Duration::from_secs(5);

    async fn after_a_while(shard: Shard) -> usize {
        shard.io().sleep(Duration::from_secs(1)).await;
        shard.id()
    }

    #[test]
    fn far_answers_come_to_those_who_still_wait() {
        let mut world = World::new(1, Faults::none());
        let node = world.add_node();
        let lanes = mesh::lanes(SHARDS).into_iter().map(Some);
        let ends = RefCell::new(lanes.collect::<Vec<_>>());
        let outcome = Rc::new(RefCell::new(None));
        let told = Rc::clone(&outcome);
        world.start(node, SHARDS, move |io, id| {
            let ends = ends.borrow_mut()[id].take().expect("each starts once");
            let outcome = Rc::clone(&outcome);
            async move {
                let broker = broker_of_shard(&io, Path::new("/data"), (id, SHARDS), ends).await;
                broker.shard.meet().await;
                if id == 0 {
                    let ask = |owner| answer_of(Rc::clone(&broker), owner, after_a_while);
                    let (here, there) = (ask(0).await, ask(1).await);
                    {
                        let mut left = pin!(ask(1));
                        assert_eq!(poll_once(left.as_mut()).await, None);
                        assert_eq!(broker.answers.waiting(), 1);
                    }
                    let forgotten = broker.answers.waiting();
                    io.sleep(LONG_ENOUGH).await;
                    outcome.replace(Some((here, there, forgotten)));
                }
                std::future::pending::<()>().await;
            }
        });
        world.run_until(|| told.borrow().is_some());
        assert_eq!(told.take(), Some((0, 1, 0)));
    }
}
