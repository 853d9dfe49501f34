use obs_disk::{FakeDisk, Fault, ManualClock};
use obs_ledger::{LedgerConfig, LedgerMode};
use serde_json::json;

use super::*;

const NOW: TimestampMs = TimestampMs(1_765_029_600_000);

struct Bench {
    disk: Arc<FakeDisk>,
    ledger: Arc<Ledger>,
}

impl Bench {
    fn new() -> Self {
        let disk = Arc::new(FakeDisk::new());
        let clock = Arc::new(ManualClock::new(NOW));
        let config = LedgerConfig::in_data_dir(
            "/data",
            Arc::clone(&disk) as Arc<dyn Disk>,
            clock,
            "vm-obs.test/a/observability",
            LedgerMode::ReadWrite,
        );
        Self { ledger: Arc::new(Ledger::open(config).unwrap()), disk }
    }

    fn open(&self, installed: Vec<InstalledDashboard>) -> DashboardService {
        let ids = DayIds::from_ledger(&self.ledger, "obs-op-", "operation_id").unwrap();
        let check: QueryChecker = Arc::new(|_, expr| match expr.contains("(((") {
            true => Err("unclosed".to_owned()),
            false => Ok(()),
        });
        let disk = Arc::clone(&self.disk) as Arc<dyn Disk>;
        let ledger = Arc::clone(&self.ledger);
        DashboardService::open(Path::new("/data"), disk, ledger, Arc::new(ids), check, installed)
            .unwrap()
    }

    fn receipts(&self) -> Vec<Value> {
        let mut out = Vec::new();
        self.ledger
            .read(0, &mut |_seq, line| {
                out.push(serde_json::from_str(line).unwrap());
                true
            })
            .unwrap();
        out
    }
}

fn board(title: &str, expr: &str) -> String {
    json!({"title": title, "uid": "t", "panels": [
        {"type": "stat", "id": 1, "title": "P", "targets": [{"refId": "A", "expr": expr}]}]})
    .to_string()
}

fn request(text: String) -> SaveRequest {
    SaveRequest { text, by: "did:vm:user:ada".to_owned(), ..SaveRequest::default() }
}

#[test]
fn a_save_is_a_version_with_a_receipt_and_outlives_a_restart() {
    let bench = Bench::new();
    let service = bench.open(Vec::new());
    let first = service.save(&request(board("One", "up")), NOW).unwrap();
    assert_eq!((first.version, first.receipt, first.created), (1, Some(0), true));
    // The same again is no change.
    let again = service.save(&request(board("One", "up")), NOW).unwrap();
    assert_eq!((again.version, again.receipt), (1, None));
    let second = service.save(&request(board("Two", "up")), NOW).unwrap();
    assert_eq!((second.version, second.receipt, second.created), (2, Some(1), false));
    let receipts = bench.receipts();
    assert_eq!(receipts[1]["subject"], "dashboard:t");
    assert_eq!(receipts[1]["old_hash"], receipts[0]["new_hash"]);

    let service = bench.open(Vec::new());
    assert_eq!(service.reconcile(NOW).unwrap(), 0);
    assert_eq!(service.get("t").unwrap().dashboard.title, "Two");
    let numbers: Vec<u64> = service.versions("t").unwrap().iter().map(|v| v.version).collect();
    assert_eq!(numbers, [2, 1]);
    let old = service.version("t", 1).unwrap().unwrap().dashboard.unwrap();
    assert_eq!(old["title"], "One");
    assert!(service.versions("../x").unwrap().is_empty());

    service.delete("t", "did:vm:user:ada", NOW).unwrap();
    assert!(service.get("t").is_none());
    assert!(bench.open(Vec::new()).get("t").is_none());
    assert_eq!(bench.receipts()[2]["new_hash"], Value::Null);
    // A new one goes on counting.
    assert_eq!(service.save(&request(board("Three", "up")), NOW).unwrap().version, 4);
}

#[test]
fn a_faulty_dashboard_never_replaces_the_one_that_runs() {
    let bench = Bench::new();
    let pack = Dashboard::from_grafana(&board("Pack", "up")).unwrap();
    let origin = DashboardOrigin::Pack("host".to_owned());
    let service = bench.open(vec![InstalledDashboard::new(pack, origin)]);
    let refused = |text: String| match service.save(&request(text), NOW).unwrap_err() {
        SaveError::Problems(all) => all.into_iter().map(|p| p.code).collect::<Vec<_>>(),
        SaveError::Other(e) => panic!("{e}"),
    };
    assert_eq!(refused("{".to_owned()), ["not-json"]);
    assert_eq!(refused(board("", "up")), ["no-title"]);
    assert_eq!(refused(board("New", "sum(((")), ["query-syntax"]);
    assert_eq!(service.get("t").unwrap().dashboard.title, "Pack");
    assert!(bench.receipts().is_empty());
    let forced = SaveRequest { force: true, ..request(board("New", "sum(((")) };
    assert_eq!(service.save(&forced, NOW).unwrap().version, 1);
    // The fault is in the one that runs, so another save with it is no step back.
    assert_eq!(service.save(&request(board("Newer", "sum(((")), NOW).unwrap().version, 2);
    let shown = service.get("t").unwrap();
    assert!(shown.covers && shown.origin == DashboardOrigin::Saved);
    // Deleting brings the pack's back.
    service.delete("t", "x", NOW).unwrap();
    assert_eq!(service.get("t").unwrap().dashboard.title, "Pack");
    assert!(matches!(service.delete("t", "x", NOW), Err(OpsError::Conflict(_))));
    assert!(matches!(service.delete("none", "x", NOW), Err(OpsError::NotFound(_))));
}

#[test]
fn an_edit_of_an_older_version_is_a_conflict() {
    let bench = Bench::new();
    let service = bench.open(Vec::new());
    service.save(&request(board("One", "up")), NOW).unwrap();
    service.save(&request(board("Two", "up")), NOW).unwrap();
    let late = SaveRequest { based_on: Some(1), ..request(board("Three", "up")) };
    let e = service.save(&late, NOW).unwrap_err();
    assert!(matches!(&e, SaveError::Other(OpsError::Conflict(m)) if m.contains("version 2")));
    let fresh = SaveRequest { based_on: Some(2), ..request(board("Three", "up")) };
    assert_eq!(service.save(&fresh, NOW).unwrap().version, 3);
}

#[test]
fn a_file_of_a_provider_is_changed_only_where_it_may_be() {
    let bench = Bench::new();
    let service = bench.open(Vec::new());
    let provided = |editable| {
        let d = Dashboard::from_grafana(&board("File", "up")).unwrap();
        let path = PathBuf::from("/p/t.json");
        let origin = DashboardOrigin::File { path, provider: "p".to_owned(), editable };
        vec![InstalledDashboard::new(d, origin)]
    };
    service.provide(provided(false), Vec::new(), Vec::new());
    let e = service.save(&request(board("Mine", "up")), NOW).unwrap_err();
    assert!(matches!(&e, SaveError::Other(OpsError::Conflict(m)) if m.contains("/p/t.json")));
    service.provide(provided(true), Vec::new(), Vec::new());
    assert_eq!(service.save(&request(board("Mine", "up")), NOW).unwrap().version, 1);
    assert_eq!(service.list().len(), 1);
}

/// Each disk operation of a save fails once: what was acknowledged is there after a restart,
/// with its receipt, and what was refused is not shown.
#[test]
fn a_save_that_fails_anywhere_leaves_the_old_or_the_new() {
    for n in 0..40 {
        let bench = Bench::new();
        let service = bench.open(Vec::new());
        service.save(&request(board("Old", "up")), NOW).unwrap();
        bench.disk.fault_after(n, Fault::Fail);
        let saved = service.save(&request(board("New", "up")), NOW).is_ok();
        bench.disk.clear_fault();
        let service = bench.open(Vec::new());
        let title = service.get("t").unwrap().dashboard.title.clone();
        assert!(title == "New" || (!saved && title == "Old"), "at {n}: {saved} {title}");
    }
}

#[test]
fn uids_of_titles() {
    assert_eq!(uid_of_title("Node / CPU %"), "node-cpu");
    assert_eq!(uid_of_title("…"), "dashboard");
    assert!(is_uid(&uid_of_title(&"long word ".repeat(20))));
}
