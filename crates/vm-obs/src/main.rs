//! The VaultMesh Observability Engine: one binary that collects, stores, seals, answers and proves.
//!
//! Lives here: command line, configuration, wiring, order of start and stop. Not here: everything
//! that could be a crate of its own.

mod cli;
mod config;
mod demo;
mod mcp;
mod packs;
mod refill;
mod serve;
mod storage;

use std::process::ExitCode;

use clap::Parser;

/// The VaultMesh Observability Engine: metrics, logs and traces with receipts that verify.
#[derive(Debug, Parser)]
#[command(name = "vm-obs", version, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Top>,
}

#[derive(Debug, clap::Subcommand)]
enum Top {
    /// Run the server (what no verb means)
    Serve(serve::ServeArgs),
    #[command(flatten)]
    Client(cli::Command),
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        None => serve::run(serve::ServeArgs::default()),
        Some(Top::Serve(args)) => serve::run(args),
        Some(Top::Client(command)) => cli::run(command),
    };
    outcome.unwrap_or_else(|e| {
        eprintln!("vm-obs: {e:#}");
        ExitCode::FAILURE
    })
}
