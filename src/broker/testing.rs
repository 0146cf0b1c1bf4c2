//! A broker of one shard for tests of what uses one.

use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use corelog_shards::io::Io;
use corelog_shards::mesh::lanes;
use corelog_shards::route::Route;
use corelog_shards::shard::{RotPolicy, ShardConfig, open};
use uuid::Uuid;

use super::{Broker, Node};
use crate::config::{BrokerConfig, Layers, Overrides};

/// Without a controller, with empty metadata, over an empty folder.
pub(crate) async fn broker(io: &Io, folder: &Path) -> Rc<Broker> {
    let file = Overrides::new();
    let config = BrokerConfig::resolve(Layers::of_file(&file)).expect("the defaults are sound");
    let shard_config = ShardConfig {
        log_dir: folder.to_owned(),
        journal_bytes: 8 << 20,
        tail_cache_bytes: 1 << 20,
        open_files_max: 16,
        memory_flush: Duration::from_millis(10),
        retention_check: Duration::from_secs(300),
        producer_expiration_ms: 86_400_000,
        on_rot: RotPolicy::Refuse,
    };
    let ends = lanes(1).pop().expect("one shard");
    let opened = open(io.clone(), 0, Route::new(1), shard_config, ends).await;
    let shard = opened.unwrap_or_else(|error| panic!("{error}")).shard;
    let node = Node {
        cluster_id: "test".to_owned(),
        directory_id: Uuid::from_u128(2),
        file,
        advertised: Vec::new(),
    };
    let broker = Broker::new(shard.clone(), node, config);
    shard.set_resident(broker.clone());
    broker
}
