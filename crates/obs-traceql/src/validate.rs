use crate::TraceQlError;
use crate::ast::{
    Aggregate, Attribute, FieldExpr, FieldOp, Intrinsic, MetricsExpr, MetricsFunction, Pipeline,
    Query, QueryBody, ScalarExpr, SpansetExpr, Stage, Static, UnaryOp,
};
use crate::parser::always_present;
use crate::value::compile_regex;

/// What is known of an expression's value before a span is seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Type {
    Nil,
    /// An attribute: anything.
    Any,
    Int,
    Float,
    Duration,
    Str,
    Bool,
    Status,
    Kind,
}

impl Type {
    fn is_number(self) -> bool {
        matches!(self, Self::Any | Self::Int | Self::Float | Self::Duration)
    }

    fn is_bool(self) -> bool {
        matches!(self, Self::Any | Self::Bool)
    }

    fn matches(self, other: Self) -> bool {
        self == other
            || [self, other].iter().any(|t| matches!(t, Self::Any | Self::Nil))
            || (self.is_number() && other.is_number())
    }
}

impl Query {
    /// Checks types and arguments. [`TraceQlError::Invalid`] goes before
    /// [`TraceQlError::Unsupported`] when both would hold.
    pub fn validate(&self) -> Result<(), TraceQlError> {
        let mut checker = Checker { unsupported: None };
        match &self.body {
            QueryBody::Search(p) => checker.pipeline(p)?,
            QueryBody::Metrics(m) => checker.metrics(m)?,
        }
        match checker.unsupported {
            Some(what) => Err(TraceQlError::Unsupported(what)),
            None => Ok(()),
        }
    }
}

struct Checker {
    unsupported: Option<String>,
}

fn invalid<T>(message: String) -> Result<T, TraceQlError> {
    Err(TraceQlError::Invalid(message))
}

impl Checker {
    fn unsupported(&mut self, what: impl Into<String>) {
        self.unsupported.get_or_insert_with(|| what.into());
    }

    fn pipeline(&mut self, pipeline: &Pipeline) -> Result<(), TraceQlError> {
        pipeline.0.iter().try_for_each(|stage| match stage {
            Stage::Spanset(e) => self.spanset(e),
            Stage::ScalarFilter { left, right, .. } => {
                self.scalar(left)?;
                self.scalar(right)?;
                let simple = matches!(
                    (left, right),
                    (ScalarExpr::Aggregate { .. }, ScalarExpr::Static(_))
                        | (ScalarExpr::Static(_), ScalarExpr::Aggregate { .. })
                );
                if !simple {
                    self.unsupported(format!("{stage}: compare one aggregate with one number"));
                }
                Ok(())
            }
            Stage::By(e) => {
                self.field(e)?;
                if reads_span(e) {
                    Ok(())
                } else {
                    invalid(format!("by({e}) does not read the span"))
                }
            }
            Stage::Coalesce => Ok(()),
            Stage::Select(attributes) => {
                attributes.iter().for_each(|a| self.attribute(a));
                Ok(())
            }
        })
    }

    fn spanset(&mut self, e: &SpansetExpr) -> Result<(), TraceQlError> {
        match e {
            SpansetExpr::Filter(None) => Ok(()),
            SpansetExpr::Filter(Some(e)) => match self.field(e)? {
                t if t.is_bool() => Ok(()),
                t => invalid(format!("{{ {e} }} must be true or false, it is {t:?}")),
            },
            SpansetExpr::Binary { left, right, .. } => {
                self.spanset(left)?;
                self.spanset(right)
            }
            SpansetExpr::Pipeline(p) => self.pipeline(p),
        }
    }

    fn scalar(&mut self, e: &ScalarExpr) -> Result<(), TraceQlError> {
        match e {
            ScalarExpr::Static(_) => Ok(()),
            ScalarExpr::Aggregate { op, field } => {
                let Some(field) = field else { return Ok(()) };
                debug_assert!(*op != Aggregate::Count, "count() has no field");
                let t = self.field(field)?;
                if !t.is_number() {
                    return invalid(format!("{e} needs numbers, {field} is {t:?}"));
                }
                if !reads_span(field) {
                    return invalid(format!("{e} does not read the span"));
                }
                Ok(())
            }
            ScalarExpr::Binary { left, right, .. } => {
                self.scalar(left)?;
                self.scalar(right)
            }
            ScalarExpr::Pipeline { pipeline, aggregate } => {
                self.pipeline(pipeline)?;
                self.scalar(aggregate)
            }
        }
    }

    fn attribute(&mut self, attribute: &Attribute) {
        let parent = match attribute {
            Attribute::Intrinsic(i) => *i == Intrinsic::Parent,
            Attribute::Named { parent, .. } => *parent,
        };
        if parent {
            self.unsupported(format!("{attribute}: the parent span cannot be read"));
        }
    }

    fn field(&mut self, e: &FieldExpr) -> Result<Type, TraceQlError> {
        match e {
            FieldExpr::Static(s) => Ok(static_type(s)),
            FieldExpr::Attribute(a) => {
                self.attribute(a);
                Ok(attribute_type(a))
            }
            FieldExpr::Unary { op, operand } => {
                let t = self.field(operand)?;
                let fits = match op {
                    UnaryOp::Not => t.is_bool(),
                    UnaryOp::Negate => t.is_number(),
                };
                if fits { Ok(t) } else { invalid(format!("{e}: the operand is {t:?}")) }
            }
            FieldExpr::Binary { op, left, right } => {
                let (l, r) = (self.field(left)?, self.field(right)?);
                self.binary(*op, left, right, l, r).or_else(|why| invalid(format!("{e}: {why}")))
            }
        }
    }

    fn binary(
        &self,
        op: FieldOp,
        left: &FieldExpr,
        right: &FieldExpr,
        l: Type,
        r: Type,
    ) -> Result<Type, String> {
        if !l.matches(r) {
            return Err(format!("{l:?} and {r:?} do not go together"));
        }
        let both = |fits: fn(Type) -> bool| fits(l) && fits(r);
        let fits = match op {
            FieldOp::And | FieldOp::Or => both(Type::is_bool),
            FieldOp::Equal | FieldOp::NotEqual => true,
            FieldOp::Less | FieldOp::LessEqual | FieldOp::Greater | FieldOp::GreaterEqual => {
                both(|t| t.is_number() || t == Type::Str)
            }
            FieldOp::Regex | FieldOp::NotRegex => both(|t| matches!(t, Type::Any | Type::Str)),
            _ => both(Type::is_number),
        };
        if !fits {
            return Err(format!("operator {op} does not take {l:?} and {r:?}"));
        }
        if matches!(op, FieldOp::Regex | FieldOp::NotRegex) {
            match right {
                FieldExpr::Static(Static::Str(pattern)) => {
                    compile_regex(pattern)?;
                }
                _ => return Err("the regular expression must be a string".to_owned()),
            }
        }
        if op == FieldOp::Equal {
            let nil = |e: &FieldExpr| *e == FieldExpr::Static(Static::Nil);
            let present = |e: &FieldExpr| matches!(e, FieldExpr::Attribute(a) if always_present(a));
            if (nil(left) && present(right)) || (nil(right) && present(left)) {
                return Err("it is never nil".to_owned());
            }
        }
        let boolean = op.is_comparison() || matches!(op, FieldOp::And | FieldOp::Or);
        Ok(match (boolean, l, r) {
            (true, ..) => Type::Bool,
            (false, Type::Any, t) | (false, t, Type::Any) => t,
            (false, Type::Duration, _) | (false, _, Type::Duration) => Type::Duration,
            (false, Type::Float, _) | (false, _, Type::Float) => Type::Float,
            (false, t, _) => t,
        })
    }

    fn metrics(&mut self, e: &MetricsExpr) -> Result<(), TraceQlError> {
        match e {
            MetricsExpr::Scalar(_) => Ok(()),
            MetricsExpr::Function { spans, function, by } => {
                self.pipeline(spans)?;
                by.iter().for_each(|a| self.attribute(a));
                self.function(function)?;
                if matches!(function, MetricsFunction::Compare { .. }) && !by.is_empty() {
                    return invalid("compare() takes no by()".to_owned());
                }
                Ok(())
            }
            MetricsExpr::Rank { input, count, .. } => {
                self.metrics(input)?;
                no_compare(input)?;
                if *count <= 0 {
                    return invalid(format!("topk and bottomk need at least 1, not {count}"));
                }
                Ok(())
            }
            MetricsExpr::Filter { input, .. } => {
                self.metrics(input)?;
                no_compare(input)
            }
            MetricsExpr::Binary { left, right, .. } => {
                for side in [left, right] {
                    self.metrics(side)?;
                    no_compare(side)?;
                }
                Ok(())
            }
        }
    }

    fn function(&mut self, function: &MetricsFunction) -> Result<(), TraceQlError> {
        match function {
            MetricsFunction::Rate | MetricsFunction::CountOverTime => Ok(()),
            MetricsFunction::OverTime { attribute, .. }
            | MetricsFunction::HistogramOverTime { attribute }
            | MetricsFunction::QuantileOverTime { attribute, .. } => {
                self.attribute(attribute);
                let t = attribute_type(attribute);
                if !t.is_number() {
                    return invalid(format!("{function} needs numbers, {attribute} is {t:?}"));
                }
                if let MetricsFunction::QuantileOverTime { quantiles, .. } = function
                    && let Some(q) = quantiles.iter().find(|q| !(0.0..=1.0).contains(*q))
                {
                    return invalid(format!("quantile {q} is not between 0 and 1"));
                }
                Ok(())
            }
            MetricsFunction::Compare { selection, top, window } => {
                self.spanset(selection)?;
                if top.is_some_and(|n| n <= 0) {
                    return invalid("compare() needs at least 1 value per attribute".to_owned());
                }
                match window {
                    Some((start, end)) if start >= end => {
                        invalid("compare() needs a start before its end".to_owned())
                    }
                    _ => Ok(()),
                }
            }
        }
    }
}

/// compare() gives several kinds of series at once, which nothing after it could tell apart.
fn no_compare(e: &MetricsExpr) -> Result<(), TraceQlError> {
    match e {
        MetricsExpr::Function { function: MetricsFunction::Compare { .. }, .. } => {
            invalid("compare() must be the last function".to_owned())
        }
        _ => Ok(()),
    }
}

fn reads_span(e: &FieldExpr) -> bool {
    match e {
        FieldExpr::Static(_) => false,
        FieldExpr::Attribute(_) => true,
        FieldExpr::Unary { operand, .. } => reads_span(operand),
        FieldExpr::Binary { left, right, .. } => reads_span(left) || reads_span(right),
    }
}

fn static_type(s: &Static) -> Type {
    match s {
        Static::Nil => Type::Nil,
        Static::Int(_) => Type::Int,
        Static::Float(_) => Type::Float,
        Static::Str(_) => Type::Str,
        Static::Bool(_) => Type::Bool,
        Static::Duration(_) => Type::Duration,
        Static::Status(_) => Type::Status,
        Static::Kind(_) => Type::Kind,
    }
}

fn attribute_type(a: &Attribute) -> Type {
    let Attribute::Intrinsic(i) = a else { return Type::Any };
    match i {
        Intrinsic::Duration | Intrinsic::TraceDuration | Intrinsic::EventTimeSinceStart => {
            Type::Duration
        }
        Intrinsic::Status => Type::Status,
        Intrinsic::Kind => Type::Kind,
        Intrinsic::ChildCount
        | Intrinsic::NestedSetLeft
        | Intrinsic::NestedSetRight
        | Intrinsic::NestedSetParent => Type::Int,
        Intrinsic::Parent => Type::Any,
        Intrinsic::Name
        | Intrinsic::StatusMessage
        | Intrinsic::SpanId
        | Intrinsic::ParentId
        | Intrinsic::RootName
        | Intrinsic::RootService
        | Intrinsic::TraceId
        | Intrinsic::EventName
        | Intrinsic::LinkTraceId
        | Intrinsic::LinkSpanId
        | Intrinsic::InstrumentationName
        | Intrinsic::InstrumentationVersion => Type::Str,
    }
}
