use std::borrow::Cow;
use std::cmp::Ordering;

use obs_types::{AttrValue, SpanKind, StatusCode};
use regex::Regex;

use crate::ast::{FieldOp, Static};

/// A value while a span is looked at.
#[derive(Clone, Debug)]
pub(crate) enum Value<'a> {
    Nil,
    Int(i64),
    Float(f64),
    Str(Cow<'a, str>),
    Bool(bool),
    Duration(i64),
    Status(StatusCode),
    Kind(SpanKind),
    /// An array attribute: equal if any element is, unequal if all are.
    Array(&'a [AttrValue]),
    /// One value per event or link: fulfils what any of them fulfils.
    Many(Vec<Value<'a>>),
    /// Bytes and maps: present, equal to nothing.
    Opaque,
}

/// Fully anchored; `.` matches a newline too.
pub(crate) fn compile_regex(pattern: &str) -> Result<Regex, String> {
    Regex::new(&format!("^(?s:{pattern})$")).map_err(|e| e.to_string())
}

impl<'a> Value<'a> {
    pub(crate) fn from_attr(value: &'a AttrValue) -> Self {
        match value {
            AttrValue::Str(s) => Self::Str(Cow::Borrowed(s)),
            AttrValue::Bool(b) => Self::Bool(*b),
            AttrValue::Int(v) => Self::Int(*v),
            AttrValue::Double(v) => Self::Float(*v),
            AttrValue::Array(items) => Self::Array(items),
            AttrValue::Bytes(_) | AttrValue::Map(_) => Self::Opaque,
        }
    }

    pub(crate) fn from_static(value: &'a Static) -> Self {
        match value {
            Static::Nil => Self::Nil,
            Static::Int(v) => Self::Int(*v),
            Static::Float(v) => Self::Float(*v),
            Static::Str(s) => Self::Str(Cow::Borrowed(s)),
            Static::Bool(b) => Self::Bool(*b),
            Static::Duration(v) => Self::Duration(*v),
            Static::Status(s) => Self::Status(*s),
            Static::Kind(k) => Self::Kind(*k),
        }
    }

    pub(crate) fn is_nil(&self) -> bool {
        match self {
            Self::Nil => true,
            Self::Many(items) => items.iter().all(Value::is_nil),
            _ => false,
        }
    }

    pub(crate) fn is_true(&self) -> bool {
        match self {
            Self::Bool(b) => *b,
            Self::Many(items) => items.iter().any(Value::is_true),
            _ => false,
        }
    }

    /// Durations count in nanoseconds.
    pub(crate) fn as_number(&self) -> Option<f64> {
        match self {
            Self::Int(v) | Self::Duration(v) => Some(*v as f64),
            Self::Float(v) => Some(*v),
            Self::Many(items) => items.iter().find_map(Value::as_number),
            _ => None,
        }
    }

    /// As an answer carries it: durations in nanoseconds, status and kind as words. `None` for nil.
    pub(crate) fn to_attr(&self) -> Option<AttrValue> {
        Some(match self {
            Self::Nil | Self::Opaque => return None,
            Self::Int(v) | Self::Duration(v) => AttrValue::Int(*v),
            Self::Float(v) => AttrValue::Double(*v),
            Self::Str(s) => AttrValue::Str(s.clone().into_owned()),
            Self::Bool(b) => AttrValue::Bool(*b),
            Self::Status(s) => AttrValue::Str(s.as_str().to_owned()),
            Self::Kind(k) => AttrValue::Str(k.as_str().to_owned()),
            Self::Array(items) => AttrValue::Array(items.to_vec()),
            Self::Many(items) => return items.iter().find_map(Value::to_attr),
        })
    }

    /// The text by which groups are told apart and sorted; begins with the type.
    pub(crate) fn group_key(&self) -> String {
        match self {
            Self::Nil | Self::Opaque => "0".to_owned(),
            Self::Int(v) => format!("1{v}"),
            Self::Float(v) => format!("2{v}"),
            Self::Str(s) => format!("3{s}"),
            Self::Bool(b) => format!("4{b}"),
            Self::Duration(v) => format!("5{v}"),
            Self::Status(s) => format!("6{}", s.as_str()),
            Self::Kind(k) => format!("7{}", k.as_str()),
            Self::Array(items) => format!("8{items:?}"),
            Self::Many(items) => items.first().map_or_else(|| "0".to_owned(), Value::group_key),
        }
    }
}

/// `regex` is present for the two regex operators. Values of types that do not go together fulfil
/// nothing, not even `!=`; nor does a missing attribute. (Comparing with nil is another question,
/// see [`Value::is_nil`].)
pub(crate) fn compare(op: FieldOp, a: &Value<'_>, b: &Value<'_>, regex: Option<&Regex>) -> bool {
    match (a, b) {
        (Value::Many(items), _) => return items.iter().any(|i| compare(op, i, b, regex)),
        (_, Value::Many(items)) => return items.iter().any(|i| compare(op, a, i, regex)),
        _ => {}
    }
    let element = |items: &[AttrValue], other: &Value<'_>, flipped: bool| {
        let mut hits = items.iter().map(|i| {
            let i = Value::from_attr(i);
            if flipped { compare(op, other, &i, regex) } else { compare(op, &i, other, regex) }
        });
        match op {
            FieldOp::NotEqual | FieldOp::NotRegex => !items.is_empty() && hits.all(|h| h),
            _ => hits.any(|h| h),
        }
    };
    match (a, b) {
        (Value::Array(x), Value::Array(y)) => match op {
            FieldOp::Equal => x == y,
            FieldOp::NotEqual => x != y,
            _ => false,
        },
        (Value::Array(items), other) => element(items, other, false),
        (other, Value::Array(items)) => element(items, other, true),
        (Value::Str(x), Value::Str(_)) if op == FieldOp::Regex => {
            regex.is_some_and(|r| r.is_match(x))
        }
        (Value::Str(x), Value::Str(_)) if op == FieldOp::NotRegex => {
            regex.is_some_and(|r| !r.is_match(x))
        }
        _ => match order(a, b) {
            Some(order) => fulfils(op, order),
            None => false,
        },
    }
}

/// `None` where the types do not go together, or with NaN.
fn order(a: &Value<'_>, b: &Value<'_>) -> Option<Ordering> {
    match (a, b) {
        (Value::Int(x) | Value::Duration(x), Value::Int(y) | Value::Duration(y)) => Some(x.cmp(y)),
        (Value::Str(x), Value::Str(y)) => Some(x.cmp(y)),
        (Value::Bool(x), Value::Bool(y)) => Some(x.cmp(y)),
        (Value::Status(x), Value::Status(y)) => Some(x.to_otlp().cmp(&y.to_otlp())),
        (Value::Kind(x), Value::Kind(y)) => Some(x.to_otlp().cmp(&y.to_otlp())),
        // A span attribute holds a status or a kind as text.
        (Value::Status(x), Value::Str(y)) => Some(x.as_str().cmp(y.as_ref())),
        (Value::Str(x), Value::Status(y)) => Some(x.as_ref().cmp(y.as_str())),
        (Value::Kind(x), Value::Str(y)) => Some(x.as_str().cmp(y.as_ref())),
        (Value::Str(x), Value::Kind(y)) => Some(x.as_ref().cmp(y.as_str())),
        _ => a.as_number()?.partial_cmp(&b.as_number()?),
    }
}

pub(crate) fn fulfils(op: FieldOp, order: Ordering) -> bool {
    match op {
        FieldOp::Equal => order.is_eq(),
        FieldOp::NotEqual => order.is_ne(),
        FieldOp::Less => order.is_lt(),
        FieldOp::LessEqual => order.is_le(),
        FieldOp::Greater => order.is_gt(),
        FieldOp::GreaterEqual => order.is_ge(),
        _ => false,
    }
}

/// Arithmetic. Integers stay integers where the result is one; nil where a side is no number.
pub(crate) fn calculate<'a>(op: FieldOp, a: &Value<'_>, b: &Value<'_>) -> Value<'a> {
    if let (Value::Int(x), Value::Int(y)) = (a, b) {
        let exact = match op {
            FieldOp::Add => x.checked_add(*y),
            FieldOp::Sub => x.checked_sub(*y),
            FieldOp::Mul => x.checked_mul(*y),
            FieldOp::Div if x.checked_rem(*y) == Some(0) => x.checked_div(*y),
            FieldOp::Mod => x.checked_rem(*y),
            _ => None,
        };
        if let Some(v) = exact {
            return Value::Int(v);
        }
    }
    let (Some(x), Some(y)) = (a.as_number(), b.as_number()) else { return Value::Nil };
    let v = match op {
        FieldOp::Add => x + y,
        FieldOp::Sub => x - y,
        FieldOp::Mul => x * y,
        FieldOp::Div => x / y,
        FieldOp::Mod => x % y,
        FieldOp::Pow => x.powf(y),
        _ => return Value::Nil,
    };
    let duration = matches!(a, Value::Duration(_)) || matches!(b, Value::Duration(_));
    if duration && v.is_finite() { Value::Duration(v as i64) } else { Value::Float(v) }
}
