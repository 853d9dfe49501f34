//! What happens to one line: filters, parsers, formatters.

mod entry;
mod gotime;
mod ip;
mod json;
mod label_filter;
mod line_filter;
mod logfmt;
mod pattern;
mod template;

use std::borrow::Cow;

use obs_types::{LabelSet, LogRecord, Matcher, TimestampNs, matches_all};
use regex::Regex;

pub(crate) use entry::Entry;
pub(crate) use label_filter::CompiledLabelFilter;

use crate::ast::{LabelFormatValue, LogExpr, NamedMatcher, Stage};
use crate::error::ParseError;
use crate::labels::Labels;
use json::JsonPath;
use line_filter::CompiledLineFilter;
use pattern::CapturePattern;
use template::LogTemplate;

pub(crate) const ERROR_LABEL: &str = "__error__";
pub(crate) const ERROR_DETAILS_LABEL: &str = "__error_details__";

/// A compiled log expression: selector and stages.
#[derive(Debug)]
pub struct Pipeline {
    matchers: Vec<Matcher>,
    stages: Vec<Step>,
    /// Line filters at the front need no labels; they run first and drop most lines.
    leading_line_filters: usize,
    changes_labels: bool,
}

/// One line that passed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Processed {
    /// Stream, structured metadata and parsed labels together.
    pub labels: Labels,
    /// Which of them are structured metadata.
    pub metadata: Labels,
    /// Which of them were made by the pipeline.
    pub parsed: Labels,
    pub line: String,
}

#[derive(Debug)]
enum Step {
    LineFilter(CompiledLineFilter),
    Json,
    JsonPaths(Vec<(String, JsonPath)>),
    Logfmt { strict: bool, keep_empty: bool },
    LogfmtKeys { strict: bool, keys: Vec<(String, String)> },
    Regexp { regex: Regex, groups: Vec<(usize, String)> },
    Pattern(CapturePattern),
    Unpack,
    LabelFilter(CompiledLabelFilter),
    LineFormat(LogTemplate),
    LabelFormat(Vec<(String, CompiledLabelFormat)>),
    Decolorize(Regex),
    Drop(Vec<NamedMatcher>),
    Keep(Vec<NamedMatcher>),
}

#[derive(Debug)]
enum CompiledLabelFormat {
    Rename(String),
    Template(LogTemplate),
}

impl Pipeline {
    /// Compiles regexes, patterns and templates; `Err` says which one is wrong.
    pub fn new(log: &LogExpr) -> Result<Self, ParseError> {
        let stages: Vec<Step> = log.stages.iter().map(compile).collect::<Result<_, _>>()?;
        let leading_line_filters =
            stages.iter().take_while(|s| matches!(s, Step::LineFilter(_))).count();
        let changes_labels =
            stages.iter().any(|s| !matches!(s, Step::LineFilter(_) | Step::Decolorize(_)));
        Ok(Self { matchers: log.matchers.clone(), stages, leading_line_filters, changes_labels })
    }

    /// Runs one stored line; `None` if a filter drops it. The stream is taken as selected.
    pub fn process(
        &self,
        timestamp: TimestampNs,
        stream: &LabelSet,
        metadata: &LabelSet,
        line: &str,
    ) -> Option<Processed> {
        let entry = self.run(timestamp, stream, metadata, line)?;
        Some(Processed {
            labels: entry.labels(),
            metadata: entry.metadata(),
            parsed: entry.parsed(),
            line: entry.line.into_owned(),
        })
    }

    /// For live tails: selector and pipeline on one record as it comes in.
    pub fn tail(&self, record: &LogRecord) -> Option<(LabelSet, String)> {
        if !matches_all(&self.matchers, &record.stream) {
            return None;
        }
        let done =
            self.process(record.timestamp, &record.stream, &record.metadata, &record.line)?;
        Some((done.labels.to_label_set(), done.line))
    }

    pub fn matchers(&self) -> &[Matcher] {
        &self.matchers
    }

    /// Whether every selected line passes unchanged.
    pub(crate) fn is_empty(&self) -> bool {
        self.stages.is_empty()
    }

    /// Whether labels may differ from stream and metadata.
    pub(crate) fn changes_labels(&self) -> bool {
        self.changes_labels
    }

    pub(crate) fn run<'a>(
        &self,
        timestamp: TimestampNs,
        stream: &'a LabelSet,
        metadata: &'a LabelSet,
        line: &'a str,
    ) -> Option<Entry<'a>> {
        let (leading, rest) = self.stages.split_at_checked(self.leading_line_filters)?;
        for step in leading {
            if let Step::LineFilter(filter) = step
                && !filter.passes(line)
            {
                return None;
            }
        }
        let mut entry = Entry::new(timestamp, stream, metadata, line);
        for step in rest {
            if !step.apply(&mut entry) {
                return None;
            }
        }
        Some(entry)
    }
}

fn compile(stage: &Stage) -> Result<Step, ParseError> {
    Ok(match stage {
        Stage::LineFilter(f) => Step::LineFilter(CompiledLineFilter::new(f)?),
        Stage::Json(e) if e.is_empty() => Step::Json,
        Stage::Json(e) => Step::JsonPaths(
            e.iter()
                .map(|x| Ok((x.label.clone(), JsonPath::parse(&x.path)?)))
                .collect::<Result<_, ParseError>>()?,
        ),
        Stage::Logfmt { strict, keep_empty, extractions } if extractions.is_empty() => {
            Step::Logfmt { strict: *strict, keep_empty: *keep_empty }
        }
        Stage::Logfmt { strict, extractions, .. } => Step::LogfmtKeys {
            strict: *strict,
            keys: extractions.iter().map(|x| (x.label.clone(), x.path.clone())).collect(),
        },
        Stage::Regexp(text) => compile_regexp(text)?,
        Stage::Pattern(text) => Step::Pattern(CapturePattern::parse(text)?),
        Stage::Unpack => Step::Unpack,
        Stage::LabelFilter(f) => Step::LabelFilter(CompiledLabelFilter::new(f)?),
        Stage::LineFormat(t) => Step::LineFormat(
            LogTemplate::new("line", t)
                .map_err(|e| ParseError::whole(format!("invalid line template: {e}")))?,
        ),
        Stage::LabelFormat(formats) => {
            let mut out: Vec<(String, CompiledLabelFormat)> = Vec::with_capacity(formats.len());
            for f in formats {
                if f.label == ERROR_LABEL {
                    return Err(ParseError::whole(format!("{ERROR_LABEL} cannot be formatted")));
                }
                if out.iter().any(|(label, _)| *label == f.label) {
                    return Err(ParseError::whole(format!(
                        "multiple label name '{}' not allowed in a single format operation",
                        f.label
                    )));
                }
                let compiled = match &f.value {
                    LabelFormatValue::Rename(old) => CompiledLabelFormat::Rename(old.clone()),
                    LabelFormatValue::Template(t) => CompiledLabelFormat::Template(
                        LogTemplate::new("label", t).map_err(|e| {
                            ParseError::whole(format!(
                                "invalid template for label '{}': {e}",
                                f.label
                            ))
                        })?,
                    ),
                };
                out.push((f.label.clone(), compiled));
            }
            Step::LabelFormat(out)
        }
        Stage::Decolorize => Step::Decolorize(
            Regex::new("\x1b\\[[0-9;]*[A-Za-z]").map_err(|e| ParseError::whole(e.to_string()))?,
        ),
        Stage::Drop(names) => Step::Drop(names.clone()),
        Stage::Keep(names) => Step::Keep(names.clone()),
    })
}

fn compile_regexp(text: &str) -> Result<Step, ParseError> {
    let regex = crate::regexp::compile(text).map_err(|reason| {
        ParseError::whole(if reason.contains("duplicate capture group name") {
            format!("duplicate extracted label name in regexp {}", crate::unit::quote(text))
        } else {
            format!("error parsing regexp: {reason}: `{text}`")
        })
    })?;
    let groups: Vec<(usize, String)> = regex
        .capture_names()
        .enumerate()
        .filter_map(|(i, name)| Some((i, name?.to_owned())))
        .collect();
    if groups.is_empty() {
        return Err(ParseError::whole("at least one named capture must be supplied"));
    }
    for (_, name) in &groups {
        if json::sanitized(name) != *name {
            return Err(ParseError::whole(format!("invalid extracted label name '{name}'")));
        }
    }
    Ok(Step::Regexp { regex, groups })
}

impl Step {
    /// `false` drops the line.
    fn apply(&self, entry: &mut Entry<'_>) -> bool {
        match self {
            Self::LineFilter(filter) => return filter.passes(&entry.line),
            Self::LabelFilter(filter) => return filter.passes(entry),
            Self::Json => {
                entry.parse_line(|line, set| json::flatten(line, set));
            }
            Self::JsonPaths(paths) => json::extract(entry, paths),
            Self::Logfmt { strict, keep_empty } => {
                entry.parse_line(|line, set| logfmt::parse(line, *strict, *keep_empty, set));
            }
            Self::LogfmtKeys { strict, keys } => {
                logfmt::extract(entry, *strict, keys);
            }
            Self::Regexp { regex, groups } => {
                entry.parse_line(|line, set| {
                    if let Some(found) = regex.captures(line) {
                        for (i, name) in groups {
                            if let Some(value) = found.get(*i) {
                                set(Cow::Owned(name.clone()), Cow::Borrowed(value.as_str()));
                            }
                        }
                    }
                    Ok(())
                });
            }
            Self::Pattern(pattern) => {
                entry.parse_line(|line, set| {
                    pattern.captures(line, |name, value| {
                        set(Cow::Owned(name.to_owned()), Cow::Borrowed(value));
                    });
                    Ok(())
                });
            }
            Self::Unpack => json::unpack(entry),
            Self::LineFormat(template) => match template.render(entry) {
                Ok(line) => entry.line = Cow::Owned(line),
                Err(e) => entry.fail("TemplateFormatErr", e),
            },
            Self::LabelFormat(formats) => {
                for (label, format) in formats {
                    match format {
                        CompiledLabelFormat::Rename(old) => entry.rename(old, label),
                        CompiledLabelFormat::Template(t) => match t.render(entry) {
                            Ok(value) => entry.set(label.clone().into(), value.into()),
                            Err(e) => entry.fail("TemplateFormatErr", e),
                        },
                    }
                }
            }
            Self::Decolorize(codes) => {
                if let Cow::Owned(plain) = codes.replace_all(&entry.line, "") {
                    entry.line = Cow::Owned(plain);
                }
            }
            Self::Drop(names) => {
                for name in names {
                    let (label, hit) = named(entry, name);
                    if hit {
                        entry.remove(label);
                    }
                }
            }
            Self::Keep(names) => {
                let kept: Vec<&str> =
                    names.iter().map(|n| named(entry, n)).filter(|n| n.1).map(|n| n.0).collect();
                entry.retain(&kept);
            }
        }
        true
    }
}

fn named<'n>(entry: &Entry<'_>, name: &'n NamedMatcher) -> (&'n str, bool) {
    match name {
        NamedMatcher::Name(n) => (n, true),
        NamedMatcher::Matcher(m) => (m.name(), m.matches(entry.get(m.name()).unwrap_or(""))),
    }
}

/// The texts that every line matched by a `|>` pattern contains.
pub(crate) fn line_pattern_literals(text: &str) -> Vec<String> {
    pattern::literals(text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::parse_log;

    fn pipeline(stages: &str) -> Pipeline {
        Pipeline::new(&parse_log(&format!("{{app=\"a\"}} {stages}")).unwrap()).unwrap()
    }

    /// Labels and line of a passing record with metadata `md="m"`.
    fn run(stages: &str, line: &str) -> Option<(String, String)> {
        let stream = LabelSet::from_pairs([("app", "a")]);
        let metadata = LabelSet::from_pairs([("md", "m")]);
        let done = pipeline(stages).process(TimestampNs(0), &stream, &metadata, line)?;
        Some((done.labels.to_string(), done.line))
    }

    #[test]
    fn stages_change_labels_and_lines() {
        for (stages, line, labels, text) in [
            (
                "| json",
                r#"{"app":"x","md":"y","n":1}"#,
                r#"{app="a", app_extracted="x", md="m", md_extracted="y", n="1"}"#,
                None,
            ),
            (
                r#"| json first="l[0]", gone="x.y""#,
                r#"{"l":["one"]}"#,
                r#"{app="a", first="one", gone="", md="m"}"#,
                None,
            ),
            ("| logfmt", r#"k="a b" bare =x"#, r#"{app="a", k="a b", md="m"}"#, None),
            ("| logfmt z", "k=v", r#"{app="a", md="m", z=""}"#, None),
            (
                r#"| pattern "<m> <_>" | label_format verb=m"#,
                "GET /x",
                r#"{app="a", md="m", verb="GET"}"#,
                None,
            ),
            (r#"| regexp "(?P<n>\\d+)" | keep n"#, "x 42", r#"{n="42"}"#, None),
            ("| unpack", r#"{"_entry":"in","p":"q"}"#, r#"{app="a", md="m", p="q"}"#, Some("in")),
            (
                r#"| line_format "{{.md | ToUpper}}-{{.no}}" | decolorize"#,
                "x",
                r#"{app="a", md="m"}"#,
                Some("M-"),
            ),
            (
                r#"| drop md | line_format `{{regexReplaceAll "o+" __line__ "0"}}`"#,
                "foo",
                r#"{app="a"}"#,
                Some("f0"),
            ),
            (
                "| json",
                "no",
                r#"{__error__="JSONParserErr", __error_details__="expected '{' at byte 0", app="a", md="m"}"#,
                None,
            ),
            (r#"| label_format app="{{.app}}{{.md}}""#, "x", r#"{app="am", md="m"}"#, None),
        ] {
            let (got, got_line) = run(stages, line).unwrap();
            assert_eq!(got, labels, "{stages}");
            assert_eq!(got_line, text.unwrap_or(line), "{stages}");
        }
    }

    #[test]
    fn filters_drop_lines() {
        for (stages, line, passes) in [
            (r#"|= "a" != "b""#, "a", true),
            (r#"|= "a" != "b""#, "ab", false),
            (r#"|~ "^x|y$""#, "my", true),
            (r#"|= ip("10.0.0.0/8")"#, "from 10.1.1.1", true),
            (r#"!= ip("10.0.0.0/8")"#, "from 10.1.1.1", false),
            (r#"| md="m" or md="x""#, "", true),
            ("| logfmt | n > 5", "n=6", true),
            ("| logfmt | n > 5", "m=6", false),
            ("| logfmt | t >= 1m30s | s < 1KiB", "t=90s s=1000", true),
            (r#"| logfmt | n > 5 | __error__="""#, "n=x", false),
        ] {
            assert_eq!(run(stages, line).is_some(), passes, "{stages}");
        }
    }

    proptest! {
        #[test]
        fn no_line_makes_it_panic(line in "\\PC{0,40}|[{}\\[\\]\",:=\\\\a1 é<>-]{0,60}") {
            for stages in [
                "| json | logfmt | unpack",
                r#"| json a="b.c[0]", d="[\"e\"]" | logfmt --strict --keep-empty f"#,
                r#"| pattern "<a>:<b> <_>é<c>" | regexp "(?P<x>.)(?P<y>é)?" |> "<_>é<_>""#,
                r#"|= ip("::/0") or "x" | logfmt | a > 1 or a < 1s or a != 1KB"#,
                r#"| line_format `{{trunc 3 __line__}}{{substr 1 5 __line__}}{{alignLeft 4 __line__}}{{__line__ | b64dec}}`"#,
                r#"| line_format `{{toDate "2006-01-02T15:04:05Z07:00" __line__}}{{fromJson __line__}}{{bytes __line__}}`"#,
            ] {
                run(stages, &line);
            }
        }
    }
}
