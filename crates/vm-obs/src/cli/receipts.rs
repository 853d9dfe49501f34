//! `vm-obs query`: what the ledger holds.

use std::io::Write;

use anyhow::bail;
use clap::{Args, ValueEnum};
use serde_json::Value;

use super::args::{SourceArgs, WindowArgs};
use super::client::{Client, Parameters, put};
use super::human;
use super::out::Out;
use super::table::Table;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum ReceiptFormat {
    #[default]
    Table,
    /// The server's JSON as it came
    Json,
    Csv,
    /// One receipt a line, oldest first
    Jsonl,
    /// One row a receipt, oldest first; not to a terminal
    Parquet,
}

#[derive(Args, Debug)]
pub(crate) struct QueryArgs {
    /// Types, comma separated, with or without obs_: metric_snapshot, log_batch, trace_complete,
    /// alert_fired, alert_resolved, slo_report, anomaly_detected, …
    #[arg(long = "type", value_name = "TYPES")]
    types: Option<String>,
    /// Test on fields, such as "log_counts.error > 0"
    #[arg(long, value_name = "EXPRESSION")]
    filter: Option<String>,
    /// Receipts that name this node
    #[arg(long)]
    node: Option<String>,
    /// Most receipts [default: 100 as table and json, all otherwise]
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    #[command(flatten)]
    window: WindowArgs,
    #[arg(long, value_enum, default_value_t)]
    format: ReceiptFormat,
    #[command(flatten)]
    source: SourceArgs,
}

pub(crate) async fn query(args: &QueryArgs, out: &mut Out) -> anyhow::Result<()> {
    if args.format == ReceiptFormat::Parquet && out.terminal {
        bail!("Parquet is not for a terminal; redirect it: vm-obs query … > receipts.parquet");
    }
    let client = Client::source(&args.source)?;
    let whole = !matches!(args.format, ReceiptFormat::Table | ReceiptFormat::Json);
    let mut parameters = Parameters::new();
    put(&mut parameters, "type", args.types.as_deref());
    put(&mut parameters, "filter", args.filter.as_deref());
    put(&mut parameters, "node", args.node.as_deref());
    parameters.extend(args.window.parameters(""));
    let limit = args.limit.or(whole.then_some(usize::MAX >> 1));
    put(&mut parameters, "limit", limit.map(|n| n.to_string()).as_deref());
    let answer = client.get("/obs/receipts", &parameters).await?;
    let receipts = human::list(&answer.json, "receipts");
    match args.format {
        ReceiptFormat::Json => out.line(answer.text.trim_end())?,
        ReceiptFormat::Jsonl => {
            receipts.iter().rev().try_for_each(|r| out.line(&r.to_string()))?;
        }
        ReceiptFormat::Csv => columns(receipts).write(super::args::Format::Csv, "", out)?,
        ReceiptFormat::Parquet => {
            let mut bytes = Vec::new();
            obs_archive::receipts_to_parquet(
                receipts.iter().rev().map(Value::to_string),
                &mut bytes,
            )?;
            out.write_all(&bytes)?;
        }
        ReceiptFormat::Table => {
            table(receipts).write(super::args::Format::Table, "no receipts", out)?;
            let total = answer.json.get("total").and_then(Value::as_u64).unwrap_or(0);
            if total > receipts.len() as u64 {
                eprintln!("the newest {} of {total} receipts; --limit shows more", receipts.len());
            }
        }
    }
    Ok(())
}

fn table(receipts: &[Value]) -> Table {
    let mut table = Table::new(&[">seq", "time", "type", "node", "what"]);
    for receipt in receipts {
        table.row([
            human::cell(receipt.get("seq")),
            human::time(human::text(receipt, "timestamp")),
            human::text(receipt, "type").trim_start_matches("obs_").to_owned(),
            human::node(receipt),
            what(receipt),
        ]);
    }
    table
}

/// What a receipt says, in a few words.
pub(crate) fn what(receipt: &Value) -> String {
    let text = |name: &str| human::text(receipt, name).to_owned();
    let cell = |name: &str| match receipt.get(name) {
        Some(Value::Number(n)) => n.as_f64().map_or_else(|| n.to_string(), human::plain),
        other => human::cell(other),
    };
    match human::text(receipt, "type") {
        "obs_metric_snapshot" => format!(
            "{}: {} samples from {} nodes",
            text("snapshot_id"),
            cell("metrics_collected"),
            cell("nodes_reporting")
        ),
        "obs_log_batch" => {
            let counts: Vec<String> = receipt
                .get("log_counts")
                .and_then(Value::as_object)
                .into_iter()
                .flatten()
                .filter(|(_, n)| n.as_u64() != Some(0))
                .map(|(level, n)| format!("{n} {level}"))
                .collect();
            format!("{}: {}", text("batch_id"), counts.join(", "))
        }
        "obs_trace_complete" => format!(
            "{} {} {} ({})",
            text("name"),
            human::duration_ms(human::number(receipt.get("duration_ms")).unwrap_or(0.0)),
            text("status"),
            text("trace_id")
        ),
        "obs_alert_fired" => {
            format!("{} {} at {}", text("name"), text("severity"), cell("current_value"))
        }
        "obs_alert_resolved" => {
            format!("{} after {} minutes", text("name"), cell("duration_minutes"))
        }
        "obs_slo_report" => format!("{}: {}", text("report_id"), text("overall_status")),
        "obs_anomaly_detected" => format!(
            "{} is {}, {} sigma off",
            text("metric"),
            cell("observed_value"),
            cell("deviation_sigma")
        ),
        _ => {
            let id = ["batch_id", "operation_id", "alert_id", "storage_path", "reason"]
                .into_iter()
                .map(text)
                .find(|t| !t.is_empty());
            id.unwrap_or_default()
        }
    }
}

/// Every top-level field that some receipt has: `seq`, `type`, `timestamp`, then the rest by name.
fn columns(receipts: &[Value]) -> Table {
    let mut names: std::collections::BTreeSet<&str> =
        receipts.iter().filter_map(Value::as_object).flatten().map(|(n, _)| n.as_str()).collect();
    let first = ["seq", "type", "timestamp"];
    first.iter().for_each(|n| {
        names.remove(n);
    });
    let headers: Vec<&str> = first.into_iter().chain(names).collect();
    let mut table = Table::new(&headers);
    for receipt in receipts {
        table.row(headers.iter().map(|name| human::cell(receipt.get(*name))));
    }
    table
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cli::args::Format;
    use crate::cli::out::testing::memory;

    #[test]
    fn receipts_as_table_and_csv() {
        let receipts = [
            json!({"seq": 3, "type": "obs_log_batch", "timestamp": "2025-12-06T14:00:00Z",
                   "batch_id": "logs-2025-12-06-14", "log_counts": {"info": 7, "error": 0}}),
            json!({"seq": 2, "type": "obs_alert_fired", "timestamp": "2025-12-06T13:35:00Z",
                   "name": "HighCPUUsage", "severity": "warning", "current_value": 87.3,
                   "node": "did:vm:node:brick-02"}),
        ];
        let (mut out, written) = memory();
        table(&receipts).write(Format::Table, "", &mut out).unwrap();
        columns(&receipts).write(Format::Csv, "", &mut out).unwrap();
        insta::assert_snapshot!(written.text(), @r#"
        SEQ  TIME                 TYPE         NODE      WHAT
          3  2025-12-06 14:00:00  log_batch              logs-2025-12-06-14: 7 info
          2  2025-12-06 13:35:00  alert_fired  brick-02  HighCPUUsage warning at 87.3
        seq,type,timestamp,batch_id,current_value,log_counts,name,node,severity
        3,obs_log_batch,2025-12-06T14:00:00Z,logs-2025-12-06-14,,"{""info"":7,""error"":0}",,,
        2,obs_alert_fired,2025-12-06T13:35:00Z,,87.3,,HighCPUUsage,did:vm:node:brick-02,warning
        "#);
    }
}
