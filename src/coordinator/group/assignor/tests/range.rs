use super::*;

#[test]
fn neighbouring_partitions_go_to_members_in_turn() {
    let mut group = Group::with_topics([7, 2]);
    for member in ["c", "a", "b"] {
        group.join(member, [1, 2]);
    }
    group.assign(&Range);
    let a = partitions([(1, &[0, 1, 2]), (2, &[0])]);
    let b = partitions([(1, &[3, 4]), (2, &[1])]);
    let c = partitions([(1, &[5, 6])]);
    assert!(group.targets().into_values().eq([a, b, c]));
}

#[test]
fn only_its_subscribers_divide_a_topic() {
    let mut group = Group::with_topics([3, 4]);
    group.join("a", [1]);
    group.join("b", [1, 2]);
    group.join("c", [2]);
    group.assign(&Range);
    let a = partitions([(1, &[0, 1])]);
    let b = partitions([(1, &[2]), (2, &[0, 1])]);
    let c = partitions([(2, &[2, 3])]);
    assert!(group.targets().into_values().eq([a, b, c]));
}

#[test]
fn the_same_partitions_of_all_topics_go_to_one_member() {
    let mut group = Group::with_topics([11; 4]);
    for member in ["a", "b", "c", "d"] {
        group.join(member, 1..=4);
    }
    group.assign(&Range);
    for member in group.members.values() {
        let mut topics = member.target.values();
        let first = topics.next().expect("a share of each topic");
        assert_eq!(member.target.len(), 4);
        assert!(topics.all(|partitions| partitions == first));
    }
}

#[test]
fn static_members_keep_their_partitions_when_their_member_ids_change() {
    let mut group = Group::with_topics([5, 8]);
    let ids = [("m1", "i3"), ("m2", "i1"), ("m3", "i2")];
    for (member_id, instance_id) in ids {
        group.join(member_id, [1, 2]).instance_id = Some(instance_id.to_owned());
    }
    let by_instance = |group: &Group| -> BTreeMap<_, _> {
        let members = group.members.values();
        members
            .map(|m| (m.instance_id.clone(), m.target.clone()))
            .collect()
    };
    group.assign(&Range);
    let before = by_instance(&group);
    let first = &before[&Some("i1".to_owned())];
    assert_eq!(first, &partitions([(1, &[0, 1]), (2, &[0, 1, 2])]));

    for (from, to) in [("m1", "x"), ("m2", "z"), ("m3", "y")] {
        let member = group.members.remove(from).expect("a member");
        group.members.insert(to.to_owned(), member);
    }
    group.assign(&Range);
    assert_eq!(by_instance(&group), before);
}

#[test]
fn static_members_come_before_all_others() {
    let mut group = Group::with_topics([2]);
    group.join("a", [1]);
    group.join("b", [1]);
    group.join("c", [1]).instance_id = Some("z".to_owned());
    group.assign(&Range);
    assert_eq!(group.members["c"].target, partitions([(1, &[0])]));
    assert_eq!(group.loads(), [1, 0, 1]);
}

#[test]
fn instance_ids_are_in_the_order_of_utf_16() {
    // In UTF-16 the second one begins with a surrogate, which is the smaller number.
    let (private_use, supplementary) = ("\u{e000}", "\u{10000}");
    assert!(private_use < supplementary);
    let mut group = Group::with_topics([1]);
    group.join("a", [1]).instance_id = Some(private_use.to_owned());
    group.join("b", [1]).instance_id = Some(supplementary.to_owned());
    group.assign(&Range);
    assert_eq!(group.loads(), [0, 1]);
}
