//! `dns_sd_configs` with the system's resolver, which knows addresses only.

use obs_types::LabelSet;

use crate::scrape::config::{DnsDiscovery, DnsKind, TargetGroup};

/// One group for each name. A name that does not resolve fails the whole answer.
pub(super) async fn resolve(source: &DnsDiscovery) -> Result<Vec<TargetGroup>, String> {
    let mut groups = Vec::new();
    for name in &source.names {
        let found = tokio::net::lookup_host((name.as_str(), source.port))
            .await
            .map_err(|e| format!("{name}: {e}"))?;
        let wanted = found.filter(|a| match source.kind {
            DnsKind::A => a.is_ipv4(),
            DnsKind::Aaaa => a.is_ipv6(),
        });
        let mut targets: Vec<String> = wanted.map(|a| a.to_string()).collect();
        targets.sort();
        targets.dedup();
        let labels = LabelSet::from_pairs([("__meta_dns_name", name.as_str())]);
        groups.push(TargetGroup { targets, labels });
    }
    Ok(groups)
}
