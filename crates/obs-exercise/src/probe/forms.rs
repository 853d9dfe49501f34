//! The modules file as it is written.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;

use crate::exchange::TlsForm;

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct FileForm {
    pub(super) modules: BTreeMap<String, ModuleForm>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ModuleForm {
    pub(super) prober: String,
    pub(super) timeout: Option<String>,
    pub(super) http: HttpForm,
    pub(super) tcp: TcpForm,
    pub(super) unix: UnixForm,
    pub(super) websocket: WebSocketForm,
    pub(super) icmp: IcmpForm,
    pub(super) dns: DnsForm,
    pub(super) grpc: GrpcForm,
    pub(super) domain: DomainForm,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct HttpForm {
    pub(super) valid_status_codes: Vec<u16>,
    pub(super) valid_http_versions: Vec<String>,
    pub(super) preferred_ip_protocol: String,
    pub(super) ip_protocol_fallback: bool,
    pub(super) no_follow_redirects: Option<bool>,
    pub(super) follow_redirects: bool,
    pub(super) fail_if_ssl: bool,
    pub(super) fail_if_not_ssl: bool,
    pub(super) method: String,
    pub(super) headers: BTreeMap<String, String>,
    pub(super) fail_if_body_matches_regexp: Vec<String>,
    pub(super) fail_if_body_not_matches_regexp: Vec<String>,
    pub(super) fail_if_body_json_matches_cel: Option<String>,
    pub(super) fail_if_body_json_not_matches_cel: Option<String>,
    pub(super) fail_if_header_matches: Vec<HeaderForm>,
    pub(super) fail_if_header_not_matches: Vec<HeaderForm>,
    pub(super) body: String,
    pub(super) body_file: Option<PathBuf>,
    pub(super) basic_auth: Option<BasicAuthForm>,
    pub(super) bearer_token: Option<String>,
    pub(super) bearer_token_file: Option<PathBuf>,
    pub(super) authorization: Option<AuthorizationForm>,
    pub(super) tls_config: TlsForm,
    pub(super) enable_http2: bool,
    pub(super) compression: String,
    pub(super) body_size_limit: Option<String>,
}

impl Default for HttpForm {
    fn default() -> Self {
        Self {
            valid_status_codes: Vec::new(),
            valid_http_versions: Vec::new(),
            preferred_ip_protocol: String::new(),
            ip_protocol_fallback: true,
            no_follow_redirects: None,
            follow_redirects: true,
            fail_if_ssl: false,
            fail_if_not_ssl: false,
            method: String::new(),
            headers: BTreeMap::new(),
            fail_if_body_matches_regexp: Vec::new(),
            fail_if_body_not_matches_regexp: Vec::new(),
            fail_if_body_json_matches_cel: None,
            fail_if_body_json_not_matches_cel: None,
            fail_if_header_matches: Vec::new(),
            fail_if_header_not_matches: Vec::new(),
            body: String::new(),
            body_file: None,
            basic_auth: None,
            bearer_token: None,
            bearer_token_file: None,
            authorization: None,
            tls_config: TlsForm::default(),
            enable_http2: true,
            compression: String::new(),
            body_size_limit: None,
        }
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct HeaderForm {
    pub(super) header: String,
    pub(super) regexp: String,
    pub(super) allow_missing: bool,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct BasicAuthForm {
    pub(super) username: String,
    pub(super) password: String,
    pub(super) password_file: Option<PathBuf>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct AuthorizationForm {
    #[serde(rename = "type")]
    pub(super) kind: Option<String>,
    pub(super) credentials: Option<String>,
    pub(super) credentials_file: Option<PathBuf>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct TcpForm {
    pub(super) preferred_ip_protocol: String,
    pub(super) ip_protocol_fallback: bool,
    pub(super) query_response: Vec<QueryForm>,
    pub(super) tls: bool,
    pub(super) tls_config: TlsForm,
}

impl Default for TcpForm {
    fn default() -> Self {
        Self {
            preferred_ip_protocol: String::new(),
            ip_protocol_fallback: true,
            query_response: Vec::new(),
            tls: false,
            tls_config: TlsForm::default(),
        }
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct UnixForm {
    pub(super) query_response: Vec<QueryForm>,
}

/// As the exporter's http module has it, with the dialogue of its tcp module over messages.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct WebSocketForm {
    pub(super) preferred_ip_protocol: String,
    pub(super) ip_protocol_fallback: bool,
    pub(super) headers: BTreeMap<String, String>,
    pub(super) basic_auth: Option<BasicAuthForm>,
    pub(super) bearer_token: Option<String>,
    pub(super) bearer_token_file: Option<PathBuf>,
    pub(super) authorization: Option<AuthorizationForm>,
    /// Asked for in this order; the server must choose one of them.
    pub(super) subprotocols: Vec<String>,
    pub(super) query_response: Vec<QueryForm>,
    pub(super) tls_config: TlsForm,
}

impl Default for WebSocketForm {
    fn default() -> Self {
        Self {
            preferred_ip_protocol: String::new(),
            ip_protocol_fallback: true,
            headers: BTreeMap::new(),
            basic_auth: None,
            bearer_token: None,
            bearer_token_file: None,
            authorization: None,
            subprotocols: Vec::new(),
            query_response: Vec::new(),
            tls_config: TlsForm::default(),
        }
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct QueryForm {
    pub(super) expect: Option<String>,
    pub(super) expect_bytes: String,
    pub(super) labels: Vec<LabelForm>,
    pub(super) send: String,
    pub(super) starttls: bool,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct LabelForm {
    pub(super) name: String,
    pub(super) value: String,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct IcmpForm {
    pub(super) preferred_ip_protocol: String,
    pub(super) ip_protocol_fallback: bool,
    pub(super) payload_size: usize,
    pub(super) ttl: u32,
}

impl Default for IcmpForm {
    fn default() -> Self {
        Self {
            preferred_ip_protocol: String::new(),
            ip_protocol_fallback: true,
            payload_size: 0,
            ttl: 64,
        }
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct DnsForm {
    pub(super) preferred_ip_protocol: String,
    pub(super) ip_protocol_fallback: bool,
    pub(super) transport_protocol: String,
    pub(super) query_class: String,
    pub(super) query_name: String,
    pub(super) query_type: String,
    pub(super) recursion_desired: bool,
    pub(super) valid_rcodes: Vec<String>,
    pub(super) validate_answer_rrs: RecordsForm,
    pub(super) validate_authority_rrs: RecordsForm,
    pub(super) validate_additional_rrs: RecordsForm,
}

impl Default for DnsForm {
    fn default() -> Self {
        Self {
            preferred_ip_protocol: String::new(),
            ip_protocol_fallback: true,
            transport_protocol: "udp".to_owned(),
            query_class: "IN".to_owned(),
            query_name: String::new(),
            query_type: "ANY".to_owned(),
            recursion_desired: true,
            valid_rcodes: Vec::new(),
            validate_answer_rrs: RecordsForm::default(),
            validate_authority_rrs: RecordsForm::default(),
            validate_additional_rrs: RecordsForm::default(),
        }
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RecordsForm {
    pub(super) fail_if_matches_regexp: Vec<String>,
    pub(super) fail_if_all_match_regexp: Vec<String>,
    pub(super) fail_if_not_matches_regexp: Vec<String>,
    pub(super) fail_if_none_matches_regexp: Vec<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct GrpcForm {
    pub(super) service: String,
    pub(super) tls: bool,
    pub(super) tls_config: TlsForm,
    pub(super) preferred_ip_protocol: String,
    pub(super) ip_protocol_fallback: bool,
    pub(super) metadata: BTreeMap<String, Vec<String>>,
}

impl Default for GrpcForm {
    fn default() -> Self {
        Self {
            service: String::new(),
            tls: false,
            tls_config: TlsForm::default(),
            preferred_ip_protocol: String::new(),
            ip_protocol_fallback: true,
            metadata: BTreeMap::new(),
        }
    }
}

/// Beyond the exporter's.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct DomainForm {
    /// RDAP server, by default `https://rdap.org`, which leads to the registry's.
    pub(super) server: Option<String>,
    /// How long the registration must go on.
    pub(super) at_least: Option<String>,
    pub(super) tls_config: TlsForm,
}
