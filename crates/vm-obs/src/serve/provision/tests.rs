use std::sync::Arc;

use obs_disk::{Disk, FakeDisk, ManualClock};
use obs_ledger::{Ledger, LedgerConfig, LedgerMode};
use obs_ops::DayIds;
use obs_types::TimestampMs;

use super::*;

fn service() -> DashboardService {
    let disk: Arc<dyn Disk> = Arc::new(FakeDisk::new());
    let config = LedgerConfig::in_data_dir(
        "/data",
        Arc::clone(&disk),
        Arc::new(ManualClock::new(TimestampMs(1_765_029_600_000))),
        "vm-obs.test/a/observability",
        LedgerMode::ReadWrite,
    );
    let ledger = Arc::new(Ledger::open(config).unwrap());
    let ids = Arc::new(DayIds::from_ledger(&ledger, "obs-op-", "operation_id").unwrap());
    let check = crate::serve::query_checker();
    DashboardService::open(Path::new("/data"), disk, ledger, ids, check, Vec::new()).unwrap()
}

fn board(uid: &str, title: &str, expr: &str) -> String {
    format!(
        r#"{{"uid": "{uid}", "title": "{title}", "panels": [{{"type": "stat", "id": 1,
  "datasource": "Lines", "targets": [{{"refId": "A", "expr": "{expr}"}}]}}]}}"#
    )
}

struct Folder(tempfile::TempDir);

impl Folder {
    /// As in a compose project: what is mounted at /var/lib/grafana/dashboards lies beside.
    fn new() -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        folder.write(
                "provisioning/dashboards/all.yaml",
                "apiVersion: 1\nproviders:\n  - name: mounted\n    orgId: 1\n    type: file\n    options:\n      path: /var/lib/grafana/dashboards\n",
            );
        folder.write(
                "provisioning/datasources/all.yml",
                "apiVersion: 1\ndatasources:\n  - name: Lines\n    type: loki\n    url: http://loki:3100\n  - {name: SQL, type: mysql}\n",
            );
        folder
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.0.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn provisioning(&self) -> Provisioning {
        Provisioning::new(Vec::new(), Some(self.0.path().join("provisioning"))).unwrap()
    }
}

#[test]
fn the_folder_is_read_as_grafana_reads_it() {
    let folder = Folder::new();
    folder.write("dashboards/sub/a.json", &board("a", "A", "{app=\\\"x\\\"} |= `y`"));
    let service = service();
    folder.provisioning().scan(&service);
    let a = service.get("a").unwrap();
    // The source's type comes from the data source file: this is no PromQL.
    assert_eq!(a.dashboard.panels[0].queries[0].language, Language::LogQl);
    assert!(
        matches!(&a.origin, DashboardOrigin::File { provider, editable: false, .. } if provider == "mounted")
    );
    assert!(service.faulty().is_empty(), "{:?}", service.faulty());
    let notices = service.notices().join("\n");
    for says in ["is read in its place", "http://loki:3100", "mysql"] {
        assert!(notices.contains(says), "{notices}");
    }
}

#[test]
fn a_file_that_turns_faulty_keeps_the_old_one_with_a_notice() {
    let folder = Folder::new();
    folder.write("dashboards/a.json", &board("a", "Old", "{app=\\\"x\\\"}"));
    let service = service();
    let mut provisioning = folder.provisioning();
    provisioning.scan(&service);
    let title = || service.get("a").map(|d| d.dashboard.title.clone());
    assert_eq!(title().as_deref(), Some("Old"));
    for (text, line) in [("{\n\"title\": oops}".to_owned(), 2), (board("a", "New", "{app="), 2)] {
        folder.write("dashboards/a.json", &text);
        provisioning.scan(&service);
        assert_eq!(title().as_deref(), Some("Old"));
        let faulty = service.faulty();
        assert_eq!((faulty.len(), faulty[0].older_shown), (1, true));
        assert_eq!(faulty[0].problems[0].line, line, "{faulty:?}");
    }
    folder.write("dashboards/a.json", &board("a", "Better", "{app=\\\"x\\\"}"));
    provisioning.scan(&service);
    assert_eq!(title().as_deref(), Some("Better"));
    assert!(service.faulty().is_empty());
    // A faulty provider file takes nothing away either.
    folder.write("provisioning/dashboards/all.yaml", "providers: [\n");
    provisioning.scan(&service);
    assert_eq!(title().as_deref(), Some("Better"));
    assert!(service.faulty()[0].path.ends_with("all.yaml"));
    folder.write("provisioning/dashboards/all.yaml", "apiVersion: 1\nproviders: []\n");
    provisioning.scan(&service);
    assert_eq!(title(), None);
}

#[test]
fn deleted_files_go_unless_the_provider_keeps_them() {
    let folder = Folder::new();
    folder.write("dashboards/a.json", &board("a", "A", "{app=\\\"x\\\"}"));
    let service = service();
    let mut provisioning = folder.provisioning();
    provisioning.scan(&service);
    let yaml =
        "- name: kept\n  disableDeletion: true\n  options: {folder: /var/lib/grafana/dashboards}\n";
    folder.write("provisioning/dashboards/all.yaml", yaml);
    provisioning.scan(&service);
    std::fs::remove_file(folder.0.path().join("dashboards/a.json")).unwrap();
    provisioning.scan(&service);
    assert!(service.get("a").is_some());
    folder.write("provisioning/dashboards/all.yaml", &yaml.replace("true", "false"));
    provisioning.scan(&service);
    assert!(service.get("a").is_none());
}

#[test]
fn a_new_file_with_a_query_that_does_not_parse_is_shown_all_the_same() {
    let folder = Folder::new();
    folder.write("dashboards/a.json", &board("a", "A", "{app="));
    let service = service();
    folder.provisioning().scan(&service);
    assert!(service.get("a").is_some());
}
