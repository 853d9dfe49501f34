//! `fieldConfig`: unit, limits, thresholds, mappings and overrides, in and out.

use serde_json::{Map, Value, json};

use super::json::{number, take_list, take_number, take_object, take_text, text};
use crate::DashError;
use crate::field::{
    FieldConfig, FieldMatcher, Mapping, Override, Shown, Threshold, Thresholds, When,
};
use crate::model::Extra;

pub(super) fn read(from: Extra, place: &str) -> Result<FieldConfig, DashError> {
    let mut config = from;
    let place = format!("{place}.fieldConfig");
    let mut defaults = take_object(&mut config, "defaults");
    let thresholds = match defaults.get("thresholds") {
        Some(Value::Object(t)) => {
            let read = thresholds_from(t);
            defaults.remove("thresholds");
            read
        }
        _ => Thresholds::default(),
    };
    let overrides = overrides_from(take_list(&mut config, "overrides", &place)?);
    let mappings = mappings_from(&take_list(&mut defaults, "mappings", &place)?);
    let decimals = take_number(&mut defaults, "decimals").map(|d| d.clamp(0.0, 20.0) as u32);
    let links = take_list(&mut defaults, "links", &place)?;
    Ok(FieldConfig {
        unit: take_text(&mut defaults, "unit"),
        decimals,
        min: take_number(&mut defaults, "min"),
        max: take_number(&mut defaults, "max"),
        display_name: take_text(&mut defaults, "displayName"),
        thresholds,
        mappings,
        links: super::links_from(&links),
        custom: take_object(&mut defaults, "custom"),
        overrides,
        extra: defaults,
    })
}

pub(crate) fn thresholds_from(from: &Extra) -> Thresholds {
    let steps = from.get("steps").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    Thresholds {
        percentage: text(from, "mode") == "percentage",
        steps: steps
            .iter()
            .filter_map(Value::as_object)
            .map(|s| Threshold { value: number(s.get("value")), color: text(s, "color") })
            .collect(),
    }
}

pub(crate) fn thresholds_to(t: &Thresholds) -> Value {
    let steps: Vec<Value> =
        t.steps.iter().map(|s| json!({"value": s.value.map(plain), "color": s.color})).collect();
    json!({"mode": if t.percentage { "percentage" } else { "absolute" }, "steps": steps})
}

/// A whole number without its `.0`.
pub(crate) fn plain(v: f64) -> Value {
    if v.fract() == 0.0 && v.abs() < 9e15 { json!(v as i64) } else { json!(v) }
}

pub(crate) fn mappings_from(items: &[Value]) -> Vec<Mapping> {
    let mut out = Vec::new();
    for item in items.iter().filter_map(Value::as_object) {
        let empty = Extra::new();
        let options = item.get("options").and_then(Value::as_object).unwrap_or(&empty);
        let shown = options.get("result").and_then(Value::as_object).map(shown).unwrap_or_default();
        match item.get("type") {
            Some(Value::String(kind)) => match kind.as_str() {
                "value" => out.extend(options.iter().map(|(value, to)| Mapping {
                    when: When::Value(value.clone()),
                    shown: to.as_object().map(self::shown).unwrap_or_default(),
                })),
                "range" => {
                    let when = When::Range(number(options.get("from")), number(options.get("to")));
                    out.push(Mapping { when, shown });
                }
                "regex" => out.push(Mapping { when: When::Regex(text(options, "pattern")), shown }),
                "special" => {
                    out.push(Mapping { when: When::Special(text(options, "match")), shown });
                }
                _ => {}
            },
            // Before Grafana 8: 1 is a value, 2 a range, the fields lie flat.
            _ => out.extend(old_mapping(item)),
        }
    }
    out
}

fn old_mapping(item: &Extra) -> Option<Mapping> {
    let shown = Shown { text: Some(text(item, "text")), ..Default::default() };
    let when = if number(item.get("type")) == Some(2.0) {
        When::Range(number(item.get("from")), number(item.get("to")))
    } else {
        match text(item, "value") {
            null if null == "null" => When::Special(null),
            value if !value.is_empty() => When::Value(value),
            _ => return None,
        }
    };
    Some(Mapping { when, shown })
}

fn shown(from: &Extra) -> Shown {
    let words = |name: &str| from.get(name).filter(|v| !v.is_null()).map(|_| text(from, name));
    Shown {
        text: words("text"),
        color: words("color"),
        index: from.get("index").and_then(Value::as_i64),
    }
}

pub(crate) fn mappings_to(all: &[Mapping]) -> Value {
    let mut out: Vec<Value> = Vec::new();
    let mut values = Map::new();
    for m in all {
        let mut result = Map::new();
        for (name, value) in [("text", &m.shown.text), ("color", &m.shown.color)] {
            if let Some(v) = value {
                result.insert(name.to_owned(), json!(v));
            }
        }
        if let Some(index) = m.shown.index {
            result.insert("index".to_owned(), json!(index));
        }
        // Values that follow one another share one mapping, each once.
        let again = matches!(&m.when, When::Value(v) if values.contains_key(v));
        if !values.is_empty() && (again || !matches!(m.when, When::Value(_))) {
            out.push(json!({"type": "value", "options": std::mem::take(&mut values)}));
        }
        match &m.when {
            When::Value(v) => {
                values.insert(v.clone(), Value::Object(result));
            }
            When::Range(from, to) => out.push(json!({"type": "range", "options": {
                "from": from.map(plain), "to": to.map(plain), "result": result}})),
            When::Regex(pattern) => out
                .push(json!({"type": "regex", "options": {"pattern": pattern, "result": result}})),
            When::Special(word) => {
                out.push(json!({"type": "special", "options": {"match": word, "result": result}}))
            }
        }
    }
    if !values.is_empty() {
        out.push(json!({"type": "value", "options": values}));
    }
    Value::Array(out)
}

pub(crate) fn overrides_from(items: Vec<Value>) -> Vec<Override> {
    let read = |item: Value| {
        let Value::Object(mut o) = item else { return None };
        let mut matcher = take_object(&mut o, "matcher");
        let options = matcher.remove("options").unwrap_or(Value::Null);
        let properties = match o.remove("properties") {
            Some(Value::Array(all)) => all,
            _ => Vec::new(),
        };
        let property = |p: Value| {
            let Value::Object(mut p) = p else { return None };
            Some((take_text(&mut p, "id"), p.remove("value").unwrap_or(Value::Null)))
        };
        Some(Override {
            matcher: FieldMatcher::new(&take_text(&mut matcher, "id"), options),
            properties: properties.into_iter().filter_map(property).collect(),
            extra: o,
        })
    };
    items.into_iter().filter_map(read).collect()
}

pub(crate) fn overrides_to(all: &[Override]) -> Value {
    let one = |o: &Override| {
        let mut out = o.extra.clone();
        let matcher = json!({"id": o.matcher.id(), "options": o.matcher.options()});
        out.insert("matcher".to_owned(), matcher);
        let properties: Vec<Value> =
            o.properties.iter().map(|(id, value)| json!({"id": id, "value": value})).collect();
        out.insert("properties".to_owned(), json!(properties));
        Value::Object(out)
    };
    Value::Array(all.iter().map(one).collect())
}
