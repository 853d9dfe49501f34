use memchr::memmem::Finder;
use regex::Regex;

use super::ip::IpMatcher;
use super::pattern::LinePattern;
use crate::ast::{LineFilter, LineFilterOp};
use crate::error::ParseError;

#[derive(Debug)]
pub(crate) struct CompiledLineFilter {
    negative: bool,
    tests: Vec<LineTest>,
}

#[derive(Debug)]
enum LineTest {
    Contains(Box<Finder<'static>>),
    Regex(Regex),
    Pattern(LinePattern),
    Ip(IpMatcher),
}

impl CompiledLineFilter {
    pub(crate) fn new(filter: &LineFilter) -> Result<Self, ParseError> {
        let tests = filter
            .terms
            .iter()
            .map(|term| {
                if term.ip {
                    return IpMatcher::parse(&term.text).map(LineTest::Ip);
                }
                Ok(match filter.op {
                    LineFilterOp::Contains | LineFilterOp::NotContains => {
                        LineTest::Contains(Box::new(Finder::new(term.text.as_bytes()).into_owned()))
                    }
                    LineFilterOp::Regex | LineFilterOp::NotRegex => {
                        LineTest::Regex(crate::regexp::compile(&term.text).map_err(|e| {
                            ParseError::whole(format!("error parsing regexp: {e}: `{}`", term.text))
                        })?)
                    }
                    LineFilterOp::Pattern | LineFilterOp::NotPattern => {
                        LineTest::Pattern(LinePattern::parse(&term.text)?)
                    }
                })
            })
            .collect::<Result<_, ParseError>>()?;
        Ok(Self { negative: filter.op.is_negative(), tests })
    }

    pub(crate) fn passes(&self, line: &str) -> bool {
        self.tests.iter().any(|t| t.matches(line)) != self.negative
    }
}

impl LineTest {
    fn matches(&self, line: &str) -> bool {
        match self {
            Self::Contains(finder) => finder.find(line.as_bytes()).is_some(),
            Self::Regex(regex) => regex.is_match(line),
            Self::Pattern(pattern) => pattern.matches(line),
            Self::Ip(ip) => ip.found_in(line),
        }
    }
}
