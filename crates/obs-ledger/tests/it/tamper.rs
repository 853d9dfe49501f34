//! A small store with sealed files: whatever is changed in it is found.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use obs_disk::RealDisk;
use obs_ledger::{
    DeletedFile, Gap, Ledger, OutsideChain, Receipt, Reseal, ResealCause, Retention, SealLink,
    SealRelation,
};
use obs_proof::verify::{
    Class, Code, Depth, Parsed, RecordReader, RecordSink, RecordsRead, SealedFile, VerifyOptions,
    VerifyReport, verify, verify_with,
};
use obs_types::TimestampMs;

use crate::second_verifier::{python, second};
use crate::support::{
    HOUR, HOUR_13, alert, clock, config, hash, log_batch, metric_snapshot, seal, verify_dir,
};

pub(crate) const LOG: &str = "receipts/observability/observability_events.jsonl";
pub(crate) const CHECKPOINT: &str = "receipts/observability/checkpoint";

fn sealed(dir: &Path, path: &str, content: &[u8]) {
    let path = dir.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

pub(crate) fn path_of(stream: &str, n: i64) -> String {
    format!("telemetry/{stream}/2025-12-06/hour-{}.bin", 14 + n)
}

fn hour(dir: &Path, stream: &str, n: i64) -> Receipt {
    let content = format!("{stream} of hour {n}");
    sealed(dir, &path_of(stream, n), content.as_bytes());
    let seal = seal(stream, n, 0, &path_of(stream, n), content.as_bytes());
    if stream == "logs" { log_batch(seal) } else { metric_snapshot(seal) }
}

fn store(receipts: impl Fn(&Path) -> Vec<Receipt>) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(config(Arc::new(RealDisk), clock(), dir.path())).unwrap();
    ledger.append(receipts(dir.path())).unwrap();
    ledger.shutdown().unwrap();
    dir
}

pub(crate) fn small_store() -> tempfile::TempDir {
    store(|d| vec![hour(d, "metrics", 0), hour(d, "logs", 0), alert(1), hour(d, "logs", 1)])
}

fn options(dir: &Path, more: &[&str]) -> VerifyOptions {
    let mut args = vec![dir.display().to_string()];
    args.extend(more.iter().map(|a| (*a).to_owned()));
    match VerifyOptions::parse(args).unwrap() {
        Parsed::Run(o) => *o,
        Parsed::Help => panic!("help"),
    }
}

fn checked(dir: &Path) -> VerifyReport {
    asked(dir, &[])
}

/// What the verifier says; the one in Python must say the same, where there is Python (`second_verifier`
/// says aloud where there is none).
fn asked(dir: &Path, args: &[&str]) -> VerifyReport {
    let words: Vec<String> = args.iter().map(|a| (*a).to_owned()).collect();
    // It writes nothing, so a state file must be there; and it goes first, because ours writes it.
    let state = args.iter().skip_while(|a| **a != "--state").nth(1);
    let asks_both = python() && state.is_none_or(|file| Path::new(file).exists());
    let theirs = asks_both.then(|| second(dir, &words));
    let report = verify(&options(dir, args)).unwrap();
    let bad = report.findings.iter().filter(|f| f.class != Class::Note);
    let ours = (report.exit_code(), bad.map(|f| f.code.to_string()).collect());
    if let Some(theirs) = theirs {
        assert_eq!(theirs, ours, "{args:?}: {report}");
    }
    report
}

#[test]
fn every_single_byte_flip_is_found() {
    let dir = store(|d| vec![hour(d, "logs", 0), alert(1)]);
    let good = verify_dir(dir.path());
    assert_eq!((good.exit_code(), good.files), (0, 1), "{good}");
    for file in [LOG, CHECKPOINT, &path_of("logs", 0), "ROOT.observability.txt"] {
        let path = dir.path().join(file);
        let bytes = fs::read(&path).unwrap();
        for at in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 1 << (at % 8);
            fs::write(&path, &bad).unwrap();
            let report = verify_dir(dir.path());
            assert_ne!(report.exit_code(), 0, "{file} byte {at}: {report}");
        }
        fs::write(&path, &bytes).unwrap();
    }
    assert_eq!(verify_dir(dir.path()).exit_code(), 0);
}

#[test]
fn truncation_is_found() {
    let dir = small_store();
    for (file, step) in [(LOG, 7), (CHECKPOINT, 1)] {
        let path = dir.path().join(file);
        let bytes = fs::read(&path).unwrap();
        for len in (0..bytes.len()).rev().step_by(step) {
            fs::write(&path, &bytes[..len]).unwrap();
            assert_ne!(verify_dir(dir.path()).exit_code(), 0, "{file} cut to {len}");
        }
        fs::write(&path, &bytes).unwrap();
    }
}

#[test]
fn the_first_bad_receipt_is_named() {
    let dir = small_store();
    let path = dir.path().join(LOG);
    let text = fs::read_to_string(&path).unwrap();
    let third: usize = text.lines().take(2).map(|l| l.len() + 1).sum();
    fs::write(&path, text.replacen("\"info\":3", "\"info\":4", 1)).unwrap();
    let report = verify_dir(dir.path());
    assert_eq!(report.exit_code(), 1);
    assert!(report.has(Code::RootMismatch) && report.has(Code::RootHashMismatch), "{report}");
    let first = report.findings.iter().find(|f| f.code == Code::RootHashMismatch).unwrap();
    // Receipt 1 was edited: receipt 2 is the first whose chain value no longer fits.
    assert_eq!((first.seq, first.offset), (Some(2), Some(third as u64)), "{report}");
}

#[test]
fn missing_files_hours_and_everything() {
    let dir = small_store();
    fs::remove_file(dir.path().join(path_of("logs", 0))).unwrap();
    let report = checked(dir.path());
    assert_eq!(report.exit_code(), 2);
    assert!(report.has(Code::FileMissing), "{report}");
    let receipts_only = asked(dir.path(), &["--receipts-only"]);
    assert_eq!(receipts_only.exit_code(), 0);
    assert!(receipts_only.has(Code::FilesNotChecked), "said aloud: {receipts_only}");

    let gap = store(|d| vec![hour(d, "logs", 0), hour(d, "logs", 2)]);
    let report = checked(gap.path());
    assert_eq!(report.exit_code(), 2);
    assert!(report.has(Code::PeriodGap), "{report}");
    // Asked only about hours before the hole, all is well.
    assert_eq!(asked(gap.path(), &["--to", "2025-12-06T14:00:00Z"]).exit_code(), 0);
    for (flag, time, exit) in [
        ("--expect-until", "2025-12-06T14:00:00Z", 0),
        ("--expect-until", "2025-12-06T15:00:00Z", 2),
        ("--from", "2025-12-06T13:00:00Z", 0),
        ("--from", "2025-12-06T12:00:00Z", 2),
    ] {
        let dir = store(|d| vec![hour(d, "logs", 0)]);
        let report = asked(dir.path(), &[flag, time]);
        assert_eq!(report.exit_code(), exit, "{flag} {time}: {report}");
    }

    let empty = store(|_d| Vec::new());
    let report = checked(empty.path());
    assert_eq!(report.exit_code(), 2);
    assert!(report.has(Code::NothingVerified), "{report}");
}

#[test]
fn gaps_and_deletions_that_are_declared_are_fine() {
    let dir = store(|d| {
        let first = hour(d, "logs", 0);
        fs::remove_file(d.join(path_of("logs", 0))).unwrap();
        vec![
            first,
            Receipt::gap(Gap {
                stream: "logs".into(),
                period_start: TimestampMs(HOUR_13 + HOUR),
                period_end: TimestampMs(HOUR_13 + 3 * HOUR),
                reason: "vm-obs did not run".into(),
            }),
            hour(d, "logs", 3),
            Receipt::retention(Retention {
                operation_id: "obs-op-1".into(),
                stream: "logs".into(),
                policy: "logs: 1h".into(),
                reason: "older than the policy keeps".into(),
                deleted: vec![DeletedFile {
                    storage_path: path_of("logs", 0),
                    content_hash: hash(b"logs of hour 0"),
                }],
            }),
        ]
    });
    let report = checked(dir.path());
    assert_eq!(report.exit_code(), 0, "{report}");
    assert!(report.has(Code::DeclaredGap) && report.has(Code::DeclaredDeletion), "{report}");
}

#[test]
fn resealing_must_say_what_it_follows() {
    let revision = |d: &Path, link: Option<SealLink>| {
        sealed(d, "telemetry/logs/2025-12-06/hour-14.r1.bin", b"late");
        let mut seal = seal("logs", 0, 1, "telemetry/logs/2025-12-06/hour-14.r1.bin", b"late");
        seal.link = link;
        log_batch(seal)
    };
    let link = |of: &[u8], reason: &str| {
        Some(SealLink {
            relation: SealRelation::Supplements,
            content_hash: hash(of),
            reason: reason.into(),
        })
    };
    for (link, good) in [
        (link(b"logs of hour 0", "late lines"), true),
        (link(b"something else", "late lines"), false),
        (link(b"logs of hour 0", ""), false),
        (None, false),
    ] {
        let dir = store(|d| vec![hour(d, "logs", 0), revision(d, link.clone())]);
        let report = checked(dir.path());
        assert_eq!(report.exit_code() == 0, good, "{link:?}: {report}");
        assert_eq!(report.has(Code::SealLinkBroken), !good, "{report}");
    }
    let again = store(|d| vec![hour(d, "logs", 0), hour(d, "logs", 0)]);
    let report = checked(again.path());
    assert!(report.has(Code::RepeatedSeal) && report.exit_code() == 0, "{report}");
    let other = |d: &Path| {
        sealed(d, &path_of("logs", 1), b"other");
        log_batch(seal("logs", 0, 0, &path_of("logs", 1), b"other"))
    };
    let twice = store(|d| vec![hour(d, "logs", 0), other(d)]);
    assert!(checked(twice.path()).has(Code::DuplicateSeal));
    let early = store(|d| vec![hour(d, "logs", 30)]);
    assert!(checked(early.path()).has(Code::SealedTooEarly));
    let outside = store(|_d| vec![log_batch(seal("logs", 0, 0, "../secret", b"x"))]);
    assert!(checked(outside.path()).has(Code::BadPath));
}

/// An hour before the record names the receipt with which that begins, and lies before it.
#[test]
fn hours_before_the_record_say_so() {
    let earlier = |d: &Path, n: i64, outside: Option<OutsideChain>| {
        let path = format!("telemetry/logs/2025-12-06/hour-{}.jsonl.gz", 14 + n);
        sealed(d, &path, b"early");
        let mut seal = seal("logs", n, 0, &path, b"early");
        seal.outside = outside;
        log_batch(seal)
    };
    let precedes = |n| Some(OutsideChain::Precedes(n));
    for (hour_of, outside, good) in [
        (-2, precedes(0), true),
        (-1, precedes(0), true),
        (-2, precedes(1), false),
        (-2, Some(OutsideChain::FillsGap(0)), false),
        (2, precedes(0), false),
        (1, precedes(1), false),
    ] {
        let dir = store(|d| vec![hour(d, "logs", 0), earlier(d, hour_of, outside)]);
        let report = checked(dir.path());
        assert_eq!(report.exit_code() == 0, good, "{hour_of} {outside:?}: {report}");
        assert_eq!(report.has(Code::SealLinkBroken), !good, "{report}");
    }
    let chained = store(|d| vec![hour(d, "logs", 0), earlier(d, -1, None)]);
    assert!(checked(chained.path()).has(Code::DuplicateSeal));
    let first = store(|d| vec![earlier(d, -1, precedes(0)), hour(d, "logs", 0)]);
    assert!(checked(first.path()).has(Code::SealLinkBroken), "nothing begins before it");
    let twice = store(|d| {
        vec![hour(d, "logs", 0), earlier(d, -1, precedes(0)), {
            let other = "telemetry/logs/2025-12-06/hour-13.jsonl.gz";
            let mut seal = seal("logs", -1, 0, other, b"other");
            seal.outside = precedes(0);
            log_batch(seal)
        }]
    });
    assert!(checked(twice.path()).has(Code::DuplicateSeal));
}

/// Another file with the same records takes a seal's place; one with other records does not.
#[test]
fn a_reseal_keeps_the_records_of_what_it_replaces() {
    let replacement = "telemetry/logs/2025-12-06/hour-14.r1.bin";
    let good = |d: &Path| {
        sealed(d, replacement, b"smaller");
        let seal = seal("logs", 0, 1, replacement, b"smaller");
        Reseal {
            operation_id: "obs-op-1".into(),
            cause: ResealCause::Redaction,
            initiated_by: "did:vm:user:sovereign".into(),
            reason: "a password".into(),
            stream: "logs".into(),
            period_start: seal.period_start,
            period_end: seal.period_end,
            rev: 1,
            storage_path: seal.storage_path,
            content_hash: seal.content_hash,
            content_bytes: seal.content_bytes,
            records: seal.records,
            redacted: 2,
            replaced_path: path_of("logs", 0),
            replaced_hash: hash(b"logs of hour 0"),
        }
    };
    type Change = fn(&mut Reseal);
    let cases: [(&str, Change, Option<Code>); 9] = [
        ("good", |_r| {}, None),
        ("compaction", |r| r.redacted = 0, None),
        ("another root", |r| r.records.root = [8; 32], Some(Code::RecordsMismatch)),
        ("a record more", |r| r.records.count = 4, Some(Code::RecordsMismatch)),
        ("all and one more", |r| r.redacted = 4, Some(Code::RecordsMismatch)),
        ("of nothing", |r| r.replaced_hash = hash(b"other"), Some(Code::SealLinkBroken)),
        ("no reason", |r| r.reason.clear(), Some(Code::SealLinkBroken)),
        ("another stream", |r| r.stream = "metrics".into(), Some(Code::SealLinkBroken)),
        ("no revision", |r| r.rev = 0, Some(Code::SealIncomplete)),
    ];
    for (name, change, wrong) in cases {
        let dir = store(|d| {
            let mut reseal = good(d);
            change(&mut reseal);
            vec![hour(d, "metrics", 0), hour(d, "logs", 0), Receipt::reseal(reseal)]
        });
        let report = checked(dir.path());
        match wrong {
            Some(code) => assert!(report.has(code) && report.exit_code() > 0, "{name}: {report}"),
            None => assert_eq!(report.exit_code(), 0, "{name}: {report}"),
        }
        let told = report.findings.iter().any(|f| f.name() == "REDACTED:2");
        assert_eq!(told, name == "good", "{name}: {report}");
        // The old file may go where it was replaced, and only there.
        fs::remove_file(dir.path().join(path_of("logs", 0))).unwrap();
        let report = checked(dir.path());
        assert_eq!(report.has(Code::DeclaredDeletion), !report.has(Code::FileMissing), "{name}");
        assert!(wrong.is_some() || report.exit_code() == 0, "{name}: {report}");
    }
    let once_more = |redacted: u64| {
        store(|d| {
            let path = "telemetry/logs/2025-12-06/hour-14.r2.bin";
            sealed(d, path, b"smallest");
            let again = Reseal {
                rev: 2,
                storage_path: path.into(),
                content_hash: hash(b"smallest"),
                content_bytes: 8,
                redacted,
                replaced_path: replacement.into(),
                replaced_hash: hash(b"smaller"),
                ..good(d)
            };
            vec![hour(d, "logs", 0), Receipt::reseal(good(d)), Receipt::reseal(again)]
        })
    };
    let report = checked(once_more(3).path());
    assert!(report.findings.iter().any(|f| f.name() == "REDACTED:1"), "{report}");
    assert_eq!(report.exit_code(), 0, "{report}");
    let back = checked(once_more(1).path());
    assert!(back.has(Code::RecordsMismatch), "content does not come back: {back}");
    let twice = store(|d| {
        let reseal = Receipt::reseal(good(d));
        vec![hour(d, "logs", 0), reseal.clone(), reseal]
    });
    assert!(checked(twice.path()).has(Code::DuplicateSeal));
}

#[test]
fn keys_witnesses_and_remembered_state() {
    let dir = small_store();
    let (mine, other) = (checked(dir.path()), small_store());
    assert!(mine.has(Code::KeyFromData) && mine.has(Code::Unwitnessed), "{mine}");
    let keys = |d: &Path| {
        let entry = fs::read_dir(d.join("receipts/observability/keys")).unwrap().next().unwrap();
        entry.unwrap().path().display().to_string()
    };
    let trusted = asked(dir.path(), &["--log-key", &keys(dir.path())]);
    assert_eq!(trusted.exit_code(), 0);
    assert!(!trusted.has(Code::KeyFromData));
    let foreign = asked(dir.path(), &["--log-key", &keys(other.path())]);
    assert!(foreign.exit_code() == 1 && foreign.has(Code::BadLogSignature), "{foreign}");
    let witness = asked(dir.path(), &["--require-witness"]);
    assert_eq!(witness.exit_code(), 3, "{witness}");

    let state = tempfile::tempdir().unwrap();
    let file = state.path().join("state");
    let with_state = ["--state", file.to_str().unwrap()];
    assert_eq!(asked(dir.path(), &with_state).exit_code(), 0);
    let small = fs::read(dir.path().join(LOG)).unwrap();
    let small_checkpoint = fs::read(dir.path().join(CHECKPOINT)).unwrap();
    assert_eq!(fs::read(&file).unwrap(), small_checkpoint);
    let ledger = Ledger::open(config(Arc::new(RealDisk), clock(), dir.path())).unwrap();
    ledger.append(vec![alert(2)]).unwrap();
    assert_eq!(asked(dir.path(), &with_state).exit_code(), 0);
    fs::write(dir.path().join(LOG), small).unwrap();
    fs::write(dir.path().join(CHECKPOINT), small_checkpoint).unwrap();
    let rolled = asked(dir.path(), &with_state);
    assert!(rolled.has(Code::Rollback) && rolled.exit_code() == 1, "{rolled}");
    assert!(!rolled.has(Code::StateRemembered));
    fs::write(&file, "nonsense").unwrap();
    assert!(verify(&options(dir.path(), &with_state)).is_err());
}

/// The tail behind the checkpoint is reported, never taken as proven.
#[test]
fn a_live_folder() {
    let dir = small_store();
    let path = dir.path().join(LOG);
    let mut bytes = fs::read(&path).unwrap();
    bytes.extend(b"{\"unsigned\":1}\n{\"torn\":");
    fs::write(&path, bytes).unwrap();
    let report = checked(dir.path());
    assert_eq!((report.exit_code(), report.tail_receipts), (0, 1), "{report}");
    assert!(report.has(Code::UnsignedTail) && report.has(Code::TornTailUnsigned), "{report}");
    sealed(dir.path(), "telemetry/logs/2025-12-06/hour-16.bin", b"just sealed");
    assert!(checked(dir.path()).has(Code::UnreceiptedFile));
}

/// Lines as records; the first is the key.
struct Plain;

impl RecordReader for Plain {
    fn read(
        &mut self,
        path: &Path,
        _file: &SealedFile,
        sink: &mut dyn RecordSink,
    ) -> Result<RecordsRead, String> {
        if path.extension().is_some_and(|e| e == "unknown") {
            return Ok(RecordsRead::Unknown);
        }
        sink.begin([9; 32]);
        let bytes = fs::read(path).map_err(|e| e.to_string())?;
        bytes.split(|b| *b == b'\n').for_each(|r| sink.record(r));
        Ok(RecordsRead::Streamed)
    }
}

#[test]
fn records_are_checked_where_a_reader_decodes_them() {
    let content = b"a\nb\nc";
    let build = |records: &[&[u8]]| {
        let scope =
            obs_proof::record::RecordScope::new("vmobs-log/1", "logs", "2025-12-06T14:00:00Z");
        let mut builder = obs_proof::record::RecordTreeBuilder::new(scope, [9; 32]);
        records.iter().for_each(|r| builder.push(r));
        builder.finish()
    };
    for (records, good) in [(&[&b"a"[..], b"b", b"c"], true), (&[&b"a"[..], b"x", b"c"], false)] {
        let tree = build(records);
        let dir = store(|d| {
            sealed(d, &path_of("logs", 0), content);
            let mut seal = seal("logs", 0, 0, &path_of("logs", 0), content);
            seal.records.root = tree.root;
            seal.records.count = tree.count;
            vec![log_batch(seal)]
        });
        let report = verify_with(&VerifyOptions::new(dir.path()), Some(&mut Plain)).unwrap();
        assert_eq!(report.exit_code(), u8::from(!good), "{report}");
        assert_eq!((report.records, report.has(Code::RecordsMismatch)), (3, !good));
    }
}

/// Whoever asks for records gets no OK from somebody who has not looked at them.
#[test]
fn records_that_nobody_decodes_are_not_ok() {
    let path = "telemetry/logs/2025-12-06/hour-14.unknown";
    let dir = store(|d| {
        sealed(d, path, b"x");
        vec![log_batch(seal("logs", 0, 0, path, b"x"))]
    });
    let with = |depth: Depth| {
        let options = VerifyOptions { depth, ..VerifyOptions::new(dir.path()) };
        verify_with(&options, Some(&mut Plain)).unwrap()
    };
    for depth in [Depth::Receipts, Depth::Files, Depth::Deepest] {
        assert_eq!(with(depth).exit_code(), 0, "{depth:?}");
    }
    let report = with(Depth::Records);
    assert!(report.exit_code() == 2 && report.has(Code::RecordsNotChecked), "{report}");
    assert!(verify(&options(dir.path(), &["--records"])).is_err());
}
