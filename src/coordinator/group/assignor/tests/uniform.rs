use super::*;

#[test]
fn a_member_that_joins_takes_only_what_balance_needs() {
    let mut group = Group::with_topics([6, 3]);
    group.join("b", [1, 2]);
    group.join("c", [1, 2]);
    group.assign(&Uniform);
    let before = group.targets();
    group.join("a", [1, 2]);
    group.assign(&Uniform);
    assert_eq!(group.loads(), [3, 3, 3]);
    assert_eq!(moved(&before, &group.targets()), 3);
}

#[test]
fn the_partitions_of_a_member_that_leaves_are_shared_out_and_no_others_move() {
    let mut group = Group::with_topics([7, 5]);
    for member in ["a", "b", "c", "d"] {
        group.join(member, [1, 2]);
    }
    group.assign(&Uniform);
    let before = group.targets();
    group.members.remove("b");
    group.assign(&Uniform);
    assert_eq!(group.loads(), [4, 4, 4]);
    assert_eq!(moved(&before, &group.targets()), 0);
}

#[test]
fn partitions_that_are_added_go_to_those_with_least() {
    let mut group = Group::with_topics([4]);
    for member in ["a", "b", "c"] {
        group.join(member, [1]);
    }
    group.assign(&Uniform);
    let before = group.targets();
    group.topics.insert(id(1), 6);
    group.assign(&Uniform);
    assert_eq!(group.loads(), [2, 2, 2]);
    assert_eq!(moved(&before, &group.targets()), 0);
}

/// A member that has one more than others goes on having it, although others come before it.
#[test]
fn the_extra_partition_stays_where_it_is() {
    let mut group = Group::with_topics([4]);
    group.join("a", [1]).target = partitions([(1, &[0])]);
    group.join("b", [1]).target = partitions([(1, &[1])]);
    group.join("c", [1]).target = partitions([(1, &[2, 3])]);
    let before = group.targets();
    group.assign(&Uniform);
    assert_eq!(group.targets(), before);
}

#[test]
fn what_a_member_no_longer_subscribes_to_goes_to_others() {
    let mut group = Group::with_topics([4, 4]);
    group.join("a", [1, 2]);
    group.join("b", [1, 2]);
    group.assign(&Uniform);
    group.join("a", [1]);
    group.assign(&Uniform);
    assert_eq!(group.loads(), [4, 4]);
    assert_eq!(group.members["b"].target, partitions([(2, &[0, 1, 2, 3])]));
}

#[test]
fn subscribers_of_many_topics_leave_small_ones_to_others() {
    let mut group = Group::with_topics([6, 2, 2]);
    group.join("a", [1, 2, 3]);
    group.join("b", [1]);
    group.join("c", [2]);
    group.assign(&Uniform);
    assert_eq!(group.loads(), [4, 4, 2]);
}

#[test]
fn unequal_subscriptions_move_only_what_balance_needs() {
    let mut group = Group::with_topics([9, 3]);
    group.join("a", [1, 2]);
    group.join("b", [1]);
    group.assign(&Uniform);
    assert_eq!(group.loads(), [6, 6]);
    let before = group.targets();
    group.join("c", [1]);
    group.assign(&Uniform);
    assert_eq!(group.loads(), [4, 4, 4]);
    assert_eq!(moved(&before, &group.targets()), 4);
}
