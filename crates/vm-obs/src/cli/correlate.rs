//! `vm-obs correlate`: what happened around an instant.

use clap::{Args, ValueEnum};

use super::args::SourceArgs;
use super::client::{Client, put};
use super::human;
use super::out::Out;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum TextFormat {
    #[default]
    Text,
    Json,
}

#[derive(Args, Debug)]
pub(crate) struct CorrelateArgs {
    /// The instant in the middle, RFC 3339 [default: now]
    #[arg(long, value_name = "TIME")]
    timestamp: Option<String>,
    /// How far to both sides
    #[arg(long, default_value = "15m", value_name = "DURATION")]
    window: String,
    #[arg(long, value_enum, default_value_t)]
    format: TextFormat,
    #[command(flatten)]
    source: SourceArgs,
}

pub(crate) async fn run(args: &CorrelateArgs, out: &mut Out) -> anyhow::Result<()> {
    let client = Client::source(&args.source)?;
    let mut parameters = vec![("window", args.window.clone())];
    put(&mut parameters, "timestamp", args.timestamp.as_deref());
    let answer = client.get("/obs/correlate", &parameters).await?;
    if args.format == TextFormat::Json {
        return Ok(out.line(answer.text.trim_end())?);
    }
    for line in human::text(&answer.json, "text").lines() {
        out.foreign_line(line)?;
    }
    Ok(())
}
