mod golden;
mod header;

/// One record, key `k`, value `hello`, no headers, timestamp 1,000, plain producer; byte by byte as
/// Kafka's format description has it.
const GOLDEN: &[u8] = &[
    0, 0, 0, 0, 0, 0, 0, 0, // base offset 0
    0, 0, 0, 62, // length
    0xff, 0xff, 0xff, 0xff, // leader epoch -1
    2,    // magic
    0xed, 0xb8, 0x8d, 0x21, // CRC-32C
    0, 0, // attributes: no codec, create time
    0, 0, 0, 0, // last offset delta 0
    0, 0, 0, 0, 0, 0, 3, 0xe8, // base timestamp 1,000
    0, 0, 0, 0, 0, 0, 3, 0xe8, // max timestamp 1,000
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, // producer id -1
    0xff, 0xff, // producer epoch -1
    0xff, 0xff, 0xff, 0xff, // base sequence -1
    0, 0, 0, 1,  // record count
    24, // record length 12, zigzag
    0,  // attributes
    0,  // timestamp delta 0
    0,  // offset delta 0
    2, b'k', // key length 1
    10, b'h', b'e', b'l', b'l', b'o', // value length 5
    0,    // no headers
];
