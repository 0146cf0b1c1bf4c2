//! Zigzag varints as Kafka reads and writes them: at most 5 bytes for 32 bits, 10 for 64; bits that
//! don't fit are dropped, a sixth or eleventh byte is an error.

/// Longest encoding of 32 bits.
pub const MAX_BYTES_32: usize = 5;
/// Longest encoding of 64 bits.
pub const MAX_BYTES_64: usize = 10;

/// Reads at `*at` and moves it on. None: the bytes end, or the number does not.
#[inline(always)]
pub fn read_i32(bytes: &[u8], at: &mut usize) -> Option<i32> {
    read::<MAX_BYTES_32>(bytes, at).map(|raw| unzigzag((raw as u32).into()) as i32)
}

/// As [`read_i32`], for 64 bits.
#[inline(always)]
pub fn read_i64(bytes: &[u8], at: &mut usize) -> Option<i64> {
    read::<MAX_BYTES_64>(bytes, at).map(unzigzag)
}

/// Nearly all varints of a record have one byte or two.
#[inline(always)]
fn read<const MAX: usize>(bytes: &[u8], at: &mut usize) -> Option<u64> {
    let first = *bytes.get(*at)?;
    if first < 0x80 {
        *at += 1;
        return Some(first.into());
    }
    let second = *bytes.get(*at + 1)?;
    if second < 0x80 {
        *at += 2;
        return Some(u64::from(first & 0x7f) | u64::from(second) << 7);
    }
    read_long::<MAX>(bytes, at)
}

#[cold]
fn read_long<const MAX: usize>(bytes: &[u8], at: &mut usize) -> Option<u64> {
    let mut raw = 0;
    for (index, byte) in bytes[*at..].iter().take(MAX).enumerate() {
        raw |= u64::from(byte & 0x7f) << (7 * index);
        if *byte < 0x80 {
            *at += index + 1;
            return Some(raw);
        }
    }
    None
}

fn unzigzag(raw: u64) -> i64 {
    (raw >> 1) as i64 ^ -((raw & 1) as i64)
}

fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

pub fn write(out: &mut Vec<u8>, value: i64) {
    let mut raw = zigzag(value);
    while raw >= 0x80 {
        out.push(raw as u8 | 0x80);
        raw >>= 7;
    }
    out.push(raw as u8);
}

/// Bytes that [`write`] takes.
pub fn size(value: i64) -> usize {
    let bits = 64 - (zigzag(value) | 1).leading_zeros() as usize;
    bits.div_ceil(7)
}
