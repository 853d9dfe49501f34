//! The file form of `prometheus.yml`, key by key.

use std::collections::BTreeMap;

use serde::Deserialize;

pub(super) type Yaml = serde_json::Value;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileForm {
    #[serde(default)]
    pub(super) global: GlobalForm,
    #[serde(default)]
    pub(super) scrape_configs: Option<Vec<JobForm>>,
    #[serde(default)]
    pub(super) rule_files: Option<Vec<String>>,
    pub(super) scrape_config_files: Option<Vec<String>>,
    pub(super) runtime: Option<Yaml>,
    pub(super) alerting: Option<Yaml>,
    pub(super) remote_write: Option<Yaml>,
    pub(super) remote_read: Option<Yaml>,
    pub(super) storage: Option<Yaml>,
    pub(super) tracing: Option<Yaml>,
    pub(super) otlp: Option<Yaml>,
}

/// The limits that `global` and a job share; a job's own value wins.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct GlobalForm {
    pub(super) scrape_interval: Option<String>,
    pub(super) scrape_timeout: Option<String>,
    pub(super) evaluation_interval: Option<String>,
    pub(super) rule_query_offset: Option<String>,
    pub(super) external_labels: BTreeMap<String, String>,
    pub(super) query_log_file: Option<String>,
    pub(super) scrape_failure_log_file: Option<String>,
    pub(super) body_size_limit: Option<Yaml>,
    pub(super) sample_limit: Option<usize>,
    pub(super) target_limit: Option<usize>,
    pub(super) label_limit: Option<usize>,
    pub(super) label_name_length_limit: Option<usize>,
    pub(super) label_value_length_limit: Option<usize>,
    pub(super) keep_dropped_targets: Option<usize>,
    pub(super) metric_name_validation_scheme: Option<String>,
    pub(super) metric_name_escaping_scheme: Option<String>,
    pub(super) scrape_protocols: Option<Vec<String>>,
    pub(super) scrape_native_histograms: Option<bool>,
    pub(super) convert_classic_histograms_to_nhcb: Option<bool>,
    pub(super) always_scrape_classic_histograms: Option<bool>,
    pub(super) extra_scrape_metrics: Option<bool>,
}

#[derive(Deserialize)]
pub(super) struct JobForm {
    pub(super) job_name: String,
    pub(super) scrape_interval: Option<String>,
    pub(super) scrape_timeout: Option<String>,
    pub(super) metrics_path: Option<String>,
    pub(super) scheme: Option<String>,
    #[serde(default)]
    pub(super) params: BTreeMap<String, Vec<String>>,
    #[serde(default)]
    pub(super) honor_labels: bool,
    pub(super) honor_timestamps: Option<bool>,
    pub(super) body_size_limit: Option<Yaml>,
    pub(super) sample_limit: Option<usize>,
    pub(super) target_limit: Option<usize>,
    pub(super) label_limit: Option<usize>,
    pub(super) label_name_length_limit: Option<usize>,
    pub(super) label_value_length_limit: Option<usize>,
    pub(super) basic_auth: Option<BasicAuthForm>,
    pub(super) authorization: Option<AuthorizationForm>,
    pub(super) bearer_token: Option<String>,
    pub(super) bearer_token_file: Option<String>,
    pub(super) tls_config: Option<TlsForm>,
    pub(super) follow_redirects: Option<bool>,
    pub(super) static_configs: Option<Vec<GroupForm>>,
    pub(super) file_sd_configs: Option<Vec<FileSdForm>>,
    pub(super) relabel_configs: Option<Vec<RelabelForm>>,
    pub(super) metric_relabel_configs: Option<Vec<RelabelForm>>,
    #[serde(flatten)]
    pub(super) rest: BTreeMap<String, Yaml>,
}

/// Keys of a job that Prometheus knows and vm-obs does not act on.
pub(super) const JOB_KEYS_PASSIVE: [&str; 18] = [
    "oauth2",
    "proxy_url",
    "proxy_from_environment",
    "no_proxy",
    "proxy_connect_header",
    "http_headers",
    "enable_http2",
    "enable_compression",
    "track_timestamps_staleness",
    "scrape_protocols",
    "fallback_scrape_protocol",
    "scrape_native_histograms",
    "native_histogram_bucket_limit",
    "native_histogram_min_bucket_factor",
    "convert_classic_histograms_to_nhcb",
    "always_scrape_classic_histograms",
    "keep_dropped_targets",
    "scrape_failure_log_file",
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BasicAuthForm {
    pub(super) username: Option<String>,
    pub(super) username_file: Option<String>,
    pub(super) password: Option<String>,
    pub(super) password_file: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AuthorizationForm {
    #[serde(rename = "type")]
    pub(super) kind: Option<String>,
    pub(super) credentials: Option<String>,
    pub(super) credentials_file: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TlsForm {
    pub(super) ca: Option<String>,
    pub(super) cert: Option<String>,
    pub(super) key: Option<String>,
    pub(super) ca_file: Option<String>,
    pub(super) cert_file: Option<String>,
    pub(super) key_file: Option<String>,
    pub(super) server_name: Option<String>,
    #[serde(default)]
    pub(super) insecure_skip_verify: bool,
    pub(super) min_version: Option<String>,
    pub(super) max_version: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct GroupForm {
    #[serde(default)]
    pub(super) targets: Vec<String>,
    #[serde(default)]
    pub(super) labels: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileSdForm {
    pub(super) files: Vec<String>,
    pub(super) refresh_interval: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RelabelForm {
    pub(super) source_labels: Option<Vec<String>>,
    pub(super) separator: Option<String>,
    pub(super) target_label: Option<String>,
    pub(super) regex: Option<String>,
    pub(super) modulus: Option<u64>,
    pub(super) replacement: Option<String>,
    pub(super) action: Option<String>,
}
