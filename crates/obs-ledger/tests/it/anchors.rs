//! Anchors of every kind, served by the Scheduler on a clock that the test moves.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use obs_disk::{Clock, Disk, FakeDisk, ManualClock, RealDisk};
use obs_ledger::anchor::{
    Anchor, Anchored, FileAnchor, GitAnchor, OpenTimestampsAnchor, Roots, Scheduled, Scheduler,
    Subject, TimeStampAnchor,
};
use obs_ledger::{Ledger, LedgerError, Transport};
use obs_proof::hash::sha256_of;
use obs_proof::opentimestamps::{BlockHeader, OtsProof};
use obs_types::{DurationMs, TimestampMs};

use crate::support::{DATA, HOUR, HOUR_13, alert, clock, lines, open_fake, verify_fake};

const MINUTE: i64 = 60_000;
const START: i64 = HOUR_13 + 10 * HOUR;

/// Answers from a function: address, body (none for a GET).
struct Answers<F>(F);

impl<F> Transport for Answers<F>
where
    F: Fn(&str, Option<&[u8]>) -> Result<(u16, Vec<u8>), String> + Send + Sync,
{
    fn post(&self, url: &str, _kind: &str, body: Vec<u8>) -> Result<(u16, Vec<u8>), String> {
        (self.0)(url, Some(&body))
    }

    fn get(&self, url: &str) -> Result<(u16, Vec<u8>), String> {
        (self.0)(url, None)
    }
}

struct World {
    disk: FakeDisk,
    clock: Arc<ManualClock>,
    ledger: Arc<Ledger>,
}

impl World {
    fn new(receipts: u64) -> Self {
        let (disk, clock) = (FakeDisk::new(), clock());
        let ledger = Arc::new(open_fake(&disk, &clock).unwrap());
        ledger.append((0..receipts).map(alert).collect()).unwrap();
        Self { disk, clock, ledger }
    }

    fn scheduler(&self, anchors: Vec<Scheduled>) -> Scheduler {
        let clock: Arc<dyn Clock> = self.clock.clone();
        let disk: Arc<dyn Disk> = Arc::new(self.disk.clone());
        Scheduler::open(Arc::clone(&self.ledger), disk, clock, PathBuf::from(DATA), anchors)
            .unwrap()
    }

    fn at(&self, minutes: i64) {
        self.clock.set(TimestampMs(START + minutes * MINUTE));
    }

    /// Receipts about anchors, newest last.
    fn receipts(&self) -> Vec<serde_json::Value> {
        lines(&self.ledger)
            .iter()
            .map(|l| serde_json::from_str::<serde_json::Value>(l).unwrap())
            .filter(|r| r["type"] == "obs_anchor")
            .collect()
    }
}

fn every_ten_minutes(name: &str, anchor: Box<dyn Anchor>) -> Scheduled {
    Scheduled { name: name.to_owned(), interval: DurationMs(10 * MINUTE), anchor }
}

/// Fails as long as it is told to.
struct Flaky(Arc<AtomicBool>);

impl Anchor for Flaky {
    fn kind(&self) -> &'static str {
        "file"
    }
    fn target(&self) -> String {
        "flaky".to_owned()
    }
    fn extension(&self) -> &'static str {
        "note"
    }
    fn submit(&self, subject: &Subject) -> Result<Anchored, String> {
        match self.0.load(Ordering::Relaxed) {
            true => Err("nobody answers".to_owned()),
            false => Ok(Anchored::Done { proof: subject.note.clone().into_bytes(), at: None }),
        }
    }
}

#[test]
fn failures_back_off_to_level_five_and_one_success_ends_it() {
    let world = World::new(3);
    let down = Arc::new(AtomicBool::new(true));
    let anchor = Box::new(Flaky(Arc::clone(&down)));
    let scheduler = world.scheduler(vec![every_ten_minutes("a", anchor)]);
    let mut attempts = Vec::new();
    for half_minute in 0..140 {
        world.clock.set(TimestampMs(START + half_minute * MINUTE / 2));
        let before = scheduler.stats().attempts;
        scheduler.tick().unwrap();
        if scheduler.stats().attempts > before {
            attempts.push((half_minute, scheduler.stats().backoff_level));
        }
    }
    // 30 s, 1, 2, 4, 8, 16, 16, … minutes between them.
    let expected = [(0, 1), (1, 2), (3, 3), (7, 4), (15, 5), (31, 5), (63, 5), (95, 5), (127, 5)];
    assert_eq!(attempts, expected);
    let stats = scheduler.stats();
    assert_eq!((stats.failures, stats.queue_depth), (9, 3));
    assert_eq!(scheduler.anchors()[0].error.as_deref(), Some("nobody answers"));
    down.store(false, Ordering::Relaxed);
    world.at(90);
    scheduler.tick().unwrap();
    let stats = scheduler.stats();
    assert_eq!((stats.backoff_level, stats.queue_depth, stats.attempts), (0, 0, 10));
    assert_eq!(stats.last_anchor, Some(TimestampMs(START + 90 * MINUTE)));
    assert_eq!(scheduler.anchors()[0].error, None);
}

#[test]
fn checkpoints_go_to_a_folder_once_for_each_news() {
    let world = World::new(3);
    let elsewhere = FakeDisk::new();
    let folder = || {
        let disk: Arc<dyn Disk> = Arc::new(elsewhere.clone());
        vec![every_ten_minutes("vault", Box::new(FileAnchor::new("/vault".into(), disk)))]
    };
    let scheduler = world.scheduler(folder());
    for minute in 0..30 {
        world.at(minute);
        scheduler.tick().unwrap();
    }
    // The receipt about the anchor is no reason for another.
    assert_eq!((world.receipts().len(), scheduler.stats().attempts), (1, 1));
    assert_eq!(scheduler.stats().queue_depth, 0);
    world.ledger.append(vec![alert(9)]).unwrap();
    assert_eq!(scheduler.stats().queue_depth, 2);
    world.at(31);
    scheduler.tick().unwrap();
    let names: Vec<PathBuf> = elsewhere.files().into_iter().map(|(p, _)| p).collect();
    assert_eq!(names, [PathBuf::from("/vault/3.note"), PathBuf::from("/vault/5.note")]);
    let receipt = world.receipts().pop().unwrap();
    assert_eq!(receipt["checkpoint"]["size"], "5");
    assert_eq!(receipt["status"], "anchored");
    let report = verify_fake(&world.disk);
    assert_eq!((report.exit_code(), report.files), (0, 2), "proofs are checked: {report}");

    // A restart knows what was done; a reload keeps it.
    let scheduler = world.scheduler(folder());
    assert_eq!(scheduler.anchors()[0].anchored, 5);
    scheduler.tick().unwrap();
    assert_eq!(world.receipts().len(), 2);
    scheduler.reload(folder()).unwrap();
    assert_eq!((scheduler.stats().config_reloads, scheduler.anchors()[0].anchored), (1, 5));

    // Whoever rolls this node back finds the newer checkpoint in his way.
    let key = world.disk.read(Path::new("/data/state/ledger.key")).unwrap();
    let back = FakeDisk::new();
    back.create_dir_all(Path::new("/data/state")).unwrap();
    obs_disk::write_durable(&back, Path::new("/data/state/ledger.key"), &key).unwrap();
    let ledger = Arc::new(open_fake(&back, &world.clock).unwrap());
    ledger.append(vec![alert(0)]).unwrap();
    let rolled = World { disk: back, clock: Arc::clone(&world.clock), ledger };
    let scheduler = rolled.scheduler(folder());
    scheduler.tick().unwrap();
    assert_eq!(scheduler.stats().failures, 1);
    let refused = rolled.ledger.append(vec![alert(1)]);
    assert!(matches!(refused, Err(LedgerError::Frozen { .. })), "{refused:?}");
}

fn git(dir: &Path, arguments: &[&str]) -> String {
    let out = Command::new("git").arg("-C").arg(dir).args(arguments).output().unwrap();
    assert!(out.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8_lossy(&out.stdout).into_owned()
}

#[test]
fn commits_are_pushed_and_each_is_a_prefix_of_the_next() {
    if Command::new("git").arg("--version").output().is_err() {
        println!("skipped: no git");
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let (bare, clone) = (home.path().join("bare.git"), home.path().join("clone"));
    git(home.path(), &["init", "-q", "--bare", "bare.git"]);
    git(home.path(), &["clone", "-q", "bare.git", "clone"]);
    let world = World::new(3);
    let origin = world.ledger.head().origin;
    let anchor =
        || vec![every_ten_minutes("repo", Box::new(GitAnchor::new(clone.clone(), &origin)))];
    let scheduler = world.scheduler(anchor());
    for (minute, seed) in [(0, 7), (11, 8), (22, 9)] {
        world.at(minute);
        scheduler.tick().unwrap();
        assert_eq!(scheduler.anchors()[0].error, None);
        world.ledger.append(vec![alert(seed)]).unwrap();
    }
    let log = git(&bare, &["log", "--format=%H", "--reverse", "--all"]);
    let mut sizes = Vec::new();
    for commit in log.lines() {
        let file = git(&bare, &["ls-tree", "--name-only", commit]);
        let text = git(&bare, &["show", &format!("{commit}:{}", file.trim())]);
        let note = obs_proof::note::Note::parse(text.as_bytes()).unwrap();
        let checkpoint = obs_proof::checkpoint::Checkpoint::parse(&note.text).unwrap();
        assert_eq!(world.ledger.root_at(checkpoint.size), Some(checkpoint.root));
        sizes.push(checkpoint.size);
    }
    assert_eq!(sizes, [3, 5, 7]);
    // Somebody else has pushed: nothing is overwritten, it is a failure that is told.
    let other = home.path().join("other");
    git(home.path(), &["clone", "-q", "bare.git", "other"]);
    std::fs::write(other.join("x"), "x").unwrap();
    git(&other, &["add", "x"]);
    git(&other, &["-c", "user.name=o", "-c", "user.email=o@localhost", "commit", "-qm", "x"]);
    git(&other, &["push", "-q"]);
    world.at(40);
    scheduler.tick().unwrap();
    assert!(scheduler.anchors()[0].error.as_ref().unwrap().contains("git push"));
}

/// A promise: append "x", hash, "pending at that address".
fn promise(uri: &str) -> Vec<u8> {
    let mut out = vec![0xf0, 1, b'x', 0x08, 0x00, 0x83, 0xdf, 0xe3, 0x0d, 0x2e, 0xf9, 0x0c, 0x8e];
    out.push(uri.len() as u8 + 1);
    out.push(uri.len() as u8);
    out.extend(uri.as_bytes());
    out
}

#[test]
fn a_calendars_promise_counts_once_it_leads_to_a_block() {
    let world = World::new(3);
    let mined = Arc::new(AtomicBool::new(false));
    // Merkle root of block 7, known once the calendar has seen it.
    let root: Arc<Mutex<Option<[u8; 32]>>> = Arc::default();
    let (calendar_mined, calendar_root) = (Arc::clone(&mined), Arc::clone(&root));
    let calendar = Arc::new(Answers(move |url: &str, body: Option<&[u8]>| {
        if let Some(digest) = body {
            assert_eq!((url, digest.len()), ("http://calendar/digest", 32));
            *calendar_root.lock().unwrap() = Some(sha256_of(&[digest, b"x"].concat()));
            return Ok((200, promise("http://calendar")));
        }
        let message = calendar_root.lock().unwrap().unwrap();
        let asked = format!("http://calendar/timestamp/{}", obs_proof::hash::to_hex(&message));
        assert_eq!(url, asked);
        if !calendar_mined.load(Ordering::Relaxed) {
            return Ok((404, b"not yet".to_vec()));
        }
        // The Bitcoin attestation of block 7.
        Ok((200, vec![0x00, 0x05, 0x88, 0x96, 0x0d, 0x73, 0xd7, 0x19, 0x01, 1, 7]))
    }));
    let anchor = || {
        let root = Arc::clone(&root);
        let headers = move |height: u64| {
            let root = root.lock().unwrap().filter(|_| height == 7)?;
            Some(BlockHeader { merkle_root: root, time: 1_765_070_000 })
        };
        let transport: Arc<dyn Transport> = calendar.clone();
        let anchor = OpenTimestampsAnchor::new("http://calendar/", transport, Box::new(headers));
        vec![every_ten_minutes("ots", Box::new(anchor))]
    };
    let scheduler = world.scheduler(anchor());
    scheduler.tick().unwrap();
    let status = scheduler.anchors().remove(0);
    assert_eq!((status.anchored, status.promised, status.error), (0, Some(3), None));
    assert_eq!(world.receipts()[0]["status"], "promised");
    assert_eq!(scheduler.stats().queue_depth, 4, "a promise anchors nothing");
    // After a restart the promise is followed on.
    let scheduler = world.scheduler(anchor());
    assert_eq!(scheduler.anchors()[0].promised, Some(3));
    scheduler.tick().unwrap();
    assert_eq!(world.receipts().len(), 1, "not kept yet");
    mined.store(true, Ordering::Relaxed);
    world.at(11);
    scheduler.tick().unwrap();
    let receipt = world.receipts().pop().unwrap();
    assert_eq!(receipt["status"], "anchored");
    assert_eq!(receipt["anchored_at"], "2025-12-07T01:13:20Z");
    let path = Path::new(DATA).join(receipt["proof_path"].as_str().unwrap());
    let proof = OtsProof::parse(&world.disk.read(&path).unwrap()).unwrap();
    assert!(proof.attestations.iter().all(|a| a.message.is_some()));
    assert_eq!(scheduler.anchors()[0].anchored, 3);
    assert_eq!(verify_fake(&world.disk).exit_code(), 0);
}

#[test]
fn a_calendar_that_says_nothing_of_use_is_a_failure() {
    for reply in [vec![], vec![0xff], b"<html>".to_vec()] {
        let world = World::new(1);
        let transport =
            Arc::new(Answers(move |_: &str, _: Option<&[u8]>| Ok((200, reply.clone()))));
        let anchor = OpenTimestampsAnchor::new("http://c", transport, Box::new(|_| None));
        let scheduler = world.scheduler(vec![every_ten_minutes("ots", Box::new(anchor))]);
        scheduler.tick().unwrap();
        assert_eq!((scheduler.stats().failures, world.receipts().len()), (1, 0));
    }
}

/// An authority on OpenSSL's `ts`, with certificates of its own; `None` without OpenSSL.
struct Authority(tempfile::TempDir);

impl Authority {
    fn new() -> Option<Self> {
        let version = Command::new("openssl").arg("version").output();
        if !version.is_ok_and(|o| o.status.success()) {
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(
            dir.path().join("tsa.cnf"),
            "[req]\ndistinguished_name=dn\n[dn]\n[ca]\nbasicConstraints=critical,CA:TRUE\n\
             [tsa]\nbasicConstraints=CA:FALSE\nextendedKeyUsage=critical,timeStamping\n\
             [ts]\ndefault_tsa=t\n[t]\nserial=serial\nsigner_cert=tsa.pem\nsigner_key=tsa.key\n\
             certs=root.pem\nsigner_digest=sha256\ndefault_policy=1.2.3.4.1\ndigests=sha256\n",
        )
        .unwrap();
        std::fs::write(dir.path().join("serial"), "01\n").unwrap();
        let authority = Self(dir);
        for command in [
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout root.key -out root.pem -subj /CN=root -days 30 -config tsa.cnf -extensions ca",
            "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout tsa.key -out tsa.csr -subj /CN=tsa -config tsa.cnf",
            "x509 -req -in tsa.csr -CA root.pem -CAkey root.key -CAcreateserial -out tsa.pem -days 30 -extfile tsa.cnf -extensions tsa",
        ] {
            authority.openssl(command);
        }
        Some(authority)
    }

    fn openssl(&self, command: &str) {
        let out = Command::new("openssl")
            .args(command.split(' '))
            .current_dir(self.0.path())
            .output()
            .unwrap();
        assert!(out.status.success(), "{command}: {}", String::from_utf8_lossy(&out.stderr));
    }

    fn reply(&self, query: &[u8]) -> Vec<u8> {
        let dir = self.0.path();
        std::fs::write(dir.join("q"), query).unwrap();
        self.openssl("ts -reply -config tsa.cnf -section t -queryfile q -out r");
        std::fs::read(dir.join("r")).unwrap()
    }

    fn roots(&self) -> Roots {
        Roots::from_pem(&std::fs::read_to_string(self.0.path().join("root.pem")).unwrap()).unwrap()
    }
}

#[test]
fn an_authoritys_token_is_checked_before_it_counts() {
    let (Some(ours), Some(other)) = (Authority::new(), Authority::new()) else {
        println!("skipped: no openssl");
        return;
    };
    let roots = ours.roots();
    let world = World::new(3);
    let (ours, other) = (Arc::new(Mutex::new(ours)), Mutex::new(other));
    let wrong = Arc::new(AtomicBool::new(true));
    let (signer, from_another) = (Arc::clone(&ours), Arc::clone(&wrong));
    let transport = Arc::new(Answers(move |_: &str, body: Option<&[u8]>| {
        let query = body.unwrap_or_default();
        let reply = match from_another.load(Ordering::Relaxed) {
            true => other.lock().unwrap().reply(query),
            false => signer.lock().unwrap().reply(query),
        };
        Ok((200, reply))
    }));
    let anchor = TimeStampAnchor::new("http://tsa", roots, transport);
    let scheduler = world.scheduler(vec![every_ten_minutes("tsa", Box::new(anchor))]);
    scheduler.tick().unwrap();
    let error = scheduler.anchors().remove(0).error.unwrap();
    assert!(error.contains("trusted root"), "{error}");
    assert_eq!(world.receipts().len(), 0);
    wrong.store(false, Ordering::Relaxed);
    world.at(1);
    scheduler.tick().unwrap();
    assert_eq!(scheduler.anchors()[0].error, None);
    let receipt = world.receipts().pop().unwrap();
    assert!(receipt["anchored_at"].is_string(), "{receipt}");
    // OpenSSL agrees about the token that was kept.
    let path = Path::new(DATA).join(receipt["proof_path"].as_str().unwrap());
    let token = world.disk.read(&path).unwrap();
    let authority = ours.lock().unwrap();
    let dir = authority.0.path();
    std::fs::write(dir.join("token"), token).unwrap();
    let note = world.disk.read(Path::new("/data/receipts/observability/checkpoint")).unwrap();
    drop(note);
    let root = world.ledger.root_at(3).unwrap();
    let origin = world.ledger.head().origin;
    let text = obs_proof::checkpoint::Checkpoint { origin, size: 3, root }.to_text();
    std::fs::write(dir.join("text"), text).unwrap();
    authority.openssl("ts -verify -data text -in token -CAfile root.pem");
}

/// Nothing of this module works on the machine's disk unless it says so.
#[test]
fn a_file_that_says_something_else_is_not_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let anchor = FileAnchor::new(dir.path().to_owned(), Arc::new(RealDisk));
    let subject =
        |text: &str| Subject { size: 3, note: format!("{text}\n— x\n"), text: text.into() };
    assert!(anchor.submit(&subject("a\n3\nAA==\n")).is_ok());
    assert!(anchor.submit(&subject("a\n3\nAA==\n")).is_ok());
    let refused = anchor.submit(&subject("a\n3\nBB==\n")).unwrap_err();
    assert!(refused.contains("another checkpoint"), "{refused}");
}
