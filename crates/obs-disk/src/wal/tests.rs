use super::*;
use crate::{FakeDisk, Fault, RealDisk};

const DIR: &str = "/wal";

fn config() -> WalConfig {
    WalConfig { segment_bytes_max: 200, record_bytes_max: 1_000 }
}

fn open(disk: &FakeDisk) -> (Result<Wal, DiskError>, Vec<Vec<u8>>) {
    let mut seen = Vec::new();
    let wal =
        Wal::open(Arc::new(disk.clone()), Path::new(DIR), config(), &mut |r| seen.push(r.to_vec()));
    (wal, seen)
}

fn record(i: usize) -> Vec<u8> {
    format!("record {i} {}", "x".repeat(i * 7 % 40)).into_bytes()
}

/// Drops records from `seen` that were refused; what stays must be what was acknowledged.
fn assert_holds(seen: &[Vec<u8>], acknowledged: &[usize], tried: usize, what: &str) {
    let mut order = seen.iter();
    for &i in acknowledged {
        assert!(order.any(|r| *r == record(i)), "{what}: record {i} is lost");
    }
    assert!(seen.iter().all(|r| (0..tried).any(|i| *r == record(i))), "{what}: rubbish");
}

#[test]
fn records_come_back_over_segments() {
    let disk = FakeDisk::new();
    let (wal, _) = open(&disk);
    let wal = wal.unwrap();
    let places: Vec<Lsn> = (0..30).map(|i| wal.append(&record(i)).unwrap()).collect();
    assert!(places.is_sorted() && wal.stats().segments > 3);
    disk.crash();
    let (wal, seen) = open(&disk);
    assert_eq!(seen, (0..30).map(record).collect::<Vec<_>>());
    let wal = wal.unwrap();
    assert_eq!(wal.recovery().records, 30);
    assert_eq!((wal.recovery().torn_bytes, wal.recovery().corrupt.len()), (0, 0));

    wal.append(&record(30)).unwrap();
    let next = wal.rotate().unwrap();
    wal.append(&record(31)).unwrap();
    wal.remove_before(next).unwrap();
    drop(wal);
    disk.crash();
    assert_eq!(open(&disk).1, [record(31)]);
}

#[test]
fn whatever_breaks_acknowledged_records_are_replayed() {
    for fault in [Fault::Fail, Fault::Tear, Fault::FailStored, Fault::Crash] {
        for n in 0.. {
            let disk = FakeDisk::new();
            disk.fault_after(n, fault);
            let mut acknowledged = Vec::new();
            if let Ok(wal) = open(&disk).0 {
                for i in 0..12 {
                    if wal.append(&record(i)).is_ok() {
                        acknowledged.push(i);
                    }
                    if wal.is_poisoned() {
                        wal.recover().unwrap();
                    }
                }
            }
            let reached = disk.fault_reached();
            disk.crash_torn(n);
            // A second fault strikes the recovery itself; the third start is clean.
            disk.fault_after(n % 5, fault);
            let again = open(&disk);
            if let Ok(wal) = again.0 {
                assert_holds(&again.1, &acknowledged, 12, "second start");
                if wal.append(&record(12)).is_ok() {
                    acknowledged.push(12);
                }
            }
            disk.crash();
            let (wal, seen) = open(&disk);
            assert!(wal.unwrap().recovery().corrupt.is_empty());
            assert_holds(&seen, &acknowledged, 13, &format!("{fault:?} at {n}"));
            if fault != Fault::Crash && acknowledged.first() == Some(&0) {
                assert!(acknowledged.len() >= 11, "one fault costs one record: {fault:?} at {n}");
            }
            if !reached {
                break;
            }
        }
    }
}

#[test]
fn a_failed_sync_stops_the_log_until_it_is_reopened() {
    let disk = FakeDisk::new();
    let wal = open(&disk).0.unwrap();
    wal.append(b"one").unwrap();
    disk.fault_after(1, Fault::Fail);
    let e = wal.append(b"two").unwrap_err();
    assert!(matches!(e, DiskError::Poisoned { .. }), "{e}");
    assert!(wal.append(b"three").is_err() && wal.rotate().is_err());
    drop(wal);
    let wal = open(&disk).0.unwrap();
    wal.append(b"four").unwrap();
    disk.crash();
    let seen = open(&disk).1;
    assert_eq!(seen.first().map(Vec::as_slice), Some(b"one".as_slice()));
    assert_eq!(seen.last().map(Vec::as_slice), Some(b"four".as_slice()));
}

#[test]
fn a_full_disk_refuses_and_then_goes_on() {
    let disk = FakeDisk::new();
    let wal = open(&disk).0.unwrap();
    wal.append(&record(0)).unwrap();
    for room in 0..80 {
        disk.set_budget(Some(disk.used_bytes() + room));
        match wal.append(&[9; 200]) {
            Ok(_) => panic!("does not fit in {room}"),
            Err(e) => assert!(e.is_full(), "{e}"),
        }
        assert!(!wal.is_poisoned());
    }
    drop(wal);
    disk.set_budget(Some(disk.used_bytes()));
    let (wal, seen) = open(&disk);
    let wal = wal.expect("a full disk can be opened and read");
    assert_eq!(seen, [record(0)]);
    assert!(wal.append(&record(1)).unwrap_err().is_full());
    disk.set_budget(None);
    wal.append(&record(1)).unwrap();
    disk.crash();
    let (wal, seen) = open(&disk);
    assert_eq!(seen, [record(0), record(1)]);
    assert_eq!(wal.unwrap().recovery().torn_bytes, 0);
}

#[test]
fn every_flipped_byte_costs_one_record_and_is_reported() {
    let disk = FakeDisk::new();
    let wal = Wal::open(Arc::new(disk.clone()), Path::new(DIR), WalConfig::standard(), &mut |_| ())
        .unwrap();
    let records: Vec<Vec<u8>> = (0..5).map(record).collect();
    let places: Vec<u64> = records.iter().map(|r| wal.append(r).unwrap().offset).collect();
    drop(wal);
    let (path, len) = disk.files().pop().unwrap();
    for at in 0..len {
        disk.corrupt(&path, at as usize, 0x40);
        let mut seen = Vec::new();
        let report =
            replay_read_only(&disk, Path::new(DIR), &mut |r| seen.push(r.to_vec())).unwrap();
        let hit = places.iter().rposition(|p| *p <= at);
        let expected: Vec<_> =
            (0..5).filter(|i| Some(*i) != hit).map(|i| records[i].clone()).collect();
        assert_eq!(seen, expected, "flip at {at}");
        match hit {
            Some(4) => assert_eq!(report.torn_bytes, len - places[4]),
            Some(i) => assert_eq!(report.corrupt[0].offset, places[i]),
            None => assert_eq!(report.corrupt[0].offset, 0),
        }
        disk.corrupt(&path, at as usize, 0x40);
    }
    disk.corrupt(&path, places[2] as usize + 15, 1);
    let (wal, seen) = open(&disk);
    assert_eq!((seen.len(), wal.unwrap().recovery().corrupt.len()), (4, 1));
    let kept = disk.list(&Path::new(DIR).join("quarantine")).unwrap();
    assert_eq!(kept.len(), 1, "a copy of the damaged record");
    disk.crash();
    assert_eq!(open(&disk).1.len(), 4, "records behind the damage stay");
}

#[test]
fn a_later_version_is_refused_not_cut() {
    let disk = FakeDisk::new();
    open(&disk).0.unwrap().append(b"x").unwrap();
    let (path, _) = disk.files().pop().unwrap();
    let mut bytes = disk.read(&path).unwrap();
    bytes[8] = 9;
    let crc = crc32c::crc32c(&bytes[..20]).to_le_bytes();
    bytes[20..24].copy_from_slice(&crc);
    disk.create(&path).unwrap().append(&bytes).unwrap();
    let e = open(&disk).0.unwrap_err();
    assert!(matches!(e, DiskError::UnsupportedVersion { found: 9, .. }), "{e}");
    assert_eq!(disk.read(&path).unwrap(), bytes);
}

#[test]
fn too_large_records_are_refused() {
    let disk = FakeDisk::new();
    let wal = open(&disk).0.unwrap();
    assert!(matches!(wal.append(&[0; 1_001]), Err(DiskError::TooLarge { max: 1_000, .. })));
    wal.append(&[0; 1_000]).unwrap();
    wal.append(b"").unwrap();
    assert_eq!(open(&disk).1, [vec![0; 1_000], vec![]]);
}

#[test]
fn threads_share_syncs_and_lose_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let config = WalConfig { segment_bytes_max: 4_096, record_bytes_max: 1_000 };
    let wal = Wal::open(Arc::new(RealDisk), dir.path(), config.clone(), &mut |_| ()).unwrap();
    std::thread::scope(|scope| {
        for t in 0..8 {
            let wal = &wal;
            scope.spawn(move || {
                for i in 0..40 {
                    wal.append(format!("{t}/{i}").as_bytes()).unwrap();
                    if i % 16 == t {
                        wal.rotate().unwrap();
                    }
                }
            });
        }
    });
    let stats = wal.stats();
    assert_eq!(stats.appends, 320);
    assert!(stats.syncs <= 320 + 32, "{stats:?}");
    drop(wal);
    let mut seen = Vec::new();
    let wal = Wal::open(Arc::new(RealDisk), dir.path(), config, &mut |r| {
        seen.push(String::from_utf8_lossy(r).into_owned());
    })
    .unwrap();
    assert_eq!(wal.recovery().torn_bytes, 0);
    for t in 0..8 {
        let prefix = format!("{t}/");
        let of_thread: Vec<_> = seen.iter().filter(|r| r.starts_with(&prefix)).cloned().collect();
        assert_eq!(of_thread, (0..40).map(|i| format!("{t}/{i}")).collect::<Vec<_>>());
    }
}
