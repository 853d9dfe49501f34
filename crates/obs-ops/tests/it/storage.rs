use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use obs_archive::{Archive, ColdTier, FolderStore, Hour, RetentionPolicy, Signal, SignalPolicy};
use obs_disk::{Disk, RealDisk};
use obs_ledger::{Receipt, SloDefinition};
use obs_ops::storage::{
    Catalog, StorageService, StorageSettings, WhenHigh, backup, newest, probe, restore,
};
use obs_types::{
    BlobEntry, BlobError, BlobStore, Direction, DurationMs, LogSelect, LogSource, QueryContext,
    SeriesSelect, SeriesSource, StatusCode, TimeRangeMs, TimestampMs, TraceSelect, TraceSource,
};

use crate::world::{START, World, minutes, open_archive};

const DAY: DurationMs = DurationMs(86_400_000);

fn days(n: i64) -> DurationMs {
    DurationMs(n * DAY.0)
}

fn policy() -> RetentionPolicy {
    let p = SignalPolicy { warm: days(2), keep: days(10), keep_errors: None };
    let errors = SignalPolicy { keep_errors: Some(days(20)), ..p };
    RetentionPolicy { metrics: p, logs: errors, traces: errors }
}

fn storage_over(world: &World, archive: &Arc<Archive>, when_high: WhenHigh) -> StorageService {
    StorageService::open(StorageSettings {
        data_dir: world.dir.path().to_owned(),
        disk: Arc::clone(&world.parts.disk),
        archive: Arc::clone(archive),
        ledger: Arc::clone(&world.parts.ledger),
        operations: world.operations(),
        policy: policy(),
        when_high,
    })
    .unwrap()
}

fn storage(world: &World) -> StorageService {
    storage_over(world, &world.parts.archive, WhenHigh::Move)
}

/// An hour with an error and an ordinary line, an error trace and an ordinary one, sealed; then
/// late data of all three.
fn sealed_hour() -> World {
    let world = World::new();
    world.feed(world.now());
    world.line(START.saturating_add(minutes(1)), "info");
    world.span(START.saturating_add(minutes(1)), StatusCode::Ok);
    world.advance(minutes(60));
    world.seals().seal_due(world.now(), START).unwrap();
    world.feed(START.saturating_add(minutes(20)));
    assert_eq!(world.seals().seal_late().unwrap().len(), 3);
    world
}

/// Everything that the archive answers: samples, lines, spans.
fn answers(archive: &Archive) -> (Vec<String>, Vec<String>) {
    answers_of(archive, archive, archive)
}

fn answers_of(
    metrics: &dyn SeriesSource,
    logs: &dyn LogSource,
    traces: &dyn TraceSource,
) -> (Vec<String>, Vec<String>) {
    let context = QueryContext::unlimited();
    let range = TimeRangeMs::new(START, START.saturating_add(DAY));
    let range_ns = obs_types::TimeRangeNs::new(range.start.to_ns(), range.end.to_ns());
    let mut out = Vec::new();
    let select = SeriesSelect { matchers: &[], range, function: None, step_ms: None };
    for series in metrics.select(&select, &context).unwrap() {
        let series = series.unwrap();
        out.push(format!("{:?} {:?} {:?}", series.labels, series.timestamps, series.values));
    }
    let select = LogSelect {
        matchers: &[],
        range: range_ns,
        line_contains: &[],
        metadata_equals: &[],
        direction: Direction::Forward,
        limit: None,
    };
    for run in logs.select(&select, &context).unwrap() {
        let run = run.unwrap();
        out.extend(run.entries.into_iter().map(|e| format!("{:?} {e:?}", run.labels)));
    }
    for trace in traces.select(&TraceSelect { range: range_ns, all_of: &[] }, &context).unwrap() {
        out.extend(trace.unwrap().spans.into_iter().map(|s| format!("{s:?}")));
    }
    out.sort();
    (out, context.warnings.list())
}

#[test]
fn engines_and_sealed_hours_give_the_same_answer() {
    let world = sealed_hour();
    let p = &world.parts;
    let hot = answers_of(p.metrics.as_ref(), p.logs.as_ref(), p.traces.as_ref());
    assert_eq!(answers(&p.archive), hot);
    assert_eq!(hot.0.len(), 1 + 3 + 3, "{hot:?}");
}

fn local_files(world: &World) -> Vec<String> {
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let store = FolderStore::new(world.dir.path(), disk);
    store.list("telemetry").unwrap().into_iter().map(|e| e.name).collect()
}

#[test]
fn what_is_old_moves_to_the_cold_store_and_answers_as_before() {
    let world = sealed_hour();
    let storage_service = storage(&world);
    let before = answers(&world.parts.archive);
    assert!(before.0.len() > 6 && before.1.is_empty(), "{before:?}");
    assert_eq!(storage_service.step(world.now()).unwrap().moved.len(), 0, "not old enough");
    world.advance(days(3));
    let done = storage_service.step(world.now()).unwrap();
    assert_eq!((done.moved.len(), done.deleted.len()), (6, 0), "{done:?}");
    assert_eq!(local_files(&world), Vec::<String>::new());
    assert_eq!(answers(&world.parts.archive), before);
    world.assert_verifies();
    let receipts = world.receipts("obs_tier_move");
    assert_eq!(receipts.len(), 3, "one for each stream");
    assert!(receipts[0]["store"].as_str().unwrap().starts_with("file://"));
    assert_eq!(storage_service.step(world.now()).unwrap().moved.len(), 0, "once");
    // The next process knows it from the ledger.
    let world = world.restart();
    let again = storage(&world);
    assert_eq!(answers(&world.parts.archive), before);
    let rows = again.status().unwrap().rows;
    assert_eq!(
        rows.iter().map(|r| (r.tier, r.files, r.hours)).collect::<Vec<_>>(),
        [("cold", 2, 1); 3]
    );
    let proof = world.parts.archive.sealed(Signal::Logs)[0];
    world.parts.archive.prove(proof, 0).unwrap();
    // Late data still becomes a revision.
    world.line(START.saturating_add(minutes(30)), "warn");
    assert_eq!(world.seals().seal_late().unwrap().len(), 1);
    assert_eq!(local_files(&world).len(), 2, "{:?}", local_files(&world));
    world.assert_verifies();
}

/// Late data whose file is there and whose receipt is not: reduced without it, the hour could not
/// be sealed any further after the next start, which removes such a file.
#[test]
fn an_hour_is_not_reduced_while_a_file_of_it_waits_for_its_receipt() {
    let world = sealed_hour();
    world.line(START.saturating_add(minutes(30)), "error");
    let hour = Hour::containing(START).unwrap();
    let parts = &world.parts;
    let waiting = parts.archive.backfill_logs(hour, parts.logs.as_ref()).unwrap().unwrap();
    assert_eq!(waiting.revision(), 2);
    world.advance(days(11));
    let done = storage(&world).step(world.now()).unwrap();
    assert_eq!(done.kept.len(), 1, "{done:?}");
    assert!(done.kept[0].contains("traces"), "{done:?}");
    let world = world.restart();
    let storage_service = storage(&world);
    let seals = world.seals();
    assert!(!world.dir.path().join(&waiting.storage_path).exists());
    seals.seal_late().unwrap();
    let again = world.receipts("obs_log_batch").pop().unwrap();
    assert_eq!(again["content_hash"], waiting.content_hash.to_string(), "the same bytes");
    let done = storage_service.step(world.now()).unwrap();
    assert!(done.kept.iter().any(|path| path.contains("logs")), "{done:?}");
    let kept = world.receipts("obs_log_batch").pop().unwrap();
    assert_eq!((&kept["rev"], &kept["log_counts"]["error"]), (&3.into(), &3.into()), "{kept}");
    world.assert_verifies();
}

#[test]
fn without_the_store_a_verifier_says_that_it_did_not_look() {
    let world = sealed_hour();
    world.advance(days(3));
    storage(&world).step(world.now()).unwrap();
    let mut options = obs_proof::verify::VerifyOptions::new(world.dir.path());
    let report = obs_proof::verify::verify(&options).unwrap();
    assert_eq!(report.exit_code(), 2, "{report}");
    assert!(report.has(obs_proof::verify::Code::ColdNotChecked));
    options.cold = Some(world.cold.path().to_owned());
    assert_eq!(obs_proof::verify::verify(&options).unwrap().exit_code(), 0);
    let path = world.cold.path().join("telemetry/logs/2025-12-06/hour-13.jsonl.gz");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[20] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    assert_eq!(world.verify().exit_code(), 1);
    std::fs::remove_file(&path).unwrap();
    assert_eq!(world.verify().exit_code(), 2);
}

#[test]
fn a_missing_or_changed_object_is_said_in_the_answer() {
    let world = sealed_hour();
    world.advance(days(3));
    storage(&world).step(world.now()).unwrap();
    let path = world.cold.path().join("telemetry/logs/2025-12-06/hour-13.jsonl.gz");
    std::fs::remove_file(&path).unwrap();
    let (rows, warnings) = answers(&world.parts.archive);
    assert!(!rows.is_empty(), "the rest is answered");
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("hour-13.jsonl.gz is left out"), "{warnings:?}");
}

#[test]
fn errors_outlive_the_rest_and_every_deletion_is_on_record() {
    let world = sealed_hour();
    let service = storage(&world);
    world.advance(days(3));
    service.step(world.now()).unwrap();
    world.advance(days(8));
    let done = service.step(world.now()).unwrap();
    assert_eq!(done.kept.len(), 2, "logs and traces: {done:?}");
    assert_eq!(done.deleted.len(), 6, "{done:?}");
    let (rows, warnings) = answers(&world.parts.archive);
    assert!(warnings.is_empty(), "{warnings:?}");
    assert_eq!(rows.len(), 4, "two error lines and two error spans: {rows:?}");
    assert!(rows.iter().all(|r| !r.contains("portal") && !r.contains("info")), "{rows:?}");
    let report = world.verify();
    assert_eq!(report.exit_code(), 0, "{report}");
    assert!(report.has(obs_proof::verify::Code::DeclaredDeletion));
    // What was kept is old enough for the cold store.
    assert_eq!(service.step(world.now()).unwrap().moved.len(), 2);
    assert_eq!(answers(&world.parts.archive).0, rows);
    let world = world.restart();
    let service = storage(&world);
    assert_eq!(answers(&world.parts.archive).0, rows);
    assert!(service.plan(world.now()).unwrap().is_empty());
    world.advance(days(10));
    let done = service.step(world.now()).unwrap();
    assert_eq!(done.deleted.len(), 2, "{done:?}");
    assert!(answers(&world.parts.archive).0.is_empty());
    world.assert_verifies();
    assert_eq!(
        FolderStore::new(world.cold.path(), Arc::new(RealDisk)).list("telemetry").unwrap(),
        []
    );
    // A file that went without a receipt is still missed.
    let world = sealed_hour();
    std::fs::remove_file(world.dir.path().join("telemetry/logs/2025-12-06/hour-13.jsonl.gz"))
        .unwrap();
    assert_eq!(world.verify().exit_code(), 2);
}

/// A store that can be switched off.
#[derive(Debug)]
struct Moody {
    inner: FolderStore,
    off: AtomicBool,
}

impl Moody {
    fn there(&self, name: &str) -> Result<(), BlobError> {
        match self.off.load(Ordering::Relaxed) {
            true => Err(BlobError::Unavailable { name: name.to_owned(), reason: "off".to_owned() }),
            false => Ok(()),
        }
    }
}

impl BlobStore for Moody {
    fn put_new(&self, name: &str, bytes: &[u8]) -> Result<(), BlobError> {
        self.there(name).and_then(|()| self.inner.put_new(name, bytes))
    }
    fn get(&self, name: &str) -> Result<Vec<u8>, BlobError> {
        self.there(name).and_then(|()| self.inner.get(name))
    }
    fn get_range(&self, name: &str, offset: u64, len: usize) -> Result<Vec<u8>, BlobError> {
        self.there(name).and_then(|()| self.inner.get_range(name, offset, len))
    }
    fn len(&self, name: &str) -> Result<u64, BlobError> {
        self.there(name).and_then(|()| self.inner.len(name))
    }
    fn list(&self, folder: &str) -> Result<Vec<BlobEntry>, BlobError> {
        self.there(folder).and_then(|()| self.inner.list(folder))
    }
    fn delete(&self, name: &str) -> Result<(), BlobError> {
        self.there(name).and_then(|()| self.inner.delete(name))
    }
    fn address(&self) -> String {
        self.inner.address()
    }
}

fn moody(world: &World) -> (Arc<Moody>, Arc<Archive>) {
    let disk = Arc::clone(&world.parts.disk);
    let inner = FolderStore::new(world.cold.path(), Arc::clone(&disk));
    let store = Arc::new(Moody { inner, off: AtomicBool::new(false) });
    let cold = ColdTier::new(Some(store.clone()), world.dir.path().join("cache"), disk, 0);
    let disk = Arc::clone(&world.parts.disk);
    let archive = Archive::open_tiered(world.dir.path(), disk, [7; 32], Arc::new(cold)).unwrap();
    (store, Arc::new(archive))
}

#[test]
fn a_store_that_is_away_is_waited_out_and_nothing_is_deleted() {
    let world = sealed_hour();
    let (store, archive) = moody(&world);
    let service = storage_over(&world, &archive, WhenHigh::Move);
    world.advance(days(3));
    store.off.store(true, Ordering::Relaxed);
    assert!(service.step(world.now()).is_err());
    assert_eq!(service.backoff_level(), 1);
    assert_eq!(local_files(&world).len(), 12, "with their side files");
    store.off.store(false, Ordering::Relaxed);
    assert!(service.step(world.now()).unwrap().moved.is_empty(), "it waits");
    world.advance(DurationMs(60_000));
    assert_eq!(service.step(world.now()).unwrap().moved.len(), 6);
    assert_eq!(service.backoff_level(), 0);
    store.off.store(true, Ordering::Relaxed);
    let fresh = moody(&world);
    fresh.0.off.store(true, Ordering::Relaxed);
    let _service = storage_over(&world, &fresh.1, WhenHigh::Move);
    assert_eq!(answers(&fresh.1).1.len(), 6, "every file that could not be read is named");
}

#[test]
fn a_full_disk_sheds_its_oldest_hours() {
    let world = sealed_hour();
    world.advance(days(1).saturating_add_ms(3 * 3_600_000));
    let service = storage(&world);
    let done = service.relieve(world.now(), 1).unwrap();
    assert_eq!(done.moved.len(), 1, "as many as are needed");
    let delete = storage_over(&world, &world.parts.archive, WhenHigh::Delete);
    let done = delete.relieve(world.now(), u64::MAX).unwrap();
    assert_eq!(done.deleted.len(), 5, "{done:?}");
    assert!(world.receipts("obs_retention")[0]["policy"].as_str().unwrap().contains("disk"));
    world.assert_verifies();
}

trait Later {
    fn saturating_add_ms(self, ms: i64) -> Self;
}

impl Later for DurationMs {
    fn saturating_add_ms(self, ms: i64) -> Self {
        DurationMs(self.0 + ms)
    }
}

#[test]
fn the_ledger_is_in_the_store_too() {
    let world = sealed_hour();
    let definition = |i: i32| {
        Receipt::slo_definition(SloDefinition {
            operation_id: format!("obs-op-2025-12-06-{i:03}"),
            operation_type: "slo_create".to_owned(),
            initiated_by: "did:vm:user:sovereign".to_owned(),
            slo: serde_json::Map::new(),
        })
    };
    world.parts.ledger.append((0..256).map(definition).collect()).unwrap();
    let size = world.parts.ledger.head().size;
    assert!(size > 256, "{size}");
    storage(&world).step(world.now()).unwrap();
    storage(&world).step(world.now()).unwrap();
    let tiles = world.cold.path().join("receipts/observability/tile");
    let bundle = std::fs::read(tiles.join("entries/000")).unwrap();
    let lines: Vec<String> = (0..256).map(|i| world.parts.ledger.line(i).unwrap()).collect();
    let parts: Vec<&[u8]> = lines.iter().map(|l| l.as_bytes()).collect();
    assert_eq!(bundle, obs_proof::tile::write_entries(&parts).unwrap());
    assert!(tiles.join("0/000").exists());
    world.assert_verifies();
}

#[test]
fn a_backup_is_restored_whole_or_not_at_all() {
    let world = sealed_hour();
    let before = answers(&world.parts.archive);
    let place = tempfile::tempdir().unwrap();
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let store = FolderStore::new(place.path().join("backups-here"), Arc::clone(&disk));
    let take = || {
        let catalog = Catalog::read(&world.parts.ledger).unwrap();
        backup(world.dir.path(), disk.as_ref(), &catalog, &store, world.now()).unwrap()
    };
    let first = take();
    assert!(first.files > 10 && first.new_bytes > 0, "{first:?}");
    world.advance(DurationMs(1_000));
    let second = take();
    assert_eq!((second.new_files, second.files), (0, first.files), "only what is new is put");

    let target = place.path().join("restored");
    std::fs::create_dir(&target).unwrap();
    std::fs::write(target.join("precious"), "x").unwrap();
    let refused = restore(&store, None, &target, Vec::new()).unwrap_err();
    assert!(refused.to_string().contains("not empty"), "{refused}");
    std::fs::remove_file(target.join("precious")).unwrap();
    let report = restore(&store, Some(&first.id), &target, Vec::new()).unwrap();
    assert_eq!((report.files, report.verified.exit_code()), (first.files, 0));
    let archive = open_archive(&target, world.cold.path(), &disk);
    assert_eq!(answers(&archive), before);
    let facts = newest(&store).unwrap();
    assert_eq!((facts.id.as_str(), facts.bytes), (second.id.as_str(), second.bytes));
    let found = probe(&store, place.path()).unwrap();
    assert_eq!(found.created, facts.created);
    assert_eq!((found.id, found.files), (second.id, second.files));

    // One byte of one object, and the backup is refused.
    let blob = store.list("blobs").unwrap().into_iter().max_by_key(|b| b.bytes).unwrap();
    let path = place.path().join("backups-here").join(&blob.name);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[0] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let other = place.path().join("other");
    let refused = restore(&store, None, &other, Vec::new()).unwrap_err();
    assert!(refused.to_string().contains("was changed"), "{refused}");
    assert!(!other.exists() && !place.path().join("other.restoring").exists());
    assert!(probe(&store, place.path()).is_err());
}

/// A process that dies after any step of moving and reducing is continued by the next one.
#[test]
fn leftovers_of_a_dead_process_are_finished() {
    let world = sealed_hour();
    let before = answers(&world.parts.archive);
    // Uploaded, not on record: taken as it is.
    let name = world.parts.archive.sealed(Signal::Logs)[0];
    let bytes = std::fs::read(world.dir.path().join(name.storage_path())).unwrap();
    world.parts.archive.cold().unwrap().upload(&name.storage_path(), &bytes).unwrap();
    world.advance(days(3));
    let kept: BTreeMap<String, Vec<u8>> = local_files(&world)
        .into_iter()
        .map(|f| (f.clone(), std::fs::read(world.dir.path().join(f)).unwrap()))
        .collect();
    storage(&world).step(world.now()).unwrap();
    // On record, not yet removed.
    let put_back = |path: &Path| {
        for (name, bytes) in &kept {
            std::fs::create_dir_all(path.join(name).parent().unwrap()).unwrap();
            std::fs::write(path.join(name), bytes).unwrap();
        }
    };
    put_back(world.dir.path());
    let world = world.restart();
    let service = storage(&world);
    assert_eq!(local_files(&world), Vec::<String>::new());
    assert_eq!(answers(&world.parts.archive), before);
    world.advance(days(8));
    service.step(world.now()).unwrap();
    let reduced = answers(&world.parts.archive);
    // Deleted on record, not yet removed: seen by nobody, and gone after the next start.
    put_back(world.dir.path());
    let world = world.restart();
    let _service = storage(&world);
    assert_eq!(answers(&world.parts.archive), reduced);
    world.seals();
    world.assert_verifies();
    let now: TimestampMs = world.now();
    assert!(now > START);
}
