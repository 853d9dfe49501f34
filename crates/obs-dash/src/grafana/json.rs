//! Small readers of JSON. The `take_` ones move a value out, so that what is left over is what
//! nobody understood.

use serde_json::{Value, json};

use super::link;
use crate::DashError;
use crate::model::{Extra, Link, Transformation};

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

pub(super) fn shape<T>(place: &str, wanted: &'static str, found: &Value) -> Result<T, DashError> {
    Err(DashError::Shape { place: place.to_owned(), wanted, found: kind_of(found) })
}

pub(super) fn object<'a>(value: &'a Value, place: &str) -> Result<&'a Extra, DashError> {
    match value {
        Value::Object(o) => Ok(o),
        other => shape(place, "an object", other),
    }
}

fn place_of(place: &str, name: &str) -> String {
    format!("{place}.{name}").trim_start_matches('.').to_owned()
}

pub(super) fn list<'a>(from: &'a Extra, name: &str, place: &str) -> Result<&'a [Value], DashError> {
    match from.get(name) {
        None | Some(Value::Null) => Ok(&[]),
        Some(Value::Array(items)) => Ok(items),
        Some(other) => shape(&place_of(place, name), "a list", other),
    }
}

pub(super) fn take_list(
    from: &mut Extra,
    name: &str,
    place: &str,
) -> Result<Vec<Value>, DashError> {
    match from.remove(name) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(items)) => Ok(items),
        Some(other) => shape(&place_of(place, name), "a list", &other),
    }
}

/// A string, or a number as it is written; empty for anything else.
pub(super) fn text(from: &Extra, name: &str) -> String {
    match from.get(name) {
        Some(Value::String(s)) => s.clone(),
        Some(Value::Number(n)) => n.to_string(),
        _ => String::new(),
    }
}

/// As [`text`]; what is no text stays where it is.
pub(super) fn take_text(from: &mut Extra, name: &str) -> String {
    let out = text(from, name);
    if matches!(from.get(name), Some(Value::String(_) | Value::Number(_) | Value::Null)) {
        from.remove(name);
    }
    out
}

pub(super) fn flag(from: &Extra, name: &str) -> bool {
    from.get(name).and_then(Value::as_bool).unwrap_or(false)
}

pub(super) fn take_flag(from: &mut Extra, name: &str) -> bool {
    let out = flag(from, name);
    if matches!(from.get(name), Some(Value::Bool(_) | Value::Null)) {
        from.remove(name);
    }
    out
}

/// A string, or the strings of a list.
pub(super) fn strings(value: Option<&Value>) -> Vec<String> {
    match value {
        Some(Value::String(s)) => vec![s.clone()],
        Some(Value::Number(n)) => vec![n.to_string()],
        Some(Value::Bool(b)) => vec![b.to_string()],
        Some(Value::Array(items)) => items.iter().flat_map(|i| strings(Some(i))).collect(),
        _ => Vec::new(),
    }
}

pub(super) fn number(value: Option<&Value>) -> Option<f64> {
    match value? {
        Value::Number(n) => n.as_f64(),
        Value::String(s) => s.trim().parse().ok().filter(|v: &f64| v.is_finite()),
        _ => None,
    }
}

/// As [`number`]; what is no number stays where it is.
pub(super) fn take_number(from: &mut Extra, name: &str) -> Option<f64> {
    let out = number(from.get(name));
    if out.is_some() {
        from.remove(name);
    }
    out
}

pub(super) fn small(from: &Extra, name: &str, default: u32) -> u32 {
    let v = number(from.get(name)).unwrap_or(f64::from(default));
    v.clamp(0.0, 100_000.0) as u32
}

pub(super) fn take_object(from: &mut Extra, name: &str) -> Extra {
    match from.remove(name) {
        Some(Value::Object(o)) => o,
        Some(Value::Null) | None => Extra::new(),
        Some(other) => {
            from.insert(name.to_owned(), other);
            Extra::new()
        }
    }
}

pub(crate) fn links_from(items: &[Value]) -> Vec<Link> {
    items.iter().filter_map(Value::as_object).cloned().map(link).collect()
}

pub(crate) fn links_to(links: &[Link]) -> Value {
    let one = |l: &Link| {
        let mut out = l.extra.clone();
        out.insert("title".to_owned(), json!(l.title));
        out.insert("url".to_owned(), json!(l.url));
        Value::Object(out)
    };
    Value::Array(links.iter().map(one).collect())
}

pub(crate) fn transformations_from(items: Vec<Value>) -> Vec<Transformation> {
    let read = |item: Value| {
        let Value::Object(mut o) = item else { return None };
        Some(Transformation {
            id: take_text(&mut o, "id"),
            disabled: take_flag(&mut o, "disabled"),
            options: o.remove("options").unwrap_or_else(|| json!({})),
            extra: o,
        })
    };
    items.into_iter().filter_map(read).collect()
}

pub(crate) fn transformations_to(all: &[Transformation]) -> Value {
    let one = |t: &Transformation| {
        let mut out = t.extra.clone();
        out.insert("id".to_owned(), json!(t.id));
        if t.disabled {
            out.insert("disabled".to_owned(), json!(true));
        }
        out.insert("options".to_owned(), t.options.clone());
        Value::Object(out)
    };
    Value::Array(all.iter().map(one).collect())
}
