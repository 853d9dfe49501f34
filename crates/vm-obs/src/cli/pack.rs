//! `vm-obs pack …`

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use obs_rules::RuleKind;
use serde_json::{Value, json};

use super::args::{AskServer, Format, FormatArgs};
use super::client::{Client, Parameters};
use super::human;
use super::out::Out;
use super::rules;
use super::table::Table;
use crate::packs::{self, Files, Pack};

#[derive(Debug, Subcommand)]
pub(crate) enum PackCommand {
    /// Packs of this binary, those installed, and which of them the server runs with
    List(ListArgs),
    /// What a pack holds: metrics, rules, objectives, dashboards
    Show(ShowArgs),
    /// Copy the pack of a folder into a data folder; refused as a whole if it has a mistake
    Install(InstallArgs),
    /// Find mistakes: files, names of metrics, alerts without test or runbook
    Check(CheckArgs),
    /// Write a new pack that passes check and test
    New(NewArgs),
    /// Run the unit tests of a pack's rules
    Test(TestArgs),
}

#[derive(Args, Debug)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    status: AskServer,
    #[command(flatten)]
    place: PlaceArgs,
}

#[derive(Args, Debug)]
pub(crate) struct ShowArgs {
    #[command(flatten)]
    target: TargetArgs,
    #[command(flatten)]
    format: FormatArgs,
}

#[derive(Args, Debug)]
pub(crate) struct CheckArgs {
    #[command(flatten)]
    target: TargetArgs,
    #[command(flatten)]
    format: FormatArgs,
}

#[derive(Args, Debug)]
pub(crate) struct TestArgs {
    #[command(flatten)]
    target: TargetArgs,
    /// Only tests whose name contains this
    #[arg(long, value_name = "TEXT")]
    run: Option<String>,
}

#[derive(Args, Debug)]
pub(crate) struct InstallArgs {
    /// Folder of the pack; its name is the pack's
    folder: PathBuf,
    #[command(flatten)]
    place: PlaceArgs,
}

#[derive(Args, Debug)]
pub(crate) struct NewArgs {
    /// Lowercase letters, digits and '-'
    name: String,
    /// Where its folder is made
    #[arg(long, value_name = "DIR", default_value = ".")]
    dir: PathBuf,
}

/// Which pack is meant.
#[derive(Args, Debug)]
struct TargetArgs {
    /// Folder of a pack, or name of one that is installed or in the binary
    #[arg(value_name = "NAME|FOLDER")]
    pack: String,
    #[command(flatten)]
    place: PlaceArgs,
}

#[derive(Args, Debug)]
struct PlaceArgs {
    /// Data folder in which packs are installed
    #[arg(long, value_name = "DIR", default_value = "data")]
    data: PathBuf,
}

impl PlaceArgs {
    fn folders(&self) -> Vec<PathBuf> {
        vec![packs::folder_in(&self.data)]
    }

    /// Names of the packs that are installed, sorted; what is being installed is none yet.
    fn installed(&self) -> Vec<String> {
        let entries = std::fs::read_dir(packs::folder_in(&self.data)).into_iter().flatten();
        let mut names: Vec<String> = entries
            .flatten()
            .filter(|e| e.path().join("pack.yaml").exists())
            .map(|e| e.file_name().to_string_lossy().into_owned())
            .filter(|name| !name.starts_with('.'))
            .collect();
        names.sort();
        names
    }
}

/// A pack found by [`TargetArgs`].
struct Target {
    name: String,
    files: Files,
    /// Where packs that it requires are looked for.
    folders: Vec<PathBuf>,
}

impl TargetArgs {
    fn find(&self) -> anyhow::Result<Target> {
        let mut folders = self.place.folders();
        let folder = Path::new(&self.pack);
        if !self.pack.contains(['/', '\\']) && !folder.join("pack.yaml").exists() {
            let files = packs::files_of(&self.pack, &folders)?;
            return Ok(Target { name: self.pack.clone(), files, folders });
        }
        if !folder.is_dir() {
            bail!("{} is no folder", folder.display());
        }
        let folder = std::fs::canonicalize(folder).with_context(|| folder.display().to_string())?;
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        // Packs that are developed together lie side by side.
        folders.extend(folder.parent().map(Path::to_owned));
        Ok(Target { name, files: packs::folder_files(&folder)?, folders })
    }
}

/// Exit 1 if `check` finds a mistake or a test fails.
pub(crate) async fn run(command: PackCommand, out: &mut Out) -> anyhow::Result<ExitCode> {
    match command {
        PackCommand::List(args) => list(&args, out).await?,
        PackCommand::Show(args) => show(&args, out)?,
        PackCommand::Check(args) => return check(&args, out),
        PackCommand::Test(args) => return test(args, out),
        PackCommand::Install(args) => {
            let (name, replaced) = packs::install(&args.folder, &args.place.data)?;
            let what = if replaced { "replaced" } else { "installed" };
            out.line(&format!("{name} {what}; `vm-obs serve --pack {name}` runs with it"))?;
        }
        PackCommand::New(args) => {
            let folder = packs::write_new(&args.name, &args.dir)?;
            out.line(&format!("{} written", folder.display()))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn list(args: &ListArgs, out: &mut Out) -> anyhow::Result<()> {
    let client = Client::server(&args.status.server)?;
    // The binary knows its packs without a server; what a server runs with is extra.
    let health = client.get("/obs/health", &Parameters::new()).await.ok().map(|a| a.json);
    let running: Option<Vec<&str>> =
        health.as_ref().map(|h| human::list(h, "packs").iter().filter_map(Value::as_str).collect());
    let mut known = packs::shipped();
    let installed = args.place.installed();
    known.extend(installed.iter().filter(|n| !packs::shipped().contains(n)).cloned());
    let mut listed = Vec::new();
    for name in &known {
        let active = running.as_ref().map(|r| r.contains(&name.as_str()));
        let from = if installed.contains(name) { "data folder" } else { "binary" };
        listed.push(match Pack::load(name, &args.place.folders()) {
            Ok(pack) => {
                let groups = pack.rules.iter().flat_map(|f| &f.groups);
                json!({
                    "name": name,
                    "version": pack.manifest.version,
                    "description": pack.manifest.description,
                    "from": from,
                    "rules": groups.map(|g| g.rules.len()).sum::<usize>(),
                    "slos": pack.slos.len(),
                    "dashboards": pack.dashboards.len(),
                    "active": active,
                })
            }
            Err(e) => json!({
                "name": name, "description": format!("{e:#}"), "from": from, "active": active,
            }),
        });
    }
    for name in running.iter().flatten().filter(|n| !known.iter().any(|s| s == *n)) {
        listed.push(json!({"name": name, "description": "from the packs folder", "active": true}));
    }
    let format = args.status.format.format;
    if format == Format::Json {
        return Ok(out.line(&json!({"packs": listed}).to_string())?);
    }
    let mut table =
        Table::new(&["pack", "version", "active", ">rules", ">slos", ">dashboards", "description"]);
    for pack in &listed {
        let active = match pack.get("active").and_then(Value::as_bool) {
            Some(true) => "yes",
            Some(false) => "no",
            None => "no server",
        };
        table.row([
            human::text(pack, "name").to_owned(),
            human::text(pack, "version").to_owned(),
            active.to_owned(),
            human::cell(pack.get("rules")),
            human::cell(pack.get("slos")),
            human::cell(pack.get("dashboards")),
            human::text(pack, "description").to_owned(),
        ]);
    }
    Ok(table.write(format, "no packs", out)?)
}

/// Kind, name and what it is, of everything in a pack.
fn contents(pack: &Pack) -> Vec<[String; 3]> {
    let mut rows = Vec::new();
    let mut row = |kind: &str, name: &str, what: String| {
        rows.push([kind.to_owned(), name.to_owned(), what]);
    };
    for job in &pack.jobs {
        let targets = job.static_targets.iter().flat_map(|g| &g.targets);
        row("scrape job", &job.name, targets.cloned().collect::<Vec<_>>().join(", "));
    }
    for metric in &pack.metrics {
        let mut what = metric.kind.as_str().to_owned();
        if !metric.unit.is_empty() {
            what.push_str(&format!(", {}", metric.unit));
        }
        if !metric.labels.is_empty() {
            what.push_str(&format!(", by {}", metric.labels.join(", ")));
        }
        what.push_str(&format!(": {}", metric.help));
        if !metric.source.is_empty() {
            what.push_str(&format!(" ({})", metric.source));
        }
        row("metric", &metric.name, what);
    }
    for rule in pack.rules.iter().flat_map(|f| &f.groups).flat_map(|g| &g.rules) {
        let kind = match &rule.kind {
            RuleKind::Alert(_) => "alert",
            RuleKind::Record { .. } => "recorded",
        };
        let shown = rule.shown_expression();
        row(kind, rule.name(), shown.split_whitespace().collect::<Vec<_>>().join(" "));
    }
    for slo in &pack.slos {
        row("objective", &slo.id, format!("{} %: {}", slo.target * 100.0, slo.description));
    }
    for board in &pack.dashboards {
        row(
            "dashboard",
            &board.uid,
            format!("{}, {} panels", board.title, board.all_panels().len()),
        );
    }
    for watch in &pack.watches {
        row("watched", &watch.metric, watch.query.clone());
    }
    rows
}

fn show(args: &ShowArgs, out: &mut Out) -> anyhow::Result<()> {
    let target = args.target.find()?;
    let pack = Pack::parse(&target.name, &target.files)?;
    let rows = contents(&pack);
    if args.format.format == Format::Json {
        let contents: Vec<Value> = rows
            .iter()
            .map(|[kind, name, what]| json!({"kind": kind, "name": name, "what": what}))
            .collect();
        let json = json!({
            "name": pack.manifest.name,
            "version": pack.manifest.version,
            "description": pack.manifest.description,
            "requires": pack.manifest.requires,
            "contents": contents,
        });
        return Ok(out.line(&json.to_string())?);
    }
    if args.format.format == Format::Table {
        let manifest = &pack.manifest;
        let head = format!("{} {}: {}", manifest.name, manifest.version, manifest.description);
        out.foreign_line(&head)?;
        if !manifest.requires.is_empty() {
            out.foreign_line(&format!("requires {}", manifest.requires.join(", ")))?;
        }
    }
    let mut table = Table::new(&["kind", "name", "what"]);
    rows.into_iter().for_each(|row| table.row(row));
    Ok(table.write(args.format.format, "an empty pack", out)?)
}

fn check(args: &CheckArgs, out: &mut Out) -> anyhow::Result<ExitCode> {
    let target = args.target.find()?;
    let findings = packs::check(&target.name, &target.files, &target.folders);
    if args.format.format == Format::Json {
        let list: Vec<Value> = findings
            .iter()
            .map(|f| json!({"file": f.file, "line": f.line, "message": f.message}))
            .collect();
        out.line(&json!({"pack": target.name, "findings": list}).to_string())?;
    } else {
        for finding in &findings {
            out.foreign_line(&finding.to_string())?;
        }
        match findings.len() {
            0 => out.line(&format!("pack {}: no mistakes found", target.name))?,
            count => out.line(&format!("pack {}: {count} mistakes", target.name))?,
        }
    }
    Ok(if findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn test(args: TestArgs, out: &mut Out) -> anyhow::Result<ExitCode> {
    let target = args.target.find()?;
    let report = packs::run_tests(&target.name, &target.files, args.run)?;
    rules::write_report(&report, out)?;
    if report.files.is_empty() {
        out.line(&format!("pack {} has no unit tests", target.name))?;
    }
    Ok(if report.passed() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
