//! Brokers, controllers and the features they agreed on.

use uuid::Uuid;

use crate::schema::structures;

structures! {
    /// A process that serves as broker `broker_id` from here on.
    RegisterBrokerRecord {
        broker_id: i32,
        is_migrating_zk_broker: bool [since 2],
        incarnation_id: Uuid,
        broker_epoch: i64,
        end_points: Vec<Endpoint>,
        features: Vec<FeatureRange>,
        rack: Option<String>,
        fenced: bool,
        in_controlled_shutdown: bool [since 1],
        log_dirs: Vec<Uuid> [tag 0 since 3 default Vec::new()],
        cordoned_log_dirs: Option<Vec<Uuid>> [tag 1 since 4 default None],
    }

    Endpoint {
        name: String,
        host: String,
        port: u16,
        security_protocol: i16,
    }

    /// The levels of a feature that a node can work with.
    FeatureRange {
        name: String,
        min_supported_version: i16,
        max_supported_version: i16,
    }

    UnregisterBrokerRecord {
        broker_id: i32,
        broker_epoch: i64,
    }

    /// The older form of [`BrokerRegistrationChangeRecord`] with `fenced` 1.
    FenceBrokerRecord {
        id: i32,
        epoch: i64,
    }

    /// The older form of [`BrokerRegistrationChangeRecord`] with `fenced` -1.
    UnfenceBrokerRecord {
        id: i32,
        epoch: i64,
    }

    /// What changes of a registration. `fenced`: -1 unfences, 1 fences, 0 leaves it.
    BrokerRegistrationChangeRecord {
        broker_id: i32,
        broker_epoch: i64,
        fenced: i8 [tag 0 since 0 default 0],
        in_controlled_shutdown: i8 [tag 1 since 1 default 0],
        log_dirs: Vec<Uuid> [tag 2 since 2 default Vec::new()],
        cordoned_log_dirs: Option<Vec<Uuid>> [tag 3 since 3 default None],
    }

    RegisterControllerRecord {
        controller_id: i32,
        incarnation_id: Uuid,
        zk_migration_ready: bool,
        end_points: Vec<Endpoint>,
        features: Vec<FeatureRange>,
    }

    /// The level of a feature that the whole cluster works at from here on; 0 turns it off.
    FeatureLevelRecord {
        name: String,
        feature_level: i16,
    }
}
