//! THE mapping from what layers below report to Kafka's error codes. Exhaustive: a new variant
//! below does not compile until it has a code here.

use kafka_protocol::error::ResponseError;

/// The code of an outcome on the wire; 0 is success.
pub fn code(outcome: Option<ResponseError>) -> i16 {
    outcome.map_or(0, |error| error.code())
}
