//! Whether an answer is what the module wants.

use std::io::Read;

use hyper::header::LAST_MODIFIED;
use hyper::{HeaderMap, Version};

use super::{Answer, BODY_BYTES_MAX, REGEX};
use crate::probe::config::{HeaderMatch, Http};
use crate::probe::result::ProbeResult;
use crate::probe::{cel, certificate};

const CEL: (&str, &str) =
    ("probe_failed_due_to_cel", "Indicates if probe failed due to CEL expression");

pub(super) fn judge(
    module: &Http,
    answer: Answer,
    followed: bool,
    result: &mut ProbeResult,
) -> bool {
    let status = answer.status.as_u16();
    let mut success = match module.valid_statuses.as_slice() {
        [] => (200..300).contains(&status),
        some => some.contains(&status),
    };
    if !success {
        result.say(format!(
            "level=error msg=\"Invalid HTTP response status code\" status_code={status}"
        ));
    }
    if success && !(module.header_matches.is_empty() && module.header_not_matches.is_empty()) {
        success = headers_match(module, &answer.headers, result);
        result.set(REGEX.0, REGEX.1, f64::from(u8::from(!success)));
    }
    let (body, read_bytes) = unpacked(module, &answer, &mut success, result);
    if success && !(module.body_matches.is_empty() && module.body_not_matches.is_empty()) {
        success = followed && body_matches(module, &body, result);
        result.set(REGEX.0, REGEX.1, f64::from(u8::from(!success)));
    }
    if success && (module.json_matches.is_some() || module.json_not_matches.is_some()) {
        success = followed && json_fits(module, &body, result);
        result.set(CEL.0, CEL.1, f64::from(u8::from(!success)));
    }
    let modified = answer.headers.get(LAST_MODIFIED).and_then(|v| v.to_str().ok());
    if let Some(time) = modified.and_then(|t| jiff::fmt::rfc2822::parse(t).ok()) {
        result.set(
            "probe_http_last_modified_timestamp_seconds",
            "Returns the Last-Modified HTTP response header in unixtime",
            time.timestamp().as_second() as f64,
        );
    }
    let (number, text) = match answer.version {
        Version::HTTP_10 => (1.0, "HTTP/1.0"),
        Version::HTTP_2 => (2.0, "HTTP/2.0"),
        _ => (1.1, "HTTP/1.1"),
    };
    let version_help = "Returns the version of HTTP of the probe response";
    result.set("probe_http_version", version_help, number);
    if !module.valid_versions.is_empty() && !module.valid_versions.iter().any(|v| v == text) {
        result.say(format!("level=error msg=\"Invalid HTTP version number\" version={text}"));
        success = false;
    }
    match &answer.session {
        Some(session) => {
            let help = "Indicates if SSL was used for the final redirect";
            result.set("probe_http_ssl", help, 1.0);
            certificate::gauges(session, true, true, result);
            if module.fail_if_ssl {
                result.say("level=error msg=\"Final request was over SSL\"");
                success = false;
            }
        }
        None if module.fail_if_not_ssl && success => {
            result.say("level=error msg=\"Final request was not over SSL\"");
            success = false;
        }
        None => {}
    }
    result.set("probe_http_status_code", "Response HTTP status code", f64::from(status));
    let help = "Length of http content response";
    result.set("probe_http_content_length", help, answer.content_length);
    // A redirect that was left alone is not read.
    let length = if followed { read_bytes as f64 } else { 0.0 };
    let help = "Length of uncompressed response body";
    result.set("probe_http_uncompressed_body_length", help, length);
    success
}

/// A body that is no JSON, and a condition without an answer, fail the probe.
fn json_fits(module: &Http, body: &[u8], result: &mut ProbeResult) -> bool {
    let body = match cel::json(body) {
        Ok(body) => body,
        Err(e) => {
            result.say(format!("level=error msg=\"Error parsing JSON body\" err={e:?}"));
            return false;
        }
    };
    for (condition, good) in [(&module.json_matches, false), (&module.json_not_matches, true)] {
        let Some(condition) = condition else { continue };
        let (text, holds) = (condition.text(), condition.holds(&body));
        if holds != Ok(good) {
            result.say(format!("level=error msg=\"CEL expression\" cel={text:?} holds={holds:?}"));
            return false;
        }
    }
    true
}

/// The body, unpacked and cut as the module says; what is wrong with it clears `success`.
fn unpacked(
    module: &Http,
    answer: &Answer,
    success: &mut bool,
    result: &mut ProbeResult,
) -> (Vec<u8>, usize) {
    let raw = match &answer.body {
        Ok(raw) => raw,
        Err(e) => {
            result.say(format!("level=error msg=\"Failed to read HTTP response body\" err={e:?}"));
            *success = false;
            return (Vec::new(), 0);
        }
    };
    let most = module.body_bytes_max.unwrap_or(BODY_BYTES_MAX);
    let mut body = Vec::new();
    let reader: Box<dyn Read> = match module.compression.as_str() {
        "gzip" => Box::new(flate2::read::GzDecoder::new(raw.as_ref())),
        "deflate" => Box::new(flate2::read::DeflateDecoder::new(raw.as_ref())),
        _ => Box::new(raw.as_ref()),
    };
    if let Err(e) = reader.take(most as u64 + 1).read_to_end(&mut body) {
        result.say(format!(
            "level=error msg=\"Failed to read HTTP response body\" err={:?}",
            e.to_string()
        ));
        *success = false;
    }
    if body.len() > most {
        result.say(format!("level=error msg=\"HTTP response body is above {most} bytes\""));
        body.truncate(most);
        *success = false;
    }
    let length = body.len();
    (body, length)
}

fn headers_match(module: &Http, headers: &HeaderMap, result: &mut ProbeResult) -> bool {
    let mut judge = |rule: &HeaderMatch, must: bool| {
        let mut values = headers.get_all(rule.header.as_str()).iter().peekable();
        if values.peek().is_none() {
            if !rule.allow_missing {
                let header = &rule.header;
                result.say(format!("level=error msg=\"Missing required header\" header={header}"));
            }
            return rule.allow_missing;
        }
        let any = values.any(|v| rule.regexp.is_match(v.as_bytes()));
        if any != must {
            result.say(format!(
                "level=error msg=\"Header {} regular expression\" header={} regexp={}",
                if must { "did not match" } else { "matched" },
                rule.header,
                rule.regexp
            ));
        }
        any == must
    };
    module.header_matches.iter().all(|r| judge(r, false))
        && module.header_not_matches.iter().all(|r| judge(r, true))
}

fn body_matches(module: &Http, body: &[u8], result: &mut ProbeResult) -> bool {
    for pattern in &module.body_matches {
        if pattern.is_match(body) {
            result.say(format!(
                "level=error msg=\"Body matched regular expression\" regexp={pattern}"
            ));
            return false;
        }
    }
    for pattern in &module.body_not_matches {
        if !pattern.is_match(body) {
            result.say(format!(
                "level=error msg=\"Body did not match regular expression\" regexp={pattern}"
            ));
            return false;
        }
    }
    true
}
