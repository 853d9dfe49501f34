//! Witness and log together: one history, cosigned, kept, and checked by an outsider.

use std::path::Path;
use std::sync::Arc;

use obs_disk::{Disk, FakeDisk, ManualClock, RealDisk};
use obs_ledger::{
    Asked, Cosigners, Ledger, LedgerError, Round, Transport, Witness, WitnessConfig, WitnessError,
};
use obs_proof::note::{KeyKind, Note, NoteSignature, SignerKey, VerifierKey};
use obs_proof::policy::Policy;
use obs_proof::verify::{Code, Parsed, VerifyOptions, VerifyReport, verify};
use obs_proof::witness::cosignature_in;
use obs_types::TimestampMs;

use crate::support::{
    DATA, HOUR, HOUR_13, ORIGIN, alert, clock, config, dump, lines, log_batch, open_fake, seal,
};

const DIR: &str = "/data/receipts/observability";

fn witness(disk: &FakeDisk, clock: &Arc<ManualClock>, logs: &[&str]) -> Witness {
    Witness::open(WitnessConfig {
        dir: Path::new("/witness").to_owned(),
        disk: Arc::new(disk.clone()),
        clock: clock.clone(),
        name: "w.test/witness".to_owned(),
        logs: logs.iter().map(|k| VerifierKey::parse(k).unwrap()).collect(),
    })
    .unwrap()
}

fn status(outcome: &Result<String, WitnessError>) -> (u16, String) {
    match outcome {
        Ok(line) => (200, line.clone()),
        Err(WitnessError::Refused(refusal)) => (refusal.status(), refusal.body()),
        Err(e) => panic!("{e}"),
    }
}

/// One round of asking: the newest checkpoint, cosigned and stored.
fn cosign(ledger: &Ledger, witness: &Witness, old: u64) -> NoteSignature {
    let head = ledger.head();
    let request = ledger.witness_request(&head.checkpoint, old).unwrap();
    let answer = witness.add_checkpoint(request.to_string().as_bytes()).unwrap();
    let key = VerifierKey::parse(&witness.vkey()).unwrap();
    let mut note = Note::parse(request.note.as_bytes()).unwrap();
    let signature = cosignature_in(&answer, &note.text, &key).unwrap();
    note.signatures.push(signature.clone());
    ledger.store_cosigned(&note, &[&key]).unwrap();
    signature
}

#[test]
fn the_published_transcript() {
    let file = std::env::var_os("VMOBS_VECTORS")
        .map_or_else(
            || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors"),
            Into::into,
        )
        .join("ledger/c2sp/witness_http.json");
    let Ok(text) = std::fs::read(&file) else {
        println!("skipped: no {}", file.display());
        return;
    };
    let all: serde_json::Value = serde_json::from_slice(&text).unwrap();
    let hex = all["log_ed25519_public_key_hex"].as_str().unwrap();
    let mut data = vec![1];
    data.extend(obs_proof::hash::from_hex("key", hex).unwrap());
    let origin = all["log_origin"].as_str().unwrap();
    let mut named = format!("{origin}\n").into_bytes();
    named.extend(&data);
    let id = obs_proof::hash::to_hex(&obs_proof::hash::sha256_of(&named)[..4]);
    let vkey = format!("{origin}+{id}+{}", obs_proof::hash::to_base64(&data));
    let (disk, clock) = (FakeDisk::new(), clock());
    let witness = witness(&disk, &clock, &[&vkey]);
    let steps = all["steps"].as_array().unwrap();
    assert_eq!(steps.len(), 9);
    for (i, step) in steps.iter().enumerate() {
        let body = step["body"].as_str().unwrap();
        let (got, answer) = status(&witness.add_checkpoint(body.as_bytes()));
        // Written before version 1.0 of the protocol, which says 404 of an unknown log.
        let want = if i == 2 { 404 } else { step["status"].as_u64().unwrap() };
        assert_eq!(u64::from(got), want, "step {i}: {answer}");
        if let Some(body) = step["body_equals"].as_str() {
            assert_eq!(answer, body, "step {i}");
        } else if want == 200 {
            assert!(answer.starts_with("— w.test/witness "), "step {i}: {answer}");
        } else {
            assert!(answer.contains(step["body_contains"].as_str().unwrap()), "step {i}: {answer}");
        }
    }
}

#[test]
fn one_history_and_what_contradicts_it_is_kept() {
    let (disk, clock) = (FakeDisk::new(), clock());
    let ledger = open_fake(&disk, &clock).unwrap();
    ledger.append((0..5).map(alert).collect()).unwrap();
    let fork = FakeDisk::new();
    for (path, _len) in disk.files() {
        fork.create_dir_all(path.parent().unwrap()).unwrap();
        obs_disk::write_durable(&fork, &path, &disk.read(&path).unwrap()).unwrap();
    }
    let vkey = ledger.head().log_vkey;
    let home = FakeDisk::new();
    let w = witness(&home, &clock, &[&vkey]);
    let first = cosign(&ledger, &w, 0);
    // The clock goes back, the cosignature's time does not.
    clock.set(TimestampMs(HOUR_13));
    let again = cosign(&ledger, &w, 5);
    assert!(again.cosignature_time() >= first.cosignature_time());
    clock.set(TimestampMs(HOUR_13 + 10 * HOUR));

    // The same key signs another sixth receipt elsewhere: the second to come is refused.
    let other = open_fake(&fork, &clock).unwrap();
    ledger.append(vec![alert(6)]).unwrap();
    other.append(vec![alert(7), alert(8)]).unwrap();
    cosign(&ledger, &w, 5);
    let ask = |ledger: &Ledger, old: u64| {
        let head = ledger.head();
        let request = ledger.witness_request(&head.checkpoint, old).unwrap();
        status(&w.add_checkpoint(request.to_string().as_bytes()))
    };
    assert_eq!(ask(&other, 5), (409, "6\n".to_owned()));
    assert_eq!(ask(&other, 6).0, 422);
    let evidence = home.files().into_iter().filter(|(p, _)| p.starts_with("/witness/evidence"));
    assert_eq!(evidence.count(), 2);

    // A restart knows what it has cosigned; a file that cannot be read is not a first time.
    let w = witness(&home, &clock, &[&vkey]);
    let origin = obs_proof::hash::to_hex(&obs_proof::hash::sha256_of(ORIGIN.as_bytes()));
    let kept = w.checkpoint(&origin).unwrap().unwrap();
    assert!(kept.starts_with(&format!("{ORIGIN}\n6\n")), "{kept}");
    assert_eq!(w.checkpoint("00").unwrap(), None);
    assert_eq!(ask(&ledger, 0), (409, "6\n".to_owned()));
    let path = Path::new("/witness").join(format!("{origin}.checkpoint"));
    obs_disk::write_durable(&home, &path, b"nonsense").unwrap();
    let request = ledger.witness_request(&ledger.head().checkpoint, 0).unwrap();
    let outcome = w.add_checkpoint(request.to_string().as_bytes());
    assert!(matches!(outcome, Err(WitnessError::Ledger(_))));
}

#[test]
fn a_witness_that_fails_at_any_write_has_not_cosigned_two_histories() {
    for n in 0.. {
        let (disk, clock) = (FakeDisk::new(), clock());
        let ledger = open_fake(&disk, &clock).unwrap();
        ledger.append((0..3).map(alert).collect()).unwrap();
        let home = FakeDisk::new();
        let w = witness(&home, &clock, &[&ledger.head().log_vkey]);
        home.fault_after(n, obs_disk::Fault::Crash);
        let request = ledger.witness_request(&ledger.head().checkpoint, 0).unwrap();
        let given = w.add_checkpoint(request.to_string().as_bytes()).is_ok();
        let reached = home.fault_reached();
        home.crash();
        let w = witness(&home, &clock, &[&ledger.head().log_vkey]);
        let origin = obs_proof::hash::to_hex(&obs_proof::hash::sha256_of(ORIGIN.as_bytes()));
        let kept = w.checkpoint(&origin).unwrap().is_some();
        assert!(kept || !given, "fault at {n}: cosigned and forgotten");
        if !reached {
            assert!(n >= 4 && given);
            break;
        }
    }
}

fn options(dir: &Path, policy: &str, more: &[&str]) -> VerifyOptions {
    let file = dir.join("policy.txt");
    std::fs::write(&file, policy).unwrap();
    let mut args = vec![dir.display().to_string(), "--policy".into(), file.display().to_string()];
    args.extend(more.iter().map(|a| (*a).to_owned()));
    match VerifyOptions::parse(args).unwrap() {
        Parsed::Run(o) => *o,
        Parsed::Help => panic!("help"),
    }
}

/// The ledger's folder as an auditor gets it, under a policy that asks for the witness.
fn audited(disk: &FakeDisk, policy: &str, more: &[&str]) -> VerifyReport {
    let dir = tempfile::tempdir().unwrap();
    dump(disk, dir.path());
    verify(&options(dir.path(), policy, more)).unwrap()
}

#[test]
fn cosigned_prefixes_meet_the_policy_and_the_rest_is_named() {
    let (disk, clock) = (FakeDisk::new(), clock());
    let ledger = open_fake(&disk, &clock).unwrap();
    ledger.append((0..3).map(alert).collect()).unwrap();
    let w = witness(&FakeDisk::new(), &clock, &[&ledger.head().log_vkey]);
    let policy = format!("log {}\nwitness w {}\nquorum w\n", ledger.head().log_vkey, w.vkey());
    let report = audited(&disk, &policy, &[]);
    assert!(report.exit_code() == 3 && report.has(Code::WitnessQuorumMissing), "{report}");

    cosign(&ledger, &w, 0);
    let whole = audited(&disk, &policy, &[]);
    assert!(whole.exit_code() == 0 && !whole.has(Code::UnwitnessedTail), "{whole}");
    assert_eq!(whole.cosigned_by.len(), 1);
    assert!(ledger.head().checkpoint.contains("w.test/witness"), "the newest carries it");

    // Behind it only the log's key stands, and the report says for how much.
    clock.set(TimestampMs(HOUR_13 + 10 * HOUR + 60_000));
    ledger.append(vec![alert(4), alert(5)]).unwrap();
    let tail = audited(&disk, &policy, &[]);
    assert_eq!((tail.exit_code(), tail.unwitnessed_receipts), (0, 2), "{tail}");
    assert!(tail.has(Code::UnwitnessedTail), "{tail}");
    let strict = audited(&disk, &policy, &["--cosigned-within", "30s"]);
    assert!(strict.exit_code() == 3 && strict.has(Code::WitnessStale), "{strict}");
    clock.set(TimestampMs(HOUR_13 + 12 * HOUR));
    ledger.append(vec![alert(6)]).unwrap();
    let late = audited(&disk, &policy, &[]);
    assert!(late.exit_code() == 3 && late.has(Code::WitnessStale), "an hour by default: {late}");

    // A seal names the cosigned checkpoint and its time: it cannot be older.
    ledger.append(vec![log_batch(seal("logs", 0, 0, "telemetry/x", b"x"))]).unwrap();
    let line = lines(&ledger).pop().unwrap();
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(line["checkpoint_seen"]["size"], "3");
    assert_eq!(line["checkpoint_seen"]["cosig_time"], "2025-12-06T23:00:00Z");
    // A proof of what is cosigned carries the cosignature.
    assert!(ledger.tlog_proof(2).unwrap().contains("w.test/witness"));
    assert!(!ledger.tlog_proof(3).unwrap().contains("w.test/witness"));

    // After a restart all of that is still known.
    drop(ledger);
    let ledger = open_fake(&disk, &clock).unwrap();
    assert_eq!(ledger.cosigned().map(|c| c.size), Some(3));
}

#[test]
fn what_was_cosigned_cannot_be_taken_back() {
    let (disk, clock) = (FakeDisk::new(), clock());
    let ledger = open_fake(&disk, &clock).unwrap();
    ledger.append((0..3).map(alert).collect()).unwrap();
    let w = witness(&FakeDisk::new(), &clock, &[&ledger.head().log_vkey]);
    let policy = format!("log {}\nwitness w {}\nquorum w\n", ledger.head().log_vkey, w.vkey());
    let before: Vec<(std::path::PathBuf, Vec<u8>)> = disk
        .files()
        .into_iter()
        .map(|(path, _)| (path.clone(), disk.read(&path).unwrap()))
        .collect();
    ledger.append(vec![alert(4)]).unwrap();
    cosign(&ledger, &w, 0);
    drop(ledger);
    // Rolled back together with the second copy, but not with what the witness has signed.
    for (path, bytes) in before {
        obs_disk::write_durable(&disk, &path, &bytes).unwrap();
    }
    let report = audited(&disk, &policy, &[]);
    assert!(report.exit_code() == 1 && report.has(Code::Rollback), "{report}");
    assert!(matches!(open_fake(&disk, &clock), Err(LedgerError::RolledBack { .. })));
}

/// A data folder of two receipts, the first of them cosigned, and the policy that asks for it.
pub(crate) fn cosigned_store() -> (tempfile::TempDir, String) {
    let dir = tempfile::tempdir().unwrap();
    let clock = clock();
    let ledger = Ledger::open(config(Arc::new(RealDisk), clock.clone(), dir.path())).unwrap();
    ledger.append(vec![alert(1)]).unwrap();
    let w = witness(&FakeDisk::new(), &clock, &[&ledger.head().log_vkey]);
    cosign(&ledger, &w, 0);
    clock.set(TimestampMs(HOUR_13 + 10 * HOUR + 90_000));
    ledger.append(vec![alert(2)]).unwrap();
    ledger.shutdown().unwrap();
    let policy = format!("log {}\nwitness w {}\nquorum w\n", ledger.head().log_vkey, w.vkey());
    (dir, policy)
}

#[test]
fn every_flip_in_a_cosigned_checkpoint_is_found() {
    let (dir, policy) = cosigned_store();
    let options = options(dir.path(), &policy, &[]);
    assert_eq!(verify(&options).unwrap().exit_code(), 0);
    let path = dir.path().join("receipts/observability/checkpoint.cosigned");
    let bytes = std::fs::read(&path).unwrap();
    for at in 0..bytes.len() {
        let mut bad = bytes.clone();
        bad[at] ^= 1 << (at % 8);
        std::fs::write(&path, &bad).unwrap();
        let report = verify(&options).unwrap();
        assert_ne!(report.exit_code(), 0, "byte {at}: {report}");
    }
}

#[test]
fn only_cosignatures_over_this_log_are_stored() {
    let (disk, clock) = (FakeDisk::new(), clock());
    let ledger = open_fake(&disk, &clock).unwrap();
    ledger.append((0..3).map(alert).collect()).unwrap();
    let key = SignerKey::from_seed("w.test/x", KeyKind::CosignatureV1, &[3; 32]).unwrap();
    let note = Note::parse(ledger.head().checkpoint.as_bytes()).unwrap();
    let refused = |note: &Note| {
        matches!(ledger.store_cosigned(note, &[&key.verifier()]), Err(LedgerError::Cosigned(_)))
    };
    assert!(refused(&note), "no cosignature");
    let mut foreign = Note::new("another/log\n3\nAAAA\n").unwrap();
    foreign.sign(&key, 7);
    assert!(refused(&foreign));
    let mut good = note.clone();
    good.sign(&key, 7);
    ledger.store_cosigned(&good, &[&key.verifier()]).unwrap();
    assert!(disk.exists(&Path::new(DIR).join("checkpoint.cosigned")));

    ledger.freeze("a witness has seen 9 receipts");
    let e = ledger.append(vec![alert(9)]).unwrap_err();
    assert!(e.to_string().contains("9 receipts"), "{e}");
    assert_eq!(lines(&ledger).len(), 3, "reading goes on");
    drop(ledger);
    assert!(disk.exists(Path::new(DATA)));
}

/// Witnesses in this process, by the start of their address.
struct Here(Vec<(&'static str, Witness)>);

impl Here {
    fn find(&self, url: &str) -> Result<(&Witness, String), String> {
        let found = self.0.iter().find_map(|(base, w)| Some((w, url.strip_prefix(base)?)));
        let (witness, path) = found.ok_or("connection refused")?;
        Ok((witness, path.to_owned()))
    }
}

impl Transport for Here {
    fn post(&self, url: &str, _kind: &str, body: Vec<u8>) -> Result<(u16, Vec<u8>), String> {
        let (witness, path) = self.find(url)?;
        assert_eq!(path, "/add-checkpoint");
        let (status, answer) = status(&witness.add_checkpoint(&body));
        Ok((status, answer.into_bytes()))
    }

    fn get(&self, url: &str) -> Result<(u16, Vec<u8>), String> {
        let (witness, path) = self.find(url)?;
        let origin = path.trim_matches('/').split('/').next().unwrap().to_owned();
        let found = witness.checkpoint(&origin).unwrap();
        Ok(found.map_or((404, Vec::new()), |note| (200, note.into_bytes())))
    }
}

#[test]
fn rounds_gather_a_quorum_and_stop_a_second_history() {
    let (disk, clock) = (FakeDisk::new(), clock());
    let ledger = Arc::new(open_fake(&disk, &clock).unwrap());
    let vkey = ledger.head().log_vkey;
    let (homes, vkeys): (Vec<FakeDisk>, Vec<String>) = (0..2)
        .map(|_| {
            let home = FakeDisk::new();
            let key = witness(&home, &clock, &[&vkey]).vkey();
            (home, key)
        })
        .unzip();
    let policy = |urls: [&str; 2]| {
        let text = format!(
            "log {vkey}\nwitness a {} {}\nwitness b {} {}\ngroup q 2 a b\nquorum q\n",
            vkeys[0], urls[0], vkeys[1], urls[1]
        );
        Policy::parse(&text).unwrap()
    };
    let here = || {
        let open = |home: &FakeDisk| witness(home, &clock, &[&vkey]);
        Box::new(Here(vec![("http://a", open(&homes[0])), ("http://b/w", open(&homes[1]))]))
    };
    let other = Policy::parse(&format!("log {}\nquorum none\n", foreign_log())).unwrap();
    let refused = Cosigners::new(Arc::clone(&ledger), other, here());
    assert!(matches!(refused, Err(LedgerError::Policy { .. })));

    let good = policy(["http://a/", "http://b/w"]);
    let cosigners = Cosigners::new(Arc::clone(&ledger), good.clone(), here()).unwrap();
    assert_eq!(cosigners.round().unwrap(), Round::default(), "nothing to cosign yet");
    ledger.append((0..5).map(alert).collect()).unwrap();
    let round = cosigners.round().unwrap();
    assert!(round.quorum && round.size == 5, "{round:?}");
    ledger.append(vec![alert(5)]).unwrap();
    assert!(cosigners.round().unwrap().quorum);
    // After a restart the sizes that they have seen are learnt from them.
    let again = Cosigners::new(Arc::clone(&ledger), good.clone(), here()).unwrap();
    ledger.append(vec![alert(6)]).unwrap();
    assert!(again.round().unwrap().quorum);
    assert_eq!(ledger.cosigned().map(|c| c.size), Some(7));

    // One is away: no quorum, and what was stored stays.
    ledger.append(vec![alert(7)]).unwrap();
    let half = policy(["http://a", "http://nobody"]);
    let half = Cosigners::new(Arc::clone(&ledger), half, here()).unwrap().round().unwrap();
    assert!(!half.quorum && half.witnesses["a"] == Asked::Cosigned, "{half:?}");
    assert!(matches!(&half.witnesses["b"], Asked::Failed(why) if why.contains("refused")));
    assert_eq!(ledger.cosigned().map(|c| c.size), Some(7));
    drop((again, cosigners));

    // The log is rolled back with everything that this node has: the witnesses know better.
    let ledger = Arc::try_unwrap(ledger).unwrap();
    drop(ledger);
    let key = disk.read(Path::new("/data/state/ledger.key")).unwrap();
    let fresh = FakeDisk::new();
    fresh.create_dir_all(Path::new("/data/state")).unwrap();
    obs_disk::write_durable(&fresh, Path::new("/data/state/ledger.key"), &key).unwrap();
    let ledger = Arc::new(open_fake(&fresh, &clock).unwrap());
    ledger.append(vec![alert(0)]).unwrap();
    let cosigners = Cosigners::new(Arc::clone(&ledger), good, here()).unwrap();
    let round = cosigners.round().unwrap();
    assert!(!round.quorum, "{round:?}");
    assert!(matches!(round.witnesses["a"], Asked::Refused { status: 409, .. }), "{round:?}");
    let e = ledger.append(vec![alert(1)]).unwrap_err();
    assert!(e.to_string().contains("rolled back"), "{e}");
}

fn foreign_log() -> String {
    SignerKey::from_seed("log.test/other", KeyKind::Ed25519, &[9; 32])
        .unwrap()
        .verifier()
        .to_string()
}
