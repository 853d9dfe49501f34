//! A full disk stops ingestion with 503, keeps reads going, tells the operators, and heals by
//! itself.

use std::path::Path;
use std::process::Command;

use obs_testkit::{Client, WebhookSink, logs_push, wait_until};

use crate::support::{PATIENCE, Server, now_ms};

/// A small file system in memory; unmounted when dropped. More than the 256 MiB below which the
/// alert about the disk fires, so that it fires only once nothing can be stored any more.
struct SmallDisk<'a>(&'a Path);

impl<'a> SmallDisk<'a> {
    /// `None` where mounting is not allowed.
    fn mount(at: &'a Path) -> Option<Self> {
        let status = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=320m", "tmpfs"])
            .arg(at)
            .output()
            .ok()?
            .status;
        status.success().then_some(Self(at))
    }
}

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        // Lazily: a server that is still ending holds files open.
        let _status = Command::new("umount").arg("-l").arg(self.0).status();
    }
}

fn push(client: &mut Client, number: i64) -> (u16, String) {
    let line = (now_ms() * 1_000_000 + number % 1000, format!("line {number}"));
    let reply =
        client.post_json("/loki/api/v1/push", &logs_push(&[("app", "full")], &[line])).unwrap();
    (reply.status, reply.text())
}

/// Whether the receiver hears of the alert about the disk.
fn told(sink: &WebhookSink, status: &str) -> bool {
    let found =
        wait_until(PATIENCE, || {
            sink.received().into_iter().find(|(_path, body)| {
                body["alerts"].as_array().into_iter().flatten().any(|a| {
                    a["labels"]["alertname"] == "StorageAlmostFull" && a["status"] == status
                })
            })
        });
    found.is_some()
}

#[test]
fn a_full_disk_refuses_writes_answers_reads_and_recovers() {
    let folder = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::mount(folder.path()) else {
        println!("skipped: no permission to mount a small disk");
        return;
    };
    let sink = WebhookSink::start().unwrap();
    let config = folder.path().join("config.yml");
    std::fs::write(&config, "packs: [host]\nnotify: notify.yml\n").unwrap();
    std::fs::write(
        folder.path().join("notify.yml"),
        format!(
            "route: {{receiver: ops, group_wait: 0s, group_interval: 1s}}\n\
             receivers:\n- name: ops\n  webhook_configs: [{{url: '{}', send_resolved: true}}]\n",
            sink.url("/hook")
        ),
    )
    .unwrap();
    let data = folder.path().join("data");
    let mut server = Server::start(&data, &["--config", &config.display().to_string()]);
    let mut client = server.client();
    assert_eq!(push(&mut client, 0).0, 204);

    // Something else takes all the space.
    let ballast = folder.path().join("ballast");
    let written = std::fs::write(&ballast, vec![1_u8; 400 << 20]);
    assert!(written.is_err(), "the disk was to be smaller than that");
    let refused = wait_until(PATIENCE, || {
        let mut last = (0, String::new());
        for number in 1..200 {
            last = push(&mut client, number);
            if last.0 == 503 {
                return Some(last.1);
            }
        }
        assert!(last.0 == 204, "{last:?}");
        None
    });
    let reason = refused.expect("no 503 on a full disk");
    assert!(!reason.is_empty(), "a refusal without a reason");

    let reply = client.query("/loki/api/v1/query_range", &[("query", "{app=\"full\"}")]).unwrap();
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert!(reply.text().contains("line 0"), "reads must go on: {}", reply.text());
    let health = client.get("/obs/health").unwrap();
    assert!(health.status == 200 || health.status == 503, "{}", health.text());
    assert_ne!(health.json()["status"], "healthy", "a full disk is not healthy: {}", health.text());

    assert!(told(&sink, "firing"), "nobody was told of the full disk: {:?}", sink.received());

    std::fs::remove_file(&ballast).unwrap();
    let accepted = wait_until(PATIENCE, || (push(&mut client, 777).0 == 204).then_some(()));
    assert!(accepted.is_some(), "writes do not come back after space is free again");
    let reply = client
        .query("/loki/api/v1/query_range", &[("query", "{app=\"full\"} |= \"line 777\"")])
        .unwrap();
    assert!(reply.text().contains("line 777"), "{}", reply.text());
    assert!(told(&sink, "resolved"), "nobody was told of the end: {:?}", sink.received());
    // What was told while the disk was full is on record now that it is not.
    for kind in ["alert_fired", "alert_resolved"] {
        server.eventually(&format!("/obs/receipts?type={kind}&limit=1000"), "receipts", |v| {
            v["receipts"].to_string().contains("StorageAlmostFull")
        });
    }
    server.stop();
    drop(disk);
}
