//! The modules file of the blackbox exporter: where each key is checked, and the checked form.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use regex::bytes::Regex;

use super::forms::{
    DnsForm, DomainForm, FileForm, GrpcForm, HeaderForm, HttpForm, IcmpForm, ModuleForm, QueryForm,
    RecordsForm, TcpForm,
};
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
            "unix" => Prober::Unix(dialogue(&self.unix.query_response, &format!("{place}.unix"))?),
            "icmp" => Prober::Icmp(self.icmp.check(&format!("{place}.icmp"))?),
            "dns" => Prober::Dns(Box::new(self.dns.check(&format!("{place}.dns"))?)),
            "grpc" => Prober::Grpc(Box::new(self.grpc.check(&format!("{place}.grpc"))?)),
            "domain" => Prober::Domain(Box::new(self.domain.check(&format!("{place}.domain"))?)),
            other => {
                return Err(StepError::new(
                    format!("{place}.prober"),
                    format!("{other:?} is not one of http, tcp, unix, icmp, dns, grpc, domain"),
                ));
            }
        };
        Ok(Module { timeout, prober })
    }
}

fn secret(
    text: Option<&str>,
    file: Option<&PathBuf>,
    place: &str,
) -> Result<Option<String>, StepError> {
    match (text, file) {
        (Some(_), Some(_)) => Err(StepError::new(place, "given both as text and as file")),
        (Some(text), None) => Ok(Some(text.to_owned())),
        (None, Some(file)) => {
            let text = std::fs::read_to_string(file).map_err(|e| {
                StepError::new(place, format!("cannot read {}: {e}", file.display()))
            })?;
            Ok(Some(text.trim().to_owned()))
        }
        (None, None) => Ok(None),
    }
}

impl HttpForm {
    fn check(self, place: &str) -> Result<Http, StepError> {
        let at = |field: &str| format!("{place}.{field}");
        let mut headers: Vec<(String, String)> = self.headers.into_iter().collect();
        if let Some(auth) = &self.basic_auth {
            let given = Some(auth.password.as_str()).filter(|p| !p.is_empty());
            let password = secret(given, auth.password_file.as_ref(), &at("basic_auth"))?;
            let pair = format!("{}:{}", auth.username, password.unwrap_or_default());
            headers.push(("Authorization".into(), format!("Basic {}", base64(pair.as_bytes()))));
        }
        let bearer = secret(
            self.bearer_token.as_deref(),
            self.bearer_token_file.as_ref(),
            &at("bearer_token"),
        )?;
        if let Some(token) = bearer {
            headers.push(("Authorization".into(), format!("Bearer {token}")));
        }
        if let Some(auth) = &self.authorization {
            let place = at("authorization");
            let token =
                secret(auth.credentials.as_deref(), auth.credentials_file.as_ref(), &place)?;
            let kind = auth.kind.as_deref().unwrap_or("Bearer");
            headers.push(("Authorization".into(), format!("{kind} {}", token.unwrap_or_default())));
        }
        let compression = self.compression.to_ascii_lowercase();
        if !matches!(compression.as_str(), "" | "identity" | "gzip" | "deflate") {
            let reason = format!("{:?} is not gzip, deflate or identity", self.compression);
            return Err(StepError::new(at("compression"), reason));
        }
        let accepts = headers.iter().find(|(n, _)| n.eq_ignore_ascii_case("accept-encoding"));
        match accepts {
            None if !compression.is_empty() => {
                headers.push(("Accept-Encoding".into(), compression.clone()));
            }
            Some((_, value))
                if !compression.is_empty()
                    && !value.split(',').any(|e| {
                        let name = e.split(';').next().unwrap_or("").trim();
                        name == compression || name == "*"
                    }) =>
            {
                let reason = format!("Accept-Encoding {value:?} does not ask for {compression:?}");
                return Err(StepError::new(at("headers"), reason));
            }
            _ => {}
        }
        if !self.body.is_empty() && self.body_file.is_some() {
            return Err(StepError::new(at("body"), "given both as text and as file"));
        }
        let header_matches = |list: &[HeaderForm], field: &str| -> Result<Vec<_>, StepError> {
            list.iter()
                .map(|h| {
                    if h.header.is_empty() || h.regexp.is_empty() {
                        return Err(StepError::new(at(field), "header and regexp are needed"));
                    }
                    let regexp = Regex::new(&h.regexp)
                        .map_err(|e| StepError::new(at(field), e.to_string()))?;
                    let (header, allow_missing) = (h.header.clone(), h.allow_missing);
                    Ok(HeaderMatch { header, regexp, allow_missing })
                })
                .collect()
        };
        let method = if self.method.is_empty() { "GET" } else { &self.method };
        Ok(Http {
            valid_statuses: self.valid_status_codes,
            valid_versions: self.valid_http_versions,
            family: family(&self.preferred_ip_protocol, self.ip_protocol_fallback, place)?,
            follow_redirects: self.no_follow_redirects.map_or(self.follow_redirects, |no| !no),
            fail_if_ssl: self.fail_if_ssl,
            fail_if_not_ssl: self.fail_if_not_ssl,
            method: method
                .parse()
                .map_err(|_e| StepError::new(at("method"), format!("{method:?} is no method")))?,
            body_matches: regexes(
                &self.fail_if_body_matches_regexp,
                &at("fail_if_body_matches_regexp"),
            )?,
            body_not_matches: regexes(
                &self.fail_if_body_not_matches_regexp,
                &at("fail_if_body_not_matches_regexp"),
            )?,
            header_matches: header_matches(&self.fail_if_header_matches, "fail_if_header_matches")?,
            header_not_matches: header_matches(
                &self.fail_if_header_not_matches,
                "fail_if_header_not_matches",
            )?,
            headers,
            body: self.body,
            body_file: self.body_file,
            tls: self.tls_config,
            http2: self.enable_http2,
            compression,
            body_bytes_max: self
                .body_size_limit
                .as_deref()
                .map(|t| size(t, &at("body_size_limit")))
                .transpose()?,
        })
    }
}

/// `10MB`, `1GiB`, `512`: units of 1024, as the exporter counts.
fn size(text: &str, place: &str) -> Result<usize, StepError> {
    let wrong = || StepError::new(place, format!("{text:?} is not a size such as 10MB"));
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(end).ok_or_else(wrong)?;
    let factor = match unit.trim().trim_end_matches('B').trim_end_matches('i') {
        "" => 1usize,
        "K" => 1 << 10,
        "M" => 1 << 20,
        "G" => 1 << 30,
        _ => return Err(wrong()),
    };
    number.parse::<usize>().ok().and_then(|n| n.checked_mul(factor)).ok_or_else(wrong)
}

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let mut group = [0u8; 3];
        for (to, from) in group.iter_mut().zip(chunk) {
            *to = *from;
        }
        let n = u32::from(group[0]) << 16 | u32::from(group[1]) << 8 | u32::from(group[2]);
        for i in 0..4 {
            let letter = ALPHABET[(n >> (18 - 6 * i)) as usize & 63];
            out.push(if i <= chunk.len() { char::from(letter) } else { '=' });
        }
    }
    out
}

fn dialogue(forms: &[QueryForm], place: &str) -> Result<Vec<Query>, StepError> {
    forms
        .iter()
        .enumerate()
        .map(|(i, form)| {
            let place = format!("{place}.query_response[{i}].expect");
            let expect = form
                .expect
                .as_deref()
                .filter(|e| !e.is_empty())
                .map(|p| Regex::new(p).map_err(|e| StepError::new(&place, e.to_string())))
                .transpose()?;
            Ok(Query {
                expect,
                expect_bytes: form.expect_bytes.clone(),
                labels: form.labels.iter().map(|l| (l.name.clone(), l.value.clone())).collect(),
                send: form.send.clone(),
                starttls: form.starttls,
            })
        })
        .collect()
}

impl TcpForm {
    fn check(self, place: &str) -> Result<Tcp, StepError> {
        Ok(Tcp {
            family: family(&self.preferred_ip_protocol, self.ip_protocol_fallback, place)?,
            dialogue: dialogue(&self.query_response, place)?,
            tls: self.tls.then(|| self.tls_config.clone()),
            upgrade: self.tls_config,
        })
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

impl DnsForm {
    fn check(self, place: &str) -> Result<Dns, StepError> {
        use super::dns_message::{class_number, rcode_number, type_number};
        let at = |field: &str| format!("{place}.{field}");
        let unknown =
            |field: &str, text: &str| StepError::new(at(field), format!("{text:?} is not known"));
        if self.query_name.is_empty() {
            return Err(StepError::new(at("query_name"), "is missing"));
        }
        let tcp = match self.transport_protocol.as_str() {
            "tcp" => true,
            "udp" | "" => false,
            other => return Err(unknown("transport_protocol", other)),
        };
        let records = |form: &RecordsForm, field: &str| -> Result<Records, StepError> {
            let place = at(field);
            Ok(Records {
                fail_if_matches: regexes(&form.fail_if_matches_regexp, &place)?,
                fail_if_all_match: regexes(&form.fail_if_all_match_regexp, &place)?,
                fail_if_not_matches: regexes(&form.fail_if_not_matches_regexp, &place)?,
                fail_if_none_matches: regexes(&form.fail_if_none_matches_regexp, &place)?,
            })
        };
        let valid_rcodes = if self.valid_rcodes.is_empty() {
            vec![0]
        } else {
            self.valid_rcodes
                .iter()
                .map(|r| rcode_number(r).ok_or_else(|| unknown("valid_rcodes", r)))
                .collect::<Result<_, _>>()?
        };
        Ok(Dns {
            family: family(&self.preferred_ip_protocol, self.ip_protocol_fallback, place)?,
            tcp,
            class: class_number(&self.query_class)
                .ok_or_else(|| unknown("query_class", &self.query_class))?,
            kind: type_number(&self.query_type)
                .ok_or_else(|| unknown("query_type", &self.query_type))?,
            name: self.query_name,
            recursion: self.recursion_desired,
            valid_rcodes,
            answer: records(&self.validate_answer_rrs, "validate_answer_rrs")?,
            authority: records(&self.validate_authority_rrs, "validate_authority_rrs")?,
            additional: records(&self.validate_additional_rrs, "validate_additional_rrs")?,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_standard_modules_are_good() {
        let modules = Modules::standard();
        for name in ["http_2xx", "http_post_2xx", "tcp_connect", "icmp", "grpc_plain", "ssh_banner"]
        {
            assert!(modules.get(name).is_some(), "{name}");
        }
        assert_eq!(base64(b"user:pass"), "dXNlcjpwYXNz");
        assert_eq!(base64(b"a"), "YQ==");
        assert_eq!(size("10MB", "p").unwrap(), 10 << 20);
    }

    #[test]
    fn mistakes_say_where() {
        for (text, says) in [
            ("modules: {a: {prober: smtp}}", "modules.a.prober"),
            (
                "modules: {a: {prober: http, http: {fail_if_body_matches_regexp: [':[']}}}",
                "modules.a.http.fail_if_body",
            ),
            ("modules: {a: {prober: http, http: {body: x, body_file: y}}}", "modules.a.http.body"),
            (
                "modules: {a: {prober: http, http: {compression: gzip, headers: {Accept-Encoding: identity}}}}",
                "Accept-Encoding",
            ),
            ("modules: {a: {prober: dns}}", "modules.a.dns.query_name"),
            (
                "modules: {a: {prober: dns, dns: {query_name: x, query_type: NOTATYPE}}}",
                "query_type",
            ),
            ("modules: {a: {prober: icmp, icmp: {ttl: 256}}}", "modules.a.icmp.ttl"),
            (
                "modules: {a: {prober: tcp, tcp: {query_response: [{expect: ':['}]}}}",
                "query_response[0]",
            ),
            ("modules: {a: {prober: http, http: {bodyy: 1}}}", "bodyy"),
        ] {
            let e = Modules::parse(text).unwrap_err().to_string();
            assert!(e.contains(says), "{text}: {e}");
        }
    }
}
