use serde_json::Value;

use super::json::{flag, list, number, object, strings, take_text, text};
use super::panel::drop_own_source;
use crate::DashError;
use crate::kinds::{Language, VariableKind};
use crate::model::{Extra, Variable};
use crate::notice::{Notice, NoticeKind};

/// `None` for a kind that is not known, with a notice, and for the data source variables that our
/// own export adds.
pub(super) fn read(
    value: &Value,
    place: &str,
    notices: &mut Vec<Notice>,
) -> Result<Option<Variable>, DashError> {
    let v = object(value, place)?;
    let kind_name = text(v, "type");
    let Some(kind) = VariableKind::from_name(&kind_name) else {
        let text = format!("variable {} of kind {kind_name} is left out", text(v, "name"));
        notices.push(Notice::new(NoticeKind::UnknownVariable, place, text));
        return Ok(None);
    };
    let query = query_of(v);
    if kind == VariableKind::DataSource && text(v, "name") == format!("ds_{query}") {
        let known = Language::from_datasource_type(&query).is_known();
        if known {
            return Ok(None);
        }
    }
    let current = match v.get("current") {
        Some(Value::Object(c)) => strings(c.get("value")),
        _ => Vec::new(),
    };
    let mut options: Vec<String> = list(v, "options", place)?
        .iter()
        .filter_map(Value::as_object)
        .flat_map(|o| strings(o.get("value")))
        .collect();
    if options.is_empty() && matches!(kind, VariableKind::Custom | VariableKind::Interval) {
        options = listed(&query).into_iter().map(|(_, value)| value).collect();
    }
    if options.is_empty() && kind == VariableKind::Switch {
        options = ["enabledValue", "disabledValue"].iter().map(|n| text(v, n)).collect();
        options.retain(|o| !o.is_empty());
    }
    let hidden = match v.get("hide") {
        Some(Value::String(word)) => word == "hideVariable",
        other => number(other).is_some_and(|h| h >= 2.0),
    };
    let mut rest = v.clone();
    for name in ["type", "multi", "includeAll"] {
        rest.remove(name);
    }
    if !matches!(rest.get("query"), Some(Value::Object(_))) {
        rest.remove("query");
    }
    if hidden {
        rest.remove("hide");
    }
    drop_own_source(&mut rest);
    Ok(Some(Variable {
        name: take_text(&mut rest, "name"),
        label: take_text(&mut rest, "label"),
        kind,
        query,
        regex: take_text(&mut rest, "regex"),
        current,
        options,
        multi: flag(v, "multi"),
        include_all: flag(v, "includeAll"),
        all_value: take_text(&mut rest, "allValue"),
        hidden,
        extra: rest,
    }))
}

/// The text of a query, or of the object that holds one; Loki's is put into words.
fn query_of(v: &Extra) -> String {
    let query = match v.get("query") {
        Some(Value::Object(q)) if q.contains_key("label") && !q.contains_key("query") => {
            let stream = text(q, "stream");
            let label = text(q, "label");
            match (stream.is_empty(), label.is_empty()) {
                (_, true) => "label_names()".to_owned(),
                (true, false) => format!("label_values({label})"),
                (false, false) => format!("label_values({stream}, {label})"),
            }
        }
        Some(Value::Object(q)) => text(q, "query"),
        _ => text(v, "query"),
    };
    match (query.is_empty(), v.get("definition")) {
        (true, Some(Value::String(d))) => d.clone(),
        _ => query,
    }
}

/// `text : value` pairs or plain values between commas; a comma may be escaped.
pub(crate) fn listed(query: &str) -> Vec<(String, String)> {
    const ESCAPED: &str = "\u{0}";
    let whole = query.replace("\\,", ESCAPED);
    whole
        .split(',')
        .map(|part| {
            let part = part.replace(ESCAPED, ",");
            match part.split_once(" : ") {
                Some((text, value)) => (text.trim().to_owned(), value.trim().to_owned()),
                None => (part.trim().to_owned(), part.trim().to_owned()),
            }
        })
        .filter(|(_, value)| !value.is_empty())
        .collect()
}
