//! Accepts connections: one task for each listener, which does nothing else and never gives up.

use std::rc::Rc;

use corelog_shards::io::{Listener, TaskHandle};

use super::admission::{Admitted, Refused};
use super::{Shared, connection};
use crate::api::Context;
use crate::api::wait::{ReplyMemory, Wait};
use crate::lines;

/// Serves whoever connects, until the returned task is cancelled or the broker is gone.
pub(super) fn accept_all(
    shared: Rc<Shared>,
    listener: Listener,
    name: Rc<str>,
    is_protected: bool,
) -> TaskHandle {
    let io = shared.io.clone();
    io.spawn("accept", async move {
        let mut slice = shared.io.slice();
        loop {
            if slice.is_over(&shared.io) {
                // Those who are connected have requests.
                shared.io.yield_now().await;
                slice = shared.io.slice();
            }
            let (read, write, peer) = match listener.accept().await {
                Ok(connection) => connection,
                Err(error) => {
                    // Again and again, for as long as there are too many.
                    lines::say!(
                        shared.lines,
                        shared.io.now(),
                        warn,
                        listener = &*name,
                        "can't accept a connection: {error}"
                    );
                    continue;
                }
            };
            let metrics = &shared.metrics;
            let Some(admitted) = admit(&shared, peer, &name, is_protected).await else {
                metrics.connections_refused.add(1);
                continue;
            };
            let Some(broker) = shared.broker.upgrade() else {
                return;
            };
            metrics.connections_accepted.add(1);
            let context = Rc::new(Context {
                broker,
                listener: Rc::clone(&name),
                peer,
                wait: Wait::default(),
                reply_memory: ReplyMemory::new(shared.reply_budget.clone()),
            });
            shared.keeper.keep(admitted, |watched| {
                let shared = Rc::clone(&shared);
                let io = shared.io.clone();
                let serving = connection::serve(shared, context, read, write, watched);
                io.spawn_guarded("connection", serving)
            });
        }
    })
}

/// None if the connection shall be closed. Waits while the broker is full: the kernel then keeps
/// the next ones waiting, too.
async fn admit(
    shared: &Shared,
    peer: std::net::SocketAddr,
    name: &str,
    is_protected: bool,
) -> Option<Admitted> {
    let mut admitted = shared.admission.admit(peer.ip(), is_protected);
    let lines = &shared.lines;
    if matches!(admitted, Err(Refused::Full)) {
        lines::say!(
            lines,
            shared.io.now(),
            warn,
            %peer,
            listener = name,
            "a connection waits: max.connections are open"
        );
        let in_turn = shared.admission.admit_in_turn(peer.ip(), is_protected);
        admitted = in_turn.await;
    }
    match admitted {
        Ok(admitted) => Some(admitted),
        Err(Refused::PerIp { max }) => {
            lines::say!(
                lines,
                shared.io.now(),
                info,
                %peer,
                listener = name,
                "closed: too many connections from {} (maximum = {max})",
                peer.ip()
            );
            None
        }
        Err(Refused::Full) => None,
    }
}
