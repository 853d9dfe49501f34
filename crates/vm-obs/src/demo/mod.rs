//! The demo world.

use std::sync::Arc;

use obs_disk::Clock;
use serde_json::Value;

pub(crate) struct DemoSettings {
    pub clock: Arc<dyn Clock>,
    pub otlp_http: String,
    pub loki: String,
    pub seed: u64,
}

pub(crate) struct World;

impl World {
    pub(crate) async fn start(settings: DemoSettings) -> anyhow::Result<Arc<Self>> {
        let _ = (settings.clock, settings.otlp_http, settings.loki, settings.seed);
        anyhow::bail!("the demo world is not part of this build")
    }
    pub(crate) fn scrape_config_yaml(&self) -> String {
        String::new()
    }
    pub(crate) fn shutdown(&self) {}
}

impl obs_api::DemoControl for World {
    fn faults(&self) -> Vec<Value> {
        Vec::new()
    }
    fn break_fault(&self, _name: &str) -> bool {
        false
    }
    fn heal(&self) {}
}
