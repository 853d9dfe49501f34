//! `line_format` and `label_format`: Go templates with Loki's functions.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gotmpl::parse::{Expr, ListNode, Node, PipeNode};
use gotmpl::{MissingKey, Template, TemplateError, Value};
use regex::Regex;

use super::Entry;
use super::gotime::{self, Time};
use crate::unit;

/// Most bytes that `repeat`, `indent`, `alignLeft` and the like may make.
const TEXT_BYTES_MAX: usize = 1 << 20;
/// Most rounds of `range` in one rendering.
const ROUNDS_MAX: u64 = 10_000;

thread_local! {
    /// What `__line__`, `__timestamp__` and `now` show while a template runs on this thread.
    static CURRENT: RefCell<(String, i64)> = const { RefCell::new((String::new(), 0)) };
}

pub(crate) struct LogTemplate {
    template: Template,
    /// `{{.x}}` alone: the value is copied without running the template.
    simple: Option<String>,
    /// Labels that the template names; absent ones render as empty.
    fields: Vec<String>,
    needs_line: bool,
}

impl std::fmt::Debug for LogTemplate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogTemplate").field("fields", &self.fields).finish_non_exhaustive()
    }
}

impl LogTemplate {
    pub(crate) fn new(name: &str, text: &str) -> Result<Self, String> {
        let functions = functions();
        let template = Template::new(name)
            .missing_key(MissingKey::ZeroValue)
            .max_range_iters(ROUNDS_MAX)
            .funcs(functions.clone())
            .parse(text)
            .map_err(|e| e.to_string())?;
        let mut found = Found::default();
        let mut simple = None;
        for name in template.templates() {
            if let Some(tree) = template.lookup(name) {
                found.list(tree);
            }
        }
        if let Some(tree) = template.lookup(name) {
            found.list(tree);
            simple = simple_field(tree);
        }
        for function in &found.functions {
            if !functions.contains_key(function.as_str()) && !BUILTINS.contains(&function.as_str())
            {
                return Err(format!(
                    "template: {name}: function {} not defined",
                    unit::quote(function)
                ));
            }
        }
        let needs_line = found.functions.iter().any(|f| f.starts_with("__") || f == "now");
        found.fields.sort();
        found.fields.dedup();
        Ok(Self { template, simple, fields: found.fields, needs_line })
    }

    pub(crate) fn render(&self, entry: &Entry<'_>) -> Result<String, String> {
        if let Some(field) = &self.simple {
            return Ok(entry.get(field).unwrap_or("").to_owned());
        }
        if self.needs_line {
            CURRENT.with_borrow_mut(|c| *c = (entry.line.to_string(), entry.timestamp.0));
        }
        let mut data: BTreeMap<Arc<str>, Value> = BTreeMap::new();
        for field in &self.fields {
            let value = entry.get(field).unwrap_or("");
            data.insert(Arc::from(field.as_str()), Value::String(Arc::from(value)));
        }
        for (name, value) in entry.iter() {
            data.insert(Arc::from(name), Value::String(Arc::from(value)));
        }
        self.template.execute_to_string(&Value::Map(Arc::new(data))).map_err(|e| e.to_string())
    }
}

const BUILTINS: [&str; 21] = [
    "eq", "ne", "lt", "le", "gt", "ge", "and", "or", "not", "print", "printf", "println", "len",
    "index", "slice", "call", "html", "js", "urlquery", "break", "continue",
];

fn simple_field(tree: &ListNode) -> Option<String> {
    let [Node::Action(action)] = tree.nodes.as_slice() else { return None };
    let [command] = action.pipe.commands.as_slice() else { return None };
    let [Expr::Field(_, path)] = command.args.as_slice() else { return None };
    let [name] = path.as_slice() else { return None };
    action.pipe.decl.is_empty().then(|| name.to_string())
}

/// Labels and functions that a template names.
#[derive(Default)]
struct Found {
    fields: Vec<String>,
    functions: Vec<String>,
}

impl Found {
    fn list(&mut self, list: &ListNode) {
        for node in &list.nodes {
            match node {
                Node::List(l) => self.list(l),
                Node::Action(a) => self.pipe(&a.pipe),
                Node::If(b) | Node::Range(b) | Node::With(b) => {
                    self.pipe(&b.pipe);
                    self.list(&b.body);
                    if let Some(otherwise) = &b.else_body {
                        self.list(otherwise);
                    }
                }
                Node::Template(t) => {
                    if let Some(pipe) = &t.pipe {
                        self.pipe(pipe);
                    }
                }
                Node::Define(d) => self.list(&d.body),
                Node::Text(_) | Node::Break(_) | Node::Continue(_) => {}
            }
        }
    }

    fn pipe(&mut self, pipe: &PipeNode) {
        for command in &pipe.commands {
            for argument in &command.args {
                self.expr(argument);
            }
        }
    }

    fn expr(&mut self, expr: &Expr) {
        match expr {
            Expr::Field(_, path) => self.fields.extend(path.first().map(ToString::to_string)),
            Expr::Variable(_, name, path) if name.as_str() == "$" => {
                self.fields.extend(path.first().map(ToString::to_string));
            }
            Expr::Identifier(_, name) => self.functions.push(name.to_string()),
            Expr::Pipe(_, pipe) => self.pipe(pipe),
            Expr::Chain(_, inner, _) => self.expr(inner),
            _ => {}
        }
    }
}

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
fn functions() -> gotmpl::FuncMap {
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

#[cfg(test)]
mod tests {
    use obs_types::{LabelSet, TimestampNs};

    use super::*;

    fn render(template: &str) -> Result<String, String> {
        let stream = LabelSet::from_pairs([("app", "Api"), ("n", "7")]);
        let metadata = LabelSet::empty();
        let at = TimestampNs(1_700_000_000_123_456_789);
        let entry = Entry::new(at, &stream, &metadata, "the line");
        LogTemplate::new("line", template)?.render(&entry)
    }

    #[test]
    fn labels_functions_and_line() {
        for (template, want) in [
            ("{{.app}}", "Api"),
            ("x{{.missing}}y", "xy"),
            ("{{.app | ToLower}} {{__line__}}", "api the line"),
            ("{{ if eq .app \"Api\" }}yes{{ else }}no{{ end }}", "yes"),
            ("{{ add 1 .n 2 }} {{ divf 1 4 }} {{ round 1.2345 2 }}", "10 0.25 1.23"),
            (
                "{{ __timestamp__ | date \"2006-01-02T15:04:05.000Z07:00\" }}",
                "2023-11-14T22:13:20.123Z",
            ),
            ("{{ __timestamp__ | unixEpochMillis }}", "1700000000123"),
            ("{{ regexReplaceAll \"(A)(p)\" .app \"${2}$1\" }}", "pAi"),
            ("{{ alignRight 5 .app }}|{{ trunc 2 .app }}|{{ substr 1 3 .app }}", "  Api|Ap|pi"),
            ("{{ \"YQ\" | b64dec }}{{ b64enc \"a\" }} {{ default \"d\" .missing }}", "aYQ== d"),
            ("{{ range $i, $v := fromJson \"[1,2]\" }}{{$v}};{{ end }}", "1;2;"),
            ("{{ unixToTime \"1700000000\" | date \"Jan _2 3:04PM\" }}", "Nov 14 10:13PM"),
        ] {
            assert_eq!(render(template).as_deref(), Ok(want), "{template}");
        }
    }

    #[test]
    fn mistakes_are_named() {
        assert!(render("{{ nosuch .x }}").unwrap_err().contains("not defined"));
        assert!(render("{{").unwrap_err().contains("unclosed action"));
        assert!(render("{{ repeat 99999999 .app }}").is_err());
        assert!(render("{{ div 1 0 }}").is_err());
        assert!(render("{{ count \"(\" .app }}").unwrap_err().contains("regexp"));
    }
}
