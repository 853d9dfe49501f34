//! The modules file of the blackbox exporter: where each key is checked, and the checked form.

mod dialogue;
mod dns;
mod http;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use regex::bytes::Regex;

use super::cel::Condition;
use super::forms::{DomainForm, FileForm, GrpcForm, IcmpForm, ModuleForm};
pub(super) use http::base64;

use crate::exchange::{StepError, TlsForm, duration};

/// `modules:` of a file.
#[derive(Clone, Debug, Default)]
pub struct Modules {
    all: BTreeMap<String, Module>,
}

/// How a target is probed.
#[derive(Clone, Debug)]
pub struct Module {
    /// `None`: the scrape's own timeout, or the server's.
    pub timeout: Option<Duration>,
    pub(super) prober: Prober,
}

#[derive(Clone, Debug)]
pub(super) enum Prober {
    Http(Box<Http>),
    Tcp(Box<Tcp>),
    Unix(Vec<Query>),
    WebSocket(Box<WebSocket>),
    Icmp(Icmp),
    Dns(Box<Dns>),
    Grpc(Box<Grpc>),
    Domain(Box<Domain>),
}

/// Where registrations are asked for.
#[derive(Clone, Debug)]
pub(super) struct Domain {
    pub(super) server: String,
    pub(super) at_least: Duration,
    pub(super) tls: TlsForm,
}

/// Preferred family (`ip4` or `ip6`), and whether the other will do.
#[derive(Clone, Debug)]
pub(super) struct Family {
    pub(super) preferred: String,
    pub(super) fallback: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Http {
    pub(super) valid_statuses: Vec<u16>,
    pub(super) valid_versions: Vec<String>,
    pub(super) family: Family,
    pub(super) follow_redirects: bool,
    pub(super) fail_if_ssl: bool,
    pub(super) fail_if_not_ssl: bool,
    pub(super) method: hyper::Method,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body_matches: Vec<Regex>,
    pub(super) body_not_matches: Vec<Regex>,
    pub(super) json_matches: Option<Condition>,
    pub(super) json_not_matches: Option<Condition>,
    pub(super) header_matches: Vec<HeaderMatch>,
    pub(super) header_not_matches: Vec<HeaderMatch>,
    pub(super) body: String,
    pub(super) body_file: Option<PathBuf>,
    pub(super) tls: TlsForm,
    pub(super) http2: bool,
    pub(super) compression: String,
    pub(super) body_bytes_max: Option<usize>,
}

#[derive(Clone, Debug)]
pub(super) struct HeaderMatch {
    pub(super) header: String,
    pub(super) regexp: Regex,
    pub(super) allow_missing: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Tcp {
    pub(super) family: Family,
    pub(super) dialogue: Vec<Query>,
    pub(super) tls: Option<TlsForm>,
    /// For a later `starttls`.
    pub(super) upgrade: TlsForm,
}

#[derive(Clone, Debug)]
pub(super) struct WebSocket {
    pub(super) family: Family,
    pub(super) headers: Vec<(String, String)>,
    pub(super) subprotocols: Vec<String>,
    pub(super) dialogue: Vec<Query>,
    pub(super) tls: TlsForm,
}

#[derive(Clone, Debug)]
pub(super) struct Query {
    pub(super) expect: Option<Regex>,
    pub(super) expect_bytes: String,
    pub(super) labels: Vec<(String, String)>,
    pub(super) send: String,
    pub(super) starttls: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Icmp {
    pub(super) family: Family,
    pub(super) payload_bytes: usize,
    pub(super) ttl: u32,
}

#[derive(Clone, Debug)]
pub(super) struct Dns {
    pub(super) family: Family,
    pub(super) tcp: bool,
    pub(super) class: u16,
    pub(super) name: String,
    pub(super) kind: u16,
    pub(super) recursion: bool,
    pub(super) valid_rcodes: Vec<u8>,
    pub(super) answer: Records,
    pub(super) authority: Records,
    pub(super) additional: Records,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Records {
    pub(super) fail_if_matches: Vec<Regex>,
    pub(super) fail_if_all_match: Vec<Regex>,
    pub(super) fail_if_not_matches: Vec<Regex>,
    pub(super) fail_if_none_matches: Vec<Regex>,
}

#[derive(Clone, Debug)]
pub(super) struct Grpc {
    pub(super) family: Family,
    pub(super) service: String,
    pub(super) tls: Option<TlsForm>,
    pub(super) metadata: Vec<(String, String)>,
}

impl Modules {
    /// Reads a modules file.
    pub fn parse(text: &str) -> Result<Self, StepError> {
        let form: FileForm =
            serde_saphyr::from_str(text).map_err(|e| StepError::new("modules", e.to_string()))?;
        let mut all = BTreeMap::new();
        for (name, module) in form.modules {
            let checked = module.check(&format!("modules.{name}"))?;
            all.insert(name, checked);
        }
        Ok(Self { all })
    }

    /// The modules that everybody has: `http_2xx`, `http_post_2xx`, `tcp_connect`, `icmp`, `grpc`,
    /// `grpc_plain`, `ssh_banner`, `dns`.
    pub fn standard() -> Self {
        Self::parse(include_str!("standard.yaml")).unwrap_or_default()
    }

    /// `others` go before what is there.
    pub fn extend(&mut self, others: Self) {
        self.all.extend(others.all);
    }

    pub fn get(&self, name: &str) -> Option<&Module> {
        self.all.get(name)
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.all.keys().map(String::as_str)
    }
}

fn regexes(patterns: &[String], place: &str) -> Result<Vec<Regex>, StepError> {
    patterns
        .iter()
        .map(|p| Regex::new(p).map_err(|e| StepError::new(place, e.to_string())))
        .collect()
}

fn family(preferred: &str, fallback: bool, place: &str) -> Result<Family, StepError> {
    match preferred {
        "" | "ip4" | "ip6" => Ok(Family { preferred: preferred.to_owned(), fallback }),
        other => Err(StepError::new(
            format!("{place}.preferred_ip_protocol"),
            format!("{other:?} is neither ip4 nor ip6"),
        )),
    }
}

impl ModuleForm {
    fn check(self, place: &str) -> Result<Module, StepError> {
        let timeout = self
            .timeout
            .as_deref()
            .map(|t| duration(&format!("{place}.timeout"), t))
            .transpose()?
            .filter(|t| !t.is_zero());
        let prober = match self.prober.as_str() {
            "http" => Prober::Http(Box::new(self.http.check(&format!("{place}.http"))?)),
            "tcp" => Prober::Tcp(Box::new(self.tcp.check(&format!("{place}.tcp"))?)),
            "unix" => {
                Prober::Unix(dialogue::check(&self.unix.query_response, &format!("{place}.unix"))?)
            }
            "websocket" => {
                Prober::WebSocket(Box::new(self.websocket.check(&format!("{place}.websocket"))?))
            }
            "icmp" => Prober::Icmp(self.icmp.check(&format!("{place}.icmp"))?),
            "dns" => Prober::Dns(Box::new(self.dns.check(&format!("{place}.dns"))?)),
            "grpc" => Prober::Grpc(Box::new(self.grpc.check(&format!("{place}.grpc"))?)),
            "domain" => Prober::Domain(Box::new(self.domain.check(&format!("{place}.domain"))?)),
            other => {
                return Err(StepError::new(
                    format!("{place}.prober"),
                    format!(
                        "{other:?} is not one of http, tcp, unix, websocket, icmp, dns, grpc, domain"
                    ),
                ));
            }
        };
        Ok(Module { timeout, prober })
    }
}

impl IcmpForm {
    fn check(self, place: &str) -> Result<Icmp, StepError> {
        if !(1..=255).contains(&self.ttl) {
            return Err(StepError::new(format!("{place}.ttl"), "is not 1 to 255"));
        }
        if self.payload_size > 65_000 {
            return Err(StepError::new(format!("{place}.payload_size"), "is above 65000"));
        }
        Ok(Icmp {
            family: family(&self.preferred_ip_protocol, self.ip_protocol_fallback, place)?,
            payload_bytes: self.payload_size,
            ttl: self.ttl,
        })
    }
}

impl DomainForm {
    fn check(self, place: &str) -> Result<Domain, StepError> {
        let server = self.server.unwrap_or_else(|| "https://rdap.org".to_owned());
        if !server.starts_with("http://") && !server.starts_with("https://") {
            let reason = format!("{server:?} is no http or https address");
            return Err(StepError::new(format!("{place}.server"), reason));
        }
        let at_least = self.at_least.as_deref().unwrap_or("0");
        let at_least = duration(&format!("{place}.at_least"), at_least)?;
        Ok(Domain { server, at_least, tls: self.tls_config })
    }
}

impl GrpcForm {
    fn check(self, place: &str) -> Result<Grpc, StepError> {
        Ok(Grpc {
            family: family(&self.preferred_ip_protocol, self.ip_protocol_fallback, place)?,
            service: self.service,
            tls: self.tls.then_some(self.tls_config),
            metadata: self
                .metadata
                .into_iter()
                .flat_map(|(n, all)| all.into_iter().map(move |v| (n.clone(), v)))
                .collect(),
        })
    }
}
