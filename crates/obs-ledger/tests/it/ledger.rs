use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::Duration;

use obs_disk::RealDisk;
use obs_ledger::{AlertFired, Ledger, LedgerConfig, LedgerMode, Receipt, SloDefinition};
use obs_proof::note::VerifierKey;
use obs_proof::tlog_proof::TlogProof;
use obs_proof::tree::verify_consistency;
use obs_proof::{Sha256Tree, time};
use obs_types::{ErrorKind, TimestampMs};
use serde_json::{Map, Value, json};

use crate::support::{HOUR_13, alert, clock, config, lines, verify_dir};

fn object(line: &str) -> Map<String, Value> {
    obs_proof::canonical::check_line(line.as_bytes()).unwrap()
}

#[test]
fn a_newcomers_folder() {
    let dir = tempfile::tempdir().unwrap();
    let clock = clock();
    let ledger = Ledger::open(config(Arc::new(RealDisk), clock.clone(), dir.path())).unwrap();
    assert_eq!(ledger.head().size, 0);
    assert_eq!(ledger.append(vec![alert(1), alert(2)]).unwrap(), [0, 1]);
    clock.advance(Duration::from_millis(2_345));
    assert_eq!(ledger.append(vec![alert(3)]).unwrap(), [2]);
    // Wall time goes back; receipts do not.
    clock.set(TimestampMs(HOUR_13));
    assert_eq!(ledger.append(vec![alert(4)]).unwrap(), [3]);

    let mode =
        |path: &str| std::fs::metadata(dir.path().join(path)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode("state/ledger.key"), 0o600);
    let head = ledger.head();
    let root = std::fs::read_to_string(dir.path().join("ROOT.observability.txt")).unwrap();
    assert_eq!(root, format!("{}\n", head.root_text()));
    let receipts = dir.path().join("receipts/observability");
    assert_eq!(std::fs::read_to_string(receipts.join("checkpoint")).unwrap(), head.checkpoint);

    let all = lines(&ledger);
    let times: Vec<i64> = all
        .iter()
        .map(|l| time::parse_rfc3339(object(l)["timestamp"].as_str().unwrap()).unwrap())
        .collect();
    assert_eq!(times[2] - times[1], 2_345);
    assert_eq!(times[3], times[2]);

    let report = verify_dir(dir.path());
    assert_eq!((report.exit_code(), report.receipts), (0, 4), "{report}");
    assert!(report.to_string().contains("UNWITNESSED"), "{report}");
    ledger.shutdown().unwrap();
    assert_eq!(ledger.append(vec![alert(5)]).unwrap_err().kind(), ErrorKind::Unavailable);
}

#[test]
fn every_receipt_is_provable_and_the_log_only_grows() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(config(Arc::new(RealDisk), clock(), dir.path())).unwrap();
    let mut heads = vec![ledger.head()];
    for n in 0..9 {
        ledger.append((0..=n % 3).map(|i| alert(n * 10 + i)).collect()).unwrap();
        heads.push(ledger.head());
    }
    let head = ledger.head();
    let key = VerifierKey::parse(&head.log_vkey).unwrap();
    for (seq, line) in lines(&ledger).iter().enumerate() {
        let seq = seq as u64;
        assert_eq!(&ledger.line(seq).unwrap(), line);
        let proof = TlogProof::parse(&ledger.tlog_proof(seq).unwrap()).unwrap();
        assert_eq!(proof.hashes, ledger.inclusion_proof(seq).unwrap());
        let (checkpoint, _) = proof.verify(line.as_bytes(), &[&key]).unwrap();
        assert_eq!((checkpoint.size, checkpoint.root), (head.size, head.root));
        assert!(proof.verify(b"{}", &[&key]).is_err());
    }
    for old in &heads {
        let proof = ledger.consistency_proof(old.size).unwrap();
        verify_consistency::<Sha256Tree>(old.size, head.size, &proof, &old.root, &head.root)
            .unwrap();
    }
    assert_eq!(ledger.line(head.size).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(ledger.tlog_proof(head.size).unwrap_err().kind(), ErrorKind::NotFound);
    let mut from_five = Vec::new();
    ledger
        .read(5, &mut |seq, _line| {
            from_five.push(seq);
            from_five.len() < 3
        })
        .unwrap();
    assert_eq!(from_five, [5, 6, 7]);
}

#[test]
fn many_threads_share_commits() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(config(Arc::new(RealDisk), clock(), dir.path())).unwrap();
    let mut numbers: Vec<u64> = std::thread::scope(|scope| {
        let ledger = &ledger;
        let threads: Vec<_> = (0..8_u64)
            .map(|t| {
                scope.spawn(move || {
                    (0..10)
                        .flat_map(|i| {
                            let pair = vec![alert(t * 100 + i), alert(t * 100 + 50 + i)];
                            let seqs = ledger.append(pair).unwrap();
                            // What a caller hands in together stays together.
                            assert_eq!(seqs[1], seqs[0] + 1);
                            let line = ledger.line(seqs[0]).unwrap();
                            let id = format!("alert-2025-12-06-{:03}", t * 100 + i);
                            assert!(line.contains(&id), "{line}");
                            seqs
                        })
                        .collect::<Vec<u64>>()
                })
            })
            .collect();
        threads.into_iter().flat_map(|t| t.join().unwrap()).collect()
    });
    numbers.sort_unstable();
    assert_eq!(numbers, (0..160).collect::<Vec<u64>>());
    assert_eq!(verify_dir(dir.path()).receipts, 160);
}

#[test]
fn a_receipt_that_cannot_be_written_costs_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(config(Arc::new(RealDisk), clock(), dir.path())).unwrap();
    let slo = |value: Value| {
        let Value::Object(slo) = json!({"id": "slo:x", "extra": value}) else { panic!("object") };
        Receipt::slo_definition(SloDefinition {
            operation_id: "obs-op-1".into(),
            operation_type: "slo_create".into(),
            initiated_by: "did:vm:user:sovereign".into(),
            slo,
        })
    };
    let too_long = slo(json!("x".repeat(70_000)));
    let e = ledger.append(vec![alert(1), too_long]).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::LimitExceeded);
    assert!(e.to_string().contains("receipt 1 of the batch (obs_slo_definition)"), "{e}");
    let e = ledger.append(vec![slo(json!({"n": u64::MAX}))]).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::InvalidInput);
    assert_eq!(ledger.head().size, 0);
    assert_eq!(ledger.append(vec![alert(1)]).unwrap(), [0]);
}

#[test]
fn reading_only_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let writer = Ledger::open(config(Arc::new(RealDisk), clock(), dir.path())).unwrap();
    writer.append(vec![alert(1), alert(2)]).unwrap();
    let read_only = LedgerConfig {
        mode: LedgerMode::ReadOnly,
        ..config(Arc::new(RealDisk), clock(), dir.path())
    };
    let reader = Ledger::open(read_only.clone()).unwrap();
    assert_eq!(reader.head().root, writer.head().root);
    assert_eq!(reader.head().root_blake3, writer.head().root_blake3);
    assert_eq!(lines(&reader), lines(&writer));
    assert_eq!(reader.append(vec![alert(3)]).unwrap_err().kind(), ErrorKind::Conflict);
    let other = LedgerConfig { origin: "vm-obs.test/other".into(), ..read_only };
    assert!(Ledger::open(other).is_err());
    // A copy without the private key can be read as well.
    std::fs::remove_dir_all(dir.path().join("state")).unwrap();
    let copy = LedgerConfig {
        mode: LedgerMode::ReadOnly,
        ..config(Arc::new(RealDisk), clock(), dir.path())
    };
    assert_eq!(lines(&Ledger::open(copy).unwrap()).len(), 2);
}

#[test]
fn readers_beside_a_running_writer_see_whole_states() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(config(Arc::new(RealDisk), clock(), dir.path())).unwrap();
    ledger.append(vec![alert(0)]).unwrap();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            (1..60).for_each(|n| {
                ledger.append(vec![alert(n)]).unwrap();
            });
            done.store(true, std::sync::atomic::Ordering::Release);
        });
        let mut seen = 0;
        while !done.load(std::sync::atomic::Ordering::Acquire) {
            let reader = Ledger::open(LedgerConfig {
                mode: LedgerMode::ReadOnly,
                ..config(Arc::new(RealDisk), clock(), dir.path())
            })
            .unwrap();
            let size = reader.head().size;
            assert_eq!(lines(&reader).len() as u64, size);
            assert!(size >= seen);
            seen = size;
            let report = verify_dir(dir.path());
            assert_eq!(report.exit_code(), 0, "{report}");
        }
    });
    assert_eq!(verify_dir(dir.path()).receipts, 60);
}

#[test]
fn an_absurd_clock_does_not_spoil_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let clock = clock();
    clock.set(TimestampMs(i64::MIN));
    let open = || Ledger::open(config(Arc::new(RealDisk), clock.clone(), dir.path())).unwrap();
    let ledger = open();
    ledger.append(vec![alert(1)]).unwrap();
    clock.set(TimestampMs(i64::MAX));
    ledger.append(vec![alert(2)]).unwrap();
    clock.set(TimestampMs(HOUR_13));
    drop(ledger);
    open().append(vec![alert(3)]).unwrap();
    let report = verify_dir(dir.path());
    assert_eq!((report.exit_code(), report.receipts), (0, 3), "{report}");
}

/// Canonical JSON spells 1.8e18 as an integer that a double may not hold, which no reader of a
/// line accepts: such values are strings.
#[test]
fn large_values_do_not_spoil_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let open = || Ledger::open(config(Arc::new(RealDisk), clock(), dir.path())).unwrap();
    let fired = |current_value: f64| {
        Receipt::alert_fired(AlertFired {
            alert_id: "alert-2025-12-06-001".into(),
            name: "Backlog".into(),
            severity: "warning".into(),
            node: "did:vm:node:brick-02".into(),
            rule_expression: "backlog_bytes > 1e15".into(),
            current_value,
            threshold: Some(1e15),
            notifications_sent: Vec::new(),
            fired_at: TimestampMs(HOUR_13),
            labels: BTreeMap::new(),
            tags: Vec::new(),
        })
    };
    let values = [1e15, 9_007_199_254_740_993.0, 1.8e18, -9.9e20, 1e21, f64::MAX, 5e-324, -0.0];
    for value in values {
        // Opened anew after each: the last line of a log has to be readable.
        open().append(vec![fired(value)]).unwrap();
    }
    let report = verify_dir(dir.path());
    assert_eq!((report.exit_code(), report.receipts), (0, values.len() as u64), "{report}");
    let all = lines(&open());
    assert_eq!(object(&all[0])["current_value"], json!(1e15 as u64));
    assert_eq!(object(&all[2])["current_value"], json!("1800000000000000000"));
}
