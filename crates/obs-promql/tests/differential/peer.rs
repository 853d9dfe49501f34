//! Debian's Prometheus as a process on loopback, with its data in a temporary folder.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Stopped when dropped.
pub(crate) struct Peer {
    child: Child,
    port: u16,
    /// Removed after the process has ended.
    folder: tempfile::TempDir,
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _status = self.child.wait();
    }
}

fn installed(program: &str) -> bool {
    Command::new(program)
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|s| s.success())
}

impl Peer {
    /// `None` where it is not installed.
    pub(crate) fn prometheus(open_metrics: &str) -> Option<Self> {
        if !installed("prometheus") || !installed("promtool") {
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("data.om"), open_metrics).unwrap();
        std::fs::write(path("prometheus.yml"), "global: {}\n").unwrap();
        let import = Command::new("promtool")
            .args(["tsdb", "create-blocks-from", "openmetrics", "--quiet"])
            .args([path("data.om"), path("tsdb")])
            .output()
            .unwrap();
        assert!(import.status.success(), "{}", String::from_utf8_lossy(&import.stderr));
        Some(Self::run("prometheus", "/-/ready", folder, |folder, port| {
            vec![
                format!("--config.file={}", folder.join("prometheus.yml").display()),
                format!("--storage.tsdb.path={}", folder.join("tsdb").display()),
                "--storage.tsdb.retention.time=100y".to_owned(),
                format!("--web.listen-address=127.0.0.1:{port}"),
            ]
        }))
    }

    /// VictoriaMetrics with the lines of its JSON import; `None` where it is not installed.
    pub(crate) fn victoria_metrics(lines: &str) -> Option<Self> {
        if !installed("victoria-metrics") {
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let peer = Self::run("victoria-metrics", "/health", folder, |folder, port| {
            vec![
                format!("-storageDataPath={}", folder.join("data").display()),
                format!("-httpListenAddr=127.0.0.1:{port}"),
                "-retentionPeriod=100y".to_owned(),
                "-search.disableCache".to_owned(),
                "-search.latencyOffset=0s".to_owned(),
            ]
        });
        let (status, _) = peer.send("POST", "/api/v1/import", lines).unwrap();
        assert_eq!(status, 204);
        assert_eq!(peer.get("/internal/force_flush").unwrap().0, 200);
        Some(peer)
    }

    fn run(
        program: &str,
        ready: &str,
        folder: tempfile::TempDir,
        arguments: impl FnOnce(&Path, u16) -> Vec<String>,
    ) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let log = std::fs::File::create(folder.path().join("log")).unwrap();
        let child = Command::new(program)
            .args(arguments(folder.path(), port))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let peer = Self { child, port, folder };
        let begin = Instant::now();
        while peer.get(ready).is_none_or(|(status, _)| status != 200) {
            assert!(
                begin.elapsed() < Duration::from_secs(60),
                "{program} is not ready: {}",
                log_of(peer.folder.path())
            );
            std::thread::sleep(Duration::from_millis(50));
        }
        peer
    }

    /// `data` of the answer, or the error's text.
    pub(crate) fn query(&self, path: &str, parameters: &[(&str, &str)]) -> Result<Value, String> {
        let escaped: Vec<String> =
            parameters.iter().map(|(n, v)| format!("{n}={}", escape(v))).collect();
        let (_, body) = self
            .get(&format!("/api/v1/{path}?{}", escaped.join("&")))
            .expect("the peer does not answer");
        let mut reply: Value = serde_json::from_slice(&body).expect("no JSON");
        match reply["status"].as_str() {
            Some("success") => Ok(reply["data"].take()),
            _ => Err(reply["error"].as_str().unwrap_or_default().to_owned()),
        }
    }

    /// Status and body; HTTP/1.0, so that the body ends with the connection.
    fn get(&self, target: &str) -> Option<(u16, Vec<u8>)> {
        self.send("GET", target, "")
    }

    fn send(&self, method: &str, target: &str, body: &str) -> Option<(u16, Vec<u8>)> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(60))).ok()?;
        let length = body.len();
        write!(
            stream,
            "{method} {target} HTTP/1.0\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n{body}"
        )
        .ok()?;
        let mut reply = Vec::new();
        stream.read_to_end(&mut reply).ok()?;
        let head = reply.windows(4).position(|w| w == b"\r\n\r\n")?;
        let status = std::str::from_utf8(reply.get(9..12)?).ok()?.parse().ok()?;
        Some((status, reply.split_off(head + 4)))
    }
}

fn log_of(folder: &Path) -> String {
    std::fs::read_to_string(folder.join("log")).unwrap_or_default()
}

fn escape(text: &str) -> String {
    text.bytes()
        .map(|b| match b {
            b if b.is_ascii_alphanumeric() => (b as char).to_string(),
            b => format!("%{b:02X}"),
        })
        .collect()
}
