//! `http:` of a module, and the credentials of all that speak HTTP.

use std::path::PathBuf;

use regex::bytes::Regex;

use super::{HeaderMatch, Http, family, regexes};
use crate::exchange::StepError;
use crate::probe::cel::Condition;
use crate::probe::forms::{AuthorizationForm, BasicAuthForm, HeaderForm, HttpForm};

/// How a caller says who it is.
pub(super) struct Credentials<'a> {
    pub(super) basic_auth: Option<&'a BasicAuthForm>,
    pub(super) bearer_token: Option<&'a str>,
    pub(super) bearer_token_file: Option<&'a PathBuf>,
    pub(super) authorization: Option<&'a AuthorizationForm>,
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

impl Credentials<'_> {
    /// As headers.
    pub(super) fn check(&self, place: &str) -> Result<Vec<(String, String)>, StepError> {
        let at = |field: &str| format!("{place}.{field}");
        let mut values = Vec::new();
        if let Some(auth) = self.basic_auth {
            let given = Some(auth.password.as_str()).filter(|p| !p.is_empty());
            let password = secret(given, auth.password_file.as_ref(), &at("basic_auth"))?;
            let pair = format!("{}:{}", auth.username, password.unwrap_or_default());
            values.push(format!("Basic {}", base64(pair.as_bytes())));
        }
        let bearer = secret(self.bearer_token, self.bearer_token_file, &at("bearer_token"))?;
        values.extend(bearer.map(|token| format!("Bearer {token}")));
        if let Some(auth) = self.authorization {
            let place = at("authorization");
            let token =
                secret(auth.credentials.as_deref(), auth.credentials_file.as_ref(), &place)?;
            let kind = auth.kind.as_deref().unwrap_or("Bearer");
            values.push(format!("{kind} {}", token.unwrap_or_default()));
        }
        Ok(values.into_iter().map(|value| ("Authorization".to_owned(), value)).collect())
    }
}

impl HttpForm {
    pub(super) fn check(self, place: &str) -> Result<Http, StepError> {
        let at = |field: &str| format!("{place}.{field}");
        let mut headers: Vec<(String, String)> = self.headers.into_iter().collect();
        let credentials = Credentials {
            basic_auth: self.basic_auth.as_ref(),
            bearer_token: self.bearer_token.as_deref(),
            bearer_token_file: self.bearer_token_file.as_ref(),
            authorization: self.authorization.as_ref(),
        };
        headers.extend(credentials.check(place)?);
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
        let condition = |text: &Option<String>, field: &str| {
            text.as_deref().map(|text| Condition::parse(text, &at(field))).transpose()
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
            json_matches: condition(
                &self.fail_if_body_json_matches_cel,
                "fail_if_body_json_matches_cel",
            )?,
            json_not_matches: condition(
                &self.fail_if_body_json_not_matches_cel,
                "fail_if_body_json_not_matches_cel",
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
pub(super) fn size(text: &str, place: &str) -> Result<usize, StepError> {
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

pub(in crate::probe) fn base64(bytes: &[u8]) -> String {
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
