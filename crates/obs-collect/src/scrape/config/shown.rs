//! A checked job, written as its section of `prometheus.yml` with what matters of the defaults
//! spelled out. Secrets are not.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{Discovery, HttpSettings, KubernetesRole, ScrapeJob, TargetGroup};
use crate::scrape::config::discovery::DnsKind;
use crate::scrape::relabel::{Action, RelabelRule};
use crate::scrape::target::duration_text;

const SECRET: &str = "<secret>";

/// Sets `key` unless the value says nothing.
fn put(out: &mut Map<String, Value>, key: &str, value: Value) {
    let nothing = match &value {
        Value::Null | Value::Bool(false) => true,
        Value::Number(n) => n.as_f64() == Some(0.0),
        Value::String(s) => s.is_empty(),
        Value::Array(a) => a.is_empty(),
        Value::Object(o) => o.is_empty(),
        Value::Bool(true) => false,
    };
    if !nothing {
        out.insert(key.to_owned(), value);
    }
}

fn labels(group: &TargetGroup) -> BTreeMap<&str, &str> {
    group.labels.iter().collect()
}

impl RelabelRule {
    /// The rule as `relabel_configs` has it.
    pub fn shown(&self) -> Value {
        let pattern = self.regex.as_str();
        let pattern = pattern.strip_prefix("^(?s:").and_then(|p| p.strip_suffix(")$"));
        let mut out = Map::new();
        put(&mut out, "source_labels", json!(self.source_labels));
        put(&mut out, "modulus", json!(self.modulus));
        put(&mut out, "target_label", json!(self.target_label));
        // Some actions are refused with keys that they do not read.
        let (takes_regex, takes_values) = match self.action {
            Action::LabelDrop | Action::LabelKeep => (true, false),
            Action::KeepEqual | Action::DropEqual => (false, false),
            _ => (true, true),
        };
        if takes_values {
            put(&mut out, "separator", json!(self.separator));
        }
        if takes_regex {
            put(&mut out, "regex", json!(pattern));
        }
        if takes_values && !matches!(self.action, Action::Lowercase | Action::Uppercase) {
            put(&mut out, "replacement", json!(self.replacement));
        }
        put(&mut out, "action", json!(self.action.as_str()));
        Value::Object(out)
    }
}

impl ScrapeJob {
    /// The job as a section of `scrape_configs`, keys in the order of Prometheus' documentation.
    pub fn shown(&self) -> Value {
        let (limits, formats) = (&self.limits, &self.formats);
        let mut params: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (name, value) in &self.params {
            params.entry(name).or_default().push(value);
        }
        let protocols: Vec<&str> = formats.protocols.iter().map(|p| p.name()).collect();
        let mut out = Map::new();
        put(&mut out, "job_name", json!(self.name));
        put(&mut out, "honor_labels", json!(self.honor_labels));
        out.insert("honor_timestamps".into(), json!(self.honor_timestamps));
        put(&mut out, "track_timestamps_staleness", json!(self.track_timestamps_staleness));
        put(&mut out, "params", json!(params));
        put(&mut out, "scrape_interval", json!(duration_text(self.interval)));
        put(&mut out, "scrape_timeout", json!(duration_text(self.timeout)));
        put(&mut out, "scrape_protocols", json!(protocols));
        put(&mut out, "fallback_scrape_protocol", json!(formats.fallback.map(|p| p.name())));
        put(&mut out, "scrape_native_histograms", json!(formats.native_histograms));
        put(&mut out, "always_scrape_classic_histograms", json!(formats.classic_with_native));
        let nhcb = json!(formats.classic_to_custom_buckets);
        put(&mut out, "convert_classic_histograms_to_nhcb", nhcb);
        put(&mut out, "metrics_path", json!(self.metrics_path));
        put(&mut out, "scheme", json!(self.scheme));
        out.insert("enable_compression".into(), json!(self.compression));
        for (key, value) in [
            ("body_size_limit", limits.body_bytes),
            ("sample_limit", limits.samples as u64),
            ("target_limit", limits.targets as u64),
            ("label_limit", limits.labels as u64),
            ("label_name_length_limit", limits.label_name_bytes as u64),
            ("label_value_length_limit", limits.label_value_bytes as u64),
            ("native_histogram_bucket_limit", limits.native_histogram_buckets as u64),
            ("series_limit", limits.series as u64),
            ("keep_dropped_targets", limits.dropped_targets as u64),
        ] {
            put(&mut out, key, json!(value));
        }
        let factor = json!(formats.bucket_factor_min);
        put(&mut out, "native_histogram_min_bucket_factor", factor);
        put(&mut out, "extra_scrape_metrics", json!(formats.extra_metrics));
        http(&mut out, &self.http);
        for d in &self.discovery {
            let (key, section) = discovery(d);
            if let Value::Array(sections) =
                out.entry(key).or_insert_with(|| Value::Array(Vec::new()))
            {
                sections.push(Value::Object(section));
            }
        }
        let groups: Vec<Value> = self
            .static_targets
            .iter()
            .map(|g| {
                let mut group = Map::new();
                group.insert("targets".into(), json!(g.targets));
                put(&mut group, "labels", json!(labels(g)));
                Value::Object(group)
            })
            .collect();
        put(&mut out, "static_configs", json!(groups));
        let rules = |rules: &[RelabelRule]| rules.iter().map(RelabelRule::shown).collect();
        put(&mut out, "relabel_configs", rules(&self.relabel));
        put(&mut out, "metric_relabel_configs", rules(&self.metric_relabel));
        Value::Object(out)
    }
}

fn http(out: &mut Map<String, Value>, of: &HttpSettings) {
    if let Some((name, _)) = &of.basic_auth {
        out.insert("basic_auth".into(), json!({"username": name, "password": SECRET}));
    }
    if let Some((kind, _)) = &of.authorization {
        out.insert("authorization".into(), json!({"type": kind, "credentials": SECRET}));
    }
    if let Some(o) = &of.oauth2 {
        let mut section = Map::new();
        put(&mut section, "client_id", json!(o.client_id));
        put(&mut section, "client_secret", json!(SECRET));
        put(&mut section, "scopes", json!(o.scopes));
        put(&mut section, "token_url", json!(o.token_url));
        out.insert("oauth2".into(), Value::Object(section));
    }
    let mut tls = Map::new();
    put(&mut tls, "ca", json!(of.tls.ca.as_ref().map(|_| SECRET)));
    put(&mut tls, "cert", json!(of.tls.identity.as_ref().map(|_| SECRET)));
    put(&mut tls, "key", json!(of.tls.identity.as_ref().map(|_| SECRET)));
    put(&mut tls, "server_name", json!(of.tls.server_name));
    put(&mut tls, "insecure_skip_verify", json!(of.tls.insecure_skip_verify));
    put(out, "tls_config", Value::Object(tls));
    put(out, "proxy_url", json!(of.proxy.url.as_deref().map(without_credentials)));
    put(out, "no_proxy", json!(of.proxy.except));
    put(out, "proxy_from_environment", json!(of.proxy.from_environment));
    for (key, on) in [("follow_redirects", of.follow_redirects), ("enable_http2", of.http2)] {
        if !on {
            out.insert(key.to_owned(), json!(false));
        }
    }
    let names: BTreeMap<&str, Value> =
        of.headers.iter().map(|(n, _)| (n.as_str(), json!({"secrets": [SECRET]}))).collect();
    put(out, "http_headers", json!(names));
}

/// A URL may carry a user and a password before its host.
fn without_credentials(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let end = rest.find('/').unwrap_or(rest.len());
    let (host, path) = rest.split_at_checked(end).unwrap_or((rest, ""));
    match host.rsplit_once('@') {
        Some((_, host)) => format!("{scheme}://{SECRET}@{host}{path}"),
        None => url.to_owned(),
    }
}

fn discovery(of: &Discovery) -> (&'static str, Map<String, Value>) {
    let mut out = Map::new();
    let key = match of {
        Discovery::File(d) => {
            put(&mut out, "files", json!(d.files));
            put(&mut out, "refresh_interval", json!(duration_text(d.refresh)));
            "file_sd_configs"
        }
        Discovery::Http(d) => {
            put(&mut out, "url", json!(without_credentials(&d.url)));
            put(&mut out, "refresh_interval", json!(duration_text(d.refresh)));
            http(&mut out, &d.http);
            "http_sd_configs"
        }
        Discovery::Dns(d) => {
            let kind = match d.kind {
                DnsKind::Srv => "SRV",
                DnsKind::A => "A",
                DnsKind::Aaaa => "AAAA",
                DnsKind::Mx => "MX",
                DnsKind::Ns => "NS",
            };
            put(&mut out, "names", json!(d.names));
            put(&mut out, "type", json!(kind));
            put(&mut out, "port", json!(d.port));
            put(&mut out, "refresh_interval", json!(duration_text(d.refresh)));
            "dns_sd_configs"
        }
        Discovery::Kubernetes(d) => {
            put(&mut out, "role", json!(role(d.role)));
            put(&mut out, "api_server", json!(d.api_server.as_deref().map(without_credentials)));
            let mut namespaces = Map::new();
            put(&mut namespaces, "own_namespace", json!(d.own_namespace));
            put(&mut namespaces, "names", json!(d.namespaces));
            put(&mut out, "namespaces", Value::Object(namespaces));
            let selectors: Vec<Value> = d
                .selectors
                .iter()
                .map(|s| json!({"role": role(s.role), "label": s.label, "field": s.field}))
                .collect();
            put(&mut out, "selectors", json!(selectors));
            if d.attach_node {
                out.insert("attach_metadata".into(), json!({"node": true}));
            }
            http(&mut out, &d.http);
            "kubernetes_sd_configs"
        }
    };
    (key, out)
}

fn role(of: KubernetesRole) -> &'static str {
    match of {
        KubernetesRole::Node => "node",
        KubernetesRole::Pod => "pod",
        KubernetesRole::Service => "service",
        KubernetesRole::Endpoints => "endpoints",
        KubernetesRole::EndpointSlice => "endpointslice",
        KubernetesRole::Ingress => "ingress",
    }
}
