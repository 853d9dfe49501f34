//! Prometheus rule files: read strictly, checked as `promtool check rules` does.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use obs_types::{DurationMs, METRIC_NAME};

use crate::duration::parse_duration;
use crate::expression::{show_expression, split_for, threshold};
use crate::forms::forms;
use crate::template::check_template;
use crate::{FileError, RulesError, promql};

/// How strictly a rule file is read.
#[derive(Clone, Copy, Debug, Default)]
pub struct ReadOptions {
    /// Passes over unknown fields instead of refusing them.
    pub ignore_unknown_fields: bool,
    /// Label and annotation names must match `[a-zA-Z_][a-zA-Z0-9_]*`; otherwise any UTF-8 does.
    pub legacy_names: bool,
}

/// A checked rule file.
#[derive(Clone, Debug, PartialEq)]
pub struct RuleFile {
    /// As given by the caller; shown in messages and in the rules API.
    pub path: String,
    pub groups: Vec<GroupSpec>,
}

/// Rules that are evaluated together, in order.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupSpec {
    pub name: String,
    /// `None`: the global evaluation interval.
    pub interval: Option<DurationMs>,
    /// `None`: the global offset. The rules look at the data of that long ago.
    pub query_offset: Option<DurationMs>,
    /// Most series or alerts per rule; 0 is no limit.
    pub limit: usize,
    pub labels: BTreeMap<String, String>,
    pub rules: Vec<RuleSpec>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct RuleSpec {
    pub kind: RuleKind,
    /// PromQL, without ENGINE's ` for …`.
    pub expr: String,
    pub labels: BTreeMap<String, String>,
    /// 1-based line of the rule's expression; 0 when unknown.
    pub line: u64,
}

#[derive(Clone, Debug, PartialEq)]
pub enum RuleKind {
    Record { name: String },
    Alert(AlertSpec),
}

#[derive(Clone, Debug, PartialEq)]
pub struct AlertSpec {
    pub name: String,
    /// How long the condition holds before the alert fires.
    pub hold: DurationMs,
    /// How long the alert still fires after the condition cleared.
    pub keep_firing: DurationMs,
    pub annotations: BTreeMap<String, String>,
}

impl RuleSpec {
    pub fn name(&self) -> &str {
        match &self.kind {
            RuleKind::Record { name } => name,
            RuleKind::Alert(alert) => &alert.name,
        }
    }

    /// As ENGINE 2.4 shows it, with ` for 5m`.
    pub fn shown_expression(&self) -> String {
        match &self.kind {
            RuleKind::Record { .. } => show_expression(&self.expr, DurationMs(0)),
            RuleKind::Alert(alert) => show_expression(&self.expr, alert.hold),
        }
    }

    /// The number of `x > number`.
    pub fn threshold(&self) -> Option<f64> {
        threshold(&self.expr)
    }
}

impl RuleFile {
    /// Reads and checks the text; every mistake is reported, each with its place in `path`.
    pub fn parse(path: &str, text: &str, options: ReadOptions) -> Result<Self, RulesError> {
        let mut yaml = serde_saphyr::Options::default();
        yaml.with_snippet = false;
        let raw = if text.trim().is_empty() {
            Ok(raw::File::default())
        } else if options.ignore_unknown_fields {
            serde_saphyr::from_str_with_options::<lenient::File>(text, yaml).map(Into::into)
        } else {
            serde_saphyr::from_str_with_options::<strict::File>(text, yaml).map(Into::into)
        };
        let raw = raw.map_err(|e| {
            let (line, column) = e.location().map_or((0, 0), |l| (l.line(), l.column()));
            RulesError::File(vec![FileError {
                file: path.to_owned(),
                line,
                column,
                message: yaml_message(&e.to_string()),
            }])
        })?;
        let mut check = Check { path, options, errors: Vec::new() };
        let groups = check.groups(raw);
        if check.errors.is_empty() {
            Ok(Self { path: path.to_owned(), groups })
        } else {
            Err(RulesError::File(check.errors))
        }
    }

    /// Reads one file from disk.
    pub fn load(path: &Path, options: ReadOptions) -> Result<Self, RulesError> {
        let shown = path.display().to_string();
        let text = std::fs::read_to_string(path)
            .map_err(|e| RulesError::Read { path: shown.clone(), reason: e.to_string() })?;
        Self::parse(&shown, &text, options)
    }
}

/// The library puts the place in front or at the end; [`FileError`] already shows it.
fn yaml_message(text: &str) -> String {
    let text = text.lines().next().unwrap_or_default();
    match text.rsplit_once(" at line ") {
        Some((message, _)) => message.to_owned(),
        None => text.to_owned(),
    }
}

struct Check<'a> {
    path: &'a str,
    options: ReadOptions,
    errors: Vec<FileError>,
}

impl Check<'_> {
    fn fail(&mut self, line: u64, message: String) {
        self.errors.push(FileError { file: self.path.to_owned(), line, column: 1, message });
    }

    fn groups(&mut self, file: raw::File) -> Vec<GroupSpec> {
        let mut names = BTreeSet::new();
        let mut groups = Vec::new();
        for group in file.groups {
            let name = group.name.clone().unwrap_or_default();
            if name.is_empty() {
                self.fail(group.line, "group name must not be empty".to_owned());
            }
            if !names.insert(name.clone()) {
                self.fail(group.line, format!("group name {name:?} is repeated in the same file"));
            }
            let at = format!("group {name:?}");
            let interval = self.duration(group.line, &at, "interval", group.interval.as_deref());
            if interval == Some(DurationMs(0)) {
                self.fail(group.line, format!("{at}: interval must be longer than 0"));
            }
            let query_offset =
                self.duration(group.line, &at, "query_offset", group.query_offset.as_deref());
            self.names(group.line, &at, "label", &group.labels);
            let rules = group
                .rules
                .into_iter()
                .enumerate()
                .filter_map(|(i, rule)| self.rule(&name, i + 1, rule))
                .collect();
            groups.push(GroupSpec {
                name,
                interval,
                query_offset,
                limit: usize::try_from(group.limit).unwrap_or(0),
                labels: group.labels,
                rules,
            });
        }
        groups
    }

    fn rule(&mut self, group: &str, number: usize, rule: raw::Rule) -> Option<RuleSpec> {
        let line = rule.line;
        let record = rule.record.unwrap_or_default();
        let alert = rule.alert.unwrap_or_default();
        let name = if record.is_empty() { &alert } else { &record };
        let at = format!("group {group:?}, rule {number}, {name:?}");
        let before = self.errors.len();
        match (record.is_empty(), alert.is_empty()) {
            (false, false) => {
                self.fail(line, format!("{at}: only one of 'record' and 'alert' must be set"));
            }
            (true, true) => {
                self.fail(line, format!("{at}: one of 'record' or 'alert' must be set"));
            }
            _ => {}
        }
        let hold = self.duration(line, &at, "for", rule.hold.as_deref());
        let keep = self.duration(line, &at, "keep_firing_for", rule.keep_firing_for.as_deref());
        let text = rule.expr.unwrap_or_default();
        let (expr, hold) = self.expression(line, &at, &text, hold, !alert.is_empty());
        self.names(line, &at, "label", &rule.labels);
        self.names(line, &at, "annotation", &rule.annotations);
        let kind = if alert.is_empty() {
            if hold.is_some() {
                self.fail(line, format!("{at}: invalid field 'for' in recording rule"));
            }
            if keep.is_some() {
                self.fail(line, format!("{at}: invalid field 'keep_firing_for' in recording rule"));
            }
            if !rule.annotations.is_empty() {
                self.fail(line, format!("{at}: invalid field 'annotations' in recording rule"));
            }
            if record.contains(['{', '}']) {
                self.fail(
                    line,
                    format!(
                        "{at}: braces present in the recording rule name; should they be in expr?"
                    ),
                );
            } else if self.options.legacy_names && !is_legacy_metric(&record) {
                self.fail(line, format!("{at}: invalid recording rule name"));
            }
            RuleKind::Record { name: record }
        } else {
            for (what, texts) in [("label", &rule.labels), ("annotation", &rule.annotations)] {
                for (name, text) in texts {
                    if let Err(e) = check_template(text) {
                        self.fail(line, format!("{at}: {what} {name:?}: {e}"));
                    }
                }
            }
            RuleKind::Alert(AlertSpec {
                name: alert,
                hold: hold.unwrap_or_default(),
                keep_firing: keep.unwrap_or_default(),
                annotations: rule.annotations,
            })
        };
        (self.errors.len() == before).then_some(RuleSpec { kind, expr, labels: rule.labels, line })
    }

    /// PromQL first; where that fails, ENGINE's shorthand with ` for 5m` at the end.
    fn expression(
        &mut self,
        line: u64,
        at: &str,
        text: &str,
        hold: Option<DurationMs>,
        alerting: bool,
    ) -> (String, Option<DurationMs>) {
        let plain = || text.trim().to_owned();
        if text.trim().is_empty() {
            self.fail(line, format!("{at}: field 'expr' must be set in rule"));
            return (plain(), hold);
        }
        let Err(problem) = promql::check(text) else { return (plain(), hold) };
        if let Some((expr, short)) = split_for(text)
            && alerting
            && promql::check(expr).is_ok()
        {
            if hold.is_some_and(|h| h != short) {
                self.fail(line, format!("{at}: 'for' is given twice, in expr and as field"));
            }
            return (expr.to_owned(), Some(short));
        }
        self.fail(line, format!("{at}: could not parse expression: {problem}"));
        (plain(), hold)
    }

    fn duration(
        &mut self,
        line: u64,
        at: &str,
        field: &str,
        text: Option<&str>,
    ) -> Option<DurationMs> {
        match parse_duration(text?) {
            Ok(duration) => Some(duration),
            Err(e) => {
                self.fail(line, format!("{at}: field {field:?}: {e}"));
                None
            }
        }
    }

    fn names(&mut self, line: u64, at: &str, what: &str, map: &BTreeMap<String, String>) {
        for name in map.keys() {
            let bad = name.is_empty()
                || (what == "label" && name == METRIC_NAME)
                || (self.options.legacy_names && !is_legacy_label(name));
            if bad {
                self.fail(line, format!("{at}: invalid {what} name: {name:?}"));
            }
        }
    }
}

fn is_legacy_label(name: &str) -> bool {
    name.chars()
        .enumerate()
        .all(|(i, c)| c == '_' || c.is_ascii_alphabetic() || (i > 0 && c.is_ascii_digit()))
}

fn is_legacy_metric(name: &str) -> bool {
    is_legacy_label(&name.replace(':', "_"))
}

/// What both spellings of the file form become.
mod raw {
    use std::collections::BTreeMap;

    #[derive(Default)]
    pub(super) struct File {
        pub(super) groups: Vec<Group>,
    }

    pub(super) struct Group {
        pub(super) line: u64,
        pub(super) name: Option<String>,
        pub(super) interval: Option<String>,
        pub(super) query_offset: Option<String>,
        pub(super) limit: i64,
        pub(super) labels: BTreeMap<String, String>,
        pub(super) rules: Vec<Rule>,
    }

    pub(super) struct Rule {
        pub(super) line: u64,
        pub(super) record: Option<String>,
        pub(super) alert: Option<String>,
        pub(super) expr: Option<String>,
        pub(super) hold: Option<String>,
        pub(super) keep_firing_for: Option<String>,
        pub(super) labels: BTreeMap<String, String>,
        pub(super) annotations: BTreeMap<String, String>,
    }
}

forms! {
    uses {
        use std::collections::BTreeMap;
        use serde_saphyr::Spanned;
        use super::raw;
    }
    structs {
        pub(super) struct File {
            #[serde(default)]
            groups: Option<Vec<Spanned<Group>>>,
        }

        struct Group {
            name: Option<String>,
            interval: Option<String>,
            query_offset: Option<String>,
            #[serde(default)]
            limit: i64,
            #[serde(default)]
            labels: Option<BTreeMap<String, String>>,
            #[serde(default)]
            rules: Option<Vec<Spanned<Rule>>>,
        }

        struct Rule {
            record: Option<String>,
            alert: Option<String>,
            expr: Option<Spanned<String>>,
            #[serde(rename = "for")]
            hold: Option<String>,
            keep_firing_for: Option<String>,
            #[serde(default)]
            labels: Option<BTreeMap<String, String>>,
            #[serde(default)]
            annotations: Option<BTreeMap<String, String>>,
        }
    }
    items {
        impl From<File> for raw::File {
            fn from(file: File) -> Self {
                let groups = file.groups.unwrap_or_default();
                Self { groups: groups.into_iter().map(group).collect() }
            }
        }

        fn group(group: Spanned<Group>) -> raw::Group {
            let (line, group) = (group.referenced.line(), group.value);
            let rules = group.rules.unwrap_or_default();
            raw::Group {
                line,
                name: group.name,
                interval: group.interval,
                query_offset: group.query_offset,
                limit: group.limit,
                labels: group.labels.unwrap_or_default(),
                rules: rules.into_iter().map(rule).collect(),
            }
        }

        fn rule(rule: Spanned<Rule>) -> raw::Rule {
            let (start, rule) = (rule.referenced.line(), rule.value);
            raw::Rule {
                line: rule.expr.as_ref().map_or(start, |e| e.referenced.line()),
                record: rule.record,
                alert: rule.alert,
                expr: rule.expr.map(|e| e.value),
                hold: rule.hold,
                keep_firing_for: rule.keep_firing_for,
                labels: rule.labels.unwrap_or_default(),
                annotations: rule.annotations.unwrap_or_default(),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<RuleFile, String> {
        RuleFile::parse("rules.yml", text, ReadOptions::default()).map_err(|e| e.to_string())
    }

    #[test]
    fn engine_shorthand_becomes_for() {
        let file = parse(
            "groups:\n- name: g\n  rules:\n  - alert: HighCPUUsage\n    expr: cpu_percent > 80 for 5m\n",
        )
        .unwrap();
        let rule = &file.groups[0].rules[0];
        assert_eq!(rule.expr, "cpu_percent > 80");
        assert_eq!(rule.shown_expression(), "cpu_percent > 80 for 5m");
        assert_eq!(rule.threshold(), Some(80.0));
    }

    #[test]
    fn every_mistake_is_reported_with_its_line() {
        let text = "groups:\n- name: g\n  rules:\n  - alert: A\n    expr: 'up =='\n  - record: b\n    \
                    expr: up\n    for: 1m\n";
        let message = parse(text).unwrap_err();
        assert!(message.contains("rules.yml:5:"), "{message}");
        assert!(message.contains("rules.yml:7:") && message.contains("'for'"), "{message}");
    }

    #[test]
    fn unknown_fields_are_refused_unless_asked() {
        let text = "groups:\n- name: g\n  owner: me\n  rules: []\n";
        let message = parse(text).unwrap_err();
        assert!(message.contains("owner") && message.contains("rules.yml:3:"), "{message}");
        let lenient = ReadOptions { ignore_unknown_fields: true, ..ReadOptions::default() };
        assert!(RuleFile::parse("r", text, lenient).is_ok());
    }

    #[test]
    fn odd_input_is_an_error_and_not_a_panic() {
        for text in [
            "[]",
            "groups: 1",
            "groups: [{}]",
            "groups:\n- name: [1]",
            "\u{0}",
            "a: *b",
            "groups: [{name: x, limit: no}]",
        ] {
            assert!(parse(text).is_err(), "{text:?}");
        }
        assert!(parse("").unwrap().groups.is_empty());
        assert!(parse("groups:\n").unwrap().groups.is_empty());
    }
}
