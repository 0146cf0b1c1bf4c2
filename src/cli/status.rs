//! With what the process ends, for those who start it again: as sysexits.h numbers it, and README.md lists it.

use std::process::ExitCode;

use corelog_shards::runtime;

use super::start::StartError;
use super::{AddressError, FolderError};
use crate::metrics::monitor::Cause;

/// How a command has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Status {
    /// Nothing more is known.
    Failure = 1,
    /// Data is damaged, or another broker's: a person has to look.
    Data = 65,
    /// The host does not give what is needed.
    Host = 71,
    /// A data folder cannot be made or used.
    Folder = 73,
    /// A disk has failed.
    Disk = 74,
    /// Another process has what is needed: the next try may succeed.
    Busy = 75,
    /// The configuration is refused.
    Config = 78,
}

impl From<Status> for ExitCode {
    fn from(status: Status) -> ExitCode {
        ExitCode::from(status as u8)
    }
}

impl From<&StartError> for Status {
    fn from(error: &StartError) -> Status {
        match error {
            StartError::File { .. } | StartError::Load { .. } | StartError::Config(_) => {
                Status::Config
            }
            StartError::Runtime(_) | StartError::Cores(_) => Status::Host,
            StartError::Host(_) => Status::Folder,
            StartError::Address(AddressError::InUse { .. }) => Status::Busy,
            StartError::Address(_) => Status::Config,
            StartError::Folder(error) => error.into(),
        }
    }
}

impl From<&FolderError> for Status {
    fn from(error: &FolderError) -> Status {
        match error {
            FolderError::Io { .. } | FolderError::Host(_) | FolderError::NoneLeft(_) => {
                Status::Folder
            }
            FolderError::Locked(_) => Status::Busy,
            FolderError::NoMeta(_)
            | FolderError::Malformed { .. }
            | FolderError::OtherNode { .. }
            | FolderError::OtherCluster { .. }
            | FolderError::DuplicateId { .. }
            | FolderError::EmptyMetadata { .. } => Status::Data,
            FolderError::Duplicate(_) | FolderError::MetadataElsewhere { .. } => Status::Config,
            FolderError::Metadata(error) => error.as_ref().into(),
        }
    }
}

impl From<&runtime::StartError> for Status {
    fn from(_: &runtime::StartError) -> Status {
        Status::Host
    }
}

impl From<Cause> for Status {
    fn from(cause: Cause) -> Status {
        match cause {
            Cause::Data => Status::Data,
            Cause::Disk => Status::Disk,
            Cause::Other => Status::Failure,
        }
    }
}
