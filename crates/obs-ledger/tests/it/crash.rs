//! Every operation of opening and appending is broken in every way, then power is cut.

use obs_disk::{Disk, FakeDisk, Fault};
use obs_proof::checkpoint::Checkpoint;
use obs_proof::note::Note;
use std::path::Path;

use crate::support::{DATA, alert, clock, lines, open_fake, verify_fake};

const FAULTS: [Fault; 4] = [Fault::Fail, Fault::Tear, Fault::FailStored, Fault::Crash];

/// What a run achieved: receipts that were acknowledged, by their alert id, and every checkpoint
/// that was ever on the disk.
#[derive(Default)]
struct Seen {
    acked: Vec<(u64, String)>,
    checkpoints: Vec<Checkpoint>,
}

impl Seen {
    fn checkpoint(&mut self, disk: &FakeDisk) {
        for path in ["receipts/observability/checkpoint", "state/ledger.checkpoint"] {
            if let Ok(bytes) = disk.read(&Path::new(DATA).join(path)) {
                let note = Note::parse(&bytes).unwrap();
                self.checkpoints.push(Checkpoint::parse(&note.text).unwrap());
            }
        }
    }
}

/// Opens, appends three batches; stops at the first failure.
fn run(disk: &FakeDisk, seen: &mut Seen, first_id: u64) {
    let Ok(ledger) = open_fake(disk, &clock()) else {
        seen.checkpoint(disk);
        return;
    };
    seen.checkpoint(disk);
    for batch in 0..3 {
        let ids: Vec<u64> = (0..=batch).map(|i| first_id + batch * 10 + i).collect();
        let outcome = ledger.append(ids.iter().map(|id| alert(*id)).collect());
        seen.checkpoint(disk);
        if let Ok(numbers) = outcome {
            assert_eq!(numbers.len(), ids.len());
            seen.acked.extend(
                numbers.into_iter().zip(ids.iter().map(|id| format!("alert-2025-12-06-{id:03}"))),
            );
        }
    }
}

/// acked ⇒ present at its number; no two checkpoints inconsistent; the verifier is content.
fn check(disk: &FakeDisk, seen: &mut Seen, what: &str) {
    let ledger = open_fake(disk, &clock()).unwrap_or_else(|e| panic!("{what}: {e}"));
    ledger.append(vec![alert(999)]).unwrap_or_else(|e| panic!("{what}: {e}"));
    seen.checkpoint(disk);
    let all = lines(&ledger);
    for (seq, id) in &seen.acked {
        let line = all.get(*seq as usize).unwrap_or_else(|| panic!("{what}: {seq} is lost"));
        assert!(line.contains(id), "{what}: {seq} is {line}, not {id}");
    }
    let tree = obs_proof::tree::Tree::<obs_proof::Sha256Tree>::from_leaf_hashes(
        all.iter().map(|l| <obs_proof::Sha256Tree as obs_proof::TreeHash>::leaf(l.as_bytes())),
    );
    for c in &seen.checkpoints {
        assert_eq!(tree.root_at(c.size).ok(), Some(c.root), "{what}: checkpoint of {}", c.size);
    }
    let report = verify_fake(disk);
    assert_eq!(report.exit_code(), 0, "{what}: {report}");
    let size = ledger.head().size;
    drop(ledger);
    // Recovery is idempotent: opening again adds nothing.
    assert_eq!(open_fake(disk, &clock()).unwrap().head().size, size, "{what}");
}

/// Runs with the fault at operation 0, 1, 2 … until it is no longer reached.
fn matrix(prepare: impl Fn() -> FakeDisk, torn: bool) {
    for fault in FAULTS {
        for n in 0.. {
            let disk = prepare();
            let mut seen = Seen::default();
            disk.fault_after(n, fault);
            run(&disk, &mut seen, 100);
            let reached = disk.fault_reached();
            if torn {
                disk.crash_torn(n);
            } else {
                disk.crash();
            }
            check(&disk, &mut seen, &format!("{fault:?} at {n}"));
            if !reached {
                assert!(n > 20, "the faults were reached");
                break;
            }
        }
    }
}

#[test]
fn first_start() {
    matrix(FakeDisk::new, false);
}

#[test]
fn first_start_with_torn_writes() {
    matrix(FakeDisk::new, true);
}

fn used() -> FakeDisk {
    let disk = FakeDisk::new();
    run(&disk, &mut Seen::default(), 0);
    disk
}

#[test]
fn a_ledger_in_use() {
    matrix(used, false);
}

#[test]
fn a_ledger_in_use_with_torn_writes() {
    matrix(used, true);
}

/// A failure that passes: the same process goes on and loses nothing it acknowledged.
#[test]
fn the_process_recovers_by_itself() {
    for fault in [Fault::Fail, Fault::Tear, Fault::FailStored] {
        for n in 0.. {
            let disk = used();
            let mut seen = Seen::default();
            let ledger = open_fake(&disk, &clock()).unwrap();
            disk.fault_after(n, fault);
            for id in 500..506 {
                if let Ok(numbers) = ledger.append(vec![alert(id)]) {
                    let name = format!("alert-2025-12-06-{id:03}");
                    seen.acked.extend(numbers.into_iter().map(|seq| (seq, name.clone())));
                }
                seen.checkpoint(&disk);
            }
            let reached = disk.fault_reached();
            assert!(seen.acked.len() >= 5, "{fault:?} at {n}: one fault may cost one append");
            // What a caller was told has failed does not stand there.
            let told = lines(&ledger).iter().filter(|l| l.contains("alert-2025-12-06-50")).count();
            assert_eq!(told, seen.acked.len(), "{fault:?} at {n}");
            drop(ledger);
            disk.crash();
            check(&disk, &mut seen, &format!("{fault:?} at {n}"));
            if !reached {
                break;
            }
        }
    }
}

/// Recovery itself is broken at every operation.
#[test]
fn a_crash_during_recovery() {
    for fault in FAULTS {
        for n in 0.. {
            let disk = used();
            let mut seen = Seen::default();
            // A whole unsigned receipt's worth of bytes and a torn one lie behind the checkpoint.
            let log = Path::new(DATA).join("receipts/observability/observability_events.jsonl");
            let file = disk.open_append(&log).unwrap();
            file.append(b"{\"half\":").unwrap();
            file.sync().unwrap();
            disk.fault_after(n, fault);
            run(&disk, &mut seen, 200);
            let reached = disk.fault_reached();
            disk.crash_torn(n + 7);
            check(&disk, &mut seen, &format!("{fault:?} at {n}"));
            let torn: Vec<_> = disk
                .files()
                .into_iter()
                .filter(|(p, _)| p.extension() == Some("torn".as_ref()))
                .collect();
            assert_eq!(torn.iter().filter(|(_, len)| *len == 8).count(), 1, "{fault:?} at {n}");
            let ledger = open_fake(&disk, &clock()).unwrap();
            let told = lines(&ledger).iter().filter(|l| l.contains("\"bytes\":\"8\"")).count();
            assert_eq!(told, 1, "{fault:?} at {n}: the torn bytes are reported once");
            if !reached {
                break;
            }
        }
    }
}

#[test]
fn a_full_disk_refuses_and_then_goes_on() {
    let disk = used();
    let ledger = open_fake(&disk, &clock()).unwrap();
    let before = ledger.head().size;
    disk.set_budget(Some(disk.used_bytes() + 100));
    for id in 0..3 {
        let e = ledger.append(vec![alert(id)]).unwrap_err();
        assert!(e.is_full() && e.retry(), "{e}");
    }
    assert_eq!(lines(&ledger).len() as u64, before, "reads go on");
    disk.set_budget(None);
    assert!(ledger.append(vec![alert(7)]).unwrap().iter().all(|seq| *seq >= before));
    assert_eq!(verify_fake(&disk).exit_code(), 0);
}

#[test]
fn a_shortened_changed_or_rolled_back_log_is_refused() {
    let disk = used();
    let dir = Path::new(DATA).join("receipts/observability");
    let old_checkpoint = disk.read(&dir.join("checkpoint")).unwrap();
    run(&disk, &mut Seen::default(), 300);
    let refused = |change: &dyn Fn(&FakeDisk)| {
        let copy = FakeDisk::new();
        for (path, _) in disk.files() {
            copy.create_dir_all(path.parent().unwrap()).unwrap();
            let file = copy.create(&path).unwrap();
            file.append(&disk.read(&path).unwrap()).unwrap();
        }
        change(&copy);
        let before = copy.read(&dir.join("observability_events.jsonl")).ok();
        let e = open_fake(&copy, &clock()).unwrap_err().to_string();
        let after = copy.read(&dir.join("observability_events.jsonl")).ok();
        assert_eq!(before, after, "nothing was repaired");
        e
    };
    let log = dir.join("observability_events.jsonl");
    let shortened = refused(&|d| {
        let file = d.open_append(&log).unwrap();
        file.truncate(file.len() - 1).unwrap();
    });
    assert!(shortened.contains("was shortened"), "{shortened}");
    let changed = refused(&|d| assert!(d.corrupt(&log, 30, 1)));
    assert!(changed.contains("was changed"), "{changed}");
    let rolled = refused(&|d| {
        let file = d.create(&dir.join("checkpoint")).unwrap();
        file.append(&old_checkpoint).unwrap();
    });
    assert!(rolled.contains("rolled back"), "{rolled}");
    let gone = refused(&|d| d.remove(&dir.join("checkpoint")).unwrap());
    assert!(gone.contains("is missing"), "{gone}");
    let key = refused(&|d| d.remove(&Path::new(DATA).join("state/ledger.key")).unwrap());
    assert!(key.contains("would fork the log"), "{key}");
    let log_gone = refused(&|d| d.remove(&log).unwrap());
    assert!(log_gone.contains("was shortened"), "{log_gone}");
}
