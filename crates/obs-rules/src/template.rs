//! Expands `{{ … }}` in labels and annotations with Prometheus' functions.
//!
//! The template library wants functions that own what they touch, while a query borrows the
//! source. So `query` answers from a table: an execution that misses an entry stops, the query is
//! run outside, and the template is executed again, at most [`QUERIES_MAX`] times.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use gotmpl::{MissingKey, Template, TemplateError, Value};
use obs_types::{LabelSet, TimestampMs};
use regex::Regex;

use crate::RulesError;
use crate::duration::parse_duration;
use crate::humanize::{
    humanize, humanize_1024, humanize_duration, humanize_percentage, humanize_timestamp,
};
use crate::number::go_float;
use crate::promql::{VectorSample, as_number};

/// Most different queries that one template may run.
const QUERIES_MAX: usize = 32;

/// The start of every template, so that `$labels` and `$value` exist.
const PREAMBLE: &str = "{{$labels := .Labels}}{{$externalLabels := .ExternalLabels}}\
    {{$externalURL := .ExternalURL}}{{$value := .Value}}";

type OfNumber = fn(f64) -> String;
type OfText = fn(&str) -> String;
type Answers = BTreeMap<String, Option<Value>>;

/// What a template may speak of.
#[derive(Clone, Debug)]
pub struct TemplateData<'a> {
    pub labels: &'a LabelSet,
    pub external_labels: &'a LabelSet,
    pub external_url: &'a str,
    pub value: f64,
    pub now: TimestampMs,
}

/// Runs the queries of a template.
pub(crate) type RunQuery<'a> = &'a dyn Fn(&str) -> Result<Vec<VectorSample>, String>;

/// Whether the text parses as a template and uses no variable that does not exist; the message
/// names line and column, or the variable.
pub fn check_template(text: &str) -> Result<(), RulesError> {
    prepare(text, &Arc::new(Mutex::new(Answers::new())), "", TimestampMs(0))?;
    match undefined_variable(text) {
        Some(name) => Err(RulesError::Template(format!("undefined variable \"${name}\""))),
        None => Ok(()),
    }
}

/// The library finds an unknown variable only when it runs the action; a rule file with a slip
/// such as `$label.instance` must not wait for the alert to fire.
fn undefined_variable(text: &str) -> Option<String> {
    static PARTS: LazyLock<Option<[Regex; 4]>> = LazyLock::new(|| {
        Some([
            Regex::new(r"(?s)\{\{.*?\}\}").ok()?,
            Regex::new(r#"(?s)"(?:\\.|[^"\\])*"|`[^`]*`|/\*.*?\*/"#).ok()?,
            Regex::new(r"\$(\w+)(?:\s*,\s*\$(\w+))?\s*:=").ok()?,
            Regex::new(r"\$(\w+)").ok()?,
        ])
    });
    let [action, quoted, declared, used] = PARTS.as_ref()?;
    let mut known: Vec<String> =
        ["labels", "externalLabels", "externalURL", "value"].map(str::to_owned).to_vec();
    for found in action.find_iter(text) {
        let code = quoted.replace_all(found.as_str(), " ");
        for names in declared.captures_iter(&code) {
            known.extend(names.iter().skip(1).flatten().map(|m| m.as_str().to_owned()));
        }
        let unknown = |name: &str| !known.iter().any(|k| k == name);
        for name in used.captures_iter(&code).filter_map(|c| c.get(1)) {
            if unknown(name.as_str()) {
                return Some(name.as_str().to_owned());
            }
        }
    }
    None
}

/// The expanded text. Text without `{{` is returned as it is.
pub(crate) fn expand(
    text: &str,
    data: &TemplateData<'_>,
    run: RunQuery<'_>,
) -> Result<String, RulesError> {
    if !text.contains("{{") {
        return Ok(text.to_owned());
    }
    let answers = Arc::new(Mutex::new(Answers::new()));
    let template = prepare(text, &answers, data.external_url, data.now)?;
    let value = root(text, data);
    for _ in 0..=QUERIES_MAX {
        let failure = match template.execute_to_string(&value) {
            Ok(out) => return Ok(out.replace("<no value>", "")),
            Err(e) => e,
        };
        let wanted = lock(&answers).iter().find(|(_, v)| v.is_none()).map(|(q, _)| q.clone());
        let Some(query) = wanted else { return Err(RulesError::Template(failure.to_string())) };
        let samples =
            run(&query).map_err(|e| RulesError::Template(format!("query {query:?}: {e}")))?;
        lock(&answers).insert(query, Some(samples_value(samples)));
    }
    Err(RulesError::Template(format!("more than {QUERIES_MAX} queries")))
}

fn lock(answers: &Mutex<Answers>) -> std::sync::MutexGuard<'_, Answers> {
    answers.lock().unwrap_or_else(PoisonError::into_inner)
}

fn prepare(
    text: &str,
    answers: &Arc<Mutex<Answers>>,
    external_url: &str,
    now: TimestampMs,
) -> Result<Template, RulesError> {
    let source = format!("{PREAMBLE}{}", go_floats(text));
    functions(Template::new("rule").missing_key(MissingKey::ZeroValue), answers, external_url, now)
        .parse(&source)
        .map_err(|e| RulesError::Template(e.to_string()))
}

/// The library prints a float as Rust does; Go's `+Inf` and `1e-05` come from a function that is
/// put around the actions that print one.
fn go_floats(text: &str) -> String {
    static PRINTED: LazyLock<Option<Regex>> = LazyLock::new(|| {
        Regex::new(r"\{\{(-?\s*)((?:\$value|\.Value)|[^{}]*\|\s*value)(\s*-?)\}\}").ok()
    });
    match PRINTED.as_ref() {
        Some(r) => r.replace_all(text, "{{${1}${2} | goFloat${3}}}").into_owned(),
        None => text.to_owned(),
    }
}

fn root(text: &str, data: &TemplateData<'_>) -> Value {
    Value::from_entries([
        ("Labels".to_owned(), labels_value(data.labels, text)),
        ("ExternalLabels".to_owned(), labels_value(data.external_labels, text)),
        ("ExternalURL".to_owned(), Value::String(data.external_url.into())),
        ("Value".to_owned(), Value::Float(data.value)),
    ])
}

/// A label that the text names but the set lacks is `""`, as in Go's map of strings; not where
/// the text ranges over the labels, which would show it.
fn labels_value(labels: &LabelSet, text: &str) -> Value {
    static NAMED: LazyLock<Option<Regex>> = LazyLock::new(|| {
        Regex::new(r"(?:\$labels|\.Labels|\$externalLabels|\.ExternalLabels)\.([A-Za-z_]\w*)").ok()
    });
    let mut map: BTreeMap<Arc<str>, Value> = BTreeMap::new();
    if let Some(named) = NAMED.as_ref().filter(|_| !text.contains("range")) {
        for name in named.captures_iter(text).filter_map(|c| c.get(1)) {
            map.insert(name.as_str().into(), Value::String("".into()));
        }
    }
    for (name, value) in labels.iter() {
        map.insert(name.into(), Value::String(value.into()));
    }
    Value::Map(Arc::new(map))
}

fn samples_value(samples: Vec<VectorSample>) -> Value {
    let list: Vec<Value> = samples
        .into_iter()
        .map(|s| {
            Value::from_entries([
                ("Labels".to_owned(), labels_value(&s.labels, "")),
                ("Value".to_owned(), Value::Float(as_number(&s.value))),
            ])
        })
        .collect();
    Value::List(list.into())
}

fn functions(
    template: Template,
    answers: &Arc<Mutex<Answers>>,
    external_url: &str,
    now: TimestampMs,
) -> Template {
    let table = Arc::clone(answers);
    let url = external_url.to_owned();
    let prefix = path_prefix(external_url);
    let template = template
        .func("query", move |args| {
            let query = text(args, 0)?;
            match lock(&table).entry(query).or_insert(None) {
                Some(value) => Ok(value.clone()),
                None => Err(TemplateError::Exec("query not answered yet".to_owned())),
            }
        })
        .func("externalURL", move |_| Ok(Value::String(url.as_str().into())))
        .func("pathPrefix", move |_| Ok(Value::String(prefix.as_str().into())))
        .func("now", move |_| Ok(Value::Float(now.as_seconds_f64())));
    text_functions(sample_functions(number_functions(template)))
}

fn sample_functions(template: Template) -> Template {
    template
        .func("first", |args| match args.first() {
            Some(Value::List(list)) => list.first().cloned().ok_or_else(|| {
                TemplateError::Exec("first() called on vector with no elements".into())
            }),
            _ => Err(TemplateError::Exec("first() needs a query result".into())),
        })
        .func("label", |args| {
            let name = text(args, 0)?;
            Ok(args
                .get(1)
                .and_then(|s| s.field("Labels"))
                .and_then(|l| l.field(&name))
                .cloned()
                .unwrap_or_else(|| Value::String("".into())))
        })
        .func("value", |args| {
            args.first()
                .and_then(|s| s.field("Value"))
                .cloned()
                .ok_or_else(|| TemplateError::Exec("value() needs a sample".into()))
        })
        .func("strvalue", |args| {
            Ok(args
                .first()
                .and_then(|s| s.field("Labels"))
                .and_then(|l| l.field("__value__"))
                .cloned()
                .unwrap_or_else(|| Value::String("".into())))
        })
        .func("sortByLabel", |args| {
            let name = text(args, 0)?;
            let Some(Value::List(list)) = args.get(1) else {
                return Err(TemplateError::Exec("sortByLabel() needs a query result".into()));
            };
            let key =
                |v: &Value| v.field("Labels").and_then(|l| l.field(&name)).map(ToString::to_string);
            let mut sorted = list.to_vec();
            sorted.sort_by_key(key);
            Ok(Value::List(sorted.into()))
        })
        .func("args", |args| {
            let map = args
                .iter()
                .enumerate()
                .map(|(i, v)| (Arc::from(format!("arg{i}")), v.clone()))
                .collect::<BTreeMap<Arc<str>, Value>>();
            Ok(Value::Map(Arc::new(map)))
        })
}

fn number_functions(mut template: Template) -> Template {
    let plain: [(&str, OfNumber); 7] = [
        ("goFloat", go_float),
        ("humanize", humanize),
        ("humanize1024", humanize_1024),
        ("humanizeDuration", humanize_duration),
        ("humanizePercentage", humanize_percentage),
        ("humanizeTimestamp", humanize_timestamp),
        ("toTime", humanize_timestamp),
    ];
    for (name, f) in plain {
        template = template.func(name, move |args| Ok(Value::String(f(number(args)?).into())));
    }
    template
        .func("toDuration", |args| Ok(Value::String(humanize_duration(number(args)?).into())))
        .func("parseDuration", |args| {
            let text = text(args, 0)?;
            parse_duration(&text)
                .map(|d| Value::Float(d.as_seconds_f64()))
                .map_err(TemplateError::Exec)
        })
}

fn text_functions(mut template: Template) -> Template {
    let plain: [(&str, OfText); 9] = [
        ("title", title),
        ("toUpper", |s| s.to_uppercase()),
        ("toLower", |s| s.to_lowercase()),
        ("safeHtml", |s| s.to_owned()),
        ("stripPort", strip_port),
        ("stripDomain", strip_domain),
        ("urlQueryEscape", url_query_escape),
        ("graphLink", |s| format!("/graph?g0.expr={}&g0.tab=0", url_query_escape(s))),
        ("tableLink", |s| format!("/graph?g0.expr={}&g0.tab=1", url_query_escape(s))),
    ];
    for (name, f) in plain {
        template = template.func(name, move |args| Ok(Value::String(f(&text(args, 0)?).into())));
    }
    template
        .func("match", |args| {
            let (pattern, s) = (text(args, 0)?, text(args, 1)?);
            Ok(Value::Bool(regex(&pattern)?.is_match(&s)))
        })
        .func("reReplaceAll", |args| {
            let (pattern, with, s) = (text(args, 0)?, text(args, 1)?, text(args, 2)?);
            Ok(Value::String(regex(&pattern)?.replace_all(&s, with.as_str()).into()))
        })
}

fn regex(pattern: &str) -> Result<Regex, TemplateError> {
    Regex::new(pattern).map_err(|e| TemplateError::Exec(format!("invalid regular expression: {e}")))
}

fn text(args: &[Value], at: usize) -> Result<String, TemplateError> {
    match args.get(at) {
        Some(Value::Nil) => Ok(String::new()),
        Some(Value::Float(v)) => Ok(go_float(*v)),
        Some(v) => Ok(v.to_string()),
        None => Err(TemplateError::Exec(format!("argument {} is missing", at + 1))),
    }
}

/// Numbers come as floats, integers or text, as from `$labels.le`.
fn number(args: &[Value]) -> Result<f64, TemplateError> {
    let arg = args.first().ok_or_else(|| TemplateError::Exec("argument 1 is missing".into()))?;
    match arg {
        Value::Float(v) => Ok(*v),
        Value::Int(v) => Ok(*v as f64),
        Value::Uint(v) => Ok(*v as f64),
        Value::String(s) => {
            s.parse().map_err(|_e| TemplateError::Exec(format!("{s:?} is not a number")))
        }
        other => Err(TemplateError::Exec(format!("{other} is not a number"))),
    }
}

fn title(s: &str) -> String {
    let mut start = true;
    s.chars()
        .flat_map(|c| {
            let upper = start && c.is_alphabetic();
            start = c.is_whitespace();
            if upper { c.to_uppercase().collect::<Vec<_>>() } else { vec![c] }
        })
        .collect()
}

fn strip_port(s: &str) -> String {
    if let Some((host, _)) = s.strip_prefix('[').and_then(|r| r.split_once(']')) {
        return host.to_owned();
    }
    match s.split_once(':') {
        Some((host, port)) if !port.contains(':') => host.to_owned(),
        _ => s.to_owned(),
    }
}

fn strip_domain(s: &str) -> String {
    let host = strip_port(s);
    if host.parse::<std::net::IpAddr>().is_ok() {
        return s.to_owned();
    }
    let short = host.split('.').next().unwrap_or_default();
    match s.strip_prefix(host.as_str()) {
        Some(port) => format!("{short}{port}"),
        None => short.to_owned(),
    }
}

fn url_query_escape(s: &str) -> String {
    let mut out = String::with_capacity(s.len());
    for b in s.bytes() {
        match b {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                out.push(b as char);
            }
            b' ' => out.push('+'),
            _ => out.push_str(&format!("%{b:02X}")),
        }
    }
    out
}

fn path_prefix(url: &str) -> String {
    let after = url.split_once("://").map_or(url, |(_, rest)| rest);
    after.split_once('/').map_or(String::new(), |(_, path)| format!("/{path}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::promql::SampleValue;

    fn run(text: &str, value: f64) -> Result<String, RulesError> {
        let labels = LabelSet::from_pairs([("instance", "brick-01:9100"), ("job", "node")]);
        let data = TemplateData {
            labels: &labels,
            external_labels: &LabelSet::from_pairs([("cluster", "aurora")]),
            external_url: "http://obs.example/base",
            value,
            now: TimestampMs(1_000_000),
        };
        let sample = |instance: &str, value| VectorSample {
            timestamp_ms: 0,
            labels: LabelSet::from_pairs([("instance", instance)]),
            value: SampleValue::Float(value),
        };
        expand(text, &data, &|q| match q {
            "up" => Ok(vec![sample("b", 11.0), sample("a", 21.0)]),
            "none" => Ok(Vec::new()),
            other => Err(format!("unknown {other}")),
        })
    }

    #[test]
    fn expands_like_prometheus() {
        for (text, value, want) in [
            ("plain", 1.0, "plain"),
            ("{{ $labels.instance }} of {{ .Labels.job }}", 1.0, "brick-01:9100 of node"),
            ("[{{ $labels.missing }}]", 1.0, "[]"),
            ("{{ if eq $labels.missing \"\" }}none{{ end }}", 1.0, "none"),
            ("{{ $value }}", f64::INFINITY, "+Inf"),
            ("{{ $value }}", 87.3, "87.3"),
            ("{{$value}}", 1e-5, "1e-05"),
            ("{{ $value | humanizePercentage }}", 0.1234, "12.34%"),
            ("{{ printf \"%.1f\" $value }}", 2.25, "2.2"),
            (
                "{{ range query \"up\" | sortByLabel \"instance\" }}{{ .Labels.instance }}={{ .Value }} {{ end }}",
                1.0,
                "a=21 b=11 ",
            ),
            ("{{ query \"up\" | first | value }}", 1.0, "11"),
            ("{{ with query \"none\" }}some{{ else }}nothing{{ end }}", 1.0, "nothing"),
            ("{{ query \"up\" | first | label \"instance\" }}", 1.0, "b"),
            ("{{ $labels.instance | stripPort }}", 1.0, "brick-01"),
            ("{{ reReplaceAll \"(.*):.*\" \"$1!\" $labels.instance }}", 1.0, "brick-01!"),
            ("{{ match \"a.*\" \"abc\" }}", 1.0, "true"),
            ("{{ \"aa bb\" | title }}", 1.0, "Aa Bb"),
            (
                "{{ $externalLabels.cluster }}{{ externalURL }}{{ pathPrefix }}",
                1.0,
                "aurorahttp://obs.example/base/base",
            ),
            ("{{ define \"x\" }}x{{ . }}{{ end }}{{ template \"x\" 1 }}", 1.0, "x1"),
            ("{{ parseDuration \"1h2m\" }}", 1.0, "3720"),
        ] {
            assert_eq!(run(text, value).unwrap(), want, "{text}");
        }
    }

    #[test]
    fn failures_say_why() {
        for text in [
            "{{ $label.foo }}",
            "{{ query \"none\" | first | value }}",
            "{{ query \"bad\" }}",
            "{{ .Nope.Deeper.Still }",
            "{{ humanize \"x\" }}",
        ] {
            assert!(run(text, 1.0).is_err(), "{text}");
        }
        assert!(check_template("{{ if }}").is_err());
        assert!(check_template("{{ $label.foo }}").is_err());
        for fine in [
            "{{ $labels.foo }}",
            "{{ range $k, $v := $labels }}{{ $k }}{{ end }}",
            "$x {{ \"$y\" }}",
        ] {
            assert!(check_template(fine).is_ok(), "{fine}");
        }
    }
}
