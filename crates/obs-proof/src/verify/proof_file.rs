//! A proof file in place of a folder: the record, its receipt, and who signed the log.

use std::fs;

use super::{Code, Finding, UsageError, VerifyOptions, VerifyReport, trust};
use crate::ProofError;
use crate::vmproof::{VmProof, VmProofError};

/// What a good proof file shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proven {
    /// Number of the receipt in the log.
    pub seq: u64,
    /// The receipt's line.
    pub receipt: String,
    pub record: Option<ShownRecord>,
}

/// The record that a proof file shows, and its place in its sealed hour.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShownRecord {
    pub kind: String,
    pub stream: String,
    pub hour: String,
    pub index: u64,
    pub count: u64,
    pub record: Vec<u8>,
}

/// Verifies the file that `options.dir` names. Trust comes from `--policy` or `--log-key` alone:
/// a proof file carries no key.
pub(super) fn verify(options: &VerifyOptions) -> Result<VerifyReport, UsageError> {
    let about_a_log = [
        ("--state", options.state.is_some()),
        ("--from", options.from.is_some()),
        ("--to", options.to.is_some()),
        ("--expect-until", options.expect_until.is_some()),
    ];
    if let Some((flag, _)) = about_a_log.into_iter().find(|(_, given)| *given) {
        return Err(UsageError::BadValue {
            flag: flag.to_owned(),
            value: options.dir.display().to_string(),
            reason: "a proof file cannot answer that".to_owned(),
        });
    }
    let mut report = VerifyReport::default();
    // No folder, no keys in it: without a key from the reader this is NO_LOG_KEY, exit 2.
    let policy = trust::policy(options, &options.dir, &mut report)?;
    let name = options.dir.display().to_string();
    let text = match fs::read(&options.dir) {
        Ok(bytes) => String::from_utf8(bytes)
            .map_err(|_utf8| ProofError::malformed("proof file", "not UTF-8")),
        Err(e) => {
            report.add(Finding::new(Code::IoError, e.to_string()).path(name));
            report.add(Finding::new(Code::NothingVerified, "no proof was verified"));
            return Ok(report);
        }
    };
    match text.and_then(|text| VmProof::parse(&text)) {
        Ok(proof) => check(proof, policy.as_ref(), options, &mut report),
        Err(e) => report.add(Finding::new(Code::ProofMalformed, e.to_string()).path(name)),
    }
    if report.proven.is_none() {
        report.add(Finding::new(Code::NothingVerified, "no proof was verified"));
    }
    Ok(report)
}

fn check(
    proof: VmProof,
    policy: Option<&crate::policy::Policy>,
    options: &VerifyOptions,
    report: &mut VerifyReport,
) {
    trust::alone(proof.tlog.checkpoint.as_bytes(), policy, options, report);
    let seq = proof.tlog.index;
    match proof.check() {
        Ok(checkpoint) => {
            report.root = Some(checkpoint.root);
            // A path to a root that no trusted key stands for proves nothing.
            if report.exit_code() == 1 || report.signed_by.is_empty() {
                return;
            }
            report.receipts = 1;
            report.records = u64::from(proof.record.is_some());
            report.proven = Some(Proven {
                seq,
                receipt: proof.receipt,
                record: proof.record.map(|r| ShownRecord {
                    kind: r.scope.kind,
                    stream: r.scope.stream,
                    hour: r.scope.hour,
                    index: r.proof.index,
                    count: r.proof.count,
                    record: r.record,
                }),
            });
        }
        Err(e) => {
            let code = match &e {
                VmProofError::Receipt(_) => Code::RootMismatch,
                VmProofError::Record(_) => Code::RecordsMismatch,
                VmProofError::Disagree { .. } => Code::ProofMismatch,
                VmProofError::Malformed(_) => Code::ProofMalformed,
            };
            report.add(Finding::new(code, e.to_string()).seq(seq));
        }
    }
}
