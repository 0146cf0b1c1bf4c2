//! Where partitions are: each in one folder, whatever moves were begun.

use std::collections::BTreeMap;

use kafka_protocol::error::ParseResponseErrorCode;
use kafka_protocol::messages::DescribeLogDirsRequest;

use super::sim::Sim;
use crate::wire::{Client, Lost};

/// Asks for all partitions; copies that are being made aside, each is there once.
pub async fn check_folders(sim: &Sim, client: &mut Client) -> Result<(), Lost> {
    let request = |_| DescribeLogDirsRequest::default().with_topics(None);
    let reply = client.ask(1..=4, request).await?;
    let mut found: BTreeMap<(String, i32), usize> = BTreeMap::new();
    for folder in &reply.results {
        assert_eq!(folder.error_code.err(), None, "{:?}", folder.log_dir);
        for topic in &folder.topics {
            let name = topic.name.0.to_string();
            let partitions = topic.partitions.iter().filter(|it| !it.is_future_key);
            for partition in partitions {
                let place = (name.clone(), partition.partition_index);
                *found.entry(place).or_default() += 1;
            }
        }
    }
    let model = sim.model.borrow();
    for key in model.keys() {
        let name = model.plan.topics[model.partitions[&key].topic].name;
        let times = found.get(&(name.to_owned(), key.index)).copied();
        assert_eq!(times, Some(1), "{name}-{} is in so many folders", key.index);
    }
    Ok(())
}
