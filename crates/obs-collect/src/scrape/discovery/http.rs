//! `http_sd_configs`. Source: Prometheus "Writing HTTP service discovery".

use std::time::Duration;

use crate::scrape::config::{HttpDiscovery, TargetGroup, parse_target_groups};
use crate::scrape::http::{HttpClient, fetch};

/// Bytes of an answer.
const BODY_BYTES_MAX: usize = 16 << 20;

pub(super) struct Source {
    client: HttpClient,
    url: String,
    refresh: Duration,
}

impl Source {
    pub(super) fn new(source: &HttpDiscovery, user_agent: &str) -> Result<Self, String> {
        let timeout = Some(source.refresh.max(Duration::from_secs(1)));
        let client = HttpClient::new(&source.http, user_agent, timeout, true)?;
        Ok(Self { client, url: source.url.clone(), refresh: source.refresh })
    }

    /// The whole list that the address gives now.
    pub(super) async fn ask(&self) -> Result<Vec<TargetGroup>, String> {
        let fail = |why: String| format!("{}: {why}", self.url);
        let request =
            self.client.get(&self.url).await?.header("Accept", "application/json").header(
                "X-Prometheus-Refresh-Interval-Seconds",
                self.refresh.as_secs_f64().to_string(),
            );
        let (body, kind) = fetch(request, BODY_BYTES_MAX).await.map_err(|e| fail(e.to_string()))?;
        let essence = kind.as_deref().unwrap_or("").split(';').next().unwrap_or("").trim();
        if !essence.eq_ignore_ascii_case("application/json") {
            return Err(fail(format!("unsupported content type {essence:?}")));
        }
        let text = String::from_utf8(body).map_err(|e| fail(e.to_string()))?;
        let groups = parse_target_groups(&text).map_err(fail)?;
        let labelled = groups.into_iter().map(|group| TargetGroup {
            labels: group.labels.with("__meta_url", &self.url),
            targets: group.targets,
        });
        Ok(labelled.collect())
    }
}
