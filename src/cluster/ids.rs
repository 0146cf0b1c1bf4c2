//! Ids that the controller draws, and those with a meaning of their own.

use corelog_shards::log::uuid_text;
use uuid::Uuid;

/// Of a replica's directory: from before directories had ids.
pub const DIRECTORY_MIGRATING: Uuid = Uuid::nil();
/// Of a replica's directory: the broker has yet to choose one.
pub const DIRECTORY_UNASSIGNED: Uuid = Uuid::from_u128(1);
/// Of a replica's directory: one of those that are lost.
pub const DIRECTORY_LOST: Uuid = Uuid::from_u128(2);

/// Whether an id of a directory has, or may get, a meaning of its own.
pub fn is_reserved(directory: Uuid) -> bool {
    directory.as_u128() < 100
}

/// Draws an id of version 4 whose text doesn't start with a dash, which command lines would take for
/// an option. Being of version 4, it is none of the reserved ids, which are all below 100.
pub fn random_id(random_u64: &mut dyn FnMut() -> u64) -> Uuid {
    loop {
        let bits = u128::from(random_u64()) << 64 | u128::from(random_u64());
        let id = uuid::Builder::from_random_bytes(bits.to_be_bytes()).into_uuid();
        if !uuid_text::format(id).starts_with('-') {
            return id;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drawn_ids_are_usable_on_a_command_line() {
        let mut state = 1u64;
        let mut random_u64 = || {
            state = state
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            state
        };
        for _ in 0..1000 {
            let id = random_id(&mut random_u64);
            assert_eq!(id.get_version_num(), 4);
            let text = uuid_text::format(id);
            assert!(!text.starts_with('-'));
            assert_eq!(uuid_text::parse(&text), Some(id));
        }
    }
}
