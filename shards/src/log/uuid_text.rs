//! Kafka's way of writing a 128-bit id as text: 22 characters of URL-safe base64 without padding.
//!
//! Purpose: topic ids in `partition.metadata`, directory and cluster ids in `meta.properties`.
//! Pure functions without state; the parser is total. Like Kafka's, it takes the two padding
//! characters as well and ignores the four bits of the last character that carry nothing.

use uuid::Uuid;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
/// 128 bits in groups of six, the last one filled up with four zero bits.
const TEXT_CHARS: usize = 22;

pub fn format(id: Uuid) -> String {
    let bits = id.as_u128();
    (0..TEXT_CHARS)
        .map(|index| {
            let shifted = match 122_usize.checked_sub(index * 6) {
                Some(shift) => bits >> shift,
                None => bits << 4,
            };
            char::from(ALPHABET[(shifted & 63) as usize])
        })
        .collect()
}

pub fn parse(text: &str) -> Option<Uuid> {
    let digits = text.strip_suffix("==").unwrap_or(text).as_bytes();
    if digits.len() != TEXT_CHARS {
        return None;
    }
    let mut bits = 0_u128;
    for (index, digit) in digits.iter().enumerate() {
        let value = value_of(*digit)?;
        bits = if index + 1 == TEXT_CHARS {
            bits << 2 | u128::from(value >> 4)
        } else {
            bits << 6 | u128::from(value)
        };
    }
    Some(Uuid::from_u128(bits))
}

fn value_of(digit: u8) -> Option<u8> {
    match digit {
        b'A'..=b'Z' => Some(digit - b'A'),
        b'a'..=b'z' => Some(digit - b'a' + 26),
        b'0'..=b'9' => Some(digit - b'0' + 52),
        b'-' => Some(62),
        b'_' => Some(63),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_what_kafka_writes() {
        assert_eq!(format(Uuid::from_u128(0)), "AAAAAAAAAAAAAAAAAAAAAA");
        assert_eq!(format(Uuid::from_u128(1)), "AAAAAAAAAAAAAAAAAAAAAQ");
        assert_eq!(format(Uuid::from_u128(u128::MAX)), "_____________________w");
        let id = Uuid::from_u128(0x0001_0203_0405_0607_0809_0a0b_0c0d_0e0f);
        assert_eq!(format(id), "AAECAwQFBgcICQoLDA0ODw");
    }

    #[test]
    fn comes_back_the_same() {
        let mut bits = 0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c834_u128;
        for _ in 0..1_000 {
            let id = Uuid::from_u128(bits);
            assert_eq!(parse(&format(id)), Some(id));
            assert_eq!(parse(&(format(id) + "==")), Some(id));
            bits = bits.wrapping_mul(0x2545_f491_4f6c_dd1d).rotate_left(17) ^ 0x5bd1;
        }
    }

    #[test]
    fn garbage_is_refused() {
        for text in [
            "",
            "==",
            "AAAA",
            "AAAAAAAAAAAAAAAAAAAAA",
            "AAAAAAAAAAAAAAAAAAAAAAA",
            "AAAAAAAAAAAAAAAAAAAAA+",
            "AAAAAAAAAAAAAAAAAAAA\u{e9}",
        ] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }
}
