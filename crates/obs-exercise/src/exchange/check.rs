//! Assertions over an answer.

use std::time::Duration;

use hyper::{HeaderMap, StatusCode};
use regex::Regex;
use serde::Deserialize;
use serde_json::Value;

use super::step::{Source, SourceForm, plain, regex};
use super::text::{StepError, duration};

/// An assertion: one of `status`, `jsonpath`, `header`, `body`, `duration`, and one test.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CheckForm {
    pub name: Option<String>,
    pub status: Option<u16>,
    pub jsonpath: Option<String>,
    pub header: Option<String>,
    pub body: bool,
    pub duration_below: Option<String>,
    pub equals: Option<Value>,
    pub matches: Option<String>,
    pub contains: Option<String>,
    pub above: Option<f64>,
    pub below: Option<f64>,
}

#[derive(Clone, Debug)]
enum Subject {
    Status,
    Body,
    Duration,
    At(Source),
}

#[derive(Clone, Debug)]
enum Test {
    Equals(String),
    Matches(Regex),
    Contains(String),
    Above(f64),
    Below(f64),
    Present,
}

/// A checked assertion.
#[derive(Clone, Debug)]
pub struct Check {
    pub name: String,
    subject: Subject,
    test: Test,
}

impl Check {
    pub(super) fn checked(form: CheckForm, place: &str) -> Result<Self, StepError> {
        let at = Source::check(
            &SourceForm {
                jsonpath: form.jsonpath.clone(),
                regex: None,
                header: form.header.clone(),
            },
            place,
        )?;
        let mut tests = Vec::new();
        if let Some(value) = &form.equals {
            tests.push(Test::Equals(plain(value)));
        }
        if let Some(pattern) = &form.matches {
            tests.push(Test::Matches(regex(pattern, place)?));
        }
        if let Some(text) = &form.contains {
            tests.push(Test::Contains(text.clone()));
        }
        tests.extend(form.above.map(Test::Above));
        tests.extend(form.below.map(Test::Below));
        let subjects =
            [form.status.is_some(), at.is_some(), form.body, form.duration_below.is_some()];
        if subjects.iter().filter(|s| **s).count() != 1 {
            return Err(StepError::new(
                place,
                "exactly one of status, jsonpath, header, body and duration_below is expected",
            ));
        }
        if tests.len() > 1 {
            return Err(StepError::new(
                place,
                "only one of equals, matches, contains, above and below",
            ));
        }
        let test = tests.pop();
        let (subject, test, shown) = if let Some(status) = form.status {
            (Subject::Status, Test::Equals(status.to_string()), format!("status is {status}"))
        } else if let Some(limit) = &form.duration_below {
            let limit_s = duration(place, limit)?.as_secs_f64();
            (Subject::Duration, Test::Below(limit_s), format!("duration below {limit}"))
        } else {
            let (subject, what) = match at {
                Some(source) => {
                    let what = form.jsonpath.clone().or(form.header.clone()).unwrap_or_default();
                    (Subject::At(source), what)
                }
                None => (Subject::Body, "body".to_owned()),
            };
            let test = test.unwrap_or(Test::Present);
            let shown = match &test {
                Test::Equals(v) => format!("{what} equals {v}"),
                Test::Matches(r) => format!("{what} matches {r}"),
                Test::Contains(t) => format!("{what} contains {t}"),
                Test::Above(n) => format!("{what} above {n}"),
                Test::Below(n) => format!("{what} below {n}"),
                Test::Present => format!("{what} is there"),
            };
            (subject, test, shown)
        };
        Ok(Self { name: form.name.unwrap_or(shown), subject, test })
    }

    /// Whether the answer's body must be kept for it.
    pub(super) fn reads_body(&self) -> bool {
        match &self.subject {
            Subject::Body => true,
            Subject::At(source) => source.is_of_body(),
            Subject::Status | Subject::Duration => false,
        }
    }

    /// `took` is the time of the exchange.
    pub fn holds(
        &self,
        status: StatusCode,
        headers: &HeaderMap,
        body: &[u8],
        took: Duration,
    ) -> bool {
        let seen = match &self.subject {
            Subject::Status => Some(status.as_u16().to_string()),
            Subject::Body => Some(String::from_utf8_lossy(body).into_owned()),
            Subject::Duration => Some(took.as_secs_f64().to_string()),
            Subject::At(source) => source.read(headers, body),
        };
        let Some(seen) = seen else { return false };
        let number = || seen.parse::<f64>().ok();
        match &self.test {
            Test::Equals(value) => seen == *value,
            Test::Matches(pattern) => pattern.is_match(&seen),
            Test::Contains(text) => seen.contains(text.as_str()),
            Test::Above(limit) => number().is_some_and(|n| n > *limit),
            Test::Below(limit) => number().is_some_and(|n| n < *limit),
            Test::Present => !matches!(self.subject, Subject::Body) || !seen.is_empty(),
        }
    }
}
