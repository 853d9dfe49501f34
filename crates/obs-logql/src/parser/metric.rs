//! Metric expressions: operators, aggregations, windows.

use obs_types::Matcher;

use super::Parser;
use crate::ast::{
    BinaryExpr, BinaryOp, Cardinality, CompareOp, Conversion, Expr, Grouping, LabelReplace,
    LogExpr, LogRange, MetricExpr, RangeAggregation, RangeOp, Stage, Unwrap, VectorAggregation,
    VectorMatching, VectorOp,
};
use crate::engine::binary_value;
use crate::error::ParseError;
use crate::lexer::Token;
use crate::unit;

impl Parser {
    /// Precedence climbing; `least` is the weakest operator that may be taken here.
    pub(super) fn expression(&mut self, least: u8) -> Result<Expr, ParseError> {
        let mut left = self.nested(Self::primary)?;
        while let Some(op) = self.binary_op().filter(|op| op.precedence() >= least) {
            self.at += 1;
            let (return_bool, matching) = self.modifiers()?;
            let tighter = op.precedence() + u8::from(op != BinaryOp::Pow);
            let right = self.nested(|p| p.expression(tighter))?;
            left = Expr::Metric(binary(op, left, right, return_bool, matching)?);
        }
        Ok(left)
    }

    pub(super) fn binary_op(&self) -> Option<BinaryOp> {
        let Token::Symbol(s) = self.peek() else { return None };
        Some(match *s {
            "or" => BinaryOp::Or,
            "and" => BinaryOp::And,
            "unless" => BinaryOp::Unless,
            "+" => BinaryOp::Add,
            "-" => BinaryOp::Sub,
            "*" => BinaryOp::Mul,
            "/" => BinaryOp::Div,
            "%" => BinaryOp::Mod,
            "^" => BinaryOp::Pow,
            _ => BinaryOp::Compare(self.compare_op().filter(|_| *s != "=")?),
        })
    }

    pub(super) fn compare_op(&self) -> Option<CompareOp> {
        let Token::Symbol(s) = self.peek() else { return None };
        Some(match *s {
            "=" | "==" => CompareOp::Equal,
            "!=" => CompareOp::NotEqual,
            "<" => CompareOp::Less,
            "<=" => CompareOp::LessEqual,
            ">" => CompareOp::Greater,
            ">=" => CompareOp::GreaterEqual,
            _ => return None,
        })
    }

    pub(super) fn modifiers(&mut self) -> Result<(bool, VectorMatching), ParseError> {
        let return_bool = self.accept("bool");
        let mut matching = VectorMatching::plain();
        if !(self.is("on") || self.is("ignoring")) {
            return Ok((return_bool, matching));
        }
        matching.on = self.is("on");
        self.at += 1;
        matching.labels = self.label_list()?;
        if self.is("group_left") || self.is("group_right") {
            matching.cardinality =
                if self.is("group_left") { Cardinality::ManyToOne } else { Cardinality::OneToMany };
            self.at += 1;
            // A parenthesis here may as well open the right operand.
            if self.is("(")
                && (self.is_at(1, ")")
                    || (matches!(self.peek_at(1), Token::Identifier(_))
                        && (self.is_at(2, ")") || self.is_at(2, ","))))
            {
                matching.include = self.label_list()?;
            }
        }
        Ok((return_bool, matching))
    }

    /// `(a, b)` or `()`.
    pub(super) fn label_list(&mut self) -> Result<Vec<String>, ParseError> {
        self.expect("(")?;
        let mut labels = Vec::new();
        if self.accept(")") {
            return Ok(labels);
        }
        loop {
            match self.peek() {
                Token::Identifier(_) => labels.push(self.identifier()?),
                _ if labels.is_empty() => return Err(self.unexpected(&["IDENTIFIER", ")"])),
                _ => return Err(self.unexpected(&["IDENTIFIER"])),
            }
            if self.accept(")") {
                return Ok(labels);
            }
            if !self.accept(",") {
                return Err(self.unexpected(&[")", ","]));
            }
        }
    }

    pub(super) fn grouping(&mut self) -> Result<Option<Grouping>, ParseError> {
        if !(self.is("by") || self.is("without")) {
            return Ok(None);
        }
        let without = self.is("without");
        self.at += 1;
        Ok(Some(Grouping { without, labels: self.label_list()? }))
    }

    pub(super) fn primary(&mut self) -> Result<Expr, ParseError> {
        match self.peek().clone() {
            Token::Symbol("(") => {
                self.at += 1;
                let inner = self.nested(|p| p.expression(0))?;
                self.expect(")")?;
                Ok(inner)
            }
            Token::Symbol("{") => Ok(Expr::Log(self.log_expression()?)),
            Token::Symbol("+") => {
                self.at += 1;
                Ok(Expr::Metric(MetricExpr::Literal(self.number()?)))
            }
            Token::Symbol("-") => {
                self.at += 1;
                Ok(Expr::Metric(MetricExpr::Literal(-self.number()?)))
            }
            Token::Number(_) => Ok(Expr::Metric(MetricExpr::Literal(self.number()?))),
            Token::Function("vector") => {
                self.at += 1;
                self.expect("(")?;
                let value = self.number()?;
                self.expect(")")?;
                Ok(Expr::Metric(MetricExpr::Constant(value)))
            }
            Token::Function("label_replace") => self.label_replace(),
            Token::Function(name) => {
                if let Some(op) = range_op(name) {
                    self.at += 1;
                    self.range_aggregation(op)
                } else if let Some(op) = vector_op(name) {
                    self.at += 1;
                    self.vector_aggregation(op)
                } else {
                    Err(self.unexpected(&[]))
                }
            }
            _ => Err(self.unexpected(&[])),
        }
    }

    pub(super) fn metric(&mut self) -> Result<MetricExpr, ParseError> {
        match self.nested(|p| p.expression(0))? {
            Expr::Metric(m) => Ok(m),
            // The grammar of the reference stops where the range would have to stand.
            Expr::Log(_) => Err(self.unexpected(&[])),
        }
    }

    pub(super) fn label_replace(&mut self) -> Result<Expr, ParseError> {
        self.at += 1;
        self.expect("(")?;
        let inner = self.metric()?;
        let mut texts = Vec::with_capacity(4);
        for _ in 0..4 {
            self.expect(",")?;
            texts.push(self.text()?);
        }
        self.expect(")")?;
        let mut texts = texts.into_iter();
        let mut next = || texts.next().unwrap_or_default();
        let (destination, replacement, source, regex) = (next(), next(), next(), next());
        crate::regexp::compile(&format!("^(?:{regex})$")).map_err(|e| {
            ParseError::whole(format!("invalid regex in label_replace: error parsing regexp: {e}"))
        })?;
        let is_name = !destination.is_empty()
            && destination.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
            && !destination.starts_with(|c: char| c.is_ascii_digit());
        if !is_name {
            return Err(ParseError::whole(format!(
                "invalid destination label name in label_replace: {destination}"
            )));
        }
        Ok(Expr::Metric(MetricExpr::LabelReplace(Box::new(LabelReplace {
            inner,
            destination,
            replacement,
            source,
            regex,
        }))))
    }

    pub(super) fn vector_aggregation(&mut self, op: VectorOp) -> Result<Expr, ParseError> {
        let mut grouping = self.grouping()?;
        self.expect("(")?;
        let mut parameter = None;
        if matches!(self.peek(), Token::Number(_)) && self.is_at(1, ",") {
            let shown = match self.peek() {
                Token::Number(n) => n.clone(),
                _ => String::new(),
            };
            parameter = Some((self.number()?, shown));
            self.at += 1;
        }
        let inner = self.metric()?;
        self.expect(")")?;
        if grouping.is_none() {
            grouping = self.grouping()?;
        }
        let name = op.as_str();
        let parameter = match (op.takes_parameter(), parameter) {
            (true, None) => {
                return Err(ParseError::whole(format!("parameter required for operation {name}")));
            }
            (true, Some((k, shown))) => {
                if k < 1.0 || k.fract() != 0.0 || k > f64::from(u32::MAX) {
                    return Err(ParseError::whole(format!("invalid parameter {name}({shown},")));
                }
                k as usize
            }
            (false, Some((_, shown))) => {
                return Err(ParseError::whole(format!(
                    "unsupported parameter for operation {name}({shown},"
                )));
            }
            (false, None) => 0,
        };
        if grouping.is_some() && op == VectorOp::ApproxTopK {
            return Err(ParseError::whole(format!("grouping not allowed for {name} aggregation")));
        }
        Ok(Expr::Metric(MetricExpr::Vector(VectorAggregation {
            op,
            parameter,
            inner: Box::new(inner),
            grouping,
        })))
    }

    pub(super) fn range_aggregation(&mut self, op: RangeOp) -> Result<Expr, ParseError> {
        self.expect("(")?;
        let mut parameter = None;
        if matches!(self.peek(), Token::Number(_)) {
            parameter = Some(self.number()?);
            self.expect(",")?;
        }
        if !(self.is("{") || self.is("(")) {
            return Err(match self.peek() {
                Token::Identifier(_) if parameter.is_none() => {
                    self.unexpected(&["NUMBER", "{", "("])
                }
                _ => self.unexpected(&[]),
            });
        }
        let range = self.nested(Self::log_range)?;
        self.expect(")")?;
        let grouping = self.grouping()?;
        check_range_aggregation(op, parameter, &range, grouping.as_ref())?;
        Ok(Expr::Metric(MetricExpr::Range(RangeAggregation { op, parameter, range, grouping })))
    }

    /// The window may stand after the selector, after the pipeline or after closing parentheses,
    /// and the pipeline may follow the window.
    pub(super) fn log_range(&mut self) -> Result<LogRange, ParseError> {
        let mut parts = RangeParts::default();
        self.range_parts(&mut parts)?;
        let Some(range_ns) = parts.range_ns else { return Err(self.unexpected(&[])) };
        Ok(LogRange {
            log: LogExpr { matchers: parts.matchers, stages: parts.stages },
            range_ns,
            offset_ns: parts.offset_ns.unwrap_or(0),
            unwrap: parts.unwrap,
        })
    }

    pub(super) fn range_parts(&mut self, parts: &mut RangeParts) -> Result<(), ParseError> {
        if self.accept("(") {
            self.nested(|p| p.range_parts(parts))?;
            self.expect(")")?;
        } else {
            parts.matchers = self.selector()?;
            self.pipeline_and_unwrap(parts)?;
        }
        if let Token::Range(ns) = *self.peek() {
            if parts.range_ns.is_some() {
                return Err(self.unexpected(&[]));
            }
            self.at += 1;
            parts.range_ns = Some(ns);
            if self.accept("offset") {
                let Token::Duration(offset) = *self.peek() else {
                    return Err(self.unexpected(&["DURATION"]));
                };
                self.at += 1;
                parts.offset_ns = Some(offset);
            }
            self.pipeline_and_unwrap(parts)?;
        }
        Ok(())
    }

    pub(super) fn pipeline_and_unwrap(&mut self, parts: &mut RangeParts) -> Result<(), ParseError> {
        loop {
            if self.is("|") && self.is_at(1, "unwrap") && parts.unwrap.is_none() {
                self.at += 2;
                parts.unwrap = Some(self.unwrap()?);
            } else if let Some(unwrap) = &mut parts.unwrap {
                // After an unwrap only label filters make sense.
                if !self.accept("|") {
                    return Ok(());
                }
                let filter = self.label_filter(0)?;
                unwrap.filters.push(filter);
            } else if let Some(stage) = self.stage()? {
                parts.stages.push(stage);
            } else {
                return Ok(());
            }
        }
    }

    pub(super) fn unwrap(&mut self) -> Result<Unwrap, ParseError> {
        let conversion = match self.peek() {
            Token::Function("bytes") => Some(Conversion::Bytes),
            Token::Function("duration") => Some(Conversion::Duration),
            Token::Function("duration_seconds") => Some(Conversion::DurationSeconds),
            _ => None,
        };
        let label = if conversion.is_some() {
            self.at += 1;
            self.expect("(")?;
            let label = self.identifier()?;
            self.expect(")")?;
            label
        } else {
            self.identifier()?
        };
        Ok(Unwrap { label, conversion, filters: Vec::new() })
    }
}

#[derive(Default)]
pub(super) struct RangeParts {
    matchers: Vec<Matcher>,
    stages: Vec<Stage>,
    unwrap: Option<Unwrap>,
    range_ns: Option<i64>,
    offset_ns: Option<i64>,
}

fn binary(
    op: BinaryOp,
    left: Expr,
    right: Expr,
    return_bool: bool,
    matching: VectorMatching,
) -> Result<MetricExpr, ParseError> {
    let metric = |side: &str, expr: Expr| match expr {
        Expr::Metric(m) => Ok(m),
        Expr::Log(log) => Err(ParseError::whole(format!(
            "unexpected type for {side} leg of binary operation ({}): {}",
            op.as_str(),
            if log.stages.is_empty() { "*syntax.MatchersExpr" } else { "*syntax.PipelineExpr" }
        ))),
    };
    let (left, right) = (metric("left", left)?, metric("right", right)?);
    if op.is_set() {
        for (side, leg) in [("left", &left), ("right", &right)] {
            if let MetricExpr::Literal(v) = leg {
                return Err(ParseError::whole(format!(
                    "unexpected literal for {side} leg of logical/set binary operation ({}): {v:.6}",
                    op.as_str()
                )));
            }
        }
    }
    if let (MetricExpr::Literal(l), MetricExpr::Literal(r)) = (&left, &right) {
        return Ok(MetricExpr::Literal(binary_value(op, *l, *r)));
    }
    Ok(MetricExpr::Binary(Box::new(BinaryExpr { op, left, right, return_bool, matching })))
}

fn check_range_aggregation(
    op: RangeOp,
    parameter: Option<f64>,
    range: &LogRange,
    grouping: Option<&Grouping>,
) -> Result<(), ParseError> {
    let name = op.as_str();
    match (op, parameter) {
        (RangeOp::Quantile, None) => {
            return Err(ParseError::whole(format!("parameter required for operation {name}")));
        }
        (RangeOp::Quantile, Some(_)) | (_, None) => {}
        (_, Some(p)) => {
            return Err(ParseError::whole(format!(
                "parameter {} not supported for operation {name}",
                unit::show_float(p)
            )));
        }
    }
    let may_group = matches!(
        op,
        RangeOp::Avg
            | RangeOp::Stddev
            | RangeOp::Stdvar
            | RangeOp::Quantile
            | RangeOp::Max
            | RangeOp::Min
            | RangeOp::First
            | RangeOp::Last
    );
    if grouping.is_some() && !may_group {
        return Err(ParseError::whole(format!("grouping not allowed for {name} aggregation")));
    }
    let (needs, forbids) = match op {
        RangeOp::Count | RangeOp::Bytes | RangeOp::BytesRate => (false, true),
        RangeOp::Rate | RangeOp::Absent => (false, false),
        _ => (true, false),
    };
    if needs && range.unwrap.is_none() {
        return Err(ParseError::whole(format!("invalid aggregation {name} without unwrap")));
    }
    if forbids && range.unwrap.is_some() {
        return Err(ParseError::whole(format!("invalid aggregation {name} with unwrap")));
    }
    Ok(())
}

fn range_op(name: &str) -> Option<RangeOp> {
    const ALL: [RangeOp; 15] = [
        RangeOp::Count,
        RangeOp::Rate,
        RangeOp::RateCounter,
        RangeOp::Bytes,
        RangeOp::BytesRate,
        RangeOp::Avg,
        RangeOp::Sum,
        RangeOp::Min,
        RangeOp::Max,
        RangeOp::Stdvar,
        RangeOp::Stddev,
        RangeOp::Quantile,
        RangeOp::First,
        RangeOp::Last,
        RangeOp::Absent,
    ];
    ALL.into_iter().find(|op| op.as_str() == name)
}

fn vector_op(name: &str) -> Option<VectorOp> {
    const ALL: [VectorOp; 12] = [
        VectorOp::Sum,
        VectorOp::Avg,
        VectorOp::Count,
        VectorOp::Max,
        VectorOp::Min,
        VectorOp::Stddev,
        VectorOp::Stdvar,
        VectorOp::BottomK,
        VectorOp::TopK,
        VectorOp::Sort,
        VectorOp::SortDesc,
        VectorOp::ApproxTopK,
    ];
    ALL.into_iter().find(|op| op.as_str() == name)
}
