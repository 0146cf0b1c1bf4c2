//! Names of topics, each once and in order, in little more memory than they have letters: clients say how many there are.

/// Names in one text, one behind the other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopicNames {
    text: String,
    /// Where in it each name ends.
    ends: Vec<u32>,
}

impl TopicNames {
    pub fn contains(&self, name: &str) -> bool {
        let (mut low, mut high) = (0, self.ends.len());
        while low < high {
            let middle = low + (high - low) / 2;
            match self.get(middle).cmp(name) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Equal => return true,
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        false
    }

    fn get(&self, place: usize) -> &str {
        let start = place.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.text[start as usize..self.ends[place] as usize]
    }
}

/// Of any names, in any order. What does not fit into four gigabytes is left out.
impl FromIterator<String> for TopicNames {
    fn from_iter<I: IntoIterator<Item = String>>(names: I) -> Self {
        let mut names: Vec<String> = names.into_iter().collect();
        names.sort_unstable();
        names.dedup();
        let mut all = Self {
            text: String::with_capacity(names.iter().map(String::len).sum()),
            ends: Vec::with_capacity(names.len()),
        };
        for name in names {
            all.text.push_str(&name);
            let Ok(end) = u32::try_from(all.text.len()) else {
                break;
            };
            all.ends.push(end);
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_whatever_their_order_was() {
        let names = ["b", "a", "", "abc", "b"].map(str::to_owned);
        let all = TopicNames::from_iter(names);
        let held: Vec<&str> = (0..all.ends.len()).map(|place| all.get(place)).collect();
        assert_eq!(held, ["", "a", "abc", "b"]);
        assert!(held.iter().all(|name| all.contains(name)));
        assert!(
            ["ab", "c", "bb", "A"]
                .iter()
                .all(|name| !all.contains(name))
        );
        assert!(!TopicNames::default().contains(""));
    }
}
