//! `vm-obs verify`: the offline verifier, with the records of sealed files decoded as well.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use obs_archive::{Archive, ColdTier, FolderStore, verify_seal};
use obs_disk::{Clock, Disk, RealDisk, SystemClock};
use obs_proof::verify::{
    HELP, Parsed, RecordReader, RecordSink, RecordsRead, SealedFile, VerifyOptions, verify_with,
};

use obs_types::BlobStore;

use super::out::Out;
use super::verify_url;

/// Usage, as the help says.
const EXIT_USAGE: u8 = 4;

/// Exit codes: 0 holds, 1 tampering, 2 incomplete, 3 policy unmet, 4 usage, 5 not readable.
pub(crate) async fn run(args: Vec<String>, out: &mut Out) -> anyhow::Result<ExitCode> {
    let mut options = match parsed(args, out)? {
        Ok(options) => options,
        Err(code) => return Ok(code),
    };
    // Removed when this ends.
    let fetched = match verify_url::address(&options.dir) {
        Some(url) => Some(verify_url::fetch(&url, &options).await?),
        None => None,
    };
    if let Some(fetched) = &fetched {
        options.dir = fetched.dir().to_owned();
    }
    report(options, false, out)
}

/// As [`run`] over a folder, and what lies in its cold store is read from there.
pub(crate) fn run_tiered(args: Vec<String>, out: &mut Out) -> anyhow::Result<ExitCode> {
    match parsed(args, out)? {
        Ok(options) => report(options, true, out),
        Err(code) => Ok(code),
    }
}

/// What is asked for, or the exit code where that is all.
fn parsed(args: Vec<String>, out: &mut Out) -> anyhow::Result<Result<VerifyOptions, ExitCode>> {
    match VerifyOptions::parse(args) {
        Ok(Parsed::Help) => {
            out.line("vm-obs verify [DIR|URL|FILE.vmproof] [options]\n")?;
            out.write_all(HELP.as_bytes())?;
            out.line(
                "\nURL fetches receipts and sealed files of a running server (--receipts-only: receipts\n\
                 alone) into a temporary folder and verifies them here; the server is not trusted.",
            )?;
            Ok(Err(ExitCode::SUCCESS))
        }
        Ok(Parsed::Run(options)) => Ok(Ok(*options)),
        Err(e) => Ok(Err(usage(&e))),
    }
}

/// Of a folder or a proof file.
fn report(mut options: VerifyOptions, tiered: bool, out: &mut Out) -> anyhow::Result<ExitCode> {
    // A store is asked; a folder the verifier reads itself.
    let address = options.cold.as_ref().map(|c| c.display().to_string());
    let address = address.filter(|a| a.contains("://"));
    if address.is_some() {
        options.cold = None;
    }
    let archive = match (tiered, address) {
        (false, None) => None,
        (_, address) => Some(tiers(&options.dir, address.as_deref())?),
    };
    let mut seals = Seals { data: options.dir.clone(), disk: Arc::new(RealDisk), archive };
    if let Some(cold) = &options.cold {
        seals.connect(FolderStore::new(cold, Arc::new(RealDisk)))?;
    }
    let report = match verify_with(&options, Some(&mut seals)) {
        Ok(report) => report,
        Err(e) => return Ok(usage(&e)),
    };
    if options.json {
        writeln!(out, "{:#}", report.to_json())?;
    } else {
        write!(out, "{report}")?;
    }
    Ok(ExitCode::from(report.exit_code()))
}

/// Like [`run`], for whoever is not within a runtime and has a folder or a proof file.
#[cfg(test)]
pub(crate) fn run_here(args: Vec<String>, out: &mut Out) -> anyhow::Result<ExitCode> {
    match parsed(args, out)? {
        Ok(options) => report(options, false, out),
        Err(code) => Ok(code),
    }
}

fn usage(e: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("vm-obs verify: {e}\ntry: vm-obs verify --help");
    ExitCode::from(EXIT_USAGE)
}

/// The archive of a folder, connected with a cold store: the one named, or that of its receipts.
fn tiers(data: &Path, address: Option<&str>) -> anyhow::Result<Archive> {
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let cold = ColdTier::new(None, data.join("cache"), Arc::clone(&disk), 0);
    if let Some(address) = address {
        cold.connect(crate::storage::open_address(address)?, 0);
    }
    let archive = Archive::open_tiered(data, Arc::clone(&disk), [0; 32], Arc::new(cold))?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let ledger =
        super::offline::open_ledger(data, &disk, &clock, obs_ledger::LedgerMode::ReadOnly)?;
    crate::storage::learn(&ledger, &archive)?;
    Ok(archive)
}

/// Recomputes the record trees of sealed files from their rows.
struct Seals {
    data: PathBuf,
    disk: Arc<dyn Disk>,
    /// Reads files of the cold store.
    archive: Option<Archive>,
}

impl Seals {
    /// Reads cold files from a folder.
    fn connect(&mut self, store: FolderStore) -> anyhow::Result<()> {
        let archive = tiers(&self.data, Some(&store.address()))?;
        self.disk = Arc::clone(archive.disk());
        Ok(())
    }
}

impl RecordReader for Seals {
    fn read(
        &mut self,
        _path: &Path,
        file: &SealedFile,
        _sink: &mut dyn RecordSink,
    ) -> Result<RecordsRead, String> {
        let disk = self.archive.as_ref().map_or(&self.disk, |a| a.disk());
        let found = verify_seal(disk, &self.data, &file.path).map_err(|e| e.to_string())?;
        Ok(RecordsRead::Tree {
            count: found.records.count,
            root: found.records.root,
            redacted: found.redacted,
        })
    }

    fn cold(&mut self, file: &SealedFile) -> Option<io::Result<Box<dyn Read>>> {
        crate::storage::cold_bytes(self.archive.as_ref()?, &file.path)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::cli::out::testing::memory;
    use obs_disk::ManualClock;
    use obs_ledger::{Ledger, LedgerConfig, LedgerMode, Receipt, SloDefinition};
    use obs_types::TimestampMs;

    const LOG: &str = "receipts/observability/observability_events.jsonl";

    fn verified(args: &[&str]) -> (String, ExitCode) {
        let (mut out, written) = memory();
        let args = args.iter().map(|a| (*a).to_owned()).collect();
        let code = run_here(args, &mut out).unwrap();
        (written.text(), code)
    }

    /// A data folder with a few receipts.
    pub(crate) fn folder() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let disk: Arc<dyn Disk> = Arc::new(RealDisk);
        let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(TimestampMs(1_765_029_600_000)));
        let ledger = Ledger::open(LedgerConfig::in_data_dir(
            dir.path(),
            disk,
            clock,
            "vm-obs.test/local/observability",
            LedgerMode::ReadWrite,
        ))
        .unwrap();
        for i in 0..5 {
            let slo = serde_json::json!({"id": format!("slo:{i}")});
            ledger
                .append(vec![Receipt::slo_definition(SloDefinition {
                    operation_id: format!("obs-op-2025-12-06-{i:03}"),
                    operation_type: "slo_create".to_owned(),
                    initiated_by: "did:vm:user:sovereign".to_owned(),
                    slo: slo.as_object().cloned().unwrap_or_default(),
                })])
                .unwrap();
        }
        ledger.shutdown().unwrap();
        dir
    }

    #[test]
    fn exit_codes() {
        let dir = folder();
        let path = dir.path().to_str().unwrap();
        let (text, code) = verified(&[path]);
        assert_eq!(code, ExitCode::SUCCESS, "{text}");
        assert!(text.starts_with("OK\n") && text.contains("UNWITNESSED"), "{text}");
        assert_eq!(verified(&["--data", path, "--require-witness"]).1, ExitCode::from(3));
        assert_eq!(verified(&[path, "--nonsense"]).1, ExitCode::from(4));
        let until = verified(&[path, "--expect-until", "2025-12-07T00:00:00Z"]);
        assert_eq!(until.1, ExitCode::from(2), "{}", until.0);

        let log = dir.path().join(LOG);
        let text = std::fs::read_to_string(&log).unwrap();
        std::fs::write(&log, text.replacen("slo:2", "slo:9", 1)).unwrap();
        let (text, code) = verified(&[path, "--json"]);
        assert_eq!(code, ExitCode::from(1), "{text}");
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(json["verdict"], "TAMPERED");
        assert_eq!(
            verified(&[tempfile::tempdir().unwrap().path().to_str().unwrap()]).1,
            ExitCode::from(2)
        );
    }

    #[test]
    fn help_is_the_verifiers() {
        let (text, code) = verified(&["--help"]);
        assert_eq!(code, ExitCode::SUCCESS);
        assert!(text.contains("--expect-until") && text.contains("1 tampering"), "{text}");
    }
}
