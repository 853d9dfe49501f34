//! The canonical text of a query.

use std::fmt;

use obs_types::Matcher;

use crate::ast::*;
use crate::unit::{quote, show_duration, show_float};

#[derive(Clone, Debug, PartialEq, Eq)]
struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&quote(self.0))
    }
}

fn joined<T>(
    f: &mut fmt::Formatter<'_>,
    separator: &str,
    items: &[T],
    mut show: impl FnMut(&mut fmt::Formatter<'_>, &T) -> fmt::Result,
) -> fmt::Result {
    for (i, item) in items.iter().enumerate() {
        if i > 0 {
            f.write_str(separator)?;
        }
        show(f, item)?;
    }
    Ok(())
}

fn show_matcher(f: &mut fmt::Formatter<'_>, m: &Matcher) -> fmt::Result {
    write!(f, "{}{}{}", m.name(), m.op(), Quoted(m.value()))
}

fn show_extractions(f: &mut fmt::Formatter<'_>, items: &[Extraction]) -> fmt::Result {
    joined(f, ", ", items, |f, e| write!(f, "{}={}", e.label, Quoted(&e.path)))
}

fn show_named(f: &mut fmt::Formatter<'_>, items: &[NamedMatcher]) -> fmt::Result {
    joined(f, ", ", items, |f, m| match m {
        NamedMatcher::Name(n) => f.write_str(n),
        NamedMatcher::Matcher(m) => show_matcher(f, m),
    })
}

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Log(e) => e.fmt(f),
            Self::Metric(e) => e.fmt(f),
        }
    }
}

impl fmt::Display for LogExpr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        joined(f, ", ", &self.matchers, show_matcher)?;
        f.write_str("}")?;
        self.stages.iter().try_for_each(|s| write!(f, " {s}"))
    }
}

impl fmt::Display for LineFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.op.as_str())?;
        joined(f, " or ", &self.terms, |f, t| {
            if t.ip { write!(f, "ip({})", Quoted(&t.text)) } else { Quoted(&t.text).fmt(f) }
        })
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LineFilter(l) => l.fmt(f),
            Self::Json(e) if e.is_empty() => f.write_str("| json"),
            Self::Json(e) => {
                f.write_str("| json ")?;
                show_extractions(f, e)
            }
            Self::Logfmt { strict, keep_empty, extractions } => {
                f.write_str("| logfmt")?;
                if *strict {
                    f.write_str(" --strict")?;
                }
                if *keep_empty {
                    f.write_str(" --keep-empty")?;
                }
                if !extractions.is_empty() {
                    f.write_str(" ")?;
                }
                show_extractions(f, extractions)
            }
            Self::Regexp(r) => write!(f, "| regexp {}", Quoted(r)),
            Self::Pattern(p) => write!(f, "| pattern {}", Quoted(p)),
            Self::Unpack => f.write_str("| unpack"),
            Self::LabelFilter(l) => write!(f, "| {l}"),
            Self::LineFormat(t) => write!(f, "| line_format {}", Quoted(t)),
            Self::LabelFormat(formats) => {
                f.write_str("| label_format ")?;
                joined(f, ", ", formats, |f, l| match &l.value {
                    LabelFormatValue::Rename(old) => write!(f, "{}={old}", l.label),
                    LabelFormatValue::Template(t) => write!(f, "{}={}", l.label, Quoted(t)),
                })
            }
            Self::Decolorize => f.write_str("| decolorize"),
            Self::Drop(names) => {
                f.write_str("| drop ")?;
                show_named(f, names)
            }
            Self::Keep(names) => {
                f.write_str("| keep ")?;
                show_named(f, names)
            }
        }
    }
}

impl fmt::Display for LabelFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Matcher(m) => show_matcher(f, m),
            Self::Number { label, op, value } => {
                write!(f, "{label}{}{}", op.as_str(), show_float(*value))
            }
            Self::Duration { label, op, value } => {
                write!(f, "{label}{}{}", op.as_str(), show_duration(*value))
            }
            Self::Bytes { label, op, value } => write!(f, "{label}{}{value}B", op.as_str()),
            Self::Ip(i) => {
                let op = if i.negated { "!=" } else { "=" };
                write!(f, "{}{op}ip({})", i.label, Quoted(&i.pattern))
            }
            Self::And(a, b) => write!(f, "( {a} , {b} )"),
            Self::Or(a, b) => write!(f, "( {a} or {b} )"),
        }
    }
}

impl fmt::Display for LogRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.log.fmt(f)?;
        if let Some(u) = &self.unwrap {
            match u.conversion {
                Some(c) => write!(f, " | unwrap {}({})", c.as_str(), u.label)?,
                None => write!(f, " | unwrap {}", u.label)?,
            }
            u.filters.iter().try_for_each(|l| write!(f, " | {l}"))?;
        }
        write!(f, "[{}]", show_duration(self.range_ns))?;
        if self.offset_ns != 0 {
            write!(f, " offset {}", show_duration(self.offset_ns))?;
        }
        Ok(())
    }
}

impl fmt::Display for Grouping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.without { "without (" } else { "by (" })?;
        joined(f, ",", &self.labels, |f, l| f.write_str(l))?;
        f.write_str(")")
    }
}

impl fmt::Display for MetricExpr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Range(r) => {
                write!(f, "{}(", r.op.as_str())?;
                if let Some(p) = r.parameter {
                    write!(f, "{},", show_float(p))?;
                }
                write!(f, "{})", r.range)?;
                r.grouping.as_ref().map_or(Ok(()), |g| write!(f, " {g}"))
            }
            Self::Vector(v) => {
                f.write_str(v.op.as_str())?;
                if let Some(g) = &v.grouping {
                    write!(f, " {g} ")?;
                }
                f.write_str("(")?;
                if v.op.takes_parameter() {
                    write!(f, "{},", v.parameter)?;
                }
                write!(f, "{})", v.inner)
            }
            Self::Binary(b) => b.fmt(f),
            Self::LabelReplace(l) => write!(
                f,
                "label_replace({},{},{},{},{})",
                l.inner,
                Quoted(&l.destination),
                Quoted(&l.replacement),
                Quoted(&l.source),
                Quoted(&l.regex)
            ),
            Self::Literal(v) => f.write_str(&show_float(*v)),
            Self::Constant(v) => write!(f, "vector({})", show_float(*v)),
        }
    }
}

impl fmt::Display for BinaryExpr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({} {}", self.left, self.op.as_str())?;
        if self.return_bool {
            f.write_str(" bool")?;
        }
        let m = &self.matching;
        if m.on || !m.labels.is_empty() || m.cardinality != Cardinality::OneToOne {
            f.write_str(if m.on { " on (" } else { " ignoring (" })?;
            joined(f, ",", &m.labels, |f, l| f.write_str(l))?;
            f.write_str(")")?;
            let group = match m.cardinality {
                Cardinality::OneToOne => None,
                Cardinality::ManyToOne => Some("group_left"),
                Cardinality::OneToMany => Some("group_right"),
            };
            if let Some(group) = group {
                write!(f, " {group} (")?;
                joined(f, ",", &m.include, |f, l| f.write_str(l))?;
                f.write_str(")")?;
            }
        }
        write!(f, " {})", self.right)
    }
}
