//! New batches: for the metadata log, coordinators, control records and tests.

use super::compress::{Codec, CodecError, Encoder};
use super::header::{
    Attributes, HEADER_BYTES, HeaderFields, NO_LEADER_EPOCH, NO_PRODUCER_EPOCH, NO_PRODUCER_ID,
    NO_SEQUENCE, NO_TIMESTAMP,
};
use super::record::NewRecord;

/// A batch being filled. Whoever appends watches its size; there is no other limit than that of the
/// length field, past which it panics.
pub struct BatchBuilder {
    fields: HeaderFields,
    encoder: Encoder,
    /// One record on its way to the encoder.
    scratch: Vec<u8>,
    uncompressed_bytes: usize,
}

impl BatchBuilder {
    pub fn new(codec: Codec) -> Result<Self, CodecError> {
        let attributes = Attributes::default().with_compression(codec.compression());
        Ok(Self {
            fields: HeaderFields {
                base_offset: 0,
                leader_epoch: NO_LEADER_EPOCH,
                attributes,
                last_offset_delta: -1,
                base_timestamp: NO_TIMESTAMP,
                max_timestamp: NO_TIMESTAMP,
                producer_id: NO_PRODUCER_ID,
                producer_epoch: NO_PRODUCER_EPOCH,
                base_sequence: NO_SEQUENCE,
                record_count: 0,
            },
            encoder: Encoder::new(codec, vec![0; HEADER_BYTES])?,
            scratch: Vec::new(),
            uncompressed_bytes: HEADER_BYTES,
        })
    }

    /// Without a codec, which cannot fail.
    pub fn uncompressed() -> Self {
        Self::new(Codec::None).expect("no codec to fail")
    }

    pub fn at(mut self, base_offset: i64, leader_epoch: i32) -> Self {
        self.fields.base_offset = base_offset;
        self.fields.leader_epoch = leader_epoch;
        self
    }

    pub fn producer(mut self, id: i64, epoch: i16, base_sequence: i32) -> Self {
        self.fields.producer_id = id;
        self.fields.producer_epoch = epoch;
        self.fields.base_sequence = base_sequence;
        self
    }

    pub fn transactional(mut self) -> Self {
        self.fields.attributes = self.fields.attributes.with_transactional(true);
        self
    }

    pub fn control(mut self) -> Self {
        self.fields.attributes = self.fields.attributes.with_control(true);
        self
    }

    pub fn append(
        &mut self,
        timestamp: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
    ) -> Result<(), CodecError> {
        self.append_with_headers(timestamp, key, value, &[])
    }

    pub fn append_with_headers(
        &mut self,
        timestamp: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[(&[u8], Option<&[u8]>)],
    ) -> Result<(), CodecError> {
        let fields = &mut self.fields;
        if fields.record_count == 0 {
            fields.base_timestamp = timestamp;
        }
        let record = NewRecord {
            offset_delta: fields.record_count,
            timestamp_delta: timestamp.wrapping_sub(fields.base_timestamp),
            key,
            value,
            headers,
        };
        fields.max_timestamp = fields.max_timestamp.max(timestamp);
        fields.last_offset_delta = fields.record_count;
        fields.record_count += 1;

        self.scratch.clear();
        record.write(&mut self.scratch);
        self.uncompressed_bytes += self.scratch.len();
        self.encoder.write(&self.scratch)
    }

    pub fn record_count(&self) -> i32 {
        self.fields.record_count
    }

    /// The batch's size without a codec, and an upper bound with one, nearly: codecs add a little to what
    /// they cannot compress.
    pub fn uncompressed_bytes(&self) -> usize {
        self.uncompressed_bytes
    }

    /// Panics when there are no records.
    pub fn finish(self) -> Result<Vec<u8>, CodecError> {
        assert!(self.fields.record_count > 0, "a batch has records");
        let mut batch = self.encoder.finish()?;
        self.fields.write(&mut batch);
        Ok(batch)
    }
}
