//! Scraping: what to scrape (`prometheus.yml`), where (discovery, relabeling), and when.

mod collection;
mod config;
mod manager;
mod md5;
mod relabel;
mod round;
mod target;

pub use collection::{CollectionCounts, CollectionLog};
pub use config::{
    FileDiscovery, PrometheusConfig, ScrapeConfigError, ScrapeJob, Secret, TargetGroup,
    expand_glob, read_target_groups,
};
pub use manager::{ScrapeManager, ScrapeSettings};
pub use relabel::{Action, RelabelRule, relabel};
pub use target::{Health, Target, TargetStatus};
