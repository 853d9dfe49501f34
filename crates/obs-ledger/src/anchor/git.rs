use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Anchor, Anchored, Subject};

/// A commit for each checkpoint in a clone, pushed to its remote. A repository on the same disk
/// proves nothing; what counts is the copy that others pull.
#[derive(Debug)]
pub struct GitAnchor {
    clone: PathBuf,
    /// File of the checkpoint in the clone, made of the log's origin.
    name: String,
}

impl GitAnchor {
    /// `origin` is the log's. The clone must be there, with a branch checked out.
    pub fn new(clone: PathBuf, origin: &str) -> Self {
        let plain = |c: char| if c.is_ascii_alphanumeric() || "-.".contains(c) { c } else { '_' };
        Self {
            clone,
            name: format!("{}.checkpoint", origin.chars().map(plain).collect::<String>()),
        }
    }

    /// Output of `git ARGUMENTS`, with nothing asked of a terminal.
    fn git(&self, arguments: &[&str]) -> Result<String, String> {
        let out = Command::new("git")
            .arg("-C")
            .arg(&self.clone)
            .args(["-c", "user.name=vm-obs", "-c", "user.email=vm-obs@localhost"])
            .args(["-c", "commit.gpgsign=false", "-c", "core.hooksPath=/dev/null"])
            .args(arguments)
            .env("GIT_TERMINAL_PROMPT", "0")
            .output()
            .map_err(|e| format!("git: {e}"))?;
        match out.status.success() {
            true => Ok(String::from_utf8_lossy(&out.stdout).trim().to_owned()),
            false => Err(format!(
                "git {}: {}",
                arguments.first().unwrap_or(&""),
                String::from_utf8_lossy(&out.stderr).trim()
            )),
        }
    }

    fn remote(&self) -> Result<Option<String>, String> {
        Ok(self.git(&["remote"])?.lines().next().map(str::to_owned))
    }
}

impl Anchor for GitAnchor {
    fn kind(&self) -> &'static str {
        "git"
    }

    fn target(&self) -> String {
        self.clone.display().to_string()
    }

    fn extension(&self) -> &'static str {
        "commit"
    }

    fn submit(&self, subject: &Subject) -> Result<Anchored, String> {
        let file = self.clone.join(&self.name);
        write(&file, subject.note.as_bytes())?;
        self.git(&["add", "--", &self.name])?;
        // After a push that failed the commit is there already.
        if !self.git(&["status", "--porcelain", "--", &self.name])?.is_empty() {
            let message = format!("checkpoint of {} receipts", subject.size);
            self.git(&["commit", "--quiet", "-m", &message, "--", &self.name])?;
        }
        let commit = self.git(&["rev-parse", "HEAD"])?;
        let pushed = match self.remote()? {
            Some(remote) => {
                self.git(&["push", "--quiet", &remote, "HEAD"])?;
                self.git(&["remote", "get-url", &remote])?
            }
            None => "no remote".to_owned(),
        };
        let proof = format!("commit {commit}\nremote {pushed}\nfile {}\n", self.name);
        Ok(Anchored::Done { proof: proof.into_bytes(), at: None })
    }

    /// What others can pull, not what lies in the clone.
    fn newest(&self) -> Result<Option<String>, String> {
        let at = match self.remote()? {
            Some(remote) => {
                let branch = self.git(&["symbolic-ref", "--short", "HEAD"])?;
                if self.git(&["ls-remote", "--heads", &remote, &branch])?.is_empty() {
                    return Ok(None);
                }
                self.git(&["fetch", "--quiet", &remote, &branch])?;
                "FETCH_HEAD"
            }
            None => "HEAD",
        };
        let name = format!("{at}:{}", self.name);
        if self.git(&["cat-file", "-e", &name]).is_err() {
            return Ok(None);
        }
        self.git(&["show", &name]).map(|text| Some(format!("{text}\n")))
    }
}

/// In git's working copy, which git makes durable by its own means.
fn write(path: &Path, bytes: &[u8]) -> Result<(), String> {
    std::fs::write(path, bytes).map_err(|e| format!("{}: {e}", path.display()))
}
