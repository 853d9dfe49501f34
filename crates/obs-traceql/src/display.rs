use std::fmt::{self, Display, Formatter, Write as _};

use obs_types::AttrScope;

use crate::ast::{
    Aggregate, Attribute, FieldExpr, FieldOp, Hint, Intrinsic, MetricsExpr, MetricsFunction,
    OverTime, Pipeline, Query, QueryBody, Relation, ScalarExpr, SpansetExpr, SpansetOp, Stage,
    Static, StructuralMode, UnaryOp,
};
use crate::lexer::is_attribute_char;

/// The canonical text: parsing it gives an equal query.
impl Display for Query {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.body {
            QueryBody::Search(p) => p.fmt(f)?,
            QueryBody::Metrics(m) => m.fmt(f)?,
        }
        if !self.hints.is_empty() {
            f.write_str(" with(")?;
            list(f, &self.hints)?;
            f.write_str(")")?;
        }
        Ok(())
    }
}

impl Display for Hint {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.name, self.value)
    }
}

fn list<T: Display>(f: &mut Formatter<'_>, items: &[T]) -> fmt::Result {
    for (i, item) in items.iter().enumerate() {
        if i > 0 {
            f.write_str(", ")?;
        }
        item.fmt(f)?;
    }
    Ok(())
}

impl Display for Pipeline {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (i, stage) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str(" | ")?;
            }
            stage.fmt(f)?;
        }
        Ok(())
    }
}

impl Display for Stage {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Spanset(e) => e.fmt(f),
            Self::ScalarFilter { op, left, right } => write!(f, "{left} {op} {right}"),
            Self::By(e) => write!(f, "by({e})"),
            Self::Coalesce => f.write_str("coalesce()"),
            Self::Select(attributes) => {
                f.write_str("select(")?;
                list(f, attributes)?;
                f.write_str(")")
            }
        }
    }
}

impl Display for SpansetExpr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Filter(None) => f.write_str("{ }"),
            Self::Filter(Some(e)) => write!(f, "{{ {e} }}"),
            Self::Binary { op, left, right } => {
                for (i, side) in [left, right].into_iter().enumerate() {
                    if i > 0 {
                        write!(f, " {op} ")?;
                    }
                    match side.as_ref() {
                        Self::Binary { .. } => write!(f, "({side})")?,
                        other => other.fmt(f)?,
                    }
                }
                Ok(())
            }
            Self::Pipeline(p) => write!(f, "({p})"),
        }
    }
}

impl Display for SpansetOp {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (relation, mode) = match self {
            Self::And => return f.write_str("&&"),
            Self::Or => return f.write_str("||"),
            Self::Structural { relation, mode } => (relation, mode),
        };
        f.write_str(match mode {
            StructuralMode::Plain => "",
            StructuralMode::Negated => "!",
            StructuralMode::Union => "&",
        })?;
        f.write_str(match relation {
            Relation::Child => ">",
            Relation::Parent => "<",
            Relation::Descendant => ">>",
            Relation::Ancestor => "<<",
            Relation::Sibling => "~",
        })
    }
}

impl Display for ScalarExpr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Static(s) => s.fmt(f),
            Self::Aggregate { op, field: None } => write!(f, "{op}()"),
            Self::Aggregate { op, field: Some(e) } => write!(f, "{op}({e})"),
            Self::Binary { op, left, right } => write!(f, "({left} {op} {right})"),
            Self::Pipeline { pipeline, aggregate } => write!(f, "({pipeline} | {aggregate})"),
        }
    }
}

impl Display for Aggregate {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Count => "count",
            Self::Avg => "avg",
            Self::Min => "min",
            Self::Max => "max",
            Self::Sum => "sum",
        })
    }
}

impl Display for FieldExpr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Static(s) => s.fmt(f),
            Self::Attribute(a) => a.fmt(f),
            Self::Unary { op, operand } => match op {
                UnaryOp::Not => write!(f, "!({operand})"),
                UnaryOp::Negate => write!(f, "-({operand})"),
            },
            Self::Binary { op, left, right } => {
                for (i, side) in [left, right].into_iter().enumerate() {
                    if i > 0 {
                        write!(f, " {op} ")?;
                    }
                    match side.as_ref() {
                        Self::Static(_) | Self::Attribute(_) => side.fmt(f)?,
                        _ => write!(f, "({side})")?,
                    }
                }
                Ok(())
            }
        }
    }
}

impl Display for FieldOp {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::And => "&&",
            Self::Or => "||",
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Less => "<",
            Self::LessEqual => "<=",
            Self::Greater => ">",
            Self::GreaterEqual => ">=",
            Self::Regex => "=~",
            Self::NotRegex => "!~",
            Self::Add => "+",
            Self::Sub => "-",
            Self::Mul => "*",
            Self::Div => "/",
            Self::Mod => "%",
            Self::Pow => "^",
        })
    }
}

impl Display for Intrinsic {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Display for Attribute {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (scope, parent, name) = match self {
            Self::Intrinsic(i) => return i.fmt(f),
            Self::Named { scope, parent, name } => (scope, *parent, name),
        };
        if parent {
            f.write_str("parent")?;
        }
        f.write_str(match (scope, parent) {
            (AttrScope::Span, false) => "span.",
            (AttrScope::Span, true) => ".span.",
            (AttrScope::Resource, false) => "resource.",
            (AttrScope::Resource, true) => ".resource.",
            (AttrScope::Event, _) => "event.",
            (AttrScope::Link, _) => "link.",
            (AttrScope::Instrumentation, _) => "instrumentation.",
            (AttrScope::Any | AttrScope::Intrinsic, _) => ".",
        })?;
        // `.5` would be read as a number, and `parent.span.a` as another scope.
        let plain = name.chars().all(|c| is_attribute_char(c) && c != '\\')
            && !name.starts_with(|c: char| c.is_ascii_digit())
            && !(parent && (name.starts_with("span.") || name.starts_with("resource.")));
        if plain { f.write_str(name) } else { quote(f, name) }
    }
}

fn quote(f: &mut Formatter<'_>, text: &str) -> fmt::Result {
    f.write_char('"')?;
    for c in text.chars() {
        match c {
            '"' => f.write_str("\\\"")?,
            '\\' => f.write_str("\\\\")?,
            '\n' => f.write_str("\\n")?,
            '\r' => f.write_str("\\r")?,
            '\t' => f.write_str("\\t")?,
            c => f.write_char(c)?,
        }
    }
    f.write_char('"')
}

impl Display for Static {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nil => f.write_str("nil"),
            Self::Int(v) => v.fmt(f),
            Self::Float(v) => write!(f, "{v:?}"),
            Self::Str(s) => quote(f, s),
            Self::Bool(b) => b.fmt(f),
            Self::Duration(ns) => duration(f, *ns),
            Self::Status(s) => f.write_str(s.as_str()),
            Self::Kind(k) => f.write_str(k.as_str()),
        }
    }
}

fn duration(f: &mut Formatter<'_>, ns: i64) -> fmt::Result {
    if ns < 0 {
        f.write_char('-')?;
    }
    let mut rest = ns.unsigned_abs();
    if rest == 0 {
        return f.write_str("0s");
    }
    for (unit, size) in [
        ("h", 3_600_000_000_000),
        ("m", 60_000_000_000),
        ("s", 1_000_000_000),
        ("ms", 1_000_000),
        ("us", 1_000),
        ("ns", 1),
    ] {
        if rest >= size {
            write!(f, "{}{unit}", rest / size)?;
            rest %= size;
        }
    }
    Ok(())
}

impl Display for MetricsExpr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Function { spans, function, by } => {
                write!(f, "{spans} | {function}")?;
                if !by.is_empty() {
                    f.write_str(" by(")?;
                    list(f, by)?;
                    f.write_str(")")?;
                }
                Ok(())
            }
            Self::Rank { input, bottom, count } => {
                write!(f, "{input} | {}({count})", if *bottom { "bottomk" } else { "topk" })
            }
            Self::Filter { input, op, value } => write!(f, "{input} {op} {value}"),
            Self::Binary { op, left, right } => {
                for (i, side) in [left, right].into_iter().enumerate() {
                    if i > 0 {
                        write!(f, " {op} ")?;
                    }
                    match side.as_ref() {
                        Self::Scalar(s) => s.fmt(f)?,
                        other => write!(f, "({other})")?,
                    }
                }
                Ok(())
            }
            Self::Scalar(s) => s.fmt(f),
        }
    }
}

impl Display for MetricsFunction {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::OverTime { attribute, .. } | Self::HistogramOverTime { attribute } => {
                write!(f, "{}({attribute})", self.name())
            }
            Self::QuantileOverTime { attribute, quantiles } => {
                write!(f, "{}({attribute}", self.name())?;
                for q in quantiles {
                    write!(f, ", {q}")?;
                }
                f.write_str(")")
            }
            Self::Compare { selection, top, window } => {
                write!(f, "compare({selection}")?;
                if let Some(top) = top {
                    write!(f, ", {top}")?;
                }
                if let Some((start, end)) = window {
                    write!(f, ", {start}, {end}")?;
                }
                f.write_str(")")
            }
            Self::Rate | Self::CountOverTime => write!(f, "{}()", self.name()),
        }
    }
}

impl MetricsFunction {
    /// The function's name in the language.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Rate => "rate",
            Self::CountOverTime => "count_over_time",
            Self::OverTime { op, .. } => match op {
                OverTime::Min => "min_over_time",
                OverTime::Max => "max_over_time",
                OverTime::Avg => "avg_over_time",
                OverTime::Sum => "sum_over_time",
            },
            Self::QuantileOverTime { .. } => "quantile_over_time",
            Self::HistogramOverTime { .. } => "histogram_over_time",
            Self::Compare { .. } => "compare",
        }
    }
}
