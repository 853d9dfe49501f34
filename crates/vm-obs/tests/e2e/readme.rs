//! The tour of the README is what it says: its commands run against a server.

use std::path::Path;
use std::process::Command;

use crate::support::{Server, VM_OBS, outcome};

/// The `sh` blocks below the heading that begins with `heading`, one command per entry; a line that
/// ends in a backslash goes on.
fn commands(text: &str, heading: &str) -> Vec<String> {
    let mut out = Vec::new();
    let (mut inside_section, mut inside_block) = (false, false);
    for line in text.lines() {
        if line.starts_with("## ") {
            inside_section = line.trim_start_matches("## ").starts_with(heading);
        } else if line.starts_with("```") {
            inside_block = inside_section && line == "```sh";
        } else if inside_block && !line.trim().is_empty() && !line.starts_with('#') {
            out.push(line.to_owned());
        }
    }
    out
}

#[test]
fn the_tour_of_the_readme_runs() {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../README.md");
    let text = std::fs::read_to_string(readme).unwrap();
    let commands = commands(&text, "Five minutes");
    assert!(commands.len() >= 8, "the tour has {} commands", commands.len());

    let folder = tempfile::tempdir().unwrap();
    // The reader starts the world in the tour; the test has its own on free ports.
    let mut server = Server::start(&folder.path().join("data"), &["--demo"]);
    server.eventually("/obs/traces?last=5m", "traces of the demo world", |v| {
        v["traces"].as_array().is_some_and(|t| !t.is_empty())
    });
    let bin = Path::new(VM_OBS).parent().unwrap().display().to_string();
    let path = format!("{bin}:{}", std::env::var("PATH").unwrap_or_default());
    let mut ran = 0;
    for command in &commands {
        if command.contains(" serve") || command.starts_with("cargo ") {
            continue;
        }
        // The data folder of the tour is ./data; the server's lies in the folder where this runs.
        let command = command.replace("http://127.0.0.1:9470", &server.url());
        let output = Command::new("sh")
            .args(["-c", &command])
            .current_dir(folder.path())
            .env("PATH", &path)
            .env("VMOBS_URL", server.url())
            .output()
            .unwrap();
        let (code, text) = outcome(&output);
        assert_eq!(code, 0, "{command}\n{text}");
        assert!(!text.trim().is_empty(), "{command} says nothing");
        ran += 1;
    }
    assert!(ran >= 8, "only {ran} commands ran");
    server.stop();
}
