//! What must be true once faults have stopped and everybody has been calm for longer than all time-outs.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use kafka_protocol::error::{ParseResponseErrorCode, ResponseError};
use kafka_protocol::messages::{ConsumerGroupDescribeRequest, DescribeGroupsRequest, GroupId};

use super::commits::Place;
use super::holders::Process;
use super::member::{Handle, Protocol, topics};
use super::offsets::read_group;
use super::sim::Sim;
use crate::wire::{Client, Lost, text};

/// Where the members of all groups have come to: their ids, generations or epochs, and what they hold.
pub type Picture = BTreeMap<Process, (String, i32, Vec<Place>)>;

/// Each group is stable, each partition of the topics its members subscribe to is held by exactly one of them, who
/// subscribes to it, and the coordinator sees the members as they see themselves. Offsets are what they must be.
pub async fn check(sim: &Rc<Sim>, client: &mut Client, members: &[Rc<Handle>]) -> Picture {
    let mut picture = Picture::new();
    for group in &sim.groups {
        let of_group = members.iter().filter(|it| it.character.group == *group);
        let of_group: Vec<Rc<Handle>> = of_group.cloned().collect();
        check_group(sim, client, group, &of_group, &mut picture).await;
        // What the topics that are gone have left behind is gone, too.
        let is_of_group = |place: &Place| place.0 == *group && place.1.starts_with("t-");
        sim.commits
            .borrow_mut()
            .end_deletions(is_of_group, sim.moment());
        client.back_off().await;
        let read = read_group(sim, client, group).await;
        assert_eq!(read, Ok(true), "{group}: its coordinator is calm");
    }
    picture
}

async fn check_group(
    sim: &Sim,
    client: &mut Client,
    group: &str,
    members: &[Rc<Handle>],
    picture: &mut Picture,
) {
    let there = topics(client).await.expect("a calm broker");
    let mut missing = BTreeSet::new();
    for (topic, (_, count)) in &there {
        let is_wanted = members.iter().any(|it| it.character.wanted.matches(topic));
        let count = if is_wanted { *count } else { 0 };
        missing.extend((0..count).map(|index| (group.to_owned(), topic.clone(), index)));
    }
    for member in members {
        assert!(
            !member.has_ended.get(),
            "{group}: {} has ended",
            member.process
        );
        let place = member.place.borrow().clone();
        let Some((id, generation)) = place else {
            panic!("{group}: {} knows no assignment", member.process);
        };
        picture.insert(member.process, (id, generation, Vec::new()));
    }
    for (place, process) in sim.holders.borrow().of_group(group) {
        let member = members.iter().find(|it| it.process == process);
        let member = member.unwrap_or_else(|| panic!("{place:?}: {process} is gone"));
        assert!(
            missing.remove(place),
            "{place:?}: {process} holds it as well, or needlessly"
        );
        assert!(
            member.character.wanted.matches(&place.1),
            "{place:?}: unwanted by {process}"
        );
        let (_, _, held) = picture.get_mut(&process).expect("just put in");
        held.push(place.clone());
    }
    assert!(missing.is_empty(), "nobody holds {missing:?}");
    let ids = members
        .iter()
        .map(|it| picture[&it.process].0.clone())
        .collect();
    let is_new = |it: &Rc<Handle>| matches!(it.character.protocol, Protocol::Consumer(_));
    let described = match members.iter().any(is_new) {
        true => describe(client, group, ids).await,
        false => describe_classic(client, group, ids).await,
    };
    described.expect("a calm broker");
}

async fn describe(client: &mut Client, group: &str, ids: BTreeSet<String>) -> Result<(), Lost> {
    let request =
        |_| ConsumerGroupDescribeRequest::default().with_group_ids(vec![GroupId(text(group))]);
    let reply = client.ask(0..=1, request).await?;
    let described = &reply.groups[0];
    assert_eq!(described.error_code, 0, "{group}: {described:?}");
    assert_eq!(
        described.group_state.as_str(),
        "Stable",
        "{group}: {described:?}"
    );
    let known = described.members.iter().map(|it| it.member_id.to_string());
    assert_eq!(known.collect::<BTreeSet<_>>(), ids, "{group}: its members");
    Ok(())
}

async fn describe_classic(
    client: &mut Client,
    group: &str,
    ids: BTreeSet<String>,
) -> Result<(), Lost> {
    let request = |_| DescribeGroupsRequest::default().with_groups(vec![GroupId(text(group))]);
    let reply = client.ask(0..=6, request).await?;
    let described = &reply.groups[0];
    match described.error_code.err() {
        None => {}
        // A group without members may be of the new protocol, or gone.
        Some(ResponseError::GroupIdNotFound) if ids.is_empty() => return Ok(()),
        Some(error) => panic!("{group}: {error:?}"),
    }
    let state = described.group_state.as_str();
    match ids.is_empty() {
        true => assert!(matches!(state, "Empty" | "Dead"), "{group}: {described:?}"),
        false => assert_eq!(state, "Stable", "{group}: {described:?}"),
    }
    let known = described.members.iter().map(|it| it.member_id.to_string());
    assert_eq!(known.collect::<BTreeSet<_>>(), ids, "{group}: its members");
    Ok(())
}
