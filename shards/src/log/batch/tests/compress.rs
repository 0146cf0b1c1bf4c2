use super::CODECS;
use crate::log::batch::Compression;
use crate::log::batch::compress::{Codec, CodecError, Decoder, DecoderPool, Encoder};
use crate::log::test_random::Random;

fn decode(
    compression: Compression,
    input: &[u8],
    chunk_bytes: usize,
) -> Result<Vec<u8>, CodecError> {
    let mut decoder = Decoder::new(compression, input, &DecoderPool::default())?;
    let mut out = Vec::new();
    let mut chunk = vec![0; chunk_bytes];
    loop {
        match decoder.read(&mut chunk)? {
            0 => return Ok(out),
            count => out.extend_from_slice(&chunk[..count]),
        }
    }
}

fn encode(codec: Codec, chunks: &[&[u8]]) -> Vec<u8> {
    let mut encoder = Encoder::new(codec, vec![]).unwrap();
    for chunk in chunks {
        encoder.write(chunk).unwrap();
        encoder.end_chunk().unwrap();
    }
    encoder.finish().unwrap()
}

fn hex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

/// What [`FOREIGN`] decompresses to.
fn foreign_plain() -> Vec<u8> {
    let mut plain = b"corelog ".repeat(12);
    plain.extend(0..32);
    plain
}

/// Written by other implementations.
const FOREIGN: [(&str, Compression, &str); 6] = [
    (
        "gzip",
        Compression::Gzip,
        "1f8b08000000000000034bce2f4acdc94f5748a611cdc0c8c4ccc2cac6cec1c9c5cdc3cbc72f2028242c222a262e2129252d232b27\
         0f00bf975e4e80000000",
    ),
    (
        "bare snappy, as of librdkafka",
        Compression::Snappy,
        "80011c636f72656c6f6720fe08005e08007c000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
    ),
    (
        "snappy in xerial's framing, two blocks, as of Java",
        Compression::Snappy,
        "82534e4150505900000000010000000100000015641c636f72656c6f6720fe08005e08000c000102030000001e1c6c040506070809\
         0a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
    ),
    (
        "lz4",
        Compression::Lz4,
        "04224d186040822e0000008f636f72656c6f6720080045f011000102030405060708090a0b0c0d0e0f101112131415161718191a1b\
         1c1d1e1f00000000",
    ),
    (
        "lz4 with checksums and size",
        Compression::Lz4,
        "04224d187c408000000000000000212e0000008f636f72656c6f6720080045f011000102030405060708090a0b0c0d0e0f10111213\
         1415161718191a1b1c1d1e1f63fe6c7500000000c0cd9293",
    ),
    (
        "zstd",
        Compression::Zstd,
        "28b52ffd20808501008402636f72656c6f6720000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f0100\
         b5a97001",
    ),
];

#[test]
fn what_others_compressed_is_read() {
    for (name, compression, text) in FOREIGN {
        for chunk_bytes in [1, 7, 1_000] {
            assert_eq!(
                decode(compression, &hex(text), chunk_bytes),
                Ok(foreign_plain()),
                "{name}"
            );
        }
    }
}

#[test]
fn what_is_cut_short_is_an_error() {
    for (name, compression, text) in FOREIGN {
        let whole = hex(text);
        for cut in 1..whole.len() {
            let found = decode(compression, &whole[..cut], 1_000);
            // Framed snappy has no end mark: between two blocks it may end.
            let at_block = name.contains("framing") && (cut == 16 || cut == 16 + 4 + 0x15);
            assert_eq!(found.is_err(), !at_block, "{name} cut to {cut} bytes");
        }
    }
}

#[test]
fn every_codec_and_level_comes_back() {
    let mut codecs = CODECS.to_vec();
    codecs.extend([-1, 1, 9].map(|level| Codec::Gzip { level }));
    codecs.extend([1, 2, 9, 12, 17].map(|level| Codec::Lz4 { level }));
    codecs.extend([-131_072, -5, 1, 22].map(|level| Codec::Zstd { level }));
    let mut random = Random::new(1);
    let text: Vec<u8> = (0..200_000)
        .map(|_| b'a' + (random.below(9) * random.below(3)) as u8)
        .collect();
    let noise: Vec<u8> = (0..70_000).map(|_| random.next() as u8).collect();
    for codec in codecs {
        for plain in [&text[..], &noise, &text[..10], &[0; 300_000], &[]] {
            let chunks: Vec<_> = plain.chunks(10_000).collect();
            for chunks in [&[plain][..], &chunks] {
                let packed = encode(codec, chunks);
                if codec == Codec::None {
                    assert_eq!(packed, plain);
                } else {
                    assert!(
                        packed.len() < plain.len() + plain.len() / 10 + 100,
                        "{codec:?}"
                    );
                }
                for chunk_bytes in [100, 16 * 1024, 1 << 20] {
                    assert_eq!(
                        decode(codec.compression(), &packed, chunk_bytes).as_deref(),
                        Ok(plain),
                        "{codec:?}"
                    );
                }
            }
        }
    }
}

#[test]
fn snappy_is_written_as_java_writes_it() {
    let packed = encode(Codec::Snappy, &[&[b'x'; 40_000]]);
    assert_eq!(packed[..16], hex("82534e41505059000000000100000001"));
    let first = i32::from_be_bytes(packed[16..20].try_into().unwrap()) as usize;
    assert_eq!(
        snap::raw::decompress_len(&packed[20..20 + first]),
        Ok(32 * 1024)
    );
    let second = &packed[20 + first..];
    assert_eq!(
        snap::raw::decompress_len(&second[4..]),
        Ok(40_000 - 32 * 1024)
    );
}

#[test]
fn snappy_streams_may_follow_each_other() {
    let packed = encode(Codec::Snappy, &[b"one"]);
    let twice = [&packed[..], &packed].concat();
    assert_eq!(decode(Compression::Snappy, &twice, 100).unwrap(), b"oneone");
}

#[test]
fn snappy_elements_of_every_kind() {
    // Four literal bytes, then copies with offsets of one, two and four bytes, overlapping ones too.
    let block = [
        31,
        12,
        b'a',
        b'b',
        b'c',
        b'd',
        0b0000_0001,
        4,
        0b0001_0110,
        1,
        0,
        0b0100_0011,
        5,
        0,
        0,
        0,
    ];
    let mut reference = Vec::from(*b"abcdabcd");
    reference.extend([b'd'; 6]);
    for _ in 0..17 {
        reference.push(reference[reference.len() - 5]);
    }
    assert_eq!(
        snap::raw::Decoder::new().decompress_vec(&block).as_ref(),
        Ok(&reference)
    );
    assert_eq!(
        decode(Compression::Snappy, &block, 3).as_ref(),
        Ok(&reference)
    );

    // Long literals carry their length in one to four bytes of their own.
    for extra in 1..=4usize {
        let mut block = vec![100, (59 + extra as u8) << 2, 99];
        block.extend(vec![0; extra - 1]);
        block.extend([7; 100]);
        assert_eq!(decode(Compression::Snappy, &block, 64).unwrap(), [7; 100]);
    }
}

#[test]
fn lies_are_found_out() {
    let snappy: [(&[u8], &str); 7] = [
        (
            &[0xff, 0xff, 0xff, 0xff, 0x0f, 0, 1],
            "cannot hold what it claims",
        ),
        (
            &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1],
            "endless snappy length",
        ),
        (&[4, 0, 1], "cut short"),
        (&[2, 8, 1, 2, 3], "longer than it claims"),
        (&[9, 0, 1, 0b0001_0001, 2], "from before the start"),
        (&[9, 0, 1, 0b0001_0001, 0], "from before the start"),
        (&[9, 62 << 2, 1], "cut short"),
    ];
    for (input, reason) in snappy {
        let error = decode(Compression::Snappy, input, 100).unwrap_err();
        assert!(error.reason.contains(reason), "{input:?}: {error}");
    }
    let mut framed = encode(Codec::Snappy, &[b"text"]);
    framed[16] = 0x80;
    assert!(decode(Compression::Snappy, &framed, 100).is_err());

    let lz4 = hex(FOREIGN[3].2);
    for (at, byte) in [(0, 5), (4, 0x40), (4, 0xa0), (5, 0x30), (6, 0), (7, 0xff)] {
        let mut bad = lz4.clone();
        bad[at] = byte;
        assert!(decode(Compression::Lz4, &bad, 100).is_err(), "byte {at}");
    }
}
