//! Each kind of fault against children of the test's own: it shows in the metrics, sets off an alert
//! that is delivered, is named as its cause, is over when its time is, and is undone where vm-obs is
//! killed in the middle.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use obs_testkit::{Program, WebhookSink, free_port, wait_until};
use serde_json::Value;

use crate::support::{PATIENCE, Server, VM_OBS, outcome, run};

/// Answers every request with what `text` gives; its address.
fn answering(text: impl Fn() -> String + Clone + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for socket in listener.incoming().flatten() {
            let text = text.clone();
            std::thread::spawn(move || {
                let mut socket = socket;
                let mut buffer = [0; 4096];
                while matches!(socket.read(&mut buffer), Ok(n) if n > 0) {
                    let body = text();
                    let length = body.len();
                    let answer = format!(
                        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\n\r\n{body}"
                    );
                    if socket.write_all(answer.as_bytes()).is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

fn stat(pid: u32) -> Option<Vec<String>> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Some(text.rsplit_once(')')?.1.split_whitespace().map(str::to_owned).collect())
}

/// What the exporter looks at.
#[derive(Debug)]
struct Watched {
    dir: PathBuf,
    /// The process whose children hold resources.
    runner: AtomicU32,
    scrapes: AtomicU64,
}

impl Watched {
    fn pid_file(&self) -> PathBuf {
        self.dir.join("child.pid")
    }

    fn child(&self) -> u32 {
        let text = std::fs::read_to_string(self.pid_file()).unwrap_or_default();
        text.trim().parse().unwrap_or(0)
    }

    fn holders(&self) -> Vec<u32> {
        let runner = self.runner.load(Ordering::Relaxed).to_string();
        let all = std::fs::read_dir("/proc").unwrap().flatten();
        all.filter_map(|e| e.file_name().to_str()?.parse().ok())
            .filter(|pid| stat(*pid).is_some_and(|s| s[1] == runner))
            .filter(|pid| {
                let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
                String::from_utf8_lossy(&line).contains("\0hold\0")
            })
            .collect()
    }

    fn metrics(&self) -> String {
        let scrapes = self.scrapes.fetch_add(1, Ordering::Relaxed);
        let state = stat(self.child()).map_or('X', |s| s[0].chars().next().unwrap());
        let (mut ticks, mut pages, mut files) = (0.0, 0.0, 0);
        for pid in self.holders() {
            let s = stat(pid).unwrap_or_default();
            let field = |i: usize| s.get(i).and_then(|t| t.parse::<f64>().ok()).unwrap_or(0.0);
            ticks += field(11) + field(12);
            pages += field(21);
            files += std::fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count);
        }
        let filled: u64 = std::fs::read_dir(&self.dir)
            .unwrap()
            .flatten()
            .filter(|f| f.path().extension().is_some_and(|e| e == "fill"))
            .map(|f| f.metadata().map_or(0, |m| m.len()))
            .sum();
        let alive = u8::from(!"XZ".contains(state));
        let stopped = u8::from(state == 'T');
        // Where there never was a child, none is gone.
        let child = match self.pid_file().exists() {
            true => format!("child_up {alive}\nchild_stopped {stopped}\n"),
            false => String::new(),
        };
        format!(
            "{child}holders_cpu_ticks {ticks}\n\
             holders_resident_bytes {}\nholders_descriptors {files}\nfilled_bytes {filled}\n\
             world_good_total {scrapes}\nworld_total {scrapes}\n",
            pages * 4096.0
        )
    }

    fn value(&self, name: &str) -> f64 {
        let text = self.metrics();
        let line = text.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|v| v.parse().ok()).unwrap()
    }
}

/// A server that scrapes, judges and tells every fifth of a second.
struct World {
    server: Server,
    watched: Arc<Watched>,
    _dir: tempfile::TempDir,
}

const RULES: &str = r#"
groups:
  - name: world
    rules:
      - {alert: ChildGone, expr: child_up == 0, labels: {severity: critical}}
      - {alert: ChildStopped, expr: child_stopped == 1, labels: {severity: critical}}
      - {alert: CpuHeld, expr: holders_cpu_ticks > 5, labels: {severity: critical}}
      - {alert: MemoryHeld, expr: holders_resident_bytes > 60e6, labels: {severity: critical}}
      - {alert: FilesHeld, expr: holders_descriptors > 100, labels: {severity: critical}}
      - {alert: DiskFilled, expr: filled_bytes > 2e6, labels: {severity: critical}}
      - {alert: PathBroken, expr: 'probe_success{job="via"} == 0 or probe_duration_seconds{job="via"} > 0.2', labels: {severity: critical}}
      - {alert: ClockWrong, expr: 'vmobs_ledger_last_receipt_timestamp_seconds{job="skewed"} - time() > 60', labels: {severity: critical}}
"#;

const SLOS: &str = "slos: [{id: 'slo:world', name: World, indicator: {type: availability, good_query: world_good_total, total_query: world_total}, target: 0.99, window: 1h}]\n";

impl World {
    /// `probes` is the text of a probes file, `skewed` the address of a server that is not there
    /// yet.
    fn start(probes: &str, skewed: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("place");
        std::fs::create_dir(&place).unwrap();
        let watched =
            Arc::new(Watched { dir: place, runner: AtomicU32::new(0), scrapes: AtomicU64::new(1) });
        let seen = Arc::clone(&watched);
        let exporter = answering(move || seen.metrics());
        let sink = WebhookSink::start().unwrap();
        let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
        write("rules.yml", RULES);
        write("slos.yml", SLOS);
        write("probes.yaml", probes);
        write(
            "prometheus.yml",
            &format!(
                "global: {{scrape_interval: 200ms, scrape_timeout: 200ms}}\nscrape_configs:\n\
                 - {{job_name: world, static_configs: [{{targets: ['{exporter}']}}]}}\n\
                 - {{job_name: skewed, static_configs: [{{targets: ['{skewed}']}}]}}\n"
            ),
        );
        write(
            "notify.yml",
            &format!(
                "route: {{receiver: sink, group_by: ['...'], group_wait: 0s, group_interval: 1s}}\n\
                 receivers: [{{name: sink, webhook_configs: [{{url: '{}'}}]}}]\n",
                sink.url("/")
            ),
        );
        let config = dir.path().join("vm-obs.yaml");
        std::fs::write(
            &config,
            "packs: []\nhost_metrics: off\nevaluation_interval: 200ms\nprometheus: prometheus.yml\n\
             rule_files: [rules.yml]\nslo_files: [slos.yml]\nnotify: notify.yml\nprobes: probes.yaml\n",
        )
        .unwrap();
        let server =
            Server::start(&dir.path().join("data"), &["--config", config.to_str().unwrap()]);
        let query = "/api/v1/query?query=holders_descriptors";
        server.eventually(query, "the first scrape", |v| !v["data"]["result"][0].is_null());
        Self { server, watched, _dir: dir }
    }

    /// A child that sleeps; its number is in the file.
    fn child(&self) -> Child<'_> {
        let sleeping = sleep_command(&self.watched.pid_file());
        assert!(Command::new("sh").args(["-c", &sleeping]).status().unwrap().success());
        Child(&self.watched)
    }

    fn experiment(&self, title: &str, method: &[String], own: &str) -> String {
        let path = self.watched.dir.join("experiment.yaml");
        let text = format!(
            "title: {title}\n\
             steady-state-hypothesis: {{title: t, probes: [{{type: probe, name: scraped, provider: {{type: vm-obs, probe: promql, query: 'up{{job=\"world\"}}', threshold: '>=1'}}}}]}}\n\
             extensions: [{{name: vm-obs, limits: {{disk_free_share_min: 0.02}}{own}}}]\n\
             method:\n{}\n",
            method.join("\n")
        );
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    fn start_run(&self, file: &str) -> std::process::Child {
        let state = self.watched.dir.join("state");
        let child = Command::new(VM_OBS)
            .args(["chaos", "run", file, "--server", &self.server.url(), "--state"])
            .arg(state)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        self.watched.runner.store(child.id(), Ordering::Relaxed);
        child
    }

    /// The fault for three seconds: its alert must fire and be delivered meanwhile, be resolved
    /// afterwards, and be laid at its door.
    fn shown(&self, title: &str, fault: &str, seconds: u32, alert: &str) {
        let file = self.experiment(
            title,
            &[
                format!("- {{type: action, name: break, background: true, provider: {{type: vm-obs, {fault}, duration: {seconds}s}}}}"),
                format!("- {{type: probe, name: told, provider: {{type: vm-obs, probe: alert, alert: {alert}, within: 30s, delivered: true}}}}"),
                format!("- {{type: probe, name: over, provider: {{type: vm-obs, probe: alert, alert: {alert}, within: 30s, state: resolved}}}}"),
            ],
            "",
        );
        let (code, text) = outcome(&self.start_run(&file).wait_with_output().unwrap());
        assert_eq!(code, 0, "{title}: {text}");
        let causes = self.server.eventually("/obs/correlate?window=5m", "the cause", |v| {
            v["causes"].as_array().is_some_and(|all| all.iter().any(|c| c["name"] == title))
        });
        let named: Vec<&Value> =
            causes["causes"].as_array().unwrap().iter().filter(|c| c["name"] == title).collect();
        assert!(named.iter().all(|c| c["alert"] == alert), "{title}: {named:?}");
    }

    /// Killed as soon as `broken` says that the fault is there; then it must go away.
    fn undone_when_killed(&self, title: &str, fault: &str, broken: impl Fn() -> bool) {
        let method = format!(
            "- {{type: action, name: break, provider: {{type: vm-obs, {fault}, duration: 5m}}}}"
        );
        let mut running = self.start_run(&self.experiment(title, &[method], ""));
        let came = wait_until(PATIENCE, || broken().then_some(()));
        running.kill().unwrap();
        let (_, text) = outcome(&running.wait_with_output().unwrap());
        assert!(came.is_some(), "{title} never showed: {text}");
        let gone = wait_until(PATIENCE, || (!broken()).then_some(()));
        assert!(gone.is_some(), "{title} was not undone");
    }
}

fn sleep_command(pid_file: &Path) -> String {
    // Nothing of the caller's may stay open in it, or the caller's reader waits for it.
    format!("sleep 600 </dev/null >/dev/null 2>&1 & echo $! > {}", pid_file.display())
}

/// Ended with the test.
struct Child<'a>(&'a Watched);

impl Drop for Child<'_> {
    fn drop(&mut self) {
        let pid = self.0.child().to_string();
        // Gone already where a test ended it.
        let _ended = Command::new("kill").args(["-KILL", &pid]).stderr(Stdio::null()).status();
    }
}

#[test]
fn processes_that_are_killed_or_paused() {
    let world = World::start("probes: []\n", "127.0.0.1:9");
    let _child = world.child();
    let watched = &world.watched;
    let pid_file = watched.pid_file().display().to_string();
    let restart = sleep_command(&watched.pid_file());
    let kill = format!("fault: kill, pid_file: '{pid_file}', restart: '{restart}'");
    let pause = format!("fault: pause, pid_file: '{pid_file}'");
    world.shown("kill", &kill, 3, "ChildGone");
    world.shown("pause", &pause, 3, "ChildStopped");
    world.undone_when_killed("kill again", &kill, || watched.value("child_up") == 0.0);
    world.undone_when_killed("pause again", &pause, || watched.value("child_stopped") == 1.0);

    // A stop probe ends the run long before its time.
    let method = format!(
        "- {{type: action, name: pause, provider: {{type: vm-obs, {pause}, duration: 5m}}}}"
    );
    let stop = ", stop: [{type: probe, name: runs, provider: {type: vm-obs, probe: promql, query: child_stopped, threshold: '<1'}}]";
    let file = world.experiment("stop", &[method], stop);
    let (code, text) = outcome(&world.start_run(&file).wait_with_output().unwrap());
    assert!(code == 1 && text.contains("aborted: runs"), "{code} {text}");
    assert_eq!(watched.value("child_stopped"), 0.0);

    // Objectives as a steady state.
    let probe = |above: u32| {
        let json =
            format!("{{\"probe\": \"slo\", \"slo\": \"slo:world\", \"budget_above\": {above}}}");
        world.server.verb(&["chaos", "probe", &json]).0
    };
    assert!(wait_until(PATIENCE, || (probe(20) == 0).then_some(())).is_some());
    assert_eq!(probe(100), 1);
}

#[test]
fn resources_that_are_held() {
    let world = World::start("probes: []\n", "127.0.0.1:9");
    let watched = &world.watched;
    let disk = format!("fault: disk, folder: '{}', mib: 3", watched.dir.display());
    let all = [
        ("fault: cpu, workers: 1", "CpuHeld", "holders_cpu_ticks", 5.0),
        ("fault: memory, mib: 64", "MemoryHeld", "holders_resident_bytes", 60e6),
        ("fault: descriptors, count: 120", "FilesHeld", "holders_descriptors", 100.0),
        (disk.as_str(), "DiskFilled", "filled_bytes", 2e6),
    ];
    for (fault, alert, metric, _) in all {
        world.shown(metric, fault, 3, alert);
    }
    for (fault, _, metric, limit) in all {
        let broken = || watched.value(metric) > limit;
        world.undone_when_killed(&format!("{metric} again"), fault, broken);
    }
}

/// `vm-obs chaos proxy` with the proxy `db`; the addresses of its API and of the proxy.
fn proxy(dir: &Path, upstream: &str) -> (Program, String, String) {
    let listen = format!("127.0.0.1:{}", free_port().unwrap());
    let given = format!("db={listen}={upstream}");
    let arguments = ["chaos", "proxy", "--listen", "127.0.0.1:0", "--proxy", &given];
    let program = Program::start(VM_OBS, arguments, &dir.join("proxy.output")).unwrap();
    let api = wait_until(PATIENCE, || {
        program.output().lines().find_map(|l| l.strip_prefix("api: ").map(str::to_owned))
    });
    (program, api.unwrap(), listen)
}

#[test]
fn a_path_that_is_slow_lossy_narrow_or_cut() {
    let dir = tempfile::tempdir().unwrap();
    let page = "x".repeat(800);
    let upstream = answering(move || page.clone());
    let (_proxy, api, listen) = proxy(dir.path(), &upstream);
    let probes =
        format!("probes: [{{name: via, targets: ['http://{listen}/'], interval: 500ms}}]\n");
    let world = World::start(&probes, "127.0.0.1:9");
    let query = "/api/v1/query?query=probe_success%7Bjob%3D%22via%22%7D";
    world.server.eventually(query, "a probe", |v| v["data"]["result"][0]["value"][1] == "1");
    let mut client = obs_testkit::Client::new(api.clone());
    let mut proxies = || client.get("/proxies/db").unwrap().json();
    for (title, toxic) in [
        ("latency", "{type: latency, attributes: {latency: 300, jitter: 20}}"),
        ("loss", "{type: loss, attributes: {percent: 100, retransmit: 250}}"),
        ("bandwidth", "{type: bandwidth, attributes: {rate: 1}}"),
        ("partition", "{type: timeout, attributes: {timeout: 0}}"),
    ] {
        let fault = format!("fault: toxic, api: '{api}', proxy: db, toxic: {toxic}");
        world.shown(title, &fault, 3, "PathBroken");
        assert_eq!(proxies()["toxics"].as_array().unwrap().len(), 0, "{title}");
    }
    let down = format!("fault: down, api: '{api}', proxy: db");
    world.shown("down", &down, 3, "PathBroken");
    let proxies = std::cell::RefCell::new(proxies);
    let toxic = format!(
        "fault: toxic, api: '{api}', proxy: db, toxic: {{type: latency, attributes: {{latency: 300}}}}"
    );
    world.undone_when_killed("toxic again", &toxic, || {
        proxies.borrow_mut()()["toxics"].as_array().is_some_and(|t| !t.is_empty())
    });
    world.undone_when_killed("down again", &down, || proxies.borrow_mut()()["enabled"] == false);
}

#[test]
fn a_program_whose_clock_is_wrong() {
    let address = format!("127.0.0.1:{}", free_port().unwrap());
    let world = World::start("probes: []\n", &address);
    let data = world.watched.dir.join("skewed");
    let fault = format!(
        "fault: clock, skew: 1h, command: ['{VM_OBS}', serve, --data, '{}', --http, '{address}', --otlp-grpc, '127.0.0.1:0', --otlp-http, '127.0.0.1:0']",
        data.display()
    );
    world.shown("clock", &fault, 6, "ClockWrong");
    let mut client = obs_testkit::Client::new(address);
    let client = std::cell::RefCell::new(&mut client);
    let answers = || client.borrow_mut().get("/-/ready").is_ok();
    world.undone_when_killed("clock again", &fault, answers);

    // The monotonic clock of any program, where the kernel lets us make a namespace.
    let seen = world.watched.dir.join("uptime");
    let json = serde_json::json!({
        "fault": "clock", "means": "time-namespace", "skew": "1h", "duration": "2s",
        "command": ["sh", "-c", format!("cat /proc/uptime > {}; sleep 60", seen.display())],
    });
    let state = world.watched.dir.join("state");
    let (code, text) =
        run(&["chaos", "fault", &json.to_string(), "--state", state.to_str().unwrap()]);
    if code == 2 && text.contains("unshare") {
        eprintln!("skipped: no time namespace here: {text}");
        return;
    }
    assert_eq!(code, 0, "{text}");
    let uptime = |path: &Path| {
        let text = std::fs::read_to_string(path).unwrap();
        text.split_whitespace().next().unwrap().parse::<f64>().unwrap()
    };
    let ahead = uptime(&seen) - uptime(Path::new("/proc/uptime"));
    assert!((3_400.0..3_601.0).contains(&ahead), "{ahead}");
}

#[test]
fn nothing_runs_without_a_steady_state_and_a_report_tells_the_run() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    let file = dir.path().join("experiment.yaml");
    let write = |tolerance: u32| {
        let text = format!(
            "title: break it\n\
             steady-state-hypothesis: {{title: t, probes: [{{type: probe, name: works, tolerance: {tolerance}, provider: {{type: process, path: 'true'}}}}]}}\n\
             method: [{{type: action, name: cpu, provider: {{type: vm-obs, fault: cpu, workers: 1, duration: 200ms}}}}]\n"
        );
        std::fs::write(&file, text).unwrap();
    };
    let json = dir.path().join("report.json");
    let chaos = || {
        run(&[
            "chaos",
            "run",
            file.to_str().unwrap(),
            "--no-record",
            "--state",
            state.to_str().unwrap(),
            "--json",
            json.to_str().unwrap(),
        ])
    };
    write(1);
    let (code, text) = chaos();
    assert!(code == 2 && text.contains("no steady state"), "{code} {text}");
    write(0);
    let (code, text) = chaos();
    assert_eq!(code, 0, "{text}");
    assert_eq!(std::fs::read_dir(&state).unwrap().count(), 0, "an undo journal is left");
    let (code, text) = run(&["chaos", "report", json.to_str().unwrap()]);
    assert!(code == 0 && text.contains("break it: passed") && text.contains("undone"), "{text}");
    let none = dir.path().join("none.yaml");
    std::fs::write(&none, "title: t\nmethod: []\n").unwrap();
    let (code, text) = run(&["chaos", "validate", none.to_str().unwrap()]);
    assert!(code == 2 && text.contains("steady-state-hypothesis"), "{text}");
}
