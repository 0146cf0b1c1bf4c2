//! Which seeds a test runs.

use std::ops::Range;

/// The one seed to run, to see a failure again.
const ONE: &str = "CORELOG_SEED";
/// How many seeds to run, in place of what a test thinks enough.
const HOW_MANY: &str = "CORELOG_SEEDS";

/// The seeds from zero to `count`, unless the environment says otherwise:
/// `CORELOG_SEED=17` runs that one, `CORELOG_SEEDS=100000` that many.
pub fn seeds(count: u64) -> Range<u64> {
    chosen(count, |name| std::env::var(name).ok())
}

fn chosen(count: u64, variable: impl Fn(&str) -> Option<String>) -> Range<u64> {
    let number = |name: &str| {
        let value = variable(name)?;
        match value.parse() {
            Ok(number) => Some(number),
            Err(error) => panic!("{name}={value}: {error}"),
        }
    };
    match (number(ONE), number(HOW_MANY)) {
        (Some(seed), _) => seed..seed + 1,
        (None, Some(count)) => 0..count,
        (None, None) => 0..count,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_chooses() {
        let set = |name: &'static str, value: &'static str| {
            move |asked: &str| (asked == name).then(|| value.to_owned())
        };
        assert_eq!(chosen(10, |_| None), 0..10);
        assert_eq!(chosen(10, set(ONE, "17")), 17..18);
        assert_eq!(chosen(10, set(HOW_MANY, "500")), 0..500);
    }

    #[test]
    #[should_panic(expected = "CORELOG_SEED=x")]
    fn nonsense_is_refused() {
        chosen(10, |_| Some("x".to_owned()));
    }
}
