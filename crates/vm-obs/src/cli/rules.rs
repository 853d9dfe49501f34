//! `vm-obs rules …`

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use obs_rules::unittest::{self, TestOptions};
use obs_rules::{BackfillOptions, GroupOptions, ReadOptions, RuleFile, RuleKind};
use obs_types::{DurationMs, LabelSet, MetricBatch, QueryContext, TimestampMs};

use super::args::WindowArgs;
use super::import::{IntoArgs, Store};
use super::out::Out;

#[derive(Debug, Subcommand)]
pub(crate) enum RulesCommand {
    /// Check rule files: YAML, expressions, templates
    Check(CheckArgs),
    /// Run rule unit tests written for promtool
    Test(TestArgs),
    /// Evaluate recording rules over the history of a data folder that no server runs on
    Backfill(BackfillArgs),
}

#[derive(Args, Debug)]
pub(crate) struct CheckArgs {
    /// Rule files
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Pass over unknown fields
    #[arg(long)]
    ignore_unknown_fields: bool,
}

#[derive(Args, Debug)]
pub(crate) struct TestArgs {
    /// Test files; rule files are found relative to each
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Only tests whose name contains this
    #[arg(long, value_name = "TEXT")]
    run: Option<String>,
    /// Pass over unknown fields
    #[arg(long)]
    ignore_unknown_fields: bool,
}

#[derive(Args, Debug)]
pub(crate) struct BackfillArgs {
    /// Rule files; alerting rules in them are passed over
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Interval instead of each group's own [default for groups that name none: 1m]
    #[arg(long, value_name = "DURATION")]
    interval: Option<String>,
    #[command(flatten)]
    window: WindowArgs,
    #[command(flatten)]
    into: IntoArgs,
}

/// Exit 1 if a file is wrong or a test fails.
pub(crate) fn run(command: RulesCommand, out: &mut Out) -> anyhow::Result<ExitCode> {
    let good = match command {
        RulesCommand::Check(args) => check(&args, out)?,
        RulesCommand::Test(args) => test(&args, out)?,
        RulesCommand::Backfill(args) => {
            backfill(&args, out)?;
            true
        }
    };
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn check(args: &CheckArgs, out: &mut Out) -> anyhow::Result<bool> {
    let options =
        ReadOptions { ignore_unknown_fields: args.ignore_unknown_fields, ..ReadOptions::default() };
    let mut good = true;
    for path in &args.files {
        out.line(&format!("Checking {}", path.display()))?;
        match RuleFile::load(path, options) {
            Ok(file) => {
                let rules = || file.groups.iter().flat_map(|g| &g.rules);
                let alerts = rules().filter(|r| matches!(r.kind, RuleKind::Alert(_))).count();
                out.line(&format!(
                    "  SUCCESS: {} rules found ({alerts} alerting, {} recording)",
                    rules().count(),
                    rules().count() - alerts
                ))?;
            }
            Err(e) => {
                good = false;
                out.line("  FAILED:")?;
                for line in e.to_string().lines() {
                    out.foreign_line(&format!("    {line}"))?;
                }
            }
        }
    }
    Ok(good)
}

fn backfill(args: &BackfillArgs, out: &mut Out) -> anyhow::Result<()> {
    if args.window.from.is_none() && args.window.last.is_none() {
        bail!("say how far back: --last 30d, or --from TIME");
    }
    let (start, end) = args.window.resolve(DurationMs::HOUR)?;
    let duration = |text: &str| match obs_query::parse_duration(text).context("--interval")? {
        d if d.0 > 0 => Ok(d),
        _ => bail!("--interval: {text:?} must be longer than 0"),
    };
    let options = BackfillOptions {
        start: start.floor_to_ms(),
        end: end.floor_to_ms(),
        interval: args.interval.as_deref().map(duration).transpose()?,
    };
    let defaults = GroupOptions {
        interval: DurationMs::MINUTE,
        query_offset: DurationMs(0),
        external_labels: LabelSet::empty(),
        external_url: String::new(),
    };
    let files = args
        .files
        .iter()
        .map(|path| RuleFile::load(path, ReadOptions::default()))
        .collect::<Result<Vec<_>, _>>()?;
    let mut store = Store::open(&args.into)?;
    let front = store.front();
    // Stored behind the last read: the front reads the engine as it was opened.
    let mut results = Vec::new();
    let source = front.metrics.as_ref();
    let report = obs_rules::backfill(
        &files,
        &options,
        &defaults,
        source,
        &QueryContext::unlimited(),
        &mut |batch| {
            if let (Some(first), Some(last)) = (batch.series.first(), newest(&batch)) {
                let name = first.labels.metric_name();
                let until = obs_query::format_time(last);
                eprintln!("{name}: {} series up to {until}", batch.series.len());
            }
            results.extend(batch.series);
            Ok(())
        },
    )?;
    drop(front);
    results.into_iter().try_for_each(|series| store.add(series))?;
    if report.alerts_skipped > 0 {
        eprintln!("{} alerting rules passed over", report.alerts_skipped);
    }
    store.finish(out)
}

fn newest(batch: &MetricBatch) -> Option<TimestampMs> {
    let times = batch.series.iter().filter_map(|s| {
        let floats = s.samples.last().map(|(t, _)| *t);
        floats.max(s.histograms.last().map(|(t, _)| *t))
    });
    times.max()
}

fn test(args: &TestArgs, out: &mut Out) -> anyhow::Result<bool> {
    let options =
        TestOptions { ignore_unknown_fields: args.ignore_unknown_fields, run: args.run.clone() };
    let report = unittest::run_files(&args.files, &options);
    write_report(&report, out)?;
    Ok(report.passed())
}

/// As promtool writes it, and a line with the counts.
pub(super) fn write_report(report: &unittest::Report, out: &mut Out) -> anyhow::Result<()> {
    for file in &report.files {
        out.line(&format!("Unit Testing:  {}", file.path))?;
        if let Some(error) = &file.error {
            out.line("  FAILED:")?;
            for line in error.lines() {
                out.foreign_line(&format!("    {line}"))?;
            }
            continue;
        }
        for test in file.tests.iter().filter(|t| !t.failures.is_empty()) {
            out.foreign_line(&format!("  FAILED: {}", test.name))?;
            for line in test.failures.iter().flat_map(|f| f.lines()) {
                out.foreign_line(&format!("    {line}"))?;
            }
        }
        if file.passed() {
            out.line(&format!("  SUCCESS ({} tests)", file.tests.len()))?;
        }
    }
    let (passed, failed) = report.counts();
    out.line(&format!("{passed} passed, {failed} failed"))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::out::testing::memory;

    const RULES: &str = "groups:\n- name: g\n  rules:\n  - alert: NodeDown\n    expr: up == 0\n    for: 2m\n    labels: {severity: critical}\n  - record: r\n    expr: sum(up)\n";

    fn test_file(expected: &str) -> String {
        format!(
            "rule_files: [rules.yml]\nevaluation_interval: 1m\ntests:\n- interval: 1m\n  input_series:\n  - series: 'up{{job=\"a\"}}'\n    values: '0x10'\n  alert_rule_test:\n  - eval_time: 5m\n    alertname: NodeDown\n    exp_alerts:\n    - exp_labels: {{severity: {expected}, job: a}}\n"
        )
    }

    #[test]
    fn checks_and_tests_say_what_failed() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let rules = write("rules.yml", RULES);
        let wrong = write("wrong.yml", &RULES.replace("sum(up)", "sum(up"));
        let good = write("good.test.yml", &test_file("critical"));
        let bad = write("bad.test.yml", &test_file("warning"));
        let run = |command| {
            let (mut out, written) = memory();
            let code = run(command, &mut out).unwrap();
            (written.text().replace(dir.path().to_str().unwrap(), "DIR"), code)
        };
        let check = |file: &PathBuf| {
            run(RulesCommand::Check(CheckArgs {
                files: vec![file.clone()],
                ignore_unknown_fields: false,
            }))
        };
        let test = |file: &PathBuf| {
            run(RulesCommand::Test(TestArgs {
                files: vec![file.clone()],
                run: None,
                ignore_unknown_fields: false,
            }))
        };
        let (text, code) = check(&rules);
        assert_eq!(code, ExitCode::SUCCESS);
        assert_eq!(
            text,
            "Checking DIR/rules.yml\n  SUCCESS: 2 rules found (1 alerting, 1 recording)\n"
        );
        let (text, code) = check(&wrong);
        assert_eq!(code, ExitCode::FAILURE);
        assert!(text.contains("FAILED") && text.contains("wrong.yml:"), "{text}");
        let (text, code) = test(&good);
        assert_eq!(code, ExitCode::SUCCESS, "{text}");
        assert!(text.ends_with("1 passed, 0 failed\n"), "{text}");
        let (text, code) = test(&bad);
        assert_eq!(code, ExitCode::FAILURE);
        assert!(text.contains("NodeDown") && text.ends_with("0 passed, 1 failed\n"), "{text}");
    }
}
