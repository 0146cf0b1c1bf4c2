//! Listeners, sockets, connections and the requests they carry.

use crate::config::property::Scope::ClusterWide;
use crate::config::property::{Property, broker, broker_unset};
use crate::config::valid::Valid;
use crate::config::value::Kind::{Int, List, Long, String};

pub(super) const ROWS: &[Property] = &[
    broker("listeners", List, "PLAINTEXT://localhost:9092")
        .valid(Valid::AT_LEAST_ONE_ITEM)
        .honoured(
            "Addresses to listen on, as `NAME://host:port`. An empty host is every interface, \
             a host name is each of its addresses, port 0 a free port. Change `localhost` to \
             open the broker to the network.",
        ),
    broker_unset("advertised.listeners", List)
        .valid(Valid::AT_LEAST_ONE_ITEM)
        .honoured("Addresses told to clients, where they differ from `listeners`."),
    broker(
        "listener.security.protocol.map",
        String,
        "SASL_SSL:SASL_SSL,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT",
    )
    .honoured(
        "Which security protocol each listener name speaks. Only PLAINTEXT listeners can \
             be bound for now; other entries may stand here.",
    ),
    broker_unset("inter.broker.listener.name", String)
        .honoured("Name of the listener that brokers use among themselves."),
    broker("security.inter.broker.protocol", String, "PLAINTEXT")
        .one_of(&["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"])
        .honoured(
            "Security protocol between brokers, where `inter.broker.listener.name` is not \
             set.",
        ),
    broker("num.network.threads", Int, "3")
        .at_least(1)
        .dynamic(ClusterWide)
        .moot("Threads that read and write sockets; here each core serves its own connections."),
    broker("num.io.threads", Int, "8")
        .at_least(1)
        .dynamic(ClusterWide)
        .moot("Threads that work on requests; here each core works on its own."),
    broker("queued.max.requests", Int, "500").at_least(1).moot(
        "Requests that may wait for a worker thread; here memory is the limit, see \
             `queued.max.request.bytes`.",
    ),
    broker("queued.max.request.bytes", Long, "-1")
        .bytes()
        .honoured(
            "Bytes of requests that may be held in memory at once, over all connections; \
             above it sockets are not read. Each core gets an even part. -1 leaves it to \
             `corelog.request.memory.bytes`.",
        ),
    broker("request.timeout.ms", Int, "30000")
        .ms()
        .not_yet("Time the broker waits for answers of other brokers."),
    broker("socket.connection.setup.timeout.ms", Long, "10000")
        .ms()
        .not_yet("Time allowed to open a connection to another broker."),
    broker("socket.connection.setup.timeout.max.ms", Long, "30000")
        .ms()
        .not_yet(
            "Longest time allowed to open a connection to another broker after repeated \
             failures.",
        ),
    broker("socket.listen.backlog.size", Int, "50")
        .at_least(1)
        .moot("Connections the kernel may hold before they are accepted; here 1,024 or its own limit."),
    broker("socket.receive.buffer.bytes", Int, "102400")
        .bytes()
        .moot("Receive buffer of each client socket; here the kernel grows it as needed."),
    broker("socket.send.buffer.bytes", Int, "102400")
        .bytes()
        .moot("Send buffer of each client socket; here the kernel grows it as needed."),
    broker("socket.request.max.bytes", Int, "104857600")
        .at_least(1)
        .bytes()
        .honoured("Largest request; a connection that announces more is closed."),
    broker("max.connections", Int, "2147483647")
        .at_least(0)
        .dynamic(ClusterWide)
        .honoured(
            "Connections the broker holds at most; above it a new one waits until another \
             closes. Where there are several listeners, it does not hold for the brokers' own, \
             whose connections others make room for.",
        ),
    broker("max.connections.per.ip", Int, "2147483647")
        .at_least(0)
        .dynamic(ClusterWide)
        .honoured(
            "Connections from one address; above it new ones are closed at once. 0 needs \
             `max.connections.per.ip.overrides`.",
        ),
    broker("max.connections.per.ip.overrides", String, "")
        .dynamic(ClusterWide)
        .honoured("Exceptions to `max.connections.per.ip`, as `host:count` separated by commas."),
    broker("max.connection.creation.rate", Int, "2147483647")
        .at_least(0)
        .dynamic(ClusterWide)
        .not_yet("Connections accepted in a second."),
    broker("connections.max.idle.ms", Long, "600000")
        .ms()
        .honoured("Connections that are silent for so long are closed."),
    broker("connections.max.reauth.ms", Long, "0")
        .ms()
        .not_yet("Time after which an authenticated connection must authenticate again."),
    broker("connection.failed.authentication.delay.ms", Int, "100")
        .at_least(0)
        .ms()
        .not_yet("Delay before a connection is closed whose authentication failed."),
];
