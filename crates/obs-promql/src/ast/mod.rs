//! The syntax tree, with the place of every node in the query text.

mod operators;

use obs_types::Matcher;

pub use operators::{AggregateOp, BinaryOp, ExtraAggregate, RankBy};

use crate::functions::Function;

/// Byte range `[start, end)` in the query text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PosRange {
    pub start: usize,
    pub end: usize,
}

impl PosRange {
    pub fn new(start: usize, end: usize) -> Self {
        Self { start, end }
    }

    pub(crate) fn to(self, last: Self) -> Self {
        Self { start: self.start, end: last.end }
    }

    /// `line:column` of the start, both from 1; columns count bytes.
    pub fn line_col(&self, query: &str) -> String {
        let mut line = 1;
        let mut last_break: isize = -1;
        for (i, b) in query.bytes().enumerate().take(self.start) {
            if b == b'\n' {
                line += 1;
                last_break = i as isize;
            }
        }
        format!("{line}:{}", self.start as isize - last_break)
    }
}

/// The type an expression evaluates to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueType {
    Scalar,
    Vector,
    Matrix,
    String,
}

impl ValueType {
    /// As error messages and documentation name it.
    pub fn documented(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::Vector => "instant vector",
            Self::Matrix => "range vector",
            Self::String => "string",
        }
    }

    /// As the HTTP API names it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::Vector => "vector",
            Self::Matrix => "matrix",
            Self::String => "string",
        }
    }
}

/// A node of the tree.
#[derive(Clone, Debug, PartialEq)]
pub struct Expr {
    pub kind: ExprKind,
    pub pos: PosRange,
}

#[derive(Clone, Debug, PartialEq)]
pub enum ExprKind {
    Aggregate(AggregateExpr),
    Binary(BinaryExpr),
    Call(Call),
    Matrix(MatrixSelector),
    Subquery(SubqueryExpr),
    Number(NumberLiteral),
    Paren(Box<Expr>),
    String(String),
    Unary(UnaryExpr),
    Vector(VectorSelector),
    /// Made by the evaluator alone: the inner expression gives the same value at every step.
    StepInvariant(Box<Expr>),
}

#[derive(Clone, Debug, PartialEq)]
pub struct AggregateExpr {
    pub op: AggregateOp,
    pub expr: Box<Expr>,
    pub param: Option<Box<Expr>>,
    pub grouping: Vec<String>,
    pub without: bool,
    /// `label=value` of the series that sums up what `topk_avg` and its kin leave out (MetricsQL).
    pub remainder: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cardinality {
    OneToOne,
    ManyToOne,
    OneToMany,
    ManyToMany,
}

impl Cardinality {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OneToOne => "one-to-one",
            Self::ManyToOne => "many-to-one",
            Self::OneToMany => "one-to-many",
            Self::ManyToMany => "many-to-many",
        }
    }
}

/// How series of two vectors find each other.
#[derive(Clone, Debug, PartialEq)]
pub struct VectorMatching {
    pub card: Cardinality,
    pub labels: Vec<String>,
    pub on: bool,
    pub include: Vec<String>,
    /// Put before the names of the labels that are taken over (MetricsQL); mostly empty.
    pub prefix: String,
    pub fill_left: Option<f64>,
    pub fill_right: Option<f64>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct BinaryExpr {
    pub op: BinaryOp,
    pub lhs: Box<Expr>,
    pub rhs: Box<Expr>,
    /// Only where both sides are instant vectors.
    pub matching: Option<VectorMatching>,
    pub return_bool: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    pub func: &'static Function,
    pub args: Vec<Expr>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct NumberLiteral {
    pub value: f64,
    /// Written as a duration; the value is in seconds.
    pub duration: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub struct UnaryExpr {
    pub negative: bool,
    pub expr: Box<Expr>,
}

/// What follows `@`.
#[derive(Clone, Debug, PartialEq)]
pub enum AtModifier {
    /// Milliseconds since the epoch.
    Timestamp(i64),
    Start,
    End,
    /// Seconds since the epoch, computed once at the start of the query (MetricsQL).
    Computed(Box<Expr>),
}

impl AtModifier {
    /// Milliseconds since the epoch, once it is settled.
    pub(crate) fn millis(&self) -> Option<i64> {
        match self {
            Self::Timestamp(ms) => Some(*ms),
            Self::Start | Self::End | Self::Computed(_) => None,
        }
    }
}

/// A length of time: plain, or to be computed when the query's step and range are known.
#[derive(Clone, Debug, PartialEq)]
pub enum DurationValue {
    Millis(i64),
    Expr(Box<DurationExpr>),
    /// A window that was not written (MetricsQL): the step, or what spans the samples of a series
    /// if that is longer.
    Implicit,
}

impl DurationValue {
    /// Milliseconds; 0 while it is still to be computed.
    pub fn millis(&self) -> i64 {
        match self {
            Self::Millis(ms) => *ms,
            Self::Expr(_) | Self::Implicit => 0,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DurationOp {
    Step,
    Range,
    MinOf,
    MaxOf,
    Add,
    Sub,
    Mul,
    Div,
    Mod,
    Pow,
}

/// Arithmetic on durations, in seconds.
#[derive(Clone, Debug, PartialEq)]
pub enum DurationTerm {
    Number(NumberLiteral),
    Expr(Box<DurationExpr>),
}

#[derive(Clone, Debug, PartialEq)]
pub struct DurationExpr {
    pub op: DurationOp,
    pub lhs: Option<DurationTerm>,
    pub rhs: Option<DurationTerm>,
    /// Written in parentheses.
    pub wrapped: bool,
    pub pos: PosRange,
}

#[derive(Clone, Debug, PartialEq)]
pub struct VectorSelector {
    /// The name before the braces, or empty.
    pub name: String,
    pub matchers: Vec<Matcher>,
    /// Other sets of matchers that select as well: `{a="b" or c="d"}` (MetricsQL). Each has the
    /// matcher of the name.
    pub alternatives: Vec<Vec<Matcher>>,
    pub offset: DurationValue,
    pub at: Option<AtModifier>,
    pub anchored: bool,
    pub smoothed: bool,
    /// The label selector of `info()` may match everything.
    pub may_match_empty: bool,
    pub pos: PosRange,
}

#[derive(Clone, Debug, PartialEq)]
pub struct MatrixSelector {
    pub selector: VectorSelector,
    pub range: DurationValue,
}

#[derive(Clone, Debug, PartialEq)]
pub struct SubqueryExpr {
    pub expr: Box<Expr>,
    pub range: DurationValue,
    pub step: Option<DurationValue>,
    pub offset: DurationValue,
    pub at: Option<AtModifier>,
}

impl Expr {
    pub fn new(kind: ExprKind, pos: PosRange) -> Self {
        Self { kind, pos }
    }

    pub fn value_type(&self) -> ValueType {
        match &self.kind {
            ExprKind::Aggregate(_) | ExprKind::Vector(_) => ValueType::Vector,
            ExprKind::Matrix(_) | ExprKind::Subquery(_) => ValueType::Matrix,
            ExprKind::Number(_) => ValueType::Scalar,
            ExprKind::String(_) => ValueType::String,
            ExprKind::Call(c) => c.func.returns,
            ExprKind::Paren(e) | ExprKind::StepInvariant(e) => e.value_type(),
            ExprKind::Unary(u) => u.expr.value_type(),
            ExprKind::Binary(b) => {
                if b.lhs.value_type() == ValueType::Scalar
                    && b.rhs.value_type() == ValueType::Scalar
                {
                    ValueType::Scalar
                } else {
                    ValueType::Vector
                }
            }
        }
    }

    /// The direct children, in the order of the text.
    pub fn children(&self) -> Vec<&Expr> {
        match &self.kind {
            ExprKind::Aggregate(a) => a.param.iter().map(|p| &**p).chain([&*a.expr]).collect(),
            ExprKind::Binary(b) => vec![&b.lhs, &b.rhs],
            ExprKind::Call(c) => c.args.iter().collect(),
            ExprKind::Subquery(s) => vec![&s.expr],
            ExprKind::Paren(e) | ExprKind::StepInvariant(e) => vec![e],
            ExprKind::Unary(u) => vec![&u.expr],
            ExprKind::Matrix(_)
            | ExprKind::Number(_)
            | ExprKind::String(_)
            | ExprKind::Vector(_) => Vec::new(),
        }
    }

    pub(crate) fn children_mut(&mut self) -> Vec<&mut Expr> {
        match &mut self.kind {
            ExprKind::Aggregate(a) => {
                a.param.iter_mut().map(|p| &mut **p).chain([&mut *a.expr]).collect()
            }
            ExprKind::Binary(b) => vec![&mut b.lhs, &mut b.rhs],
            ExprKind::Call(c) => c.args.iter_mut().collect(),
            ExprKind::Subquery(s) => vec![&mut s.expr],
            ExprKind::Paren(e) | ExprKind::StepInvariant(e) => vec![e],
            ExprKind::Unary(u) => vec![&mut u.expr],
            ExprKind::Matrix(_)
            | ExprKind::Number(_)
            | ExprKind::String(_)
            | ExprKind::Vector(_) => Vec::new(),
        }
    }
}

/// A vector or matrix selector of a query, with what surrounds it.
#[derive(Clone, Debug, PartialEq)]
pub struct SelectorInfo {
    pub matchers: Vec<Matcher>,
    pub pos: PosRange,
    /// Of a range selector; 0 for an instant one and for computed durations.
    pub range_ms: i64,
    /// Sum of the selector's own offset and those of the subqueries around it.
    pub offset_ms: i64,
    /// Sum of the ranges of the subqueries around it.
    pub subquery_range_ms: i64,
    pub at: Option<AtModifier>,
}

/// Every selector of a query in the order of the text.
pub fn selectors(expr: &Expr) -> Vec<SelectorInfo> {
    fn walk(e: &Expr, offset: i64, range: i64, out: &mut Vec<SelectorInfo>) {
        let mut push = |v: &VectorSelector, range_ms| {
            out.extend([&v.matchers].into_iter().chain(&v.alternatives).map(|matchers| {
                SelectorInfo {
                    matchers: matchers.clone(),
                    pos: v.pos,
                    range_ms,
                    offset_ms: offset.saturating_add(v.offset.millis()),
                    subquery_range_ms: range,
                    at: v.at.clone(),
                }
            }));
        };
        let at = match &e.kind {
            ExprKind::Vector(v) => {
                push(v, 0);
                &v.at
            }
            ExprKind::Matrix(m) => {
                push(&m.selector, m.range.millis());
                &m.selector.at
            }
            ExprKind::Subquery(s) => &s.at,
            _ => &None,
        };
        if let Some(AtModifier::Computed(time)) = at {
            walk(time, 0, 0, out);
        }
        match &e.kind {
            ExprKind::Subquery(s) => walk(
                &s.expr,
                offset.saturating_add(s.offset.millis()),
                range.saturating_add(s.range.millis()),
                out,
            ),
            _ => {
                for c in e.children() {
                    walk(c, offset, range, out);
                }
            }
        }
    }
    let mut out = Vec::new();
    walk(expr, 0, 0, &mut out);
    out
}
