//! A mistake in a configuration names file, place and what was expected, before anything starts.

use crate::support::{run, serve_fails};

fn start_with(file: &str, text: &str, flag: &str) -> (i32, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(file);
    std::fs::write(&path, text).unwrap();
    let data = folder.path().join("data");
    serve_fails(&data, &[flag, &path.display().to_string()])
}

#[test]
fn mistakes_name_the_file_and_the_line() {
    for (text, says) in [
        (
            "http: 127.0.0.1:0\nnode: a\nunknown_key: 1\n",
            vec!["vm-obs.yaml", "line 3", "unknown_key"],
        ),
        ("packs:\n  - host\n  - no-such-pack\n", vec!["no-such-pack"]),
        ("seal_delay: soon\n", vec!["vm-obs.yaml", "seal_delay", "soon"]),
        ("http: [1, 2\n", vec!["vm-obs.yaml", "line"]),
        ("http: nonsense\n", vec!["vm-obs.yaml", "http", "nonsense"]),
    ] {
        let (code, message) = start_with("vm-obs.yaml", text, "--config");
        assert_ne!(code, 0, "{text}");
        assert!(says.iter().all(|s| message.contains(s)), "{text}\ngives\n{message}");
    }
}

#[test]
fn mistakes_in_a_prometheus_configuration_are_found_too() {
    let text = "scrape_configs:\n  - job_name: a\n    scrape_interval: often\n";
    let (code, message) = start_with("prometheus.yml", text, "--prometheus-config");
    assert_ne!(code, 0);
    assert!(message.contains("prometheus.yml") && message.contains("often"), "{message}");
}

#[test]
fn a_missing_file_and_an_unknown_flag_are_told() {
    let (code, message) = run(&["serve", "--config", "/no/such/file.yaml"]);
    assert!(code != 0 && message.contains("/no/such/file.yaml"), "{message}");
    let (code, message) = run(&["serve", "--no-such-flag"]);
    assert!(code != 0 && message.contains("--no-such-flag"), "{message}");
}
