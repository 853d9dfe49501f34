//! Runs test files in Prometheus' `.test` format: `load`, `clear` and `eval` steps over an
//! in-memory source.
//!
//! Every instant evaluation is repeated with `@` pinned at other evaluation times and as a range
//! query whose middle point must agree, as Prometheus' own runner does.

mod compare;
mod file;
pub mod range_bench;
mod series;
mod source;

use std::path::Path;

pub use series::{Item, parse_histogram, parse_metric, parse_series, parse_values};
pub use source::MemorySource;

use crate::functions::depends_on_time;
use crate::parser::ParserOptions;
use crate::{AtModifier, Engine, EngineOptions, Expr, ExprKind, QueryResult, Value, parse};
use compare::check;
use file::{Command, Eval};
use obs_types::{QueryContext, TimestampMs};

/// The outcome of a folder of test files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    pub passed: usize,
    pub total: usize,
    /// `file:line: reason`, in order.
    pub failures: Vec<String>,
}

/// The engine that the test files expect: everything experimental on.
pub fn test_engine() -> Engine {
    Engine::new(EngineOptions {
        samples_max: 10_000,
        delayed_name_removal: true,
        use_start_timestamps: true,
        parser: ParserOptions::all(),
        ..EngineOptions::default()
    })
}

/// Runs all `*.test` files of a folder in order of name. `Err` if it cannot be read.
pub fn run_dir(path: &Path) -> std::io::Result<Report> {
    let mut files: Vec<_> = std::fs::read_dir(path)?
        .filter_map(|e| e.ok().map(|e| e.path()))
        .filter(|p| p.extension().is_some_and(|e| e == "test"))
        .collect();
    files.sort();
    let mut report = Report::default();
    for file in files {
        let name = file.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        run_text(&name, &std::fs::read_to_string(&file)?, &mut report);
    }
    Ok(report)
}

/// Runs one file's text; `name` goes into the failures.
pub fn run_text(name: &str, text: &str, report: &mut Report) {
    let engine = test_engine();
    let mut source = MemorySource::default();
    let commands = match file::parse_file(text) {
        Ok(c) => c,
        Err((line, reason)) => {
            report.total += 1;
            report.failures.push(format!("{name}:{line}: {reason}"));
            return;
        }
    };
    for command in commands {
        match command {
            Command::Clear => source = MemorySource::default(),
            Command::Load(series) => {
                for s in series {
                    source.append(s);
                }
            }
            Command::Eval(eval) => {
                report.total += 1;
                match run_eval(&engine, &source, &eval) {
                    Ok(()) => report.passed += 1,
                    Err(reason) => {
                        report.failures.push(format!("{name}:{}: {reason}", eval.line));
                    }
                }
            }
        }
    }
}

fn run_eval(engine: &Engine, source: &MemorySource, eval: &Eval) -> Result<(), String> {
    let context = QueryContext::unlimited();
    if let Some((start, end, step)) = eval.range {
        let result =
            engine.range(source, &eval.expr, TimestampMs(start), TimestampMs(end), step, &context);
        return match result {
            Err(e) => eval.check_failure(&e.to_string()),
            Ok(_) if eval.fails() => Err("expected an error, got none".into()),
            Ok(r) => {
                eval.check_annotations(&r)?;
                check(eval, &r.value)
            }
        };
    }
    let mut runs = vec![(eval.expr.clone(), eval.at)];
    runs.extend(pinned(&eval.expr, eval.at));
    for (expr, at) in runs {
        run_instant(engine, source, eval, &expr, at, &context)
            .map_err(|e| format!("{expr} at {at}: {e}"))?;
    }
    Ok(())
}

fn run_instant(
    engine: &Engine,
    source: &MemorySource,
    eval: &Eval,
    expr: &str,
    at: i64,
    context: &QueryContext,
) -> Result<(), String> {
    let result: QueryResult = match engine.instant(source, expr, TimestampMs(at), context) {
        Err(e) => return eval.check_failure(&e.to_string()),
        Ok(_) if eval.fails() => return Err("expected an error, got none".into()),
        Ok(r) => r,
    };
    eval.check_annotations(&result)?;
    check(eval, &result.value)?;
    let context_functions =
        ["start()", "end()", "range()", "step()"].iter().any(|f| expr.contains(f));
    if eval.only_instant || context_functions {
        return Ok(());
    }
    let (start, end) = (TimestampMs(at - 60_000), TimestampMs(at + 60_000));
    let range = engine
        .range(source, expr, start, end, 60_000, context)
        .map_err(|e| format!("range mode: {e}"))?;
    if eval.ordered() {
        return Ok(());
    }
    let Value::Matrix(matrix) = range.value else {
        return Err("range mode: not a matrix".into());
    };
    let scalar = matches!(result.value, Value::Scalar { .. });
    let middle = compare::column(&matrix, at, scalar)?;
    check(eval, &middle).map_err(|e| format!("range mode: {e}"))
}

/// The query with every selector pinned at its time, and other times to run it at.
fn pinned(text: &str, at: i64) -> Vec<(String, i64)> {
    fn pin(e: &mut Expr, at: i64) {
        let slot = match &mut e.kind {
            ExprKind::Vector(v) => &mut v.at,
            ExprKind::Matrix(m) => &mut m.selector.at,
            ExprKind::Subquery(s) => {
                // What is inside an already pinned subquery follows it.
                if !matches!(s.at, Some(AtModifier::Timestamp(_))) {
                    s.at = Some(AtModifier::Timestamp(at));
                }
                return;
            }
            _ => {
                e.children_mut().into_iter().for_each(|c| pin(c, at));
                return;
            }
        };
        if !matches!(slot, Some(AtModifier::Timestamp(_))) {
            *slot = Some(AtModifier::Timestamp(at));
        }
    }
    fn varies(e: &Expr) -> bool {
        if let ExprKind::Subquery(_) = e.kind {
            return false;
        }
        matches!(&e.kind, ExprKind::Call(c) if depends_on_time(c.func.name))
            || e.children().into_iter().any(varies)
    }
    let Ok(mut expr) = parse(text, &ParserOptions::all()) else { return Vec::new() };
    if varies(&expr) {
        return Vec::new();
    }
    pin(&mut expr, at);
    let text = expr.to_string();
    let times = if at == 0 { vec![-1000, 0, 1000] } else { vec![-10 * at, 0, at / 5, at, 10 * at] };
    times.into_iter().map(|t| (text.clone(), t)).collect()
}
