//! Type check, with Prometheus' messages. The first mistake in reading order is reported.

use obs_types::METRIC_NAME;

use super::{ParseError, error};
use crate::ast::*;
use crate::text::quote;

type Checked<T> = Result<T, ParseError>;

/// Also settles what depends on types: cardinality of set operators, matching of scalars.
pub(super) fn check(e: &mut Expr, input: &str) -> Checked<ValueType> {
    let pos = e.pos;
    let fail = |pos: PosRange, message: String| Err(error(input, pos, message));
    match &mut e.kind {
        ExprKind::Aggregate(a) => {
            expect(&mut a.expr, ValueType::Vector, "aggregation expression", input)?;
            if let Some(param) = &mut a.param {
                let want = if a.op == AggregateOp::CountValues {
                    ValueType::String
                } else {
                    ValueType::Scalar
                };
                expect(param, want, "aggregation parameter", input)?;
            }
        }
        ExprKind::Binary(b) => check_binary(b, pos, input)?,
        ExprKind::Call(c) => check_call(c, pos, input)?,
        ExprKind::Paren(inner) => {
            check(inner, input)?;
        }
        ExprKind::Unary(u) => {
            let t = check(&mut u.expr, input)?;
            if !matches!(t, ValueType::Scalar | ValueType::Vector) {
                return fail(
                    pos,
                    format!(
                        "unary expression only allowed on expressions of type scalar or instant \
                         vector, got {}",
                        quote(t.documented())
                    ),
                );
            }
        }
        ExprKind::Subquery(s) => {
            let t = check(&mut s.expr, input)?;
            if t != ValueType::Vector {
                return fail(
                    pos,
                    format!(
                        "subquery is only allowed on instant vector, got {} instead",
                        t.as_str()
                    ),
                );
            }
        }
        ExprKind::Vector(v) => check_selector(v, input)?,
        ExprKind::Matrix(m) => check_selector(&m.selector, input)?,
        ExprKind::Number(_) | ExprKind::String(_) | ExprKind::StepInvariant(_) => {}
    }
    Ok(e.value_type())
}

fn expect(e: &mut Expr, want: ValueType, context: &str, input: &str) -> Checked<()> {
    let got = check(e, input)?;
    if got == want {
        return Ok(());
    }
    Err(error(
        input,
        e.pos,
        format!("expected type {} in {context}, got {}", want.documented(), got.documented()),
    ))
}

fn check_selector(v: &VectorSelector, input: &str) -> Checked<()> {
    if !v.name.is_empty() {
        let others = v.matchers.split_last().map_or(&[][..], |(_, rest)| rest);
        if let Some(m) = others.iter().find(|m| m.name() == METRIC_NAME) {
            return Err(error(
                input,
                v.pos,
                format!(
                    "metric name must not be set twice: {} or {}",
                    quote(&v.name),
                    quote(m.value())
                ),
            ));
        }
        return Ok(());
    }
    let mut sets = [&v.matchers].into_iter().chain(&v.alternatives);
    if !v.may_match_empty && sets.any(|set| set.iter().all(obs_types::Matcher::matches_empty)) {
        return Err(error(
            input,
            v.pos,
            "vector selector must contain at least one non-empty matcher",
        ));
    }
    Ok(())
}

fn check_binary(b: &mut BinaryExpr, pos: PosRange, input: &str) -> Checked<()> {
    let lt = check(&mut b.lhs, input)?;
    let rt = check(&mut b.rhs, input)?;
    let op = b.op;
    let trim = |from: usize, to: usize| {
        let text = input.get(from..to).unwrap_or("");
        let start = from + (text.len() - text.trim_start().len());
        PosRange::new(start, start + text.trim().len())
    };
    let op_pos = trim(b.lhs.pos.end, b.rhs.pos.start);
    let fail = |pos: PosRange, message: String| Err(error(input, pos, message));
    if b.return_bool && !op.is_comparison() {
        return fail(op_pos, "bool modifier can only be used on comparison operators".into());
    }
    if op.is_comparison() && !b.return_bool && lt == ValueType::Scalar && rt == ValueType::Scalar {
        return fail(op_pos, "comparisons between scalars must use BOOL modifier".into());
    }
    let Some(m) = &mut b.matching else { return Ok(()) };
    if op.is_set() && m.card == Cardinality::OneToOne {
        m.card = Cardinality::ManyToMany;
    }
    if m.on
        && let Some(l) = m.labels.iter().find(|l| m.include.contains(l))
    {
        return fail(
            op_pos,
            format!("label {} must not occur in ON and GROUP clause at once", quote(l)),
        );
    }
    for (t, side) in [(lt, &b.lhs), (rt, &b.rhs)] {
        if !matches!(t, ValueType::Scalar | ValueType::Vector) {
            return fail(
                side.pos,
                "binary expression must contain only scalar and instant vector types".into(),
            );
        }
    }
    let filled = m.fill_left.is_some() || m.fill_right.is_some();
    if lt != ValueType::Vector || rt != ValueType::Vector {
        if !m.labels.is_empty() {
            return fail(pos, "vector matching only allowed between instant vectors".into());
        }
        if filled {
            return fail(
                pos,
                "filling in missing series only allowed between instant vectors".into(),
            );
        }
        b.matching = None;
    } else if op.is_set() {
        if matches!(m.card, Cardinality::OneToMany | Cardinality::ManyToOne) {
            return fail(pos, format!("no grouping allowed for {} operation", quote(op.as_str())));
        }
        if filled {
            return fail(pos, "filling in missing series not allowed for set operators".into());
        }
    }
    if op.is_set() && (lt == ValueType::Scalar || rt == ValueType::Scalar) {
        return fail(
            pos,
            format!("set operator {} not allowed in binary scalar expression", quote(op.as_str())),
        );
    }
    Ok(())
}

fn check_call(c: &mut Call, pos: PosRange, input: &str) -> Checked<()> {
    let f = c.func;
    let (declared, given) = (f.args.len(), c.args.len());
    let name = quote(f.name);
    let fail = |pos: PosRange, message: String| Err(error(input, pos, message));
    if f.variadic == 0 {
        if declared != given {
            return fail(
                pos,
                format!("expected {declared} argument(s) in call to {name}, got {given}"),
            );
        }
    } else {
        let least = declared - 1;
        let most = usize::try_from(f.variadic).map(|v| least + v).ok();
        if given < least {
            return fail(
                pos,
                format!("expected at least {least} argument(s) in call to {name}, got {given}"),
            );
        }
        if let Some(most) = most.filter(|m| *m < given) {
            return fail(
                pos,
                format!("expected at most {most} argument(s) in call to {name}, got {given}"),
            );
        }
    }
    if f.name == "info"
        && let Some(second) = c.args.get_mut(1)
    {
        let (t, second_pos) = (second.value_type(), second.pos);
        if t != ValueType::Vector {
            return fail(
                pos,
                format!(
                    "expected type instant vector in call to function {name}, got {}",
                    t.documented()
                ),
            );
        }
        match &mut second.kind {
            ExprKind::Vector(v) if v.name.is_empty() => v.may_match_empty = true,
            ExprKind::Vector(_) => {
                return fail(
                    second_pos,
                    "expected label selectors only, got vector selector instead".into(),
                );
            }
            _ => return fail(second_pos, "expected label selectors only".into()),
        }
    }
    for (i, arg) in c.args.iter_mut().enumerate() {
        let Some(want) = f.args.get(i).or(f.args.last()).copied() else { break };
        let got = check(arg, input)?;
        if got != want {
            return fail(
                arg.pos,
                format!(
                    "expected type {} in call to function {name}, got {}",
                    want.documented(),
                    got.documented()
                ),
            );
        }
    }
    Ok(())
}
