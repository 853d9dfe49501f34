//! The tools over standard input and output, against a running server.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use obs_testkit::wait_until;
use serde_json::{Value, json};

use crate::support::{PATIENCE, Server, VM_OBS};

/// The six tools over standard input and output.
pub(super) fn tools(server: &Server, trace_id: &str) {
    let mut child = Command::new(VM_OBS)
        .args(["mcp", "--url", &server.url()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut send = |message: &Value| writeln!(input, "{message}").unwrap();
    let mut receive = || -> Value {
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e}: {line:?}"))
    };
    send(&json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "e2e", "version": "1"}}}));
    assert_eq!(receive()["id"], 1);
    send(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}));
    send(&json!({"jsonrpc": "2.0", "id": 2, "method": "tools/list"}));
    let list = receive();
    let mut names: Vec<&str> = list["result"]["tools"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|t| t["name"].as_str())
        .collect();
    names.sort_unstable();
    let all = [
        "obs_alert_status",
        "obs_correlate",
        "obs_discover",
        "obs_doctor",
        "obs_explain_query",
        "obs_health_check",
        "obs_logs_search",
        "obs_metrics_query",
        "obs_slo_summary",
        "obs_trace_get",
        "obs_verify",
    ];
    assert_eq!(names, all);
    for (number, (name, arguments, says)) in (10..).zip([
        ("obs_metrics_query", json!({"query": "sum(up)"}), ""),
        ("obs_logs_search", json!({"service": "guardian"}), "guardian"),
        ("obs_trace_get", json!({"trace_id": trace_id}), "span"),
        ("obs_alert_status", json!({}), ""),
        ("obs_slo_summary", json!({}), "slo:"),
        ("obs_health_check", json!({}), "health"),
        ("obs_correlate", json!({"window": "1h"}), "events within"),
        ("obs_discover", json!({"kind": "runbooks"}), "runbooks"),
        ("obs_explain_query", json!({"query": "sum(up)"}), "Would read"),
        ("obs_doctor", json!({}), "findings by"),
        ("obs_verify", json!({}), "says ok"),
        ("obs_verify", json!({"what": "receipt", "seq": 0}), "The receipt is proved"),
    ]) {
        send(&json!({"jsonrpc": "2.0", "id": number, "method": "tools/call",
            "params": {"name": name, "arguments": arguments}}));
        let reply = receive();
        assert_eq!(reply["id"], number, "{reply}");
        assert_ne!(reply["result"]["isError"], true, "{name}: {reply}");
        let text = reply["result"]["content"][0]["text"].as_str().unwrap();
        assert!(text.len() > 20 && text.contains(says), "{name}: {reply}");
        // 2 000 tokens of three bytes, which is fewer than any tokenizer makes of English or JSON.
        assert!(text.len() <= 6_000, "{name}: {} bytes", text.len());
    }
    drop(input);
    let ended = wait_until(PATIENCE, || child.try_wait().unwrap());
    assert!(ended.is_some_and(|s| s.success()), "mcp does not end with its input");
}
