//! The nodes of the cluster, as they registered.

use uuid::Uuid;

use crate::cluster::ids::{DIRECTORY_LOST, DIRECTORY_MIGRATING, DIRECTORY_UNASSIGNED};
use crate::cluster::records::{
    BrokerRegistrationChangeRecord, Endpoint, FeatureRange, RegisterBrokerRecord,
    RegisterControllerRecord,
};

/// A broker's registration. The epoch is the offset of the record that made it.
#[derive(Clone, Debug, PartialEq)]
pub struct Broker {
    pub id: i32,
    pub epoch: i64,
    pub incarnation_id: Uuid,
    pub endpoints: Vec<Endpoint>,
    pub features: Vec<FeatureRange>,
    pub rack: Option<String>,
    /// Registered, but not (or no longer) serving.
    pub fenced: bool,
    pub in_controlled_shutdown: bool,
    pub log_dirs: Vec<Uuid>,
    /// Directories that take no new partitions; not known before the broker says so.
    pub cordoned_log_dirs: Option<Vec<Uuid>>,
}

impl Broker {
    pub fn is_active(&self) -> bool {
        !self.fenced && !self.in_controlled_shutdown
    }

    /// The directory that new replicas are put in.
    pub fn default_dir(&self) -> Uuid {
        match self.log_dirs[..] {
            [] => DIRECTORY_MIGRATING,
            [only] => only,
            _ => DIRECTORY_UNASSIGNED,
        }
    }

    /// Whether a replica in directory `dir` is there, as far as is known.
    pub fn has_dir(&self, dir: Uuid) -> bool {
        match dir {
            DIRECTORY_MIGRATING | DIRECTORY_UNASSIGNED => true,
            DIRECTORY_LOST => false,
            _ => self.log_dirs.is_empty() || self.log_dirs.contains(&dir),
        }
    }

    /// Whether all directories are closed to new replicas.
    pub fn is_cordoned(&self) -> bool {
        let Some(cordoned) = &self.cordoned_log_dirs else {
            return false;
        };
        !self.log_dirs.is_empty() && self.log_dirs.iter().all(|dir| cordoned.contains(dir))
    }

    pub(super) fn apply(&mut self, change: &BrokerRegistrationChangeRecord) {
        match change.fenced {
            -1 => self.fenced = false,
            1 => self.fenced = true,
            _ => {}
        }
        if change.in_controlled_shutdown == 1 {
            self.in_controlled_shutdown = true;
        }
        if !change.log_dirs.is_empty() {
            self.log_dirs.clone_from(&change.log_dirs);
        }
        if change.cordoned_log_dirs.is_some() {
            self.cordoned_log_dirs.clone_from(&change.cordoned_log_dirs);
        }
    }

    pub(super) fn to_record(&self) -> RegisterBrokerRecord {
        RegisterBrokerRecord {
            broker_id: self.id,
            is_migrating_zk_broker: false,
            incarnation_id: self.incarnation_id,
            broker_epoch: self.epoch,
            end_points: self.endpoints.clone(),
            features: self.features.clone(),
            rack: self.rack.clone(),
            fenced: self.fenced,
            in_controlled_shutdown: self.in_controlled_shutdown,
            log_dirs: self.log_dirs.clone(),
            cordoned_log_dirs: self.cordoned_log_dirs.clone(),
        }
    }
}

impl From<&RegisterBrokerRecord> for Broker {
    fn from(record: &RegisterBrokerRecord) -> Self {
        Self {
            id: record.broker_id,
            epoch: record.broker_epoch,
            incarnation_id: record.incarnation_id,
            endpoints: record.end_points.clone(),
            features: record.features.clone(),
            rack: record.rack.clone(),
            fenced: record.fenced,
            in_controlled_shutdown: record.in_controlled_shutdown,
            log_dirs: record.log_dirs.clone(),
            cordoned_log_dirs: record.cordoned_log_dirs.clone(),
        }
    }
}

/// A controller's registration.
#[derive(Clone, Debug, PartialEq)]
pub struct ControllerNode {
    pub id: i32,
    pub incarnation_id: Uuid,
    pub endpoints: Vec<Endpoint>,
    pub features: Vec<FeatureRange>,
}

impl ControllerNode {
    pub(super) fn to_record(&self) -> RegisterControllerRecord {
        RegisterControllerRecord {
            controller_id: self.id,
            incarnation_id: self.incarnation_id,
            zk_migration_ready: false,
            end_points: self.endpoints.clone(),
            features: self.features.clone(),
        }
    }
}

impl From<&RegisterControllerRecord> for ControllerNode {
    fn from(record: &RegisterControllerRecord) -> Self {
        Self {
            id: record.controller_id,
            incarnation_id: record.incarnation_id,
            endpoints: record.end_points.clone(),
            features: record.features.clone(),
        }
    }
}
