//! `vm-obs ledger …`: which keys sign the ledger.
//!
//! A change is made of statements that the key itself signs, so these verbs need the data folder
//! with `state/ledger.key`. Where a server runs on that folder it is handed the statements, else
//! they are appended here.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use obs_disk::{Clock, DataLock, Disk, DiskError, RealDisk, SystemClock};
use obs_ledger::{KeyPlan, Ledger, LedgerConfig, LedgerMode, key_files};
use obs_proof::keys::ChainKey;
use obs_types::TimestampMs;
use serde_json::{Map, Value, json};

use super::args::{FormatArgs, ServerArgs};
use super::client::Client;
use super::offline::open_ledger;
use super::out::Out;
use super::table::Table;

#[derive(Debug, Subcommand)]
pub(crate) enum LedgerCommand {
    /// The ledger's keys, the current one last
    Keys(KeysArgs),
    /// Let a new key follow the current one; both sign during the overlap. Leaves a receipt
    RotateKey(RotateArgs),
    /// Take back an earlier key: what it signs from now on is refused. Leaves a receipt
    Revoke(RevokeArgs),
}

#[derive(Args, Debug)]
pub(crate) struct KeysArgs {
    #[arg(long, value_name = "DIR", default_value = "data")]
    data: PathBuf,
    #[command(flatten)]
    format: FormatArgs,
}

#[derive(Args, Debug)]
pub(crate) struct RotateArgs {
    #[command(flatten)]
    change: ChangeArgs,
    /// How long both keys sign, so that readers have time to pin the new one
    #[arg(long, value_name = "DURATION", default_value = "30d")]
    overlap: String,
    /// The current key may be known to others: it counts for nothing at once
    #[arg(long, conflicts_with = "overlap")]
    revoke: bool,
}

#[derive(Args, Debug)]
pub(crate) struct RevokeArgs {
    /// Id of the key (8 hex digits), or the key itself
    key: String,
    #[command(flatten)]
    change: ChangeArgs,
}

#[derive(Args, Debug)]
pub(crate) struct ChangeArgs {
    /// Data folder, with state/ledger.key
    #[arg(long, value_name = "DIR", default_value = "data")]
    data: PathBuf,
    /// Why, in one line; stands in the receipt
    #[arg(long)]
    reason: String,
    #[command(flatten)]
    server: ServerArgs,
}

pub(crate) async fn run(command: LedgerCommand, out: &mut Out) -> anyhow::Result<()> {
    match command {
        LedgerCommand::Keys(args) => {
            let (ledger, _config) = read(&args.data)?;
            table(&ledger).write(args.format.format, "", out).map_err(Into::into)
        }
        LedgerCommand::RotateKey(args) => {
            let plan = |_chain: &[ChainKey]| {
                let overlap = match args.revoke {
                    true => 0,
                    false => obs_query::parse_duration(&args.overlap).context("--overlap")?.0,
                };
                let overlap_until = TimestampMs(SystemClock::new().now().0.saturating_add(overlap));
                Ok(KeyPlan::Rotate { overlap_until, revoke: args.revoke })
            };
            change(&args.change, plan, out).await
        }
        LedgerCommand::Revoke(args) => {
            let plan = |chain: &[ChainKey]| {
                let named = |k: &ChainKey| {
                    format!("{:08x}", k.key.id()) == args.key || k.key.to_string() == args.key
                };
                match chain.iter().find(|k| named(k)) {
                    Some(k) => Ok(KeyPlan::Revoke { key: Box::new(k.key.clone()) }),
                    None => bail!(
                        "{:?} is no key that another has followed; see `vm-obs ledger keys`",
                        args.key
                    ),
                }
            };
            change(&args.change, plan, out).await
        }
    }
}

/// The ledger as a reader sees it, and what a writer would open it with.
fn read(data: &Path) -> anyhow::Result<(Ledger, LedgerConfig)> {
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let ledger = open_ledger(data, &disk, &clock, LedgerMode::ReadOnly)?;
    let origin = ledger.head().origin;
    Ok((ledger, LedgerConfig::in_data_dir(data, disk, clock, origin, LedgerMode::ReadWrite)))
}

async fn change(
    args: &ChangeArgs,
    plan: impl Fn(&[ChainKey]) -> anyhow::Result<KeyPlan>,
    out: &mut Out,
) -> anyhow::Result<()> {
    let data = std::fs::canonicalize(&args.data)
        .with_context(|| format!("there is no data folder {}", args.data.display()))?;
    let lock = match DataLock::acquire(&data) {
        Ok(lock) => Some(lock),
        Err(DiskError::Locked { .. }) => None,
        Err(e) => return Err(e.into()),
    };
    let (seen, config) = read(&data)?;
    let statements = |ledger: &Ledger| {
        let (chain, size) = (ledger.key_chain(), ledger.head().size);
        let plan = plan(&chain)?;
        anyhow::Ok(key_files(&config, &chain, size, &plan, &args.reason)?)
    };
    let (numbers, key) = if lock.is_some() {
        // Opening puts the key files in order; a next key must not be there before.
        let ledger = Ledger::open(config.clone())?;
        let numbers = ledger.change_keys(statements(&ledger)?)?;
        let key = ledger.head().log_vkey;
        ledger.shutdown()?;
        (numbers, key)
    } else {
        ask(args, statements(&seen)?).await?
    };
    let numbers: Vec<String> = numbers.iter().map(u64::to_string).collect();
    out.line(&format!("receipt {}; the ledger's key is {key}", numbers.join(", ")))?;
    Ok(out.line(
        "hand it to auditors and witnesses: a `log` line of its own in their policies, beside the old one while both sign",
    )?)
}

/// Hands the statements to the server that runs on the folder.
async fn ask(
    args: &ChangeArgs,
    statements: Vec<Map<String, Value>>,
) -> anyhow::Result<(Vec<u64>, String)> {
    let client = Client::server(&args.server)?;
    let answer = client.post("/obs/ledger/keys", &json!({"statements": statements})).await?;
    let numbers = answer.json.get("receipt_seq").and_then(Value::as_array);
    let numbers = numbers.into_iter().flatten().filter_map(Value::as_u64).collect();
    let last = answer.json.get("keys").and_then(Value::as_array).and_then(|k| k.last());
    let key = last.and_then(|k| k.get("key")).and_then(Value::as_str).unwrap_or_default();
    Ok((numbers, key.to_owned()))
}

fn table(ledger: &Ledger) -> Table {
    let mut table = Table::new(&["id", "signs", "key"]);
    let chain = ledger.key_chain();
    for k in &chain {
        let signs = match (k.revoked, k.until) {
            (Some(seq), _) => format!("revoked by receipt {seq}"),
            (None, Some(until)) => {
                format!("until {}", obs_proof::time::format_rfc3339(until))
            }
            (None, None) => "now".to_owned(),
        };
        table.row([format!("{:08x}", k.key.id()), signs, k.key.to_string()]);
    }
    if chain.is_empty() {
        for key in ledger.log_keys() {
            table.row([format!("{:08x}", key.id()), "now".to_owned(), key.to_string()]);
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::out::testing::memory;
    use crate::cli::verify::tests::folder;

    async fn said(command: LedgerCommand) -> anyhow::Result<String> {
        let (mut out, written) = memory();
        run(command, &mut out).await?;
        Ok(written.text())
    }

    fn change_args(data: &Path) -> ChangeArgs {
        let (data, reason) = (data.to_owned(), "yearly".to_owned());
        ChangeArgs { data, reason, server: ServerArgs::default() }
    }

    #[tokio::test]
    async fn a_folder_without_a_server_gets_a_new_key() {
        let dir = folder();
        let data = dir.path();
        let keys = || {
            LedgerCommand::Keys(KeysArgs { data: data.to_owned(), format: FormatArgs::default() })
        };
        let before = said(keys()).await.unwrap();
        let old = before.lines().last().unwrap().split_whitespace().next().unwrap().to_owned();
        let rotate = |revoke: bool| {
            LedgerCommand::RotateKey(RotateArgs {
                change: change_args(data),
                overlap: "30d".to_owned(),
                revoke,
            })
        };
        let text = said(rotate(false)).await.unwrap();
        assert!(text.starts_with("receipt 5; the ledger's key is vm-obs.test/local/"), "{text}");
        let e = said(rotate(true)).await.unwrap_err().to_string();
        assert!(e.contains("two keys sign already"), "{e}");
        let revoke = |key: &str| {
            LedgerCommand::Revoke(RevokeArgs { key: key.to_owned(), change: change_args(data) })
        };
        let e = said(revoke("00000000")).await.unwrap_err().to_string();
        assert!(e.contains("vm-obs ledger keys"), "{e}");
        assert!(said(revoke(&old)).await.unwrap().starts_with("receipt 6;"));
        let after = said(keys()).await.unwrap();
        assert!(after.contains("revoked by receipt 6") && after.contains(" now "), "{after}");
    }
}
