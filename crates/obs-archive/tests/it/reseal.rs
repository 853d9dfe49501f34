//! Sealed files written anew: the record tree stays, so do all proofs.

use obs_archive::{Resealed, SealedItem};
use obs_proof::vmproof::ProvenRecord;

use super::*;
use crate::logs::{all_lines, entry, example_logs};
use crate::metrics::{all_series, example_metrics};
use crate::traces::{example_traces, span, trace};

const SECRET: &str = "hunter2";

/// Some of the records, those around the tree's runs of 256 among them.
fn tried(count: u64) -> impl Iterator<Item = u64> {
    (0..count).filter(move |i| count < 40 || i % 37 < 2 || i % 256 == 255 || *i + 1 == count)
}

fn proofs(archive: &Archive, name: SealName) -> Vec<ProvenRecord> {
    let count = archive.records_root(&name.storage_path()).unwrap().count;
    tried(count).map(|i| archive.prove(name, i).unwrap().proven).collect()
}

/// Puts the new file in the old one's place, as its receipt would, and checks what must be so.
#[track_caller]
fn take_place(
    archive: &Archive,
    disk: &Arc<dyn Disk>,
    before: &[ProvenRecord],
    new: &Resealed,
    gone: &dyn Fn(u64) -> bool,
) {
    archive.replace(&[new.replaces], Some(new.name));
    disk.remove(&Path::new("/data").join(new.replaces.storage_path())).unwrap();
    // Of a file that replaced another here, it is gone already.
    disk.remove(&Path::new("/data").join(new.replaces.tree_path())).ok();
    assert_eq!(tried(new.records.count).count(), before.len());
    assert_eq!(new.redacted, (0..new.records.count).filter(|i| gone(*i)).count() as u64);
    let found = archive.verify_file(&new.name.storage_path()).unwrap();
    assert_eq!((found.records, found.redacted), (new.records, new.redacted));
    for (i, old) in tried(new.records.count).zip(before) {
        // A proof made before leads to the same root, whatever became of its record.
        assert_eq!(old.proof.root(&old.scope, &old.record).unwrap(), new.records.root, "{i}");
        match archive.prove(new.name, i) {
            Ok(proof) => {
                assert!(!gone(i), "{i} is there still");
                assert_eq!(&proof.proven, old, "{i}");
            }
            Err(e) => assert!(gone(i) && e.to_string().contains("redacted"), "{i}: {e}"),
        }
    }
    // A missing side file is made again from what is left.
    disk.remove(&Path::new("/data").join(new.name.tree_path())).unwrap();
    if let Some((i, old)) = tried(new.records.count).zip(before).find(|(i, _)| !gone(*i)) {
        assert_eq!(&archive.prove(new.name, i).unwrap().proven, old);
    }
}

fn many_logs(lines: u64) -> GivenLogs {
    let stream = |name: &str, of: u64| LogStream {
        labels: LabelSet::from_pairs([("service_name", name)]),
        entries: (0..lines)
            .filter(|i| i % 2 == of)
            .map(|i| {
                let secret = if i % 7 == 3 { SECRET } else { "ok" };
                let text = format!("login {i} with {secret} {}", "x".repeat((i % 900) as usize));
                entry(i64::try_from(i).unwrap() * 1_000_000, &text, &[("level", "info")])
            })
            .collect(),
    };
    GivenLogs(vec![stream("portal", 0), stream("guardian", 1)])
}

#[test]
fn redacted_lines_leave_their_place_and_nothing_else() {
    let disk = fake();
    let archive = open(&disk);
    let source = many_logs(1_500);
    let old = archive.seal_logs(hour(), 0, &source).unwrap().name;
    let before = proofs(&archive, old);
    let lines = all_lines(&archive, Direction::Forward);
    let mut secret = |item: SealedItem<'_>| match item {
        SealedItem::Line(_, entry) => entry.line.contains(SECRET),
        _ => panic!("{item:?}"),
    };
    let gone = |i: u64| i % 7 == 3;
    let new = archive.redact(old, &mut secret).unwrap().unwrap();
    assert_eq!(all_lines(&archive, Direction::Forward), lines, "until the receipt is there");
    take_place(&archive, &disk, &before, &new, &gone);
    let left: Vec<_> = lines.into_iter().filter(|(_, e)| !e.line.contains(SECRET)).collect();
    for direction in [Direction::Forward, Direction::Backward] {
        let mut found = all_lines(&archive, direction);
        found.sort_by_key(|(_, e)| e.timestamp);
        assert_eq!(found, left);
    }
    let bytes = disk.read(&Path::new("/data").join(new.name.storage_path())).unwrap();
    let mut text = String::new();
    std::io::Read::read_to_string(&mut flate2::read::MultiGzDecoder::new(&bytes[..]), &mut text)
        .unwrap();
    assert!(!text.contains(SECRET));
    assert_eq!(text.lines().count(), 1_500);
    assert!(archive.redact(new.name, &mut secret).unwrap().is_none(), "nothing is left to remove");
    // Further ones, then fewer bytes: what is gone stays gone.
    let mut early = |item: SealedItem<'_>| match item {
        SealedItem::Line(_, e) => e.timestamp.0 < hour().range_ns().start.0 + 700_000_000,
        _ => false,
    };
    let more = archive.redact(new.name, &mut early).unwrap().unwrap();
    assert_eq!(more.redacted_now, (0..700).filter(|i| !gone(*i)).count() as u64);
    let gone = |i: u64| i < 700 || gone(i);
    take_place(&archive, &disk, &before, &more, &gone);
    let mut last = more.name;
    if let Some(small) = archive.compact(last, 0).unwrap() {
        assert!(small.content_bytes < more.content_bytes && small.redacted_now == 0);
        take_place(&archive, &disk, &before, &small, &gone);
        last = small.name;
        assert!(archive.compact(last, 1).unwrap().is_none(), "smaller it does not get");
    }
    // Late data is compared with what is left, and becomes the next revision.
    let late = archive.backfill_logs(hour(), &many_logs(1_501)).unwrap().unwrap();
    assert_eq!(late.name.revision, last.revision + 1);
    let again = Archive::open("/data", Arc::clone(&disk), KEY).unwrap();
    assert_eq!(again.sealed(Signal::Logs), [last, late.name]);
}

#[test]
fn spans_and_series_are_redacted_as_well() {
    let disk = fake();
    let archive = open(&disk);
    let spans = |count: u16| {
        let spans = (0..count).map(|i| {
            let service = if i % 5 == 0 { SECRET } else { "portal" };
            let mut span = span(u8::try_from(i / 3).unwrap(), 1, 0, 10, 20, service);
            span.span.span_id = SpanId(u64::from(i + 1).to_be_bytes());
            trace(vec![span])
        });
        GivenTraces(spans.collect())
    };
    let old = archive.seal_traces(hour(), 0, &spans(600)).unwrap().name;
    let before = proofs(&archive, old);
    // In order of their traces, then their own ids: as they were made.
    let gone = |i: u64| i.is_multiple_of(5);
    let mut secret = |item: SealedItem<'_>| match item {
        SealedItem::Span(record) => record.resource.service() == SECRET,
        _ => panic!("{item:?}"),
    };
    let new = archive.redact(old, &mut secret).unwrap().unwrap();
    take_place(&archive, &disk, &before, &new, &gone);
    let small = archive.compact(new.name, 0).unwrap();
    if let Some(small) = &small {
        take_place(&archive, &disk, &before, small, &gone);
    }
    let found = archive.prove_span(None, TraceId([0; 16]), SpanId(1_u64.to_be_bytes()));
    assert!(found.is_ok_and(|f| f.is_none()), "the first span was redacted");

    let old = archive.seal_metrics(hour(), 0, &example_metrics()).unwrap().name;
    let before = proofs(&archive, old);
    let all = all_series(&archive, hour().range_ms());
    let mut latency = |item: SealedItem<'_>| match item {
        SealedItem::Series(labels) => ["latency", "odd"].contains(&labels.metric_name()),
        _ => panic!("{item:?}"),
    };
    let new = archive.redact(old, &mut latency).unwrap().unwrap();
    // By name: "", cpu_percent, latency, odd, requests_total, vmobs_receipts_total.
    let gone = |i: u64| i == 2 || i == 3;
    take_place(&archive, &disk, &before, &new, &gone);
    let left = all_series(&archive, hour().range_ms());
    assert_eq!((all.len(), left.len()), (6, 4));
    let proof = archive.prove_series(hour(), new.name.revision, &left[3].labels).unwrap().unwrap();
    assert!(before.contains(&proof.proven));
}

/// All records may go, and an hour without records has none to remove.
#[test]
fn the_extremes() {
    let disk = fake();
    let archive = open(&disk);
    let old = archive.seal_logs(hour(), 0, &example_logs()).unwrap().name;
    let before = proofs(&archive, old);
    let new = archive.redact(old, &mut |_item| true).unwrap().unwrap();
    take_place(&archive, &disk, &before, &new, &|_i| true);
    assert!(all_lines(&archive, Direction::Forward).is_empty());
    let traces = archive.seal_traces(hour(), 0, &example_traces()).unwrap().name;
    let before = proofs(&archive, traces);
    let new = archive.redact(traces, &mut |_item| true).unwrap().unwrap();
    take_place(&archive, &disk, &before, &new, &|_i| true);
    let empty = archive.seal_metrics(hour(), 0, &GivenSeries::default()).unwrap().name;
    assert!(archive.redact(empty, &mut |_item| true).unwrap().is_none());
    assert!(archive.compact(empty, 0).is_ok());
}

/// A byte of the new file, of its redacted lines too, is as well guarded as any other.
#[test]
fn a_flipped_byte_of_a_redacted_file_is_noticed() {
    let disk = fake();
    let archive = open(&disk);
    let old = archive.seal_logs(hour(), 0, &example_logs()).unwrap().name;
    let mut first = true;
    let new = archive.redact(old, &mut |_item| std::mem::take(&mut first)).unwrap().unwrap();
    let path = Path::new("/data").join(new.name.storage_path());
    let good = disk.read(&path).unwrap();
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1;
        disk.create(&path).unwrap().append(&bad).unwrap();
        let found = verify_seal(&disk, Path::new("/data"), &new.name.storage_path());
        assert!(found.is_err() || found.unwrap().content_hash != new.content_hash, "byte {at}");
    }
}

/// The process dies at each disk operation of a redaction: the old file is what it was, and what
/// is there of the new one is whole or can be thrown away.
#[test]
fn a_crash_leaves_the_old_file() {
    for n in 0.. {
        let concrete = Arc::new(FakeDisk::new());
        let disk: Arc<dyn Disk> = Arc::<FakeDisk>::clone(&concrete);
        let archive = open(&disk);
        let old = archive.seal_logs(hour(), 0, &example_logs()).unwrap().name;
        let sealed = archive.verify_file(&old.storage_path()).unwrap();
        concrete.fault_after(n, obs_disk::Fault::Crash);
        let result = archive.redact(old, &mut |_item| true);
        let reached = concrete.fault_reached();
        concrete.crash();
        let archive = open(&disk);
        assert_eq!(archive.verify_file(&old.storage_path()).unwrap(), sealed, "fault at {n}");
        let new = archive.sealed(Signal::Logs).into_iter().find(|name| *name != old);
        if let Ok(Some(resealed)) = result {
            assert_eq!(new, Some(resealed.name), "fault at {n}: written but not there");
        }
        if let Some(new) = new {
            assert_eq!(archive.verify_file(&new.storage_path()).unwrap().redacted, 7);
            archive.discard(new).unwrap();
            archive.refresh().unwrap();
        }
        assert!(archive.redact(old, &mut |_item| true).unwrap().is_some(), "fault at {n}");
        if !reached {
            assert!(n >= 8);
            break;
        }
    }
}
