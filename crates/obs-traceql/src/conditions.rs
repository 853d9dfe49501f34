use obs_types::{AttrScope, AttrValue, TraceCondition, TraceConditionOp};

use crate::ast::{
    Attribute, FieldExpr, FieldOp, Intrinsic, Pipeline, SpansetExpr, SpansetOp, Stage, Static,
    StructuralMode,
};
use crate::parser::always_present;

/// What every trace that the pipeline can return fulfils: each condition by some span. A source
/// may use them to leave traces and blocks out; it need not.
///
/// Intrinsics are named as [`Intrinsic::as_str`] writes them; durations are `Int` nanoseconds,
/// status and kind are their words.
pub fn conditions(pipeline: &Pipeline) -> Vec<TraceCondition> {
    let mut out = Vec::new();
    stages(&pipeline.0, &mut out);
    out
}

fn stages(list: &[Stage], out: &mut Vec<TraceCondition>) {
    for stage in list {
        if let Stage::Spanset(e) = stage {
            spanset(e, out);
        }
    }
}

fn spanset(e: &SpansetExpr, out: &mut Vec<TraceCondition>) {
    match e {
        SpansetExpr::Filter(None) => {}
        SpansetExpr::Filter(Some(e)) => field(e, out),
        SpansetExpr::Pipeline(p) => stages(&p.0, out),
        SpansetExpr::Binary { op, left, right } => match op {
            SpansetOp::Or => {}
            // The right side decides alone, the left may be empty.
            SpansetOp::Structural { mode: StructuralMode::Negated, .. } => spanset(right, out),
            SpansetOp::And | SpansetOp::Structural { .. } => {
                spanset(left, out);
                spanset(right, out);
            }
        },
    }
}

fn field(e: &FieldExpr, out: &mut Vec<TraceCondition>) {
    match e {
        FieldExpr::Binary { op: FieldOp::And, left, right } => {
            field(left, out);
            field(right, out);
        }
        FieldExpr::Binary { op, left, right } => match (left.as_ref(), right.as_ref()) {
            (FieldExpr::Attribute(a), FieldExpr::Static(s)) => out.extend(condition(a, *op, s)),
            (FieldExpr::Static(s), FieldExpr::Attribute(a))
                if !matches!(op, FieldOp::Regex | FieldOp::NotRegex) =>
            {
                out.extend(condition(a, op.flipped(), s));
            }
            _ => {}
        },
        FieldExpr::Attribute(a) => {
            out.extend(condition(a, FieldOp::Equal, &Static::Bool(true)));
        }
        FieldExpr::Static(_) | FieldExpr::Unary { .. } => {}
    }
}

fn condition(attribute: &Attribute, op: FieldOp, value: &Static) -> Option<TraceCondition> {
    if let Attribute::Intrinsic(i) = attribute
        && !matches!(
            i,
            Intrinsic::Name
                | Intrinsic::Duration
                | Intrinsic::Status
                | Intrinsic::StatusMessage
                | Intrinsic::Kind
                | Intrinsic::TraceId
        )
    {
        return None;
    }
    let (scope, name) = attribute.scope_and_name();
    let make = |op, value| Some(TraceCondition { scope, name: name.to_owned(), op, value });
    let value = match value {
        Static::Nil if op == FieldOp::NotEqual && !always_present(attribute) => {
            return make(TraceConditionOp::Exists, AttrValue::Bool(true));
        }
        Static::Nil => return None,
        Static::Int(v) | Static::Duration(v) => AttrValue::Int(*v),
        Static::Float(v) => AttrValue::Double(*v),
        Static::Str(s) => AttrValue::Str(s.clone()),
        Static::Bool(b) => AttrValue::Bool(*b),
        Static::Status(s) => AttrValue::Str(s.as_str().to_owned()),
        Static::Kind(k) => AttrValue::Str(k.as_str().to_owned()),
    };
    // Arrays, events and links hold several values; their presence is what a source can check.
    let op = match (scope, op) {
        (AttrScope::Event | AttrScope::Link, _) => TraceConditionOp::Exists,
        (_, FieldOp::Equal) => TraceConditionOp::Equal,
        (_, FieldOp::NotEqual) => TraceConditionOp::NotEqual,
        (_, FieldOp::Less) => TraceConditionOp::Less,
        (_, FieldOp::LessEqual) => TraceConditionOp::LessEqual,
        (_, FieldOp::Greater) => TraceConditionOp::Greater,
        (_, FieldOp::GreaterEqual) => TraceConditionOp::GreaterEqual,
        (_, FieldOp::Regex) => TraceConditionOp::Regex,
        (_, FieldOp::NotRegex) => TraceConditionOp::NotRegex,
        _ => return None,
    };
    make(op, value)
}
