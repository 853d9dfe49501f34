//! Published configurations, and the mistakes that people make.

use std::path::PathBuf;

use super::*;

fn parse(text: &str) -> Result<PrometheusConfig, String> {
    PrometheusConfig::parse(text, Path::new("prometheus.yml")).map_err(|e| e.to_string())
}

/// Good ones that ask for what vm-obs does not have, and how it says so.
const REFUSED: [(&str, &str); 4] = [
    ("conf.good.yml", "consul_sd_configs is not supported"),
    ("scrape_config_files_glob.good.yml", "vultr_sd_configs is not supported"),
    ("roundtrip.good.yml", "is not supported"),
    ("kubernetes_kubeconfig_without_apiserver.good.yml", "kubeconfig_file"),
];

#[test]
fn published_configurations_load_or_are_refused_by_name() {
    let root = std::env::var_os("VMOBS_VECTORS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors"),
        PathBuf::from,
    );
    let Ok(folder) = std::fs::read_dir(root.join("prometheus/config")) else {
        println!("skipped: no vectors");
        return;
    };
    let (mut good, mut bad, mut wrong) = (0, 0, Vec::new());
    for entry in folder {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let loaded = PrometheusConfig::load(&path);
        if name.ends_with(".bad.yml") {
            bad += 1;
            // A file of target groups is no configuration.
            let refused = if name == "static_config.bad.yml" {
                read_target_groups(&path).is_err()
            } else {
                loaded.is_err()
            };
            if !refused {
                wrong.push(format!("{name} was accepted"));
            }
        } else if name.ends_with(".good.yml") {
            good += 1;
            let refusal = REFUSED.iter().find(|(n, _)| *n == name);
            match (loaded, refusal) {
                (Ok(_), None) => {}
                (Err(e), Some((_, why))) if e.to_string().contains(why) => {}
                (Ok(_), Some(_)) => wrong.push(format!("{name} was accepted")),
                (Err(e), _) => wrong.push(format!("{name}: {e}")),
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), good + bad, wrong.join("\n"));
    assert!(good > 40 && bad > 100, "{good} good and {bad} bad configurations");
}

#[test]
fn a_usual_file() {
    let c = parse(
        "global: {scrape_interval: 15s, external_labels: {region: eu}}\nrule_files: [rules/*.yml]\nscrape_configs:\n- job_name: node\n  static_configs:\n  - targets: ['127.0.0.1:9100']\n    labels: {node: brick-01}\n  metric_relabel_configs:\n  - {source_labels: [__name__], regex: 'go_.*', action: drop}\n- job_name: k8s\n  kubernetes_sd_configs: [{role: pod}]\nruntime: {gogc: 75}\n",
    )
    .unwrap();
    assert_eq!(c.jobs.len(), 2);
    assert_eq!(c.jobs[0].interval, Duration::from_secs(15));
    assert_eq!(c.jobs[0].timeout, Duration::from_secs(10));
    assert_eq!(c.jobs[0].static_targets[0].labels.get("node"), Some("brick-01"));
    assert!(matches!(c.jobs[1].discovery[0], Discovery::Kubernetes(_)));
    assert!(c.notices[0].contains("\"runtime\" is not used"));
    assert_eq!(c.external_labels.get("region"), Some("eu"));
}

#[test]
fn jobs_take_from_global_what_they_do_not_say() {
    let c = parse(
        "global: {sample_limit: 10, label_limit: 5, body_size_limit: 2KB, scrape_native_histograms: true, keep_dropped_targets: 7}\nscrape_configs:\n- {job_name: a, sample_limit: 20, scrape_protocols: [PrometheusText0.0.4], always_scrape_classic_histograms: true}\n- {job_name: b, scrape_native_histograms: false, series_limit: 3, native_histogram_bucket_limit: 9}\n",
    )
    .unwrap();
    let [a, b] = &c.jobs[..] else { panic!("{:?}", c.jobs) };
    assert_eq!((a.limits.samples, a.limits.labels, a.limits.body_bytes), (20, 5, 2048));
    assert_eq!((b.limits.samples, b.limits.dropped_targets), (10, 7));
    assert_eq!((b.limits.series, b.limits.native_histogram_buckets), (3, 9));
    assert_eq!((a.formats.protocols.len(), b.formats.protocols.len()), (1, 4));
    assert!(a.formats.native_histograms && a.formats.classic_with_native);
    assert!(!b.formats.native_histograms);
}

#[test]
fn clients_are_told_everything() {
    let c = parse(
        "scrape_configs:\n- job_name: a\n  scheme: https\n  authorization: {type: Token, credentials: abc}\n  tls_config: {ca_file: ca.pem, cert_file: c.pem, key_file: k.pem, server_name: x, min_version: TLS13}\n  proxy_url: http://127.0.0.1:3128\n  no_proxy: localhost\n  follow_redirects: false\n  enable_http2: false\n  enable_compression: false\n  http_headers: {x-a: {values: [b], files: [h.txt]}}\n",
    )
    .unwrap();
    let job = &c.jobs[0];
    let http = &job.http;
    assert!(!http.follow_redirects && !http.http2 && !job.compression);
    assert_eq!(http.proxy.url.as_deref(), Some("http://127.0.0.1:3128"));
    assert_eq!(http.headers.len(), 2);
    assert_eq!(http.tls.version_min, Some(TlsVersion::Tls13));
    let Some((kind, Secret::Text(text))) = &http.authorization else { panic!() };
    assert_eq!((kind.as_str(), text.as_str()), ("Token", "abc"));
    assert!(!format!("{job:?}").contains("abc"), "secrets are never printed");
}

#[test]
fn mistakes_name_file_and_cause() {
    for (text, want) in [
        ("scrape_configs:\n- job_name: a\n  scrape_intervall: 3s\n", "scrape_intervall"),
        ("globall: {}\n", "globall"),
        ("scrape_configs:\n- job_name: a\n- job_name: a\n", "multiple scrape configs"),
        (
            "scrape_configs:\n- {job_name: a, scrape_interval: 5s, scrape_timeout: 6s}\n",
            "greater than",
        ),
        (
            "scrape_configs:\n- job_name: a\n  relabel_configs:\n  - {regex: '(', target_label: x}\n",
            "relabel regex",
        ),
        (
            "scrape_configs:\n- job_name: a\n  static_configs: [{targets: ['http://x/']}]\n",
            "not a valid hostname",
        ),
        ("scrape_configs:\n- {job_name: a, consul_sd_configs: [{}]}\n", "consul_sd_configs is not"),
        (
            "scrape_configs:\n- {job_name: a, oauth2: {client_id: x, token_url: 'http://x'}}\n",
            "client_secret must be configured",
        ),
        ("scrape_configs:\n- {job_name: a, http_headers: {Host: {values: [x]}}}\n", "\"Host\""),
        ("scrape_configs:\n- {job_name: a, no_proxy: x}\n", "no_proxy needs proxy_url"),
        ("scrape_configs:\n- {job_name: a, tls_config: {cert_file: x}}\n", "client certificate"),
        ("scrape_configs:\n- {job_name: a, tls_config: {server_name: x}}\n", "server_name"),
        ("remote_write: [{url: x, queue_config: {capacity: 0}}]\n", "remote_write: queue_config"),
    ] {
        let e = parse(text).unwrap_err();
        assert!(e.contains(want) && e.contains("prometheus.yml"), "{e}");
    }
    let e = parse("global:\n  scrape_interval: 15s\n  nonsense: 1\n").unwrap_err();
    assert!(e.contains("line 3"), "{e}");
    let e = parse("scrape_configs:\n- job_name: a\n  sample_limit: many\n").unwrap_err();
    assert!(e.contains("line 3"), "{e}");
}

/// What is shown of a job is a configuration that says the same again.
#[test]
fn a_job_is_shown_as_its_section() {
    let text = r#"
global: {scrape_interval: 30s}
scrape_configs:
  - job_name: web
    scrape_timeout: 1500ms
    sample_limit: 9
    honor_labels: true
    params: {module: [a, b]}
    basic_auth: {username: u, password: hidden}
    proxy_url: http://me:hidden@proxy.test:3128/
    static_configs: [{targets: ['127.0.0.1:1'], labels: {env: test}}]
    file_sd_configs: [{files: [t/*.json]}]
    dns_sd_configs: [{names: [x.test], type: A, port: 80}]
    kubernetes_sd_configs: [{role: pod, namespaces: {names: [a]}}]
    relabel_configs:
      - {source_labels: [__address__, env], regex: '(.+);(.+)', target_label: where, replacement: '$2'}
      - {action: labeldrop, regex: tmp_.*}
      - {action: keepequal, source_labels: [a], target_label: b}
      - {action: lowercase, source_labels: [a], target_label: c}
      - {action: hashmod, source_labels: [a, b], target_label: d, modulus: 8}
      - {action: labelmap, regex: __meta_(.+)}
    metric_relabel_configs: [{source_labels: [__name__], regex: go_.*, action: drop}]
"#;
    let job = &parse(text).unwrap().jobs[0];
    let shown = job.shown();
    assert_eq!(shown["scrape_interval"], "30s");
    assert_eq!(shown["scrape_timeout"], "1s500ms");
    assert_eq!(shown["sample_limit"], 9);
    assert_eq!(shown["relabel_configs"][0]["regex"], "(.+);(.+)");
    assert_eq!(shown["proxy_url"], "http://<secret>@proxy.test:3128/");
    let yaml = serde_saphyr::to_string(&shown).unwrap();
    assert!(!yaml.contains("hidden"), "{yaml}");
    let again =
        parse(&serde_saphyr::to_string(&serde_json::json!({"scrape_configs": [shown]})).unwrap());
    assert_eq!(again.unwrap().jobs[0].shown(), shown);
}
