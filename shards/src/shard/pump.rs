//! Takes messages off the lanes. One task for each lane; requests that complete at once are handled
//! in place, those that wait get a task.

use std::collections::VecDeque;

use super::Shard;
use super::ack::ReplyTo;
use super::message::{Reply, Request};
use crate::io::ConnectedReceiver;
use crate::mesh::{self, Message};
use crate::route::ShardId;

/// Messages taken at a time.
const BATCH: usize = 128;

impl Shard {
    /// Serves one lane until the other shard is gone.
    pub(super) async fn pump(self, from: ShardId, mut lane: ConnectedReceiver<Message>) {
        let mut batch = VecDeque::with_capacity(BATCH);
        let mut slice = self.io().slice();
        while mesh::drain(&mut lane, &mut batch, BATCH).await {
            while let Some(message) = batch.pop_front() {
                self.take_message(from, message);
                if slice.is_over(self.io()) {
                    self.io().yield_now().await;
                    slice = self.io().slice();
                }
            }
        }
    }

    fn take_message(&self, from: ShardId, message: Message) {
        match message {
            Message::Request(id, request) => self.take_request(from, id, request),
            Message::Reply(id, reply) => self.0.mesh.complete(from, id, reply),
            Message::Wakes(watches) => {
                for watch in watches {
                    self.wake(watch);
                }
                self.0.mesh.take_wakes(from);
            }
            Message::WakesTaken => self.0.mesh.wakes_taken(from),
        }
    }

    fn take_request(&self, from: ShardId, id: u32, request: Request) {
        let mesh = &self.0.mesh;
        self.0.metrics.requests_of_others.add(1);
        match request {
            Request::Append(begun, appends) => {
                self.handle_append(begun, appends, ReplyTo::Remote(from, id))
            }
            Request::Probe(specs, watch) => {
                mesh.reply(from, id, Reply::Probe(self.handle_probe(&specs, watch)))
            }
            Request::Read(specs) => match self.read_from_memory(&specs) {
                Ok(data) => mesh.reply(from, id, Reply::Read(data)),
                Err(partly) => {
                    let shard = self.clone();
                    self.io().spawn("read", async move {
                        let data = shard.read_the_rest(&specs, partly).await;
                        shard.0.mesh.reply(from, id, Reply::Read(data));
                    });
                }
            },
            Request::Run(job) => {
                let shard = self.clone();
                self.io().spawn("job", async move {
                    let result = job(shard.clone()).await;
                    shard.0.mesh.reply(from, id, Reply::Run(result));
                });
            }
        }
    }
}
