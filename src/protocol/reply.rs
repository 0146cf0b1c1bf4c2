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
/// Records up to this length are copied next to the fields around them.
const COPY_BYTES_MAX: usize = 2 * 1024;

/// A whole reply frame, length prefix included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    slices: Slices,
    len: usize,
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
    /// Panics if the body cannot be represented in this version: that is a mistake of the handler,
    /// which fills only fields that the version has.
    pub fn encode<T: Encodable>(request: &RequestHeader, body: &T) -> Self {
        Self::encode_as(request, request.api_version, body)
    }

    /// Like [`Reply::encode`], with a body of another version than the request's.
    pub fn encode_as<T: Encodable>(request: &RequestHeader, version: i16, body: &T) -> Self {
        let body_bytes = body
            .compute_size(version)
            .expect("a handler fills only fields that the version has");
        let mut builder = ReplyBuilder::new(request, body_bytes);
        body.encode(&mut builder.fields, version)
            .expect("a body that has a size can be encoded");
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

    /// The frame in one piece, for tests and tools.
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

    pub fn finish(mut self) -> Reply {
        let len = self.fields.len() + self.inserted_bytes;
        let claimed =
            i32::try_from(len - PREFIX_BYTES).expect("a reply is bounded far below 2 GiB");
        self.fields[..PREFIX_BYTES].copy_from_slice(&claimed.to_be_bytes());
        let mut fields = self.fields.freeze();
        if self.inserted.is_empty() {
            return Reply {
                slices: Slices::One(fields),
                len,
            };
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
        Reply {
            slices: Slices::Many(slices),
            len,
        }
    }
}
