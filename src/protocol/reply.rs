//! A reply on its way to the socket: one complete frame, as the slices it lies in.
//!
//! [`ReplyBuilder`] lets a codec write fields and pass record bytes through by reference. Fields
//! gather in one buffer; large records stay where they are and only split that buffer, small ones
//! are copied into it, since a slice of its own would cost more than the copy.

use std::collections::VecDeque;

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::protocol::Encodable;

use super::header::RequestHeader;
use super::wire::Writer;

const PREFIX_BYTES: usize = 4;
/// The longest body. A frame's length has 31 bits, and there is a header in front.
const BODY_BYTES_MAX: usize = i32::MAX as usize - 64;
/// Records up to this length are copied next to the fields around them.
const COPY_BYTES_MAX: usize = 2 * 1024;

/// A whole reply frame, length prefix included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    slices: Slices,
    len: usize,
}

/// Why a reply cannot be sent: its version has no room for what is in it, or a frame has not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unencodable(String);

impl std::fmt::Display for Unencodable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unencodable {}

/// Fails if a frame has no room for such a body, before any of it is written.
pub(super) fn check_body(body_bytes: usize) -> Result<(), Unencodable> {
    match body_bytes {
        ..=BODY_BYTES_MAX => Ok(()),
        _ => Err(Unencodable(format!("it would have {body_bytes} bytes"))),
    }
}

/// Nearly all replies are one slice: these cost no list.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Slices {
    One(Bytes),
    Many(Vec<Bytes>),
}

impl Reply {
    /// The reply to `request` with a body from the generated encoders.
    ///
    /// Handlers fill only fields that the version has, with texts that it can hold. One that does
    /// not must not take the broker with it.
    pub fn encode<T: Encodable>(request: &RequestHeader, body: &T) -> Result<Self, Unencodable> {
        Self::encode_as(request, request.api_version, body)
    }

    /// Like [`Reply::encode`], with a body of another version than the request's.
    pub fn encode_as<T: Encodable>(
        request: &RequestHeader,
        version: i16,
        body: &T,
    ) -> Result<Self, Unencodable> {
        let body_bytes = body
            .compute_size(version)
            .map_err(|why| Unencodable(why.to_string()))?;
        check_body(body_bytes)?;
        let mut builder = ReplyBuilder::new(request, body_bytes);
        body.encode(&mut builder.fields, version)
            .map_err(|why| Unencodable(why.to_string()))?;
        builder.finish()
    }

    /// Length of the frame on the wire.
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Appends the slices to what waits for the socket.
    pub fn drain_into(self, out: &mut VecDeque<Bytes>) {
        match self.slices {
            Slices::One(slice) => out.push_back(slice),
            Slices::Many(slices) => out.extend(slices),
        }
    }

    /// The frame in one piece.
    #[cfg(test)]
    pub fn to_bytes(&self) -> Bytes {
        match &self.slices {
            Slices::One(slice) => slice.clone(),
            Slices::Many(slices) => Bytes::from(slices.concat()),
        }
    }
}

/// Builds a frame from fields and record slices.
pub struct ReplyBuilder {
    fields: BytesMut,
    /// Slices that go between the fields, each with the position in `fields` where it belongs.
    inserted: Vec<(usize, Bytes)>,
    inserted_bytes: usize,
}

impl ReplyBuilder {
    /// Starts with length prefix and header; `body_bytes_hint` is the size expected of the fields.
    pub fn new(request: &RequestHeader, body_bytes_hint: usize) -> Self {
        let mut fields = BytesMut::with_capacity(PREFIX_BYTES + 5 + body_bytes_hint);
        fields.put_i32(0);
        fields.put_i32(request.correlation_id);
        if request.has_flexible_reply() {
            fields.put_u8(0);
        }
        Self {
            fields,
            inserted: Vec::new(),
            inserted_bytes: 0,
        }
    }

    pub fn fields(&mut self, flexible: bool) -> Writer<'_> {
        Writer::new(&mut self.fields, flexible)
    }

    /// Record bytes, which stand where the fields have got to.
    pub fn records(&mut self, records: Bytes) {
        if records.len() <= COPY_BYTES_MAX {
            self.fields.put_slice(&records);
        } else {
            self.inserted_bytes += records.len();
            self.inserted.push((self.fields.len(), records));
        }
    }

    pub fn finish(mut self) -> Result<Reply, Unencodable> {
        let len = self.fields.len() + self.inserted_bytes;
        check_body(len)?;
        let claimed = i32::try_from(len - PREFIX_BYTES).expect("just checked");
        self.fields[..PREFIX_BYTES].copy_from_slice(&claimed.to_be_bytes());
        let mut fields = self.fields.freeze();
        if self.inserted.is_empty() {
            let slices = Slices::One(fields);
            return Ok(Reply { slices, len });
        }
        let mut slices = Vec::with_capacity(2 * self.inserted.len() + 1);
        let mut done = 0;
        for (at, records) in self.inserted {
            if at > done {
                slices.push(fields.split_to(at - done));
                done = at;
            }
            slices.push(records);
        }
        if !fields.is_empty() {
            slices.push(fields);
        }
        let slices = Slices::Many(slices);
        Ok(Reply { slices, len })
    }
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::describe_configs_response::{
        DescribeConfigsResourceResult, DescribeConfigsResult,
    };
    use kafka_protocol::messages::{ApiKey, DescribeConfigsResponse};
    use kafka_protocol::protocol::StrBytes;
    use kafka_protocol::protocol::buf::ByteBufMut;

    use super::*;

    struct Huge;

    impl Encodable for Huge {
        fn encode<B: ByteBufMut>(&self, _: &mut B, _: i16) -> anyhow::Result<()> {
            panic!("nobody has so much memory")
        }

        fn compute_size(&self, _: i16) -> anyhow::Result<usize> {
            Ok(3 << 30)
        }
    }

    fn request(api_version: i16) -> RequestHeader {
        RequestHeader {
            api_key: ApiKey::DescribeConfigs,
            api_version,
            correlation_id: 7,
            client_id: StrBytes::default(),
        }
    }

    #[test]
    fn what_a_version_cannot_hold_is_an_error() {
        let config = DescribeConfigsResourceResult::default()
            .with_name(StrBytes::from_string("a".repeat(40_000)));
        let result = DescribeConfigsResult::default().with_configs(vec![config]);
        let body = DescribeConfigsResponse::default().with_results(vec![result]);
        assert!(Reply::encode(&request(3), &body).is_err());
        assert!(Reply::encode(&request(4), &body).is_ok());
    }

    #[test]
    fn what_no_frame_can_hold_is_an_error() {
        assert!(Reply::encode(&request(4), &Huge).is_err());
        // Many times the same memory.
        let records = Bytes::from(vec![0; 1 << 20]);
        let with = |times: usize| {
            let mut reply = ReplyBuilder::new(&request(4), 0);
            (0..times).for_each(|_| reply.records(records.clone()));
            reply.finish()
        };
        assert!(with(2_047).is_ok());
        assert!(with(2_048).is_err());
    }
}
