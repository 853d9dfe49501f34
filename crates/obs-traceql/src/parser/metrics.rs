//! Functions that make time series of spans, and hints.

use super::Parser;
use crate::TraceQlError;
use crate::ast::{Attribute, FieldExpr, Hint, MetricsFunction, OverTime, Static};
use crate::lexer::{Op, Token};

impl Parser {
    pub(super) fn metrics_function(&mut self, word: &str) -> Result<MetricsFunction, TraceQlError> {
        self.at += 2;
        let over = |op, attribute| MetricsFunction::OverTime { op, attribute };
        let function = match word {
            "rate" => MetricsFunction::Rate,
            "count_over_time" => MetricsFunction::CountOverTime,
            "min_over_time" => over(OverTime::Min, self.attribute()?),
            "max_over_time" => over(OverTime::Max, self.attribute()?),
            "avg_over_time" => over(OverTime::Avg, self.attribute()?),
            "sum_over_time" => over(OverTime::Sum, self.attribute()?),
            "histogram_over_time" => {
                MetricsFunction::HistogramOverTime { attribute: self.attribute()? }
            }
            "quantile_over_time" => {
                let attribute = self.attribute()?;
                let mut quantiles = Vec::new();
                while self.eat(&Token::Comma) {
                    match self.number() {
                        Some(Static::Float(q)) => quantiles.push(q),
                        Some(Static::Int(q)) => quantiles.push(q as f64),
                        _ => return self.unexpected("a quantile from 0 to 1"),
                    }
                }
                if quantiles.is_empty() {
                    return self.unexpected("',' and a quantile from 0 to 1");
                }
                MetricsFunction::QuantileOverTime { attribute, quantiles }
            }
            _ => {
                let selection = self.filter()?;
                let mut numbers = Vec::new();
                while self.eat(&Token::Comma) {
                    match self.number() {
                        Some(Static::Int(v)) => numbers.push(v),
                        _ => return self.unexpected("an integer"),
                    }
                }
                let (top, window) = match numbers.as_slice() {
                    [] => (None, None),
                    [top] => (Some(*top), None),
                    [top, start, end] => (Some(*top), Some((*start, *end))),
                    _ => return self.fail("compare() takes 1, 2 or 4 arguments"),
                };
                MetricsFunction::Compare { selection, top, window }
            }
        };
        self.expect(&Token::RightParen, "')'")?;
        Ok(function)
    }

    pub(super) fn metrics_by(&mut self) -> Result<Vec<Attribute>, TraceQlError> {
        if self.call() != Some("by") {
            return Ok(Vec::new());
        }
        self.at += 2;
        self.attributes()
    }

    pub(super) fn hints(&mut self) -> Result<Vec<Hint>, TraceQlError> {
        let mut hints = Vec::new();
        if self.call() != Some("with") {
            return Ok(hints);
        }
        self.at += 2;
        loop {
            let Token::Word(name) = self.bump() else {
                self.at -= 1;
                return self.unexpected("the name of a hint");
            };
            self.expect(&Token::Op(Op::Equal), "'='")?;
            let FieldExpr::Static(value) = self.field_primary()? else {
                return self.fail(format!("hint {name} needs a value"));
            };
            hints.push(Hint { name, value });
            if !self.eat(&Token::Comma) {
                self.expect(&Token::RightParen, "')' or ','")?;
                return Ok(hints);
            }
        }
    }
}
