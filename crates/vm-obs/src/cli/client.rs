//! Asks the HTTP routes: of a server, or of the same routes over a data folder in this process.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use axum::Router;
use axum::body::{Body, to_bytes};
use reqwest::Method;
use serde_json::Value;
// The trait by which a router is asked in the process.
use tower_service::Service as _;

use super::args::{ServerArgs, SourceArgs};
use super::offline;

/// The address of a server that was started without flags.
pub(crate) const DEFAULT_URL: &str = "http://127.0.0.1:9470";
/// The server ends a query after two minutes by itself.
const TIMEOUT: Duration = Duration::from_secs(150);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Most bytes of one answer.
const ANSWER_BYTES_MAX: usize = 1 << 30;

/// Parameters of a request, in the order in which they are sent.
pub(crate) type Parameters = Vec<(&'static str, String)>;

/// What came back: the body as it was, and read as JSON.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) text: String,
    pub(crate) json: Value,
}

/// Whoever answers the routes.
#[derive(Clone, Debug)]
pub(crate) enum Client {
    Server {
        http: reqwest::Client,
        base: String,
    },
    /// `base` is the address in links, where readers of the answers can reach one.
    InProcess {
        router: Router,
        shown: String,
        base: Option<String>,
    },
}

/// The address that the arguments or `VMOBS_URL` name.
pub(crate) fn base_url(given: Option<&str>) -> String {
    let named = given.map(str::to_owned).or_else(|| std::env::var("VMOBS_URL").ok());
    let url = named.filter(|u| !u.trim().is_empty()).unwrap_or_else(|| DEFAULT_URL.to_owned());
    let url = url.trim().trim_end_matches('/').to_owned();
    if url.contains("://") { url } else { format!("http://{url}") }
}

impl Client {
    pub(crate) fn server(args: &ServerArgs) -> anyhow::Result<Self> {
        Self::at(base_url(args.url.as_deref()))
    }

    pub(crate) fn at(base: String) -> anyhow::Result<Self> {
        obs_collect::install_crypto();
        let http = reqwest::Client::builder()
            .timeout(TIMEOUT)
            .connect_timeout(CONNECT_TIMEOUT)
            .user_agent(concat!("vm-obs/", env!("CARGO_PKG_VERSION")))
            .build()
            .context("cannot set up the HTTP client")?;
        Ok(Self::Server { http, base })
    }

    /// Over the engines in `dir`, opened for reading.
    pub(crate) fn folder(dir: &Path) -> anyhow::Result<Self> {
        let router = offline::router(dir)?;
        Ok(Self::InProcess { router, shown: dir.display().to_string(), base: None })
    }

    /// Over the routes of the server that runs in this process and is reached at `base`.
    pub(crate) fn own(router: Router, base: String) -> Self {
        Self::InProcess { router, shown: base.clone(), base: Some(base) }
    }

    pub(crate) fn source(args: &SourceArgs) -> anyhow::Result<Self> {
        match &args.data {
            Some(dir) => Self::folder(dir),
            None => Self::server(&args.server),
        }
    }

    /// Address of the server, for links; `None` over a folder.
    pub(crate) fn base(&self) -> Option<&str> {
        match self {
            Self::Server { base, .. } => Some(base),
            Self::InProcess { base, .. } => base.as_deref(),
        }
    }

    pub(crate) async fn get(&self, path: &str, parameters: &Parameters) -> anyhow::Result<Answer> {
        let text = self.text(path, parameters).await?;
        let json = serde_json::from_str(&text)
            .with_context(|| format!("{path} did not answer with JSON; is {self} vm-obs?"))?;
        Ok(Answer { text, json })
    }

    /// The body as text.
    pub(crate) async fn text(&self, path: &str, parameters: &Parameters) -> anyhow::Result<String> {
        self.send(Method::GET, path, parameters, None).await
    }

    /// Writes the body of an answer as it comes; false if there is no such thing (404).
    pub(crate) async fn download(
        &self,
        path: &str,
        parameters: &Parameters,
        to: &mut impl std::io::Write,
    ) -> anyhow::Result<bool> {
        let Self::Server { http, base } = self else { bail!("{path} is of a server only") };
        let request = http.get(format!("{base}{path}")).query(parameters);
        let mut response = request.send().await.map_err(|e| unreachable(base, &e))?;
        match response.status().as_u16() {
            404 => return Ok(false),
            200 => {}
            status => bail!(refusal(status, &response.text().await.unwrap_or_default())),
        }
        while let Some(chunk) = response.chunk().await.context("the answer broke off")? {
            to.write_all(&chunk)?;
        }
        Ok(true)
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Answer> {
        self.post_text(path, body.to_string()).await
    }

    /// As [`Client::post`], with JSON as it is written, so that an answer can name its lines.
    pub(crate) async fn post_text(&self, path: &str, body: String) -> anyhow::Result<Answer> {
        let text = self.send(Method::POST, path, &Vec::new(), Some(body)).await?;
        let json = serde_json::from_str(&text)
            .with_context(|| format!("{path} did not answer with JSON"))?;
        Ok(Answer { text, json })
    }

    /// A body of Prometheus' text format.
    pub(crate) async fn push_text(&self, path: &str, body: &str) -> anyhow::Result<()> {
        let Self::Server { http, base } = self else { bail!("{self} is read only") };
        let request = http.post(format!("{base}{path}")).header("content-type", "text/plain");
        let response =
            request.body(body.to_owned()).send().await.map_err(|e| unreachable(base, &e))?;
        let (ok, status) = (response.status().is_success(), response.status().as_u16());
        let text = response.text().await.context("the answer broke off")?;
        if ok { Ok(()) } else { bail!(refusal(status, &text)) }
    }

    /// An empty object is no body.
    pub(crate) async fn delete(&self, path: &str, body: &Value) -> anyhow::Result<Answer> {
        let said = body.as_object().filter(|o| !o.is_empty()).map(|_| body.to_string());
        let text = self.send(Method::DELETE, path, &Vec::new(), said).await?;
        let json = serde_json::from_str(&text).unwrap_or(Value::Null);
        Ok(Answer { text, json })
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        parameters: &Parameters,
        body: Option<String>,
    ) -> anyhow::Result<String> {
        let bytes = self.send_for_bytes(method, path, parameters, body).await?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The body as it came, such as a picture.
    pub(crate) async fn bytes(
        &self,
        path: &str,
        parameters: &Parameters,
    ) -> anyhow::Result<Vec<u8>> {
        self.send_for_bytes(Method::GET, path, parameters, None).await
    }

    async fn send_for_bytes(
        &self,
        method: Method,
        path: &str,
        parameters: &Parameters,
        body: Option<String>,
    ) -> anyhow::Result<Vec<u8>> {
        let (ok, status, bytes) = match self {
            Self::Server { http, base } => {
                let mut request = http.request(method, format!("{base}{path}")).query(parameters);
                if let Some(body) = body {
                    request = request.header("content-type", "application/json").body(body);
                }
                let response = request.send().await.map_err(|e| unreachable(base, &e))?;
                let status = response.status();
                let bytes = response.bytes().await.context("the answer broke off")?;
                (status.is_success(), status.as_u16(), bytes.to_vec())
            }
            Self::InProcess { router, .. } => {
                let query: Vec<String> =
                    parameters.iter().map(|(n, v)| format!("{n}={}", encoded(v))).collect();
                let request = axum::http::Request::builder()
                    .method(method.as_str())
                    .uri(format!("{path}?{}", query.join("&")))
                    .header(axum::http::header::CONTENT_TYPE, "application/json")
                    .body(body.map_or_else(Body::empty, Body::from))?;
                let response = router.clone().call(request).await?;
                let status = response.status();
                let bytes = to_bytes(response.into_body(), ANSWER_BYTES_MAX).await?;
                (status.is_success(), status.as_u16(), bytes.to_vec())
            }
        };
        if ok { Ok(bytes) } else { bail!(refusal(status, &String::from_utf8_lossy(&bytes))) }
    }
}

impl std::fmt::Display for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Server { base, .. } => f.write_str(base),
            Self::InProcess { shown, .. } => f.write_str(shown),
        }
    }
}

fn unreachable(base: &str, e: &reqwest::Error) -> anyhow::Error {
    if e.is_connect() {
        return anyhow!(
            "no server answers at {base}\n\
             start one with `vm-obs serve`, name another with --url or VMOBS_URL, or read a data \
             folder with --data DIR where the verb takes it"
        );
    }
    if e.is_timeout() {
        return anyhow!("{base} gave no answer within {} s", TIMEOUT.as_secs());
    }
    if e.is_builder() {
        return anyhow!("{base:?} is not an address such as {DEFAULT_URL}");
    }
    let mut reason = e.to_string();
    let mut source = std::error::Error::source(e);
    while let Some(inner) = source {
        reason = format!("{reason}: {inner}");
        source = inner.source();
    }
    anyhow!("{base}: {reason}")
}

/// What an error answer says, in the envelopes of vm-obs' own routes and of Prometheus'.
fn refusal(status: u16, body: &str) -> String {
    let json: Value = serde_json::from_str(body).unwrap_or(Value::Null);
    let own = json.pointer("/error/message").and_then(Value::as_str);
    let prometheus = json.get("error").and_then(Value::as_str);
    match own.or(prometheus) {
        Some(message) => message.to_owned(),
        None => {
            let start: String = body.trim().chars().take(200).collect();
            format!("the server answered {status}: {start}")
        }
    }
}

/// A text as one segment of a path or one value of a query.
pub(crate) fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for b in text.bytes() {
        match b {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                out.push(char::from(b));
            }
            _ => out.push_str(&format!("%{b:02X}")),
        }
    }
    out
}

/// Puts a parameter into the list if it was given.
pub(crate) fn put(parameters: &mut Parameters, name: &'static str, value: Option<&str>) {
    if let Some(value) = value {
        parameters.push((name, value.to_owned()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        assert_eq!(base_url(Some("localhost:9470/")), "http://localhost:9470");
        assert_eq!(base_url(Some("https://obs.example")), "https://obs.example");
    }

    #[test]
    fn what_an_error_says() {
        let own = r#"{"error":{"kind":"not_found","message":"there is no alert \"x\""}}"#;
        assert_eq!(refusal(404, own), "there is no alert \"x\"");
        let prometheus = r#"{"status":"error","errorType":"bad_data","error":"parse error"}"#;
        assert_eq!(refusal(400, prometheus), "parse error");
        assert_eq!(refusal(502, "<html>"), "the server answered 502: <html>");
    }

    #[test]
    fn path_segments() {
        assert_eq!(encoded("slo:a b/ü"), "slo%3Aa%20b%2F%C3%BC");
    }

    #[tokio::test]
    async fn nobody_there_says_what_to_do() {
        // A port that was free a moment ago.
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let client = Client::at(format!("http://{address}")).unwrap();
        let e = client.get("/obs/health", &Vec::new()).await.unwrap_err().to_string();
        assert!(e.contains(&address.to_string()) && e.contains("vm-obs serve"), "{e}");
    }
}
