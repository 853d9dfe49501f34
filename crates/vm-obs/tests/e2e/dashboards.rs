//! Dashboards as a user handles them: check, import, export, provisioning, into a server and into a
//! folder.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use crate::support::{Server, run};

const BOARD: &str = r#"{
  "title": "Shop",
  "uid": "shop",
  "panels": [
    {"type": "timeseries", "id": 1, "title": "Up", "gridPos": {"x": 0, "y": 0, "w": 12, "h": 8},
     "targets": [{"refId": "A", "expr": "sum(up)"}]}
  ]
}"#;

struct Folder(tempfile::TempDir);

impl Folder {
    fn write(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"))
}

#[test]
fn a_check_names_file_line_and_what_was_expected() {
    let folder = Folder(tempfile::tempdir().unwrap());
    let good = folder.write("good.json", BOARD);
    let (code, text) = run(&["dashboard", "check", &good]);
    assert_eq!(code, 0, "{text}");
    let bad =
        folder.write("bad.json", &BOARD.replace("sum(up)", "sum(up").replace("\"Shop\"", "\"\""));
    let (code, text) = run(&["dashboard", "check", &good, &bad]);
    assert_eq!(code, 1, "{text}");
    for says in [
        "bad.json:2: error: title",
        "bad.json:6: error: panels[0].targets[0].expr",
        "expected: PromQL",
    ] {
        assert!(text.contains(says), "{says} is not in\n{text}");
    }
    let (code, text) = run(&["dashboard", "check", "--json", &bad]);
    let problems = &json(&text)["files"][0]["problems"];
    assert_eq!((code, problems[0]["line"].as_u64()), (1, Some(2)), "{text}");
    let (code, text) = run(&["dashboard", "import", &good, &bad, "--url", "http://127.0.0.1:1"]);
    assert!(code == 1 && text.contains("nothing was imported"), "{text}");
    // A file in another generation, and back.
    let (code, v2) = run(&["dashboard", "export", &good, "--schema", "v2"]);
    assert!(code == 0 && v2.contains("\"elements\""), "{v2}");
    let v2 = folder.write("v2.json", &v2);
    let (_, back) = run(&["dashboard", "export", &v2]);
    let (_, once) = run(&["dashboard", "export", &good]);
    assert_eq!(json(&back)["panels"], json(&once)["panels"]);
}

#[test]
fn saved_in_a_server_and_provisioned_from_files() {
    let folder = Folder(tempfile::tempdir().unwrap());
    let data = folder.path("data");
    folder.write(
        "provisioning/dashboards/all.yml",
        "apiVersion: 1\nproviders:\n  - {name: files, type: file, options: {path: boards}}\n",
    );
    let file = folder.write("provisioning/boards/a.json", &BOARD.replace("shop", "filed"));
    let config =
        folder.write("vm-obs.yaml", "host_metrics: off\ngrafana_provisioning: provisioning\n");
    let mut server = Server::start(&data, &["--config", &config]);

    let shop = folder.write("shop.json", BOARD);
    let told = server.verb_ok(&["dashboard", "import", &shop, "--message", "first"]);
    assert!(told.contains("shop version 1, receipt "), "{told}");
    assert!(server.verb_ok(&["dashboard", "import", &shop]).contains("unchanged"));
    let worse = folder.write("shop.json", &BOARD.replace("sum(up)", "sum(up"));
    let (code, text) = server.verb(&["dashboard", "import", &worse]);
    assert!(code == 1 && text.contains("line 6"), "{text}");
    let newer = folder.write("shop.json", &BOARD.replace("sum(up)", "avg(up)"));
    server.verb_ok(&["dashboard", "import", &newer]);
    let listed = server.verb_ok(&["dashboard", "list"]);
    assert!(listed.contains("shop") && listed.contains("saved"), "{listed}");
    assert!(server.verb_ok(&["dashboard", "versions", "shop"]).contains("first"));
    let first = server.verb_ok(&["dashboard", "export", "shop", "--saved", "1"]);
    assert!(first.contains("sum(up)"), "{first}");
    let mut client = server.client();
    let receipts = client.get("/obs/receipts?type=config_change").unwrap().text();
    assert!(receipts.contains("dashboard:shop") && receipts.contains("first"), "{receipts}");

    let picture = folder.path("shop.png");
    let out = picture.display().to_string();
    server.verb_ok(&["dashboard", "render", "shop", "--panel", "1", "--width", "600", "-o", &out]);
    let png = std::fs::read(&picture).unwrap();
    assert!(png.starts_with(b"\x89PNG\r\n") && png.len() > 2_000, "{} bytes", png.len());
    server.verb_ok(&["dashboard", "render", "shop", "--theme", "light", "-o", &out]);
    let (code, text) = server.verb(&["dashboard", "render", "shop", "--panel", "9", "-o", &out]);
    assert!(code == 1 && text.contains("no panel 9"), "{text}");
    let (code, text) =
        server.verb(&["dashboard", "render", "shop", "--width", "99999", "-o", &out]);
    assert!(code == 1 && text.contains("8000"), "{text}");

    // The watched file: sound, faulty, gone.
    server.eventually("/obs/dashboards/filed", "the file's dashboard", |d| d["title"] == "Shop");
    let touch = |text: &str| {
        std::thread::sleep(Duration::from_millis(20));
        std::fs::write(Path::new(&file), text).unwrap();
    };
    touch("{\n \"title\": oops");
    let list = server.eventually("/obs/dashboards", "the faulty file", |l| {
        l["faulty"][0]["problems"][0]["line"] == 2
    });
    assert_eq!(list["faulty"][0]["older_shown"], true);
    assert_eq!(client.get("/obs/dashboards/filed").unwrap().json()["title"], "Shop");
    touch(&BOARD.replace("shop", "filed").replace("Shop", "Mended"));
    server.eventually("/obs/dashboards/filed", "the mended file", |d| d["title"] == "Mended");
    server.stop();

    // What was saved outlives the process; a folder takes more without one.
    let other = folder.write("other.json", &BOARD.replace("shop", "other"));
    let dir = data.display().to_string();
    let (code, text) = run(&["dashboard", "import", &other, "--data", &dir]);
    assert!(code == 0 && text.contains("other version 1, receipt"), "{text}");
    let (code, text) = run(&["verify", &dir]);
    assert_eq!(code, 0, "{text}");
    let mut server = Server::start(&data, &["--config", &config]);
    let text = server.verb_ok(&["dashboard", "export", "shop"]);
    assert!(text.contains("avg(up)"), "{text}");
    assert!(server.verb_ok(&["dashboard", "delete", "other"]).contains("receipt"));
    assert_eq!(server.client().get("/obs/dashboards/other").unwrap().status, 404);
    server.stop();
}
