//! Metadata transactions and records without content.

use crate::schema::structures;

structures! {
    /// The records up to the matching end take effect together, or not at all.
    BeginTransactionRecord {
        name: Option<String> [tag 0 since 0 default None],
    }

    EndTransactionRecord {}

    AbortTransactionRecord {
        reason: Option<String> [tag 0 since 0 default None],
    }

    /// Moves the end of the log, so that an idle cluster shows that it is alive.
    NoOpRecord {}

    /// Progress of a migration from ZooKeeper; of history only.
    ZkMigrationStateRecord {
        zk_migration_state: i8,
    }
}
