use std::collections::BTreeMap;
use std::time::Duration;

use obs_types::{LabelSet, TimestampMs};

use super::config::{ScrapeJob, duration};
use super::relabel::relabel;

/// One place to scrape, after relabeling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Labels that every sample gets: `job`, `instance` and the discovered ones.
    pub labels: LabelSet,
    /// As discovered, with `__address__` and the other meta labels.
    pub discovered: LabelSet,
    pub url: String,
    /// The job's, unless relabeling set `__scrape_interval__` or `__scrape_timeout__`.
    pub interval: Duration,
    pub timeout: Duration,
}

/// A target that relabeling dropped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DroppedTarget {
    pub job: String,
    pub discovered: LabelSet,
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
    /// Relabeling dropped it; its labels as discovered.
    Dropped(LabelSet),
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
        ("__scrape_interval__", duration_text(job.interval)),
        ("__scrape_timeout__", duration_text(job.timeout)),
    ] {
        if group.get(name).is_none() {
            discovered.set(name, value);
        }
    }
    // A label holds one value: the first.
    for (name, value) in job.params.iter().rev() {
        discovered.set(format!("__param_{name}"), value);
    }
    let discovered = discovered.build();
    let Some(labels) = relabel(&discovered, &job.relabel) else {
        return Err(Skip::Dropped(discovered));
    };
    let time = |name: &str, default: Duration| match labels.get(name) {
        None => Ok(default),
        Some(text) => duration(name, text).map_err(Skip::Invalid),
    };
    let interval = time("__scrape_interval__", job.interval)?;
    let timeout = time("__scrape_timeout__", job.timeout)?;
    if interval.is_zero() || timeout.is_zero() || timeout > interval {
        let why = format!("scrape timeout {timeout:?} does not go with interval {interval:?}");
        return Err(Skip::Invalid(why));
    }
    let address = labels.get("__address__").unwrap_or("");
    if address.is_empty() || address.contains('/') {
        return Err(Skip::Invalid(format!("{address:?} is not a valid host:port")));
    }
    let scheme = labels.get("__scheme__").unwrap_or("http");
    let path = labels.get("__metrics_path__").unwrap_or("/metrics");
    let mut url =
        format!("{scheme}://{address}{}{path}", if path.starts_with('/') { "" } else { "/" });
    let mut params: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (name, value) in &job.params {
        params.entry(name).or_default().push(value);
    }
    // Relabeling decides the first value of each parameter; further ones come from the job.
    for (name, value) in labels.iter() {
        let Some(name) = name.strip_prefix("__param_") else { continue };
        match params.entry(name).or_default().first_mut() {
            Some(first) => *first = value,
            None => {
                params.insert(name, vec![value]);
            }
        }
    }
    let params = params.iter().flat_map(|(n, all)| all.iter().map(move |v| (n, v)));
    for (i, (name, value)) in params.enumerate() {
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
    Ok(Target { labels: public.build(), discovered, url, interval, timeout })
}

/// As Prometheus writes durations: `1h30m`, `15s`, `0s`.
pub(super) fn duration_text(d: Duration) -> String {
    let mut left = d.as_millis();
    let mut out = String::new();
    for (unit, ms) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)] {
        if left >= ms {
            out.push_str(&format!("{}{unit}", left / ms));
            left %= ms;
        }
    }
    if out.is_empty() { "0s".to_owned() } else { out }
}

pub(super) fn percent(text: &str) -> String {
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
        let dropped = populate(&j, "x:1", &none, &none).unwrap_err();
        assert!(matches!(dropped, Skip::Dropped(l) if l.get("__address__") == Some("x:1")));
        assert!(populate(&j, "y:1", &none, &none).is_ok());
    }

    #[test]
    fn relabeling_may_set_the_rhythm() {
        let none = LabelSet::empty();
        let rule = |value: &str| {
            job(&format!(
                "  scrape_interval: 90s\n  relabel_configs: [{{target_label: __scrape_interval__, replacement: {value}}}]\n"
            ))
        };
        let t = populate(&rule("30s"), "x:1", &none, &none).unwrap();
        assert_eq!((t.interval.as_secs(), t.timeout.as_secs()), (30, 10));
        assert_eq!(t.discovered.get("__scrape_interval__"), Some("1m30s"));
        for bad in ["5s", "soon"] {
            assert!(matches!(populate(&rule(bad), "x:1", &none, &none), Err(Skip::Invalid(_))));
        }
    }
}
