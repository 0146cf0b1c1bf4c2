//! What was dealt out in each generation of classic groups, and what members were told of it.

use std::collections::BTreeMap;

use super::consumer_protocol::Assigned;

/// With which names of static members begin.
pub const INSTANCE_PREFIX: &str = "instance-";

type Shares = BTreeMap<String, Vec<Assigned>>;

#[derive(Default)]
pub struct Generations {
    /// Whether a group's generations may begin anew: when all its offsets are forgotten, so is the group.
    may_begin_anew: bool,
    /// By group and generation: what leaders dealt out, as far as it may have got to the broker.
    dealt: BTreeMap<(String, i32), Vec<(String, Shares)>>,
    /// Who led where somebody was given a share.
    leaders: BTreeMap<(String, i32), String>,
}

impl Generations {
    pub fn new(may_begin_anew: bool) -> Generations {
        Generations {
            may_begin_anew,
            ..Generations::default()
        }
    }

    /// A leader sends what it has dealt out.
    pub fn dealt(
        &mut self,
        group: &str,
        generation: i32,
        leader: &str,
        shares: &[(String, Vec<Assigned>)],
    ) {
        let shares = shares
            .iter()
            .map(|(id, share)| (who(id).to_owned(), share.clone()))
            .collect();
        let key = (group.to_owned(), generation);
        self.dealt
            .entry(key)
            .or_default()
            .push((who(leader).to_owned(), shares));
    }

    /// A member was given a share in a generation of that leader. Mixed groups are none that have one: they begin anew
    /// when they go over to the other protocol with nobody in them, and give static members other ids.
    pub fn received(
        &mut self,
        group: &str,
        generation: i32,
        leader: &str,
        id: &str,
        share: &[Assigned],
    ) {
        if group == "mixed" {
            return;
        }
        let key = (group.to_owned(), generation);
        let (leader, id) = (who(leader), who(id));
        let known = self.leaders.insert(key.clone(), leader.to_owned());
        if let Some(known) = known
            && !self.may_begin_anew
        {
            assert_eq!(
                known, leader,
                "{group}: two leaders of generation {generation}"
            );
        }
        let dealt = self.dealt.get(&key).into_iter().flatten();
        let mut by_leader = dealt
            .filter(|(by, _)| by == leader)
            .map(|(_, shares)| shares);
        let share = share.to_vec();
        assert!(
            by_leader.any(|shares| shares.get(id).cloned().unwrap_or_default() == share),
            "{group}: in generation {generation} {id} was given {share:?}"
        );
    }
}

/// What stays the same of a member's id when another process takes the place of a static member: all but the UUID that
/// its id ends with.
fn who(id: &str) -> &str {
    const UUID_LEN: usize = 36;
    match id.starts_with(INSTANCE_PREFIX) {
        true => &id[..id.len() - UUID_LEN],
        false => id,
    }
}
