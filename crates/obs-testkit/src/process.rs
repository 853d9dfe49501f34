//! Programs that run beside a test and end with it.

use std::ffi::OsStr;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// A running program; killed when dropped. Its output goes to a file.
#[derive(Debug)]
pub struct Program {
    child: Child,
    name: String,
    output: PathBuf,
}

/// What a process has used so far.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    /// User and system time of all threads.
    pub cpu_seconds: f64,
    pub peak_memory_bytes: u64,
}

impl Program {
    /// Starts `program`; standard output and error go to `output`.
    pub fn start<S: AsRef<OsStr>>(
        program: impl AsRef<OsStr>,
        arguments: impl IntoIterator<Item = S>,
        output: &Path,
    ) -> std::io::Result<Self> {
        let file = std::fs::OpenOptions::new().create(true).append(true).open(output)?;
        let child = Command::new(program.as_ref())
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()?;
        Ok(Self {
            child,
            name: program.as_ref().to_string_lossy().into_owned(),
            output: output.to_owned(),
        })
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// `Some` once it has ended.
    pub fn ended(&mut self) -> std::io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }

    /// What it printed so far.
    pub fn output(&self) -> String {
        std::fs::read(&self.output)
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// The end of what it printed, for messages.
    pub fn output_tail(&self) -> String {
        let text = self.output();
        let lines: Vec<&str> = text.lines().collect();
        lines.iter().skip(lines.len().saturating_sub(15)).copied().collect::<Vec<_>>().join("\n")
    }

    /// SIGKILL: nothing is flushed.
    pub fn kill(&mut self) -> std::io::Result<()> {
        self.child.kill()?;
        self.child.wait().map(|_status| ())
    }

    /// SIGTERM, then waits; an error if it is still there after `patience`.
    pub fn stop(&mut self, patience: Duration) -> std::io::Result<ExitStatus> {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args(["-TERM", &pid]).status()?;
        if !sent.success() {
            return Err(std::io::Error::other(format!("cannot signal {}", self.name)));
        }
        let deadline = Instant::now() + patience;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if Instant::now() > deadline {
                return Err(std::io::Error::other(format!(
                    "{} did not end within {patience:?} of SIGTERM:\n{}",
                    self.name,
                    self.output_tail()
                )));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub fn usage(&self) -> Usage {
        usage_of(self.id())
    }
}

/// CPU time and peak memory of a process from `/proc`; zeroes where it is gone.
pub fn usage_of(process: u32) -> Usage {
    let folder = PathBuf::from(format!("/proc/{process}"));
    let stat = std::fs::read_to_string(folder.join("stat")).unwrap_or_default();
    let status = std::fs::read_to_string(folder.join("status")).unwrap_or_default();
    Usage { cpu_seconds: cpu_seconds(&stat), peak_memory_bytes: peak_memory_bytes(&status) }
}

impl Drop for Program {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _gone = self.child.kill();
            let _status = self.child.wait();
        }
    }
}

/// Fields 14 and 15 of `/proc/PID/stat`, in ticks of which Linux shows 100 a second. The name in
/// field 2 may hold anything, so counting starts after its last parenthesis.
fn cpu_seconds(stat: &str) -> f64 {
    let after = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks: u64 = after
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse::<u64>().ok())
        .sum();
    ticks as f64 / 100.0
}

fn peak_memory_bytes(status: &str) -> u64 {
    status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .and_then(|rest| rest.split_whitespace().next())
        .and_then(|kib| kib.parse::<u64>().ok())
        .map_or(0, |kib| kib * 1024)
}

/// A port of loopback that was free a moment ago, for programs that cannot pick one themselves.
pub fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// Asks until the answer is `Some`, at most for `patience`; `None` after that.
pub fn wait_until<T>(patience: Duration, mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + patience;
    let mut pause = Duration::from_millis(20);
    loop {
        if let Some(answer) = ask() {
            return Some(answer);
        }
        if Instant::now() > deadline {
            return None;
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(250));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_measured_and_ends_when_asked() {
        let folder = tempfile::tempdir().unwrap();
        let mut program =
            Program::start("sh", ["-c", "echo up; exec sleep 60"], &folder.path().join("out"))
                .unwrap();
        wait_until(Duration::from_secs(10), || program.output().contains("up").then_some(()))
            .unwrap();
        assert!(program.usage().peak_memory_bytes > 0);
        let status = program.stop(Duration::from_secs(10)).unwrap();
        assert!(!status.success());
        assert_eq!(program.usage(), Usage::default());
    }

    #[test]
    fn a_name_with_blanks_and_parentheses_does_not_shift_the_fields() {
        let stat = "12 (a b) c) S 1 1 1 0 -1 4194304 100 0 0 0 250 50 0 0 20 0 1 0 100 0 0";
        assert!((cpu_seconds(stat) - 3.0).abs() < 1e-9, "{}", cpu_seconds(stat));
        assert_eq!(peak_memory_bytes("Name:\tx\nVmHWM:\t  2048 kB\n"), 2 << 20);
    }
}
