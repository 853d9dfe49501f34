use std::borrow::Cow;

use obs_types::{AttrScope, Attributes};
use regex::Regex;

use crate::TraceQlError;
use crate::ast::{Attribute, FieldExpr, FieldOp, Intrinsic, Static, UnaryOp};
use crate::value::{Value, calculate, compare, compile_regex};
use crate::view::TraceView;

/// A [`FieldExpr`] with its regular expressions compiled.
#[derive(Clone, Debug)]
pub(crate) enum Field {
    Static(Static),
    Attribute(Attribute),
    Unary { op: UnaryOp, operand: Box<Field> },
    Binary { op: FieldOp, left: Box<Field>, right: Box<Field>, regex: Option<Regex> },
}

impl Field {
    pub(crate) fn new(e: &FieldExpr) -> Result<Self, TraceQlError> {
        Ok(match e {
            FieldExpr::Static(s) => Self::Static(s.clone()),
            FieldExpr::Attribute(a) => Self::Attribute(a.clone()),
            FieldExpr::Unary { op, operand } => {
                Self::Unary { op: *op, operand: Box::new(Self::new(operand)?) }
            }
            FieldExpr::Binary { op, left, right } => {
                let regex = match (op, right.as_ref()) {
                    (FieldOp::Regex | FieldOp::NotRegex, FieldExpr::Static(Static::Str(p))) => {
                        Some(compile_regex(p).map_err(TraceQlError::Invalid)?)
                    }
                    _ => None,
                };
                let (left, right) = (Box::new(Self::new(left)?), Box::new(Self::new(right)?));
                Self::Binary { op: *op, left, right, regex }
            }
        })
    }

    /// Whether it is the word `nil`.
    fn is_nil(&self) -> bool {
        matches!(self, Self::Static(Static::Nil))
    }

    pub(crate) fn eval<'a>(&'a self, view: &TraceView<'a>, span: usize) -> Value<'a> {
        match self {
            Self::Static(s) => Value::from_static(s),
            Self::Attribute(a) => read(a, view, span),
            Self::Unary { op, operand } => match (op, operand.eval(view, span)) {
                (UnaryOp::Not, Value::Bool(b)) => Value::Bool(!b),
                (UnaryOp::Negate, Value::Int(v)) => Value::Int(v.saturating_neg()),
                (UnaryOp::Negate, Value::Float(v)) => Value::Float(-v),
                (UnaryOp::Negate, Value::Duration(v)) => Value::Duration(v.saturating_neg()),
                _ => Value::Nil,
            },
            Self::Binary { op, left, right, regex } => match op {
                FieldOp::And => {
                    Value::Bool(left.eval(view, span).is_true() && right.eval(view, span).is_true())
                }
                FieldOp::Or => {
                    Value::Bool(left.eval(view, span).is_true() || right.eval(view, span).is_true())
                }
                FieldOp::Equal | FieldOp::NotEqual if left.is_nil() || right.is_nil() => {
                    let asked = if left.is_nil() { right } else { left };
                    let absent = asked.eval(view, span).is_nil();
                    Value::Bool(absent == (*op == FieldOp::Equal))
                }
                op => {
                    let (l, r) = (left.eval(view, span), right.eval(view, span));
                    if op.is_comparison() {
                        Value::Bool(compare(*op, &l, &r, regex.as_ref()))
                    } else {
                        calculate(*op, &l, &r)
                    }
                }
            },
        }
    }
}

fn get<'a>(attributes: &'a Attributes, name: &str) -> Option<Value<'a>> {
    attributes.get(name).map(Value::from_attr)
}

/// What an attribute or intrinsic is for one span of the trace; nil where it is absent.
pub(crate) fn read<'a>(attribute: &Attribute, view: &TraceView<'a>, index: usize) -> Value<'a> {
    let Some(record) = view.span(index) else { return Value::Nil };
    let span = &record.span;
    let (scope, name) = match attribute {
        Attribute::Intrinsic(i) => return intrinsic(*i, view, index),
        Attribute::Named { parent: true, .. } => return Value::Nil,
        Attribute::Named { scope, name, .. } => (*scope, name),
    };
    let resource = || {
        get(&record.resource.attributes, name)
            .or_else(|| (name == "service.name").then(|| text(record.resource.service())))
    };
    match scope {
        AttrScope::Any => get(&span.attributes, name).or_else(resource).unwrap_or(Value::Nil),
        AttrScope::Span => get(&span.attributes, name).unwrap_or(Value::Nil),
        AttrScope::Resource => resource().unwrap_or(Value::Nil),
        AttrScope::Event => {
            Value::Many(span.events.iter().filter_map(|e| get(&e.attributes, name)).collect())
        }
        AttrScope::Link => {
            Value::Many(span.links.iter().filter_map(|l| get(&l.attributes, name)).collect())
        }
        AttrScope::Instrumentation => get(&record.scope.attributes, name).unwrap_or(Value::Nil),
        AttrScope::Intrinsic => Value::Nil,
    }
}

fn text(s: &str) -> Value<'_> {
    Value::Str(Cow::Borrowed(s))
}

fn owned<'a>(s: String) -> Value<'a> {
    Value::Str(Cow::Owned(s))
}

fn intrinsic<'a>(which: Intrinsic, view: &TraceView<'a>, index: usize) -> Value<'a> {
    let Some(record) = view.span(index) else { return Value::Nil };
    let span = &record.span;
    match which {
        Intrinsic::Duration => Value::Duration(span.duration_ns()),
        Intrinsic::Name => text(&span.name),
        Intrinsic::Status => Value::Status(span.status.code),
        Intrinsic::StatusMessage => text(&span.status.message),
        Intrinsic::Kind => Value::Kind(span.kind),
        Intrinsic::ChildCount => Value::Int(view.node(index).child_count),
        Intrinsic::SpanId => owned(span.span_id.to_string()),
        Intrinsic::ParentId if span.parent_span_id.is_zero() => text(""),
        Intrinsic::ParentId => owned(span.parent_span_id.to_string()),
        Intrinsic::RootName => view.root().map_or(Value::Nil, |r| text(&r.span.name)),
        Intrinsic::RootService => view.root().map_or(Value::Nil, |r| text(r.resource.service())),
        Intrinsic::TraceDuration => Value::Duration(view.duration_ns),
        Intrinsic::TraceId => owned(view.trace_id().to_string()),
        Intrinsic::NestedSetLeft => Value::Int(view.node(index).left),
        Intrinsic::NestedSetRight => Value::Int(view.node(index).right),
        Intrinsic::NestedSetParent => Value::Int(view.nested_set_parent(index)),
        Intrinsic::EventName => Value::Many(span.events.iter().map(|e| text(&e.name)).collect()),
        Intrinsic::EventTimeSinceStart => Value::Many(
            span.events
                .iter()
                .map(|e| Value::Duration(e.timestamp.0.saturating_sub(span.start.0)))
                .collect(),
        ),
        Intrinsic::LinkTraceId => {
            Value::Many(span.links.iter().map(|l| owned(l.trace_id.to_string())).collect())
        }
        Intrinsic::LinkSpanId => {
            Value::Many(span.links.iter().map(|l| owned(l.span_id.to_string())).collect())
        }
        Intrinsic::InstrumentationName => text(&record.scope.name),
        Intrinsic::InstrumentationVersion => text(&record.scope.version),
        Intrinsic::Parent => Value::Nil,
    }
}
