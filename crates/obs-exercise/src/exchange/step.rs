//! One request of a flow: what is sent, expected, and taken from the answer.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use hyper::header::{HeaderName, HeaderValue};
use hyper::{HeaderMap, Method, StatusCode, Uri};
use regex::Regex;
use serde::Deserialize;
use serde_json::Value;

use super::check::{Check, CheckForm};
use super::jsonpath::JsonPath;
use super::text::{StepError, Template, Variables, duration};

/// A step as it stands in a file.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StepForm {
    pub name: Option<String>,
    pub method: Option<String>,
    /// Absolute, or a path of the target.
    pub url: String,
    pub headers: BTreeMap<String, String>,
    pub body: Option<String>,
    pub timeout: Option<String>,
    /// What counts as expected; below 400 by default.
    pub expected_statuses: Vec<u16>,
    pub checks: Vec<CheckForm>,
    pub extract: BTreeMap<String, SourceForm>,
    pub record: Vec<RecordForm>,
    pub tags: BTreeMap<String, String>,
    /// How long to wait after the answer.
    pub pause: Option<String>,
}

/// Where a value of an answer stands.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SourceForm {
    pub jsonpath: Option<String>,
    /// The first group, or the whole match, in the body.
    pub regex: Option<String>,
    pub header: Option<String>,
}

/// A metric of the user's own: `value`, or a number found in the answer.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RecordForm {
    pub metric: String,
    pub kind: RecordKind,
    pub value: Option<f64>,
    pub jsonpath: Option<String>,
    pub regex: Option<String>,
    pub header: Option<String>,
}

/// How values of a metric are summed up.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum RecordKind {
    /// Percentiles of the values.
    #[default]
    Trend,
    /// Their sum.
    Counter,
    /// The last one.
    Gauge,
    /// The share that is not zero.
    Rate,
}

#[derive(Clone, Debug)]
pub enum Source {
    JsonPath(JsonPath),
    Regex(Regex),
    Header(HeaderName),
}

/// A checked [`RecordForm`].
#[derive(Clone, Debug)]
pub struct Record {
    pub metric: String,
    pub kind: RecordKind,
    value: Result<f64, Source>,
}

/// A checked step.
#[derive(Clone, Debug)]
pub struct Step {
    pub name: String,
    pub method: Method,
    url: Template,
    headers: Vec<(HeaderName, Template)>,
    body: Template,
    pub timeout: Option<Duration>,
    expected_statuses: Vec<u16>,
    pub checks: Vec<Check>,
    pub extract: Vec<(String, Source)>,
    pub record: Vec<Record>,
    pub tags: BTreeMap<String, String>,
    pub pause: Option<Duration>,
    /// The request, where nothing in it varies.
    fixed: Option<Request>,
}

/// What is sent.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: Method,
    /// Absolute.
    pub uri: Uri,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// Why a step could not be sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unsent {
    #[error("variable {0:?} has no value")]
    Variable(String),
    #[error("{0}")]
    Invalid(String),
}

impl Step {
    /// `base` is the target's address, for a relative `url`; `place` begins the messages.
    pub fn check(form: StepForm, base: Option<&str>, place: &str) -> Result<Self, StepError> {
        let wrong =
            |field: &str, reason: String| StepError::new(format!("{place}.{field}"), reason);
        let method = form.method.as_deref().unwrap_or("GET").to_ascii_uppercase();
        let method: Method =
            method.parse().map_err(|_e| wrong("method", format!("{method:?} is not a method")))?;
        let url = if form.url.contains("://") || form.url.starts_with("${") {
            form.url.clone()
        } else {
            let Some(base) = base else {
                return Err(wrong(
                    "url",
                    format!("{:?} is a path, and no target is given (target: or --url)", form.url),
                ));
            };
            let path = form.url.trim_start_matches('/');
            format!("{}/{path}", base.trim_end_matches('/'))
        };
        let mut headers = Vec::new();
        for (name, value) in &form.headers {
            let parsed = HeaderName::try_from(name.as_str())
                .map_err(|e| wrong("headers", format!("{name:?}: {e}")))?;
            headers.push((parsed, Template::parse(value)));
        }
        let mut extract = Vec::new();
        for (name, source) in form.extract {
            let place = format!("{place}.extract.{name}");
            let source = Source::check(&source, &place)?
                .ok_or_else(|| StepError::new(&place, "jsonpath, regex or header is missing"))?;
            extract.push((name, source));
        }
        let mut checks = Vec::new();
        for (i, check) in form.checks.into_iter().enumerate() {
            checks.push(Check::checked(check, &format!("{place}.checks[{i}]"))?);
        }
        let mut record = Vec::new();
        for (i, form) in form.record.into_iter().enumerate() {
            record.push(Record::check(form, &format!("{place}.record[{i}]"))?);
        }
        let time = |field: &str, text: &Option<String>| {
            text.as_deref().map(|t| duration(&format!("{place}.{field}"), t)).transpose()
        };
        let mut step = Self {
            name: form.name.unwrap_or_else(|| format!("{method} {}", form.url)),
            timeout: time("timeout", &form.timeout)?,
            pause: time("pause", &form.pause)?,
            method,
            url: Template::parse(&url),
            headers,
            body: Template::parse(form.body.as_deref().unwrap_or("")),
            expected_statuses: form.expected_statuses,
            checks,
            extract,
            record,
            tags: form.tags,
            fixed: None,
        };
        if step.url.fixed().is_some() {
            match step.build(&Variables::new()) {
                Ok(request) => step.fixed = Some(request),
                Err(Unsent::Variable(_)) => {}
                Err(Unsent::Invalid(reason)) => return Err(wrong("url", reason)),
            }
        }
        Ok(step)
    }

    /// Host of the address, where it is known before the run.
    pub fn host(&self) -> Option<&str> {
        self.fixed.as_ref().and_then(|r| r.uri.host())
    }

    pub fn request(&self, variables: &Variables) -> Result<Request, Unsent> {
        match &self.fixed {
            Some(request) => Ok(request.clone()),
            None => self.build(variables),
        }
    }

    fn build(&self, variables: &Variables) -> Result<Request, Unsent> {
        let url = self.url.fill(variables).map_err(Unsent::Variable)?;
        let uri: Uri = url.parse().map_err(|e| Unsent::Invalid(format!("{url:?}: {e}")))?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) || uri.host().is_none() {
            return Err(Unsent::Invalid(format!("{url:?} is not http:// or https://")));
        }
        let mut headers = HeaderMap::new();
        for (name, value) in &self.headers {
            let text = value.fill(variables).map_err(Unsent::Variable)?;
            let value = HeaderValue::try_from(&text)
                .map_err(|e| Unsent::Invalid(format!("header {name}: {e}")))?;
            headers.append(name.clone(), value);
        }
        let body = self.body.fill(variables).map_err(Unsent::Variable)?;
        Ok(Request { method: self.method.clone(), uri, headers, body: Bytes::from(body) })
    }

    /// Whether variables can change what is sent.
    pub(crate) fn varies(&self) -> bool {
        self.fixed.is_none()
    }

    /// Whether the body must be kept to judge the answer.
    pub fn reads_body(&self) -> bool {
        self.extract.iter().any(|(_, s)| s.is_of_body())
            || self.record.iter().any(|r| r.value.as_ref().is_err_and(Source::is_of_body))
            || self.checks.iter().any(Check::reads_body)
    }

    pub fn expects(&self, status: StatusCode) -> bool {
        match self.expected_statuses.as_slice() {
            [] => status.as_u16() < 400,
            some => some.contains(&status.as_u16()),
        }
    }

    /// Puts what it extracts into `variables`; Err is the first name without a value.
    pub fn take(
        &self,
        headers: &HeaderMap,
        body: &[u8],
        variables: &mut Variables,
    ) -> Result<(), String> {
        for (name, source) in &self.extract {
            let value = source.read(headers, body).ok_or_else(|| name.clone())?;
            variables.insert(name.clone(), value);
        }
        Ok(())
    }
}

impl Record {
    fn check(form: RecordForm, place: &str) -> Result<Self, StepError> {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if form.metric.is_empty() || !form.metric.chars().all(plain) {
            return Err(StepError::new(
                place,
                format!("metric {:?} may hold only letters, digits and '_'", form.metric),
            ));
        }
        let source = SourceForm { jsonpath: form.jsonpath, regex: form.regex, header: form.header };
        let source = Source::check(&source, place)?;
        let value = match (form.value, source) {
            (Some(value), None) => Ok(value),
            (None, Some(source)) => Err(source),
            _ => {
                let reason = "exactly one of value, jsonpath, regex and header is expected";
                return Err(StepError::new(place, reason));
            }
        };
        Ok(Self { metric: form.metric, kind: form.kind, value })
    }

    /// `None` where the answer has no such number.
    pub fn read(&self, headers: &HeaderMap, body: &[u8]) -> Option<f64> {
        match &self.value {
            Ok(value) => Some(*value),
            Err(source) => match source.read(headers, body)?.trim() {
                "true" => Some(1.0),
                "false" => Some(0.0),
                text => text.parse().ok(),
            },
        }
    }
}

impl Source {
    pub(super) fn check(form: &SourceForm, place: &str) -> Result<Option<Self>, StepError> {
        let given = [form.jsonpath.is_some(), form.regex.is_some(), form.header.is_some()];
        if given.iter().filter(|g| **g).count() > 1 {
            return Err(StepError::new(place, "only one of jsonpath, regex and header"));
        }
        if let Some(path) = &form.jsonpath {
            let path = JsonPath::parse(path).map_err(|e| StepError::new(place, e.to_string()))?;
            return Ok(Some(Self::JsonPath(path)));
        }
        if let Some(pattern) = &form.regex {
            return Ok(Some(Self::Regex(regex(pattern, place)?)));
        }
        if let Some(name) = &form.header {
            let name = HeaderName::try_from(name.as_str())
                .map_err(|e| StepError::new(place, format!("{name:?}: {e}")))?;
            return Ok(Some(Self::Header(name)));
        }
        Ok(None)
    }

    pub(super) fn is_of_body(&self) -> bool {
        !matches!(self, Self::Header(_))
    }

    /// The value as text: a JSON string bare, everything else as JSON.
    pub fn read(&self, headers: &HeaderMap, body: &[u8]) -> Option<String> {
        match self {
            Self::Header(name) => headers.get(name)?.to_str().ok().map(str::to_owned),
            Self::Regex(pattern) => {
                let text = String::from_utf8_lossy(body);
                let found = pattern.captures(&text)?;
                found.get(1).or_else(|| found.get(0)).map(|m| m.as_str().to_owned())
            }
            Self::JsonPath(path) => {
                let json: Value = serde_json::from_slice(body).ok()?;
                path.find(&json).first().map(|v| plain(v))
            }
        }
    }
}

/// A JSON string bare, everything else as JSON.
pub(super) fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

pub(super) fn regex(pattern: &str, place: &str) -> Result<Regex, StepError> {
    Regex::new(pattern).map_err(|e| StepError::new(place, e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(yaml: &str) -> Result<Step, StepError> {
        let form: StepForm = serde_saphyr::from_str(yaml).unwrap();
        Step::check(form, Some("http://127.0.0.1:1/base/"), "steps[0]")
    }

    #[test]
    fn a_step_is_sent_and_judged() {
        let s = step(
            "{url: '/a/${id}', method: post, headers: {x-k: '${id}'}, body: '{\"n\": ${id}}',
              checks: [{status: 201}, {jsonpath: $.n, above: 3}, {header: etag}, {body: true, contains: ok}],
              extract: {n: {jsonpath: $.n}, tag: {header: etag}, word: {regex: 'o(k)'}}}",
        )
        .unwrap();
        assert_eq!(s.request(&Variables::new()).unwrap_err(), Unsent::Variable("id".into()));
        let mut variables = Variables::from([("id".to_owned(), "7".to_owned())]);
        let request = s.request(&variables).unwrap();
        assert_eq!(request.uri, "http://127.0.0.1:1/base/a/7");
        assert_eq!((request.method.as_str(), &request.body[..]), ("POST", &b"{\"n\": 7}"[..]));
        let mut headers = HeaderMap::new();
        headers.insert("etag", HeaderValue::from_static("e1"));
        let body = br#"{"n": 4, "s": "ok"}"#;
        let holds = |i: usize, status: u16| {
            let status = StatusCode::from_u16(status).unwrap();
            s.checks[i].holds(status, &headers, body, Duration::ZERO)
        };
        assert_eq!([holds(0, 201), holds(0, 200)], [true, false]);
        assert_eq!([holds(1, 200), holds(2, 200), holds(3, 200)], [true, true, true]);
        s.take(&headers, body, &mut variables).unwrap();
        assert_eq!(
            (variables["n"].as_str(), variables["tag"].as_str(), variables["word"].as_str()),
            ("4", "e1", "k")
        );
        assert_eq!(s.take(&headers, b"{}", &mut variables), Err("n".to_owned()));
        assert!(s.reads_body());
    }

    #[test]
    fn mistakes_say_where() {
        for (yaml, says) in [
            ("{url: 'ftp://x/'}", "steps[0].url"),
            ("{url: /, method: 'a b'}", "steps[0].method"),
            ("{url: /, checks: [{status: 200, body: true}]}", "steps[0].checks[0]"),
            ("{url: /, checks: [{jsonpath: a}]}", "JSONPath"),
            ("{url: /, extract: {a: {}}}", "steps[0].extract.a"),
            ("{url: /, pause: never}", "steps[0].pause"),
        ] {
            let e = step(yaml).unwrap_err().to_string();
            assert!(e.contains(says), "{yaml}: {e}");
        }
    }
}
