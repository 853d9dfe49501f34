//! Saving, checking and drawing dashboards.

use serde_json::{Value, json};

use crate::server::Server;

fn board(expr: &str) -> Value {
    json!({"title": "Page", "uid": "page", "time": {"from": "now-5m", "to": "now"}, "panels": [
        {"type": "timeseries", "id": 1, "title": "CPU", "gridPos": {"x": 0, "y": 0, "w": 24, "h": 8},
         "targets": [{"refId": "A", "expr": expr, "legendFormat": "{{node}}"}]},
        {"type": "logs", "id": 2, "title": "Lines", "gridPos": {"x": 0, "y": 8, "w": 24, "h": 8},
         "targets": [{"refId": "A", "datasource": {"type": "loki"}, "expr": "{service_name=\"guardian\"}"}]},
    ]})
}

#[test]
fn versions_conflicts_refusals_and_receipts() {
    let server = Server::start();
    let first = server.post("/obs/dashboards?message=why", &board("cpu_percent"));
    assert_eq!(first.status, 200, "{}", first.text());
    let first = first.json();
    assert_eq!(
        (&first["id"], &first["version"], &first["created"]),
        (&json!("page"), &json!(1), &json!(true))
    );
    let put = |body: &Value, parameters: &str| {
        let target = format!("/obs/dashboards/page?{parameters}");
        let body = body.to_string();
        server.request("PUT", &target, &[("content-type", "application/json")], body.as_bytes())
    };
    assert_eq!(put(&board("avg(cpu_percent)"), "based_on=1").json()["version"], 2);
    let late = put(&board("max(cpu_percent)"), "based_on=1");
    assert_eq!((late.status, &late.json()["error"]["kind"]), (409, &json!("conflict")));
    let faulty = put(&board("avg(cpu_percent"), "");
    assert_eq!(faulty.status, 422);
    let problem = &faulty.json()["error"]["problems"][0];
    assert_eq!(problem["path"], "panels[0].targets[0].expr");
    assert_eq!(put(&board("avg(cpu_percent"), "force=perhaps").status, 400);
    assert_eq!(put(&json!([1]), "").status, 422);

    let versions = server.ok("/obs/dashboards/page/versions");
    assert_eq!(versions["versions"].as_array().unwrap().len(), 2);
    assert_eq!(versions["versions"][1]["message"], "why");
    let text =
        |schema: &str| server.ok(&format!("/obs/dashboards/page/grafana?{schema}")).to_string();
    assert!(text("version=1").contains("\"cpu_percent\""));
    assert!(text("schema=v2").contains("\"elements\""));
    assert_eq!(server.get("/obs/dashboards/page/grafana?schema=v9").status, 400);
    assert_eq!(server.get("/obs/dashboards/page?version=7").status, 404);
    assert_eq!(server.get("/obs/dashboards/none/versions").status, 404);

    let checked = server.post("/obs/dashboards/check", &board("avg(cpu_percent")).json();
    assert_eq!((&checked["ok"], &checked["fatal"]), (&json!(false), &json!(false)));
    assert_eq!(checked["view"]["panels"][0]["title"], "CPU");
    assert_eq!(server.ok("/obs/dashboards")["dashboards"][0]["version"], 2);

    let receipts = server.ok("/obs/receipts?type=config_change").to_string();
    assert!(receipts.contains("dashboard:page") && receipts.contains("why"), "{receipts}");
    let delete = || server.request("DELETE", "/obs/dashboards/page", &[], b"");
    assert_eq!(delete().json()["deleted"], true);
    assert_eq!(delete().status, 404);
    assert_eq!(server.get("/obs/dashboards/page").status, 404);
}

#[test]
fn pictures_of_a_panel_and_of_the_page() {
    let server = Server::start();
    assert_eq!(server.post("/obs/dashboards", &board("cpu_percent")).status, 200);
    for path in [
        "panels/1.png?width=400&height=200",
        "panels/2.png?theme=light&last=1h",
        "render.png?scale=2",
        "panels/1.png?from=2025-12-06T14:00:00Z&to=2025-12-06T14:30:00Z&var-none=x",
    ] {
        let answer = server.get(&format!("/obs/dashboards/page/{path}"));
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        assert_eq!(answer.header("content-type").as_deref(), Some("image/png"));
        assert!(answer.body.starts_with(b"\x89PNG\r\n\x1a\n"), "{path}");
    }
    for (path, status) in [
        ("panels/9.png", 404),
        ("panels/x.png", 400),
        ("panels/1", 400),
        ("panels/1.png?theme=pink", 400),
        ("panels/1.png?width=100000", 400),
        ("panels/1.png?scale=nan", 400),
        ("render.png?from=never", 400),
    ] {
        assert_eq!(server.get(&format!("/obs/dashboards/page/{path}")).status, status, "{path}");
    }
}
