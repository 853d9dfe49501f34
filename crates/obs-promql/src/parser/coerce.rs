//! MetricsQL converts between types where PromQL refuses: this puts the conversion in, so that the
//! type check of PromQL holds afterwards.

use super::metricsql::call;
use crate::ast::*;

pub(super) fn coerce(e: &mut Expr) {
    for c in e.children_mut() {
        coerce(c);
    }
    match &mut e.kind {
        ExprKind::Aggregate(a) => {
            to(&mut a.expr, ValueType::Vector);
            if let Some(p) = &mut a.param
                && a.op != AggregateOp::CountValues
            {
                to(p, ValueType::Scalar);
            }
        }
        ExprKind::Binary(b) => {
            let scalars = [&b.lhs, &b.rhs].map(|s| s.value_type() == ValueType::Scalar);
            for side in [&mut b.lhs, &mut b.rhs] {
                if side.value_type() == ValueType::Matrix || b.op.is_set() || b.op.is_conditional()
                {
                    to(side, ValueType::Vector);
                }
            }
            if b.op.is_comparison() && !b.return_bool && scalars == [true, true] {
                to(&mut b.lhs, ValueType::Vector);
            }
        }
        ExprKind::Unary(u) if u.expr.value_type() == ValueType::Matrix => {
            to(&mut u.expr, ValueType::Vector);
        }
        ExprKind::Subquery(s) => to(&mut s.expr, ValueType::Vector),
        ExprKind::Call(c) => {
            let wanted = c.func.args;
            for (i, arg) in c.args.iter_mut().enumerate() {
                if let Some(want) = wanted.get(i).or(wanted.last()) {
                    to(arg, *want);
                }
            }
        }
        _ => {}
    }
}

/// Converts where that is possible; what is not is left to the type check.
pub(super) fn to(e: &mut Expr, want: ValueType) {
    use ValueType::{Matrix, Scalar, Vector};
    let pos = e.pos;
    let wrap = |e: &mut Expr, name: &str| {
        let inner = std::mem::replace(e, Expr::new(ExprKind::String(String::new()), pos));
        *e = call(name, vec![inner], pos);
    };
    match (e.value_type(), want) {
        (Scalar, Vector) => wrap(e, "vector"),
        (Vector, Scalar) => wrap(e, "scalar"),
        (Matrix, Vector) => wrap(e, "last_over_time"),
        (Matrix, Scalar) => {
            wrap(e, "last_over_time");
            wrap(e, "scalar");
        }
        (Scalar | Vector, Matrix) => {
            to(e, Vector);
            while let ExprKind::Paren(inner) = &mut e.kind {
                let dummy = Expr::new(ExprKind::String(String::new()), pos);
                *e = std::mem::replace(&mut **inner, dummy);
            }
            let dummy = ExprKind::String(String::new());
            e.kind = match std::mem::replace(&mut e.kind, dummy) {
                ExprKind::Vector(selector) => {
                    ExprKind::Matrix(MatrixSelector { selector, range: DurationValue::Implicit })
                }
                kind => ExprKind::Subquery(SubqueryExpr {
                    expr: Box::new(Expr::new(kind, pos)),
                    range: DurationValue::Implicit,
                    step: None,
                    offset: DurationValue::Millis(0),
                    at: None,
                }),
            };
        }
        _ => {}
    }
}
