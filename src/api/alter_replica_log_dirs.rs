//! AlterReplicaLogDirs: moves partitions to other data folders. The answer says that a move will
//! come to its turn, also after a restart; DescribeLogDirs tells how far it is.

use std::collections::BTreeMap;
use std::rc::Rc;

use corelog_shards::shard::{FolderFacts, MoveError};
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::alter_replica_log_dirs_response::{
    AlterReplicaLogDirPartitionResult, AlterReplicaLogDirTopicResult,
};
use kafka_protocol::messages::{
    AlterReplicaLogDirsRequest, AlterReplicaLogDirsResponse, TopicName,
};
use uuid::Uuid;

use super::owners::{Question, ask_owners, partition_key};
use super::{Context, Failure, Request, errors};
use crate::broker::Broker;
use crate::protocol::reply::Reply;
use crate::turns::Turns;

/// The longest name of a file.
const NAME_BYTES_MAX: usize = 255;

/// Where each partition is to go: a path, by topic and partition.
type Wanted<'a> = BTreeMap<&'a TopicName, BTreeMap<i32, &'a str>>;

pub async fn handle(context: Rc<Context>, request: Request) -> Result<Reply, Failure> {
    let asked: AlterReplicaLogDirsRequest = request.decode()?;
    let broker = &context.broker;
    let shard = &broker.shard;
    let mut turns = Turns::on(shard.io());
    let wanted = wanted(&asked, &mut turns).await;
    let folders = Folders::of(broker);
    let mut questions = Vec::new();
    let mut results: Vec<AlterReplicaLogDirTopicResult> = Vec::with_capacity(wanted.len());
    for (topic, partitions) in &wanted {
        let mut of_topic = Vec::with_capacity(partitions.len());
        for (index, path) in partitions {
            let untouched =
                AlterReplicaLogDirPartitionResult::default().with_partition_index(*index);
            let place = (results.len(), of_topic.len());
            let destination = match has_room_for_suffix(topic, *index) {
                true => folders.destination(path),
                false => Err(ResponseError::InvalidTopicException),
            };
            let key = partition_key(&broker.image(), topic, *index);
            of_topic.push(match (destination, key) {
                (Ok(asked), Ok(key)) => {
                    questions.push(Question { place, key, asked });
                    untouched
                }
                (Ok(folder), Err(error)) => {
                    broker.prefer_folder(topic, *index, folder).await;
                    untouched.with_error_code(error.code())
                }
                (Err(error), _) => untouched.with_error_code(error.code()),
            });
            turns.step().await;
        }
        results.push(
            AlterReplicaLogDirTopicResult::default()
                .with_topic_name((*topic).clone())
                .with_partitions(of_topic),
        );
    }
    let answers = ask_owners(shard, questions, |shard, key, folder| async move {
        shard.move_partition(&key, folder)?;
        shard.moves_announced().await;
        Ok::<(), MoveError>(())
    });
    for ((topic, partition), moved) in answers.await {
        let error = moved.err().map(errors::of_move);
        results[topic].partitions[partition].error_code = errors::code(error);
        turns.step().await;
    }
    let response = AlterReplicaLogDirsResponse::default().with_results(results);
    Ok(Reply::encode(&request.header, &response)?)
}

/// Of a partition that is named several times the last place counts, as in Kafka.
async fn wanted<'a>(asked: &'a AlterReplicaLogDirsRequest, turns: &mut Turns<'_>) -> Wanted<'a> {
    let mut wanted = Wanted::new();
    for folder in &asked.dirs {
        for topic in &folder.topics {
            let partitions = wanted.entry(&topic.name).or_default();
            for index in &topic.partitions {
                partitions.insert(*index, &*folder.path);
                turns.step().await;
            }
        }
    }
    wanted
}

/// Whether a folder can have the name of a partition that is under way: that of Kafka,
/// `TOPIC-PARTITION.ID-future`.
fn has_room_for_suffix(topic: &TopicName, index: i32) -> bool {
    const ID_CHARS: usize = 32;
    let name = format!("{}-{index}.-future", topic.as_str());
    name.len() + ID_CHARS <= NAME_BYTES_MAX
}

/// The folders that partitions may be moved to.
struct Folders {
    all: Vec<FolderFacts>,
    cordoned: Vec<Uuid>,
}

impl Folders {
    fn of(broker: &Broker) -> Folders {
        Folders {
            all: broker.partition_folders(),
            cordoned: broker.cordoned_folders(),
        }
    }

    fn destination(&self, path: &str) -> Result<Uuid, ResponseError> {
        let mut folders = self.all.iter();
        let named = folders.find(|folder| folder.path.to_str() == Some(path));
        let folder = named.ok_or(ResponseError::LogDirNotFound)?;
        if folder.is_offline {
            return Err(ResponseError::KafkaStorageError);
        }
        match self.cordoned.contains(&folder.id) {
            true => Err(ResponseError::InvalidReplicaAssignment),
            false => Ok(folder.id),
        }
    }
}
