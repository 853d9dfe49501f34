//! `line_format` and `label_format`: Go templates with Loki's functions.

mod functions;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use functions::functions;
use gotmpl::parse::{Expr, ListNode, Node, PipeNode};
use gotmpl::{MissingKey, Template, Value};

use super::Entry;
use crate::unit;

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
