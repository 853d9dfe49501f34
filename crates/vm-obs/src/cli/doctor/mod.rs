//! `vm-obs doctor`: the checks of `obs-exercise` over a folder, a server, or a folder's files
//! against a server's data.

mod canary;
mod deliver;
mod live;
mod record;
mod telemetry;
mod watch;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use obs_exercise::doctor::{Check, Report, World, apply, examine_noting, read_folder};
use obs_types::TimestampMs;

use super::args::ServerArgs;
use super::client::Client;
use super::out::Out;
pub(super) use live::world;
pub(super) use record::{Record, record};
pub(super) use telemetry::Remote;

/// Could not run.
const EXIT_FAILED: u8 = 2;

#[derive(Args, Clone, Debug)]
pub(crate) struct DoctorArgs {
    /// Folder with Prometheus, Grafana and Alertmanager files or a pack, instead of a server; with
    /// --url too, its files are held against what that server stores
    #[arg(value_name = "FOLDER")]
    folder: Option<PathBuf>,
    #[command(flatten)]
    server: ServerArgs,
    /// Write the report as JSON (docs/doctor.md)
    #[arg(long)]
    json: bool,
    /// Do the safe mends in the folder's files; each file is kept as FILE.bak
    #[arg(long, requires = "folder")]
    fix: bool,
    /// Send nothing to the server: leave the ingest canary out
    #[arg(long)]
    read_only: bool,
    /// Send a message marked [DRILL] to every real receiver, and one that it is over
    #[arg(long, conflicts_with = "read_only")]
    deliver: bool,
    /// Leave no receipt of this run on the server
    #[arg(long)]
    no_receipt: bool,
    /// Repeat, and store the outcome as doctor_* series on the server
    #[arg(long, conflicts_with = "fix")]
    watch: bool,
    /// How long --watch waits between runs
    #[arg(long, value_name = "DURATION", default_value = "5m", requires = "watch")]
    every: String,
    /// Address that --watch calls after each clean run, so that somebody outside notices silence
    #[arg(long, value_name = "URL", requires = "watch")]
    heartbeat: Option<String>,
}

/// Exit 0: nothing found; 1: findings; 2: could not run.
pub(crate) async fn run(args: &DoctorArgs, out: &mut Out) -> anyhow::Result<ExitCode> {
    let outcome = match args.watch {
        true => watch::run(args, out).await,
        false => once(args, out).await,
    };
    match outcome {
        Ok(true) => Ok(ExitCode::SUCCESS),
        Ok(false) => Ok(ExitCode::from(1)),
        Err(e) => {
            eprintln!("vm-obs: {e:#}");
            Ok(ExitCode::from(EXIT_FAILED))
        }
    }
}

async fn once(args: &DoctorArgs, out: &mut Out) -> anyhow::Result<bool> {
    let mut report = look(args).await?;
    if args.fix {
        let done = apply(&report.findings)?;
        for line in &done {
            eprintln!("fixed: {line}");
        }
        if !done.is_empty() {
            report = look(args).await?;
        }
    }
    write(args, &report, out)?;
    leave_receipt(args, &report, true).await;
    Ok(report.is_clean())
}

/// A run over a server, or over files and what a server stores, is on that server's record. A
/// report that says nothing but the counts is kept only where `whole` asks for it.
async fn leave_receipt(args: &DoctorArgs, report: &Report, whole: bool) {
    let no_server = args.folder.is_some() && args.server.url.is_none();
    if args.no_receipt || args.read_only || no_server {
        return;
    }
    let done = match Client::server(&args.server) {
        Ok(client) => {
            let subject = match &args.folder {
                Some(folder) => folder.display().to_string(),
                None => client.to_string(),
            };
            let count = report.findings.len();
            let outcome = format!("{count} finding{}", if count == 1 { "" } else { "s" });
            record(
                &client,
                "doctor",
                Record {
                    subject,
                    outcome,
                    summary: report.figures(),
                    report: (whole || !report.is_clean()).then(|| report.to_json()),
                    ..Record::default()
                },
            )
            .await
        }
        Err(e) => Err(e),
    };
    match done {
        Ok(line) if !args.json => eprintln!("vm-obs: {line}"),
        Ok(_) => {}
        Err(e) => eprintln!("vm-obs: no receipt of this run: {e:#}; --no-receipt asks for none"),
    }
}

fn write(args: &DoctorArgs, report: &Report, out: &mut Out) -> anyhow::Result<()> {
    if args.json {
        out.line(&format!("{:#}", report.to_json()))?;
    } else {
        for line in report.to_text().lines() {
            out.foreign_line(line)?;
        }
    }
    Ok(out.flush()?)
}

/// The report of one run over a server, canaries included.
pub(super) async fn report(server: &ServerArgs) -> anyhow::Result<Report> {
    let client = Client::server(server)?;
    let mut world = live::world(&client).await?;
    world.canaries = Some(canary::run(&client, world.now).await);
    live::restore(&client, &mut world).await;
    examine_with(world, Some(client)).await
}

/// One run.
async fn look(args: &DoctorArgs) -> anyhow::Result<Report> {
    let Some(folder) = args.folder.clone() else {
        let client = Client::server(&args.server)?;
        let mut world = live::world(&client).await?;
        if args.read_only {
            world.absent.insert("ingest", "--read-only".to_owned());
            world.absent.insert("restore", "--read-only".to_owned());
        } else {
            live::restore(&client, &mut world).await;
            world.canaries = Some(canary::run(&client, world.now).await);
        }
        deliver::run(args.deliver, &mut world).await;
        return examine_with(world, Some(client)).await;
    };
    let now = TimestampMs(jiff::Timestamp::now().as_millisecond());
    let mut world = read_folder(&folder, now)?;
    deliver::run(args.deliver, &mut world).await;
    if args.server.url.is_none() {
        return examine_with(world, None).await;
    }
    let client = Client::server(&args.server)?;
    // A plain Prometheus tells no time of its own.
    if let Ok(time) = live::server_time(&client).await {
        world.now = time;
    }
    world.targets = live::targets(&client).await.ok();
    examine_with(world, Some(client)).await
}

/// The checks over a server, without anything sent to it.
pub(crate) async fn examine_server(client: &Client) -> anyhow::Result<Report> {
    examine_server_noting(client, |_| {}).await
}

/// As [`examine_server`]; `begins` hears of each check before it runs.
pub(crate) async fn examine_server_noting(
    client: &Client,
    begins: impl FnMut(Check) + Send + 'static,
) -> anyhow::Result<Report> {
    let mut world = live::world(client).await?;
    deliver::run(false, &mut world).await;
    world.absent.insert("ingest", "read only".to_owned());
    world.absent.insert("restore", "read only".to_owned());
    examine_beside(world, Some(client.clone()), begins).await
}

pub(super) async fn examine_with(world: World, client: Option<Client>) -> anyhow::Result<Report> {
    examine_beside(world, client, |_| {}).await
}

/// The checks ask as they go, so they run beside the runtime.
async fn examine_beside(
    mut world: World,
    client: Option<Client>,
    mut begins: impl FnMut(Check) + Send + 'static,
) -> anyhow::Result<Report> {
    let handle = tokio::runtime::Handle::current();
    let task = tokio::task::spawn_blocking(move || {
        if let Some(client) = client {
            world.telemetry = Some(Box::new(Remote { client, handle }));
        }
        examine_noting(&world, &mut begins)
    });
    Ok(task.await?)
}
