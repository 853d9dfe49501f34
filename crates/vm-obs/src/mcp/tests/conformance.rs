//! The protocol's conformance suite, all its scenarios for servers, against our `/mcp` over the
//! suite's own tools, resources and prompts: the same routes, sessions and protocol code as the
//! shipped server's, which `tests/peers` asks for what it holds itself.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use super::fixtures::Fixtures;
use crate::mcp::McpSettings;
use crate::mcp::http::{Pace, routes};

const SUITE: &str = "tests/peers/mcp/node_modules/@modelcontextprotocol/conformance/dist/index.js";
/// Scenarios for servers in the version that `tests/peers/mcp` names.
const SCENARIOS: usize = 32;

#[tokio::test]
async fn every_scenario_of_the_conformance_suite_passes() {
    let suite = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(SUITE);
    if !suite.exists() {
        eprintln!("skipped: the conformance suite is not installed (npm ci in tests/peers/mcp)");
        return;
    }
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let pace = Pace { watch: Duration::from_millis(100), held: Duration::from_millis(400) };
    let app = routes(&McpSettings::default(), address, Fixtures, pace);
    tokio::spawn(async move { axum::serve(listener, app).await });
    let folder = tempfile::tempdir().unwrap();
    let done = tokio::process::Command::new("node")
        .arg(suite.canonicalize().unwrap())
        .args(["server", "--suite", "all", "--url", &format!("http://{address}/mcp")])
        .current_dir(folder.path())
        .env("NO_COLOR", "1")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let done = tokio::time::timeout(Duration::from_secs(120), done).await.unwrap();
    let done = match done {
        Ok(done) => done,
        Err(e) => {
            eprintln!("skipped: node cannot be run: {e}");
            return;
        }
    };
    let said =
        String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{said}");
    let passed = said.lines().filter(|l| l.starts_with('✓')).count();
    assert_eq!(passed, SCENARIOS, "{said}");
    assert!(said.contains(", 0 failed"), "{said}");
    assert!(!said.contains("WARNING"), "{said}");
}
