//! The file form of `prometheus.yml`, key by key. Keys that several sections share stand once, in
//! [`limit_keys`] and [`http_keys`]; serde's `flatten` is of no use here, because it neither
//! refuses unknown keys with their line nor reads a plain `1234` as a password.

use std::collections::BTreeMap;

use serde::Deserialize;

pub(super) type Yaml = serde_json::Value;

/// What `global` and a job share; a job's own value wins.
macro_rules! limit_keys {
    ({$($args:tt)*} $next:ident $($then:ident)*) => {
        $next! { {$($args)* [
            body_size_limit: Yaml,
            sample_limit: usize,
            target_limit: usize,
            label_limit: usize,
            label_name_length_limit: usize,
            label_value_length_limit: usize,
            keep_dropped_targets: usize,
            metric_name_validation_scheme: String,
            metric_name_escaping_scheme: String,
            scrape_protocols: Vec<String>,
            scrape_native_histograms: bool,
            convert_classic_histograms_to_nhcb: bool,
            always_scrape_classic_histograms: bool,
            extra_scrape_metrics: bool,
            scrape_failure_log_file: String,
        ]} $($then)* }
    };
}

/// What every section that asks over HTTP has.
macro_rules! http_keys {
    ({$($args:tt)*} $next:ident $($then:ident)*) => {
        $next! { {$($args)* [
            basic_auth: BasicAuthForm,
            authorization: AuthorizationForm,
            oauth2: OAuth2Form,
            bearer_token: String,
            bearer_token_file: String,
            tls_config: TlsForm,
            proxy_url: String,
            no_proxy: String,
            proxy_from_environment: bool,
            proxy_connect_header: BTreeMap<String, Vec<String>>,
            follow_redirects: bool,
            enable_http2: bool,
            http_headers: BTreeMap<String, HeaderForm>,
        ]} $($then)* }
    };
}

/// Discovery that Prometheus knows and vm-obs does not.
macro_rules! foreign_keys {
    ({$($args:tt)*} $next:ident $($then:ident)*) => {
        $next! { {$($args)* [
            aws_sd_configs, azure_sd_configs, consul_sd_configs, digitalocean_sd_configs,
            docker_sd_configs, dockerswarm_sd_configs, ec2_sd_configs, ecs_sd_configs,
            elasticache_sd_configs, eureka_sd_configs, gce_sd_configs, hetzner_sd_configs,
            ionos_sd_configs, kuma_sd_configs, lightsail_sd_configs, linode_sd_configs,
            marathon_sd_configs, msk_sd_configs, nerve_sd_configs, nomad_sd_configs,
            oci_sd_configs, openstack_sd_configs, outscale_sd_configs, ovhcloud_sd_configs,
            puppetdb_sd_configs, rds_sd_configs, scaleway_sd_configs, serverset_sd_configs,
            stackit_sd_configs, triton_sd_configs, uyuni_sd_configs, vultr_sd_configs,
            xds_sd_configs,
        ]} $($then)* }
    };
}

macro_rules! limits_form {
    ({[$($key:ident: $of:ty,)*]}) => {
        #[derive(Clone, Debug, Default)]
        pub(super) struct LimitsForm { $(pub(super) $key: Option<$of>,)* }

        impl LimitsForm {
            /// `global` stands in for what is not given.
            pub(super) fn or(self, global: &Self) -> Self {
                Self { $($key: self.$key.or_else(|| global.$key.clone()),)* }
            }
        }
    };
}
limit_keys! { {} limits_form }

macro_rules! http_form {
    ({[$($key:ident: $of:ty,)*]}) => {
        #[derive(Default)]
        pub(super) struct HttpForm { $(pub(super) $key: Option<$of>,)* }

        impl HttpForm {
            /// Whether any key was given.
            pub(super) fn is_set(&self) -> bool {
                false $(|| self.$key.is_some())*
            }
        }
    };
}
http_keys! { {} http_form }

macro_rules! with_limits {
    ({$name:ident {$($own:tt)*} [$($key:ident: $of:ty,)*]}) => {
        #[derive(Default, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub(super) struct $name { $($own)* $($key: Option<$of>,)* }

        impl $name {
            pub(super) fn limits(&mut self) -> LimitsForm {
                LimitsForm { $($key: self.$key.take(),)* }
            }
        }
    };
}

macro_rules! with_http {
    ({$name:ident {$($own:tt)*} [$($key:ident: $of:ty,)*]}) => {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        pub(super) struct $name { $($own)* $($key: Option<$of>,)* }

        impl $name {
            pub(super) fn http(&mut self) -> HttpForm {
                HttpForm { $($key: self.$key.take(),)* }
            }
        }
    };
}

macro_rules! with_all {
    ({
        $name:ident {$($own:tt)*}
        [$($limit:ident: $limit_of:ty,)*] [$($http:ident: $http_of:ty,)*] [$($foreign:ident,)*]
    }) => {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        pub(super) struct $name {
            $($own)*
            $($limit: Option<$limit_of>,)*
            $($http: Option<$http_of>,)*
            $($foreign: Option<Yaml>,)*
        }

        impl $name {
            pub(super) fn limits(&mut self) -> LimitsForm {
                LimitsForm { $($limit: self.$limit.take(),)* }
            }

            pub(super) fn http(&mut self) -> HttpForm {
                HttpForm { $($http: self.$http.take(),)* }
            }

            /// The first key of a discovery that vm-obs does not have.
            pub(super) fn foreign(&self) -> Option<&'static str> {
                [$((stringify!($foreign), self.$foreign.is_some()),)*]
                    .into_iter()
                    .find_map(|(key, given)| given.then_some(key))
            }
        }
    };
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileForm {
    pub(super) global: Option<GlobalForm>,
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

/// A file of `scrape_config_files` holds jobs and nothing else.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct JobsForm {
    #[serde(default)]
    pub(super) scrape_configs: Option<Vec<JobForm>>,
}

limit_keys! { {GlobalForm {
    pub(super) scrape_interval: Option<String>,
    pub(super) scrape_timeout: Option<String>,
    pub(super) evaluation_interval: Option<String>,
    pub(super) rule_query_offset: Option<String>,
    pub(super) external_labels: BTreeMap<String, String>,
    pub(super) query_log_file: Option<String>,
}} with_limits }

limit_keys! { {JobForm {
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
    #[serde(default)]
    pub(super) track_timestamps_staleness: bool,
    pub(super) enable_compression: Option<bool>,
    pub(super) fallback_scrape_protocol: Option<String>,
    pub(super) native_histogram_bucket_limit: Option<usize>,
    pub(super) native_histogram_min_bucket_factor: Option<f64>,
    pub(super) series_limit: Option<usize>,
    pub(super) static_configs: Option<Vec<Option<GroupForm>>>,
    pub(super) file_sd_configs: Option<Vec<FileSdForm>>,
    pub(super) http_sd_configs: Option<Vec<HttpSdForm>>,
    pub(super) dns_sd_configs: Option<Vec<DnsSdForm>>,
    pub(super) kubernetes_sd_configs: Option<Vec<KubernetesSdForm>>,
    pub(super) relabel_configs: Option<Vec<RelabelForm>>,
    pub(super) metric_relabel_configs: Option<Vec<RelabelForm>>,
}} http_keys foreign_keys with_all }

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
pub(super) struct OAuth2Form {
    pub(super) client_id: String,
    pub(super) client_secret: Option<String>,
    pub(super) client_secret_file: Option<String>,
    pub(super) token_url: String,
    #[serde(default)]
    pub(super) scopes: Vec<String>,
    #[serde(default)]
    pub(super) endpoint_params: BTreeMap<String, String>,
    pub(super) tls_config: Option<TlsForm>,
    pub(super) proxy_url: Option<String>,
    pub(super) no_proxy: Option<String>,
    pub(super) proxy_from_environment: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HeaderForm {
    #[serde(default)]
    pub(super) values: Vec<String>,
    #[serde(default)]
    pub(super) secrets: Vec<String>,
    #[serde(default)]
    pub(super) files: Vec<String>,
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

http_keys! { {HttpSdForm {
    pub(super) url: String,
    pub(super) refresh_interval: Option<String>,
}} with_http }

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DnsSdForm {
    #[serde(default)]
    pub(super) names: Vec<String>,
    #[serde(rename = "type")]
    pub(super) kind: Option<String>,
    pub(super) port: Option<u16>,
    pub(super) refresh_interval: Option<String>,
}

http_keys! { {KubernetesSdForm {
    pub(super) role: String,
    pub(super) api_server: Option<String>,
    pub(super) kubeconfig_file: Option<String>,
    pub(super) namespaces: Option<NamespacesForm>,
    pub(super) selectors: Option<Vec<SelectorForm>>,
    pub(super) attach_metadata: Option<AttachForm>,
}} with_http }

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NamespacesForm {
    #[serde(default)]
    pub(super) own_namespace: bool,
    #[serde(default)]
    pub(super) names: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SelectorForm {
    pub(super) role: String,
    pub(super) label: Option<String>,
    pub(super) field: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AttachForm {
    #[serde(default)]
    pub(super) node: bool,
    #[serde(default)]
    pub(super) namespace: bool,
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
