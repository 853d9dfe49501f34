//! `vm-obs storage`: where sealed files lie, what retention does, backup and restore.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use clap::{Args, Subcommand};
use obs_disk::{Clock, DataLock, Disk, RealDisk, SystemClock};
use obs_ledger::LedgerMode;
use obs_ops::storage::{Catalog, StorageStatus, backup, backups, probe, restore};
use serde_json::{Value, json};

use super::args::{AskSource, Format, FormatArgs, SourceArgs};
use super::client::{Client, Parameters};
use super::folder::HeldFolder;
use super::out::Out;
use super::table::Table;
use super::{human, offline, rebuild, redact, verify};
use crate::config::Config;
use crate::serve::{done_json, hot_rows, retention_rules, rules_json, steps_json};
use crate::storage::open_address;

#[derive(Debug, Subcommand)]
pub(crate) enum StorageCommand {
    /// Tiers: which signal has how many bytes and hours where
    Status(AskSource),
    /// What retention would move and delete, and why; does it with --yes
    Cleanup(CleanupArgs),
    /// Back a data folder up: of a running server to its storage.backup, of a folder to --to
    Backup(BackupArgs),
    /// Backups in a store, oldest first
    Backups {
        /// Store: a folder, file:///FOLDER or s3://BUCKET/PREFIX
        from: String,
    },
    /// Restore a backup into an empty folder
    Restore(RestoreArgs),
    /// Make engines anew from sealed hours, where their own files are lost or damaged
    Rebuild(rebuild::RebuildArgs),
    /// Remove the content of sealed lines or spans, on record; all other proofs go on to hold
    Redact(redact::RedactArgs),
    /// Write old sealed hours in fewer bytes, on record; all proofs go on to hold
    Compact(redact::CompactArgs),
    /// Restore the newest backup into a scratch folder, verify it, and remove it again
    Probe {
        /// Store: a folder, file:///FOLDER or s3://BUCKET/PREFIX
        from: String,
        /// Folder with room for it
        #[arg(long, value_name = "DIR", default_value = ".")]
        scratch: PathBuf,
    },
    /// Verify a data folder with the files in its cold store; exit codes as `vm-obs verify`
    Verify {
        /// Data folder
        #[arg(long, value_name = "DIR", default_value = "data")]
        data: PathBuf,
        /// More options of `vm-obs verify`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGS")]
        args: Vec<String>,
    },
}

#[derive(Args, Debug)]
pub(crate) struct CleanupArgs {
    /// Move and delete, with receipts
    #[arg(long)]
    yes: bool,
    /// Policy for --data; ENGINE's standard without it
    #[arg(long, value_name = "FILE", requires = "data")]
    config: Option<PathBuf>,
    #[command(flatten)]
    format: FormatArgs,
    #[command(flatten)]
    source: SourceArgs,
}

#[derive(Args, Debug)]
pub(crate) struct BackupArgs {
    /// Store for --data: a folder, file:///FOLDER or s3://BUCKET/PREFIX
    #[arg(long, value_name = "STORE", requires = "data")]
    to: Option<String>,
    #[command(flatten)]
    format: FormatArgs,
    #[command(flatten)]
    source: SourceArgs,
}

#[derive(Args, Debug)]
pub(crate) struct RestoreArgs {
    /// Store: a folder, file:///FOLDER or s3://BUCKET/PREFIX
    #[arg(long, value_name = "STORE")]
    from: String,
    /// Which backup [default: the newest]
    #[arg(long, value_name = "ID")]
    id: Option<String>,
    /// Trusted log key; those in the backup are used without it
    #[arg(long, value_name = "VKEY")]
    log_key: Vec<String>,
    /// Folder that does not exist, or is empty
    target: PathBuf,
}

pub(crate) async fn run(command: StorageCommand, out: &mut Out) -> anyhow::Result<ExitCode> {
    match command {
        StorageCommand::Status(args) => status(&args, out).await?,
        StorageCommand::Cleanup(args) => cleanup(&args, out).await?,
        StorageCommand::Backup(args) => take_backup(&args, out).await?,
        StorageCommand::Backups { from } => {
            for id in backups(open_address(&from)?.as_ref())? {
                out.line(&id)?;
            }
        }
        StorageCommand::Restore(args) => put_back(&args, out)?,
        StorageCommand::Rebuild(args) => rebuild::run(&args, out)?,
        StorageCommand::Redact(args) => redact::redact(&args, out)?,
        StorageCommand::Compact(args) => redact::compact(&args, out)?,
        StorageCommand::Probe { from, scratch } => {
            let found = probe(open_address(&from)?.as_ref(), &std::path::absolute(scratch)?)?;
            out.line(&format!(
                "backup {} of {} can be restored: {} files, {}, {} receipts verified",
                found.id,
                found.created,
                found.files,
                human::bytes(found.bytes as f64),
                found.receipts
            ))?;
        }
        StorageCommand::Verify { data, args } => {
            let data = data.display().to_string();
            return verify::run_tiered([vec![data], args].concat(), out);
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn status(args: &AskSource, out: &mut Out) -> anyhow::Result<()> {
    let json = match &args.source.data {
        Some(dir) => folder_status(dir)?,
        None => {
            let client = Client::server(&args.source.server)?;
            client.get("/obs/storage", &Parameters::new()).await?.json
        }
    };
    let format = args.format.format;
    if format == Format::Json {
        return Ok(out.line(&json.to_string())?);
    }
    let mut table =
        Table::new(&["tier", "signal", "kept", ">files", ">bytes", ">hours", "oldest", "newest"]);
    for row in human::list(&json, "tiers") {
        let number = |name: &str| human::number(row.get(name)).unwrap_or(0.0);
        let text = |name: &str| human::text(row, name).to_owned();
        let count = |name: &str| match (text("tier").as_str(), number(name)) {
            ("hot", _) => String::new(),
            (_, n) => human::plain(n),
        };
        table.row([
            text("tier"),
            text("signal"),
            text("kept"),
            count("files"),
            human::bytes(number("bytes")),
            count("hours"),
            text("oldest"),
            text("newest"),
        ]);
    }
    table.write(format, "nothing is stored", out)?;
    if format == Format::Table {
        out.line("")?;
        for (name, text) in [
            ("cold store", human::text(&json, "cold_store").to_owned()),
            ("deleted by policy", human::cell(json.get("deleted_files"))),
            ("free on disk", human::bytes(human::number(json.get("free_bytes")).unwrap_or(0.0))),
            ("room", human::text(&json, "watermark").to_owned()),
            ("last error", human::text(&json, "last_error").to_owned()),
        ] {
            if !text.is_empty() {
                out.line(&format!("{name:<18} {text}"))?;
            }
        }
    }
    if format == Format::Table {
        for rule in human::list(&json, "metric_retention") {
            let selectors = human::list(rule, "match").iter().filter_map(|s| s.as_str());
            let selectors = selectors.collect::<Vec<_>>().join(" or ");
            let (keep, since) = (human::text(rule, "keep"), human::text(rule, "shown_since"));
            out.line(&format!("metrics retention  {selectors}: {keep}, shown since {since}"))?;
        }
    }
    Ok(())
}

fn folder_status(dir: &Path) -> anyhow::Result<Value> {
    let data = std::fs::canonicalize(dir)
        .with_context(|| format!("there is no data folder {}", dir.display()))?;
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let ledger = offline::open_ledger(&data, &disk, &clock, LedgerMode::ReadOnly)?;
    let catalog = Catalog::read(&ledger)?;
    let mut rows = hot_rows(&data, disk.as_ref(), None);
    rows.extend(StorageStatus::rows_of(&catalog));
    let status = StorageStatus {
        rows,
        deleted_files: catalog.deleted_count(),
        store: catalog.stores().pop(),
        free_bytes: disk.free_bytes(&data).ok(),
        total_bytes: disk.total_bytes(&data).ok(),
        ..StorageStatus::default()
    };
    let mut json = status.to_json();
    json["metric_retention"] = rules_json(&retention_rules(&data)?, clock.now());
    Ok(json)
}

async fn cleanup(args: &CleanupArgs, out: &mut Out) -> anyhow::Result<()> {
    let json = match &args.source.data {
        Some(dir) => folder_cleanup(dir, args)?,
        None => {
            let client = Client::server(&args.source.server)?;
            match args.yes {
                true => client.post("/obs/storage/cleanup", &json!({})).await?.json,
                false => client.get("/obs/storage/plan", &Parameters::new()).await?.json,
            }
        }
    };
    let format = args.format.format;
    if format == Format::Json {
        return Ok(out.line(&json.to_string())?);
    }
    let mut table = Table::new(&["action", "file", "why"]);
    let mut row = |action: &str, file: &Value, why: &str| {
        let file = file.as_str().unwrap_or_default().to_owned();
        table.row([action.to_owned(), file, why.to_owned()]);
    };
    for step in human::list(&json, "steps") {
        for file in human::list(step, "files") {
            row(human::text(step, "action"), file, human::text(step, "why"));
        }
    }
    for (name, action) in [("moved", "moved"), ("kept", "errors kept in"), ("deleted", "deleted")] {
        for file in human::list(&json, name) {
            row(action, file, "");
        }
    }
    let files =
        human::list(&json, "steps").iter().map(|s| human::list(s, "files").len()).sum::<usize>();
    table.write(format, "nothing is due", out)?;
    if !args.yes && files > 0 && format == Format::Table {
        out.line(&format!("\n{files} files; nothing was changed, --yes does it"))?;
    }
    Ok(())
}

fn folder_cleanup(dir: &Path, args: &CleanupArgs) -> anyhow::Result<Value> {
    let config = match &args.config {
        Some(file) => Config::load(file)?,
        None => Config::standard()?,
    };
    let data = std::fs::canonicalize(dir)
        .with_context(|| format!("there is no data folder {}", dir.display()))?;
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    if !args.yes {
        let ledger = offline::open_ledger(&data, &disk, &clock, LedgerMode::ReadOnly)?;
        let catalog = Catalog::read(&ledger)?;
        let has_cold = config.storage.cold.is_some();
        return Ok(steps_json(&catalog.plan(clock.now(), &config.storage.policy, has_cold)));
    }
    let folder = HeldFolder::open(&data, &config, clock)?;
    let service = folder.storage(&config)?;
    let done = done_json(&service, folder.clock.as_ref())?;
    folder.ledger.shutdown()?;
    Ok(done)
}

async fn take_backup(args: &BackupArgs, out: &mut Out) -> anyhow::Result<()> {
    let json = match &args.source.data {
        Some(dir) => {
            let to = args.to.as_deref().context("--to names the store of the backup")?;
            folder_backup(dir, to)?
        }
        None => {
            let client = Client::server(&args.source.server)?;
            client.post("/obs/storage/backup", &json!({})).await?.json
        }
    };
    if args.format.format == Format::Json {
        return Ok(out.line(&json.to_string())?);
    }
    let number = |name: &str| human::number(json.get(name)).unwrap_or(0.0);
    Ok(out.line(&format!(
        "backup {} in {}: {} files, {}; {} of them new, {}",
        human::text(&json, "id"),
        human::text(&json, "to"),
        human::plain(number("files")),
        human::bytes(number("bytes")),
        human::plain(number("new_files")),
        human::bytes(number("new_bytes")),
    ))?)
}

fn folder_backup(dir: &Path, to: &str) -> anyhow::Result<Value> {
    let data = std::fs::canonicalize(dir)
        .with_context(|| format!("there is no data folder {}", dir.display()))?;
    let _lock = DataLock::acquire(&data)
        .context("a server runs on the folder; it makes the backup itself: use --url")?;
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let ledger = offline::open_ledger(&data, &disk, &clock, LedgerMode::ReadOnly)?;
    let catalog = Catalog::read(&ledger)?;
    let store = open_address(to)?;
    let report = backup(&data, disk.as_ref(), &catalog, store.as_ref(), clock.now())?;
    Ok(json!({
        "id": report.id, "to": store.address(), "files": report.files, "bytes": report.bytes,
        "new_files": report.new_files, "new_bytes": report.new_bytes,
    }))
}

fn put_back(args: &RestoreArgs, out: &mut Out) -> anyhow::Result<()> {
    let keys = args
        .log_key
        .iter()
        .map(|k| obs_proof::note::VerifierKey::parse(k).with_context(|| format!("--log-key {k}")))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let store = open_address(&args.from)?;
    let target = std::path::absolute(&args.target)?;
    let report = restore(store.as_ref(), args.id.as_deref(), &target, keys)?;
    out.line(&format!(
        "backup {} restored into {}: {} files, {}",
        report.id,
        args.target.display(),
        report.files,
        human::bytes(report.bytes as f64)
    ))?;
    out.line(report.verified.to_string().trim_end())?;
    Ok(out.line(
        "If the original went on after this backup, do not start both: their ledgers would part.",
    )?)
}
