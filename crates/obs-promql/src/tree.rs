//! The syntax tree as JSON, in the shape of Prometheus' `/api/v1/parse_query`.

use crate::ast::*;

pub(crate) fn string(s: &str) -> String {
    let mut out = String::from("\"");
    for c in s.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if (c as u32) < 0x20 => out.push_str(&format!("\\u{:04x}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

pub(crate) fn list(items: impl IntoIterator<Item = String>) -> String {
    format!("[{}]", items.into_iter().collect::<Vec<_>>().join(","))
}

fn at(a: &Option<AtModifier>) -> String {
    let (timestamp, bound) = match a {
        None => ("null".to_owned(), "null"),
        Some(AtModifier::Timestamp(t)) => (t.to_string(), "null"),
        Some(AtModifier::Start) => ("null".to_owned(), "\"start\""),
        Some(AtModifier::End) => ("null".to_owned(), "\"end\""),
        Some(AtModifier::Computed(e)) => {
            return format!("\"timestamp\":null,\"startOrEnd\":null,\"at\":{}", tree_json(e));
        }
    };
    format!("\"timestamp\":{timestamp},\"startOrEnd\":{bound}")
}

fn selector(v: &VectorSelector) -> String {
    let matchers = v.matchers.iter().map(|m| {
        format!(
            "{{\"name\":{},\"type\":{},\"value\":{}}}",
            string(m.name()),
            string(&m.op().to_string()),
            string(m.value())
        )
    });
    format!(
        "\"name\":{},\"matchers\":{},\"offset\":{},{},\"anchored\":{},\"smoothed\":{}",
        string(&v.name),
        list(matchers),
        v.offset.millis(),
        at(&v.at),
        v.anchored,
        v.smoothed
    )
}

fn names(v: &[String]) -> String {
    list(v.iter().map(|s| string(s)))
}

/// JSON text of the tree; durations are milliseconds, computed durations 0.
pub fn tree_json(e: &Expr) -> String {
    match &e.kind {
        ExprKind::Aggregate(a) => format!(
            "{{\"type\":\"aggregation\",\"op\":{},\"expr\":{},\"param\":{},\"grouping\":{},\
             \"without\":{}}}",
            string(a.op.as_str()),
            tree_json(&a.expr),
            a.param.as_ref().map_or_else(|| "null".into(), |p| tree_json(p)),
            names(&a.grouping),
            a.without
        ),
        ExprKind::Binary(b) => {
            let fill = |v: Option<f64>| {
                v.map_or_else(|| "null".into(), |v| string(&crate::text::float_f(v)))
            };
            let matching = b.matching.as_ref().map_or_else(
                || "null".to_owned(),
                |m| {
                    format!(
                        "{{\"card\":{},\"labels\":{},\"on\":{},\"include\":{},\
                         \"fillValues\":{{\"lhs\":{},\"rhs\":{}}}}}",
                        string(m.card.as_str()),
                        names(&m.labels),
                        m.on,
                        names(&m.include),
                        fill(m.fill_left),
                        fill(m.fill_right)
                    )
                },
            );
            format!(
                "{{\"type\":\"binaryExpr\",\"op\":{},\"lhs\":{},\"rhs\":{},\"matching\":{matching},\
                 \"bool\":{}}}",
                string(b.op.as_str()),
                tree_json(&b.lhs),
                tree_json(&b.rhs),
                b.return_bool
            )
        }
        ExprKind::Call(c) => format!(
            "{{\"type\":\"call\",\"func\":{{\"name\":{},\"argTypes\":{},\"variadic\":{},\
             \"returnType\":{}}},\"args\":{}}}",
            string(c.func.name),
            list(c.func.args.iter().map(|t| string(t.as_str()))),
            c.func.variadic,
            string(c.func.returns.as_str()),
            list(c.args.iter().map(tree_json))
        ),
        ExprKind::Matrix(m) => format!(
            "{{\"type\":\"matrixSelector\",\"range\":{},{}}}",
            m.range.millis(),
            selector(&m.selector)
        ),
        ExprKind::Subquery(s) => format!(
            "{{\"type\":\"subquery\",\"expr\":{},\"range\":{},\"offset\":{},\"step\":{},{}}}",
            tree_json(&s.expr),
            s.range.millis(),
            s.offset.millis(),
            s.step.as_ref().map_or(0, DurationValue::millis),
            at(&s.at)
        ),
        ExprKind::Number(n) => {
            format!(
                "{{\"type\":\"numberLiteral\",\"val\":{}}}",
                string(&crate::text::float_f(n.value))
            )
        }
        ExprKind::Paren(inner) => {
            format!("{{\"type\":\"parenExpr\",\"expr\":{}}}", tree_json(inner))
        }
        ExprKind::String(s) => format!("{{\"type\":\"stringLiteral\",\"val\":{}}}", string(s)),
        ExprKind::Unary(u) => format!(
            "{{\"type\":\"unaryExpr\",\"op\":\"{}\",\"expr\":{}}}",
            if u.negative { "-" } else { "+" },
            tree_json(&u.expr)
        ),
        ExprKind::Vector(v) => format!("{{\"type\":\"vectorSelector\",{}}}", selector(v)),
        ExprKind::StepInvariant(inner) => tree_json(inner),
    }
}
