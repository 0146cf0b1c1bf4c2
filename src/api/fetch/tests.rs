use corelog_shards::log::batch::BatchBuilder;
use corelog_shards::log::batch::compress::Codec;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{ApiKey, ProduceRequest, TopicName, fetch_request as wire};
use kafka_protocol::protocol::StrBytes;

use super::*;
use crate::api::testing::{ask, image_of, on_a_broker, request};
use crate::api::wait::ReplyMemory;
use crate::api::{Answer, produce};

const BATCH_BYTES: usize = 100_000;

fn topic() -> TopicName {
    TopicName(StrBytes::from_static_str("t"))
}

async fn produce_batch(context: &Rc<Context>) {
    let mut batch = BatchBuilder::new(Codec::None).expect("a known codec");
    let value = vec![7; BATCH_BYTES];
    batch.append(-1, None, Some(&value)).expect("it has room");
    let data = PartitionProduceData::default()
        .with_index(0)
        .with_records(Some(batch.finish().expect("whole").into()));
    let topic = TopicProduceData::default()
        .with_name(topic())
        .with_partition_data(vec![data]);
    let body = ProduceRequest::default()
        .with_acks(-1)
        .with_timeout_ms(1_000)
        .with_topic_data(vec![topic]);
    let begun = produce::begin(Rc::clone(context), request((ApiKey::Produce, 9), &body)).await;
    let answer = begun.expect("it can be read").await;
    assert!(matches!(answer, Answer::Reply(..)));
}

async fn fetch(context: &Rc<Context>, max_wait_ms: i32) -> Reply {
    let partition = wire::FetchPartition::default()
        .with_partition(0)
        .with_fetch_offset(0)
        .with_partition_max_bytes(i32::MAX);
    let topic = wire::FetchTopic::default()
        .with_topic(topic())
        .with_partitions(vec![partition]);
    let body = kafka_protocol::messages::FetchRequest::default()
        .with_max_wait_ms(max_wait_ms)
        .with_min_bytes(1)
        .with_max_bytes(i32::MAX)
        .with_session_epoch(-1)
        .with_topics(vec![topic]);
    let handled = handle(Rc::clone(context), request((ApiKey::Fetch, 11), &body)).await;
    handled.expect("it can be answered")
}

#[test]
fn a_reply_is_as_large_as_memory_allows_and_holds_it() {
    let image = image_of(&[("t", 1)], &[]);
    on_a_broker(image, async move |context| {
        for _ in 0..30 {
            produce_batch(&context).await;
        }
        let memory = crate::budget::Budget::new(2 << 20);
        let mut held = Vec::new();
        for _ in 0..3 {
            let context = Rc::new(Context {
                broker: Rc::clone(&context.broker),
                listener: "PLAINTEXT".into(),
                peer: context.peer,
                wait: Wait::default(),
                reply_memory: ReplyMemory::new(memory.clone()),
            });
            let before = memory.used();
            let reply = fetch(&context, 0).await;
            assert!(reply.len() > BATCH_BYTES, "a batch at least");
            held.push(context.reply_memory.take().expect("it holds memory"));
            let records = memory.used() - before;
            assert!(records > BATCH_BYTES && records.abs_diff(reply.len()) < 1_000);
        }
        assert!(memory.used() <= 2 << 20);
        held.clear();
        assert_eq!(memory.used(), 0);
    });
}

/// The error of each partition of a fetch by ids, and the session's id.
async fn fetch_by_id(
    context: &Rc<Context>,
    (session_id, session_epoch): (i32, i32),
    ids: &[u128],
) -> (Vec<i16>, i32) {
    const VERSION: i16 = 13;
    let topic = |id: &u128| {
        let partition = wire::FetchPartition::default().with_partition_max_bytes(1_000);
        wire::FetchTopic::default()
            .with_topic_id(Uuid::from_u128(*id))
            .with_partitions(vec![partition])
    };
    let body = kafka_protocol::messages::FetchRequest::default()
        .with_max_wait_ms(60_000)
        .with_min_bytes(1)
        .with_max_bytes(1_000)
        .with_session_id(session_id)
        .with_session_epoch(session_epoch)
        .with_topics(ids.iter().map(topic).collect());
    let api = (ApiKey::Fetch, VERSION);
    let reply: kafka_protocol::messages::FetchResponse = ask(context, api, &body, handle).await;
    assert_eq!(reply.error_code, 0);
    let partitions = reply.responses.iter().flat_map(|topic| &topic.partitions);
    (
        partitions.map(|partition| partition.error_code).collect(),
        reply.session_id,
    )
}

#[test]
fn a_session_tells_a_topic_with_another_id_from_one_that_nobody_knows() {
    const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
    const UNKNOWN_TOPIC_ID: i16 = 100;
    const INCONSISTENT_TOPIC_ID: i16 = 103;
    let (other, old, unknown) = (1, 4, 77);
    let image = image_of(&[("a", 1), ("b", 1), ("c", 1), ("t", 1)], &[]);
    on_a_broker(image, async move |context| {
        let io = context.broker.shard.io().clone();
        let all = [other, old, unknown];
        let (codes, session) = fetch_by_id(&context, (0, 0), &all).await;
        assert_eq!(codes, [0, 0, UNKNOWN_TOPIC_ID]);

        // The name has another id now, which is told without waiting for records of the others.
        let made_again = image_of(&[("a", 1), ("t", 1)], &[]);
        context.broker.install(made_again).await;
        let begun = io.now();
        let (codes, _) = fetch_by_id(&context, (session, 1), &[]).await;
        assert_eq!(codes, [INCONSISTENT_TOPIC_ID, UNKNOWN_TOPIC_ID]);
        assert_eq!(io.now(), begun);
        let (codes, _) = fetch_by_id(&context, (0, -1), &[old]).await;
        assert_eq!(
            codes,
            [UNKNOWN_TOPIC_ID],
            "without a session nobody knows its name"
        );

        context.broker.install(image_of(&[("a", 1)], &[])).await;
        let (codes, _) = fetch_by_id(&context, (session, 2), &[]).await;
        assert_eq!(codes, [UNKNOWN_TOPIC_OR_PARTITION, UNKNOWN_TOPIC_ID]);
    });
}

#[test]
fn a_fetch_that_waits_ends_with_the_wait() {
    let image = image_of(&[("t", 1)], &[]);
    on_a_broker(image, async move |context| {
        let io = context.broker.shard.io().clone();
        let (ending, timer) = (Rc::clone(&context), io.clone());
        let begun = io.now();
        let fetching = Rc::clone(&context);
        // As a connection does: ends the wait and polls the handler again.
        let mut handler = pin!(fetch(&fetching, i32::MAX));
        let mut gone = pin!(timer.sleep(Duration::from_secs(3)));
        poll_fn(|cx| {
            if !ending.wait.is_over() && gone.as_mut().poll(cx).is_ready() {
                ending.wait.end();
            }
            handler.as_mut().poll(cx).map(drop)
        })
        .await;
        assert_eq!((io.now() - begun).as_secs(), 3);
        assert!(context.reply_memory.take().is_none(), "there was nothing");
    });
}

#[test]
fn a_fetch_that_waits_keeps_no_copy_of_the_metadata() {
    let image = image_of(&[("t", 1)], &[]);
    on_a_broker(image, async move |context| {
        let io = context.broker.shard.io().clone();
        let mut handler = pin!(fetch(&context, i32::MAX));
        let mut a_second = pin!(io.sleep(Duration::from_secs(1)));
        poll_fn(|cx| {
            assert!(handler.as_mut().poll(cx).is_pending());
            a_second.as_mut().poll(cx)
        })
        .await;
        let image = context.broker.image();
        // The broker's and this one.
        assert_eq!(Rc::strong_count(&image), 2);
    });
}

#[test]
fn an_isolation_level_that_is_none_is_refused() {
    const UNKNOWN_SERVER_ERROR: i16 = -1;
    on_a_broker(image_of(&[("t", 1)], &[]), async move |context| {
        for (level, code) in [(0, 0), (1, 0), (2, -1), (-1, UNKNOWN_SERVER_ERROR)] {
            let topic = wire::FetchTopic::default()
                .with_topic(topic())
                .with_partitions(vec![wire::FetchPartition::default()]);
            let body = kafka_protocol::messages::FetchRequest::default()
                .with_session_epoch(-1)
                .with_isolation_level(level)
                .with_topics(vec![topic]);
            let api = (ApiKey::Fetch, 12);
            let reply: kafka_protocol::messages::FetchResponse =
                ask(&context, api, &body, handle).await;
            let partition = &reply.responses[0].partitions[0];
            assert_eq!(
                (reply.error_code, partition.error_code),
                (code, code),
                "{level}"
            );
        }
    });
}

#[test]
fn errors_are_counted_whether_of_a_partition_or_of_the_whole() {
    let image = image_of(&[("t", 1)], &[]);
    on_a_broker(image, async move |context| {
        let counted = || -> Vec<_> { context.broker.metrics.fetch_errors.iter().collect() };
        let (_, session) = fetch_by_id(&context, (0, 0), &[1, 77]).await;
        let unknown_topic = (ResponseError::UnknownTopicId, 1);
        assert_eq!(counted(), [unknown_topic]);

        let body = kafka_protocol::messages::FetchRequest::default()
            .with_session_id(session + 1)
            .with_session_epoch(1);
        let api = (ApiKey::Fetch, 13);
        let reply: kafka_protocol::messages::FetchResponse =
            ask(&context, api, &body, handle).await;
        let unknown_session = ResponseError::FetchSessionIdNotFound;
        assert_eq!(reply.error_code, unknown_session.code());
        assert_eq!(counted(), [(unknown_session, 1), unknown_topic]);

        let body = body.with_session_id(0).with_isolation_level(9);
        let _: kafka_protocol::messages::FetchResponse = ask(&context, api, &body, handle).await;
        let unknown_isolation = (ResponseError::UnknownServerError, 1);
        assert_eq!(counted()[0], unknown_isolation);
    });
}
