//! Scraping: what to scrape (`prometheus.yml`), where (discovery, relabeling), and when.

mod collection;
mod config;
mod discovery;
mod histograms;
mod http;
mod manager;
mod md5;
mod oauth2;
mod protocol;
mod relabel;
mod round;
mod target;

pub use collection::{CollectionCounts, CollectionLog};
pub use config::{
    Discovery, DnsDiscovery, DnsKind, FileDiscovery, HttpDiscovery, HttpSettings,
    KubernetesDiscovery, KubernetesRole, KubernetesSelector, OAuth2Settings, PrometheusConfig,
    ProxySettings, ScrapeConfigError, ScrapeFormats, ScrapeJob, ScrapeLimits, Secret, TargetGroup,
    TlsSettings, TlsVersion, expand_glob, read_target_groups,
};
pub use manager::{ScrapeManager, ScrapeSettings};
pub use protocol::{Escaping, ScrapeProtocol};
pub use relabel::{Action, RelabelRule, RelabelStep, relabel, relabel_steps};
pub use target::{DroppedTarget, Health, Target, TargetStatus};

#[cfg(test)]
mod tests;
