use std::path::PathBuf;

use crate::note::VerifierKey;
use crate::time::parse_rfc3339;

/// What `vm-obs verify --help` and `vm-obs-verify --help` say after their first line.
pub const HELP: &str = "\
Checks a data folder (or a receipts folder) of vm-obs offline: signature, order and roots of the
receipts, continuity of the sealed hours, hashes of the sealed files.

  FILE.vmproof         a proof of one record or receipt; needs --policy or --log-key
  DIR                  data folder; a folder that holds `checkpoint` itself is a receipts folder,
                       whose sealed files are not there to be checked  [default: ./data]
  --policy FILE        C2SP tlog-policy: trusted log keys, witnesses, quorum
  --log-key VKEY       trusted log key (or a file that holds it); may be given more than once.
                       Without --policy and --log-key the keys in the folder are used, and the
                       report says so
  --actors FILE        registry of actors, whose contracts are checked by its keys  [default:
                       actors.txt beside the log, and the report says so]
  --require-witness    without a valid cosignature the result is 3
  --cosigned-within D  how far the cosigned receipts may be behind the newest one where the policy
                       asks for witnesses, such as 10m  [default: 1h]
  --from T, --to T     check the sealed hours in [T, T) only; hours from --from on must be there
  --expect-until T     every stream must be sealed up to T
  --state FILE         checkpoint remembered from an earlier run: finds rollback and forks;
                       written anew after a good run
  --receipts-only      do not look at sealed files
  --files              size and hash of the sealed files, not the records in them
  --records            the records in the sealed files as well; an error where this program
                       cannot decode them  [default: as deep as this program can]
  --cold DIR           folder that has the files of the cold store under their own paths; without
                       it files that were moved there are not checked, which is a finding
  --json               report as JSON
  --help

Times are RFC 3339, such as 2025-12-06T14:00:00Z.

Exit codes: 0 all that was asked for was checked and holds
            1 tampering: a hash, signature, order, proof or rollback
            2 incomplete: a file, an hour or everything is missing
            3 trust policy unmet: too few witnesses
            4 usage, or a policy or state file that cannot be understood
            5 something could not be read
The worst counts: 1, then 5, 2, 3.
";

/// Witnesses are asked every minute; an hour without them is a reason to look.
const COSIGNED_WITHIN: i64 = 3_600_000;

/// How much of a data folder is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// The log alone.
    Receipts,
    /// Also size and hash of the sealed files.
    Files,
    /// Also the records in them; a file that nobody decodes is a finding.
    Records,
    /// Records where somebody decodes them.
    Deepest,
}

/// What is to be verified and whom to trust.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifyOptions {
    pub dir: PathBuf,
    pub policy: Option<PathBuf>,
    pub log_keys: Vec<VerifierKey>,
    /// Registry of actors; `None`: the folder's own.
    pub actors: Option<PathBuf>,
    pub require_witness: bool,
    /// Milliseconds.
    pub cosigned_within: i64,
    /// Milliseconds since the epoch, as the other times.
    pub from: Option<i64>,
    pub to: Option<i64>,
    pub expect_until: Option<i64>,
    pub state: Option<PathBuf>,
    /// Whether a good run may write `state` anew.
    pub state_update: bool,
    pub depth: Depth,
    /// Where files are that receipts say were moved to the cold store.
    pub cold: Option<PathBuf>,
    pub json: bool,
}

/// What the arguments ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parsed {
    Help,
    Run(Box<VerifyOptions>),
}

/// Why the question cannot be understood; exit 4.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UsageError {
    #[error("{0} needs a value")]
    MissingValue(String),
    #[error("unknown argument {0:?}")]
    Unknown(String),
    #[error("{flag} {value:?}: {reason}")]
    BadValue { flag: String, value: String, reason: String },
    #[error("--records: this program decodes no sealed files; `vm-obs verify --records` does")]
    NoDecoder,
    #[error("policy {path}: {reason}")]
    Policy { path: PathBuf, reason: String },
    #[error("actors {path}: {reason}")]
    Actors { path: PathBuf, reason: String },
    #[error("state {path}: {reason}")]
    State { path: PathBuf, reason: String },
}

impl VerifyOptions {
    /// Verifies everything in `dir`, with the keys found there.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            policy: None,
            log_keys: Vec::new(),
            actors: None,
            require_witness: false,
            cosigned_within: COSIGNED_WITHIN,
            from: None,
            to: None,
            expect_until: None,
            state: None,
            state_update: true,
            depth: Depth::Deepest,
            cold: None,
            json: false,
        }
    }

    /// Reads command-line arguments, without the program's name. `--data DIR` is another way to
    /// say `DIR`; `--flag=value` is accepted.
    pub fn parse(args: impl IntoIterator<Item = String>) -> Result<Parsed, UsageError> {
        let mut out = Self::new("data");
        let mut dir: Option<String> = None;
        let mut args = args.into_iter();
        while let Some(arg) = args.next() {
            let (flag, mut inline) = match arg.split_once('=') {
                Some((flag, value)) if flag.starts_with("--") => {
                    (flag.to_owned(), Some(value.to_owned()))
                }
                _ => (arg, None),
            };
            let is_switch = matches!(
                flag.as_str(),
                "--help"
                    | "-h"
                    | "--require-witness"
                    | "--receipts-only"
                    | "--files"
                    | "--records"
                    | "--json"
            );
            if let (true, Some(value)) = (is_switch, &inline) {
                return Err(bad(&flag, value, "takes no value"));
            }
            let mut value = || {
                inline
                    .take()
                    .or_else(|| args.next())
                    .ok_or_else(|| UsageError::MissingValue(flag.clone()))
            };
            match flag.as_str() {
                "--help" | "-h" => return Ok(Parsed::Help),
                "--require-witness" => out.require_witness = true,
                "--receipts-only" => out.set_depth(&flag, Depth::Receipts)?,
                "--files" => out.set_depth(&flag, Depth::Files)?,
                "--records" => out.set_depth(&flag, Depth::Records)?,
                "--json" => out.json = true,
                "--policy" => out.policy = Some(value()?.into()),
                "--actors" => out.actors = Some(value()?.into()),
                "--cosigned-within" => out.cosigned_within = duration(&flag, &value()?)?,
                "--cold" => out.cold = Some(value()?.into()),
                "--state" => out.state = Some(value()?.into()),
                "--log-key" => out.log_keys.push(log_key(&flag, &value()?)?),
                "--from" => out.from = Some(instant(&flag, &value()?)?),
                "--to" => out.to = Some(instant(&flag, &value()?)?),
                "--expect-until" => out.expect_until = Some(instant(&flag, &value()?)?),
                "--data" if dir.is_none() => dir = Some(value()?),
                other if !other.starts_with('-') && dir.is_none() && inline.is_none() => {
                    dir = Some(other.to_owned());
                }
                other => return Err(UsageError::Unknown(other.to_owned())),
            }
        }
        if let Some(dir) = dir {
            out.dir = dir.into();
        }
        Ok(Parsed::Run(Box::new(out)))
    }

    fn set_depth(&mut self, flag: &str, depth: Depth) -> Result<(), UsageError> {
        match self.depth == Depth::Deepest || self.depth == depth {
            true => self.depth = depth,
            false => return Err(bad(flag, "", "another depth was asked for as well")),
        }
        Ok(())
    }
}

fn bad(flag: &str, value: &str, reason: &str) -> UsageError {
    UsageError::BadValue {
        flag: flag.to_owned(),
        value: value.to_owned(),
        reason: reason.to_owned(),
    }
}

fn instant(flag: &str, value: &str) -> Result<i64, UsageError> {
    parse_rfc3339(value).ok_or_else(|| bad(flag, value, "not a time like 2025-12-06T14:00:00Z"))
}

/// A whole number of seconds, minutes, hours or days, in milliseconds.
fn duration(flag: &str, value: &str) -> Result<i64, UsageError> {
    let unit = match value.chars().last() {
        Some('s') => 1_000,
        Some('m') => 60_000,
        Some('h') => 3_600_000,
        Some('d') => 86_400_000,
        _ => 0,
    };
    let number = value.get(..value.len().saturating_sub(1)).unwrap_or_default();
    number
        .parse::<u32>()
        .ok()
        .and_then(|n| i64::from(n).checked_mul(unit))
        .filter(|ms| *ms > 0)
        .ok_or_else(|| bad(flag, value, "not a duration like 90s, 10m, 1h or 7d"))
}

/// A key, or the name of a file with one.
fn log_key(flag: &str, value: &str) -> Result<VerifierKey, UsageError> {
    match VerifierKey::parse(value) {
        Ok(key) => Ok(key),
        Err(as_key) => std::fs::read_to_string(value)
            .ok()
            .and_then(|text| VerifierKey::parse(&text).ok())
            .ok_or_else(|| bad(flag, value, &format!("{as_key}, and no file with a key"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<Parsed, UsageError> {
        VerifyOptions::parse(words.iter().map(|w| (*w).to_owned()))
    }

    #[test]
    fn arguments() {
        let Ok(Parsed::Run(o)) = parse(&[
            "d",
            "--policy",
            "p",
            "--from=2025-12-06T14:00:00Z",
            "--require-witness",
            "--json",
        ]) else {
            panic!("refused")
        };
        assert_eq!(o.dir, PathBuf::from("d"));
        assert_eq!(o.policy, Some(PathBuf::from("p")));
        assert_eq!(o.from, Some(1_765_029_600_000));
        assert!(o.require_witness && o.json && o.depth == Depth::Deepest);
        assert_eq!(parse(&["-h"]), Ok(Parsed::Help));
    }

    #[test]
    fn mistakes() {
        for words in [
            &["--policy"][..],
            &["--nonsense"],
            &["a", "b"],
            &["--from", "yesterday"],
            &["--log-key", "x"],
            &["--json=yes"],
            &["--files", "--records"],
            &["--files=x"],
            &["--cosigned-within", "1"],
            &["--cosigned-within", "0s"],
            &["--cosigned-within", "é"],
            &["a=b", "c"],
        ] {
            assert!(parse(words).is_err(), "{words:?}");
        }
    }
}
