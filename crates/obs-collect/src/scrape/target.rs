use obs_types::{LabelSet, TimestampMs};

use super::config::ScrapeJob;
use super::relabel::relabel;

/// One place to scrape, after relabeling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Labels that every sample gets: `job`, `instance` and the discovered ones.
    pub labels: LabelSet,
    /// As discovered, with `__address__` and the other meta labels.
    pub discovered: LabelSet,
    pub url: String,
}

/// How the last scrape went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Health {
    #[default]
    Unknown,
    Up,
    Down,
}

impl Health {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Up => "up",
            Self::Down => "down",
        }
    }
}

/// A target and its last scrape.
#[derive(Clone, Debug)]
pub struct TargetStatus {
    pub job: String,
    pub target: Target,
    pub health: Health,
    pub last_error: String,
    pub last_scrape: Option<TimestampMs>,
    pub last_duration_ms: f64,
    pub interval_ms: i64,
    pub timeout_ms: i64,
}

/// Why an address gives no target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Skip {
    /// Relabeling dropped it.
    Dropped,
    Invalid(String),
}

/// The target for one address of a job, as Prometheus' scrape package populates labels.
pub(crate) fn populate(
    job: &ScrapeJob,
    address: &str,
    group: &LabelSet,
    external: &LabelSet,
) -> Result<Target, Skip> {
    let mut discovered = group.to_builder();
    discovered.set("__address__", address);
    for (name, value) in [
        ("job", job.name.clone()),
        ("__scheme__", job.scheme.clone()),
        ("__metrics_path__", job.metrics_path.clone()),
        ("__scrape_interval__", format!("{}ms", job.interval.as_millis())),
        ("__scrape_timeout__", format!("{}ms", job.timeout.as_millis())),
    ] {
        if group.get(name).is_none() {
            discovered.set(name, value);
        }
    }
    for (name, value) in &job.params {
        discovered.set(format!("__param_{name}"), value);
    }
    let discovered = discovered.build();
    let labels = relabel(&discovered, &job.relabel).ok_or(Skip::Dropped)?;
    let address = labels.get("__address__").unwrap_or("");
    if address.is_empty() || address.contains('/') {
        return Err(Skip::Invalid(format!("{address:?} is not a valid host:port")));
    }
    let scheme = labels.get("__scheme__").unwrap_or("http");
    let path = labels.get("__metrics_path__").unwrap_or("/metrics");
    let mut url =
        format!("{scheme}://{address}{}{path}", if path.starts_with('/') { "" } else { "/" });
    let mut params: Vec<(String, String)> = labels
        .iter()
        .filter_map(|(n, v)| Some((n.strip_prefix("__param_")?.to_owned(), v.to_owned())))
        .collect();
    // Further values of a repeated parameter cannot be labels; they come from the job.
    for (name, value) in &job.params {
        if !params.contains(&(name.clone(), value.clone())) {
            params.push((name.clone(), value.clone()));
        }
    }
    for (i, (name, value)) in params.iter().enumerate() {
        url.push(if i == 0 { '?' } else { '&' });
        url.push_str(&percent(name));
        url.push('=');
        url.push_str(&percent(value));
    }
    let mut public = obs_types::LabelSetBuilder::new();
    for (name, value) in labels.iter().filter(|(n, _)| !n.starts_with("__")) {
        public.set(name, value);
    }
    if labels.get("instance").is_none() {
        public.set("instance", address);
    }
    for (name, value) in external.iter() {
        if public.get(name).is_none() {
            public.set(name, value);
        }
    }
    Ok(Target { labels: public.build(), discovered, url })
}

fn percent(text: &str) -> String {
    let mut out = String::new();
    for b in text.bytes() {
        if b.is_ascii_alphanumeric() || b"-_.~".contains(&b) {
            out.push(b as char);
        } else {
            out.push_str(&format!("%{b:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::config::testing::job;
    use super::*;

    #[test]
    fn labels_and_url() {
        let j = job(
            "  params: {module: [http_2xx]}\n  relabel_configs:\n  - {source_labels: [__address__], target_label: __param_target}\n  - {target_label: __address__, replacement: '127.0.0.1:9115'}\n",
        );
        let t =
            populate(&j, "example:80", &LabelSet::from_pairs([("node", "b")]), &LabelSet::empty())
                .unwrap();
        assert_eq!(t.url, "http://127.0.0.1:9115/metrics?module=http_2xx&target=example%3A80");
        assert_eq!(t.labels.to_string(), r#"{instance="127.0.0.1:9115", job="a", node="b"}"#);
    }

    #[test]
    fn dropped_and_invalid() {
        let j = job(
            "  relabel_configs:\n  - {source_labels: [__address__], regex: 'x:.*', action: drop}\n",
        );
        let none = LabelSet::empty();
        assert_eq!(populate(&j, "x:1", &none, &none), Err(Skip::Dropped));
        assert!(populate(&j, "y:1", &none, &none).is_ok());
    }
}
