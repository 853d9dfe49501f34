use obs_disk::{Disk, FakeDisk};
use obs_proof::checkpoint::Checkpoint;
use obs_proof::note::{KeyKind, SignerKey};
use obs_proof::record::{LEAF_LOG, LEAF_SERIES, LEAF_SPAN};
use obs_proof::tlog_proof::TlogProof;
use obs_proof::vmproof::VmProof;
use obs_proof::{Sha256Tree, TreeHash};
use obs_testkit::{GivenLogs, GivenSeries, GivenTraces};
use obs_types::{
    LogStream, METRIC_NAME, Resource, SeriesData, Span, SpanRecord, TimestampMs, Trace,
};

use super::*;
use crate::Seal;

/// 2025-12-06T14:00:00Z
const END_MS: i64 = 1_765_029_600_000;
const START_NS: i64 = (END_MS - 3_600_000) * 1_000_000;

fn hour() -> Hour {
    Hour::ending_at(TimestampMs(END_MS)).unwrap()
}

fn archive() -> (Arc<dyn Disk>, Archive) {
    let disk: Arc<dyn Disk> = Arc::new(FakeDisk::new());
    let archive = Archive::open("/data", Arc::clone(&disk), [7; 32]).unwrap();
    (disk, archive)
}

fn entry(i: i64, line: String) -> LogEntry {
    LogEntry { timestamp: TimestampNs(START_NS + i * 1_000_000), line, ..LogEntry::default() }
}

/// Two lines at every millisecond, of two services.
fn lines(count: i64) -> GivenLogs {
    let stream = |service: &str| LogStream {
        labels: LabelSet::from_pairs([("service", service)]),
        entries: (0..count / 2).map(|i| entry(i, format!("{service} did {i}"))).collect(),
    };
    GivenLogs(vec![stream("a"), stream("b")])
}

fn leads_to(seal: &Seal, record: &SealedRecord, kind: &str) {
    assert_eq!(record.name, seal.name);
    assert_eq!(record.proven.scope.kind, kind);
    assert_eq!(record.proven.proof.count, seal.records.count);
    let root = record.proven.proof.root(&record.proven.scope, &record.proven.record).unwrap();
    assert_eq!(root, seal.records.root);
    let proof = proof_file(seal, record);
    assert_eq!(VmProof::parse(&proof.to_string()).unwrap(), proof);
}

/// The record's proof file, with the seal as the only receipt of a log.
fn proof_file(seal: &Seal, record: &SealedRecord) -> VmProof {
    let of_stream = match seal.signal() {
        Signal::Metrics => "obs_metric_snapshot",
        Signal::Logs => "obs_log_batch",
        Signal::Traces => "obs_trace_batch",
    };
    let receipt = serde_json::json!({
        "type": of_stream, "seq": 0, "stream": seal.signal().as_str(),
        "period": {"start": "2025-12-06T13:00:00Z", "end": seal.hour().end_text()},
        "records": {"count": seal.records.count.to_string(), "leaf": seal.records.leaf,
            "root": seal.records.root_text()},
    });
    let line = obs_proof::canonical::to_string(&receipt).unwrap();
    let key = SignerKey::from_seed("log.example/x", KeyKind::Ed25519, &[5; 32]).unwrap();
    let root = Sha256Tree::leaf(line.as_bytes());
    let checkpoint = Checkpoint { origin: "log.example/x".to_owned(), size: 1, root };
    let mut note = checkpoint.to_note().unwrap();
    note.sign(&key, 0);
    let checkpoint = note.to_string();
    let tlog = TlogProof { extra: None, index: 0, hashes: Vec::new(), checkpoint };
    VmProof::new(Some(record.proven.clone()), &line, &tlog.to_string()).unwrap()
}

#[test]
fn a_log_line_is_found_and_leads_to_the_sealed_root() {
    let (disk, archive) = archive();
    let seal = archive.seal_logs(hour(), 0, &lines(1_400)).unwrap();
    for i in [0, 1, 127, 128, 300, 699] {
        let at = TimestampNs(START_NS + i * 1_000_000);
        let want = format!("b did {i}");
        let found = archive.prove_log(at, &mut |_stream, e| e.line == want).unwrap().unwrap();
        leads_to(&seal, &found, LEAF_LOG);
        let line = String::from_utf8(found.proven.record.clone()).unwrap();
        assert!(line.contains(&want), "{line}");
        assert_eq!(found.proven.proof.index, 2 * i as u64 + 1);
    }
    let at = TimestampNs(START_NS);
    assert_eq!(archive.prove_log(at, &mut |_, e| e.line == "never said").unwrap(), None);
    let other_hour = TimestampNs(START_NS - 1);
    assert_eq!(archive.prove_log(other_hour, &mut |_, _| true).unwrap(), None);

    // Without a side file, and with one of other records, the tree is computed again.
    let expected = archive.prove(seal.name, 999).unwrap();
    let side = std::path::Path::new("/data").join(seal.name.tree_path());
    let key = obs_proof::record::hour_key(&[1; 32], "logs", "x", 0);
    let mut other = RecordTreeBuilder::new(RecordScope::new("k", "s", "h"), key);
    (0..1_400_u32).for_each(|i| other.push(&i.to_be_bytes()));
    obs_disk::write_durable(disk.as_ref(), &side, &other.finish().to_sidecar()).unwrap();
    assert_eq!(archive.prove(seal.name, 999).unwrap(), expected);
    disk.remove(&side).unwrap();
    assert_eq!(archive.prove(seal.name, 999).unwrap(), expected);
    assert!(archive.prove(seal.name, 1_400).is_err());
}

#[test]
fn late_lines_are_proven_from_their_own_revision() {
    let (_disk, archive) = archive();
    archive.seal_logs(hour(), 0, &lines(10)).unwrap();
    let late = archive.backfill_logs(hour(), &lines(20)).unwrap().unwrap();
    let at = TimestampNs(START_NS + 7 * 1_000_000);
    let found = archive.prove_log(at, &mut |_, _| true).unwrap().unwrap();
    leads_to(&late, &found, LEAF_LOG);
}

#[test]
fn a_series_hour_leads_to_the_sealed_root() {
    let (_disk, archive) = archive();
    let series = |i: i64| SeriesData {
        labels: LabelSet::from_pairs([(METRIC_NAME, "up"), ("n", &format!("{i:04}"))]),
        timestamps: vec![END_MS - 3_600_000 + i, END_MS - 1],
        values: vec![f64::NAN, i as f64],
        ..SeriesData::default()
    };
    let source = GivenSeries::from((0..300).map(series).collect::<Vec<_>>());
    let seal = archive.seal_metrics(hour(), 0, &source).unwrap();
    for i in [0, 255, 256, 299] {
        let found = archive.prove_series(hour(), 0, &series(i).labels).unwrap().unwrap();
        leads_to(&seal, &found, LEAF_SERIES);
        assert_eq!(found.proven.record, crate::records::series_leaf(&series(i)));
    }
    assert_eq!(archive.prove_series(hour(), 0, &LabelSet::empty()).unwrap(), None);
    assert_eq!(archive.prove_series(hour(), 1, &series(0).labels).unwrap(), None);
}

#[test]
fn a_span_leads_to_the_sealed_root() {
    let (_disk, archive) = archive();
    let trace = |t: u64| {
        let id = TraceId((u128::from(t) + 1).to_be_bytes());
        let span = |s: u64| SpanRecord {
            resource: Arc::new(Resource::default()),
            scope: Arc::default(),
            span: Span {
                trace_id: id,
                span_id: SpanId((s + 1).to_be_bytes()),
                name: format!("span {t}/{s}"),
                start: TimestampNs(START_NS),
                end: TimestampNs(START_NS + 5),
                ..Span::default()
            },
        };
        Trace { id, spans: (0..7).map(span).collect() }
    };
    let source = GivenTraces((0..90).map(trace).collect());
    let seal = archive.seal_traces(hour(), 0, &source).unwrap();
    assert_eq!(seal.records.count, 630);
    for (t, s) in [(0_u64, 0_u64), (36, 3), (36, 4), (73, 1), (89, 6)] {
        let id = TraceId((u128::from(t) + 1).to_be_bytes());
        let span = SpanId((s + 1).to_be_bytes());
        let found = archive.prove_span(None, id, span).unwrap().unwrap();
        leads_to(&seal, &found, LEAF_SPAN);
        let text = String::from_utf8(found.proven.record.clone()).unwrap();
        assert!(text.contains(&format!("span {t}/{s}")), "{text}");
    }
    let unknown = SpanId([9; 8]);
    assert_eq!(archive.prove_span(Some(hour()), trace(0).id, unknown).unwrap(), None);
}
