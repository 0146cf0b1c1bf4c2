//! Access control, credentials and quotas: carried and kept, so that a folder which has them opens.

use bytes::Bytes;
use uuid::Uuid;

use crate::schema::structures;

structures! {
    AccessControlEntryRecord {
        id: Uuid,
        resource_type: i8,
        resource_name: String,
        pattern_type: i8,
        principal: String,
        host: String,
        operation: i8,
        permission_type: i8,
    }

    RemoveAccessControlEntryRecord {
        id: Uuid,
    }

    UserScramCredentialRecord {
        name: String,
        mechanism: i8,
        salt: Bytes,
        stored_key: Bytes,
        server_key: Bytes,
        iterations: i32,
    }

    RemoveUserScramCredentialRecord {
        name: String,
        mechanism: i8,
    }

    DelegationTokenRecord {
        owner: String,
        requester: String,
        renewers: Vec<String>,
        issue_timestamp: i64,
        max_timestamp: i64,
        expiration_timestamp: i64,
        token_id: String,
    }

    RemoveDelegationTokenRecord {
        token_id: String,
    }

    /// Sets one quota of one entity, or removes it.
    ClientQuotaRecord {
        entity: Vec<QuotaEntity>,
        key: String,
        value: f64,
        remove: bool,
    }

    /// One dimension of an entity; no name means the default of that type.
    QuotaEntity {
        entity_type: String,
        entity_name: Option<String>,
    }
}
