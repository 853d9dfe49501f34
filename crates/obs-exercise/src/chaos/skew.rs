//! Programs whose clock is wrong.
//!
//! Linux has one wall clock, and changing it would hit everything on the machine. So a program is
//! started anew, by one of three means:
//! - `env`: `VMOBS_CLOCK_SKEW` in its environment, for programs that heed it: `vm-obs serve` does;
//! - `faketime`: the wall clock of any dynamically linked program, where the tool `faketime` is
//!   installed (it is not part of vm-obs);
//! - `time-namespace`: the monotonic clock and the time since boot of any program, through
//!   `unshare --time` of util-linux. The kernel has no namespace for the wall clock. A clock may not
//!   go below zero, so a machine that runs for an hour cannot be set back by two.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::fault::FaultForm;
use crate::exchange::duration;

/// Variable that says by how many seconds a program's clock is wrong.
pub const SKEW_VARIABLE: &str = "VMOBS_CLOCK_SKEW";
const MEANS: [&str; 3] = ["env", "faketime", "time-namespace"];

/// Seconds by which a clock is ahead; behind where negative.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Skew(f64);

impl Skew {
    pub(super) fn check(form: &FaultForm) -> Result<Self, String> {
        let means = form.means.as_deref().unwrap_or("env");
        if !MEANS.contains(&means) {
            return Err(format!("means {means:?} is not one of {}", MEANS.join(", ")));
        }
        let text = form.skew.as_deref().unwrap_or("");
        let (sign, length) = match text.strip_prefix('-') {
            Some(rest) => (-1.0, rest),
            None => (1.0, text.strip_prefix('+').unwrap_or(text)),
        };
        let length: Duration = duration("skew", length).map_err(|e| e.to_string())?;
        if length.is_zero() {
            return Err("a skew of 0 changes nothing".to_owned());
        }
        Ok(Self(sign * length.as_secs_f64()))
    }

    /// A program that waits: it begins with [`Waiting::release`], and ends by itself where we are
    /// gone before that. It leads a process group of its own, so that what it starts ends with it.
    pub(super) fn prepare(
        self,
        command: &[String],
        means: Option<&str>,
    ) -> Result<Waiting, String> {
        let (program, arguments) = command.split_first().ok_or("no command")?;
        let mut run = match means.unwrap_or("env") {
            "faketime" => {
                let mut run = Command::new("faketime");
                run.args(["-f", &format!("{:+}s", self.0)]).arg(program);
                run
            }
            "time-namespace" => {
                let seconds = self.0 as i64;
                let mut run = Command::new("unshare");
                // Without --fork the program itself stays outside of the namespace.
                run.args(["--user", "--map-root-user", "--time", "--fork"])
                    .args(["--monotonic", &seconds.to_string()])
                    .args(["--boottime", &seconds.to_string(), "--"])
                    .arg(program);
                run
            }
            _ => {
                let mut run = Command::new(program);
                run.env(SKEW_VARIABLE, self.0.to_string());
                run
            }
        };
        run.args(arguments);
        let shown = run.get_program().to_string_lossy().into_owned();
        let mut gate = Command::new("sh");
        // The shell becomes the program, under the same number.
        gate.args(["-c", "read -r go && exec \"$@\" </dev/null", "sh"])
            .arg(run.get_program())
            .args(run.get_args())
            .envs(run.get_envs().filter_map(|(name, value)| Some((name, value?))))
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null());
        let child = gate.spawn().map_err(|e| format!("cannot start {shown}: {e}"))?;
        Ok(Waiting { child, shown })
    }
}

/// A program that has not begun.
#[derive(Debug)]
pub(super) struct Waiting {
    child: Child,
    shown: String,
}

impl Waiting {
    pub(super) fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap_or(0)
    }

    /// Lets it begin.
    pub(super) fn release(mut self) -> Result<Child, String> {
        let shown = self.shown;
        let mut gate = self.child.stdin.take().ok_or("no way to tell the program to begin")?;
        gate.write_all(b"\n").map_err(|e| format!("cannot start {shown}: {e}"))?;
        drop(gate);
        // A means that the machine does not grant ends at once.
        std::thread::sleep(Duration::from_millis(100));
        match self.child.try_wait() {
            Ok(Some(status)) if !status.success() => Err(format!("{shown} ended with {status}")),
            _ => Ok(self.child),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_begins_when_it_may_and_never_where_we_are_gone_before() {
        let folder = tempfile::tempdir().unwrap();
        let begun = folder.path().join("begun");
        let script = format!("echo \"$VMOBS_CLOCK_SKEW $(cat | wc -c)\" > {}", begun.display());
        let command = ["sh".to_owned(), "-c".to_owned(), script];

        let mut waiting = Skew(3_600.0).prepare(&command, None).unwrap();
        // As the kernel closes it with us.
        drop(waiting.child.stdin.take());
        assert!(!waiting.child.wait().unwrap().success());
        assert!(!begun.exists());

        let waiting = Skew(3_600.0).prepare(&command, None).unwrap();
        let pid = waiting.pid();
        let mut child = waiting.release().unwrap();
        assert_eq!(i32::try_from(child.id()).unwrap(), pid);
        assert!(child.wait().unwrap().success());
        assert_eq!(std::fs::read_to_string(&begun).unwrap(), "3600 0\n");

        let gone = Skew(1.0).prepare(&["/nowhere/at-all".to_owned()], None).unwrap();
        match gone.release() {
            Err(said) => assert!(said.contains("/nowhere/at-all"), "{said}"),
            // The shell of a busy machine has not found out yet.
            Ok(mut child) => assert!(!child.wait().unwrap().success()),
        }
    }
}
