//! `vm-obs verify`: the offline verifier, with the records of sealed files decoded as well.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use obs_archive::verify_seal;
use obs_disk::{Disk, RealDisk};
use obs_proof::verify::{
    HELP, Parsed, RecordReader, RecordSink, RecordsRead, SealedFile, VerifyOptions, verify_with,
};

use super::out::Out;

/// Usage, as the help says.
const EXIT_USAGE: u8 = 4;

/// Exit codes: 0 holds, 1 tampering, 2 incomplete, 3 policy unmet, 4 usage, 5 not readable.
pub(crate) fn run(args: Vec<String>, out: &mut Out) -> anyhow::Result<ExitCode> {
    let options = match VerifyOptions::parse(args) {
        Ok(Parsed::Help) => {
            out.line("vm-obs verify [DIR|FILE.vmproof] [options]\n")?;
            out.write_all(HELP.as_bytes())?;
            return Ok(ExitCode::SUCCESS);
        }
        Ok(Parsed::Run(options)) => options,
        Err(e) => return Ok(usage(&e)),
    };
    let mut seals = Seals { data: options.dir.clone(), disk: Arc::new(RealDisk) };
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

fn usage(e: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("vm-obs verify: {e}\ntry: vm-obs verify --help");
    ExitCode::from(EXIT_USAGE)
}

/// Recomputes the record trees of sealed files from their rows.
struct Seals {
    data: PathBuf,
    disk: Arc<dyn Disk>,
}

impl RecordReader for Seals {
    fn read(
        &mut self,
        _path: &Path,
        file: &SealedFile,
        _sink: &mut dyn RecordSink,
    ) -> Result<RecordsRead, String> {
        let found = verify_seal(&self.disk, &self.data, &file.path).map_err(|e| e.to_string())?;
        Ok(RecordsRead::Tree { count: found.records.count, root: found.records.root })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::cli::out::testing::memory;
    use obs_disk::{Clock, ManualClock};
    use obs_ledger::{Ledger, LedgerConfig, LedgerMode, Receipt, SloDefinition};
    use obs_types::TimestampMs;

    const LOG: &str = "receipts/observability/observability_events.jsonl";

    fn verified(args: &[&str]) -> (String, ExitCode) {
        let (mut out, written) = memory();
        let code = run(args.iter().map(|a| (*a).to_owned()).collect(), &mut out).unwrap();
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
