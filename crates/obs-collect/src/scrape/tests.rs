//! Real targets and discovery servers on loopback.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use obs_disk::SystemClock;
use obs_types::{IngestError, IngestOutcome, MetricBatch, MetricSink, SeriesSamples};

use super::*;

/// Remembers what was scraped.
#[derive(Debug, Default)]
struct Memory(Mutex<Vec<SeriesSamples>>);

impl MetricSink for Memory {
    fn append(&self, batch: MetricBatch) -> Result<IngestOutcome, IngestError> {
        self.0.lock().unwrap().extend(batch.series);
        Ok(IngestOutcome::default())
    }
}

impl Memory {
    /// The last value of a series, `None` if there is none.
    fn last(&self, shown: &str) -> Option<f64> {
        let all = self.0.lock().unwrap();
        let found = all.iter().rev().find(|s| s.labels.to_string() == shown)?;
        found.samples.last().map(|(_, v)| *v)
    }

    fn has(&self, wanted: impl Fn(&SeriesSamples) -> bool) -> bool {
        self.0.lock().unwrap().iter().any(wanted)
    }
}

type Answer = Arc<dyn Fn(&Request) -> Response + Send + Sync>;

/// Serves on a free port of loopback.
async fn serve(answer: impl Fn(&Request) -> Response + Send + Sync + 'static) -> SocketAddr {
    let answer: Answer = Arc::new(answer);
    let router = Router::new()
        .fallback(|State(answer): State<Answer>, request: Request| async move { answer(&request) })
        .with_state(answer);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

async fn start(yaml: &str) -> (ScrapeManager, Arc<Memory>) {
    let memory = Arc::new(Memory::default());
    let manager = ScrapeManager::new(ScrapeSettings {
        sink: Arc::clone(&memory) as _,
        clock: Arc::new(SystemClock::new()),
        collection: Arc::default(),
        user_agent: "test/1".to_owned(),
    });
    let config = PrometheusConfig::parse(yaml, std::path::Path::new("p.yml")).unwrap();
    manager.apply(&config).await;
    (manager, memory)
}

/// Scrapes come when they come; the bound only ends a failing test.
async fn until(what: &str, done: impl Fn() -> bool) {
    let wait = async {
        while !done() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(20), wait).await.is_ok(), "{what}");
}

fn plain(text: &'static str) -> Response {
    ([("content-type", "text/plain; version=0.0.4")], text).into_response()
}

const JOB: &str =
    "global: {scrape_interval: 200ms, scrape_timeout: 200ms}\nscrape_configs:\n- job_name: j\n";

#[tokio::test]
async fn a_target_sees_what_the_job_says() {
    let seen = Arc::new(Mutex::new(String::new()));
    let kept = Arc::clone(&seen);
    let target = serve(move |request| {
        let headers = request.headers().iter();
        let headers = headers.map(|(n, v)| format!("{n}: {}\n", v.to_str().unwrap()));
        *kept.lock().unwrap() = format!("{}\n{}", request.uri(), headers.collect::<String>());
        plain("a 1\n")
    })
    .await;
    let (manager, memory) = start(&format!(
        "{JOB}  metrics_path: /m\n  params: {{x: ['1', '2']}}\n  basic_auth: {{username: u, password: p}}\n  http_headers: {{x-own: {{values: [v]}}}}\n  enable_compression: false\n  scrape_native_histograms: true\n  static_configs: [{{targets: ['{target}']}}]\n"
    ))
    .await;
    until("a scrape", || memory.last(&format!("a{{instance=\"{target}\", job=\"j\"}}")).is_some())
        .await;
    manager.shutdown().await;
    let seen = seen.lock().unwrap();
    for want in [
        "/m?x=1&x=2\n",
        "authorization: Basic dTpw\n",
        "x-own: v\n",
        "user-agent: test/1\n",
        "x-prometheus-scrape-timeout-seconds: 0.2\n",
        "accept: application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.6,",
    ] {
        assert!(seen.contains(want), "{want} in {seen}");
    }
    assert!(!seen.contains("accept-encoding"), "{seen}");
}

#[tokio::test]
async fn protobuf_brings_native_histograms() {
    // MetricFamily h, HISTOGRAM: 3 observations, sum 4, schema 0, bucket 1 holds 3.
    let histogram =
        b"\x08\x03\x11\x00\x00\x00\x00\x00\x00\x10\x40\x62\x04\x08\x02\x10\x01\x6a\x01\x06";
    let mut family = b"\x0a\x01h\x18\x04\x22".to_vec();
    family.extend([histogram.len() as u8 + 2, 0x3a, histogram.len() as u8]);
    family.extend(histogram);
    family.insert(0, family.len() as u8);
    let target = serve(move |_| {
        let kind = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited";
        ([("content-type", kind)], family.clone()).into_response()
    })
    .await;
    let (manager, memory) = start(&format!(
        "{JOB}  scrape_native_histograms: true\n  static_configs: [{{targets: ['{target}']}}]\n"
    ))
    .await;
    until("a histogram", || memory.has(|s| !s.histograms.is_empty())).await;
    manager.shutdown().await;
    let all = memory.0.lock().unwrap();
    let series = all.iter().find(|s| !s.histograms.is_empty()).unwrap();
    let (_, h) = &series.histograms[0];
    assert_eq!(series.labels.metric_name(), "h");
    assert_eq!((h.count, h.sum, &h.positive_buckets), (3.0, 4.0, &vec![3.0]));
}

#[tokio::test]
async fn failures_are_told_and_limits_hold() {
    let target = serve(|request| match request.uri().path() {
        "/gone" => hyper::StatusCode::NOT_FOUND.into_response(),
        "/moved" => axum::response::Redirect::temporary("/metrics").into_response(),
        _ => plain("a 1\nb 2\n"),
    })
    .await;
    let job = |name: &str, lines: &str| {
        format!(
            "- {{job_name: {name}, extra_scrape_metrics: true, {lines}, static_configs: [{{targets: ['{target}']}}]}}\n"
        )
    };
    let (manager, memory) = start(&format!(
        "global: {{scrape_interval: 200ms, scrape_timeout: 200ms}}\nscrape_configs:\n{}{}{}{}{}",
        job("gone", "metrics_path: /gone"),
        job("moved", "metrics_path: /moved, follow_redirects: false"),
        job("followed", "metrics_path: /moved"),
        job("large", "body_size_limit: 3B"),
        job("many", "sample_limit: 1"),
    ))
    .await;
    let series = |name: &str, job: &str| format!("{name}{{instance=\"{target}\", job=\"{job}\"}}");
    let up = |job: &str| memory.last(&series("up", job));
    let jobs = ["gone", "moved", "followed", "large", "many"];
    until("all scraped", || jobs.iter().all(|j| up(j).is_some())).await;
    until("statuses", || manager.statuses().iter().all(|s| s.last_scrape.is_some())).await;
    assert_eq!(jobs.map(|j| up(j).unwrap()), [0.0, 0.0, 1.0, 0.0, 0.0]);
    assert_eq!(memory.last(&series("scrape_body_size_bytes", "large")), Some(-1.0));
    assert_eq!(memory.last(&series("scrape_samples_scraped", "many")), Some(2.0));
    let statuses = manager.statuses();
    let error = |job: &str| &statuses.iter().find(|s| s.job == job).unwrap().last_error;
    assert!(error("gone").contains("404"), "{}", error("gone"));
    assert!(error("large").contains("body size limit exceeded"), "{}", error("large"));
    assert!(error("many").contains("sample limit exceeded"), "{}", error("many"));
    manager.shutdown().await;
}

#[tokio::test]
async fn too_many_targets_fail_all_and_dropped_ones_are_remembered() {
    let target = serve(|_| plain("a 1\n")).await;
    let targets = format!(
        "static_configs: [{{targets: ['{target}'], labels: {{n: '1'}}}}, {{targets: ['{target}'], labels: {{n: '2'}}}}, {{targets: ['x:1', 'y:1']}}]"
    );
    let rule = "relabel_configs: [{source_labels: [n], regex: '', action: drop}]";
    let (manager, _memory) = start(&format!(
        "global: {{scrape_interval: 200ms, scrape_timeout: 200ms}}\nscrape_configs:\n- {{job_name: over, target_limit: 1, {targets}, {rule}}}\n- {{job_name: all, target_limit: 2, keep_dropped_targets: 1, {targets}, {rule}}}\n"
    ))
    .await;
    until("all scraped", || {
        let all = manager.statuses();
        all.len() == 4 && all.iter().all(|s| s.last_scrape.is_some())
    })
    .await;
    for status in manager.statuses() {
        let over = status.last_error.contains("number of targets: 2, limit: 1");
        assert_eq!(
            (over, status.health),
            match status.job.as_str() {
                "over" => (true, Health::Down),
                _ => (false, Health::Up),
            }
        );
    }
    let (kept, counts) = manager.dropped();
    assert_eq!((kept.len(), counts["over"], counts["all"]), (3, 2, 2));
    manager.shutdown().await;
}

#[tokio::test]
async fn http_discovery_follows_its_list() {
    let target = serve(|_| plain("a 1\n")).await;
    let list = Arc::new(Mutex::new(format!(
        r#"[{{"targets": ["{target}"], "labels": {{"zone": "z1"}}}}]"#
    )));
    let served = Arc::clone(&list);
    let discovery = serve(move |request| {
        if request.headers().get("authorization").is_none_or(|v| v != "Bearer t") {
            return hyper::StatusCode::UNAUTHORIZED.into_response();
        }
        ([("content-type", "application/json")], served.lock().unwrap().clone()).into_response()
    })
    .await;
    let (manager, memory) = start(&format!(
        "{JOB}  http_sd_configs: [{{url: 'http://{discovery}/sd', refresh_interval: 100ms, bearer_token: t}}]\n  relabel_configs: [{{source_labels: [__meta_url], regex: 'http://[^/]*(.*)', target_label: path}}]\n"
    ))
    .await;
    let found = format!("a{{instance=\"{target}\", job=\"j\", path=\"/sd\", zone=\"z1\"}}");
    until("the first list", || memory.last(&found) == Some(1.0)).await;
    // An answer that cannot be read changes nothing.
    *list.lock().unwrap() = "{".to_owned();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(manager.statuses().len(), 1);
    *list.lock().unwrap() = "[]".to_owned();
    until("the empty list", || manager.statuses().is_empty()).await;
    until("the end", || memory.last(&found).is_some_and(obs_types::is_stale)).await;
    manager.shutdown().await;
}

#[tokio::test]
async fn names_are_resolved_to_addresses() {
    let target = serve(|_| plain("a 1\n")).await;
    let (manager, memory) = start(&format!(
        "{JOB}  dns_sd_configs: [{{names: [localhost], type: A, port: {}}}]\n  relabel_configs: [{{source_labels: [__meta_dns_name], target_label: name}}]\n",
        target.port()
    ))
    .await;
    let found = format!("a{{instance=\"{target}\", job=\"j\", name=\"localhost\"}}");
    until("a scrape", || memory.last(&found).is_some()).await;
    manager.shutdown().await;
}

#[tokio::test]
async fn a_proxy_stands_between() {
    let proxy = serve(|request| {
        // A request to a proxy names the whole address.
        let asked = *request.uri() == "http://nowhere.invalid/metrics";
        if asked { plain("a 1\n") } else { hyper::StatusCode::BAD_GATEWAY.into_response() }
    })
    .await;
    let (manager, memory) = start(&format!(
        "{JOB}  proxy_url: 'http://{proxy}'\n  static_configs: [{{targets: ['nowhere.invalid:80']}}]\n"
    ))
    .await;
    let up = "up{instance=\"nowhere.invalid:80\", job=\"j\"}";
    until("a scrape", || memory.last(up) == Some(1.0)).await;
    manager.shutdown().await;
}

/// A certificate authority in `folder` with a server's and a client's certificate. The server is
/// called `metrics.internal`.
fn authority(folder: &std::path::Path) -> bool {
    let script = "set -e; cd \"$1\"
        for n in ca server client; do
            openssl ecparam -genkey -name prime256v1 -noout | openssl pkcs8 -topk8 -nocrypt -out $n.key
        done
        openssl req -x509 -new -key ca.key -days 2 -subj /CN=ca -out ca.pem \
            -addext basicConstraints=critical,CA:true
        echo subjectAltName=DNS:metrics.internal > server.ext
        echo extendedKeyUsage=clientAuth > client.ext
        for n in server client; do
            openssl req -new -key $n.key -subj /CN=$n -out $n.csr
            openssl x509 -req -in $n.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 \
                -extfile $n.ext -out $n.pem
        done";
    let run = std::process::Command::new("sh").args(["-c", script, "sh"]).arg(folder).output();
    run.is_ok_and(|o| o.status.success())
}

/// Answers every request over TLS, to clients that show a certificate of the authority.
fn serve_tls(folder: &std::path::Path) -> SocketAddr {
    use rustls::pki_types::pem::PemObject as _;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    use std::io::{Read as _, Write as _};

    crate::install_crypto();
    let certificate = |name: &str| CertificateDer::from_pem_file(folder.join(name)).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate("ca.pem")).unwrap();
    let clients = rustls::server::WebPkiClientVerifier::builder(Arc::new(roots)).build().unwrap();
    let key = PrivateKeyDer::from_pem_file(folder.join("server.key")).unwrap();
    let config = rustls::ServerConfig::builder()
        .with_client_cert_verifier(clients)
        .with_single_cert(vec![certificate("server.pem")], key)
        .unwrap();
    let config = Arc::new(config);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for socket in listener.incoming() {
            let config = Arc::clone(&config);
            std::thread::spawn(move || -> std::io::Result<()> {
                let session = rustls::ServerConnection::new(config).unwrap();
                let mut stream = rustls::StreamOwned::new(session, socket?);
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    let mut byte = [0];
                    stream.read_exact(&mut byte)?;
                    request.extend(byte);
                }
                stream.write_all(
                    b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 4\r\n\
                      connection: close\r\n\r\na 1\n",
                )?;
                stream.conn.send_close_notify();
                stream.flush()
            });
        }
    });
    address
}

#[tokio::test]
async fn certificates_are_checked_and_shown() {
    let folder = tempfile::tempdir().unwrap();
    if !authority(folder.path()) {
        println!("skipped: no openssl to make certificates with");
        return;
    }
    let target = serve_tls(folder.path());
    let file = |name: &str| folder.path().join(name).display().to_string();
    let identity = format!("cert_file: {}, key_file: {}", file("client.pem"), file("client.key"));
    let ca = format!("ca_file: {}", file("ca.pem"));
    let job = |name: &str, tls: &str| {
        format!(
            "- {{job_name: {name}, scheme: https, tls_config: {{{tls}}}, static_configs: [{{targets: ['{target}']}}]}}\n"
        )
    };
    let (manager, memory) = start(&format!(
        "global: {{scrape_interval: 500ms, scrape_timeout: 500ms}}\nscrape_configs:\n{}{}{}{}{}",
        job("named", &format!("{ca}, {identity}, server_name: metrics.internal")),
        job("other_name", &format!("{ca}, {identity}, server_name: elsewhere.internal")),
        // The certificate is not for an address.
        job("unnamed", &format!("{ca}, {identity}")),
        job("insecure", &format!("{identity}, insecure_skip_verify: true")),
        job("anonymous", &format!("{ca}, server_name: metrics.internal")),
    ))
    .await;
    let up = |job: &str| memory.last(&format!("up{{instance=\"{target}\", job=\"{job}\"}}"));
    let jobs = ["named", "other_name", "unnamed", "insecure", "anonymous"];
    until("all scraped", || jobs.iter().all(|j| up(j).is_some())).await;
    until("the good ones", || up("named") == Some(1.0) && up("insecure") == Some(1.0)).await;
    assert_eq!(jobs.map(|j| up(j).unwrap()), [1.0, 0.0, 0.0, 1.0, 0.0]);
    manager.shutdown().await;
}

#[tokio::test]
async fn tokens_are_fetched_once_and_shown() {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&asked);
    let tokens = serve(move |request| {
        let header = request.headers().get("authorization").map(|v| v.to_str().unwrap().to_owned());
        kept.lock().unwrap().push((request.method().to_string(), header));
        axum::Json(serde_json::json!({"access_token": "t1", "expires_in": 3600})).into_response()
    })
    .await;
    let target = serve(|request| {
        let shown = request.headers().get("authorization").is_some_and(|v| v == "Bearer t1");
        if shown { plain("a 1\n") } else { hyper::StatusCode::UNAUTHORIZED.into_response() }
    })
    .await;
    let (manager, memory) = start(&format!(
        "{JOB}  oauth2: {{client_id: id, client_secret: s, token_url: 'http://{tokens}/token', scopes: [x]}}\n  static_configs: [{{targets: ['{target}']}}]\n"
    ))
    .await;
    let series = format!("a{{instance=\"{target}\", job=\"j\"}}");
    let scrapes =
        || memory.0.lock().unwrap().iter().filter(|s| s.labels.to_string() == series).count();
    until("two scrapes", || scrapes() >= 2).await;
    manager.shutdown().await;
    // `id:s` as basic credentials.
    let once = [("POST".to_owned(), Some("Basic aWQ6cw==".to_owned()))];
    assert_eq!(*asked.lock().unwrap(), once);
}
