//! What can be settled once the query's time range is known: `start()` and its kin, duration
//! expressions, the parts that have the same value at every step.

use crate::EngineError;
use crate::ast::*;
use crate::eval::is_rollup;
use crate::functions::depends_on_time;

/// Start, end and step of the whole query, milliseconds; step is 0 for an instant query.
#[derive(Clone, Copy, Debug)]
pub(crate) struct QueryRange {
    pub(crate) start: i64,
    pub(crate) end: i64,
    pub(crate) step: i64,
    /// The time of day, for `now()`.
    pub(crate) now: i64,
    /// The dialect: an instant query has a step as well, windows may not be written.
    pub(crate) metricsql: bool,
}

/// Replaces every computed time behind `@` by what `compute` says of it, seconds.
pub(crate) fn settle_times(
    e: &mut Expr,
    compute: &mut dyn FnMut(&Expr) -> Result<f64, EngineError>,
) -> Result<(), EngineError> {
    let slot = match &mut e.kind {
        ExprKind::Vector(v) => &mut v.at,
        ExprKind::Matrix(m) => &mut m.selector.at,
        ExprKind::Subquery(s) => &mut s.at,
        _ => &mut None,
    };
    if let Some(AtModifier::Computed(time)) = slot {
        settle_times(time, compute)?;
        let seconds = compute(time)?;
        if !seconds.is_finite() || seconds.abs() > 9_223_372_036_854_775.0 {
            let (text, found) = (time.to_string(), crate::text::float_f(seconds));
            return Err(EngineError::Execution(format!("@ {text} gives no time: {found}")));
        }
        *slot = Some(AtModifier::Timestamp((seconds * 1000.0).round() as i64));
    }
    e.children_mut().into_iter().try_for_each(|c| settle_times(c, compute))
}

pub(crate) fn prepare(expr: &Expr, range: QueryRange) -> Result<Expr, EngineError> {
    let mut e = expr.clone();
    fold(&mut e, range);
    durations(&mut e, range)?;
    let (_, wrap) = mark(&mut e, range);
    if wrap {
        e = invariant(e);
    }
    Ok(e)
}

fn fold(e: &mut Expr, range: QueryRange) {
    if let ExprKind::Call(c) = &e.kind {
        let seconds = |ms: i64| ms as f64 / 1000.0;
        let value = match c.func.name {
            "start" => Some(seconds(range.start)),
            "end" => Some(seconds(range.end)),
            "range" => Some(seconds(range.end.saturating_sub(range.start))),
            "now" => Some(seconds(range.now)),
            "step" if range.start == range.end && !range.metricsql => Some(0.0),
            "step" => Some(seconds(range.step)),
            _ => None,
        };
        if let Some(value) = value {
            e.kind = ExprKind::Number(NumberLiteral { value, duration: false });
            return;
        }
    }
    for c in e.children_mut() {
        fold(c, range);
    }
}

fn durations(e: &mut Expr, range: QueryRange) -> Result<(), EngineError> {
    match &mut e.kind {
        ExprKind::Call(c) if range.metricsql => windows(c, range.step),
        ExprKind::Vector(v) => settle(&mut v.offset, true, range)?,
        ExprKind::Matrix(m) => {
            settle(&mut m.range, false, range)?;
            settle(&mut m.selector.offset, true, range)?;
        }
        ExprKind::Subquery(s) => {
            settle(&mut s.offset, true, range)?;
            if let Some(step) = &mut s.step {
                settle(step, false, range)?;
            }
            settle(&mut s.range, false, range)?;
        }
        _ => {}
    }
    let range = match &mut e.kind {
        ExprKind::Subquery(s) if range.metricsql => {
            let step = s.step.as_ref().map_or(range.step, DurationValue::millis).max(1);
            s.step = Some(DurationValue::Millis(step));
            QueryRange { step, ..range }
        }
        _ => range,
    };
    e.children_mut().into_iter().try_for_each(|c| durations(c, range))
}

/// A window that is not written is the step, but for functions that settle it by series.
fn windows(c: &mut Call, step: i64) {
    for arg in &mut c.args {
        let range = match &mut arg.kind {
            ExprKind::Matrix(m) => &mut m.range,
            ExprKind::Subquery(s) => &mut s.range,
            _ => continue,
        };
        if *range == DurationValue::Implicit && !is_rollup(c.func.name) {
            *range = DurationValue::Millis(step.max(1));
        }
    }
}

fn settle(d: &mut DurationValue, negative: bool, range: QueryRange) -> Result<(), EngineError> {
    let DurationValue::Expr(e) = d else { return Ok(()) };
    let fail =
        |what: &str| Err(EngineError::Execution(format!("{}:{}: {what}", e.pos.start, e.pos.end)));
    let seconds = compute(e, range)?;
    if !seconds.is_finite() {
        return fail("duration is NaN or infinite");
    }
    if seconds <= 0.0 && !negative {
        return fail("duration must be greater than 0");
    }
    if seconds.abs() > 9_223_372_036.854_775 {
        return fail("duration is out of range");
    }
    *d = DurationValue::Millis((seconds * 1000.0) as i64);
    Ok(())
}

fn compute(e: &DurationExpr, range: QueryRange) -> Result<f64, EngineError> {
    let side = |t: &Option<DurationTerm>| match t {
        None => Ok(0.0),
        Some(DurationTerm::Number(n)) => Ok(n.value),
        Some(DurationTerm::Expr(inner)) => compute(inner, range),
    };
    let (l, r) = (side(&e.lhs)?, side(&e.rhs)?);
    let fail =
        |what: &str| Err(EngineError::Execution(format!("{}:{}: {what}", e.pos.start, e.pos.end)));
    Ok(match e.op {
        DurationOp::Step => range.step as f64 / 1000.0,
        DurationOp::Range => range.end.saturating_sub(range.start) as f64 / 1000.0,
        DurationOp::MinOf => l.min(r),
        DurationOp::MaxOf => l.max(r),
        DurationOp::Add => l + r,
        DurationOp::Sub => l - r,
        DurationOp::Mul => l * r,
        DurationOp::Div if r == 0.0 => return fail("division by zero"),
        DurationOp::Div => l / r,
        DurationOp::Mod if r == 0.0 => return fail("modulo by zero"),
        DurationOp::Mod => l % r,
        DurationOp::Pow => l.powf(r),
    })
}

fn invariant(e: Expr) -> Expr {
    let pos = e.pos;
    Expr::new(ExprKind::StepInvariant(Box::new(e)), pos)
}

fn wrap(e: &mut Expr) {
    let dummy = Expr::new(ExprKind::String(String::new()), e.pos);
    let inner = std::mem::replace(e, dummy);
    *e = invariant(inner);
}

fn unparen(e: &mut Expr) {
    while let ExprKind::Paren(inner) = &mut e.kind {
        let dummy = Expr::new(ExprKind::String(String::new()), inner.pos);
        *e = std::mem::replace(&mut **inner, dummy);
    }
}

fn fix(at: &mut Option<AtModifier>, range: QueryRange) -> bool {
    match at {
        Some(AtModifier::Start) => *at = Some(AtModifier::Timestamp(range.start)),
        Some(AtModifier::End) => *at = Some(AtModifier::Timestamp(range.end)),
        _ => {}
    }
    at.is_some()
}

/// `(is the same at every step, should be wrapped by the caller)`.
fn mark(e: &mut Expr, range: QueryRange) -> (bool, bool) {
    match &mut e.kind {
        ExprKind::Vector(v) => {
            let fixed = fix(&mut v.at, range);
            (fixed, fixed)
        }
        ExprKind::Matrix(m) => (fix(&mut m.selector.at, range), false),
        ExprKind::Aggregate(a) => {
            unparen(&mut a.expr);
            let mut param_invariant = true;
            if let Some(p) = &mut a.param {
                unparen(p);
                let (inv, should) = mark(p, range);
                param_invariant = inv;
                if should && !matches!(p.kind, ExprKind::String(_)) {
                    wrap(p);
                }
            }
            let (inv, should) = mark(&mut a.expr, range);
            if inv && param_invariant {
                return (true, true);
            }
            if should {
                wrap(&mut a.expr);
            }
            (false, false)
        }
        ExprKind::Binary(b) => {
            let (li, lw) = mark(&mut b.lhs, range);
            let (ri, rw) = mark(&mut b.rhs, range);
            if li && ri {
                return (true, true);
            }
            if lw {
                wrap(&mut b.lhs);
            }
            if rw {
                wrap(&mut b.rhs);
            }
            (false, false)
        }
        ExprKind::Call(c) => {
            let mut all = !depends_on_time(c.func.name);
            // `timestamp(metric @ t)` is fixed although the function depends on time.
            let mut timestamp_of_fixed = c.func.name == "timestamp";
            let mut wraps = Vec::with_capacity(c.args.len());
            for arg in &mut c.args {
                unparen(arg);
                let (inv, should) = mark(arg, range);
                wraps.push(should);
                all &= inv;
                timestamp_of_fixed &= inv && matches!(arg.kind, ExprKind::Vector(_));
            }
            if all || timestamp_of_fixed {
                return (true, true);
            }
            for (arg, should) in c.args.iter_mut().zip(wraps) {
                if should {
                    wrap(arg);
                }
            }
            (false, false)
        }
        ExprKind::Subquery(s) => {
            // Inside a subquery the fixed part is computed once per run of the subquery.
            let (inv, _) = mark(&mut s.expr, range);
            if inv {
                wrap(&mut s.expr);
            }
            (fix(&mut s.at, range), false)
        }
        ExprKind::Paren(inner) => mark(inner, range),
        ExprKind::Unary(u) => mark(&mut u.expr, range),
        ExprKind::String(_) | ExprKind::Number(_) => (true, false),
        ExprKind::StepInvariant(_) => (true, false),
    }
}
