//! The faults of vm-obs' own: to processes, to resources of the machine, to a proxy.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::skew::Skew;
use super::undo::{Undo, UndoJournal, signal, started};
use crate::exchange::{AllowedHosts, Request, StepError, client_config, duration, exchange};

const DURATION: &str = "10s";
const MIB: u64 = 1 << 20;

/// A fault as it stands in a file.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct FaultForm {
    /// kill, pause, cpu, memory, descriptors, disk, clock, toxic, down
    pub fault: String,
    /// How long; `kill` has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration: Option<String>,
    /// A process by number, by a file that holds it, or by its exact name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid_file: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process: Option<String>,
    /// Shell command that brings a killed process back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restart: Option<String>,
    /// Threads that spin.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workers: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mib: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// Folder whose file system is filled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub folder: Option<PathBuf>,
    /// Program that is started with a clock that is wrong, and its arguments.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// How wrong: `5m` ahead, `-5m` behind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skew: Option<String>,
    /// `env`, `faketime` or `time-namespace`; see [`super::skew`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub means: Option<String>,
    /// Address of a proxy's API, `vm-obs chaos proxy` or Toxiproxy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy: Option<String>,
    /// As the API takes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub toxic: Option<Value>,
}

/// How far faults may reach.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Processes that one fault may hit.
    pub processes_max: usize,
    pub duration_max: Duration,
    pub workers_max: u32,
    /// Of the memory that is free now.
    pub memory_share_max: f64,
    /// Of the file system that stays free.
    pub disk_free_share_min: f64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            processes_max: 1,
            duration_max: Duration::from_secs(600),
            workers_max: std::thread::available_parallelism().map_or(1, |n| n.get() as u32),
            memory_share_max: 0.5,
            disk_free_share_min: 0.1,
        }
    }
}

/// A checked fault.
#[derive(Clone, Debug)]
pub struct Fault {
    pub form: FaultForm,
    pub duration: Duration,
}

impl Fault {
    pub fn check(form: FaultForm, place: &str, limits: &Limits) -> Result<Self, StepError> {
        let wrong = |reason: String| StepError::new(place, reason);
        let length =
            duration(&format!("{place}.duration"), form.duration.as_deref().unwrap_or(DURATION))?;
        if length > limits.duration_max {
            return Err(wrong(format!(
                "{} s are above the limit of {} s",
                length.as_secs(),
                limits.duration_max.as_secs()
            )));
        }
        let need = |present: bool, what: &str| match present {
            true => Ok(()),
            false => Err(wrong(format!("fault {:?} needs {what}", form.fault))),
        };
        match form.fault.as_str() {
            "kill" | "pause" => {
                let given = [form.pid.is_some(), form.pid_file.is_some(), form.process.is_some()];
                need(given.iter().filter(|g| **g).count() == 1, "one of pid, pid_file, process")?;
            }
            "cpu" => {
                let workers = form.workers.unwrap_or(1);
                if workers == 0 || workers > limits.workers_max {
                    return Err(wrong(format!(
                        "workers {workers} is not 1 to {}",
                        limits.workers_max
                    )));
                }
            }
            "memory" => need(form.mib.is_some_and(|m| m > 0), "mib")?,
            "descriptors" => need(form.count.is_some_and(|c| c > 0), "count")?,
            "disk" => {
                need(form.mib.is_some_and(|m| m > 0) && form.folder.is_some(), "folder and mib")?
            }
            "clock" => {
                need(!form.command.is_empty() && form.skew.is_some(), "command and skew")?;
                Skew::check(&form).map_err(wrong)?;
            }
            "toxic" => need(
                form.api.is_some() && form.proxy.is_some() && form.toxic.is_some(),
                "api, proxy and toxic",
            )?,
            "down" => need(form.api.is_some() && form.proxy.is_some(), "api and proxy")?,
            other => {
                return Err(wrong(format!(
                    "fault {other:?} is not one of kill, pause, cpu, memory, descriptors, disk, \
                     clock, toxic, down"
                )));
            }
        }
        Ok(Self { form, duration: length })
    }

    pub fn target(&self) -> String {
        let f = &self.form;
        let process = f.process.clone().or(f.pid.map(|p| format!("pid {p}")));
        process
            .or(f.pid_file.as_ref().map(|p| p.display().to_string()))
            .or(f.folder.as_ref().map(|p| p.display().to_string()))
            .or(f.proxy.clone())
            .or(f.command.first().cloned())
            .unwrap_or_else(|| f.fault.clone())
    }

    /// Begins the fault and gives the numbers of its undo steps. `own_program` is run to hold
    /// resources.
    pub async fn begin(
        &self,
        journal: &mut UndoJournal,
        limits: &Limits,
        allowed: &AllowedHosts,
        own_program: &Path,
    ) -> Result<Vec<u64>, String> {
        let text = |e: std::io::Error| e.to_string();
        let f = &self.form;
        match f.fault.as_str() {
            "kill" => {
                let mut steps = Vec::new();
                for (pid, _) in self.processes(limits)? {
                    if let Some(command) = &f.restart {
                        let command = command.clone();
                        steps.push(journal.add(Undo::Command { command }).map_err(text)?);
                    }
                    signal(pid, Signal::KILL)?;
                }
                Ok(steps)
            }
            "pause" => {
                let mut steps = Vec::new();
                for (pid, started) in self.processes(limits)? {
                    steps.push(journal.add(Undo::Resume { pid, started }).map_err(text)?);
                    signal(pid, Signal::STOP)?;
                }
                Ok(steps)
            }
            "cpu" | "memory" | "descriptors" => {
                if let Some(mib) = f.mib {
                    let free = free_memory_mib();
                    let most = (free as f64 * limits.memory_share_max) as u64;
                    if mib > most {
                        return Err(format!("{mib} MiB are above the limit of {most} MiB"));
                    }
                }
                let amount = match f.fault.as_str() {
                    "cpu" => u64::from(f.workers.unwrap_or(1)),
                    "memory" => f.mib.unwrap_or(0),
                    _ => f.count.unwrap_or(0),
                };
                self.hold(journal, own_program, amount)
            }
            "disk" => {
                let (Some(folder), Some(mib)) = (&f.folder, f.mib) else {
                    return Err("folder and mib are missing".to_owned());
                };
                let stat = rustix::fs::statvfs(folder).map_err(|e| e.to_string())?;
                let free = stat.f_bavail * stat.f_frsize / MIB;
                let whole = stat.f_blocks * stat.f_frsize / MIB;
                let kept = (whole as f64 * limits.disk_free_share_min) as u64;
                if mib + kept > free {
                    return Err(format!(
                        "{mib} MiB of {free} MiB free would leave less than {kept} MiB"
                    ));
                }
                let path = folder.join(format!("vm-obs-chaos-{}.fill", std::process::id()));
                let step = journal.add(Undo::Remove { path: path.clone() }).map_err(text)?;
                fill(&path, mib).map_err(text)?;
                Ok(vec![step])
            }
            "clock" => {
                let waiting = Skew::check(f)?.prepare(&f.command, f.means.as_deref())?;
                let pid = waiting.pid();
                let undo = Undo::EndGroup { pid, started: started(pid).unwrap_or(0) };
                // Where this fails the program is dropped before it began, and never does.
                let step = journal.add(undo).map_err(text)?;
                let mut child = waiting.release()?;
                // Waited for when it ends, so that no zombie stays.
                std::thread::spawn(move || child.wait());
                Ok(vec![step])
            }
            "toxic" => {
                let toxic = f.toxic.clone().unwrap_or_default();
                let name = toxic.get("name").and_then(Value::as_str).unwrap_or("vm-obs-chaos");
                let mut body = toxic.clone();
                body["name"] = json!(name);
                let base = self.proxy_url();
                let undo = Undo::Http {
                    method: "DELETE".into(),
                    url: format!("{base}/toxics/{name}"),
                    body: String::new(),
                };
                let step = journal.add(undo).map_err(text)?;
                send(&format!("{base}/toxics"), &body, allowed).await?;
                Ok(vec![step])
            }
            _ => {
                let url = self.proxy_url();
                let body = |enabled: bool| json!({"enabled": enabled});
                let undo = Undo::Http {
                    method: "POST".into(),
                    url: url.clone(),
                    body: body(true).to_string(),
                };
                let step = journal.add(undo).map_err(text)?;
                send(&url, &body(false), allowed).await?;
                Ok(vec![step])
            }
        }
    }

    fn proxy_url(&self) -> String {
        let api = self.form.api.as_deref().unwrap_or("").trim_end_matches('/');
        let api = if api.contains("://") { api.to_owned() } else { format!("http://{api}") };
        format!("{api}/proxies/{}", self.form.proxy.as_deref().unwrap_or(""))
    }

    /// A child that holds the resource until it is ended, or until we are gone: it waits for the end
    /// of its standard input.
    fn hold(
        &self,
        journal: &mut UndoJournal,
        own_program: &Path,
        amount: u64,
    ) -> Result<Vec<u64>, String> {
        let mut child = std::process::Command::new(own_program)
            .args(["chaos", "hold", &self.form.fault, &amount.to_string()])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .map_err(|e| format!("cannot start {}: {e}", own_program.display()))?;
        let pid = i32::try_from(child.id()).unwrap_or(0);
        let started = started(pid).unwrap_or(0);
        let step = journal.add(Undo::End { pid, started }).map_err(|e| e.to_string())?;
        // It says `holding` once it does.
        let mut line = [0; 8];
        let said = child.stdout.as_mut().map(|out| out.read_exact(&mut line));
        if !matches!(said, Some(Ok(()))) {
            return Err(format!("the machine does not give {amount} of {}", self.form.fault));
        }
        // Waited for when it ends, so that no zombie stays. Waiting closes the input, so that is
        // kept apart, and open for as long as we live.
        let input = child.stdin.take();
        std::thread::spawn(move || {
            let _status = child.wait();
            drop(input);
        });
        Ok(vec![step])
    }

    /// Numbers and start times of the processes, refused where the limits say so.
    fn processes(&self, limits: &Limits) -> Result<Vec<(i32, u64)>, String> {
        let f = &self.form;
        let pids: Vec<i32> = if let Some(pid) = f.pid {
            vec![pid]
        } else if let Some(file) = &f.pid_file {
            let text = std::fs::read_to_string(file)
                .map_err(|e| format!("cannot read {}: {e}", file.display()))?;
            vec![text.trim().parse().map_err(|_e| format!("{} holds no number", file.display()))?]
        } else {
            named(f.process.as_deref().unwrap_or(""))
        };
        if pids.is_empty() {
            return Err(format!("no process is named {:?}", f.process.as_deref().unwrap_or("")));
        }
        if pids.len() > limits.processes_max {
            return Err(format!(
                "{} processes would be hit, the limit is {}",
                pids.len(),
                limits.processes_max
            ));
        }
        let ours = ancestors();
        let mut out = Vec::new();
        for pid in pids {
            if pid <= 1 || ours.contains(&pid) {
                return Err(format!("process {pid} is the first one, this one or one above it"));
            }
            let when = started(pid).ok_or_else(|| format!("there is no process {pid}"))?;
            if owner(pid) != owner(std::process::id() as i32) {
                return Err(format!("process {pid} belongs to somebody else"));
            }
            out.push((pid, when));
        }
        Ok(out)
    }
}

fn owner(pid: i32) -> Option<u32> {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(format!("/proc/{pid}")).ok().map(|m| m.uid())
}

fn named(name: &str) -> Vec<i32> {
    let all = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let mut out: Vec<i32> = all
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| {
            let comm = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            comm.trim_end() == name
        })
        .collect();
    out.sort_unstable();
    out
}

/// This process and those above it.
fn ancestors() -> Vec<i32> {
    let mut out = vec![std::process::id() as i32];
    while let Some(pid) = out.last().copied().filter(|p| *p > 1 && out.len() < 64) {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let parent = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(1));
        match parent.and_then(|p| p.parse().ok()) {
            Some(parent) => out.push(parent),
            None => break,
        }
    }
    out
}

fn free_memory_mib() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find(|l| l.starts_with("MemAvailable:"));
    line.and_then(|l| l.split_whitespace().nth(1)?.parse::<u64>().ok()).unwrap_or(0) / 1024
}

fn fill(path: &Path, mib: u64) -> std::io::Result<()> {
    let file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).open(path)?;
    let length = mib * MIB;
    if rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, length).is_ok() {
        return Ok(());
    }
    let mut file = file;
    let block = vec![0u8; MIB as usize];
    for _ in 0..mib {
        file.write_all(&block)?;
    }
    file.sync_all()
}

async fn send(url: &str, body: &Value, allowed: &AllowedHosts) -> Result<(), String> {
    let request = Request {
        method: hyper::Method::POST,
        uri: url.parse().map_err(|e| format!("{url:?}: {e}"))?,
        headers: hyper::HeaderMap::new(),
        body: bytes::Bytes::from(body.to_string()),
    };
    let tls =
        client_config(&crate::exchange::TlsForm::default(), &[]).map_err(|e| e.to_string())?;
    let reply = exchange(&request, &tls, allowed, Duration::from_secs(10), 1 << 20).await?;
    if reply.status.is_success() {
        return Ok(());
    }
    Err(format!("{url} answered {}: {}", reply.status, String::from_utf8_lossy(&reply.body)))
}

/// Holds `amount` of a resource (threads, MiB, descriptors) until standard input ends. Says
/// `holding` when it has them.
pub fn hold(kind: &str, amount: u64) -> std::io::Result<()> {
    let mut files = Vec::new();
    let mut memory: Vec<Vec<u8>> = Vec::new();
    match kind {
        "cpu" => {
            for _ in 0..amount {
                std::thread::spawn(|| {
                    let mut n = 0u64;
                    loop {
                        n = std::hint::black_box(n.wrapping_add(1));
                    }
                });
            }
        }
        "memory" => {
            for _ in 0..amount {
                // Written to, or the kernel would only promise it.
                memory.push(vec![1; MIB as usize]);
            }
        }
        "descriptors" => {
            for _ in 0..amount {
                files.push(std::fs::File::open("/dev/null")?);
            }
        }
        other => {
            return Err(std::io::Error::other(format!("{other:?} cannot be held")));
        }
    }
    let mut out = std::io::stdout();
    out.write_all(b"holding\n")?;
    out.flush()?;
    let mut rest = Vec::new();
    std::io::stdin().read_to_end(&mut rest)?;
    std::hint::black_box((&files, &memory));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_checked_and_kept_small() {
        let check = |json: Value| {
            let form: FaultForm = serde_json::from_value(json).unwrap();
            Fault::check(form, "method[0]", &Limits::default()).map_err(|e| e.to_string())
        };
        assert!(check(json!({"fault": "pause", "pid": 7, "duration": "3s"})).is_ok());
        for (bad, says) in [
            (json!({"fault": "pause"}), "pid_file"),
            (json!({"fault": "pause", "pid": 7, "process": "x"}), "one of"),
            (json!({"fault": "pause", "pid": 7, "duration": "1d"}), "limit"),
            (json!({"fault": "cpu", "workers": 999}), "workers"),
            (json!({"fault": "disk", "mib": 5}), "folder"),
            (json!({"fault": "clock", "skew": "5m"}), "command"),
            (json!({"fault": "clock", "command": ["x"], "skew": "soon"}), "soon"),
            (json!({"fault": "clock", "command": ["x"], "skew": "-1m", "means": "magic"}), "magic"),
            (json!({"fault": "meteor"}), "meteor"),
        ] {
            let e = check(bad.clone()).unwrap_err();
            assert!(e.contains(says) && e.contains("method[0]"), "{bad}: {e}");
        }
        let own = |pid: i32| {
            let form = FaultForm { fault: "kill".into(), pid: Some(pid), ..FaultForm::default() };
            Fault { form, duration: Duration::ZERO }.processes(&Limits::default()).unwrap_err()
        };
        for pid in [1, std::process::id() as i32] {
            assert!(own(pid).contains("first one"), "{pid}");
        }
    }
}
