//! Panels of old kinds, told in the words of their successors. Their own fields stay in the panel
//! for the way back.

use serde_json::{Value, json};

use super::json::{flag, number, strings, take_object, text};
use crate::kinds::successor;
use crate::model::Extra;

/// Changes a panel of an old kind in place; says what was done, `None` for one of today's.
pub(super) fn migrate(p: &mut Extra) -> Option<String> {
    let old = text(p, "type");
    // A table of Grafana 6 and before keeps its name and is known by its styles.
    let told = p.get("fieldConfig").and_then(|f| f.get("overrides")).and_then(Value::as_array);
    let old_table =
        old == "table" && p.contains_key("styles") && told.is_none_or(std::vec::Vec::is_empty);
    if successor(&old).is_none() && !old_table {
        return None;
    }
    let mut config = take_object(p, "fieldConfig");
    let mut defaults = take_object(&mut config, "defaults");
    let mut custom = take_object(&mut defaults, "custom");
    let mut options = take_object(p, "options");
    let mut overrides = match config.remove("overrides") {
        Some(Value::Array(all)) => all,
        _ => Vec::new(),
    };
    let mut to = successor(&old).unwrap_or("table");
    match to {
        "timeseries" => graph(p, &mut defaults, &mut custom, &mut options, &mut overrides),
        "stat" => {
            single(p, &mut defaults, &mut options);
            if p.get("gauge").is_some_and(|g| g.get("show") == Some(&Value::Bool(true))) {
                to = "gauge";
            }
        }
        "table" => table(p, &mut overrides),
        "piechart" => {
            put(&mut defaults, "unit", json!(text(p, "format")));
            put(&mut options, "pieType", json!(text(p, "pieType")));
        }
        _ => {}
    }
    if !custom.is_empty() {
        defaults.insert("custom".to_owned(), Value::Object(custom));
    }
    config.insert("defaults".to_owned(), Value::Object(defaults));
    config.insert("overrides".to_owned(), Value::Array(overrides));
    p.insert("fieldConfig".to_owned(), Value::Object(config));
    p.insert("options".to_owned(), Value::Object(options));
    p.insert("type".to_owned(), json!(to));
    Some(format!("{old} is read as {to}"))
}

/// Sets what is not there yet and says something.
fn put(into: &mut Extra, name: &str, value: Value) {
    let empty = value.is_null() || value.as_str() == Some("");
    if !empty && !into.contains_key(name) {
        into.insert(name.to_owned(), value);
    }
}

fn graph(
    p: &Extra,
    defaults: &mut Extra,
    custom: &mut Extra,
    options: &mut Extra,
    overrides: &mut Vec<Value>,
) {
    let axes = p.get("yaxes").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let axis = |i: usize| axes.get(i).and_then(Value::as_object);
    if let Some(left) = axis(0) {
        put(defaults, "unit", json!(text(left, "format")));
        for name in ["min", "max"] {
            if let Some(v) = number(left.get(name)) {
                put(defaults, name, json!(v));
            }
        }
        put(custom, "axisLabel", json!(text(left, "label")));
        if let Some(base) = number(left.get("logBase")).filter(|b| *b > 1.0) {
            put(custom, "scaleDistribution", json!({"type": "log", "log": base}));
        }
    }
    let draws = |name: &str, usual: bool| p.get(name).and_then(Value::as_bool).unwrap_or(usual);
    let style = match (draws("bars", false), draws("lines", true), draws("points", false)) {
        (true, ..) => "bars",
        (_, false, true) => "points",
        _ => "line",
    };
    put(custom, "drawStyle", json!(style));
    let fill = number(p.get("fill")).unwrap_or(1.0) * 10.0;
    put(custom, "fillOpacity", json!(if style == "bars" { 100.0 } else { fill }));
    put(custom, "lineWidth", json!(number(p.get("linewidth")).unwrap_or(1.0)));
    put(custom, "showPoints", json!(if draws("points", false) { "always" } else { "never" }));
    if flag(p, "steppedLine") {
        put(custom, "lineInterpolation", json!("stepAfter"));
    }
    put(custom, "spanNulls", json!(text(p, "nullPointMode") == "connected"));
    if flag(p, "stack") {
        let mode = if flag(p, "percentage") { "percent" } else { "normal" };
        put(custom, "stacking", json!({"mode": mode, "group": "A"}));
    }
    legend(p, options);
    let shared = p.get("tooltip").and_then(|t| t.get("shared")).and_then(Value::as_bool);
    let mode = if shared.unwrap_or(true) { "multi" } else { "single" };
    put(options, "tooltip", json!({"mode": mode, "sort": "none"}));
    graph_thresholds(p, defaults, custom);
    for (alias, color) in p.get("aliasColors").and_then(Value::as_object).into_iter().flatten() {
        let color = json!([{"id": "color", "value": {"mode": "fixed", "fixedColor": color}}]);
        overrides.push(json!({"matcher": matcher(alias), "properties": color}));
    }
    let series = p.get("seriesOverrides").and_then(Value::as_array);
    for o in series.into_iter().flatten().filter_map(Value::as_object) {
        let mut properties = Vec::new();
        let mut set = |id: &str, value: Value| properties.push(json!({"id": id, "value": value}));
        if number(o.get("yaxis")) == Some(2.0) {
            set("custom.axisPlacement", json!("right"));
            if let Some(unit) = axis(1).map(|a| text(a, "format")).filter(|u| !u.is_empty()) {
                set("unit", json!(unit));
            }
        }
        if let Some(Value::String(color)) = o.get("color") {
            set("color", json!({"mode": "fixed", "fixedColor": color}));
        }
        for (name, id, factor) in
            [("fill", "custom.fillOpacity", 10.0), ("linewidth", "custom.lineWidth", 1.0)]
        {
            if let Some(v) = number(o.get(name)) {
                set(id, json!(v * factor));
            }
        }
        for (name, style) in [("bars", "bars"), ("points", "points"), ("lines", "line")] {
            if flag(o, name) {
                set("custom.drawStyle", json!(style));
                break;
            }
        }
        if flag(o, "dashes") {
            set("custom.lineStyle", json!({"fill": "dash", "dash": [10, 10]}));
        }
        if text(o, "transform") == "negative-Y" {
            set("custom.transform", json!("negative-Y"));
        }
        match o.get("stack") {
            Some(Value::Bool(false)) => set("custom.stacking", json!({"mode": "none"})),
            Some(Value::Bool(true)) => set("custom.stacking", json!({"mode": "normal"})),
            _ => {}
        }
        if o.get("legend") == Some(&Value::Bool(false)) {
            set("custom.hideFrom", json!({"legend": true, "tooltip": false, "viz": false}));
        }
        overrides.push(json!({"matcher": matcher(&text(o, "alias")), "properties": properties}));
    }
}

/// `/…/` names series by a pattern, anything else by their name.
fn matcher(alias: &str) -> Value {
    let pattern = alias.starts_with('/') && alias.len() > 1;
    json!({"id": if pattern { "byRegexp" } else { "byName" }, "options": alias})
}

fn legend(p: &Extra, options: &mut Extra) {
    let empty = Extra::new();
    let legend = p.get("legend").and_then(Value::as_object).unwrap_or(&empty);
    let mut calcs = Vec::new();
    if flag(legend, "values") {
        for (name, calc) in [
            ("min", "min"),
            ("max", "max"),
            ("avg", "mean"),
            ("current", "lastNotNull"),
            ("total", "sum"),
        ] {
            if flag(legend, name) {
                calcs.push(calc);
            }
        }
    }
    let show = legend.get("show").and_then(Value::as_bool).unwrap_or(true);
    put(
        options,
        "legend",
        json!({
            "showLegend": show,
            "displayMode": if flag(legend, "alignAsTable") { "table" } else { "list" },
            "placement": if flag(legend, "rightSide") { "right" } else { "bottom" },
            "calcs": calcs,
        }),
    );
}

fn graph_thresholds(p: &Extra, defaults: &mut Extra, custom: &mut Extra) {
    let Some(Value::Array(all)) = p.get("thresholds") else { return };
    let mut steps = Vec::new();
    let (mut line, mut fill, mut below) = (false, false, None);
    for t in all.iter().filter_map(Value::as_object) {
        let Some(value) = number(t.get("value")) else { continue };
        let color = match text(t, "colorMode").as_str() {
            "critical" => "red".to_owned(),
            "warning" => "orange".to_owned(),
            "ok" => "green".to_owned(),
            _ => Some(text(t, "lineColor")).filter(|c| !c.is_empty()).unwrap_or("red".to_owned()),
        };
        line |= flag(t, "line");
        fill |= flag(t, "fill");
        if text(t, "op") == "lt" {
            below = below.or(Some(color));
            steps.push((value, "transparent".to_owned()));
        } else {
            steps.push((value, color));
        }
    }
    if steps.is_empty() {
        return;
    }
    steps.sort_by(|a, b| a.0.total_cmp(&b.0));
    let base = below.unwrap_or_else(|| "transparent".to_owned());
    let mut out = vec![json!({"value": null, "color": base})];
    out.extend(steps.into_iter().map(|(value, color)| json!({"value": value, "color": color})));
    put(defaults, "thresholds", json!({"mode": "absolute", "steps": out}));
    let mode = match (line, fill) {
        (true, true) => "line+area",
        (false, true) => "area",
        _ => "line",
    };
    put(custom, "thresholdsStyle", json!({"mode": mode}));
}

fn single(p: &Extra, defaults: &mut Extra, options: &mut Extra) {
    put(defaults, "unit", json!(text(p, "format")));
    if let Some(d) = number(p.get("decimals")) {
        put(defaults, "decimals", json!(d as u32));
    }
    if let Some(gauge) = p.get("gauge").and_then(Value::as_object) {
        for (from, to) in [("minValue", "min"), ("maxValue", "max")] {
            if let (Some(v), true) = (number(gauge.get(from)), flag(gauge, "show")) {
                put(defaults, to, json!(v));
            }
        }
    }
    let calc = match text(p, "valueName").as_str() {
        "min" => "min",
        "max" => "max",
        "avg" => "mean",
        "total" => "sum",
        "first" => "firstNotNull",
        "delta" => "delta",
        "diff" => "diff",
        "range" => "range",
        _ => "lastNotNull",
    };
    put(options, "reduceOptions", json!({"calcs": [calc], "fields": "", "values": false}));
    let area = p.get("sparkline").and_then(|s| s.get("show")) == Some(&Value::Bool(true));
    put(options, "graphMode", json!(if area { "area" } else { "none" }));
    let color = match (flag(p, "colorBackground"), flag(p, "colorValue")) {
        (true, _) => "background",
        (_, true) => "value",
        _ => "none",
    };
    put(options, "colorMode", json!(color));
    // "50,80" and three colours.
    let colors = strings(p.get("colors"));
    let limits: Vec<f64> =
        text(p, "thresholds").split(',').filter_map(|v| v.trim().parse().ok()).collect();
    if !limits.is_empty() && !colors.is_empty() {
        let values = std::iter::once(Value::Null).chain(limits.iter().map(|v| json!(v)));
        let steps: Vec<Value> = values
            .zip(&colors)
            .map(|(value, color)| json!({"value": value, "color": color}))
            .collect();
        put(defaults, "thresholds", json!({"mode": "absolute", "steps": steps}));
    }
    let mut mappings = Vec::new();
    for m in p.get("valueMaps").and_then(Value::as_array).into_iter().flatten() {
        let Some(m) = m.as_object() else { continue };
        let (value, shown) = (text(m, "value"), json!({"text": text(m, "text")}));
        mappings.push(if value == "null" {
            json!({"type": "special", "options": {"match": "null", "result": shown}})
        } else {
            json!({"type": "value", "options": {value: shown}})
        });
    }
    if number(p.get("mappingType")) == Some(2.0) {
        mappings.clear();
        for m in p.get("rangeMaps").and_then(Value::as_array).into_iter().flatten() {
            let Some(m) = m.as_object() else { continue };
            mappings.push(json!({"type": "range", "options": {
                "from": number(m.get("from")), "to": number(m.get("to")),
                "result": {"text": text(m, "text")}}}));
        }
    }
    if !mappings.is_empty() {
        put(defaults, "mappings", json!(mappings));
    }
}

/// Column styles become overrides; the last pattern is the one for the rest.
fn table(p: &Extra, overrides: &mut Vec<Value>) {
    for s in p.get("styles").and_then(Value::as_array).into_iter().flatten() {
        let Some(s) = s.as_object() else { continue };
        let mut properties = Vec::new();
        let mut set = |id: &str, value: Value| properties.push(json!({"id": id, "value": value}));
        match text(s, "type").as_str() {
            "hidden" => set("custom.hidden", json!(true)),
            "number" => {
                set("unit", json!(text(s, "unit")));
                if let Some(d) = number(s.get("decimals")) {
                    set("decimals", json!(d as u32));
                }
            }
            _ => {}
        }
        if !text(s, "alias").is_empty() {
            set("displayName", json!(text(s, "alias")));
        }
        if flag(s, "link") {
            let link = json!([{"title": text(s, "linkTooltip"), "url": text(s, "linkUrl")}]);
            set("links", link);
        }
        if !properties.is_empty() {
            let pattern = text(s, "pattern");
            overrides.push(json!({"matcher": matcher(&pattern), "properties": properties}));
        }
    }
}
