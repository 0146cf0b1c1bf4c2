//! Access control lists, credentials, tokens and quotas. They change rarely and are few beside the
//! topics, so all of them are shared and replaced as one.

use std::collections::BTreeMap;

use uuid::Uuid;

use crate::cluster::records::{
    AccessControlEntryRecord, ClientQuotaRecord, DelegationTokenRecord, QuotaEntity, Record,
    UserScramCredentialRecord,
};

/// The dimensions of a quota's entity, type to name; no name stands for the default of the type.
pub type QuotaEntityKey = BTreeMap<String, Option<String>>;

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Security {
    pub acls: BTreeMap<Uuid, AccessControlEntryRecord>,
    /// By user and mechanism.
    pub scram_credentials: BTreeMap<(String, i8), UserScramCredentialRecord>,
    pub delegation_tokens: BTreeMap<String, DelegationTokenRecord>,
    pub quotas: BTreeMap<QuotaEntityKey, BTreeMap<String, f64>>,
}

impl Security {
    /// Applies a record that concerns security; all others change nothing.
    pub(super) fn apply(&mut self, record: &Record) {
        match record {
            Record::AccessControlEntry(acl) => {
                self.acls.insert(acl.id, acl.clone());
            }
            Record::RemoveAccessControlEntry(removal) => {
                self.acls.remove(&removal.id);
            }
            Record::UserScramCredential(credential) => {
                let key = (credential.name.clone(), credential.mechanism);
                self.scram_credentials.insert(key, credential.clone());
            }
            Record::RemoveUserScramCredential(removal) => {
                let key = (removal.name.clone(), removal.mechanism);
                self.scram_credentials.remove(&key);
            }
            Record::DelegationToken(token) => {
                self.delegation_tokens
                    .insert(token.token_id.clone(), token.clone());
            }
            Record::RemoveDelegationToken(removal) => {
                self.delegation_tokens.remove(&removal.token_id);
            }
            Record::ClientQuota(quota) => self.apply_quota(quota),
            _ => {}
        }
    }

    fn apply_quota(&mut self, quota: &ClientQuotaRecord) {
        let entity: QuotaEntityKey = quota
            .entity
            .iter()
            .map(|part| (part.entity_type.clone(), part.entity_name.clone()))
            .collect();
        if !quota.remove {
            let quotas = self.quotas.entry(entity).or_default();
            quotas.insert(quota.key.clone(), quota.value);
        } else if let Some(quotas) = self.quotas.get_mut(&entity) {
            quotas.remove(&quota.key);
            if quotas.is_empty() {
                self.quotas.remove(&entity);
            }
        }
    }

    /// The records that make it as it is.
    pub(super) fn records(&self) -> impl Iterator<Item = Record> {
        let acls = self.acls.values().cloned().map(Record::from);
        let credentials = self.scram_credentials.values().cloned().map(Record::from);
        let tokens = self.delegation_tokens.values().cloned().map(Record::from);
        let quotas = self.quotas.iter().flat_map(|(entity, quotas)| {
            quotas.iter().map(|(key, value)| {
                let part = |(entity_type, entity_name): (&String, &Option<String>)| QuotaEntity {
                    entity_type: entity_type.clone(),
                    entity_name: entity_name.clone(),
                };
                Record::from(ClientQuotaRecord {
                    entity: entity.iter().map(part).collect(),
                    key: key.clone(),
                    value: *value,
                    remove: false,
                })
            })
        });
        acls.chain(credentials).chain(tokens).chain(quotas)
    }
}
