//! A server that lives as long as its value.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use obs_testkit::{Client, Program, wait_until};
use serde_json::Value;

pub(crate) const VM_OBS: &str = env!("CARGO_BIN_EXE_vm-obs");

/// Longer than a start takes on a busy machine with two cores.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

/// A running `vm-obs serve`.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) program: Program,
    pub(crate) data: PathBuf,
    pub(crate) http: String,
    pub(crate) otlp_http: String,
}

impl Server {
    /// Starts on free ports and waits until `addresses.json` is there.
    pub(crate) fn start(data: &Path, more: &[&str]) -> Self {
        let arguments = serve_arguments(data, more);
        std::fs::create_dir_all(data).unwrap();
        let addresses = data.join("addresses.json");
        // Left behind by a killed predecessor.
        let _was_there = std::fs::remove_file(&addresses);
        let output = data.with_extension("output");
        let mut program = Program::start(VM_OBS, &arguments, &output).unwrap();
        let found: Option<Value> = wait_until(PATIENCE, || {
            if let Some(status) = program.ended().unwrap() {
                panic!("vm-obs ended with {status}:\n{}", program.output_tail());
            }
            serde_json::from_slice(&std::fs::read(&addresses).ok()?).ok()
        });
        let found = found.unwrap_or_else(|| panic!("not ready:\n{}", program.output_tail()));
        let address = |name: &str| found[name].as_str().unwrap().to_owned();
        Self {
            program,
            data: data.to_owned(),
            http: address("http"),
            otlp_http: address("otlp_http"),
        }
    }

    pub(crate) fn client(&self) -> Client {
        Client::new(self.http.clone())
    }

    pub(crate) fn otlp(&self) -> Client {
        Client::new(self.otlp_http.clone())
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.http)
    }

    /// A verb of the program against this server: its output and exit code.
    pub(crate) fn verb(&self, arguments: &[&str]) -> (i32, String) {
        let url = self.url();
        run(&[arguments, &["--url", &url]].concat())
    }

    /// A verb that must succeed: its output.
    pub(crate) fn verb_ok(&self, arguments: &[&str]) -> String {
        let (code, text) = self.verb(arguments);
        assert_eq!(code, 0, "vm-obs {}: {text}", arguments.join(" "));
        text
    }

    /// Asks until `good` likes the JSON answer.
    pub(crate) fn eventually(
        &self,
        path: &str,
        what: &str,
        good: impl Fn(&Value) -> bool,
    ) -> Value {
        let mut client = self.client();
        let mut last = String::new();
        wait_until(PATIENCE, || {
            let reply = client.get(path).ok()?;
            let json = reply.json();
            if reply.status == 200 && good(&json) {
                return Some(json);
            }
            last = format!("{}: {}", reply.status, shorten(&reply.text()));
            None
        })
        .unwrap_or_else(|| panic!("{what}: {path} never came; at last {last}"))
    }

    /// SIGTERM; the exit must be in order.
    pub(crate) fn stop(&mut self) {
        let status = self.program.stop(PATIENCE).unwrap();
        assert!(status.success(), "{status}:\n{}", self.program.output_tail());
        assert!(!self.data.join("addresses.json").exists(), "addresses.json is left behind");
    }
}

/// `serve` over `data` on free ports of the loopback address.
pub(crate) fn serve_arguments(data: &Path, more: &[&str]) -> Vec<String> {
    let data = data.display().to_string();
    let fixed = ["serve", "--data", &data, "--http", "127.0.0.1:0", "--otlp-grpc", "127.0.0.1:0"];
    fixed
        .iter()
        .chain(&["--otlp-http", "127.0.0.1:0"])
        .chain(more)
        .map(ToString::to_string)
        .collect()
}

/// A start that must fail: exit code, output and errors together.
pub(crate) fn serve_fails(data: &Path, more: &[&str]) -> (i32, String) {
    let arguments = serve_arguments(data, more);
    let (code, text) = run(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    assert_ne!(code, 0, "{arguments:?}: {text}");
    (code, text)
}

/// Runs the program to its end: exit code, output and errors together.
pub(crate) fn run(arguments: &[&str]) -> (i32, String) {
    let output = Command::new(VM_OBS).args(arguments).stdin(Stdio::null()).output().unwrap();
    outcome(&output)
}

pub(crate) fn outcome(output: &Output) -> (i32, String) {
    let text = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&text).into_owned())
}

/// The beginning of a long text, for messages.
pub(crate) fn shorten(text: &str) -> String {
    text.chars().take(600).collect()
}

/// Milliseconds since the epoch.
pub(crate) fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    i64::try_from(since.as_millis()).unwrap()
}

/// The sum of a counter's series on `/metrics` whose labels contain all of `parts`.
pub(crate) fn counter(client: &mut Client, name: &str, parts: &[&str]) -> f64 {
    let text = client.get("/metrics").unwrap().text();
    text.lines()
        .filter(|line| line.starts_with(name) && parts.iter().all(|part| line.contains(part)))
        .filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok())
        .sum()
}
