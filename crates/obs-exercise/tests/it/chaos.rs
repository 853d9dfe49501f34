//! The proxy's toxics, each on a connection of its own, driven through its HTTP API.

use std::sync::Arc;
use std::time::{Duration, Instant};

use obs_exercise::chaos::proxy::{Proxies, router};
use obs_exercise::exchange::{AllowedHosts, Request, TlsForm, client_config, exchange};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Sends back what it gets.
async fn echo() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut read, mut write) = socket.split();
                let _ended = tokio::io::copy(&mut read, &mut write).await;
            });
        }
    });
    address
}

struct Api {
    base: String,
}

impl Api {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let proxies = Arc::new(Proxies::new(AllowedHosts::default()));
        tokio::spawn(async move { axum::serve(listener, router(proxies)).await });
        Self { base }
    }

    async fn ask(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let request = Request {
            method: method.parse().unwrap(),
            uri: format!("{}{path}", self.base).parse().unwrap(),
            headers: hyper::HeaderMap::new(),
            body: body.to_string().into(),
        };
        let tls = client_config(&TlsForm::default(), &[]).unwrap();
        let allowed = AllowedHosts::default();
        let reply =
            exchange(&request, &tls, &allowed, Duration::from_secs(5), 1 << 20).await.unwrap();
        (reply.status.as_u16(), serde_json::from_slice(&reply.body).unwrap_or(Value::Null))
    }

    /// A proxy `p` before an echo server; its address.
    async fn proxy(&self) -> String {
        let body = json!({"name": "p", "listen": "127.0.0.1:0", "upstream": echo().await});
        let (status, made) = self.ask("POST", "/proxies", &body).await;
        assert_eq!(status, 201, "{made}");
        made["listen"].as_str().unwrap().to_owned()
    }

    async fn toxic(&self, toxic: Value) {
        let (status, made) = self.ask("POST", "/proxies/p/toxics", &toxic).await;
        assert_eq!(status, 200, "{made}");
    }
}

/// Sends `bytes` and reads so many back; how many came, and how long it took.
async fn round(address: &str, bytes: &[u8]) -> (usize, Duration) {
    let began = Instant::now();
    let Ok(mut socket) = TcpStream::connect(address).await else { return (0, began.elapsed()) };
    if socket.write_all(bytes).await.is_err() {
        return (0, began.elapsed());
    }
    let mut back = Vec::new();
    while back.len() < bytes.len() {
        match tokio::time::timeout(Duration::from_secs(3), socket.read_buf(&mut back)).await {
            Ok(Ok(n)) if n > 0 => {}
            _ => break,
        }
    }
    assert_eq!(back[..], bytes[..back.len()]);
    (back.len(), began.elapsed())
}

#[tokio::test]
async fn toxics_do_what_they_are_named_for() {
    let ms = Duration::from_millis;
    let small = [7u8; 10];
    for (toxic, bytes, came, least, most) in [
        (json!({"type": "latency", "attributes": {"latency": 300}}), 10, 10, 300, 1_500),
        (
            json!({"type": "latency", "attributes": {"latency": 200, "jitter": 100}}),
            10,
            10,
            100,
            1_500,
        ),
        (json!({"type": "bandwidth", "attributes": {"rate": 100}}), 40_000, 40_000, 350, 2_500),
        (
            json!({"type": "slicer", "attributes": {"average_size": 100, "delay": 20_000}}),
            1_000,
            1_000,
            180,
            2_500,
        ),
        (json!({"type": "limit_data", "attributes": {"bytes": 4}}), 10, 4, 0, 1_500),
        (json!({"type": "timeout", "attributes": {"timeout": 300}}), 10, 0, 280, 1_500),
        (
            json!({"type": "reset_peer", "attributes": {"timeout": 200}, "stream": "upstream"}),
            300_000,
            300_000,
            0,
            1_500,
        ),
        (
            json!({"type": "latency", "toxicity": 0.0, "attributes": {"latency": 2_000}}),
            10,
            10,
            0,
            1_500,
        ),
    ] {
        let api = Api::start().await;
        let address = api.proxy().await;
        assert_eq!(round(&address, &small).await.0, 10, "before {toxic}");
        api.toxic(toxic.clone()).await;
        let (seen, took) = round(&address, &vec![7; bytes]).await;
        let fits = if toxic["type"] == "reset_peer" { seen <= came } else { seen == came };
        assert!(fits, "{toxic}: {seen} bytes of {bytes}");
        assert!(took >= ms(least) && took < ms(most), "{toxic}: {took:?}");
        let (status, _) = api.ask("POST", "/reset", &json!({})).await;
        assert_eq!(status, 204);
        let (seen, took) = round(&address, &small).await;
        assert!(seen == 10 && took < ms(1_000), "after {toxic}: {seen} {took:?}");
    }
}

#[tokio::test]
async fn a_reset_and_a_slow_close_are_felt_by_the_client() {
    let api = Api::start().await;
    let address = api.proxy().await;
    api.toxic(json!({"type": "reset_peer", "attributes": {"timeout": 100}})).await;
    let mut socket = TcpStream::connect(&address).await.unwrap();
    let mut back = [0; 1];
    let e = tokio::time::timeout(Duration::from_secs(3), socket.read(&mut back)).await.unwrap();
    assert_eq!(e.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
    api.ask("POST", "/reset", &json!({})).await;

    api.toxic(json!({"type": "slow_close", "attributes": {"delay": 400}})).await;
    let mut socket = TcpStream::connect(&address).await.unwrap();
    socket.write_all(b"x").await.unwrap();
    socket.read_exact(&mut back).await.unwrap();
    let began = Instant::now();
    socket.shutdown().await.unwrap();
    assert_eq!(socket.read(&mut back).await.unwrap(), 0);
    assert!(began.elapsed() >= Duration::from_millis(380), "{:?}", began.elapsed());
}

#[tokio::test]
async fn the_api_and_a_proxy_that_is_down() {
    let api = Api::start().await;
    let address = api.proxy().await;
    let mut open = TcpStream::connect(&address).await.unwrap();
    let (status, shown) = api.ask("POST", "/proxies/p", &json!({"enabled": false})).await;
    assert_eq!((status, &shown["enabled"]), (200, &json!(false)));
    let mut back = [0; 1];
    let ended = tokio::time::timeout(Duration::from_secs(3), open.read(&mut back)).await.unwrap();
    assert!(matches!(ended, Ok(0) | Err(_)));
    assert_eq!(round(&address, b"x").await.0, 0);
    api.ask("POST", "/proxies/p", &json!({"enabled": true})).await;
    assert_eq!(round(&address, b"x").await.0, 1);

    api.toxic(json!({"name": "slow", "type": "latency", "attributes": {"latency": 5}})).await;
    let (_, toxic) =
        api.ask("POST", "/proxies/p/toxics/slow", &json!({"attributes": {"jitter": 2}})).await;
    assert_eq!(toxic["attributes"], json!({"latency": 5, "jitter": 2}));
    let (_, all) = api.ask("GET", "/proxies", &json!({})).await;
    assert_eq!(all["p"]["toxics"][0]["name"], "slow");
    for (method, path, body, status) in [
        ("GET", "/version", json!({}), 200),
        ("GET", "/proxies/q", json!({}), 404),
        ("POST", "/proxies", json!({"name": "p", "upstream": "127.0.0.1:1"}), 409),
        ("POST", "/proxies", json!({"name": "q", "upstream": "192.0.2.1:1"}), 403),
        ("POST", "/proxies/p/toxics", json!({"type": "magic"}), 400),
        ("POST", "/proxies/p/toxics", json!({"type": "latency", "stream": "sideways"}), 400),
        ("POST", "/proxies/p/toxics", json!({"type": "latency", "toxicity": 2}), 400),
        ("DELETE", "/proxies/p/toxics/slow", json!({}), 204),
        ("DELETE", "/proxies/p/toxics/slow", json!({}), 404),
        ("DELETE", "/proxies/p", json!({}), 204),
    ] {
        let (seen, answer) = api.ask(method, path, &body).await;
        assert_eq!(seen, status, "{method} {path} {body}: {answer}");
    }
}
