//! Which operator and word means what.

use obs_types::{AttrScope, SpanKind, StatusCode};

use crate::ast::{Aggregate, Attribute, FieldOp, Relation, SpansetOp, Static, StructuralMode};
use crate::lexer::Op;

use super::{ADDITIVE, MULTIPLICATIVE};

pub(super) fn level(op: Op) -> Option<u8> {
    match op {
        Op::And | Op::Or => Some(1),
        Op::Add | Op::Sub => Some(ADDITIVE),
        Op::Mul | Op::Div | Op::Mod => Some(MULTIPLICATIVE),
        Op::Pow => Some(6),
        Op::Not => None,
        _ => Some(2),
    }
}

pub(super) fn field_op(op: Op) -> Option<FieldOp> {
    Some(match op {
        Op::And => FieldOp::And,
        Op::Or => FieldOp::Or,
        Op::Equal => FieldOp::Equal,
        Op::NotEqual => FieldOp::NotEqual,
        Op::Less => FieldOp::Less,
        Op::LessEqual => FieldOp::LessEqual,
        Op::Greater => FieldOp::Greater,
        Op::GreaterEqual => FieldOp::GreaterEqual,
        Op::Regex => FieldOp::Regex,
        Op::NotRegex => FieldOp::NotRegex,
        Op::Add => FieldOp::Add,
        Op::Sub => FieldOp::Sub,
        Op::Mul => FieldOp::Mul,
        Op::Div => FieldOp::Div,
        Op::Mod => FieldOp::Mod,
        Op::Pow => FieldOp::Pow,
        _ => return None,
    })
}

pub(super) fn spanset_op(op: Op) -> Option<SpansetOp> {
    use Relation::{Ancestor, Child, Descendant, Parent, Sibling};
    use StructuralMode::{Negated, Plain, Union};
    let (relation, mode) = match op {
        Op::And => return Some(SpansetOp::And),
        Op::Or => return Some(SpansetOp::Or),
        Op::Greater => (Child, Plain),
        Op::Less => (Parent, Plain),
        Op::Descendant => (Descendant, Plain),
        Op::Ancestor => (Ancestor, Plain),
        Op::Sibling => (Sibling, Plain),
        Op::NotChild => (Child, Negated),
        Op::NotParent => (Parent, Negated),
        Op::NotDescendant => (Descendant, Negated),
        Op::NotAncestor => (Ancestor, Negated),
        Op::NotRegex => (Sibling, Negated),
        Op::UnionChild => (Child, Union),
        Op::UnionParent => (Parent, Union),
        Op::UnionDescendant => (Descendant, Union),
        Op::UnionAncestor => (Ancestor, Union),
        Op::UnionSibling => (Sibling, Union),
        _ => return None,
    };
    Some(SpansetOp::Structural { relation, mode })
}

pub(super) fn aggregate(word: &str) -> Option<Aggregate> {
    Some(match word {
        "count" => Aggregate::Count,
        "avg" => Aggregate::Avg,
        "min" => Aggregate::Min,
        "max" => Aggregate::Max,
        "sum" => Aggregate::Sum,
        _ => return None,
    })
}

pub(super) fn is_metrics_function(word: &str) -> bool {
    matches!(
        word,
        "rate"
            | "count_over_time"
            | "min_over_time"
            | "max_over_time"
            | "avg_over_time"
            | "sum_over_time"
            | "quantile_over_time"
            | "histogram_over_time"
            | "compare"
    )
}

pub(super) fn keyword(word: &str) -> Option<Static> {
    Some(match word {
        "nil" => Static::Nil,
        "true" => Static::Bool(true),
        "false" => Static::Bool(false),
        "ok" => Static::Status(StatusCode::Ok),
        "error" => Static::Status(StatusCode::Error),
        "unset" => Static::Status(StatusCode::Unset),
        "unspecified" => Static::Kind(SpanKind::Unspecified),
        "internal" => Static::Kind(SpanKind::Internal),
        "server" => Static::Kind(SpanKind::Server),
        "client" => Static::Kind(SpanKind::Client),
        "producer" => Static::Kind(SpanKind::Producer),
        "consumer" => Static::Kind(SpanKind::Consumer),
        _ => return None,
    })
}

/// `service.name` is the one attribute that every resource has, see [`obs_types::Resource`].
pub(crate) fn always_present(attribute: &Attribute) -> bool {
    match attribute {
        Attribute::Intrinsic(_) => true,
        Attribute::Named { scope, parent, name } => {
            *scope == AttrScope::Resource && !parent && name == "service.name"
        }
    }
}
