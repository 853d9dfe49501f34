//! Selectors and the stages of a pipeline.

use obs_types::{MatchOp, Matcher};

use super::{Parser, new_matcher};
use crate::ast::{
    Extraction, IpFilter, LabelFilter, LabelFormat, LabelFormatValue, LineFilter, LineFilterOp,
    LineTerm, LogExpr, NamedMatcher, Stage,
};
use crate::error::ParseError;
use crate::lexer::Token;

impl Parser {
    pub(super) fn log_expression(&mut self) -> Result<LogExpr, ParseError> {
        let matchers = self.selector()?;
        let mut stages = Vec::new();
        while let Some(stage) = self.stage()? {
            stages.push(stage);
        }
        Ok(LogExpr { matchers, stages })
    }

    pub(super) fn selector(&mut self) -> Result<Vec<Matcher>, ParseError> {
        self.expect("{")?;
        let mut matchers = Vec::new();
        if self.accept("}") {
            return Ok(matchers);
        }
        loop {
            matchers.push(self.matcher()?);
            if self.accept("}") {
                return Ok(matchers);
            }
            if !self.accept(",") {
                return Err(self.unexpected(&["}", ","]));
            }
        }
    }

    pub(super) fn matcher(&mut self) -> Result<Matcher, ParseError> {
        let name = self.identifier()?;
        let op = match self.peek() {
            Token::Symbol("=") => MatchOp::Equal,
            Token::Symbol("!=") => MatchOp::NotEqual,
            Token::Symbol("=~") => MatchOp::Regex,
            Token::Symbol("!~") => MatchOp::NotRegex,
            _ => return Err(self.unexpected(&["=", "=~", "!~", "!="])),
        };
        self.at += 1;
        let value = self.text()?;
        new_matcher(name, op, value)
    }

    pub(super) fn stage(&mut self) -> Result<Option<Stage>, ParseError> {
        let op = match self.peek() {
            Token::Symbol("|=") => LineFilterOp::Contains,
            Token::Symbol("|~") => LineFilterOp::Regex,
            Token::Symbol("|>") => LineFilterOp::Pattern,
            Token::Symbol("!=") if self.starts_line_filter() => LineFilterOp::NotContains,
            Token::Symbol("!~") => LineFilterOp::NotRegex,
            Token::Symbol("!>") => LineFilterOp::NotPattern,
            Token::Symbol("|") => {
                self.at += 1;
                return self.piped_stage().map(Some);
            }
            _ => return Ok(None),
        };
        self.at += 1;
        let mut terms = vec![self.line_term()?];
        while self.is("or") && matches!(self.peek_at(1), Token::Text(_) | Token::Function("ip")) {
            self.at += 1;
            terms.push(self.line_term()?);
        }
        if matches!(
            op,
            LineFilterOp::Regex
                | LineFilterOp::NotRegex
                | LineFilterOp::Pattern
                | LineFilterOp::NotPattern
        ) && terms.iter().any(|t| t.ip)
        {
            return Err(ParseError::whole("ip: invalid operation"));
        }
        Ok(Some(Stage::LineFilter(LineFilter { op, terms })))
    }

    /// `!=` after a selector is a filter only before a text or `ip(`; else it compares numbers.
    pub(super) fn starts_line_filter(&self) -> bool {
        matches!(self.peek_at(1), Token::Text(_) | Token::Function("ip") | Token::End)
    }

    pub(super) fn line_term(&mut self) -> Result<LineTerm, ParseError> {
        if self.is_ip() {
            self.at += 1;
            self.expect("(")?;
            let text = self.text()?;
            self.expect(")")?;
            return Ok(LineTerm { text, ip: true });
        }
        match self.peek() {
            Token::Text(_) => Ok(LineTerm { text: self.text()?, ip: false }),
            _ => Err(self.unexpected(&["STRING", "ip"])),
        }
    }

    pub(super) fn piped_stage(&mut self) -> Result<Stage, ParseError> {
        let Token::Symbol(symbol) = *self.peek() else {
            return match self.peek() {
                Token::Identifier(_) => Ok(Stage::LabelFilter(self.label_filter(0)?)),
                _ => Err(self.unexpected(&[])),
            };
        };
        if symbol == "(" {
            return Ok(Stage::LabelFilter(self.label_filter(0)?));
        }
        let keyword_at = self.at;
        self.at += 1;
        Ok(match symbol {
            "json" => Stage::Json(self.extractions()?),
            "logfmt" => {
                let (mut strict, mut keep_empty) = (false, false);
                while let Token::Flag(flag) = self.peek() {
                    match flag.as_str() {
                        "--strict" => strict = true,
                        _ => keep_empty = true,
                    }
                    self.at += 1;
                }
                Stage::Logfmt { strict, keep_empty, extractions: self.extractions()? }
            }
            "regexp" => Stage::Regexp(self.text()?),
            "pattern" => Stage::Pattern(self.text()?),
            "unpack" => Stage::Unpack,
            "line_format" => Stage::LineFormat(self.text()?),
            "label_format" => Stage::LabelFormat(self.label_formats()?),
            "decolorize" => Stage::Decolorize,
            "drop" => Stage::Drop(self.named_matchers()?),
            "keep" => Stage::Keep(self.named_matchers()?),
            _ => {
                self.at = keyword_at;
                return Err(self.unexpected(&[]));
            }
        })
    }

    pub(super) fn extractions(&mut self) -> Result<Vec<Extraction>, ParseError> {
        let mut out = Vec::new();
        while matches!(self.peek(), Token::Identifier(_)) {
            let label = self.identifier()?;
            let path = if self.accept("=") { self.text()? } else { label.clone() };
            out.push(Extraction { label, path });
            if !self.accept(",") {
                break;
            }
            if !matches!(self.peek(), Token::Identifier(_)) {
                return Err(self.unexpected(&["IDENTIFIER"]));
            }
        }
        Ok(out)
    }

    pub(super) fn label_formats(&mut self) -> Result<Vec<LabelFormat>, ParseError> {
        let mut out = Vec::new();
        loop {
            let label = self.identifier()?;
            self.expect("=")?;
            let value = match self.peek() {
                Token::Identifier(_) => LabelFormatValue::Rename(self.identifier()?),
                Token::Text(_) => LabelFormatValue::Template(self.text()?),
                _ => return Err(self.unexpected(&["IDENTIFIER", "STRING"])),
            };
            out.push(LabelFormat { label, value });
            if !self.accept(",") {
                return Ok(out);
            }
        }
    }

    pub(super) fn named_matchers(&mut self) -> Result<Vec<NamedMatcher>, ParseError> {
        let mut out = Vec::new();
        loop {
            let is_matcher = matches!(
                self.peek_at(1),
                Token::Symbol("=")
                    | Token::Symbol("!=")
                    | Token::Symbol("=~")
                    | Token::Symbol("!~")
            );
            // `drop a != "x"` is a matcher, `drop a` before a line filter `!= "x"` reads the same;
            // the reference takes the matcher too.
            out.push(if is_matcher {
                NamedMatcher::Matcher(self.matcher()?)
            } else {
                NamedMatcher::Name(self.identifier()?)
            });
            if !self.accept(",") {
                return Ok(out);
            }
        }
    }

    /// `or` is 1, `and` is 2; a comma or two filters side by side join everything that follows.
    pub(super) fn label_filter(&mut self, context: u8) -> Result<LabelFilter, ParseError> {
        let mut left = self.nested(Self::single_label_filter)?;
        loop {
            if self.is("or") && context < 1 {
                self.at += 1;
                let right = self.nested(|p| p.label_filter(1))?;
                left = LabelFilter::Or(Box::new(left), Box::new(right));
            } else if self.is("and") && context < 2 {
                self.at += 1;
                let right = self.nested(|p| p.label_filter(2))?;
                left = LabelFilter::And(Box::new(left), Box::new(right));
            } else if self.is(",") || self.is("(") || matches!(self.peek(), Token::Identifier(_)) {
                self.accept(",");
                let right = self.nested(|p| p.label_filter(0))?;
                left = LabelFilter::And(Box::new(left), Box::new(right));
            } else {
                return Ok(left);
            }
        }
    }

    pub(super) fn single_label_filter(&mut self) -> Result<LabelFilter, ParseError> {
        if self.accept("(") {
            let inner = self.label_filter(0)?;
            self.expect(")")?;
            return Ok(inner);
        }
        let label = self.identifier()?;
        let matcher_op = match self.peek() {
            Token::Symbol("=") => Some(MatchOp::Equal),
            Token::Symbol("!=") => Some(MatchOp::NotEqual),
            Token::Symbol("=~") => Some(MatchOp::Regex),
            Token::Symbol("!~") => Some(MatchOp::NotRegex),
            _ => None,
        };
        let compare = self.compare_op();
        if matcher_op.is_none() && compare.is_none() {
            return Err(self.unexpected(&[]));
        }
        self.at += 1;
        if let (Some(op), Token::Text(value)) = (matcher_op, self.peek().clone()) {
            self.at += 1;
            return Ok(LabelFilter::Matcher(new_matcher(label, op, value)?));
        }
        if matches!(matcher_op, Some(MatchOp::Equal | MatchOp::NotEqual)) && self.is_ip() {
            self.at += 1;
            self.expect("(")?;
            let pattern = self.text()?;
            self.expect(")")?;
            let negated = matcher_op == Some(MatchOp::NotEqual);
            return Ok(LabelFilter::Ip(IpFilter { label, negated, pattern }));
        }
        let Some(op) = compare else { return Err(self.unexpected(&["STRING"])) };
        match self.peek().clone() {
            Token::Duration(value) => {
                self.at += 1;
                Ok(LabelFilter::Duration { label, op, value })
            }
            Token::Bytes(value) => {
                self.at += 1;
                Ok(LabelFilter::Bytes { label, op, value })
            }
            Token::Number(_) => Ok(LabelFilter::Number { label, op, value: self.number()? }),
            Token::Symbol("+") => {
                self.at += 1;
                Ok(LabelFilter::Number { label, op, value: self.number()? })
            }
            Token::Symbol("-") => {
                self.at += 1;
                Ok(LabelFilter::Number { label, op, value: -self.number()? })
            }
            _ => Err(self.unexpected(&[])),
        }
    }
}
