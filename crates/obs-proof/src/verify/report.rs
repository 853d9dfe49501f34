use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Value, json};

use super::{Class, Code, Finding, Proven, ShownRecord};
use crate::Hash;
use crate::hash::{blake3_text, sha256_text, to_base64};
use crate::record::LEAF_SERIES;
use crate::time::format_rfc3339;

/// Findings listed for one code; further ones are counted.
const LISTED_MAX: usize = 10;

/// What a verification checked and found.
#[derive(Clone, Debug, Default)]
pub struct VerifyReport {
    pub origin: Option<String>,
    /// Receipts that the checkpoint signs and that were checked.
    pub receipts: u64,
    pub root: Option<Hash>,
    pub root_blake3: Option<Hash>,
    pub signed_by: Vec<String>,
    /// Witness and the Unix second of its cosignature.
    pub cosigned_by: Vec<(String, u64)>,
    pub files: u64,
    pub file_bytes: u64,
    pub records: u64,
    /// Contracts whose signature and content hold.
    pub contracts: u64,
    /// By stream, sorted.
    pub hours: Vec<SealedHours>,
    /// Whole receipts behind the signed size.
    pub tail_receipts: u64,
    pub tail_bytes: u64,
    /// Milliseconds from the last signed receipt to the last one in the tail.
    pub tail_ms: u64,
    /// Signed receipts behind the newest checkpoint that the witnesses have cosigned.
    pub unwitnessed_receipts: u64,
    /// Where a proof file was verified: what it shows.
    pub proven: Option<Proven>,
    pub findings: Vec<Finding>,
    /// Findings beyond the listed ones, by code.
    pub unlisted: BTreeMap<Code, u64>,
}

/// The hours of one stream that are sealed or declared a gap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedHours {
    pub stream: String,
    /// Milliseconds since the epoch.
    pub from: i64,
    pub until: i64,
    pub seals: u64,
}

impl VerifyReport {
    pub(crate) fn add(&mut self, finding: Finding) {
        let code = finding.code;
        if self.findings.iter().filter(|f| f.code == code).count() < LISTED_MAX {
            self.findings.push(finding);
        } else {
            *self.unlisted.entry(code).or_default() += 1;
        }
    }

    pub fn has(&self, code: Code) -> bool {
        self.findings.iter().any(|f| f.code == code)
    }

    fn has_class(&self, class: Class) -> bool {
        self.findings.iter().any(|f| f.class == class)
    }

    /// 0 all that was asked for was checked and holds; 1 tampering; 5 something could not be
    /// read; 2 incomplete; 3 trust policy unmet. The first that applies in this order.
    pub fn exit_code(&self) -> u8 {
        [(Class::Tampering, 1), (Class::Io, 5), (Class::Incomplete, 2), (Class::Policy, 3)]
            .into_iter()
            .find(|(class, _)| self.has_class(*class))
            .map_or(0, |(_, exit)| exit)
    }

    pub fn verdict(&self) -> &'static str {
        match self.exit_code() {
            0 => "OK",
            1 => "TAMPERED",
            2 => "INCOMPLETE",
            3 => "POLICY UNMET",
            _ => "NOT READABLE",
        }
    }

    pub fn to_json(&self) -> Value {
        let time = |ms: i64| json!(format_rfc3339(ms));
        let findings: Vec<Value> = self
            .findings
            .iter()
            .map(|f| {
                json!({
                    "code": f.name(),
                    "class": format!("{:?}", f.class).to_lowercase(),
                    "seq": f.seq,
                    "offset": f.offset,
                    "path": f.path,
                    "detail": f.detail,
                })
            })
            .collect();
        let hours: Vec<Value> = self
            .hours
            .iter()
            .map(|h| {
                json!({
                    "stream": h.stream,
                    "from": time(h.from),
                    "until": time(h.until),
                    "seals": h.seals,
                })
            })
            .collect();
        let cosigned: Vec<Value> = self
            .cosigned_by
            .iter()
            .map(|(name, at)| json!({"witness": name, "time": time(seconds_to_ms(*at))}))
            .collect();
        let unlisted: BTreeMap<&str, u64> =
            self.unlisted.iter().map(|(code, n)| (code.name(), *n)).collect();
        json!({
            "exit": self.exit_code(),
            "verdict": self.verdict(),
            "origin": self.origin,
            "receipts": self.receipts,
            "root": self.root.as_ref().map(sha256_text),
            "root_blake3": self.root_blake3.as_ref().map(blake3_text),
            "signed_by": self.signed_by,
            "cosigned_by": cosigned,
            "witnessed": !self.cosigned_by.is_empty(),
            "files": self.files,
            "file_bytes": self.file_bytes,
            "records": self.records,
            "contracts": self.contracts,
            "hours": hours,
            "unproven_tail": {
                "receipts": self.tail_receipts,
                "bytes": self.tail_bytes,
                "seconds": self.tail_ms / 1_000,
            },
            "unwitnessed_receipts": self.unwitnessed_receipts,
            "proven": self.proven.as_ref().map(|p| json!({
                "seq": p.seq,
                "receipt": p.receipt,
                "record": p.record.as_ref().map(|r| json!({
                    "kind": r.kind,
                    "stream": r.stream,
                    "hour": r.hour,
                    "index": r.index.to_string(),
                    "count": r.count.to_string(),
                    "text": std::str::from_utf8(&r.record).ok().filter(|_| !is_binary(r)),
                    "data": is_binary(r).then(|| to_base64(&r.record)),
                })),
            })),
            "findings": findings,
            "unlisted": unlisted,
        })
    }
}

fn is_binary(record: &ShownRecord) -> bool {
    record.kind == LEAF_SERIES
}

fn seconds_to_ms(seconds: u64) -> i64 {
    i64::try_from(seconds).unwrap_or(0).saturating_mul(1_000)
}

impl fmt::Display for VerifyReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.verdict())?;
        if let Some(origin) = &self.origin {
            writeln!(f, "log            {origin}")?;
        }
        if let Some(p) = &self.proven {
            return self.write_proof(f, p);
        }
        writeln!(
            f,
            "verified       {} receipts, {} files ({} bytes), {} records",
            self.receipts, self.files, self.file_bytes, self.records
        )?;
        if self.contracts > 0 {
            writeln!(f, "contracts      {} signed by their actors", self.contracts)?;
        }
        for h in &self.hours {
            let (from, until) = (format_rfc3339(h.from), format_rfc3339(h.until));
            writeln!(f, "hours          {} {from} .. {until}, {} seals", h.stream, h.seals)?;
        }
        if let (Some(a), Some(b)) = (&self.root, &self.root_blake3) {
            writeln!(f, "root           {} {}", sha256_text(a), blake3_text(b))?;
        }
        self.write_signers(f)?;
        writeln!(
            f,
            "unproven tail  {} receipts, {} bytes, {} seconds",
            self.tail_receipts,
            self.tail_bytes,
            self.tail_ms / 1_000
        )?;
        self.write_findings(f)
    }
}

impl VerifyReport {
    fn write_proof(&self, f: &mut fmt::Formatter<'_>, p: &Proven) -> fmt::Result {
        match &p.record {
            Some(r) => {
                let (number, of) = (r.index.saturating_add(1), r.count);
                let (kind, stream, hour) = (&r.kind, &r.stream, &r.hour);
                writeln!(f, "proven         record {number} of {of}: {kind}, {stream} {hour}")?;
                match is_binary(r) {
                    true => writeln!(f, "record         {} bytes, binary", r.record.len())?,
                    false => {
                        writeln!(f, "record         {}", String::from_utf8_lossy(&r.record))?;
                    }
                }
                writeln!(f, "sealed by      receipt {}: {}", p.seq, p.receipt)?;
            }
            None => writeln!(f, "proven         receipt {}: {}", p.seq, p.receipt)?,
        }
        self.write_signers(f)?;
        self.write_findings(f)
    }

    fn write_signers(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for name in &self.signed_by {
            writeln!(f, "signed by      {name}")?;
        }
        for (name, at) in &self.cosigned_by {
            writeln!(f, "cosigned by    {name} at {}", format_rfc3339(seconds_to_ms(*at)))?;
        }
        if self.cosigned_by.is_empty() {
            writeln!(f, "cosigned by    nobody: UNWITNESSED")?;
        }
        Ok(())
    }

    fn write_findings(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in &self.findings {
            let mark = if finding.class == Class::Note { "note" } else { "FOUND" };
            writeln!(f, "{mark:<14} {finding}")?;
        }
        for (code, n) in &self.unlisted {
            writeln!(f, "               {n} more {code}")?;
        }
        Ok(())
    }
}
