//! What the network side of one shard counts. See [`corelog_shards::metrics`] for how.

use std::time::Duration;

use corelog_shards::metrics::{Counter, Histogram};
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::ApiKey;

use crate::api::TABLE;

/// Highest code of an error that there is, and some room.
const ERRORS: usize = 192;

/// Of one API.
#[derive(Debug, Default)]
pub struct ApiMetrics {
    pub request_bytes: Counter,
    pub reply_bytes: Counter,
    /// From the arrival of a request's bytes until its handler begins.
    pub frame: Histogram,
    /// From when a reply could be sent until the socket has it.
    pub reply: Histogram,
    /// From the arrival of a request's bytes until the socket has the reply, or, where none is
    /// wanted, until it is done.
    pub total: Histogram,
}

/// Errors by their code.
#[derive(Debug)]
pub struct ErrorCounts([Counter; ERRORS]);

impl Default for ErrorCounts {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Counter::default()))
    }
}

impl ErrorCounts {
    pub fn add(&self, error: ResponseError) {
        // The one negative code takes the place of success.
        let place = usize::try_from(error.code()).unwrap_or(0).min(ERRORS - 1);
        self.0[place].add(1);
    }

    /// Those that came up.
    pub fn iter(&self) -> impl Iterator<Item = (ResponseError, u64)> {
        let counted = self.0.iter().map(Counter::get).enumerate();
        counted
            .filter(|(_, count)| *count > 0)
            .map(|(place, count)| {
                let known = ResponseError::try_from_code(place as i16);
                (known.unwrap_or(ResponseError::UnknownServerError), count)
            })
    }
}

/// Of one shard.
#[derive(Debug)]
pub struct RequestMetrics {
    /// In the order of the table of APIs.
    apis: Vec<ApiMetrics>,
    /// Place in that order by key.
    places: Vec<u8>,
    /// Produce: until the batches are checked.
    pub produce_check: Histogram,
    /// Fetch: until there is enough to read, or the time is up.
    pub fetch_wait: Histogram,
    /// Fetch: until it was read.
    pub fetch_read: Histogram,
    /// Partitions of produce requests that failed.
    pub produce_errors: ErrorCounts,
    /// Partitions of fetch requests that failed.
    pub fetch_errors: ErrorCounts,
    pub connections_accepted: Counter,
    pub connections_refused: Counter,
}

impl Default for RequestMetrics {
    fn default() -> Self {
        let last = TABLE.last().map_or(0, |api| api.key as usize);
        let mut places = vec![0; last + 1];
        for (place, api) in TABLE.iter().enumerate() {
            places[api.key as usize] = place as u8;
        }
        Self {
            apis: TABLE.iter().map(|_| ApiMetrics::default()).collect(),
            places,
            produce_check: Histogram::default(),
            fetch_wait: Histogram::default(),
            fetch_read: Histogram::default(),
            produce_errors: ErrorCounts::default(),
            fetch_errors: ErrorCounts::default(),
            connections_accepted: Counter::default(),
            connections_refused: Counter::default(),
        }
    }
}

impl RequestMetrics {
    /// Of an API that is in the table.
    pub fn api(&self, key: ApiKey) -> &ApiMetrics {
        let place = self.places.get(key as usize).copied().unwrap_or(0);
        &self.apis[usize::from(place)]
    }

    /// A request has arrived whole and is begun.
    pub fn begun(&self, key: ApiKey, bytes: usize, frame: Duration) {
        let api = self.api(key);
        api.request_bytes.add(bytes as u64);
        api.frame.record(frame);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_api_has_numbers_of_its_own() {
        let metrics = RequestMetrics::default();
        for (place, api) in TABLE.iter().enumerate() {
            metrics.begun(api.key, place + 1, Duration::ZERO);
        }
        for (place, api) in TABLE.iter().enumerate() {
            let counted = metrics.api(api.key);
            assert_eq!(counted.request_bytes.get(), place as u64 + 1);
            assert_eq!(counted.frame.snapshot().count(), 1);
        }
    }

    #[test]
    fn errors_are_counted_by_code() {
        let errors = ErrorCounts::default();
        errors.add(ResponseError::UnknownServerError);
        errors.add(ResponseError::NotLeaderOrFollower);
        errors.add(ResponseError::NotLeaderOrFollower);
        let counted: Vec<_> = errors.iter().collect();
        assert_eq!(
            counted,
            [
                (ResponseError::UnknownServerError, 1),
                (ResponseError::NotLeaderOrFollower, 2),
            ]
        );
    }
}
