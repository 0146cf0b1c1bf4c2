use kafka_protocol::messages::describe_topic_partitions_request as wire;

use super::*;
use crate::api::testing::image_of;
use crate::cluster::image::Image;

fn ask(image: &Image, names: &[&str], limit: i32, from: Option<(&str, i32)>) -> Page {
    let topics = names
        .iter()
        .map(|name| wire::TopicRequest::default().with_name(topic_name(name)));
    let cursor = from.map(|(topic, partition)| {
        wire::Cursor::default()
            .with_topic_name(topic_name(topic))
            .with_partition_index(partition)
    });
    let asked = DescribeTopicPartitionsRequest::default()
        .with_topics(topics.collect())
        .with_response_partition_limit(limit)
        .with_cursor(cursor);
    let view = View {
        image,
        listener: "PLAINTEXT",
    };
    let response = answer(view, &asked, 100)?;
    let topics = response.topics.iter().map(|topic| {
        let name = topic
            .name
            .as_ref()
            .map_or(String::new(), |name| name.to_string());
        let ids = topic
            .partitions
            .iter()
            .map(|partition| partition.partition_index);
        (name, topic.error_code, ids.collect())
    });
    let next = response
        .next_cursor
        .as_ref()
        .map(|cursor| (cursor.topic_name.to_string(), cursor.partition_index));
    Ok((topics.collect(), next))
}

type Page = Result<(Vec<(String, i16, Vec<i32>)>, Option<(String, i32)>), ResponseError>;

fn page(topics: &[(&str, i16, &[i32])], next: Option<(&str, i32)>) -> Page {
    let topics = topics
        .iter()
        .map(|(name, code, ids)| ((*name).to_owned(), *code, ids.to_vec()));
    Ok((
        topics.collect(),
        next.map(|(name, at)| (name.to_owned(), at)),
    ))
}

#[test]
fn pages_follow_each_other_through_all_topics() {
    let image = image_of(&[("b", 3), ("a", 2)], &[]);
    let first = page(&[("a", 0, &[0, 1]), ("b", 0, &[0])], Some(("b", 1)));
    assert_eq!(ask(&image, &[], 3, None), first);
    let second = page(&[("b", 0, &[1, 2])], None);
    assert_eq!(ask(&image, &[], 3, Some(("b", 1))), second);
    // A full page ends before the next topic.
    let full = page(&[("a", 0, &[0, 1])], Some(("b", 0)));
    assert_eq!(ask(&image, &[], 2, None), full);
    // At least one partition goes out.
    let one = page(&[("a", 0, &[0])], Some(("a", 1)));
    assert_eq!(ask(&image, &[], 0, None), one);
    // A topic that is gone by now.
    assert_eq!(
        ask(&image, &[], 9, Some(("aa", 7))),
        page(&[("b", 0, &[0, 1, 2])], None)
    );
}

#[test]
fn named_topics_come_sorted_once_and_with_errors() {
    let image = image_of(&[("b", 1)], &[]);
    let named = ask(&image, &["c", "b", "c", "!"], 9, None);
    assert_eq!(
        named,
        page(&[("!", 17, &[]), ("b", 0, &[0]), ("c", 3, &[])], None)
    );
}

#[test]
fn cursors_that_fit_nothing_are_refused() {
    let image = image_of(&[("b", 1)], &[]);
    let invalid = Err(ResponseError::InvalidRequest);
    assert_eq!(ask(&image, &["b"], 9, Some(("a", 0))), invalid);
    assert_eq!(ask(&image, &[], 9, Some(("a", -1))), invalid);
}
