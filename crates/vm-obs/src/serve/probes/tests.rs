use std::time::Duration;

use obs_collect::scrape::TargetStatus;
use obs_types::LabelSet;

use super::{Probes, check_pack_probes};
use obs_collect::scrape::{Health, Target};

fn open(yaml: &str) -> anyhow::Result<Probes> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("probes.yaml");
    std::fs::write(&file, yaml).unwrap();
    Probes::open(Some(&file), &[])
}

#[test]
fn a_pack_probes_what_is_scraped_and_chooses_no_hosts() {
    let text = "probes: [{name: canary, scraped: {service: shop}, path: /buy}]";
    let probes = Probes::open(None, &[("shop/probes.yml".to_owned(), text.to_owned())]).unwrap();
    let status = TargetStatus {
        job: "k8s".to_owned(),
        target: Target {
            url: "http://10.0.0.7:8000/metrics?x=1".to_owned(),
            labels: LabelSet::from_pairs([
                ("job", "k8s"),
                ("instance", "shop-0:8000"),
                ("service", "shop"),
            ]),
            discovered: LabelSet::empty(),
            interval: Duration::from_secs(30),
            timeout: Duration::from_secs(10),
        },
        health: Health::Unknown,
        last_error: String::new(),
        last_scrape: None,
        last_duration_ms: 0.0,
        interval_ms: 0,
        timeout_ms: 0,
    };
    let one = probes.jobs[0].scraped_target(&status, "/buy").unwrap();
    assert_eq!(one.target, "http://10.0.0.7:8000/buy");
    let label = |name: &str| one.labels.get(name);
    assert_eq!(
        (label("job"), label("instance"), label("service"), label("module")),
        (Some("canary"), Some("shop-0:8000"), Some("shop"), Some("http_2xx"))
    );
    assert_eq!(one.scraped_host.as_deref(), Some("10.0.0.7"));
    let e = check_pack_probes("p/probes.yml", "allow_hosts: ['*']").unwrap_err().to_string();
    assert!(e.contains("p/probes.yml") && e.contains("not for packs"), "{e}");
}

#[test]
fn a_file_and_its_mistakes() {
    let probes = open(
            "probes: [{name: portal, targets: ['http://127.0.0.1:1/', 'http://127.0.0.1:2/'], interval: 5s, labels: {team: a}}]
transactions: [{flow: {name: login, target: 'http://127.0.0.1:1', steps: [{url: /}]}}]",
        )
        .unwrap();
    assert_eq!(probes.scheduled(), 3);
    assert_eq!(probes.transactions(Some("login")).len(), 1);
    let labels = &probes.jobs[0].labels;
    assert_eq!(
        (labels.get("job"), labels.get("instance"), labels.get("team")),
        (Some("portal"), Some("http://127.0.0.1:1/"), Some("a"))
    );
    for (yaml, says) in [
        ("probes: [{name: a, targets: [b], module: nope}]", "probes[0]"),
        ("probes: [{name: a}]", "targets"),
        ("probes: [{name: a, targets: [b], interval: 1ms}]", "100ms"),
        ("transactions: [{flow: {name: a, steps: [{url: /}]}}]", "transactions[0].flow.steps[0]"),
        ("modules_file: nope.yml", "nope.yml"),
        ("probes: [{name: a, targets: [b], scraped: {service: c}}]", "not both"),
        ("probes: [{name: a, targets: [b], path: /c}]", "goes with"),
        ("probes: [{name: a, scraped: {service: c}, path: c}]", "begin with /"),
    ] {
        let e = format!("{:#}", open(yaml).unwrap_err());
        assert!(e.contains(says), "{yaml}: {e}");
    }
}
