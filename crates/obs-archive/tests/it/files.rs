use super::*;
use crate::logs::{all_lines, example_logs};
use crate::metrics::{all_series, bits, example_metrics, series};
use crate::traces::example_traces;

#[test]
fn sealing_twice_gives_the_same_bytes_and_another_key_other_salts() {
    let bytes_of = |key: [u8; 32]| {
        let disk = fake();
        let archive = Archive::open("/data", Arc::clone(&disk), key).unwrap();
        let seals = [
            archive.seal_metrics(hour(), 0, &example_metrics()).unwrap(),
            archive.seal_logs(hour(), 0, &example_logs()).unwrap(),
            archive.seal_traces(hour(), 0, &example_traces()).unwrap(),
        ];
        seals.map(|s| {
            let bytes = disk.read(&Path::new("/data").join(&s.storage_path)).unwrap();
            (s.content_hash, s.records.root, bytes)
        })
    };
    let (a, b, other) = (bytes_of(KEY), bytes_of(KEY), bytes_of([8; 32]));
    assert!(a == b, "sealed bytes differ between two runs");
    for (a, other) in a.iter().zip(&other) {
        assert_ne!(a.1, other.1);
    }
}

#[test]
fn empty_hours_are_sealed_and_read_as_empty() {
    let disk = fake();
    let archive = open(&disk);
    let seals = [
        archive.seal_metrics(hour(), 0, &GivenSeries::default()).unwrap(),
        archive.seal_logs(hour(), 0, &GivenLogs::default()).unwrap(),
        archive.seal_traces(hour(), 0, &GivenTraces::default()).unwrap(),
    ];
    for seal in seals {
        assert_eq!(seal.records.count, 0);
        assert!(seal.content_bytes > 0);
        let verified = verify_seal(&disk, Path::new("/data"), &seal.storage_path).unwrap();
        assert_eq!((verified.content_hash, verified.records), (seal.content_hash, seal.records));
    }
    assert!(all_series(&archive, hour().range_ms()).is_empty());
    assert!(all_lines(&archive, Direction::Forward).is_empty());
    assert_eq!(archive.trace(TraceId([1; 16]), &context()).unwrap(), None);
    assert!(archive.problems().is_empty(), "{:?}", archive.problems());
}

#[test]
fn a_flipped_byte_changes_the_hash_or_is_refused() {
    let concrete = Arc::new(FakeDisk::new());
    let disk: Arc<dyn Disk> = Arc::<FakeDisk>::clone(&concrete);
    let archive = open(&disk);
    let seals = [
        archive.seal_metrics(hour(), 0, &example_metrics()).unwrap(),
        archive.seal_logs(hour(), 0, &example_logs()).unwrap(),
        archive.seal_traces(hour(), 0, &example_traces()).unwrap(),
    ];
    for seal in &seals {
        let path = Path::new("/data").join(&seal.storage_path);
        let len = disk.len(&path).unwrap() as usize;
        for at in (0..len).step_by(len / 60) {
            assert!(concrete.corrupt(&path, at, 0x10));
            match archive.verify_file(&seal.storage_path) {
                Ok(v) => assert_ne!(v.content_hash, seal.content_hash, "byte {at}"),
                Err(e) => assert!(!e.to_string().is_empty()),
            }
            assert!(concrete.corrupt(&path, at, 0x10));
        }
        assert_eq!(
            archive.verify_file(&seal.storage_path).unwrap().content_hash,
            seal.content_hash
        );
    }
}

#[test]
fn a_damaged_file_is_named_and_the_others_are_served() {
    let concrete = Arc::new(FakeDisk::new());
    let disk: Arc<dyn Disk> = Arc::<FakeDisk>::clone(&concrete);
    let archive = open(&disk);
    let first = archive
        .seal_metrics(hour(), 0, &GivenSeries::from(vec![series("m", &[], &[(0, 1.0)])]))
        .unwrap();
    archive
        .seal_metrics(
            hour().next(),
            0,
            &GivenSeries::from(vec![series("m", &[], &[(HOUR_MS, 2.0)])]),
        )
        .unwrap();
    let path = Path::new("/data").join(&first.storage_path);
    let len = disk.len(&path).unwrap() as usize;
    assert!(concrete.corrupt(&path, len - 2, 0xff));
    let archive = open(&disk);
    let range = TimeRangeMs::new(hour().start(), hour().next().end());
    assert_eq!(all_series(&archive, range)[0].values, [2.0]);
    let problems = archive.problems();
    assert_eq!(problems.len(), 1);
    assert_eq!(problems[0].0, first.storage_path);
    assert!(archive.stats().skipped_reads > 0);
    let error = archive.verify_file(&first.storage_path).unwrap_err();
    assert!(error.to_string().contains("hour-14.parquet"), "{error}");
}

#[test]
fn a_file_under_another_hours_name_is_refused() {
    let disk = fake();
    let archive = open(&disk);
    let seal = archive.seal_metrics(hour(), 0, &example_metrics()).unwrap();
    let bytes = disk.read(&Path::new("/data").join(&seal.storage_path)).unwrap();
    let moved = SealName::new(Signal::Metrics, hour().next(), 0).storage_path();
    obs_disk::write_durable(disk.as_ref(), &Path::new("/data").join(&moved), &bytes).unwrap();
    let error = archive.verify_file(&moved).unwrap_err().to_string();
    assert!(error.contains("vmobs."), "{error}");
    assert!(matches!(
        archive.verify_file("telemetry/metrics/2025-12-06/../x"),
        Err(ArchiveError::NotASeal { .. })
    ));
}

#[test]
fn a_disk_that_fails_leaves_no_half_seal() {
    for n in 0.. {
        let concrete = Arc::new(FakeDisk::new());
        let disk: Arc<dyn Disk> = Arc::<FakeDisk>::clone(&concrete);
        let archive = open(&disk);
        concrete.fault_after(n, obs_disk::Fault::Crash);
        let result = archive.seal_logs(hour(), 0, &example_logs());
        let reached = concrete.fault_reached();
        concrete.crash();
        let archive = open(&disk);
        if archive.is_sealed(Signal::Logs, hour()) {
            let name = SealName::new(Signal::Logs, hour(), 0).storage_path();
            assert_eq!(archive.verify_file(&name).unwrap().records.count, 7, "fault at {n}");
        } else {
            assert!(result.is_err(), "fault at {n}: sealed but not there");
            archive.seal_logs(hour(), 0, &example_logs()).unwrap();
        }
        if !reached {
            assert!(n >= 8);
            break;
        }
    }
}

#[test]
fn a_hundred_thousand_samples_on_a_real_disk() {
    let folder = tempfile::tempdir().unwrap();
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let archive = Archive::open(folder.path(), disk, KEY).unwrap();
    let source = GivenSeries::from(
        (0..417)
            .map(|i| {
                let samples: Vec<(i64, f64)> =
                    (0..240).map(|t| (t * 15_000, (i * t) as f64 * 0.25)).collect();
                let instance = format!("brick-{:03}:9100", i % 100);
                let cpu = format!("{}", i / 100);
                series(
                    "node_cpu_seconds_total",
                    &[("cpu", &cpu), ("instance", &instance), ("job", "node")],
                    &samples,
                )
            })
            .collect::<Vec<_>>(),
    );
    let seal = archive.seal_metrics(hour(), 0, &source).unwrap();
    assert_eq!(seal.metrics().unwrap().metrics_collected, 417 * 240);
    let range = hour().range_ms();
    assert_eq!(bits(&all_series(&archive, range)), bits(&all_series(&source, range)));
    assert!(seal.content_bytes < 8 * 417 * 240, "{} bytes", seal.content_bytes);
}
