//! `vm-obs doctor`: the checks of `obs-exercise` over a folder, a server, or a folder's files
//! against a server's data.

mod canary;
mod live;
mod telemetry;
mod watch;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use obs_exercise::doctor::{Report, World, apply, examine, read_folder};
use obs_types::TimestampMs;

use super::args::ServerArgs;
use super::client::Client;
use super::out::Out;
use telemetry::Remote;

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
    Ok(report.is_clean())
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

/// One run.
async fn look(args: &DoctorArgs) -> anyhow::Result<Report> {
    let Some(folder) = args.folder.clone() else {
        let client = Client::server(&args.server)?;
        let mut world = live::world(&client).await?;
        if args.read_only {
            world.absent.insert("ingest", "--read-only".to_owned());
        } else {
            world.canaries = Some(canary::run(&client, world.now).await);
        }
        return examine_with(world, Some(client)).await;
    };
    let now = TimestampMs(jiff::Timestamp::now().as_millisecond());
    let mut world = read_folder(&folder, now)?;
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
    let mut world = live::world(client).await?;
    world.absent.insert("ingest", "read only".to_owned());
    examine_with(world, Some(client.clone())).await
}

/// The checks ask as they go, so they run beside the runtime.
async fn examine_with(mut world: World, client: Option<Client>) -> anyhow::Result<Report> {
    let handle = tokio::runtime::Handle::current();
    let task = tokio::task::spawn_blocking(move || {
        if let Some(client) = client {
            world.telemetry = Some(Box::new(Remote { client, handle }));
        }
        examine(&world)
    });
    Ok(task.await?)
}
