use super::*;

#[test]
fn an_expression_is_resolved_after_the_heartbeat_that_brings_it() {
    let mut world = World::new();
    let answer = world.beat(Ask::join("one").regex("a|b"));
    assert_eq!((answer.member_epoch, assigned(&answer)), (1, Some(vec![])));
    assert!(!world.group.is_subscribed_to("a"));
    world.settle();
    assert!(world.group.is_subscribed_to("a"));
    let (a, b) = (world.topic("a"), world.topic("b"));
    let answer = world.beat(Ask::of("one", 1));
    assert_eq!(answer.member_epoch, 2);
    assert_eq!(
        assigned(&answer),
        Some(vec![(a, vec![0, 1, 2, 3]), (b, vec![0, 1])])
    );
    let resolved = &world.group.durable.subscriptions.resolved["a|b"];
    assert_eq!(resolved.version, world.metadata.image().last_offset);
    assert_eq!(resolved.resolved_at_ms, 1_001_000);
}

#[test]
fn a_bad_expression_is_refused() {
    let mut world = World::new();
    let refused = world.heartbeat(Ask::join("one").regex("(")).unwrap_err();
    let text = "SubscribedTopicRegex `(` is not a valid regular expression: unclosed group.";
    assert_eq!(
        refused,
        (
            ResponseError::InvalidRegularExpression,
            Some(text.to_owned())
        )
    );
    assert!(world.group.is_empty() && world.group.next_deadline().is_none());
}

#[test]
fn who_brings_an_expression_that_is_known_is_assigned_at_once() {
    let mut world = World::new();
    world.beat(Ask::join("one").regex("a"));
    world.settle();
    world.beat(Ask::of("one", 1));
    let answer = world.beat(Ask::join("two").regex("a"));
    assert_eq!(answer.member_epoch, 3);
    assert_eq!(world.target("two")[0].1.len(), 2);
}

#[test]
fn an_expression_is_forgotten_with_its_last_member_and_resolved_anew_for_the_next() {
    let mut world = World::new();
    world.beat(Ask::join("one").regex("a"));
    world.settle();
    world.beat(Ask::leave("one"));
    assert!(world.group.durable.subscriptions.resolved.is_empty());
    world.beat(Ask::join("two").regex("a"));
    world.settle();
    assert!(world.group.is_subscribed_to("a"));
}

#[test]
fn names_and_an_expression_add_up() {
    let mut world = World::new();
    world.beat(Ask::join("one").names(&["b"]).regex("a"));
    world.settle();
    let epoch = world.member("one").epoch;
    let answer = world.beat(Ask::of("one", epoch));
    assert_eq!(assigned(&answer).unwrap().len(), 2);
}

#[test]
fn new_topics_are_found_but_not_more_often_than_every_ten_seconds() {
    let mut world = World::new();
    world.beat(Ask::join("one").regex("x.*"));
    world.settle();
    world.create_topic("x1", 1);
    world.pass(SECOND * 10);
    world.beat(Ask::of("one", 1));
    world.settle();
    assert!(!world.group.is_subscribed_to("x1"));
    world.pass(Duration::from_millis(1));
    world.beat(Ask::of("one", 1));
    world.settle();
    assert!(world.group.is_subscribed_to("x1"));
    let answer = world.beat(Ask::of("one", 1));
    assert_eq!(assigned(&answer), Some(vec![(world.topic("x1"), vec![0])]));
}

#[test]
fn expressions_are_looked_at_again_after_the_refresh_interval() {
    let interval = [("group.consumer.regex.refresh.interval.ms", "600000")];
    let mut world = World::with(&interval);
    world.beat(Ask::join("one").regex("a"));
    world.settle();
    let resolved_at =
        |world: &World| world.group.durable.subscriptions.resolved["a"].resolved_at_ms;
    let first = resolved_at(&world);
    let mut epoch = 1;
    for _ in 0..20 {
        world.pass(SECOND * 30);
        epoch = world.beat(Ask::of("one", epoch)).member_epoch;
        world.settle();
    }
    assert_eq!(resolved_at(&world), first);
    world.pass(SECOND * 30);
    world.beat(Ask::of("one", epoch));
    world.settle();
    assert_eq!(resolved_at(&world), first + 630_000);
    assert_eq!(world.group.durable.epoch, epoch, "nothing else has changed");
}

#[test]
fn the_last_one_takes_its_expression_with_it() {
    let mut world = World::new();
    world.beat(Ask::join("one").regex("a"));
    world.settle();
    world.beat(Ask::join("two").regex("a"));
    world.beat(Ask::of("one", 1).regex("b"));
    assert!(world.group.durable.subscriptions.resolved.contains_key("a"));
    world.pass(SECOND * 11);
    let epoch = world.member("two").epoch;
    world.beat(Ask::of("two", epoch).regex("").names(&["b"]));
    assert!(!world.group.is_subscribed_to("a"));
    let tombstone = |record: &Record| {
        matches!(record, Record::ConsumerGroupRegularExpression { regular_expression, value: None, .. }
            if regular_expression == "a")
    };
    assert!(world.log.iter().any(tombstone));
}

#[test]
fn who_leaves_an_expression_gives_up_its_topics() {
    let mut world = World::new();
    world.beat(Ask::join("one").regex("a|b"));
    world.settle();
    let has = assigned(&world.beat(Ask::of("one", 1))).unwrap();
    let b = world.topic("b");
    let answer = world.beat(Ask::of("one", 2).regex("").names(&["b"]).owns(&has));
    assert_eq!(assigned(&answer), Some(vec![(b, vec![0, 1])]));
    let answer = world.beat(Ask::of("one", 2).owns(&[(b, vec![0, 1])]));
    assert_eq!(answer.member_epoch, 3);
    assert_eq!(world.group.state(), State::Stable);
}

#[test]
fn a_new_topic_is_found_while_many_are_being_matched() {
    let mut world = World::new();
    let name = |i: i32| format!("t{i:04}");
    let topics = (0..2000).map(|i| {
        let topic_id = Uuid::from_u128(50_000 + i as u128);
        TopicRecord {
            name: name(i),
            topic_id,
        }
        .into()
    });
    world.change_metadata(topics.collect());
    world.beat(Ask::join("one").regex("t.*"));
    for _ in 0..3 {
        world.run(|group, context, out| group.expire(context, out));
    }
    assert!(
        !world.group.is_subscribed_to(&name(0)),
        "it takes more steps than that"
    );
    world.delete_topic(&name(1999));
    world.create_topic("t", 1);
    world.settle();
    assert!(world.group.is_subscribed_to(&name(1998)));
    world.pass(SECOND * 11);
    world.beat(Ask::of("one", 1));
    world.settle();
    assert!(world.group.is_subscribed_to("t") && !world.group.is_subscribed_to(&name(1999)));
}

#[test]
fn an_expression_that_matches_more_than_a_record_holds_matches_nothing() {
    let mut world = World::new();
    world.record_bytes_max = 1000;
    let long = |i: i32| format!("{i:0>200}");
    (0..10).for_each(|i| world.create_topic(&long(i), 1));
    world.beat(Ask::join("one").regex("0.*"));
    world.settle();
    assert!(
        world.group.durable.subscriptions.resolved["0.*"]
            .topics
            .is_empty()
    );
    assert!(!world.group.is_subscribed_to(&long(0)));
}

#[test]
fn expressions_survive_a_restart() {
    let mut world = World::new();
    world.beat(Ask::join("one").regex("a"));
    world.settle();
    world.beat(Ask::of("one", 1));
    world.restart();
    assert!(world.group.is_subscribed_to("a"));
    world.beat(Ask::of("one", 2));
    assert_eq!(world.group.state(), State::Stable);
}
