use super::*;

fn none() -> std::iter::Empty<(Uuid, i32)> {
    std::iter::empty()
}

#[test]
fn anybody_may_commit_while_there_are_no_members() {
    let mut world = World::new();
    assert_eq!(world.group.check_commit("", -1, 8, none()), Ok(()));
    let unknown = Err(ResponseError::UnknownMemberId);
    assert_eq!(world.group.check_commit("one", 0, 9, none()), unknown);
    world.beat(Ask::join("one").names(&["a"]));
    assert_eq!(world.group.check_commit("", -1, 9, none()), unknown);
}

#[test]
fn a_member_commits_with_its_epoch() {
    let mut world = World::new();
    world.beat(Ask::join("one").names(&["a"]));
    let check = |epoch, version| world.group.check_commit("one", epoch, version, none());
    assert_eq!(check(2, 9), Ok(()));
    assert_eq!(check(3, 9), Err(ResponseError::StaleMemberEpoch));
    assert_eq!(check(2, 8), Err(ResponseError::UnsupportedVersion));
}

/// The member does not know of its new epoch yet.
#[test]
fn an_old_epoch_will_do_for_partitions_that_the_member_had_then() {
    let mut world = World::new();
    let (a, b) = (world.topic("a"), world.topic("b"));
    world.beat(Ask::join("one").names(&["a"]));
    world.beat(Ask::of("one", 2).names(&["a", "b"]));
    assert_eq!(world.member("one").epoch, 3);
    let check = |epoch, topic, partition| {
        world
            .group
            .check_commit("one", epoch, 9, [(topic, partition)].into_iter())
    };
    let stale = Err(ResponseError::StaleMemberEpoch);
    assert_eq!(check(2, a, 0), Ok(()));
    assert_eq!(check(1, a, 0), stale);
    assert_eq!(check(2, b, 0), stale, "it got this one later");
    assert_eq!(check(2, a, 9), stale, "it never had this one");
    assert_eq!(check(3, a, 9), Ok(()));
}

#[test]
fn what_is_being_given_up_may_be_committed() {
    let mut world = World::new();
    let a = world.topic("a");
    world.beat(Ask::join("one").names(&["a"]));
    world.beat(Ask::join("two").names(&["a"]));
    world.beat(Ask::of("one", 2));
    let given_up = *world.member("one").revoking[&a].keys().next().unwrap();
    assert_eq!(
        world
            .group
            .check_commit("one", 2, 9, [(a, given_up)].into_iter()),
        Ok(())
    );
}

#[test]
fn offsets_are_read_by_members_with_their_epoch_and_by_who_claims_nothing() {
    let mut world = World::new();
    world.beat(Ask::join("one").names(&["a"]));
    let check = |member, epoch| world.group.check_fetch(member, epoch);
    assert_eq!(check(None, -1), Ok(()));
    assert_eq!(check(None, 0), Err(ResponseError::UnknownMemberId));
    assert_eq!(check(Some("one"), 2), Ok(()));
    assert_eq!(check(Some("one"), 1), Err(ResponseError::StaleMemberEpoch));
    assert_eq!(check(Some("two"), 2), Err(ResponseError::UnknownMemberId));
}
