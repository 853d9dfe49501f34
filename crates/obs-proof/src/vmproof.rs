//! Proof files `*.vmproof`: one record of a sealed hour, the receipt that seals it, and the
//! receipt's place in the signed log, in one text that is checked offline.
//!
//! ```text
//! vmobs-proof/1
//! kind vmobs-log/1
//! stream logs
//! hour 2025-12-06T14:00:00Z
//! index 41
//! count 300000
//! salt <base64, 16 bytes>
//! <base64 hash>                      one a line, from leaf to root
//!
//! text <the record>                  `data <base64>` where the leaf is binary
//! receipt <the seal's line>
//!
//! c2sp.org/tlog-proof@v1             a C2SP tlog-proof of the receipt, checkpoint included
//! …
//! sha256 <hex>                       of every byte before this line
//! ```
//!
//! A proof of a receipt alone has only the lines from `receipt` on behind the first and an empty
//! one. The closing hash is no protection against anybody; it makes a damaged file fail also where
//! the damage is in a signature that would be ignored. Format: `docs/format/vmproof.md`.

use std::fmt;

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::canonical::check_line;
use crate::checkpoint::{Checkpoint, parse_decimal};
use crate::hash::{from_base64, hash_eq, hash_from_slice, hash_from_text, to_base64, to_hex};
use crate::note::Note;
use crate::record::{LEAF_SERIES, RecordProof, RecordScope};
use crate::time::{format_rfc3339, parse_rfc3339};
use crate::tlog_proof::TlogProof;
use crate::tree::verify_inclusion;
use crate::{Hash, ProofError, Sha256Tree, TreeHash};

const HEADER: &str = "vmobs-proof/1";
const HASHES_MAX: usize = 63;
/// A series' hour at one sample a second has 100 kB; a log line may have a few MB.
const FILE_BYTES_MAX: usize = 64 << 20;

/// A record with its path to the root in its hour's seal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProvenRecord {
    pub scope: RecordScope,
    pub proof: RecordProof,
    /// The bytes of the leaf: the exact log line, the span's canonical JSON, a series' hour.
    pub record: Vec<u8>,
}

/// A proof file. Nothing in it has been verified yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VmProof {
    /// `None`: proves the receipt alone.
    pub record: Option<ProvenRecord>,
    /// The receipt's line, without its newline.
    pub receipt: String,
    pub tlog: TlogProof,
}

/// Why a proof file does not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VmProofError {
    /// The receipt is not in the tree that the checkpoint signs.
    #[error("the receipt's path does not lead to the checkpoint's root: {0}")]
    Receipt(#[source] ProofError),
    /// The record is not in the sealed hour.
    #[error("the record's path does not lead to the root in its seal: {0}")]
    Record(#[source] ProofError),
    /// Record and receipt do not speak of the same thing.
    #[error("{what}: the proof says {proof}, the receipt {receipt}")]
    Disagree { what: &'static str, proof: String, receipt: String },
    #[error("{0}")]
    Malformed(#[from] ProofError),
}

impl VmProof {
    /// Puts a proof together. `tlog_proof` is the receipt's C2SP proof file. Checks that it holds,
    /// but for the signatures: a writer hands out no proof that fails.
    pub fn new(
        record: Option<ProvenRecord>,
        receipt: &str,
        tlog_proof: &str,
    ) -> Result<Self, VmProofError> {
        let tlog = TlogProof::parse(tlog_proof)?;
        let proof = Self { record, receipt: receipt.to_owned(), tlog };
        proof.check()?;
        // What cannot be read back as it is must not be written: a line break inside a record.
        match Self::parse(&proof.to_string()) {
            Ok(back) if back == proof => Ok(proof),
            Ok(_other) => Err(malformed("cannot be written as a proof file").into()),
            Err(e) => Err(e.into()),
        }
    }

    /// Reads a proof file; anything but the exact text that [`Self`] prints is refused.
    pub fn parse(text: &str) -> Result<Self, ProofError> {
        if text.len() > FILE_BYTES_MAX {
            let (got, max) = (text.len(), FILE_BYTES_MAX);
            return Err(ProofError::TooLarge { what: "proof file", got, max });
        }
        let cut = text.rfind("sha256 ").ok_or_else(|| malformed("no closing hash"))?;
        let (body, last) =
            text.split_at_checked(cut).ok_or_else(|| malformed("no closing hash"))?;
        if last != closing_line(body) {
            return Err(malformed("the closing hash is not that of the file"));
        }
        let rest = body
            .strip_prefix(HEADER)
            .and_then(|r| r.strip_prefix('\n'))
            .ok_or_else(|| malformed("unknown header"))?;
        let (record, rest) = match rest.strip_prefix('\n') {
            Some(rest) => (None, rest),
            None => {
                let (record, rest) = parse_record(rest)?;
                (Some(record), rest)
            }
        };
        let (receipt, tlog) = rest
            .strip_prefix("receipt ")
            .and_then(|r| r.split_once("\n\n"))
            .ok_or_else(|| malformed("no receipt line before the log's proof"))?;
        let proof = Self { record, receipt: receipt.to_owned(), tlog: TlogProof::parse(tlog)? };
        match proof.to_string() == text {
            true => Ok(proof),
            false => Err(malformed("is spelled otherwise than it would be written")),
        }
    }

    /// Checks everything but the signatures: the record leads to the root in the receipt, the
    /// receipt seals this stream and hour, and it leads to the root of the checkpoint. Whether
    /// that checkpoint is to be trusted is the caller's to ask ([`crate::verify::verify`] does).
    pub fn check(&self) -> Result<Checkpoint, VmProofError> {
        let note = Note::parse(self.tlog.checkpoint.as_bytes())?;
        let checkpoint = Checkpoint::parse(&note.text)?;
        let leaf = Sha256Tree::leaf(self.receipt.as_bytes());
        verify_inclusion::<Sha256Tree>(
            self.tlog.index,
            checkpoint.size,
            &leaf,
            &self.tlog.hashes,
            &checkpoint.root,
        )
        .map_err(VmProofError::Receipt)?;
        let receipt = check_line(self.receipt.as_bytes()).map_err(|e| malformed(&e.to_string()))?;
        let seq = receipt.get("seq").map_or_else(|| "none".to_owned(), Value::to_string);
        agree("receipt number", &self.tlog.index.to_string(), &seq)?;
        if let Some(record) = &self.record {
            record.check(&receipt)?;
        }
        Ok(checkpoint)
    }
}

impl ProvenRecord {
    fn check(&self, receipt: &Map<String, Value>) -> Result<(), VmProofError> {
        let seal = SealOf::read(receipt)?;
        agree("stream", &self.scope.stream, seal.stream)?;
        agree("hour", &self.scope.hour, &seal.hour)?;
        agree("leaf kind", &self.scope.kind, seal.leaf)?;
        agree("record count", &self.proof.count.to_string(), seal.count)?;
        let root = self.proof.root(&self.scope, &self.record).map_err(VmProofError::Record)?;
        match hash_eq(&root, &seal.root) {
            true => Ok(()),
            false => Err(VmProofError::Record(ProofError::RootMismatch)),
        }
    }

    fn is_binary(&self) -> bool {
        self.scope.kind == LEAF_SERIES
    }
}

/// What a seal's receipt says of its records.
struct SealOf<'a> {
    stream: &'a str,
    hour: String,
    leaf: &'a str,
    count: &'a str,
    root: Hash,
}

impl<'a> SealOf<'a> {
    fn read(receipt: &'a Map<String, Value>) -> Result<Self, ProofError> {
        let kind = receipt.get("type").and_then(Value::as_str).unwrap_or_default();
        if !matches!(
            kind,
            "obs_metric_snapshot" | "obs_log_batch" | "obs_trace_batch" | "obs_reseal"
        ) {
            return Err(malformed("the receipt seals no hour"));
        }
        let text = |object: Option<&'a Value>, name: &str| {
            object.and_then(|o| o.get(name)).and_then(Value::as_str)
        };
        let records = receipt.get("records");
        let end = text(receipt.get("period"), "end").and_then(parse_rfc3339);
        let (Some(stream), Some(end), Some(leaf), Some(count), Some(root)) = (
            receipt.get("stream").and_then(Value::as_str),
            end,
            text(records, "leaf"),
            text(records, "count"),
            text(records, "root"),
        ) else {
            return Err(malformed("the receipt lacks stream, period or records"));
        };
        let root = hash_from_text("records root", "sha256:", root)?;
        Ok(Self { stream, hour: format_rfc3339(end), leaf, count, root })
    }
}

fn agree(what: &'static str, proof: &str, receipt: &str) -> Result<(), VmProofError> {
    match proof == receipt {
        true => Ok(()),
        false => Err(VmProofError::Disagree {
            what,
            proof: proof.to_owned(),
            receipt: receipt.to_owned(),
        }),
    }
}

fn malformed(reason: &str) -> ProofError {
    ProofError::malformed("proof file", reason)
}

fn closing_line(body: &str) -> String {
    format!("sha256 {}\n", to_hex(&Sha256::digest(body.as_bytes())))
}

/// The record's part and what follows it.
fn parse_record(text: &str) -> Result<(ProvenRecord, &str), ProofError> {
    let (head, rest) =
        text.split_once("\n\n").ok_or_else(|| malformed("no empty line behind the path"))?;
    let mut lines = head.split('\n');
    let mut field = |name: &'static str| {
        lines
            .next()
            .and_then(|l| l.strip_prefix(name))
            .and_then(|l| l.strip_prefix(' '))
            .ok_or_else(|| malformed(&format!("no line {name:?} in its place")))
    };
    let number = |text: &str| parse_decimal(text).ok_or_else(|| malformed("not a number"));
    let scope = RecordScope::new(field("kind")?, field("stream")?, field("hour")?);
    let (index, count) = (number(field("index")?)?, number(field("count")?)?);
    let salt = from_base64("salt", field("salt")?)?;
    let salt: [u8; 16] = salt.as_slice().try_into().map_err(|_wrong| ProofError::Length {
        what: "salt",
        want: 16,
        got: salt.len(),
    })?;
    let path = lines
        .map(|l| hash_from_slice("path hash", &from_base64("path hash", l)?))
        .collect::<Result<Vec<Hash>, ProofError>>()?;
    if path.len() > HASHES_MAX {
        return Err(malformed("more than 63 hashes in the record's path"));
    }
    let (line, rest) = rest.split_once('\n').ok_or_else(|| malformed("ends inside the record"))?;
    let record = match (line.strip_prefix("text "), line.strip_prefix("data ")) {
        (Some(text), _) if scope.kind != LEAF_SERIES => text.as_bytes().to_vec(),
        (_, Some(data)) if scope.kind == LEAF_SERIES => from_base64("record", data)?,
        _ => return Err(malformed("no record in the form of its kind")),
    };
    Ok((ProvenRecord { scope, proof: RecordProof { index, count, salt, path }, record }, rest))
}

impl fmt::Display for VmProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut body = format!("{HEADER}\n");
        if let Some(r) = &self.record {
            body.push_str(&format!(
                "kind {}\nstream {}\nhour {}\nindex {}\ncount {}\nsalt {}\n",
                r.scope.kind,
                r.scope.stream,
                r.scope.hour,
                r.proof.index,
                r.proof.count,
                to_base64(&r.proof.salt)
            ));
            for hash in &r.proof.path {
                body.push_str(&to_base64(hash));
                body.push('\n');
            }
            body.push('\n');
            match r.is_binary() {
                true => body.push_str(&format!("data {}\n", to_base64(&r.record))),
                false => body.push_str(&format!("text {}\n", String::from_utf8_lossy(&r.record))),
            }
        } else {
            body.push('\n');
        }
        body.push_str(&format!("receipt {}\n\n{}", self.receipt, self.tlog));
        write!(f, "{body}{}", closing_line(&body))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::canonical::object_to_line;
    use crate::note::{KeyKind, SignerKey};
    use crate::record::{LEAF_LOG, RecordTreeBuilder, hour_key, salt};
    use crate::tree::Tree;
    use crate::verify::{Code, Parsed, VerifyOptions, verify};
    use serde_json::json;

    const ORIGIN: &str = "vm-obs.site/node-1/observability";
    const HOUR: &str = "2025-12-06T14:00:00Z";

    fn signer() -> SignerKey {
        SignerKey::from_seed(ORIGIN, KeyKind::Ed25519, &[5; 32]).unwrap()
    }

    fn log_line(i: u64) -> String {
        format!("{{\"body\":\"GET /orders/{i} took 12 ms\",\"service\":\"web\",\"n\":{i}}}")
    }

    /// A seal's line with the fields that a busy hour has.
    fn seal(root: &Hash, count: u64, seq: u64) -> String {
        let value = json!({
            "v": 1, "type": "obs_log_batch", "seq": seq, "timestamp": "2025-12-06T14:00:03Z",
            "root_hash": format!("blake3:{}", "a".repeat(64)),
            "stream": "logs", "batch_id": "logs-2025-12-06-14",
            "period": {"start": "2025-12-06T13:00:00Z", "end": HOUR},
            "storage_path": "telemetry/logs/2025-12-06/hour-14.jsonl.gz",
            "content_hash": format!("blake3:{}", "b".repeat(64)), "content_bytes": "18000000",
            "records": {"count": count.to_string(), "leaf": LEAF_LOG,
                "root": crate::hash::sha256_text(root)},
            "log_counts": {"trace": 0, "debug": 10, "info": 60000, "warn": 5, "error": 1, "fatal": 0},
            "services_reporting": ["web", "guardian", "treasury", "identity"],
            "collection": {"targets": 5, "scrapes_expected": 1200, "scrapes_ok": 1200, "gaps": [],
                "rejected": {}, "sampled_out": "0"},
            "checkpoint_seen": {"size": "70000", "root": crate::hash::sha256_text(root),
                "cosig_time": null},
            "clock": {"step_ms": "0", "uptime_ms": "3600000"}, "tags": ["observability", "logs"],
        });
        object_to_line(value.as_object().unwrap()).unwrap()
    }

    fn tlog_proof(line: &str, seq: u64, size: u64) -> String {
        let leaf = |i: u64| match i == seq {
            true => Sha256Tree::leaf(line.as_bytes()),
            false => Sha256Tree::leaf(&i.to_be_bytes()),
        };
        let tree = Tree::<Sha256Tree>::from_leaf_hashes((0..size).map(leaf));
        let checkpoint = Checkpoint { origin: ORIGIN.to_owned(), size, root: tree.root() };
        let mut note = checkpoint.to_note().unwrap();
        note.sign(&signer(), 0);
        let hashes = tree.inclusion_proof(seq, size).unwrap();
        let checkpoint = note.to_string();
        TlogProof { extra: None, index: seq, hashes, checkpoint }.to_string()
    }

    /// Record 41 of `count`, sealed by receipt `size / 3` of `size`.
    fn proof(count: u64, size: u64) -> VmProof {
        let key = hour_key(&[7; 32], "logs", HOUR, 0);
        let scope = RecordScope::new(LEAF_LOG, "logs", HOUR);
        let mut builder = RecordTreeBuilder::new(scope.clone(), key);
        (0..count).for_each(|i| builder.push(log_line(i).as_bytes()));
        let tree = builder.finish();
        let leaves: Vec<Hash> = tree
            .block_range(41)
            .unwrap()
            .map(|i| scope.leaf(&salt(&key, i), log_line(i).as_bytes()))
            .collect();
        let path = tree.prove(41, &key, &leaves).unwrap();
        let line = seal(&tree.root, count, size / 3);
        let record = ProvenRecord { scope, proof: path, record: log_line(41).into_bytes() };
        VmProof::new(Some(record), &line, &tlog_proof(&line, size / 3, size)).unwrap()
    }

    fn exit_of(bytes: &[u8], args: &[&str]) -> (u8, crate::verify::VerifyReport) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.vmproof");
        std::fs::write(&path, bytes).unwrap();
        let words = std::iter::once(path.display().to_string());
        let words = words.chain(args.iter().map(|a| (*a).to_owned()));
        let Ok(Parsed::Run(options)) = VerifyOptions::parse(words) else { panic!("{args:?}") };
        let report = verify(&options).unwrap();
        (report.exit_code(), report)
    }

    #[test]
    fn a_log_line_is_proven_in_less_than_four_kilobytes() {
        let proof = proof(70_000, 70_000);
        let text = proof.to_string();
        // 300,000 records in a log of a million receipts have six more hashes of 45 bytes.
        assert!(text.len() + 6 * 45 <= 4_096, "{} bytes", text.len());
        let key = signer().verifier().to_string();
        let (exit, report) = exit_of(text.as_bytes(), &["--log-key", &key]);
        assert_eq!(exit, 0, "{report}");
        let shown = report.proven.clone().and_then(|p| p.record).unwrap();
        assert_eq!((shown.index, shown.record), (41, log_line(41).into_bytes()));
        assert!(report.to_string().contains("GET /orders/41"), "{report}");
    }

    #[test]
    fn trust_comes_from_the_reader_alone() {
        let text = proof(3 + 41, 5).to_string();
        let (exit, report) = exit_of(text.as_bytes(), &[]);
        assert!(exit == 2 && report.has(Code::NoLogKey), "{report}");
        let other = SignerKey::from_seed(ORIGIN, KeyKind::Ed25519, &[6; 32]).unwrap();
        let (exit, report) =
            exit_of(text.as_bytes(), &["--log-key", &other.verifier().to_string()]);
        assert!(exit == 1 && report.has(Code::BadLogSignature), "{report}");
        let key = signer().verifier().to_string();
        let args = ["--log-key", &key, "--require-witness"];
        assert_eq!(exit_of(text.as_bytes(), &args).0, 3);
    }

    #[test]
    fn every_single_byte_flip_is_found() {
        let text = proof(300, 5).to_string().into_bytes();
        let key = signer().verifier();
        for at in 0..text.len() {
            let mut bad = text.clone();
            bad[at] ^= 1 << (at % 8);
            let parsed = std::str::from_utf8(&bad).map(VmProof::parse);
            assert!(!matches!(parsed, Ok(Ok(_))), "byte {at}");
        }
        let args = ["--log-key", &key.to_string()];
        for at in (0..text.len()).step_by(97) {
            let mut bad = text.clone();
            bad[at] ^= 4;
            assert_ne!(exit_of(&bad, &args).0, 0, "byte {at}");
            assert_ne!(exit_of(&text[..at], &args).0, 0, "cut at {at}");
        }
    }

    /// Whoever forges a proof can compute its closing hash.
    #[test]
    fn a_forged_proof_with_a_right_closing_hash_is_refused() {
        let good = proof(300, 5);
        let key = signer().verifier().to_string();
        let refused = |change: &dyn Fn(&mut VmProof), code: Code| {
            let mut bad = good.clone();
            change(&mut bad);
            let (exit, report) = exit_of(bad.to_string().as_bytes(), &["--log-key", &key]);
            assert!(exit == 1 && report.has(code), "{code}: {report}");
            assert!(report.proven.is_none());
        };
        let record = |p: &mut VmProof| p.record.clone().unwrap();
        refused(
            &|p| p.record = Some(ProvenRecord { record: b"x".to_vec(), ..record(p) }),
            Code::RecordsMismatch,
        );
        refused(&|p| p.record.as_mut().unwrap().proof.salt[3] ^= 1, Code::RecordsMismatch);
        refused(&|p| p.record.as_mut().unwrap().proof.index += 1, Code::RecordsMismatch);
        refused(&|p| p.record.as_mut().unwrap().proof.path.truncate(2), Code::RecordsMismatch);
        refused(&|p| p.record.as_mut().unwrap().proof.count += 1, Code::ProofMismatch);
        refused(
            &|p| p.record.as_mut().unwrap().scope.hour = "2025-12-06T15:00:00Z".to_owned(),
            Code::ProofMismatch,
        );
        refused(
            &|p| p.record.as_mut().unwrap().scope.stream = "other".to_owned(),
            Code::ProofMismatch,
        );
        refused(&|p| p.receipt = p.receipt.replace("60000", "60001"), Code::RootMismatch);
        refused(&|p| p.tlog.hashes[0][0] ^= 1, Code::RootMismatch);
        let checkpoint = |p: &mut VmProof| {
            p.tlog.checkpoint = p.tlog.checkpoint.replacen("\n5\n", "\n6\n", 1);
        };
        refused(&checkpoint, Code::BadLogSignature);
    }

    #[test]
    fn a_receipt_alone() {
        let line = seal(&[9; 32], 3, 1);
        let proof = VmProof::new(None, &line, &tlog_proof(&line, 1, 4)).unwrap();
        let text = proof.to_string();
        assert!(text.starts_with("vmobs-proof/1\n\nreceipt {"), "{text}");
        let key = signer().verifier().to_string();
        assert_eq!(exit_of(text.as_bytes(), &["--log-key", &key]).0, 0);
        let other = seal(&[8; 32], 3, 1);
        assert!(VmProof::new(None, &other, &tlog_proof(&line, 1, 4)).is_err());
        // A receipt that says another number than its place in the tree.
        let wrong = seal(&[9; 32], 3, 2);
        assert!(VmProof::new(None, &wrong, &tlog_proof(&wrong, 1, 4)).is_err());
    }
}
