//! THE mapping from what layers below report to Kafka's error codes. Exhaustive: a new variant
//! below does not compile until it has a code here.

use corelog_shards::log::batch::RejectionKind;
use corelog_shards::log::batch::recompress::RecompressError;
use corelog_shards::log::producer::ProducerError;
use corelog_shards::shard::MoveError;
use corelog_shards::shard::message::{AppendError, ReadError};
use kafka_protocol::error::ResponseError;
use kafka_protocol::protocol::StrBytes;

use crate::broker::NoProducerId;
use crate::cluster::controller::{ControlError, ControlErrorKind};
use crate::cluster::driver::ControlFailure;
use crate::coordinator::Refusal;
use crate::fetch::session::SessionError;

/// The code of an outcome on the wire; 0 is success.
pub fn code(outcome: Option<ResponseError>) -> i16 {
    outcome.map_or(0, |error| error.code())
}

/// Longest message sent along with a code. Clients' own words may come back in it, and a text of
/// older versions has at most 32 KiB.
const MESSAGE_BYTES_MAX: usize = 8 << 10;

/// A message for the wire.
pub fn message(mut text: String) -> StrBytes {
    text.truncate(text.floor_char_boundary(MESSAGE_BYTES_MAX));
    StrBytes::from_string(text)
}

/// Code and message of a refusal of the controller.
pub fn refusal(error: ControlError) -> (i16, Option<StrBytes>) {
    (of_control(error.kind).code(), error.message.map(message))
}

/// Code and message of what became of one item of a request; success has no message.
pub fn outcome(result: Result<(), ControlError>) -> (i16, Option<StrBytes>) {
    result.map_or_else(refusal, |()| (code(None), None))
}

/// Codes and messages of the `count` items of a request; a failure is the failure of each.
pub fn each(
    results: Result<Vec<Result<(), ControlError>>, ControlFailure>,
    count: usize,
) -> Vec<(i16, Option<StrBytes>)> {
    match results {
        Ok(results) => results.into_iter().map(outcome).collect(),
        Err(failure) => vec![not_carried_out(failure); count],
    }
}

/// Code and message of each item of a request that the controller has not carried out.
pub fn not_carried_out(failure: ControlFailure) -> (i16, Option<StrBytes>) {
    match failure {
        ControlFailure::Storage => (ResponseError::KafkaStorageError.code(), None),
        ControlFailure::TooLarge => {
            let why = "the request asks for more changes at once than the metadata log takes";
            let why = StrBytes::from_static_str(why);
            (ResponseError::PolicyViolation.code(), Some(why))
        }
    }
}

/// What a refusal of the controller is called.
pub fn of_control(kind: ControlErrorKind) -> ResponseError {
    match kind {
        ControlErrorKind::InvalidTopic => ResponseError::InvalidTopicException,
        ControlErrorKind::TopicAlreadyExists => ResponseError::TopicAlreadyExists,
        ControlErrorKind::UnknownTopic => ResponseError::UnknownTopicOrPartition,
        ControlErrorKind::UnknownTopicId => ResponseError::UnknownTopicId,
        ControlErrorKind::InvalidPartitions => ResponseError::InvalidPartitions,
        ControlErrorKind::InvalidReplicationFactor => ResponseError::InvalidReplicationFactor,
        ControlErrorKind::InvalidReplicaAssignment => ResponseError::InvalidReplicaAssignment,
        ControlErrorKind::InvalidConfig => ResponseError::InvalidConfig,
        ControlErrorKind::InvalidRequest => ResponseError::InvalidRequest,
        ControlErrorKind::PolicyViolation => ResponseError::PolicyViolation,
        ControlErrorKind::TopicDeletionDisabled => ResponseError::TopicDeletionDisabled,
        ControlErrorKind::StaleBrokerEpoch => ResponseError::StaleBrokerEpoch,
        ControlErrorKind::ElectionNotNeeded => ResponseError::ElectionNotNeeded,
        ControlErrorKind::PreferredLeaderNotAvailable => ResponseError::PreferredLeaderNotAvailable,
        ControlErrorKind::EligibleLeadersNotAvailable => ResponseError::EligibleLeadersNotAvailable,
        ControlErrorKind::NoReassignmentInProgress => ResponseError::NoReassignmentInProgress,
        ControlErrorKind::UnknownServerError => ResponseError::UnknownServerError,
    }
}

/// Why a batch was not appended.
pub fn of_append(error: &AppendError) -> ResponseError {
    match error {
        AppendError::UnknownPartition => ResponseError::UnknownTopicOrPartition,
        AppendError::Producer(ProducerError::InvalidEpoch { .. }) => {
            ResponseError::InvalidProducerEpoch
        }
        AppendError::Producer(ProducerError::OutOfOrderSequence { .. }) => {
            ResponseError::OutOfOrderSequenceNumber
        }
        AppendError::Producer(ProducerError::NotInTransaction) => ResponseError::InvalidTxnState,
        AppendError::TooLarge { .. } => ResponseError::MessageTooLarge,
        AppendError::StorageFull | AppendError::StorageFailed | AppendError::FolderOffline => {
            ResponseError::KafkaStorageError
        }
    }
}

/// Why nothing could be read.
pub fn of_read(error: ReadError) -> ResponseError {
    match error {
        ReadError::UnknownPartition => ResponseError::UnknownTopicOrPartition,
        ReadError::OffsetOutOfRange => ResponseError::OffsetOutOfRange,
        ReadError::FencedLeaderEpoch => ResponseError::FencedLeaderEpoch,
        ReadError::UnknownLeaderEpoch => ResponseError::UnknownLeaderEpoch,
        ReadError::Corrupt => ResponseError::CorruptMessage,
        ReadError::Storage | ReadError::FolderOffline => ResponseError::KafkaStorageError,
    }
}

/// Why a partition is not moved to another folder.
pub fn of_move(error: MoveError) -> ResponseError {
    match error {
        // It is known, but not here yet.
        MoveError::UnknownPartition => ResponseError::ReplicaNotAvailable,
        MoveError::UnknownFolder => ResponseError::LogDirNotFound,
        MoveError::FolderOffline => ResponseError::KafkaStorageError,
    }
}

/// Why a fetch was refused as a whole.
pub fn of_session(error: SessionError) -> ResponseError {
    match error {
        SessionError::UnknownId => ResponseError::FetchSessionIdNotFound,
        SessionError::WrongEpoch => ResponseError::InvalidFetchSessionEpoch,
        SessionError::TopicIds => ResponseError::FetchSessionTopicIdError,
    }
}

/// Why a batch of a client was refused.
pub fn of_rejection(kind: RejectionKind) -> ResponseError {
    match kind {
        RejectionKind::Corrupt => ResponseError::CorruptMessage,
        RejectionKind::TooLarge => ResponseError::MessageTooLarge,
        RejectionKind::InvalidRecord => ResponseError::InvalidRecord,
        RejectionKind::InvalidTimestamp => ResponseError::InvalidTimestamp,
        // Nobody expects these in Kafka: the exception of the codec, or of its number, is passed on.
        RejectionKind::UnknownCompression | RejectionKind::Undecodable => {
            ResponseError::UnknownServerError
        }
    }
}

/// Why a batch could not be stored with the topic's codec.
pub fn of_recompress(error: &RecompressError) -> ResponseError {
    match error {
        RecompressError::Codec(_) | RecompressError::UnknownCompression { .. } => {
            ResponseError::UnknownServerError
        }
        RecompressError::TooLarge { .. } => ResponseError::MessageTooLarge,
    }
}

/// Why an idempotent producer gets no id.
pub fn of_no_producer_id(why: NoProducerId) -> ResponseError {
    match why {
        NoProducerId::Refused(error) => of_control(error.kind),
        // As Kafka while it waits for a block of ids; clients take anything else as the end.
        NoProducerId::Failed(_) => ResponseError::CoordinatorLoadInProgress,
    }
}

/// Why a coordinator did not answer.
pub fn of_refusal(refusal: Refusal) -> ResponseError {
    match refusal {
        Refusal::Loading => ResponseError::CoordinatorLoadInProgress,
        Refusal::NotHere => ResponseError::NotCoordinator,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_of_the_controller_have_the_codes_of_kafka() {
        use ControlErrorKind::*;
        let table = [
            (InvalidTopic, 17),
            (TopicAlreadyExists, 36),
            (UnknownTopic, 3),
            (UnknownTopicId, 100),
            (InvalidPartitions, 37),
            (InvalidReplicationFactor, 38),
            (InvalidReplicaAssignment, 39),
            (InvalidConfig, 40),
            (InvalidRequest, 42),
            (PolicyViolation, 44),
            (TopicDeletionDisabled, 73),
            (StaleBrokerEpoch, 77),
            (ElectionNotNeeded, 84),
            (PreferredLeaderNotAvailable, 80),
            (EligibleLeadersNotAvailable, 83),
            (NoReassignmentInProgress, 85),
            (UnknownServerError, -1),
        ];
        for (kind, code) in table {
            assert_eq!(of_control(kind).code(), code, "{kind:?}");
        }
    }

    #[test]
    fn what_the_controller_has_not_carried_out_says_why() {
        let (code, why) = not_carried_out(ControlFailure::TooLarge);
        assert_eq!(code, 44);
        assert!(why.is_some_and(|why| why.contains("more changes at once")));
        assert_eq!(not_carried_out(ControlFailure::Storage), (56, None));
    }

    #[test]
    fn failed_reads_have_the_codes_of_kafka() {
        let table = [
            (ReadError::UnknownPartition, 3),
            (ReadError::OffsetOutOfRange, 1),
            (ReadError::FencedLeaderEpoch, 74),
            (ReadError::UnknownLeaderEpoch, 75),
            (ReadError::Corrupt, 2),
            (ReadError::Storage, 56),
            (ReadError::FolderOffline, 56),
        ];
        for (error, code) in table {
            assert_eq!(of_read(error).code(), code, "{error:?}");
        }
    }

    #[test]
    fn refused_moves_have_the_codes_of_kafka() {
        let table = [
            (MoveError::UnknownPartition, 9),
            (MoveError::UnknownFolder, 57),
            (MoveError::FolderOffline, 56),
        ];
        for (error, code) in table {
            assert_eq!(of_move(error).code(), code, "{error:?}");
        }
    }

    #[test]
    fn refused_batches_have_the_codes_of_kafka() {
        use RejectionKind::*;
        let table = [
            (Corrupt, 2),
            (TooLarge, 10),
            (InvalidRecord, 87),
            (InvalidTimestamp, 32),
            (UnknownCompression, -1),
            (Undecodable, -1),
        ];
        for (kind, code) in table {
            assert_eq!(of_rejection(kind).code(), code, "{kind:?}");
        }
    }
}
