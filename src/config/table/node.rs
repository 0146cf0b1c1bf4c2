//! The node and its part in the cluster: identity, roles, controller, metadata.

use crate::config::property::Scope::ClusterWide;
use crate::config::property::{Property, Unit, broker, broker_unset};
use crate::config::valid::Valid;
use crate::config::value::Kind::{Boolean, Int, List, Long, String};

pub(super) const ROWS: &[Property] = &[
    broker("node.id", Int, "1").at_least(0).honoured(
        "Identity of this node in the cluster; kept in `meta.properties` of each data \
             folder and checked at every start.",
    ),
    broker("broker.id", Int, "-1")
        .honoured("Older name of `node.id`; when both are set they must agree."),
    broker_unset("broker.rack", String).honoured(
        "Rack (or zone) of this node, told to clients so that they can prefer near \
             replicas.",
    ),
    broker("process.roles", List, "broker,controller")
        .valid(Valid::items_of(&["broker", "controller"], false))
        .honoured(
            "Roles of this process. Corelog runs as one node that is broker and controller at \
             once; other combinations are refused for now.",
        ),
    broker("controller.listener.names", List, "CONTROLLER")
        .valid(Valid::AT_LEAST_ONE_ITEM)
        .honoured(
            "Names of the listeners that are meant for controllers. Such listeners are \
             accepted and not bound: a single node talks to its controller within the \
             process.",
        ),
    broker("controller.quorum.voters", List, "")
        .valid(Valid::Voters)
        .honoured(
            "The voting controllers as `id@host:port`. May name this node only, since a \
             quorum of several nodes is not there yet.",
        ),
    broker("controller.quorum.bootstrap.servers", List, "")
        .valid(Valid::HostPorts)
        .honoured(
            "Addresses at which the controller quorum is found. One entry (this node itself) \
             is accepted; it is not contacted.",
        ),
    broker("controller.quorum.auto.join.enable", Boolean, "false")
        .not_yet("Whether a new controller adds itself to the voters."),
    broker("controller.quorum.append.linger.ms", Int, "25")
        .at_least(0)
        .ms()
        .not_yet("How long a controller gathers records before it writes them, to spare syncs."),
    broker("controller.quorum.election.backoff.max.ms", Int, "1000")
        .at_least(0)
        .ms()
        .not_yet("Longest pause before a new election after a failed one."),
    broker("controller.quorum.election.timeout.ms", Int, "1000")
        .at_least(0)
        .ms()
        .not_yet("Time without a leader after which an election starts."),
    broker("controller.quorum.fetch.max.bytes", Int, "1048576")
        .at_least(1)
        .bytes()
        .not_yet("Most bytes of one metadata fetch between controllers."),
    broker("controller.quorum.fetch.snapshot.max.bytes", Int, "1048576")
        .at_least(1)
        .bytes()
        .not_yet("Most bytes of one piece of a metadata snapshot."),
    broker("controller.quorum.fetch.timeout.ms", Int, "2000")
        .at_least(0)
        .ms()
        .not_yet(
            "Time without a successful fetch from the leader after which a voter stands for \
             election.",
        ),
    broker("controller.quorum.request.timeout.ms", Int, "2000")
        .at_least(0)
        .ms()
        .not_yet("Time a controller waits for an answer of another one."),
    broker("controller.quorum.retry.backoff.ms", Int, "20")
        .at_least(0)
        .ms()
        .not_yet("Pause before a failed request to another controller is repeated."),
    broker("controller.quota.window.num", Int, "11")
        .at_least(1)
        .not_yet("Number of samples kept for the quota of controller mutations."),
    broker("controller.quota.window.size.seconds", Int, "1")
        .at_least(1)
        .unit(Unit::Seconds)
        .not_yet("Length of each sample of the quota of controller mutations."),
    broker("controller.socket.timeout.ms", Int, "30000")
        .ms()
        .moot(
            "Socket timeout of requests from brokers to the controller; here both are one \
             process.",
        ),
    broker(
        "controller.performance.always.log.threshold.ms",
        Long,
        "2000",
    )
    .at_least(0)
    .ms()
    .internal()
    .moot("Controller events that take longer than this are logged one by one."),
    broker("controller.performance.sample.period.ms", Long, "60000")
        .at_least(100)
        .ms()
        .internal()
        .moot("How often statistics of controller events are logged."),
    broker("controlled.shutdown.enable", Boolean, "true")
        .not_yet("Whether a stopping broker hands its leaderships over first."),
    broker("broker.heartbeat.interval.ms", Int, "2000")
        .ms()
        .not_yet("Interval of the heartbeats from broker to controller."),
    broker("broker.session.timeout.ms", Int, "9000")
        .ms()
        .not_yet("Time without a heartbeat after which the controller fences a broker."),
    broker("initial.broker.registration.timeout.ms", Int, "60000")
        .ms()
        .not_yet("Time a broker tries to register with the controller before it gives up."),
    broker("server.max.startup.time.ms", Long, "9223372036854775807")
        .at_least(0)
        .ms()
        .internal()
        .moot("Longest time the start may take before the process gives up."),
    broker_unset("early.start.listeners", List)
        .valid(Valid::ITEMS)
        .moot("Listeners that open before the authorizer is ready."),
    broker_unset("metadata.log.dir", String).honoured(
        "Folder of the cluster metadata log, when it is not to be in the first data folder. It is \
         changed only while the log is nowhere yet.",
    ),
    broker(
        "metadata.log.max.record.bytes.between.snapshots",
        Long,
        "20971520",
    )
    .at_least(1)
    .bytes()
    .honoured("Bytes of metadata records after which a snapshot is made."),
    broker("metadata.log.max.snapshot.interval.ms", Long, "3600000")
        .at_least(0)
        .ms()
        .honoured(
            "Longest time between two snapshots of the metadata, if it has changed since; 0 makes \
             none by time.",
        ),
    broker("metadata.log.segment.bytes", Int, "1073741824")
        .at_least(8388608)
        .bytes()
        .honoured(
            "Size at which a segment of the metadata log is rolled. With a snapshot it is rolled \
             earlier when metadata.max.retention.bytes is exceeded, so that the old one can go.",
        ),
    broker("metadata.log.segment.ms", Long, "604800000")
        .ms()
        .honoured("Age at which a segment of the metadata log is rolled."),
    broker("metadata.max.idle.interval.ms", Int, "500")
        .at_least(0)
        .ms()
        .moot(
            "How often the active controller writes a no-op record when nothing happens, for \
             others to see that it lives; Corelog's writes none.",
        ),
    broker("metadata.max.retention.bytes", Long, "104857600")
        .bytes()
        .honoured(
            "Size of metadata log and snapshots together above which the oldest snapshot goes, and \
             the log up to the end of the next one; the newest snapshot stays. -1 has no limit.",
        ),
    broker("metadata.max.retention.ms", Long, "604800000")
        .ms()
        .honoured(
            "Age above which the oldest snapshot goes, and the metadata log up to the end of the \
             next one; the newest snapshot stays. -1 has no limit.",
        ),
    broker("internal.metadata.delete.delay.millis", Long, "60000")
        .ms()
        .internal()
        .honoured("Delay before the files of deleted snapshots are removed; for tests."),
    broker_unset("internal.metadata.log.segment.bytes", Int)
        .bytes()
        .internal()
        .honoured(
            "Size of a metadata segment in place of metadata.log.segment.bytes, without its lower \
             bound; for tests.",
        ),
    broker("internal.metadata.max.batch.size.in.bytes", Int, "8388608")
        .bytes()
        .internal()
        .moot(
            "Largest batch of the metadata log; for tests. Here one decision of the controller, of \
             at most 10,000 records, is one batch.",
        ),
    broker("unclean.leader.election.interval.ms", Long, "300000")
        .at_least(1)
        .ms()
        .internal()
        .not_yet("How often the controller looks for partitions that need an unclean election."),
    broker("unstable.api.versions.enable", Boolean, "false")
        .internal()
        .moot("Whether API versions that are not final are offered."),
    broker("unstable.feature.versions.enable", Boolean, "false")
        .internal()
        .moot("Whether feature versions that are not final are offered."),
    broker("auto.leader.rebalance.enable", Boolean, "true")
        .not_yet("Whether leadership goes back to the preferred replicas by itself."),
    broker("leader.imbalance.check.interval.seconds", Long, "300")
        .at_least(1)
        .unit(Unit::Seconds)
        .not_yet("How often the balance of leaders is looked at."),
    broker("background.threads", Int, "10")
        .at_least(1)
        .dynamic(ClusterWide)
        .moot("Threads for background work; Corelog has one thread a core instead."),
    broker("config.providers", List, "")
        .valid(Valid::ITEMS)
        .dynamic(ClusterWide)
        .not_yet("Names of the providers that resolve `${provider:path:key}` in values."),
];
