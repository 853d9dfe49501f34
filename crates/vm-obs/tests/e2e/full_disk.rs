//! A full disk stops ingestion with 503, keeps reads going, and heals by itself.

use std::path::Path;
use std::process::Command;

use obs_testkit::{Client, logs_push, wait_until};

use crate::support::{PATIENCE, Server, now_ms};

/// A small file system in memory; unmounted when dropped.
struct SmallDisk<'a>(&'a Path);

impl<'a> SmallDisk<'a> {
    /// `None` where mounting is not allowed.
    fn mount(at: &'a Path) -> Option<Self> {
        let status = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=24m", "tmpfs"])
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

#[test]
fn a_full_disk_refuses_writes_answers_reads_and_recovers() {
    let folder = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::mount(folder.path()) else {
        println!("skipped: no permission to mount a small disk");
        return;
    };
    let data = folder.path().join("data");
    let mut server = Server::start(&data, &[]);
    let mut client = server.client();
    assert_eq!(push(&mut client, 0).0, 204);

    // Something else takes all the space.
    let ballast = folder.path().join("ballast");
    let written = std::fs::write(&ballast, vec![1_u8; 64 << 20]);
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

    std::fs::remove_file(&ballast).unwrap();
    let accepted = wait_until(PATIENCE, || (push(&mut client, 777).0 == 204).then_some(()));
    assert!(accepted.is_some(), "writes do not come back after space is free again");
    let reply = client
        .query("/loki/api/v1/query_range", &[("query", "{app=\"full\"} |= \"line 777\"")])
        .unwrap();
    assert!(reply.text().contains("line 777"), "{}", reply.text());
    server.stop();
    drop(disk);
}
