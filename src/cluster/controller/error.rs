//! Why the controller refuses: one kind for each of Kafka's error codes it uses, and a text.

use std::fmt;

/// One kind, one Kafka error code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ControlErrorKind {
    InvalidTopic,
    TopicAlreadyExists,
    UnknownTopic,
    UnknownTopicId,
    InvalidPartitions,
    InvalidReplicationFactor,
    InvalidReplicaAssignment,
    InvalidConfig,
    InvalidRequest,
    PolicyViolation,
    TopicDeletionDisabled,
    StaleBrokerEpoch,
    ElectionNotNeeded,
    PreferredLeaderNotAvailable,
    EligibleLeadersNotAvailable,
    NoReassignmentInProgress,
    UnknownServerError,
}

/// A refusal. Without a message, the error code says it all, and Kafka sends none either.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlError {
    pub kind: ControlErrorKind,
    pub message: Option<String>,
}

impl ControlError {
    pub fn new(kind: ControlErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: Some(message.into()),
        }
    }

    pub(super) fn too_many_records() -> Self {
        Self::new(
            ControlErrorKind::PolicyViolation,
            "Unable to perform excessively large batch operation.",
        )
    }
}

impl From<ControlErrorKind> for ControlError {
    fn from(kind: ControlErrorKind) -> Self {
        Self {
            kind,
            message: None,
        }
    }
}

impl fmt::Display for ControlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.message {
            Some(message) => f.write_str(message),
            None => write!(f, "{:?}", self.kind),
        }
    }
}

impl std::error::Error for ControlError {}
