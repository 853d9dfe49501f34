use std::collections::BTreeMap;

use obs_types::{DurationMs, TimestampMs};

use crate::forms::forms;
use crate::{FileError, RulesError, parse_duration, parse_time};

/// A test file, checked.
pub(super) struct TestFile {
    pub(super) rule_files: Vec<String>,
    pub(super) interval: DurationMs,
    pub(super) group_order: Vec<String>,
    pub(super) fuzzy: bool,
    pub(super) tests: Vec<Test>,
}

pub(super) struct Test {
    pub(super) name: String,
    /// Between two values of an input series.
    pub(super) interval: DurationMs,
    pub(super) start: TimestampMs,
    pub(super) input: Vec<(String, String)>,
    pub(super) alerts: Vec<AlertTest>,
    pub(super) queries: Vec<QueryTest>,
    pub(super) external_labels: BTreeMap<String, String>,
    pub(super) external_url: String,
}

pub(super) struct AlertTest {
    pub(super) at: DurationMs,
    pub(super) name: String,
    pub(super) expected: Vec<(BTreeMap<String, String>, BTreeMap<String, String>)>,
}

pub(super) struct QueryTest {
    pub(super) at: DurationMs,
    pub(super) expr: String,
    pub(super) expected: Vec<ExpectedSample>,
}

pub(super) struct ExpectedSample {
    pub(super) labels: String,
    pub(super) value: f64,
    pub(super) histogram: Option<String>,
}

impl TestFile {
    pub(super) fn parse(path: &str, text: &str, lenient: bool) -> Result<Self, RulesError> {
        let fail = |line, column, message| {
            RulesError::File(vec![FileError { file: path.to_owned(), line, column, message }])
        };
        let mut yaml = serde_saphyr::Options::default();
        yaml.with_snippet = false;
        let read = if lenient {
            serde_saphyr::from_str_with_options::<lenient::File>(text, yaml).map(lenient::checked)
        } else {
            serde_saphyr::from_str_with_options::<strict::File>(text, yaml).map(strict::checked)
        };
        match read {
            Ok(checked) => checked.map_err(|message| fail(0, 0, message)),
            Err(e) => {
                let (line, column) = e.location().map_or((0, 0), |l| (l.line(), l.column()));
                Err(fail(line, column, e.to_string()))
            }
        }
    }
}

fn duration(what: &str, text: Option<String>, default: i64) -> Result<DurationMs, String> {
    match text {
        Some(text) => parse_duration(&text).map_err(|e| format!("{what}: {e}")),
        None => Ok(DurationMs(default)),
    }
}

/// RFC 3339 or Unix seconds.
fn start(text: Option<String>) -> Result<TimestampMs, String> {
    let Some(text) = text else { return Ok(TimestampMs(0)) };
    let seconds = text.parse::<f64>().ok().filter(|s| s.is_finite());
    seconds
        .map(|s| TimestampMs((s * 1000.0) as i64))
        .or_else(|| parse_time(&text))
        .ok_or_else(|| format!("start_timestamp {text:?} is neither a time nor Unix seconds"))
}

forms! {
    uses {
        use std::collections::BTreeMap;
        use super::{AlertTest, ExpectedSample, QueryTest, Test, TestFile, duration, start};
    }
    structs {
        pub(super) struct File {
            #[serde(default)]
            rule_files: Vec<String>,
            evaluation_interval: Option<String>,
            #[serde(default)]
            group_eval_order: Vec<String>,
            #[serde(default)]
            fuzzy_compare: bool,
            #[serde(default)]
            tests: Vec<TestText>,
        }

        struct TestText {
            name: Option<String>,
            interval: Option<String>,
            start_timestamp: Option<String>,
            #[serde(default)]
            input_series: Vec<InputText>,
            #[serde(default)]
            alert_rule_test: Vec<AlertText>,
            #[serde(default)]
            promql_expr_test: Vec<QueryText>,
            #[serde(default)]
            external_labels: BTreeMap<String, String>,
            #[serde(default)]
            external_url: String,
        }

        struct InputText {
            series: String,
            values: String,
        }

        struct AlertText {
            eval_time: Option<String>,
            alertname: String,
            exp_alerts: Option<Vec<ExpectedAlert>>,
        }

        struct ExpectedAlert {
            #[serde(default)]
            exp_labels: BTreeMap<String, String>,
            #[serde(default)]
            exp_annotations: BTreeMap<String, String>,
        }

        struct QueryText {
            expr: String,
            eval_time: Option<String>,
            exp_samples: Option<Vec<SampleText>>,
        }

        struct SampleText {
            #[serde(default)]
            labels: String,
            #[serde(default)]
            value: f64,
            histogram: Option<String>,
        }
    }
    items {
        pub(super) fn checked(file: File) -> Result<TestFile, String> {
            let interval = duration("evaluation_interval", file.evaluation_interval, 60_000)?;
            if interval.0 <= 0 {
                return Err("evaluation_interval must be longer than 0".to_owned());
            }
            let tests = file.tests.into_iter().enumerate();
            let tests: Result<Vec<Test>, String> =
                tests.map(|(i, t)| test(i + 1, t, interval.0)).collect();
            Ok(TestFile {
                rule_files: file.rule_files,
                interval,
                group_order: file.group_eval_order,
                fuzzy: file.fuzzy_compare,
                tests: tests?,
            })
        }

        fn test(number: usize, text: TestText, default: i64) -> Result<Test, String> {
            let name = text.name.unwrap_or_else(|| format!("test {number}"));
            let at = |what: &str| format!("{name}: {what}");
            let interval = duration(&at("interval"), text.interval, default)?;
            if interval.0 <= 0 {
                return Err(at("interval must be longer than 0"));
            }
            let mut alerts = Vec::new();
            for t in text.alert_rule_test {
                let expected = t.exp_alerts.unwrap_or_default().into_iter();
                alerts.push(AlertTest {
                    at: duration(&at("eval_time"), t.eval_time, 0)?,
                    name: t.alertname,
                    expected: expected.map(|e| (e.exp_labels, e.exp_annotations)).collect(),
                });
            }
            let mut queries = Vec::new();
            for t in text.promql_expr_test {
                let expected = t.exp_samples.unwrap_or_default().into_iter();
                queries.push(QueryTest {
                    at: duration(&at("eval_time"), t.eval_time, 0)?,
                    expr: t.expr,
                    expected: expected
                        .map(|s| ExpectedSample {
                            labels: s.labels,
                            value: s.value,
                            histogram: s.histogram,
                        })
                        .collect(),
                });
            }
            Ok(Test {
                start: start(text.start_timestamp)?,
                name,
                interval,
                input: text.input_series.into_iter().map(|s| (s.series, s.values)).collect(),
                alerts,
                queries,
                external_labels: text.external_labels,
                external_url: text.external_url,
            })
        }
    }
}
