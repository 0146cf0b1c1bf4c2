//! The broker as a shard's request handlers see it: one instance on each shard, no locks.

use std::cell::{Ref, RefCell};

use crate::api::api_versions::FeatureLevels;

/// What handlers may use. Lives on one shard; what others change arrives as a message and is
/// swapped in whole.
pub struct Broker {
    features: RefCell<FeatureLevels>,
}

impl Broker {
    pub fn new(features: FeatureLevels) -> Self {
        Self {
            features: RefCell::new(features),
        }
    }

    pub fn features(&self) -> Ref<'_, FeatureLevels> {
        self.features.borrow()
    }

    /// The cluster has agreed on other levels.
    pub fn set_features(&self, features: FeatureLevels) {
        self.features.replace(features);
    }
}
