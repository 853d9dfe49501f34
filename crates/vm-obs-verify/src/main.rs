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
            return (format!("vm-obs-verify {version} [DIR|FILE.vmproof] [options]\n\n{HELP}"), 0);
        }
        Ok(Parsed::Run(options)) => *options,
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
    use obs_proof::checkpoint::Checkpoint;
    use obs_proof::note::{KeyKind, SignerKey};
    use obs_proof::tlog_proof::TlogProof;
    use obs_proof::vmproof::VmProof;
    use obs_proof::{Sha256Tree, TreeHash};

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
    fn a_proof_file_is_checked_with_the_key_that_the_reader_has() {
        let key = SignerKey::from_seed("log.example/x", KeyKind::Ed25519, &[5; 32]).unwrap();
        let line = "{\"seq\":0,\"v\":1}";
        let root = Sha256Tree::leaf(line.as_bytes());
        let checkpoint = Checkpoint { origin: "log.example/x".to_owned(), size: 1, root };
        let mut note = checkpoint.to_note().unwrap();
        note.sign(&key, 0);
        let checkpoint = note.to_string();
        let tlog = TlogProof { extra: None, index: 0, hashes: Vec::new(), checkpoint };
        let proof = VmProof::new(None, line, &tlog.to_string()).unwrap().to_string();

        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("receipt.vmproof");
        std::fs::write(&file, &proof).unwrap();
        let path = file.to_str().unwrap();
        let vkey = key.verifier().to_string();
        let (text, code) = run(&[path, "--log-key", &vkey]);
        assert_eq!(code, 0, "{text}");
        assert!(text.starts_with("OK\n") && text.contains(line), "{text}");
        let (json, code) = run(&[path, "--log-key", &vkey, "--json"]);
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        let proven = json.get("proven").unwrap();
        assert_eq!((code, proven.get("receipt").unwrap().as_str()), (0, Some(line)));
        let (text, code) = run(&[path]);
        assert!(code == 2 && text.contains("NO_LOG_KEY") && !text.contains(line), "{text}");
        assert_eq!(run(&[path, "--log-key", &vkey, "--state", "s"]).1, 4);
        for at in 0..proof.len() {
            let mut bad = proof.clone().into_bytes();
            bad[at] ^= 1;
            std::fs::write(&file, bad).unwrap();
            assert_eq!(run(&[path, "--log-key", &vkey]).1, 1, "byte {at}");
        }
    }

    #[test]
    fn mistakes_exit_with_4() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().to_str().unwrap();
        assert_eq!(run(&["--nonsense"]).1, 4);
        assert_eq!(run(&[path, "--policy", "no-such-file"]).1, 4);
    }
}
