//! Malformed, oversized, inflated, out-of-range and late data on every port: the protocol's own
//! error, a counter that says why, a server that goes on, and the good rest of a batch kept.

use obs_testkit::{Client, SeriesSamples, logs_push, remote_write, trace_export};
use serde_json::json;

use crate::support::{Server, counter, now_ms, serve_fails};

const PROTOBUF: (&str, &str) = ("content-type", "application/x-protobuf");
const JSON: (&str, &str) = ("content-type", "application/json");
const GZIP: (&str, &str) = ("content-encoding", "gzip");
const SNAPPY: (&str, &str) = ("content-encoding", "snappy");
const REJECTED: &str = "vmobs_ingest_rejected_total";

/// One bad request.
struct Bad<'a> {
    path: &'a str,
    headers: &'a [(&'a str, &'a str)],
    body: &'a [u8],
    status: u16,
    /// In the answer.
    says: &'a str,
    /// Labels of the counter that must move.
    counted: &'a [&'a str],
}

fn samples(name: &str, times: &[(i64, f64)]) -> SeriesSamples {
    (vec![("__name__".to_owned(), name.to_owned())], times.to_vec())
}

/// 300 MiB of blanks in 300 KiB.
fn gzip_bomb() -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    let blanks = vec![b' '; 1 << 20];
    encoder.write_all(b"{\"streams\":[").unwrap();
    for _ in 0..300 {
        encoder.write_all(&blanks).unwrap();
    }
    encoder.finish().unwrap()
}

/// A snappy block whose head promises 3 GiB.
fn snappy_bomb() -> Vec<u8> {
    let mut out = vec![0x80, 0x80, 0x80, 0x80, 0x0c];
    out.extend([0xfe, 0x00, 0x00].repeat(1000));
    out
}

fn refuse(client: &mut Client, own: &mut Client, bad: &Bad<'_>) {
    let Bad { path, headers, body, status, says, counted } = bad;
    let before = counter(own, REJECTED, counted);
    let reply = client.send("POST", path, headers, body).unwrap();
    assert_eq!(reply.status, *status, "{path}: {}", reply.text());
    assert!(reply.text().contains(says), "{path}: {says:?} is missing in {:?}", reply.text());
    let after = counter(own, REJECTED, counted);
    assert!(after > before, "{path}: {REJECTED}{counted:?} stays at {before}");
}

#[test]
fn every_port_refuses_with_a_reason_and_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Server::start(&folder.path().join("data"), &[]);
    let (mut client, mut own, mut otlp) = (server.client(), server.client(), server.otlp());
    let too_large = vec![b'x'; (16 << 20) + 1];
    let (gzip_bomb, snappy_bomb) = (gzip_bomb(), snappy_bomb());

    let write = "/api/v1/write";
    let push = "/loki/api/v1/push";
    let remote = "protocol=\"remote_write\"";
    let loki = "protocol=\"loki\"";
    for bad in [
        Bad {
            path: write,
            headers: &[PROTOBUF, SNAPPY],
            body: b"garbage",
            status: 400,
            says: "snappy",
            counted: &[remote, "malformed"],
        },
        Bad {
            path: write,
            headers: &[("content-type", "text/plain")],
            body: b"x",
            status: 415,
            says: "text/plain",
            counted: &[remote, "media_type"],
        },
        Bad {
            path: write,
            headers: &[PROTOBUF, SNAPPY],
            body: &too_large,
            status: 413,
            says: "limit",
            counted: &[remote, "too_large"],
        },
        Bad {
            path: write,
            headers: &[PROTOBUF, SNAPPY],
            body: &snappy_bomb,
            status: 413,
            says: "limit",
            counted: &[remote, "bomb"],
        },
        Bad {
            path: push,
            headers: &[JSON],
            body: b"{\"streams\":[{",
            status: 400,
            says: "",
            counted: &[loki, "malformed"],
        },
        Bad {
            path: push,
            headers: &[JSON],
            body: &too_large,
            status: 413,
            says: "limit",
            counted: &[loki, "too_large"],
        },
        Bad {
            path: push,
            headers: &[JSON, GZIP],
            body: &gzip_bomb,
            status: 413,
            says: "limit",
            counted: &[loki, "bomb"],
        },
    ] {
        refuse(&mut client, &mut own, &bad);
    }
    for signal in ["metrics", "logs", "traces"] {
        let path = format!("/v1/{signal}");
        for bad in [
            Bad {
                path: &path,
                headers: &[PROTOBUF],
                body: b"\x0a\xff",
                status: 400,
                says: "",
                counted: &["otlp_http", "malformed"],
            },
            Bad {
                path: &path,
                headers: &[JSON],
                body: b"{\"resourceSpans\":[{",
                status: 400,
                says: "",
                counted: &["otlp_http", "malformed"],
            },
            Bad {
                path: &path,
                headers: &[JSON, GZIP],
                body: &gzip_bomb,
                status: 413,
                says: "limit",
                counted: &["otlp_http", "bomb"],
            },
            Bad {
                path: &path,
                headers: &[JSON],
                body: &too_large,
                status: 413,
                says: "limit",
                counted: &["otlp_http", "too_large"],
            },
        ] {
            refuse(&mut otlp, &mut own, &bad);
        }
    }
    let health = server.client().get("/obs/health").unwrap();
    // Rejected data is told; nothing is broken.
    assert_ne!(health.json()["status"], "unhealthy", "{}", health.text());
    assert_eq!(client.get("/api/v1/query?query=1").unwrap().status, 200);
    server.stop();
}

#[test]
fn late_and_far_off_data_is_refused_and_the_rest_of_the_batch_kept() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&folder.path().join("data"), &[]);
    let (mut client, mut own) = (server.client(), server.client());
    let now = now_ms();
    let year = 366 * 86_400_000;

    let body = remote_write(&[
        samples("kept_beside_bad", &[(now, 42.0)]),
        samples("far_past", &[(now - 10 * year, 1.0)]),
        samples("far_future", &[(now + 10 * year, 1.0)]),
    ]);
    let reply = client.remote_write("/api/v1/write", &body).unwrap();
    assert_eq!(reply.status, 400, "{}", reply.text());
    assert!(reply.text().contains("too_old"), "{}", reply.text());
    let reply = client.query("/api/v1/query", &[("query", "kept_beside_bad")]).unwrap();
    assert_eq!(reply.json()["data"]["result"][0]["value"][1], "42", "{}", reply.text());
    let reply =
        client.query("/api/v1/query", &[("query", "count_over_time(far_future[1h])")]).unwrap();
    assert_eq!(reply.json()["data"]["result"], json!([]), "{}", reply.text());
    assert!(counter(&mut own, REJECTED, &["remote_write", "too_old"]) >= 1.0);
    assert!(counter(&mut own, REJECTED, &["remote_write", "too_far_in_future"]) >= 1.0);

    let lines = [(1, "from 1970".to_owned()), (now * 1_000_000, "fresh line".to_owned())];
    let reply =
        client.post_json("/loki/api/v1/push", &logs_push(&[("app", "late")], &lines)).unwrap();
    assert_eq!(reply.status, 400, "{}", reply.text());
    let reply = client.query("/loki/api/v1/query_range", &[("query", "{app=\"late\"}")]).unwrap();
    assert!(reply.text().contains("fresh line"), "{}", reply.text());
    assert!(!reply.text().contains("from 1970"), "{}", reply.text());

    let mut export = trace_export("late", "0af7651916cd43dd8448eb211c80319c", now * 1_000_000, 1);
    let spans = export["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array_mut().unwrap();
    let mut broken = spans[1].clone();
    broken["traceId"] = json!("00000000000000000000000000000000");
    spans.push(broken);
    let reply = server.otlp().post_json("/v1/traces", &export).unwrap();
    assert_eq!(reply.status, 200, "a part that was kept is a success: {}", reply.text());
    let rejected = &reply.json()["partialSuccess"]["rejectedSpans"];
    assert!(rejected == "1" || rejected == 1, "{}", reply.text());
    let reply = client.get("/obs/traces/0af7651916cd43dd8448eb211c80319c").unwrap();
    assert_eq!(reply.json()["spans"].as_array().map(Vec::len), Some(2), "{}", reply.text());
}

#[test]
fn queries_that_cannot_be_answered_get_the_dialects_error() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&folder.path().join("data"), &[]);
    let mut client = server.client();
    for (path, parameters, status, says) in [
        ("/api/v1/query", vec![("query", "sum(")], 400, "bad_data"),
        ("/api/v1/query", vec![("query", "no_such_function(up)")], 400, "no_such_function"),
        ("/api/v1/query", vec![], 400, "bad_data"),
        (
            "/api/v1/query_range",
            vec![("query", "up"), ("start", "0"), ("end", "1e8"), ("step", "1")],
            400,
            "11",
        ),
        (
            "/api/v1/query_range",
            vec![("query", "up"), ("start", "5"), ("end", "1"), ("step", "1")],
            400,
            "bad_data",
        ),
        ("/api/v1/series", vec![("match[]", "{")], 400, "bad_data"),
        ("/loki/api/v1/query_range", vec![("query", "{a")], 400, "parse error"),
        ("/tempo/api/search", vec![("q", "{ nonsense }")], 400, "nonsense"),
        ("/tempo/api/traces/zz", vec![("x", "1")], 400, "zz"),
        ("/obs/traces/00000000000000000000000000000001", vec![("x", "1")], 404, "not_found"),
        ("/obs/logs", vec![("last", "yesterday")], 400, "yesterday"),
        ("/obs/slos/slo:none", vec![("x", "1")], 404, "error"),
    ] {
        let reply = client.query(path, &parameters).unwrap();
        assert_eq!(reply.status, status, "{path} {parameters:?}: {}", reply.text());
        assert!(reply.text().contains(says), "{path} {parameters:?}: {}", reply.text());
    }
    let reply = client
        .post_json("/obs/alerts/no-such-alert/ack", &json!({"comment": "x", "by": "y"}))
        .unwrap();
    assert_eq!(reply.status, 404, "{}", reply.text());
    let reply = client.post("/obs/alerts/silence", "application/json", b"{").unwrap();
    assert_eq!(reply.status, 400, "{}", reply.text());
}

#[test]
fn one_data_folder_has_one_server() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let server = Server::start(&data, &[]);
    let (_code, text) = serve_fails(&data, &[]);
    assert!(text.contains("LOCK is in use by process"), "{text}");
    assert_eq!(server.client().get("/-/ready").unwrap().status, 200);
    assert!(
        data.join("addresses.json").exists(),
        "the second start took the first one's addresses"
    );
}
