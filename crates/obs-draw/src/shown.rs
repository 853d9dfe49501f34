//! How the values of a series are shown: the panel's settings with its overrides, text and colour
//! of a value, the one value of a series.

use obs_dash::{FieldMatcher, Mapping, Panel, Threshold, Thresholds, When};
use regex::Regex;
use serde_json::{Map, Value};
use tiny_skia::Color;

use crate::color::{self, Tokens};
use crate::data::Series;
use crate::units::format_value;

/// The panel's defaults with every override that matches.
#[derive(Clone, Debug, Default)]
pub(crate) struct Settings {
    pub name: String,
    pub unit: String,
    pub decimals: Option<u32>,
    pub min: Option<f64>,
    pub max: Option<f64>,
    thresholds: Thresholds,
    mappings: Vec<Mapping>,
    color_mode: String,
    fixed_color: String,
    pub no_value: String,
    custom: Map<String, Value>,
}

fn text(value: Option<&Value>) -> String {
    value.and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// Grafana writes a regular expression plain or as `/…/flags`.
fn pattern(text: &str) -> Option<Regex> {
    let inner = match text.strip_prefix('/').and_then(|t| t.rsplit_once('/')) {
        Some((inner, flags)) if flags.contains('i') => format!("(?i){inner}"),
        Some((inner, _)) => inner.to_owned(),
        None => text.to_owned(),
    };
    Regex::new(&inner).ok()
}

/// The name that a template of `${__field.labels.x}` gives.
fn display_name(template: &str, s: &Series) -> String {
    let mut out = template.replace("${__field.name}", &s.name).replace("${__series.name}", &s.name);
    for (name, value) in &s.labels {
        out = out.replace(&format!("${{__field.labels.{name}}}"), value);
        out = out.replace(&format!("${{__field.labels[\"{name}\"]}}"), value);
    }
    out
}

impl Settings {
    pub(crate) fn of(panel: &Panel, s: &Series) -> Self {
        let f = &panel.field;
        let color = f.extra.get("color");
        let part = |name: &str| text(color.and_then(|c| c.get(name)));
        let mut out = Self {
            name: String::new(),
            unit: f.unit.clone(),
            decimals: f.decimals,
            min: f.min,
            max: f.max,
            thresholds: f.thresholds.clone(),
            mappings: f.mappings.clone(),
            color_mode: part("mode"),
            fixed_color: part("fixedColor"),
            no_value: text(f.extra.get("noValue")),
            custom: f.custom.clone(),
        };
        let mut template = f.display_name.clone();
        let named = if template.is_empty() { s.name.clone() } else { display_name(&template, s) };
        for o in &f.overrides {
            let hit = match &o.matcher {
                FieldMatcher::Name(name) => *name == s.name || *name == named,
                FieldMatcher::Regex(text) => {
                    pattern(text).is_some_and(|re| re.is_match(&s.name) || re.is_match(&named))
                }
                FieldMatcher::Type(kind) => kind == "number",
                FieldMatcher::FrameRefId(letter) => *letter == s.ref_id,
                FieldMatcher::Other(id, options) => match id.as_str() {
                    "numeric" => true,
                    "byNames" => {
                        let listed = options.get("names").and_then(Value::as_array);
                        let is = listed.into_iter().flatten().any(|n| n.as_str() == Some(&s.name));
                        is != (text(options.get("mode")) == "exclude")
                    }
                    _ => false,
                },
            };
            if hit {
                for (id, value) in &o.properties {
                    out.set(id, value, &mut template);
                }
            }
        }
        out.name = if template.is_empty() { s.name.clone() } else { display_name(&template, s) };
        out
    }

    fn set(&mut self, id: &str, value: &Value, template: &mut String) {
        match id {
            "unit" => self.unit = text(Some(value)),
            "decimals" => self.decimals = value.as_u64().map(|d| d.min(20) as u32),
            "min" => self.min = value.as_f64(),
            "max" => self.max = value.as_f64(),
            "displayName" => *template = text(Some(value)),
            "noValue" => self.no_value = text(Some(value)),
            "color" => {
                self.color_mode = text(value.get("mode"));
                self.fixed_color = text(value.get("fixedColor"));
            }
            "thresholds" => {
                let steps = value.get("steps").and_then(Value::as_array).into_iter().flatten();
                self.thresholds = Thresholds {
                    percentage: text(value.get("mode")) == "percentage",
                    steps: steps
                        .map(|s| Threshold {
                            value: s.get("value").and_then(Value::as_f64),
                            color: text(s.get("color")),
                        })
                        .collect(),
                };
            }
            "mappings" => {
                let items = value.as_array().map_or(&[][..], Vec::as_slice);
                self.mappings = Mapping::from_grafana(items);
            }
            other => {
                if let Some(path) = other.strip_prefix("custom.") {
                    self.custom.insert(path.to_owned(), value.clone());
                }
            }
        }
    }

    pub(crate) fn custom(&self, name: &str) -> Option<&Value> {
        self.custom.get(name)
    }

    pub(crate) fn custom_number(&self, name: &str) -> Option<f32> {
        self.custom.get(name).and_then(Value::as_f64).map(|v| v as f32)
    }

    /// Of `hideFrom`: left out of the drawing.
    pub(crate) fn hidden(&self) -> bool {
        let hide = self.custom.get("hideFrom").and_then(|h| h.get("viz"));
        hide.and_then(Value::as_bool).unwrap_or(false)
    }

    pub(crate) fn steps(&self) -> &[Threshold] {
        if self.thresholds.percentage { &[] } else { &self.thresholds.steps }
    }

    fn mapped(&self, v: Option<f64>) -> Option<&obs_dash::Shown> {
        let written = v.map_or_else(|| "null".to_owned(), plain);
        let hit = |m: &&Mapping| match &m.when {
            When::Value(text) => *text == written,
            When::Range(from, to) => {
                v.is_some_and(|v| from.is_none_or(|f| v >= f) && to.is_none_or(|t| v <= t))
            }
            When::Regex(text) => pattern(text).is_some_and(|re| re.is_match(&written)),
            When::Special(word) => {
                (word.contains("null") && v.is_none())
                    || (word.contains("nan") && v.is_some_and(f64::is_nan))
            }
        };
        self.mappings.iter().find(hit).map(|m| &m.shown)
    }

    pub(crate) fn text(&self, v: Option<f64>) -> String {
        if let Some(words) = self.mapped(v).and_then(|s| s.text.clone()) {
            return words;
        }
        match v {
            None if self.no_value.is_empty() => "–".to_owned(),
            None => self.no_value.clone(),
            Some(v) => format_value(v, &self.unit, self.decimals),
        }
    }

    /// The colour that mapping, mode or thresholds give; `None` where none of them does.
    pub(crate) fn color(&self, v: Option<f64>, tokens: &Tokens) -> Option<Color> {
        let mapped = self.mapped(v).and_then(|s| s.color.as_deref());
        if let Some(color) = mapped.and_then(|c| tokens.named(c)) {
            return Some(color);
        }
        if self.color_mode == "fixed" {
            return tokens.named(&self.fixed_color);
        }
        let v = v.filter(|v| v.is_finite())?;
        let (low, high) = (self.min.unwrap_or(0.0), self.max.unwrap_or(100.0));
        let share = (v - low) / if high > low { high - low } else { 1.0 };
        if let Some(ramp) = color::ramp(&self.color_mode) {
            return Some(color::blend(ramp, share));
        }
        let x = if self.thresholds.percentage { share * 100.0 } else { v };
        let reached = self.thresholds.steps.iter().rfind(|s| s.value.is_none_or(|at| x >= at));
        reached.and_then(|s| tokens.named(&s.color))
    }

    /// Whether a colour of its own stands in place of the palette's.
    pub(crate) fn fixed(&self, tokens: &Tokens) -> Option<Color> {
        (self.color_mode == "fixed").then(|| tokens.named(&self.fixed_color)).flatten()
    }

    /// Whether values are coloured by what they are, not by their series.
    pub(crate) fn by_value(&self) -> bool {
        self.color_mode == "thresholds" || color::ramp(&self.color_mode).is_some()
    }
}

/// `1` for 1.0, as mappings write values.
fn plain(v: f64) -> String {
    if v.fract() == 0.0 && v.abs() < 1e15 { format!("{v:.0}") } else { v.to_string() }
}

/// One value for a series, by Grafana's name of the reducer.
pub(crate) fn reduce(points: &[(i64, f64)], how: &str) -> Option<f64> {
    let all: Vec<f64> = points.iter().map(|p| p.1).filter(|v| !v.is_nan()).collect();
    let (first, last) = (*all.first()?, *all.last()?);
    let sum: f64 = all.iter().sum();
    let low = all.iter().copied().fold(f64::INFINITY, f64::min);
    let high = all.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    Some(match how {
        "first" | "firstNotNull" => first,
        "min" => low,
        "max" => high,
        "mean" | "avg" => sum / all.len() as f64,
        "sum" | "total" => sum,
        "count" => all.len() as f64,
        "range" => high - low,
        "diff" => last - first,
        "delta" => {
            let steps = all.windows(2);
            steps.map(|p| if p[1] >= p[0] { p[1] - p[0] } else { p[1] }).sum()
        }
        "median" => {
            let mut sorted = all;
            sorted.sort_by(f64::total_cmp);
            let middle = sorted.len() / 2;
            let at = |i: usize| sorted.get(i).copied().unwrap_or(last);
            if sorted.len() % 2 == 1 {
                at(middle)
            } else {
                f64::midpoint(at(middle - 1), at(middle))
            }
        }
        _ => last,
    })
}

/// The reducer that a panel asks for.
pub(crate) fn reducer(panel: &Panel) -> &str {
    let calcs = panel.options.get("reduceOptions").and_then(|o| o.get("calcs"));
    calcs.and_then(|c| c.get(0)).and_then(Value::as_str).unwrap_or("lastNotNull")
}
