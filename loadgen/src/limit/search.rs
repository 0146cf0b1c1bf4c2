//! Which rate to try next: a plain function of what was tried, without a broker or a clock.
//!
//! It expands from the first rate until one breaks the promise (or shrinks until one keeps it), then bisects between
//! the highest rate that kept it and the lowest that broke it. Noise breaks promises more often than it keeps them, so
//! a rate that broke it is tried again before it is believed, and a third time if the two disagree. The limit that is
//! found has to hold a second time; if it does not, it counts as too high, and the search goes on below it. In the end
//! the lowest rate that broke the promise gets the same chance once more; if it keeps it, the search goes on above it.

/// How to search. Rates are records a second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Range {
    /// Tried first.
    pub first: f64,
    /// None below is tried.
    pub least: f64,
    /// None above is tried.
    pub most: f64,
    /// Part of the limit by which it may be too low, such as 0.05.
    pub precision: f64,
}

/// What one try has shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// The promise was kept.
    Kept,
    /// It was broken.
    Broken,
    /// It was broken, and the generator was the limit: this says nothing of the broker.
    Generator,
}

/// Why a rate is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// To find one that breaks the promise.
    Expand,
    /// To find one that keeps it.
    Shrink,
    /// To come nearer to the limit.
    Bisect,
    /// Because it broke the promise, which may have been noise.
    Repeat,
    /// To see the limit hold once more.
    Confirm,
    /// To see the lowest rate that broke the promise break it once more.
    Recheck,
    /// For the curve alone.
    Curve,
}

/// What ends the search from above.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    /// The next higher rate breaks the promise.
    Promise,
    /// The next higher rate is more than the generator can do.
    Generator,
    /// It was not to go higher.
    Most,
    /// Not even the least rate keeps the promise.
    Nothing,
    /// It was stopped.
    Interrupted,
}

/// A search that goes on.
#[derive(Clone, Debug)]
pub struct Search {
    range: Range,
    /// Rates that kept the promise, ascending.
    kept: Vec<f64>,
    /// Rates that broke it, descending.
    broken: Vec<Broken>,
    /// Rates that were looked at again after they broke it, which none is twice.
    rechecked: Vec<f64>,
    /// The highest of `kept` has held twice.
    is_confirmed: bool,
    now: Option<Try>,
}

/// A rate that broke the promise.
#[derive(Clone, Copy, Debug)]
struct Broken {
    rate: f64,
    /// The generator was the limit.
    by_generator: bool,
}

/// A rate that is being tried, with what its tries have shown.
#[derive(Clone, Copy, Debug)]
struct Try {
    rate: f64,
    purpose: Purpose,
    kept: u32,
    broken: u32,
    by_generator: u32,
}

/// In how many tries of three it must come out the same.
const MAJORITY: u32 = 2;

impl Search {
    /// # Panics
    /// If the range is empty or not finite, or the precision is not positive.
    pub fn new(range: Range) -> Self {
        assert!(
            0.0 < range.least && range.least <= range.most && range.most.is_finite(),
            "{range:?}"
        );
        assert!(range.precision > 0.0, "{range:?}");
        Self {
            range,
            kept: Vec::new(),
            broken: Vec::new(),
            rechecked: Vec::new(),
            is_confirmed: false,
            now: None,
        }
    }

    /// The rate to try next, and why; `None` at the end.
    pub fn next_rate(&mut self) -> Option<(f64, Purpose)> {
        if let Some(now) = &self.now {
            return Some((now.rate, Purpose::Repeat));
        }
        let Range {
            first,
            least,
            most,
            precision,
        } = self.range;
        let broken = self.broken.last().map(|broken| broken.rate);
        let recheck = broken.filter(|rate| !self.rechecked.contains(rate));
        let recheck = recheck.map(|rate| (rate, Purpose::Recheck));
        let (rate, purpose) = match (self.kept.last().copied(), broken) {
            (None, None) => (first.clamp(least, most), Purpose::Expand),
            (Some(kept), None) if kept < most => ((kept * 2.0).min(most), Purpose::Expand),
            (None, Some(broken)) if broken > least => ((broken / 2.0).max(least), Purpose::Shrink),
            (None, Some(_)) => recheck?,
            (Some(kept), Some(broken)) if broken > kept * (1.0 + precision) => {
                ((kept * broken).sqrt(), Purpose::Bisect)
            }
            (Some(_), _) if self.is_confirmed => recheck?,
            (Some(kept), _) => (kept, Purpose::Confirm),
        };
        if purpose == Purpose::Recheck {
            self.rechecked.push(rate);
        }
        self.now = Some(Try {
            rate,
            purpose,
            // That it was kept once is known.
            kept: u32::from(purpose == Purpose::Confirm),
            broken: 0,
            by_generator: 0,
        });
        Some((rate, purpose))
    }

    /// What the try of that rate has shown.
    ///
    /// # Panics
    /// If no rate is being tried.
    pub fn record(&mut self, shown: Shown) {
        let now = self.now.as_mut().expect("a rate is being tried");
        match shown {
            Shown::Kept => now.kept += 1,
            Shown::Broken => now.broken += 1,
            Shown::Generator => {
                now.broken += 1;
                now.by_generator += 1;
            }
        }
        let now = *now;
        let is_doubted = [Purpose::Confirm, Purpose::Recheck].contains(&now.purpose);
        let is_first_and_kept = now.broken == 0 && !is_doubted;
        if now.kept >= MAJORITY || (now.kept > 0 && is_first_and_kept) {
            self.now = None;
            match now.purpose {
                Purpose::Confirm => self.is_confirmed = true,
                Purpose::Recheck => {
                    self.broken.pop();
                    self.kept.push(now.rate);
                    self.is_confirmed = true;
                }
                // Two tries of this rate have kept it already, if it took that many.
                _ => {
                    self.is_confirmed = now.kept >= MAJORITY;
                    self.kept.push(now.rate);
                }
            }
        } else if now.broken >= MAJORITY {
            self.now = None;
            if now.purpose == Purpose::Confirm {
                self.kept.pop();
            }
            if now.purpose == Purpose::Recheck {
                self.broken.pop();
            } else {
                self.is_confirmed = false;
            }
            self.broken.push(Broken {
                rate: now.rate,
                by_generator: now.by_generator == now.broken,
            });
        }
    }

    /// The highest rate that kept the promise so far.
    pub fn limit(&self) -> Option<f64> {
        self.kept.last().copied()
    }

    /// What it takes a rate for; none if it has not tried it, or not often enough.
    pub fn verdict(&self, rate: f64) -> Option<Shown> {
        if self.kept.contains(&rate) {
            return Some(Shown::Kept);
        }
        let broken = self.broken.iter().find(|broken| broken.rate == rate)?;
        Some(match broken.by_generator {
            true => Shown::Generator,
            false => Shown::Broken,
        })
    }

    /// What ended the search, or would if it ended now.
    pub fn bound(&self) -> Bound {
        let is_over = self.now.is_none() && self.clone().next_rate().is_none();
        match (self.limit(), self.broken.last()) {
            _ if !is_over => Bound::Interrupted,
            (_, Some(broken)) if broken.by_generator => Bound::Generator,
            (None, _) => Bound::Nothing,
            (Some(_), None) => Bound::Most,
            (Some(_), Some(_)) => Bound::Promise,
        }
    }
}
