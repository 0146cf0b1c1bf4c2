use super::*;

fn join(id: &str) -> Ask {
    Ask::join(id).names(&["a"]).instance("i")
}

fn away(id: &str) -> Ask {
    Ask::of(id, LEAVE_STATIC).instance("i")
}

#[test]
fn an_instance_that_comes_back_has_what_it_had_and_nothing_moves() {
    let mut world = World::new();
    world.beat(join("one"));
    world.beat(Ask::join("two").names(&["a"]));
    let kept = assigned(&world.beat(Ask::of("one", 2).instance("i"))).unwrap();
    world.beat(Ask::of("one", 2).instance("i").owns(&kept));
    world.beat(Ask::of("two", 3));

    let answer = world.beat(away("one"));
    assert_eq!(
        (answer.member_id.as_deref(), answer.member_epoch),
        (Some("one"), -2)
    );
    assert_eq!(world.group.durable.epoch, 3);
    assert_eq!(world.beat(Ask::of("two", 3)).assignment, None);
    let answer = world.beat(join("again"));
    assert_eq!((answer.member_epoch, assigned(&answer)), (3, Some(kept)));
    assert_eq!(world.group.durable.epoch, 3);
    assert_eq!(world.group.durable.members.len(), 2);
    assert_eq!(world.beat(Ask::of("two", 3)).assignment, None);
    assert_eq!(
        world.refused(Ask::of("one", 3).instance("i")),
        ResponseError::FencedInstanceId
    );
    // The session of the one that is gone is, too.
    for _ in 0..6 {
        world.pass(SECOND * 20);
        world.beat(Ask::of("again", 3).instance("i"));
        world.beat(Ask::of("two", 3));
    }
}

#[test]
fn coming_back_replaces_the_member_in_the_log() {
    let mut world = World::new();
    world.beat(join("one"));
    world.beat(away("one"));
    let Some(Record::ConsumerGroupCurrentMemberAssignment {
        value: Some(left), ..
    }) = world.log.last()
    else {
        panic!("the assignment is written");
    };
    assert_eq!(left.member_epoch, -2);
    assert_eq!(
        left.assigned_partitions[0].assignment_epochs,
        Some(vec![0; 4])
    );

    let written = world.log.len();
    world.beat(join("again"));
    let [
        Record::ConsumerGroupCurrentMemberAssignment {
            member: gone,
            value: None,
            ..
        },
        Record::ConsumerGroupTargetAssignmentMember { value: None, .. },
        Record::ConsumerGroupMemberMetadata { value: None, .. },
        Record::ConsumerGroupMemberMetadata {
            member: back,
            value: Some(_),
            ..
        },
        Record::ConsumerGroupTargetAssignmentMember { value: Some(_), .. },
        Record::ConsumerGroupCurrentMemberAssignment {
            value: Some(replaced),
            ..
        },
        Record::ConsumerGroupCurrentMemberAssignment {
            value: Some(current),
            ..
        },
    ] = &world.log[written..]
    else {
        panic!("other records: {:?}", &world.log[written..]);
    };
    assert_eq!((&**gone, &**back), ("one", "again"));
    assert_eq!((replaced.member_epoch, current.member_epoch), (0, 2));
}

#[test]
fn an_instance_that_is_in_use_cannot_be_taken() {
    let mut world = World::new();
    world.beat(join("one"));
    let refused = world.heartbeat(join("other")).unwrap_err();
    let text = "Static member other with instance id i cannot join the group because the instance id is owned by one \
                member.";
    assert_eq!(
        refused,
        (ResponseError::UnreleasedInstanceId, Some(text.to_owned()))
    );
    world.pass(SESSION);
    world.beat(join("other"));
}

#[test]
fn who_stays_away_too_long_is_gone() {
    let mut world = World::new();
    world.beat(join("one"));
    world.beat(Ask::join("two").names(&["a"]));
    world.pass(SECOND * 10);
    world.beat(away("one"));
    world.pass(SECOND * 30);
    world.beat(Ask::of("two", 3));
    assert_eq!(world.group.durable.members.len(), 2);
    world.pass(SECOND * 5);
    assert_eq!(world.group.durable.members.len(), 1);
    assert_eq!(
        assigned(&world.beat(Ask::of("two", 3))).unwrap()[0].1.len(),
        4
    );
}

#[test]
fn an_instance_must_be_known_and_be_the_one_it_says() {
    let mut world = World::new();
    world.beat(join("one"));
    let unknown = Ask::of("one", 2).instance("j");
    let text = "Instance id j is unknown.".to_owned();
    assert_eq!(
        world.heartbeat(unknown),
        Err((ResponseError::UnknownMemberId, Some(text)))
    );
    let text = "Static member other with instance id i was fenced by member one.".to_owned();
    let fenced = Err((ResponseError::FencedInstanceId, Some(text)));
    assert_eq!(world.heartbeat(Ask::of("other", 2).instance("i")), fenced);
    assert_eq!(world.heartbeat(away("other")), fenced);
    assert_eq!(world.heartbeat(Ask::leave("other").instance("i")), fenced);
    world.beat(Ask::leave("one").instance("i"));
    assert!(world.group.is_empty());
}

#[test]
fn one_who_was_giving_up_partitions_comes_back_without_them() {
    let mut world = World::new();
    world.beat(join("one"));
    world.beat(Ask::join("two").names(&["a"]));
    world.beat(Ask::of("one", 2).instance("i"));
    assert_eq!(world.member("one").state, MemberState::UnrevokedPartitions);
    world.beat(away("one"));
    assert_eq!(
        assigned(&world.beat(Ask::of("two", 3))).unwrap()[0].1.len(),
        2
    );
    let answer = world.beat(join("again"));
    assert_eq!(
        (answer.member_epoch, assigned(&answer).unwrap()[0].1.len()),
        (3, 2)
    );
    assert_eq!(world.group.state(), State::Stable);
}

#[test]
fn an_instance_may_come_back_with_another_subscription() {
    let mut world = World::new();
    world.beat(join("one").regex("a|b"));
    world.settle();
    world.beat(away("one"));
    let answer = world.beat(join("again").names(&["b"]).regex(""));
    let b = world.topic("b");
    assert_eq!(assigned(&answer), Some(vec![(b, vec![0, 1])]));
    assert!(world.group.durable.subscriptions.resolved.is_empty());
    assert_eq!(world.group.state(), State::Stable);
}

#[test]
fn it_may_come_back_under_its_own_id() {
    let mut world = World::new();
    let has = assigned(&world.beat(join("one")));
    world.beat(away("one"));
    assert_eq!(assigned(&world.beat(join("one"))), has);
    world.pass(SESSION - SECOND);
    assert_eq!(world.group.durable.members.len(), 1);
}
