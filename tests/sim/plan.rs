//! What the worlds of a simulation are like is drawn before they begin, from randomness of its own: which kinds of work
//! and of trouble a seed switches on, and how much there is of each. What is switched off by hand changes nothing else
//! of that, which is how a failing seed is made smaller ([`crate::minimise`]).

use std::collections::BTreeSet;
use std::fmt::{Debug, Display};

/// Features that a run goes without, `Moves,Resets`.
const WITHOUT: &str = "CORELOG_WITHOUT";
/// What a run has less of, `rounds=1,producers=1`.
const LIMITS: &str = "CORELOG_LIMITS";

/// The plan of a world. Says what is switched on, and how much there is, when it is displayed.
pub trait Drawn: Clone + Display {
    /// Something that a seed may switch on.
    type Feature: Copy + Debug + Ord + 'static;
    /// Something that there may be less of.
    type Limit: Copy + 'static;

    /// Which tests run worlds of this kind.
    const TESTS: &'static str;
    const FEATURES: &'static [Self::Feature];
    /// With their names.
    const LIMITS: &'static [(Self::Limit, &'static str)];

    fn draw(seed: u64) -> Self;

    fn seed(&self) -> u64;

    /// What is switched on.
    fn on(&self) -> &BTreeSet<Self::Feature>;

    fn switch_off(&mut self, feature: Self::Feature);

    fn get(&self, limit: Self::Limit) -> u64;

    /// `to` is no more than there is.
    fn set(&mut self, limit: Self::Limit, to: u64);

    /// The names of what is switched on.
    fn names(&self) -> String {
        let names: Vec<String> = self.on().iter().map(name).collect();
        names.join(",")
    }

    /// What the seed draws, less what the environment takes away.
    fn chosen(seed: u64) -> Self {
        let listed = |name: &str| std::env::var(name).unwrap_or_default();
        less(Self::draw(seed), &listed(WITHOUT), &listed(LIMITS))
    }

    /// How to run it again.
    fn command(&self) -> String {
        let drawn = Self::draw(self.seed());
        let without: Vec<String> = drawn.on().difference(self.on()).map(name).collect();
        let limits = Self::LIMITS.iter();
        let lower = limits.filter(|(limit, _)| self.get(*limit) != drawn.get(*limit));
        let lower = lower.map(|(limit, name)| format!("{name}={}", self.get(*limit)));
        let lower: Vec<String> = lower.collect();
        let mut command = format!("CORELOG_SEED={}", self.seed());
        if !without.is_empty() {
            command.push_str(&format!(" {WITHOUT}={}", without.join(",")));
        }
        if !lower.is_empty() {
            command.push_str(&format!(" {LIMITS}={}", lower.join(",")));
        }
        command + " cargo test --test sim " + Self::TESTS
    }
}

fn name(feature: &impl Debug) -> String {
    format!("{feature:?}")
}

/// A plan less what is listed: features in `without`, in any case, and lower limits. Panics at what it has none of.
fn less<P: Drawn>(mut plan: P, without: &str, limits: &str) -> P {
    for listed in without.split(',').filter(|listed| !listed.is_empty()) {
        let mut all = P::FEATURES.iter();
        let feature = all.find(|feature| name(feature).eq_ignore_ascii_case(listed));
        plan.switch_off(*feature.unwrap_or_else(|| panic!("{WITHOUT}={listed}: no feature")));
    }
    for listed in limits.split(',').filter(|listed| !listed.is_empty()) {
        let parsed = listed.split_once('=').and_then(|(name, most)| {
            let (limit, _) = P::LIMITS.iter().find(|(_, of)| *of == name)?;
            Some((*limit, most.parse::<u64>().ok()?))
        });
        let (limit, most) = parsed.unwrap_or_else(|| panic!("{LIMITS}={listed}"));
        plan.set(limit, most.min(plan.get(limit)));
    }
    plan
}

#[cfg(test)]
pub mod tests {
    use std::fmt::{self, Formatter};

    use super::*;

    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
    pub enum Toy {
        Rain,
        Snow,
        Wind,
    }

    /// Worlds with all of that in them, and so many of something.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Weather {
        pub on: BTreeSet<Toy>,
        pub days: u64,
    }

    impl Display for Weather {
        fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
            write!(f, "{} days of {}", self.days, self.names())
        }
    }

    impl Weather {
        pub fn has(&self, feature: Toy) -> bool {
            self.on.contains(&feature)
        }
    }

    impl Drawn for Weather {
        type Feature = Toy;
        type Limit = ();

        const TESTS: &'static str = "weather::";
        const FEATURES: &'static [Toy] = &[Toy::Rain, Toy::Snow, Toy::Wind];
        const LIMITS: &'static [((), &'static str)] = &[((), "days")];

        fn draw(seed: u64) -> Weather {
            Weather {
                on: Self::FEATURES.iter().copied().collect(),
                days: seed,
            }
        }

        fn seed(&self) -> u64 {
            17
        }

        fn on(&self) -> &BTreeSet<Toy> {
            &self.on
        }

        fn switch_off(&mut self, feature: Toy) {
            self.on.remove(&feature);
        }

        fn get(&self, (): ()) -> u64 {
            self.days
        }

        fn set(&mut self, (): (), to: u64) {
            self.days = to;
        }
    }

    #[test]
    fn the_command_of_a_plan_runs_it_again() {
        let all = "CORELOG_SEED=17 cargo test --test sim weather::";
        assert_eq!(Weather::draw(17).command(), all);
        let some = less(Weather::draw(17), "snow,Rain", "days=3");
        assert_eq!(some.to_string(), "3 days of Wind");
        let command = some.command();
        let listed = |name: &str| {
            let words = command.split(' ');
            let of = words.filter_map(|word| word.strip_prefix(&format!("{name}=")));
            of.collect::<String>()
        };
        let again = less(Weather::draw(17), &listed(WITHOUT), &listed(LIMITS));
        assert_eq!(again, some, "{command}");
    }

    #[test]
    fn nothing_gets_more() {
        assert_eq!(less(Weather::draw(17), "", "days=20").days, 17);
    }

    #[test]
    #[should_panic(expected = "CORELOG_WITHOUT=Hail: no feature")]
    fn what_there_is_not_is_told() {
        less(Weather::draw(17), "Snow,Hail", "");
    }
}
