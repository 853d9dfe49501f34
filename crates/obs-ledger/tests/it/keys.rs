//! Another key follows the log's, an earlier one is taken back; what is forged of it is found.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use obs_disk::{Clock, FakeDisk, Fault, ManualClock, RealDisk};
use obs_ledger::{KeyPlan, Ledger, LedgerConfig, LedgerError, key_files};
use obs_proof::checkpoint::Checkpoint;
use obs_proof::hash::blake3_text;
use obs_proof::keys::{REVOKE, ROTATE, Revocation, Rotation};
use obs_proof::note::{KeyKind, Note, SignerKey, VerifierKey};
use obs_proof::tree::Frontier;
use obs_proof::verify::{Code, Parsed, VerifyOptions, VerifyReport, verify};
use obs_proof::{Blake3Tree, Sha256Tree, TreeHash, canonical};
use obs_types::TimestampMs;
use serde_json::{Map, Value, json};

use crate::second_verifier::{first, python, second};
use crate::support::{DATA, HOUR, ORIGIN, alert, clock, config, lines, open_fake, verify_fake};
use crate::tamper::{CHECKPOINT, LOG};

const DAY: i64 = 24 * HOUR;

fn change(config: &LedgerConfig, ledger: &Ledger, plan: &KeyPlan) -> Result<Vec<u64>, LedgerError> {
    let statements =
        key_files(config, &ledger.key_chain(), ledger.head().size, plan, "the yearly change")?;
    ledger.change_keys(statements)
}

/// On a fake disk, whose clock is [`clock`]'s.
pub(crate) fn rotate(
    disk: &FakeDisk,
    ledger: &Ledger,
    overlap_ms: i64,
    revoke: bool,
) -> Result<Vec<u64>, LedgerError> {
    let clock = clock();
    let overlap_until = TimestampMs(clock.now().0 + overlap_ms);
    let config = config(Arc::new(disk.clone()), clock, Path::new(DATA));
    change(&config, ledger, &KeyPlan::Rotate { overlap_until, revoke })
}

struct Store {
    dir: tempfile::TempDir,
    clock: Arc<ManualClock>,
    ledger: Ledger,
    first: String,
}

impl Store {
    fn new() -> Self {
        let (dir, clock) = (tempfile::tempdir().unwrap(), clock());
        let ledger = Ledger::open(config(Arc::new(RealDisk), clock.clone(), dir.path())).unwrap();
        ledger.append(vec![alert(1)]).unwrap();
        let first = ledger.head().log_vkey;
        Self { dir, clock, ledger, first }
    }

    fn config(&self) -> LedgerConfig {
        config(Arc::new(RealDisk), self.clock.clone(), self.dir.path())
    }

    fn rotate(&self, overlap_ms: i64, revoke: bool) -> Result<Vec<u64>, LedgerError> {
        let overlap_until = TimestampMs(self.clock.now().0 + overlap_ms);
        change(&self.config(), &self.ledger, &KeyPlan::Rotate { overlap_until, revoke })
    }

    fn revoke(&self, key: &str) -> Result<Vec<u64>, LedgerError> {
        let key = Box::new(VerifierKey::parse(key).unwrap());
        change(&self.config(), &self.ledger, &KeyPlan::Revoke { key })
    }

    fn reopen(&mut self) {
        self.ledger.shutdown().unwrap();
        self.ledger = Ledger::open(self.config()).unwrap();
    }

    fn state_files(&self) -> Vec<String> {
        let entries = fs::read_dir(self.dir.path().join("state")).unwrap();
        let mut names: Vec<String> =
            entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.retain(|n| n.starts_with("ledger.key"));
        names.sort();
        names
    }

    fn signatures(&self) -> usize {
        let note = Note::parse(self.ledger.head().checkpoint.as_bytes()).unwrap();
        note.signatures.len()
    }
}

/// Both verifiers, with one key pinned.
fn pinned(dir: &Path, key: &str) -> VerifyReport {
    let args = vec!["--log-key".to_owned(), key.to_owned()];
    let words = std::iter::once(dir.display().to_string()).chain(args.iter().cloned());
    let Ok(Parsed::Run(options)) = VerifyOptions::parse(words) else { panic!("{key}") };
    if python() {
        assert_eq!(second(dir, &args), first(dir, &args));
    }
    verify(&options).unwrap()
}

#[test]
fn both_keys_sign_during_the_overlap_and_then_the_new_one_alone() {
    let mut store = Store::new();
    assert_eq!(store.rotate(30 * DAY, false).unwrap(), [1]);
    let new = store.ledger.head().log_vkey;
    assert_ne!(new, store.first);
    assert_eq!((store.signatures(), store.ledger.log_keys().len()), (2, 2));
    assert_eq!(store.state_files(), ["ledger.key", "ledger.key.old"]);
    for key in [&store.first, &new] {
        let report = pinned(store.dir.path(), key);
        assert_eq!(report.exit_code(), 0, "{report}");
        assert_eq!(report.has(Code::KeyRotated), *key == store.first, "{report}");
    }
    assert!(matches!(store.rotate(DAY, false), Err(LedgerError::KeyChange { .. })), "two sign");

    store.reopen();
    assert_eq!((store.ledger.head().log_vkey, store.signatures()), (new.clone(), 2));
    store.clock.advance(std::time::Duration::from_millis(30 * DAY as u64 + 1));
    store.ledger.append(vec![alert(2)]).unwrap();
    assert_eq!(store.signatures(), 1);
    store.reopen();
    assert_eq!(store.state_files(), ["ledger.key"], "what never signs again is not kept");
    for key in [&store.first, &new] {
        assert_eq!(pinned(store.dir.path(), key).exit_code(), 0, "the chain leads from {key}");
    }
    let mode = {
        use std::os::unix::fs::PermissionsExt;
        fs::metadata(store.dir.path().join("state/ledger.key")).unwrap().permissions().mode()
    };
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(store.rotate(0, false).unwrap(), [3], "and again");
    assert_eq!(pinned(store.dir.path(), &store.first).exit_code(), 0);
}

#[test]
fn a_key_that_is_known_to_others_is_replaced_and_taken_back_in_one_commit() {
    let mut store = Store::new();
    assert_eq!(store.rotate(30 * DAY, true).unwrap(), [1, 2]);
    assert_eq!((store.signatures(), store.state_files()), (1, vec!["ledger.key".to_owned()]));
    store.reopen();
    store.ledger.append(vec![alert(2)]).unwrap();
    assert_eq!(pinned(store.dir.path(), &store.first).exit_code(), 0);
    // During an overlap the older one can be taken back as well, and no other.
    let second = store.ledger.head().log_vkey;
    store.rotate(30 * DAY, false).unwrap();
    let third = store.ledger.head().log_vkey;
    assert_eq!(store.signatures(), 2);
    assert!(matches!(store.revoke(&third), Err(LedgerError::KeyChange { .. })));
    store.revoke(&second).unwrap();
    assert_eq!((store.signatures(), store.state_files().len()), (1, 1));
    for key in [&store.first, &second, &third] {
        assert_eq!(pinned(store.dir.path(), key).exit_code(), 0);
    }
}

#[test]
fn statements_come_by_their_own_way_and_whole() {
    let store = Store::new();
    let config = store.config();
    let until = TimestampMs(store.clock.now().0 + DAY);
    let plan = KeyPlan::Rotate { overlap_until: until, revoke: false };
    let good = key_files(&config, &[], 1, &plan, "yearly").unwrap();
    for (field, value) in [
        ("type", json!("obs_alert_ack")),
        ("type", json!("key_rotate")),
        ("surprise", json!(1)),
        ("reason", json!("another")),
        ("size", json!("9")),
        ("signature_old", good[0]["signature_new"].clone()),
    ] {
        let mut bad = good.clone();
        bad[0].insert(field.to_owned(), value);
        let refused = store.ledger.change_keys(bad);
        assert!(matches!(refused, Err(LedgerError::KeyChange { .. })), "{field}: {refused:?}");
    }
    assert!(matches!(store.ledger.change_keys(Vec::new()), Err(LedgerError::KeyChange { .. })));
    let next = store.dir.path().join("state/ledger.key.next");
    let kept = fs::read(&next).unwrap();
    fs::remove_file(&next).unwrap();
    let refused = store.ledger.change_keys(good.clone());
    assert!(matches!(refused, Err(LedgerError::KeyChange { .. })), "nobody holds the new key");
    {
        use std::os::unix::fs::PermissionsExt;
        fs::write(&next, kept).unwrap();
        let refused = store.ledger.change_keys(good.clone());
        assert!(matches!(refused, Err(LedgerError::KeyExposed { .. })), "{refused:?}");
        fs::set_permissions(&next, fs::Permissions::from_mode(0o600)).unwrap();
    }
    store.ledger.change_keys(good.clone()).unwrap();
    assert!(matches!(store.ledger.change_keys(good), Err(LedgerError::KeyChange { .. })), "once");
}

/// An older key file, restored from a backup, is not signed with.
#[test]
fn an_earlier_key_file_is_refused() {
    let store = Store::new();
    let path = store.dir.path().join("state/ledger.key");
    let old = fs::read(&path).unwrap();
    store.rotate(0, false).unwrap();
    store.ledger.shutdown().unwrap();
    fs::write(&path, old).unwrap();
    let refused = Ledger::open(store.config()).unwrap_err();
    assert!(matches!(refused, LedgerError::KeyStale { .. }), "{refused}");
}

/// Every operation of a key change is broken in every way, then power is cut.
#[test]
fn a_crash_leaves_no_doubt_about_the_key() {
    for fault in [Fault::Fail, Fault::Tear, Fault::FailStored, Fault::Crash] {
        for n in 0.. {
            let what = format!("{fault:?} at {n}");
            let disk = FakeDisk::new();
            let ledger = open_fake(&disk, &clock()).unwrap();
            ledger.append(vec![alert(1)]).unwrap();
            disk.fault_after(n, fault);
            let done = rotate(&disk, &ledger, HOUR, false)
                .and_then(|_| ledger.append(vec![alert(2)]))
                .and_then(|_| {
                    let chain = ledger.key_chain();
                    let key = chain.first().map(|k| Box::new(k.key.clone())).unwrap();
                    let config = config(Arc::new(disk.clone()), clock(), Path::new(DATA));
                    change(&config, &ledger, &KeyPlan::Revoke { key })
                });
            let (reached, acked) = (disk.fault_reached(), done.is_ok());
            drop(ledger);
            disk.crash();
            let ledger = open_fake(&disk, &clock()).unwrap_or_else(|e| panic!("{what}: {e}"));
            ledger.append(vec![alert(3)]).unwrap_or_else(|e| panic!("{what}: {e}"));
            assert!(!acked || ledger.key_chain().len() == 2, "{what}: the change is lost");
            let report = verify_fake(&disk);
            assert_eq!(report.exit_code(), 0, "{what}: {report}");
            let size = ledger.head().size;
            drop(ledger);
            let again = open_fake(&disk, &clock()).unwrap_or_else(|e| panic!("{what}: {e}"));
            assert_eq!(again.head().size, size, "{what}");
            again.append(vec![alert(4)]).unwrap_or_else(|e| panic!("{what}: {e}"));
            if !reached {
                assert!(n > 20 && acked, "{what}");
                break;
            }
        }
    }
}

fn signer(seed: u8) -> SignerKey {
    SignerKey::from_seed(ORIGIN, KeyKind::Ed25519, &[seed; 32]).unwrap()
}

fn rotation(old: &SignerKey, new: &SignerKey, signed_by: &SignerKey) -> Map<String, Value> {
    let statement = Rotation {
        origin: ORIGIN.to_owned(),
        old: old.verifier(),
        new: new.verifier(),
        overlap_until: 1_765_100_000_000,
        size: 0,
        reason: "yearly".to_owned(),
    };
    let mut fields = statement.sign(old, new).unwrap();
    let by = signed_by.sign(&statement.text(), 0).signature;
    fields.insert("signature_old".to_owned(), json!(obs_proof::hash::to_base64(&by)));
    fields.insert("type".to_owned(), json!(ROTATE));
    fields
}

fn revocation(key: &SignerKey, by: &SignerKey) -> Map<String, Value> {
    let statement = Revocation {
        origin: ORIGIN.to_owned(),
        key: key.verifier(),
        size: 0,
        reason: "stolen".to_owned(),
    };
    let mut fields = statement.sign(by).unwrap();
    fields.insert("type".to_owned(), json!(REVOKE));
    fields
}

/// A log with these receipts whose checkpoint these keys have signed, as somebody who holds them
/// could write it.
fn forged(receipts: Vec<Map<String, Value>>, at: &str, keys: &[&SignerKey]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let (mut tree, mut chain, mut log) =
        (Frontier::<Sha256Tree>::default(), Frontier::<Blake3Tree>::default(), String::new());
    for mut receipt in receipts {
        receipt.insert("v".to_owned(), json!(1));
        receipt.insert("seq".to_owned(), json!(tree.size()));
        receipt.insert("timestamp".to_owned(), json!(at));
        receipt.insert("root_hash".to_owned(), json!(blake3_text(&chain.root())));
        let line = canonical::object_to_line(&receipt).unwrap();
        tree.push(Sha256Tree::leaf(line.as_bytes()));
        chain.push(Blake3Tree::leaf(line.as_bytes()));
        log.push_str(&line);
        log.push('\n');
    }
    let checkpoint = Checkpoint { origin: ORIGIN.to_owned(), size: tree.size(), root: tree.root() };
    let mut note = checkpoint.to_note().unwrap();
    keys.iter().for_each(|k| note.sign(k, 0));
    fs::create_dir_all(dir.path().join("receipts/observability")).unwrap();
    fs::write(dir.path().join(LOG), log).unwrap();
    fs::write(dir.path().join(CHECKPOINT), note.to_string()).unwrap();
    let root = format!("{}\n", blake3_text(&chain.root()));
    fs::write(dir.path().join("ROOT.observability.txt"), root).unwrap();
    dir
}

#[test]
fn forged_changes_are_found() {
    let (a, b, c, d) = (signer(1), signer(2), signer(3), signer(4));
    let other = || Map::from_iter([("type".to_owned(), json!("obs_gap_not"))]);
    let (early, late) = ("2025-12-07T00:00:00Z", "2025-12-09T00:00:00Z");
    let good = || vec![other(), rotation(&a, &b, &a), other()];
    let with = |more: Map<String, Value>| {
        let mut all = good();
        all.push(more);
        all.push(other());
        all
    };
    let cases: Vec<(&str, tempfile::TempDir, &SignerKey, Option<Code>)> = vec![
        ("in order", forged(good(), early, &[&b, &a]), &a, None),
        ("one of two", forged(good(), early, &[&a]), &a, Some(Code::KeySignatureMissing)),
        ("the other of two", forged(good(), early, &[&b]), &b, Some(Code::KeySignatureMissing)),
        ("another's beside it", forged(good(), early, &[&b, &a]), &b, None),
        ("the old key alone, too late", forged(good(), late, &[&a]), &a, Some(Code::KeyNotValid)),
        ("both, too late for one", forged(good(), late, &[&b, &a]), &a, None),
        ("by the new key alone", forged(good(), late, &[&b]), &a, None),
        (
            "nobody whom the reader knows",
            forged(good(), early, &[&b]),
            &c,
            Some(Code::BadLogSignature),
        ),
        (
            "a rotation that the old key never signed",
            forged(vec![other(), rotation(&a, &d, &d)], early, &[&d]),
            &a,
            Some(Code::BadLogSignature),
        ),
        (
            "the same, signed by both",
            forged(vec![other(), rotation(&a, &d, &d)], early, &[&d, &a]),
            &a,
            Some(Code::KeyChainBroken),
        ),
        (
            "by a key that never was the log's",
            forged(with(rotation(&c, &d, &c)), early, &[&b]),
            &a,
            Some(Code::KeyChainBroken),
        ),
        (
            "by the key before, once more",
            forged(with(rotation(&a, &d, &a)), early, &[&d]),
            &a,
            Some(Code::KeyChainBroken),
        ),
        ("revoked", forged(with(revocation(&a, &b)), early, &[&b]), &a, None),
        (
            "signed after it was revoked",
            forged(with(revocation(&a, &b)), early, &[&a]),
            &a,
            Some(Code::KeyNotValid),
        ),
        (
            "revoked by itself",
            forged(with(revocation(&a, &a)), early, &[&b]),
            &a,
            Some(Code::KeyChainBroken),
        ),
        (
            "the current key revoked",
            forged(with(revocation(&b, &b)), early, &[&b]),
            &a,
            Some(Code::KeyChainBroken),
        ),
    ];
    for (what, dir, key, found) in cases {
        let report = pinned(dir.path(), &key.verifier().to_string());
        match found {
            None => assert_eq!(report.exit_code(), 0, "{what}: {report}"),
            Some(code) => {
                let exit = if code == Code::KeySignatureMissing { 3 } else { 1 };
                assert_eq!(report.exit_code(), exit, "{what}: {report}");
                assert!(report.has(code), "{what}: {report}");
            }
        }
    }
}

/// What witnesses have cosigned stays readable when the key that signed it is gone.
#[test]
fn a_cosigned_checkpoint_outlives_the_key() {
    let disk = FakeDisk::new();
    let ledger = open_fake(&disk, &clock()).unwrap();
    ledger.append(vec![alert(1)]).unwrap();
    let witness = SignerKey::from_seed("w.example", KeyKind::CosignatureV1, &[9; 32]).unwrap();
    let mut note = Note::parse(ledger.head().checkpoint.as_bytes()).unwrap();
    note.sign(&witness, 1_765_026_000);
    ledger.store_cosigned(&note, &[&witness.verifier()]).unwrap();
    rotate(&disk, &ledger, 0, true).unwrap();
    ledger.append(vec![alert(2)]).unwrap();
    assert_eq!(lines(&ledger).len(), 4);
    drop(ledger);
    let again = open_fake(&disk, &clock()).unwrap();
    assert_eq!(again.cosigned().unwrap().size, 1);
    assert_eq!(verify_fake(&disk).exit_code(), 0);
}

/// Whichever key is pinned, also while two keys sign.
#[test]
fn every_single_byte_flip_is_found() {
    let store = Store::new();
    store.rotate(30 * DAY, false).unwrap();
    let new = store.ledger.head().log_vkey;
    for key in [&store.first, &new] {
        let mut options = VerifyOptions::new(store.dir.path());
        options.log_keys = vec![VerifierKey::parse(key).unwrap()];
        assert_eq!(verify(&options).unwrap().exit_code(), 0);
        for file in [LOG, CHECKPOINT] {
            let path = store.dir.path().join(file);
            let bytes = fs::read(&path).unwrap();
            for at in 0..bytes.len() {
                let mut bad = bytes.clone();
                bad[at] ^= 1 << (at % 8);
                fs::write(&path, &bad).unwrap();
                let report = verify(&options).unwrap();
                assert_ne!(report.exit_code(), 0, "{file} byte {at}: {report}");
            }
            fs::write(&path, &bytes).unwrap();
        }
    }
}
