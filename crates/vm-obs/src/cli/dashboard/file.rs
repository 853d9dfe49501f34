//! Dashboards as files: checking, importing into a server or a data folder.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, bail};
use clap::Args;
use obs_dash::{Dashboard, Linted, Severity, SourceTypes, lint};
use obs_disk::{Clock, DataLock, Disk, RealDisk, SystemClock};
use obs_ledger::LedgerMode;
use obs_ops::{DASHBOARD_BYTES_MAX, DashboardService, DayIds, SaveError, SaveRequest};
use serde_json::{Value, json};

use crate::cli::args::SourceArgs;
use crate::cli::client::{Client, encoded};
use crate::cli::out::Out;
use crate::cli::{human, offline};
use crate::serve::query_checker;

#[derive(Args, Debug)]
pub(crate) struct CheckArgs {
    /// Dashboard files of any generation of Grafana, or folders of them
    #[arg(required = true, value_name = "FILE|FOLDER")]
    files: Vec<PathBuf>,
    /// All problems as JSON
    #[arg(long)]
    json: bool,
    /// Warnings fail too
    #[arg(long)]
    strict: bool,
}

#[derive(Args, Debug)]
pub(crate) struct ImportArgs {
    /// Dashboard files of any generation of Grafana, or folders of them; all of them or none
    #[arg(required = true, value_name = "FILE|FOLDER")]
    files: Vec<PathBuf>,
    /// Save under this uid instead of the file's
    #[arg(long)]
    uid: Option<String>,
    /// Why, for the list of versions and the receipt
    #[arg(long, short, default_value = "")]
    message: String,
    /// Who imports
    #[arg(long, default_value = "did:vm:user:sovereign")]
    by: String,
    /// Replace a running dashboard even by one with errors that it has not
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    source: SourceArgs,
}

struct Read {
    path: PathBuf,
    text: String,
    linted: Linted,
}

/// The files themselves, and those ending in `.json` of a folder, sorted.
fn read_all(given: &[PathBuf]) -> anyhow::Result<Vec<Read>> {
    let mut paths = Vec::new();
    for path in given {
        if !path.is_dir() {
            paths.push(path.clone());
            continue;
        }
        let entries = std::fs::read_dir(path).with_context(|| path.display().to_string())?;
        let mut inside: Vec<PathBuf> = entries.flatten().map(|e| e.path()).collect();
        inside.retain(|p| p.extension().is_some_and(|e| e == "json"));
        if inside.is_empty() {
            bail!("{} holds no .json file", path.display());
        }
        inside.sort();
        paths.extend(inside);
    }
    let check = query_checker();
    paths
        .into_iter()
        .map(|path| {
            let text = read(&path)?;
            let linted = lint(&text, &SourceTypes::new(), &|l, e| check(l, e));
            Ok(Read { path, text, linted })
        })
        .collect()
}

fn read(path: &Path) -> anyhow::Result<String> {
    let shown = || format!("cannot read {}", path.display());
    let len = std::fs::metadata(path).with_context(shown)?.len();
    if len > DASHBOARD_BYTES_MAX as u64 {
        bail!("{} has {len} bytes; at most {DASHBOARD_BYTES_MAX} are read", path.display());
    }
    std::fs::read_to_string(path).with_context(shown)
}

/// Exit 1 if a file has an error.
pub(super) fn check(args: &CheckArgs, out: &mut Out) -> anyhow::Result<ExitCode> {
    let files = read_all(&args.files)?;
    let least = if args.strict { Severity::Warning } else { Severity::Error };
    let bad = |r: &Read| r.linted.problems.iter().any(|p| p.severity >= least);
    if args.json {
        let all: Vec<Value> = files
            .iter()
            .map(|r| {
                let problems: Vec<Value> = r.linted.problems.iter().map(|p| p.to_json()).collect();
                let board = r.linted.imported.as_ref().map(|i| &i.dashboard);
                json!({
                    "file": r.path.display().to_string(), "ok": !bad(r),
                    "title": board.map(|d| d.title.clone()),
                    "panels": board.map(|d| d.all_panels().len()), "problems": problems,
                })
            })
            .collect();
        out.line(&format!("{:#}", json!({"files": all})))?;
    } else {
        for r in &files {
            describe(r, out)?;
        }
    }
    Ok(if files.iter().any(bad) { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn describe(r: &Read, out: &mut Out) -> anyhow::Result<()> {
    for p in &r.linted.problems {
        let place = if p.path.is_empty() { String::new() } else { format!("{}: ", p.path) };
        let severity = p.severity.as_str();
        let at = format!("{}:{}", r.path.display(), p.line);
        out.foreign_line(&format!("{at}: {severity}: {place}{} [{}]", p.message, p.code))?;
        out.foreign_line(&format!("    expected: {}", p.expected))?;
    }
    let count = |s: Severity| r.linted.problems.iter().filter(|p| p.severity == s).count();
    let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
    let what = match &r.linted.imported {
        Some(i) => format!("{} panels", i.dashboard.all_panels().len()),
        None => "cannot be read".to_owned(),
    };
    let line = format!("{}: {what}, {errors} errors, {warnings} warnings", r.path.display());
    Ok(out.foreign_line(&line)?)
}

/// All files or none: each is checked before the first is saved. Exit 1 if one is refused.
pub(super) async fn import(args: &ImportArgs, out: &mut Out) -> anyhow::Result<ExitCode> {
    let files = read_all(&args.files)?;
    if args.uid.is_some() && files.len() > 1 {
        bail!("--uid names one dashboard; {} files are given", files.len());
    }
    let mut refused = false;
    for r in files.iter().filter(|r| r.linted.is_fatal()) {
        describe(r, out)?;
        refused = true;
    }
    if refused {
        out.line("nothing was imported")?;
        return Ok(ExitCode::FAILURE);
    }
    match &args.source.data {
        Some(data) => into_folder(args, data, &files, out),
        None => into_server(args, &files, out).await,
    }
}

fn notes(r: &Read) -> String {
    let errors = r.linted.problems.iter().filter(|p| p.severity == Severity::Error).count();
    match errors {
        0 => String::new(),
        n => format!("; {n} errors remain, see `vm-obs dashboard check {}`", r.path.display()),
    }
}

async fn into_server(args: &ImportArgs, files: &[Read], out: &mut Out) -> anyhow::Result<ExitCode> {
    let client = Client::server(&args.source.server)?;
    for r in files {
        let uid = args.uid.as_deref().unwrap_or_default();
        let path = format!(
            "/obs/dashboards?message={}&by={}&force={}&uid={}",
            encoded(&args.message),
            encoded(&args.by),
            args.force,
            encoded(uid)
        );
        let answer = client.post_text(&path, r.text.clone()).await;
        let answer = answer.with_context(|| r.path.display().to_string())?.json;
        let (id, base) = (human::text(&answer, "id"), client.base().unwrap_or_default());
        let receipt = match answer.get("receipt_seq").and_then(Value::as_u64) {
            Some(seq) => format!("receipt {seq}"),
            None => "unchanged".to_owned(),
        };
        let version = human::cell(answer.get("version"));
        out.foreign_line(&format!(
            "{}: {id} version {version}, {receipt}, {base}/dashboards/{id}{}",
            r.path.display(),
            notes(r)
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Into a data folder that no server runs on.
fn into_folder(
    args: &ImportArgs,
    data: &Path,
    files: &[Read],
    out: &mut Out,
) -> anyhow::Result<ExitCode> {
    let data = std::fs::canonicalize(data)
        .with_context(|| format!("there is no data folder {}", data.display()))?;
    let _lock = DataLock::acquire(&data)?;
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let ledger = Arc::new(offline::open_ledger(&data, &disk, &clock, LedgerMode::ReadWrite)?);
    let operations = Arc::new(DayIds::from_ledger(&ledger, "obs-op-", "operation_id")?);
    let service = DashboardService::open(
        &data,
        disk,
        Arc::clone(&ledger),
        operations,
        query_checker(),
        Vec::new(),
    )?;
    for r in files {
        let request = SaveRequest {
            text: r.text.clone(),
            uid: args.uid.clone().unwrap_or_default(),
            by: args.by.clone(),
            message: args.message.clone(),
            based_on: None,
            force: args.force,
        };
        let saved = match service.save(&request, clock.now()) {
            Ok(saved) => saved,
            Err(SaveError::Problems(problems)) => {
                let imported = r.linted.imported.clone();
                let linted = Linted { imported, problems };
                describe(&Read { path: r.path.clone(), text: String::new(), linted }, out)?;
                out.line("not imported: the one that runs has none of these errors")?;
                return Ok(ExitCode::FAILURE);
            }
            Err(SaveError::Other(e)) => {
                return Err(e).with_context(|| r.path.display().to_string());
            }
        };
        let receipt = saved.receipt.map_or("unchanged".to_owned(), |seq| format!("receipt {seq}"));
        out.foreign_line(&format!(
            "{}: {} version {}, {receipt}{}",
            r.path.display(),
            saved.uid,
            saved.version,
            notes(r)
        ))?;
    }
    ledger.shutdown()?;
    Ok(ExitCode::SUCCESS)
}

/// A file in another generation.
pub(super) fn converted(path: &Path, schema: &str) -> anyhow::Result<Value> {
    let text = read(path)?;
    let dashboard = Dashboard::import(&text).with_context(|| path.display().to_string())?.dashboard;
    Ok(match schema {
        "v2" => dashboard.to_grafana_v2(),
        "view" => dashboard.to_view(),
        _ => dashboard.to_grafana(),
    })
}
