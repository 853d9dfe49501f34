use serde_json::{Value, json};

use crate::server::Server;

fn matcher(name: &str, value: &str) -> Value {
    json!({"name": name, "value": value, "isRegex": false, "isEqual": true})
}

#[test]
fn alerts_and_silences_as_alertmanager_v2_shows_them() {
    let server = Server::start();
    server.cpu(87.3);
    server.step();
    let base = "/alertmanager/api/v2";
    let alerts = server.ok(&format!("{base}/alerts"));
    let alert = &alerts[0];
    assert_eq!(alert["labels"]["alertname"], "HighCPUUsage");
    assert_eq!(alert["labels"]["severity"], "warning");
    assert_eq!(alert["status"]["state"], "active");
    assert_eq!(alert["startsAt"], "2025-12-06T14:30:00Z");
    assert_eq!(alert["fingerprint"].as_str().unwrap().len(), 16);
    assert_eq!(server.ok(&format!("{base}/alerts?filter=alertname%3D%22Other%22")), json!([]));
    assert_eq!(server.get(&format!("{base}/alerts?filter=%3D%3D")).status, 400);
    assert_eq!(server.get(&format!("{base}/alerts?active=maybe")).status, 400);

    let body = json!({
        "matchers": [matcher("alertname", "HighCPUUsage")],
        "startsAt": "2025-12-06T14:00:00Z", "endsAt": "2025-12-06T16:00:00Z",
        "createdBy": "operator", "comment": "maintenance",
    });
    let id = server.post(&format!("{base}/silences"), &body).json()["silenceID"]
        .as_str()
        .unwrap()
        .to_owned();
    let silence = server.ok(&format!("{base}/silence/{id}"));
    assert_eq!(silence["status"]["state"], "active");
    assert_eq!(silence["matchers"], body["matchers"]);
    assert_eq!(silence["comment"], "maintenance");
    assert_eq!(silence["endsAt"], "2025-12-06T16:00:00Z");
    let alert = server.ok(&format!("{base}/alerts"))[0].clone();
    assert_eq!(alert["status"]["state"], "suppressed");
    assert_eq!(alert["status"]["silencedBy"], json!([id]));
    assert_eq!(server.ok(&format!("{base}/alerts?silenced=false")), json!([]));

    // A change takes the old one's place.
    let mut changed = body.clone();
    changed["id"] = json!(id);
    changed["endsAt"] = json!("2025-12-06T17:00:00Z");
    let newer = server.post(&format!("{base}/silences"), &changed).json()["silenceID"].clone();
    assert_ne!(newer, json!(id));
    assert_eq!(server.ok(&format!("{base}/silence/{id}"))["status"]["state"], "expired");
    assert_eq!(server.ok(&format!("{base}/silences?expired=false")).as_array().unwrap().len(), 1);
    let target = format!("{base}/silence/{}", newer.as_str().unwrap());
    assert_eq!(server.request("DELETE", &target, &[], b"").status, 200);
    assert_eq!(server.ok(&format!("{base}/silences?expired=false")), json!([]));
    assert_eq!(server.request("DELETE", &format!("{base}/silence/none"), &[], b"").status, 404);
    let receipts = server.ok("/obs/receipts?type=silence&order=asc");
    assert_eq!(receipts["total"], 4, "two made, two ended: {receipts}");
    assert_eq!(server.ok(&format!("{base}/status"))["versionInfo"]["version"], "0.34.0");
}

#[test]
fn bad_silences_say_what_is_wrong() {
    let server = Server::start();
    let good = json!({
        "matchers": [matcher("alertname", "A")], "createdBy": "x", "comment": "y",
        "startsAt": "2025-12-06T14:00:00Z", "endsAt": "2025-12-06T16:00:00Z",
    });
    let with = |name: &str, value: Value| {
        let mut body = good.clone();
        body[name] = value;
        body
    };
    for (body, status, part) in [
        (with("endsAt", json!("2025-12-06T13:00:00Z")), 400, "before end time"),
        (with("endsAt", json!("2025-12-06T14:10:00Z")), 400, "in the past"),
        (with("comment", Value::Null), 400, "comment"),
        (with("matchers", json!([])), 400, "matcher"),
        (with("matchers", json!([{"name": "a", "value": "(", "isRegex": true}])), 400, ""),
        (with("id", json!("none")), 404, "not found"),
    ] {
        let answer = server.post("/alertmanager/api/v2/silences", &body);
        assert_eq!(answer.status, status, "{body}: {}", answer.text());
        assert!(answer.json().as_str().unwrap().contains(part), "{}", answer.text());
    }
    let answer = server.request("POST", "/alertmanager/api/v2/silences", &[], b"{");
    assert_eq!(answer.status, 400);
}
