//! Members of a classic dashboard that have another type than Grafana writes.

use serde_json::Value;

/// What a member may be; null stands for "not given" everywhere.
#[derive(Clone, Copy)]
enum Type {
    Text,
    Flag,
    Whole,
    Number,
    Object,
    Objects,
    Texts,
}

impl Type {
    fn fits(self, value: &Value) -> bool {
        match self {
            Self::Text => value.is_string(),
            Self::Flag => value.is_boolean(),
            Self::Whole => value.is_i64() || value.is_u64(),
            // Old exports write numbers as text.
            Self::Number => value.is_number() || value.as_str().is_some_and(number),
            Self::Object => value.is_object(),
            Self::Objects => value.as_array().is_some_and(|a| a.iter().all(Value::is_object)),
            Self::Texts => value.as_array().is_some_and(|a| a.iter().all(Value::is_string)),
        }
    }

    fn text(self) -> &'static str {
        match self {
            Self::Text => "a string",
            Self::Flag => "true or false",
            Self::Whole => "a whole number",
            Self::Number => "a number",
            Self::Object => "an object",
            Self::Objects => "a list of objects",
            Self::Texts => "a list of strings",
        }
    }
}

fn number(text: &str) -> bool {
    text.trim().parse::<f64>().is_ok()
}

const DASHBOARD: [(&str, Type); 10] = [
    ("title", Type::Text),
    ("uid", Type::Text),
    ("description", Type::Text),
    ("tags", Type::Texts),
    ("schemaVersion", Type::Whole),
    ("time", Type::Object),
    ("panels", Type::Objects),
    ("templating", Type::Object),
    ("annotations", Type::Object),
    ("links", Type::Objects),
];
const VARIABLE: [(&str, Type); 5] = [
    ("name", Type::Text),
    ("type", Type::Text),
    ("options", Type::Objects),
    ("current", Type::Object),
    ("multi", Type::Flag),
];
const PANEL: [(&str, Type); 10] = [
    ("id", Type::Whole),
    ("type", Type::Text),
    ("title", Type::Text),
    ("gridPos", Type::Object),
    ("targets", Type::Objects),
    ("fieldConfig", Type::Object),
    ("options", Type::Object),
    ("transformations", Type::Objects),
    ("panels", Type::Objects),
    ("collapsed", Type::Flag),
];
const GRID: [(&str, Type); 4] =
    [("x", Type::Number), ("y", Type::Number), ("w", Type::Number), ("h", Type::Number)];
const TARGET: [(&str, Type); 4] = [
    ("expr", Type::Text),
    ("refId", Type::Text),
    ("legendFormat", Type::Text),
    ("hide", Type::Flag),
];
const DEFAULTS: [(&str, Type); 6] = [
    ("unit", Type::Text),
    ("min", Type::Number),
    ("max", Type::Number),
    ("decimals", Type::Number),
    ("mappings", Type::Objects),
    ("thresholds", Type::Object),
];

/// Tells `say(path, wanted)` of each member that has another type. `value` is the dashboard
/// itself, `path` where it lies in the file.
pub(crate) fn check(value: &Value, path: &str, say: &mut dyn FnMut(String, &'static str)) {
    members(value, path, &DASHBOARD, say);
    for (i, v) in items(value.get("templating"), "list") {
        members(v, &at(path, &format!("templating.list[{i}]")), &VARIABLE, say);
    }
    panels(value, path, say);
}

fn panels(value: &Value, path: &str, say: &mut dyn FnMut(String, &'static str)) {
    for (i, p) in items(Some(value), "panels") {
        let path = at(path, &format!("panels[{i}]"));
        members(p, &path, &PANEL, say);
        if let Some(grid) = p.get("gridPos") {
            members(grid, &at(&path, "gridPos"), &GRID, say);
        }
        for (i, t) in items(Some(p), "targets") {
            members(t, &at(&path, &format!("targets[{i}]")), &TARGET, say);
        }
        if let Some(defaults) = p.pointer("/fieldConfig/defaults") {
            members(defaults, &at(&path, "fieldConfig.defaults"), &DEFAULTS, say);
        }
        panels(p, &path, say);
    }
}

fn items<'a>(value: Option<&'a Value>, name: &str) -> impl Iterator<Item = (usize, &'a Value)> {
    let list = value.and_then(|v| v.get(name)).and_then(Value::as_array);
    list.into_iter().flatten().enumerate().filter(|(_, v)| v.is_object())
}

fn at(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

fn members(
    value: &Value,
    path: &str,
    wanted: &[(&str, Type)],
    say: &mut dyn FnMut(String, &'static str),
) {
    for (name, wanted) in wanted {
        if let Some(found) = value.get(*name)
            && !found.is_null()
            && !wanted.fits(found)
        {
            say(at(path, name), wanted.text());
        }
    }
}
