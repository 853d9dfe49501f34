//! `vm-obs prove`: a proof file of one log line, one series' hour, one span or one receipt, which
//! somebody else checks with nothing but the log's public key.

use clap::{Args, Subcommand};
use serde_json::Value;

use super::args::{OutputArgs, SourceArgs};
use super::client::{Client, Parameters, put};
use super::out::Out;

#[derive(Debug, Subcommand)]
pub(crate) enum ProveCommand {
    /// Proof of one line in a sealed hour
    Log(LogArgs),
    /// Proof of one series' samples in a sealed hour
    Sample(SampleArgs),
    /// Proof of one span in a sealed hour
    Span(SpanArgs),
    /// Proof that a receipt is in the ledger
    Receipt(ReceiptArgs),
}

#[derive(Args, Debug)]
pub(crate) struct LogArgs {
    /// Stream selector, such as '{service_name="guardian"}'
    selector: Option<String>,
    /// Instant of the line, to the nanosecond, as `logs query` shows it with --format json
    #[arg(long, value_name = "TIME")]
    time: String,
    /// The whole line, where several have that instant
    #[arg(long, value_name = "TEXT")]
    line: Option<String>,
    /// A part of the line
    #[arg(long, value_name = "TEXT")]
    contains: Option<String>,
    #[command(flatten)]
    file: FileArgs,
}

#[derive(Args, Debug)]
pub(crate) struct SampleArgs {
    /// Selector that one series matches, such as 'up{instance="brick-01:9100"}'
    series: String,
    /// An instant in the hour
    #[arg(long, value_name = "TIME")]
    time: String,
    /// File of late data; 0 is the hour's own
    #[arg(long, value_name = "N")]
    revision: Option<u32>,
    #[command(flatten)]
    file: FileArgs,
}

#[derive(Args, Debug)]
pub(crate) struct SpanArgs {
    /// Trace id
    trace: String,
    /// Span id
    span: String,
    /// End of the span; without it all sealed hours are looked through
    #[arg(long, value_name = "TIME")]
    time: Option<String>,
    #[command(flatten)]
    file: FileArgs,
}

#[derive(Args, Debug)]
pub(crate) struct ReceiptArgs {
    /// Number of the receipt (its field `seq`)
    seq: u64,
    /// In the C2SP tlog-proof format, without the receipt itself
    #[arg(long)]
    tlog: bool,
    #[command(flatten)]
    file: FileArgs,
}

#[derive(Args, Debug)]
pub(crate) struct FileArgs {
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    source: SourceArgs,
}

pub(crate) async fn run(command: ProveCommand, out: &mut Out) -> anyhow::Result<()> {
    let mut parameters = Parameters::new();
    let (path, file) = match &command {
        ProveCommand::Log(a) => {
            put(&mut parameters, "time", Some(&a.time));
            put(&mut parameters, "query", a.selector.as_deref());
            put(&mut parameters, "line", a.line.as_deref());
            put(&mut parameters, "contains", a.contains.as_deref());
            ("/obs/proof/log", &a.file)
        }
        ProveCommand::Sample(a) => {
            put(&mut parameters, "series", Some(&a.series));
            put(&mut parameters, "time", Some(&a.time));
            put(&mut parameters, "revision", a.revision.map(|r| r.to_string()).as_deref());
            ("/obs/proof/sample", &a.file)
        }
        ProveCommand::Span(a) => {
            put(&mut parameters, "trace", Some(&a.trace));
            put(&mut parameters, "span", Some(&a.span));
            put(&mut parameters, "time", a.time.as_deref());
            ("/obs/proof/span", &a.file)
        }
        ProveCommand::Receipt(a) => {
            put(&mut parameters, "seq", Some(&a.seq.to_string()));
            (if a.tlog { "/obs/ledger/proof" } else { "/obs/proof/receipt" }, &a.file)
        }
    };
    let client = Client::source(&file.source)?;
    let proof = client.text(path, &parameters).await?;
    file.output.write(proof.as_bytes(), out)?;
    let Some(output) = file.output.file() else { return Ok(()) };
    let head = client.get("/obs/ledger", &Parameters::new()).await?;
    let key = head.json.get("log_vkey").and_then(Value::as_str).unwrap_or_default();
    eprintln!(
        "{} has {} bytes; whoever trusts the log's key checks it with\n  \
         vm-obs-verify {} --log-key {key}",
        output.display(),
        proof.len(),
        output.display()
    );
    Ok(())
}
