//! The functions that templates call.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gotmpl::{TemplateError, Value};
use regex::Regex;

use super::CURRENT;
use crate::pipe::gotime::{self, Time};
use crate::unit;

/// Most bytes that `repeat`, `indent`, `alignLeft` and the like may make.
const TEXT_BYTES_MAX: usize = 1 << 20;

type Outcome = Result<Value, TemplateError>;

fn text(args: &[Value], at: usize) -> String {
    args.get(at).map(ToString::to_string).unwrap_or_default()
}

fn text_value(text: impl AsRef<str>) -> Value {
    Value::String(Arc::from(text.as_ref()))
}

fn failed(message: impl Into<String>) -> TemplateError {
    TemplateError::Exec(message.into())
}

/// As `toFloat64` of sprig: what is no number counts as 0.
fn float(value: Option<&Value>) -> f64 {
    match value {
        Some(Value::Int(i)) => *i as f64,
        Some(Value::Uint(u)) => *u as f64,
        Some(Value::Float(f)) => *f,
        Some(Value::Bool(b)) => f64::from(u8::from(*b)),
        Some(Value::String(s)) => s.parse().unwrap_or(0.0),
        _ => 0.0,
    }
}

fn integer(value: Option<&Value>) -> i64 {
    match value {
        Some(Value::Int(i)) => *i,
        Some(Value::Uint(u)) => i64::try_from(*u).unwrap_or(i64::MAX),
        Some(Value::String(s)) => s.parse().unwrap_or(0),
        other => float(other) as i64,
    }
}

fn capped(text: String) -> Outcome {
    if text.len() > TEXT_BYTES_MAX {
        return Err(failed(format!("result is longer than {TEXT_BYTES_MAX} bytes")));
    }
    Ok(text_value(text))
}

fn regex(text: &str) -> Result<Regex, TemplateError> {
    crate::regexp::compile(text).map_err(|e| failed(format!("error parsing regexp: {e}")))
}

/// Go writes `${1}` and `$1x` as this crate does, so templates pass as they are.
fn replace_all(args: &[Value], literal: bool) -> Outcome {
    let regex = regex(&text(args, 0))?;
    let (subject, with) = (text(args, 1), text(args, 2));
    let out = if literal {
        regex.replace_all(&subject, regex::NoExpand(&with))
    } else {
        regex.replace_all(&subject, with.as_str())
    };
    capped(out.into_owned())
}

fn trimmed_set(args: &[Value], left: bool, right: bool) -> Value {
    // The subject comes first in Go's own functions.
    let (subject, set) = (text(args, 0), text(args, 1));
    let mut out = subject.as_str();
    if left {
        out = out.trim_start_matches(|c| set.contains(c));
    }
    if right {
        out = out.trim_end_matches(|c| set.contains(c));
    }
    text_value(out)
}

fn time(value: Option<&Value>) -> Option<Time> {
    match value {
        Some(Value::String(s)) => gotime::from_default_text(s),
        Some(Value::Int(seconds)) => Some(Time::utc(seconds.checked_mul(1_000_000_000)?)),
        _ => None,
    }
}

fn aligned(args: &[Value], left: bool) -> Outcome {
    let width = usize::try_from(integer(args.first())).unwrap_or(0).min(TEXT_BYTES_MAX);
    let subject = text(args, 1);
    let length = subject.chars().count();
    if length > width {
        let kept: String = if left {
            subject.chars().take(width).collect()
        } else {
            subject.chars().skip(length - width).collect()
        };
        return Ok(text_value(kept));
    }
    let space = " ".repeat(width - length);
    capped(if left { subject + &space } else { space + &subject })
}

fn value_from_json(json: serde_json::Value) -> Value {
    match json {
        serde_json::Value::Null => Value::Nil,
        serde_json::Value::Bool(b) => Value::Bool(b),
        serde_json::Value::Number(n) => Value::Float(n.as_f64().unwrap_or(0.0)),
        serde_json::Value::String(s) => text_value(s),
        serde_json::Value::Array(items) => {
            Value::List(items.into_iter().map(value_from_json).collect())
        }
        serde_json::Value::Object(members) => Value::Map(Arc::new(
            members.into_iter().map(|(k, v)| (Arc::from(k), value_from_json(v))).collect(),
        )),
    }
}

fn fold(args: &[Value], first: impl Fn(f64) -> f64, f: impl Fn(f64, f64) -> f64) -> f64 {
    let start = first(float(args.first()));
    args.iter().skip(1).fold(start, |a, v| f(a, float(Some(v))))
}

fn fold_integer(args: &[Value], f: impl Fn(i64, i64) -> Option<i64>) -> Outcome {
    let mut total = integer(args.first());
    for v in args.iter().skip(1) {
        total = f(total, integer(Some(v)))
            .ok_or_else(|| failed("integer overflow or division by zero"))?;
    }
    Ok(Value::Int(total))
}

fn rounded(args: &[Value]) -> Value {
    let value = float(args.first());
    let scale = 10f64.powi(i32::try_from(integer(args.get(1))).unwrap_or(0).clamp(-300, 300));
    let limit = if args.len() > 2 { float(args.get(2)) } else { 0.5 };
    let scaled = value * scale;
    let whole = scaled.trunc();
    let up = (scaled - whole).abs() >= limit;
    let out = if up { whole + scaled.signum() } else { whole };
    Value::Float(out / scale)
}

fn url_decode(text: &str) -> Result<String, TemplateError> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(b) = bytes.next() {
        out.push(match b {
            b'+' => b' ',
            b'%' => {
                let digit = |b: Option<u8>| b.and_then(|b| char::from(b).to_digit(16));
                match (digit(bytes.next()), digit(bytes.next())) {
                    (Some(high), Some(low)) => (high * 16 + low) as u8,
                    _ => return Err(failed("invalid URL escape")),
                }
            }
            b => b,
        });
    }
    Ok(String::from_utf8_lossy(&out).into_owned())
}

fn indent(args: &[Value]) -> Outcome {
    let width = usize::try_from(integer(args.first())).unwrap_or(0).min(1024);
    let space = " ".repeat(width);
    let lines: Vec<String> = text(args, 1).split('\n').map(|l| format!("{space}{l}")).collect();
    capped(lines.join("\n"))
}

fn part(subject: &str, from: usize, to: usize) -> String {
    // Go slices bytes; a cut inside a character shows the replacement character there.
    let bytes = subject.as_bytes();
    let to = to.min(bytes.len());
    String::from_utf8_lossy(bytes.get(from.min(to)..to).unwrap_or(&[])).into_owned()
}

fn title(text: &str) -> String {
    let mut start = true;
    text.chars()
        .map(|c| {
            let shown = if start { c.to_uppercase().next().unwrap_or(c) } else { c };
            start = !(c.is_alphanumeric() || c == '_' || c == '\'');
            shown
        })
        .collect()
}

fn decode_base64(subject: &str) -> String {
    let padded = match subject.len() % 4 {
        0 | 1 => subject.to_owned(),
        rest => format!("{subject}{}", "=".repeat(4 - rest)),
    };
    match STANDARD.decode(padded) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(e) => format!("illegal base64 data: {e}"),
    }
}

fn unix_to_time(subject: &str) -> Outcome {
    let bad = || failed(format!("unable to parse time '{subject}'"));
    let number: i64 = subject.parse().ok().ok_or_else(bad)?;
    let scale = match subject.len() {
        5 => 86_400_000_000_000,
        10 => 1_000_000_000,
        13 => 1_000_000,
        16 => 1_000,
        19 => 1,
        _ => return Err(bad()),
    };
    let ns = number.checked_mul(scale).ok_or_else(bad)?;
    Ok(text_value(Time::utc(ns).default_text()))
}

/// Loki's own functions and the ones it takes from sprig.
pub(super) fn functions() -> gotmpl::FuncMap {
    let mut map = gotmpl::FuncMap::new();
    let mut add = |name: &str, f: fn(&[Value]) -> Outcome| {
        map.insert(name.into(), Arc::new(f));
    };
    add("__line__", |_| Ok(text_value(CURRENT.with_borrow(|c| c.0.clone()))));
    add("__timestamp__", |_| {
        Ok(text_value(Time::utc(CURRENT.with_borrow(|c| c.1)).default_text()))
    });
    // Rendering is a pure function of the line, so "now" is the line's own time.
    add("now", |_| Ok(text_value(Time::utc(CURRENT.with_borrow(|c| c.1)).default_text())));
    for name in ["ToLower", "lower"] {
        add(name, |a| Ok(text_value(text(a, 0).to_lowercase())));
    }
    for name in ["ToUpper", "upper"] {
        add(name, |a| Ok(text_value(text(a, 0).to_uppercase())));
    }
    add("Replace", |a| {
        let count = integer(a.get(3));
        let (subject, old, new) = (text(a, 0), text(a, 1), text(a, 2));
        capped(match usize::try_from(count) {
            Ok(n) => subject.replacen(&old, &new, n),
            Err(_) => subject.replace(&old, &new),
        })
    });
    add("Trim", |a| Ok(trimmed_set(a, true, true)));
    add("TrimLeft", |a| Ok(trimmed_set(a, true, false)));
    add("TrimRight", |a| Ok(trimmed_set(a, false, true)));
    add("TrimPrefix", |a| {
        let s = text(a, 0);
        Ok(text_value(s.strip_prefix(&text(a, 1)).unwrap_or(&s)))
    });
    add("TrimSuffix", |a| {
        let s = text(a, 0);
        Ok(text_value(s.strip_suffix(&text(a, 1)).unwrap_or(&s)))
    });
    for name in ["TrimSpace", "trim"] {
        add(name, |a| Ok(text_value(text(a, 0).trim())));
    }
    add("regexReplaceAll", |a| replace_all(a, false));
    add("regexReplaceAllLiteral", |a| replace_all(a, true));
    add("count", |a| {
        let found = regex(&text(a, 0))?.find_iter(&text(a, 1)).count();
        Ok(Value::Int(i64::try_from(found).unwrap_or(i64::MAX)))
    });
    add("urldecode", |a| url_decode(&text(a, 0)).map(text_value));
    add("urlencode", |a| Ok(text_value(gotmpl::url_encode(&text(a, 0)))));
    add("bytes", |a| unit::bytes(&text(a, 0)).map(|b| Value::Float(b as f64)).map_err(failed));
    for name in ["duration", "duration_seconds"] {
        add(name, |a| {
            unit::go_duration(&text(a, 0)).map(|ns| Value::Float(ns as f64 / 1e9)).map_err(failed)
        });
    }
    let unix = |scale: i64| {
        move |a: &[Value]| -> Outcome {
            let at = time(a.first()).ok_or_else(|| failed("a time is needed"))?;
            Ok(text_value(at.ns.div_euclid(scale).to_string()))
        }
    };
    map.insert("unixEpoch".into(), Arc::new(unix(1_000_000_000)));
    map.insert("unixEpochMillis".into(), Arc::new(unix(1_000_000)));
    map.insert("unixEpochNanos".into(), Arc::new(unix(1)));
    let mut add = |name: &str, f: fn(&[Value]) -> Outcome| {
        map.insert(name.into(), Arc::new(f));
    };
    add("toDateInZone", |a| {
        let at = gotime::parse(&text(a, 0), &text(a, 2), &text(a, 1));
        Ok(text_value(at.map_or_else(gotime::zero_text, |t| t.default_text())))
    });
    add("toDate", |a| {
        let at = gotime::parse(&text(a, 0), &text(a, 1), "UTC");
        Ok(text_value(at.map_or_else(gotime::zero_text, |t| t.default_text())))
    });
    add("date", |a| {
        let at = time(a.get(1)).ok_or_else(|| failed("a time is needed"))?;
        capped(gotime::format(&text(a, 0), &at))
    });
    add("unixToTime", |a| unix_to_time(&text(a, 0)));
    add("alignLeft", |a| aligned(a, true));
    add("alignRight", |a| aligned(a, false));
    add("b64dec", |a| Ok(text_value(decode_base64(&text(a, 0)))));
    add("b64enc", |a| capped(STANDARD.encode(text(a, 0))));
    add("title", |a| Ok(text_value(title(&text(a, 0)))));
    add("trunc", |a| {
        let (count, s) = (integer(a.first()), text(a, 1));
        let length = usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX);
        Ok(text_value(if count < 0 {
            part(&s, s.len().saturating_sub(length), s.len())
        } else {
            part(&s, 0, length)
        }))
    });
    add("substr", |a| {
        let s = text(a, 2);
        let from = usize::try_from(integer(a.first())).unwrap_or(0);
        let to = usize::try_from(integer(a.get(1))).unwrap_or(s.len());
        Ok(text_value(part(&s, from, to)))
    });
    add("contains", |a| Ok(Value::Bool(text(a, 1).contains(&text(a, 0)))));
    add("hasPrefix", |a| Ok(Value::Bool(text(a, 1).starts_with(&text(a, 0)))));
    add("hasSuffix", |a| Ok(Value::Bool(text(a, 1).ends_with(&text(a, 0)))));
    add("indent", indent);
    add("nindent", |a| capped(format!("\n{}", indent(a)?)));
    add("replace", |a| capped(text(a, 2).replace(&text(a, 0), &text(a, 1))));
    add("repeat", |a| {
        let (count, s) = (usize::try_from(integer(a.first())).unwrap_or(0), text(a, 1));
        if s.len().saturating_mul(count) > TEXT_BYTES_MAX {
            return Err(failed(format!("result is longer than {TEXT_BYTES_MAX} bytes")));
        }
        Ok(text_value(s.repeat(count)))
    });
    add("trimAll", |a| {
        let (set, s) = (text(a, 0), text(a, 1));
        Ok(text_value(s.trim_matches(|c| set.contains(c))))
    });
    add("trimPrefix", |a| {
        let s = text(a, 1);
        Ok(text_value(s.strip_prefix(&text(a, 0)).unwrap_or(&s)))
    });
    add("trimSuffix", |a| {
        let s = text(a, 1);
        Ok(text_value(s.strip_suffix(&text(a, 0)).unwrap_or(&s)))
    });
    add("int", |a| Ok(Value::Int(integer(a.first()))));
    add("float64", |a| Ok(Value::Float(float(a.first()))));
    add("add", |a| fold_integer(a, i64::checked_add));
    add("sub", |a| fold_integer(a, i64::checked_sub));
    add("mul", |a| fold_integer(a, i64::checked_mul));
    add("div", |a| fold_integer(a, i64::checked_div));
    add("mod", |a| fold_integer(a, i64::checked_rem));
    add("max", |a| fold_integer(a, |x, y| Some(x.max(y))));
    add("min", |a| fold_integer(a, |x, y| Some(x.min(y))));
    add("addf", |a| Ok(Value::Float(fold(a, |x| x, |x, y| x + y))));
    add("subf", |a| Ok(Value::Float(fold(a, |x| x, |x, y| x - y))));
    add("mulf", |a| Ok(Value::Float(fold(a, |x| x, |x, y| x * y))));
    add("divf", |a| Ok(Value::Float(fold(a, |x| x, |x, y| x / y))));
    add("maxf", |a| Ok(Value::Float(fold(a, |x| x, f64::max))));
    add("minf", |a| Ok(Value::Float(fold(a, |x| x, f64::min))));
    add("ceil", |a| Ok(Value::Float(float(a.first()).ceil())));
    add("floor", |a| Ok(Value::Float(float(a.first()).floor())));
    add("round", |a| Ok(rounded(a)));
    add("fromJson", |a| Ok(serde_json::from_str(&text(a, 0)).map_or(Value::Nil, value_from_json)));
    add("default", |a| {
        Ok(match a.get(1) {
            Some(v) if v.is_truthy() => v.clone(),
            _ => a.first().cloned().unwrap_or(Value::Nil),
        })
    });
    map
}
