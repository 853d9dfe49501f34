//! `kubernetes_sd_configs`: the objects of a role are listed; then watches on the same objects say
//! when to list again, no more often than once a second. What is told is always a whole list, so an
//! event that gets lost costs time, never truth.
//! Source: Kubernetes API concepts ("Efficient detection of changes"), Prometheus' meta labels.

mod groups;
mod labels;

use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use serde_json::Value;

use super::Teller;
use crate::scrape::config::{
    HttpSettings, KubernetesDiscovery, KubernetesRole, Secret, TlsSettings,
};
use crate::scrape::http::{HttpClient, fetch};

/// Objects in one page of a list, and bytes of it.
const PAGE_OBJECTS: usize = 500;
const PAGE_BYTES_MAX: usize = 64 << 20;
const LIST_TIMEOUT: Duration = Duration::from_secs(30);
/// Between two lists: after a change, after a failure, and at the latest.
const AFTER_CHANGE: Duration = Duration::from_secs(1);
const AFTER_FAILURE: Duration = Duration::from_secs(5);
const AT_LATEST: Duration = Duration::from_secs(300);
/// Where a pod finds the credentials of its service account.
const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// The lists that one role needs.
#[derive(Default)]
struct Objects {
    /// Those of the role itself.
    own: Vec<Value>,
    pods: Vec<Value>,
    services: Vec<Value>,
    nodes: Vec<Value>,
}

pub(super) struct Source {
    client: HttpClient,
    api: String,
    role: KubernetesRole,
    /// Kind of object, and its paths: one for each namespace, or one for all.
    kinds: Vec<(KubernetesRole, Vec<String>)>,
    attach_node: bool,
}

impl Source {
    /// `Err` where the credentials of the cluster cannot be had.
    pub(super) fn new(source: &KubernetesDiscovery, user_agent: &str) -> Result<Self, String> {
        let (api, http) = match &source.api_server {
            Some(api) => (api.trim_end_matches('/').to_owned(), source.http.clone()),
            None => in_cluster()?,
        };
        let mut namespaces = source.namespaces.clone();
        if source.own_namespace {
            let file = format!("{ACCOUNT}/namespace");
            let own = std::fs::read_to_string(&file).map_err(|e| format!("{file}: {e}"))?;
            namespaces.push(own.trim().to_owned());
        }
        use KubernetesRole as Role;
        let mut roles = match source.role {
            Role::Endpoints | Role::EndpointSlice => vec![source.role, Role::Pod, Role::Service],
            own => vec![own],
        };
        if source.attach_node && source.role != Role::Node {
            roles.push(Role::Node);
        }
        let kinds = roles.into_iter().map(|role| (role, paths(source, role, &namespaces)));
        Ok(Self {
            client: HttpClient::new(&http, user_agent, None, true)?,
            api,
            role: source.role,
            kinds: kinds.collect(),
            attach_node: source.attach_node,
        })
    }

    pub(super) async fn run(self, mut teller: Teller) {
        loop {
            let (objects, versions) = match self.list().await {
                Ok(listed) => listed,
                Err(e) => {
                    teller.failed(&e);
                    tokio::time::sleep(AFTER_FAILURE).await;
                    continue;
                }
            };
            let groups = groups::of_role(self.role, &objects, self.attach_node);
            if teller.tell(groups).await.is_err() {
                return;
            }
            let mut watches: FuturesUnordered<_> =
                versions.iter().map(|(path, version)| self.change(path, version)).collect();
            let pause = match tokio::time::timeout(AT_LATEST, watches.next()).await {
                Err(_elapsed) => Duration::ZERO,
                Ok(None | Some(Ok(()))) => AFTER_CHANGE,
                Ok(Some(Err(e))) => {
                    tracing::debug!(error = e, "watch ended");
                    AFTER_FAILURE
                }
            };
            drop(watches);
            tokio::time::sleep(pause).await;
        }
    }

    /// Every object, and each path with the version that its list had.
    async fn list(&self) -> Result<(Objects, Vec<(String, String)>), String> {
        let mut objects = Objects::default();
        let mut versions = Vec::new();
        for (place, (role, paths)) in self.kinds.iter().enumerate() {
            let into = match role {
                _ if place == 0 => &mut objects.own,
                KubernetesRole::Pod => &mut objects.pods,
                KubernetesRole::Service => &mut objects.services,
                _ => &mut objects.nodes,
            };
            for path in paths {
                let version = self.pages(path, into).await?;
                versions.push((path.clone(), version));
            }
        }
        Ok((objects, versions))
    }

    async fn pages(&self, path: &str, into: &mut Vec<Value>) -> Result<String, String> {
        let fail = |why: String| format!("{}{path}: {why}", self.api);
        let mut more = String::new();
        loop {
            let url = format!("{}{path}limit={PAGE_OBJECTS}", self.api);
            let mut request = self.client.get(&url).await?.timeout(LIST_TIMEOUT);
            if !more.is_empty() {
                request = request.query(&[("continue", &more)]);
            }
            let (body, _) =
                fetch(request, PAGE_BYTES_MAX).await.map_err(|e| fail(e.to_string()))?;
            let mut page: Value = serde_json::from_slice(&body).map_err(|e| fail(e.to_string()))?;
            let Some(Value::Array(items)) = page.get_mut("items").map(Value::take) else {
                return Err(fail("the answer is no list".into()));
            };
            into.extend(items);
            more = labels::text(&page, "/metadata/continue").to_owned();
            if more.is_empty() {
                return Ok(labels::text(&page, "/metadata/resourceVersion").to_owned());
            }
        }
    }

    /// Returns when something changed behind `path`, or the server ended the watch.
    async fn change(&self, path: &str, version: &str) -> Result<(), String> {
        let url = format!("{}{path}watch=1&allowWatchBookmarks=true", self.api);
        let request = self.client.get(&url).await?.query(&[("resourceVersion", version)]);
        let response = request.send().await.map_err(|e| e.to_string())?;
        if !response.status().is_success() {
            return Err(format!("{url}: HTTP status {}", response.status()));
        }
        let mut chunks = response.bytes_stream();
        let mut line = Vec::new();
        while let Some(chunk) = chunks.next().await {
            for byte in chunk.map_err(|e| e.to_string())? {
                if byte != b'\n' {
                    line.push(byte);
                    // So long an event is surely a change, and need not be held to know it.
                    if line.len() > 1 << 20 {
                        return Ok(());
                    }
                    continue;
                }
                let event: Value = serde_json::from_slice(&line).unwrap_or_default();
                if event.get("type").and_then(Value::as_str) != Some("BOOKMARK") {
                    return Ok(());
                }
                line.clear();
            }
        }
        Ok(())
    }
}

/// Paths up to the query's next parameter.
fn paths(source: &KubernetesDiscovery, role: KubernetesRole, namespaces: &[String]) -> Vec<String> {
    let (group, kind) = match role {
        KubernetesRole::Node => ("/api/v1", "nodes"),
        KubernetesRole::Pod => ("/api/v1", "pods"),
        KubernetesRole::Service => ("/api/v1", "services"),
        KubernetesRole::Endpoints => ("/api/v1", "endpoints"),
        KubernetesRole::EndpointSlice => ("/apis/discovery.k8s.io/v1", "endpointslices"),
        KubernetesRole::Ingress => ("/apis/networking.k8s.io/v1", "ingresses"),
    };
    let mut query = String::from("?");
    if let Some(selector) = source.selectors.iter().find(|s| s.role == role) {
        for (key, value) in [("labelSelector", &selector.label), ("fieldSelector", &selector.field)]
        {
            if let Some(value) = value {
                query.push_str(&format!("{key}={}&", crate::scrape::target::percent(value)));
            }
        }
    }
    if namespaces.is_empty() || role == KubernetesRole::Node {
        return vec![format!("{group}/{kind}{query}")];
    }
    namespaces.iter().map(|n| format!("{group}/namespaces/{n}/{kind}{query}")).collect()
}

fn in_cluster() -> Result<(String, HttpSettings), String> {
    let variable = |name: &str| {
        std::env::var(name).map_err(|_e| {
            format!("no api_server is set, and {name} is not: this is no pod of a cluster")
        })
    };
    let (host, port) = (variable("KUBERNETES_SERVICE_HOST")?, variable("KUBERNETES_SERVICE_PORT")?);
    let file = |name: &str| Secret::File(format!("{ACCOUNT}/{name}").into());
    let http = HttpSettings {
        authorization: Some(("Bearer".into(), file("token"))),
        tls: TlsSettings { ca: Some(file("ca.crt")), ..TlsSettings::default() },
        follow_redirects: true,
        http2: true,
        ..HttpSettings::default()
    };
    let host = if host.contains(':') { format!("[{host}]") } else { host };
    Ok((format!("https://{host}:{port}"), http))
}

#[cfg(test)]
mod tests;
