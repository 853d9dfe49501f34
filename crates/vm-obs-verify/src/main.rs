//! The stand-alone verifier: obs-proof and a file reader.
//!
//! It shares no code with the engine that wrote the ledger beyond the proof crate, knows no
//! network, and is small enough to be handed to an auditor together with a copy of the data.

use std::io::Write;
use std::process::ExitCode;

use obs_proof::verify::{HELP, Parsed, VerifyOptions, verify};

/// Usage: exit 4, as the help says.
const EXIT_USAGE: u8 = 4;
/// The report could not be written.
const EXIT_IO: u8 = 5;

fn main() -> ExitCode {
    let (text, code) = answer(std::env::args().skip(1));
    let written = match code {
        EXIT_USAGE => std::io::stderr().write_all(text.as_bytes()),
        _ => std::io::stdout().write_all(text.as_bytes()),
    };
    ExitCode::from(if written.is_err() && code == 0 { EXIT_IO } else { code })
}

/// What to print, and the exit code.
fn answer(args: impl IntoIterator<Item = String>) -> (String, u8) {
    let usage = |e: &dyn std::fmt::Display| {
        (format!("vm-obs-verify: {e}\ntry: vm-obs-verify --help\n"), EXIT_USAGE)
    };
    let options = match VerifyOptions::parse(args) {
        Ok(Parsed::Help) => {
            let version = env!("CARGO_PKG_VERSION");
            return (format!("vm-obs-verify {version} [DIR] [options]\n\n{HELP}"), 0);
        }
        Ok(Parsed::Run(options)) => options,
        Err(e) => return usage(&e),
    };
    match verify(&options) {
        Ok(report) if options.json => (format!("{:#}\n", report.to_json()), report.exit_code()),
        Ok(report) => (report.to_string(), report.exit_code()),
        Err(e) => usage(&e),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(args: &[&str]) -> (String, u8) {
        answer(args.iter().map(|a| (*a).to_owned()))
    }

    #[test]
    fn help_names_every_exit_code() {
        let (text, code) = run(&["--help"]);
        assert_eq!(code, 0);
        for line in ["0 all", "1 tampering", "2 incomplete", "3 trust", "4 usage", "5 something"] {
            assert!(text.contains(line), "{line}");
        }
    }

    #[test]
    fn an_empty_folder_is_not_a_success() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().to_str().unwrap();
        let (text, code) = run(&[path]);
        assert_eq!(code, 2, "{text}");
        assert!(text.starts_with("INCOMPLETE\n") && text.contains("NOTHING_VERIFIED"), "{text}");
        let (json, code) = run(&[path, "--json"]);
        assert_eq!(code, 2);
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json.get("exit"), Some(&serde_json::json!(2)));
    }

    #[test]
    fn mistakes_exit_with_4() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().to_str().unwrap();
        assert_eq!(run(&["--nonsense"]).1, 4);
        assert_eq!(run(&[path, "--policy", "no-such-file"]).1, 4);
    }
}
