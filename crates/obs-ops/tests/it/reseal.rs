//! Compaction and redaction of sealed hours through the services, the ledger and the verifier.

use obs_archive::{SealName, SealedItem, Signal};
use obs_ops::storage::{ResealReport, ResealRequest, StorageService, StorageSettings, WhenHigh};
use obs_proof::verify::{Code, Depth, VerifyOptions, verify};
use obs_proof::vmproof::VmProof;
use obs_types::{
    Direction, DurationMs, LabelSet, LogRecord, LogSelect, LogSink, LogSource, QueryContext,
    TimeRangeMs, TimestampMs,
};

use crate::world::{START, World, minutes};

const SECRET: &str = "hunter2";
const LINES: i64 = 2_000;

fn storage(world: &World) -> StorageService {
    let policy = obs_archive::SignalPolicy {
        warm: DurationMs(2 * DurationMs::DAY.0),
        keep: DurationMs(40 * DurationMs::DAY.0),
        keep_errors: None,
    };
    StorageService::open(StorageSettings {
        data_dir: world.dir.path().to_owned(),
        disk: std::sync::Arc::clone(&world.parts.disk),
        archive: std::sync::Arc::clone(&world.parts.archive),
        ledger: std::sync::Arc::clone(&world.parts.ledger),
        operations: world.operations(),
        policy: obs_archive::RetentionPolicy { metrics: policy, logs: policy, traces: policy },
        when_high: WhenHigh::Move,
    })
    .unwrap()
}

/// One hour of lines, each seventh with a password, sealed.
fn sealed_hour() -> World {
    let world = World::new();
    world.feed(START);
    let record = |i: i64| LogRecord {
        timestamp: START.saturating_add(DurationMs(i * 200)).to_ns(),
        stream: LabelSet::from_pairs([("service_name", "portal")]),
        line: format!(
            "login {i} {} from 10.{}.0.{} took {} ms, session {:x}",
            if i % 7 == 3 { SECRET } else { "ok" },
            i % 5,
            i * 31 % 251,
            i * i % 977,
            i.wrapping_mul(0x9e37_79b9_7f4a_7c15_u64.cast_signed())
        ),
        metadata: LabelSet::empty(),
    };
    let outcome = world.parts.logs.append((0..LINES).map(record).collect()).unwrap();
    assert_eq!(outcome.accepted, LINES as u64);
    world.advance(minutes(60));
    world.seals().seal_due(world.now(), START).unwrap();
    world
}

fn request(signal: Signal, reason: &str) -> ResealRequest {
    ResealRequest {
        signal,
        range: TimeRangeMs::new(START, START.saturating_add(minutes(10))),
        initiated_by: "did:vm:user:sovereign".to_owned(),
        reason: reason.to_owned(),
    }
}

fn redact(world: &World, service: &StorageService) -> ResealReport {
    let mut secret = |item: SealedItem<'_>| match item {
        SealedItem::Line(_, entry) => entry.line.contains(SECRET),
        _ => false,
    };
    service.redact(&request(Signal::Logs, "a password"), &mut secret, world.now()).unwrap()
}

fn first_file(world: &World, signal: Signal) -> SealName {
    world.parts.archive.sealed(signal)[0]
}

/// The proof file of a record, as the HTTP route makes it.
fn proof(world: &World, name: SealName, index: u64) -> VmProof {
    let record = world.parts.archive.prove(name, index).unwrap();
    let seq = world.parts.ledger.seal_of(&name.storage_path()).unwrap();
    world.parts.ledger.proof_file(seq, Some(record.proven)).unwrap()
}

/// What somebody says who has the proof file and the log's key, and nothing else.
#[track_caller]
fn assert_holds(world: &World, proof: &VmProof) {
    let file = world.dir.path().join("line.vmproof");
    std::fs::write(&file, proof.to_string()).unwrap();
    let mut options = VerifyOptions::new(&file);
    let key = world.parts.ledger.head().log_vkey;
    options.log_keys = vec![obs_proof::note::VerifierKey::parse(&key).unwrap()];
    let report = verify(&options).unwrap();
    assert_eq!((report.exit_code(), report.records), (0, 1), "{report}");
    std::fs::remove_file(file).unwrap();
}

fn lines(source: &dyn LogSource) -> Vec<String> {
    let range = TimeRangeMs::new(START, START.saturating_add(minutes(60)));
    let select = LogSelect {
        matchers: &[],
        range: obs_types::TimeRangeNs::new(range.start.to_ns(), range.end.to_ns()),
        line_contains: &[],
        metadata_equals: &[],
        direction: Direction::Forward,
        limit: None,
    };
    let context = QueryContext::unlimited();
    let found = source.select(&select, &context).unwrap();
    let mut lines: Vec<String> =
        found.flat_map(|run| run.unwrap().entries).map(|e| e.line).collect();
    assert_eq!(context.warnings.list(), Vec::<String>::new());
    lines.sort();
    lines
}

fn folder_contains(dir: &std::path::Path, text: &str) -> bool {
    use std::io::Read;
    let Ok(entries) = std::fs::read_dir(dir) else { return false };
    entries.flatten().any(|entry| {
        let path = entry.path();
        if path.is_dir() {
            return folder_contains(&path, text);
        }
        let bytes = std::fs::read(&path).unwrap();
        let mut plain = Vec::new();
        flate2::read::MultiGzDecoder::new(&bytes[..]).read_to_end(&mut plain).ok();
        let in_it = |all: &[u8]| all.windows(text.len()).any(|w| w == text.as_bytes());
        in_it(&bytes) || in_it(&plain)
    })
}

#[test]
fn a_redacted_line_is_gone_and_every_other_proof_holds() {
    let world = sealed_hour();
    let service = storage(&world);
    let name = first_file(&world, Signal::Logs);
    let before: Vec<VmProof> = [0, 1, 2, 5, 300].map(|i| proof(&world, name, i)).into();
    let count = world.parts.archive.records_root(&name.storage_path()).unwrap().count;
    let report = redact(&world, &service);
    let gone = (0..LINES).filter(|i| i % 7 == 3).count() as u64;
    assert_eq!((report.redacted, report.resealed.len()), (gone, 1), "{report:?}");
    let new = first_file(&world, Signal::Logs);
    assert_eq!(report.resealed, [(name.storage_path(), new.storage_path())]);
    assert!(!world.dir.path().join(name.storage_path()).exists());
    assert!(!world.dir.path().join(name.tree_path()).exists());
    assert!(!folder_contains(&world.dir.path().join("telemetry"), SECRET));
    assert_eq!(lines(world.parts.archive.as_ref()).len() as u64, count - gone);
    for old in &before {
        assert_holds(&world, old);
        let index = old.record.as_ref().unwrap().proof.index;
        let new = proof(&world, new, index);
        assert_eq!(new.record, old.record);
        assert_holds(&world, &new);
    }
    let refused = (0..count).find_map(|i| world.parts.archive.prove(new, i).err()).unwrap();
    assert!(refused.to_string().contains("is redacted"), "{refused}");
    let report = world.verify();
    assert_eq!(report.exit_code(), 0, "{report}");
    assert!(report.findings.iter().any(|f| f.name() == format!("REDACTED:{gone}")), "{report}");
    let receipt = &world.receipts("obs_reseal")[0];
    assert_eq!(receipt["redacted"], gone.to_string());
    assert_eq!(receipt["records"], world.receipts("obs_log_batch")[0]["records"]);
    assert_eq!(redact(&world, &service).resealed.len(), 0, "once");
    // The next process knows what took whose place, also where the old file was not removed yet.
    std::fs::write(world.dir.path().join(name.storage_path()), b"as it was").unwrap();
    let world = world.restart();
    let service = storage(&world);
    assert_eq!(world.parts.archive.sealed(Signal::Logs), [new]);
    assert!(!world.dir.path().join(name.storage_path()).exists());
    assert_eq!(service.status().unwrap().deleted_files, 0, "replaced, not deleted");
    // Late data of the hour is a revision behind it, and the hours go on.
    world.line(START.saturating_add(minutes(3)), "info");
    world.seals().seal_late_in(Signal::Logs, TimeRangeMs::new(START, world.now())).unwrap();
    world.advance(minutes(120));
    world.seals().seal_due(world.now(), START).unwrap();
    world.assert_verifies();
}

/// The same in the cold store: the object goes, and so does the file of the hour that moves there
/// in its place.
#[test]
fn what_was_moved_is_redacted_in_the_cold_store() {
    let world = sealed_hour();
    let service = storage(&world);
    let name = first_file(&world, Signal::Logs);
    let old = proof(&world, name, 5);
    world.advance(DurationMs(3 * DurationMs::DAY.0));
    assert_eq!(service.step(world.now()).unwrap().moved.len(), 3);
    assert!(folder_contains(world.cold.path(), SECRET));
    let report = redact(&world, &service);
    assert!(report.redacted > 0 && report.left_in_cold.is_empty(), "{report:?}");
    assert!(!folder_contains(world.cold.path(), SECRET));
    world.assert_verifies();
    assert_eq!(service.step(world.now()).unwrap().moved.len(), 1, "by the same policy");
    assert!(!folder_contains(world.cold.path(), SECRET));
    world.assert_verifies();
    let new = first_file(&world, Signal::Logs);
    assert_eq!(proof(&world, new, 5).record, old.record);
    assert_holds(&world, &old);
}

/// A sealed hour that is encoded anew satisfies the proofs that were made before.
#[test]
fn compaction_keeps_every_proof() {
    let world = sealed_hour();
    let service = storage(&world);
    let name = first_file(&world, Signal::Logs);
    let count = world.parts.archive.records_root(&name.storage_path()).unwrap().count;
    let before: Vec<VmProof> = (0..count).step_by(191).map(|i| proof(&world, name, i)).collect();
    let all = lines(world.parts.archive.as_ref());
    for signal in Signal::ALL {
        service.compact(&request(signal, "fewer bytes"), 0, world.now()).unwrap();
    }
    let new = first_file(&world, Signal::Logs);
    assert_ne!(new, name, "two thousand lines become smaller");
    let receipts = world.receipts("obs_reseal");
    assert!(receipts.iter().all(|r| r["cause"] == "compaction" && r["redacted"] == "0"));
    assert_eq!(lines(world.parts.archive.as_ref()), all);
    for old in before {
        assert_holds(&world, &old);
        let index = old.record.as_ref().unwrap().proof.index;
        assert_eq!(proof(&world, new, index).record, old.record);
    }
    let report = world.verify();
    assert!(report.exit_code() == 0 && !report.has(Code::Redacted), "{report}");
    let again = service.compact(&request(Signal::Logs, "fewer bytes"), 0, world.now()).unwrap();
    assert_eq!(again.resealed.len(), 0);
}

/// What was tampered with gets no receipt of its own, and nothing happens without a reason.
#[test]
fn a_changed_file_is_left_alone() {
    let world = sealed_hour();
    let service = storage(&world);
    let name = first_file(&world, Signal::Logs);
    let path = world.dir.path().join(name.storage_path());
    let good = std::fs::read(&path).unwrap();
    let mut bad = good.clone();
    let at = bad.len() / 2;
    bad[at] ^= 1;
    std::fs::write(&path, bad).unwrap();
    let request = request(Signal::Logs, "a password");
    let refused = service.redact(&request, &mut |_item| true, world.now()).unwrap_err();
    assert!(refused.to_string().contains("not those of its receipt"), "{refused}");
    std::fs::write(&path, good).unwrap();
    let silent = ResealRequest { reason: " ".to_owned(), ..request };
    let refused = service.redact(&silent, &mut |_item| true, world.now()).unwrap_err();
    assert!(refused.to_string().contains("reason"), "{refused}");
    assert!(world.receipts("obs_reseal").is_empty());
    let mut options = VerifyOptions::new(world.dir.path());
    options.depth = Depth::Files;
    assert_eq!(verify(&options).unwrap().exit_code(), 0);
    let _at: TimestampMs = world.now();
}
