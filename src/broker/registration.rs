//! What this node says of itself when it comes into the cluster.

use uuid::Uuid;

use super::Broker;
use crate::cluster::controller::NodeStart;
use crate::cluster::image::Image;
use crate::cluster::records;
use crate::config::Endpoint;

impl Broker {
    /// For the start of this process, by what the metadata says so far. This broker need not have taken
    /// it over: the settings that it has stored for the broker count from the registration on.
    pub fn registration(&self, image: &Image, bump_leader_epochs: bool) -> NodeStart {
        let config = self.config();
        let io = self.shard.io();
        let folders = self.partition_folders().into_iter();
        let online = folders.filter(|folder| !folder.is_offline);
        NodeStart {
            node_id: config.node.node_id,
            incarnation_id: Uuid::from_u64_pair(io.random_u64(), io.random_u64()),
            endpoints: self.node.advertised.iter().map(endpoint).collect(),
            controller_endpoints: config.listeners.controllers.iter().map(endpoint).collect(),
            rack: config.node.rack.clone(),
            log_dirs: online.map(|folder| folder.id).collect(),
            cordoned_log_dirs: match self.config_by(image) {
                Ok(stored) => self.folders_at(&stored.storage.cordoned_log_dirs),
                Err(_) => self.cordoned_folders(),
            },
            bump_leader_epochs,
        }
    }
}

fn endpoint(endpoint: &Endpoint) -> records::Endpoint {
    records::Endpoint {
        name: endpoint.listener.clone(),
        host: endpoint.host.clone(),
        port: endpoint.port,
        security_protocol: 0,
    }
}
