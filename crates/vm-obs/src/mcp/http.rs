//! The same server over streamable HTTP at `/mcp`, for clients that run elsewhere.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use obs_collect::registry::Registry;
use rmcp::transport::{StreamableHttpServerConfig, StreamableHttpService};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::catalog::Catalog;
use super::offer::Tools;
use super::server::Server;
use super::sessions::{STREAM_HELD_MAX, Sessions};
use super::watch::WATCH_INTERVAL;
use crate::cli::Client;

/// Shortest token: what could be guessed is refused at the start.
const TOKEN_CHARS_MIN: usize = 16;
/// A request is a question.
const REQUEST_BYTES_MAX: usize = 1 << 20;

/// Section `mcp:` of the configuration.
#[derive(Clone, Debug, Default)]
pub(crate) struct McpSettings {
    /// Who may ask; empty: everybody who reaches the address, which must then be loopback.
    pub(crate) callers: Vec<Caller>,
    /// Whether the tools that change something are there.
    pub(crate) allow_writes: bool,
    /// Names, beside those of the machine itself, under which clients reach the server.
    pub(crate) hosts: Vec<String>,
}

/// A caller with the hash of the token that it shows.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    name: String,
    token: [u8; 32],
}

/// The actor of a request; in receipts it is a `did:vm:agent:` name.
#[derive(Clone, Debug)]
pub(super) struct Actor(pub(super) String);

impl Caller {
    /// Lines `NAME TOKEN`; empty ones and those that begin with `#` are passed over.
    pub(crate) fn read_all(text: &str) -> anyhow::Result<Vec<Self>> {
        let mut all: Vec<Self> = Vec::new();
        for (i, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let at = i + 1;
            let (name, token) = line
                .split_once(char::is_whitespace)
                .with_context(|| format!("line {at}: expected NAME TOKEN"))?;
            let token = token.trim();
            let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
            ensure!(
                name.chars().all(plain),
                "line {at}: the name {name:?} has other characters than letters, digits, '-', '_' and '.'"
            );
            ensure!(
                token.len() >= TOKEN_CHARS_MIN && token.chars().all(|c| c.is_ascii_graphic()),
                "line {at}: the token of {name} must have at least {TOKEN_CHARS_MIN} visible characters"
            );
            if all.iter().any(|c| c.name == name) {
                bail!("line {at}: {name} is there twice");
            }
            all.push(Self { name: name.to_owned(), token: hash(token) });
        }
        ensure!(!all.is_empty(), "expected at least one line NAME TOKEN");
        Ok(all)
    }
}

fn hash(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

/// The routes below `/mcp`; `own` answers what the tools ask.
pub(crate) fn router(
    settings: &McpSettings,
    address: SocketAddr,
    own: Router,
    registry: &Arc<Registry>,
) -> Router {
    let tools = Tools {
        client: Client::own(own, format!("http://{address}")),
        allow_writes: settings.allow_writes,
        actor: "did:vm:agent:mcp".to_owned(),
        registry: Some(Arc::clone(registry)),
    };
    routes(settings, address, tools, Pace { watch: WATCH_INTERVAL, held: STREAM_HELD_MAX })
}

/// How long things take, apart from what is asked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// How often is looked for what sessions want to hear.
    pub(super) watch: Duration,
    /// How long a request's stream is held.
    pub(super) held: Duration,
}

/// The routes below `/mcp` over any catalog.
pub(super) fn routes<C: Catalog>(
    settings: &McpSettings,
    address: SocketAddr,
    catalog: C,
    pace: Pace,
) -> Router {
    let mut hosts: Vec<String> =
        ["localhost", "127.0.0.1", "[::1]", "::1"].map(str::to_owned).into();
    if !address.ip().is_unspecified() {
        hosts.push(address.ip().to_string());
    }
    hosts.extend(settings.hosts.iter().cloned());
    // A page of another site must not be able to ask in a reader's name.
    let origins = hosts.iter().flat_map(|h| [format!("http://{h}:*"), format!("https://{h}:*")]);
    let config = StreamableHttpServerConfig::default()
        .with_allowed_origins(origins.collect::<Vec<_>>())
        .with_allowed_hosts(hosts)
        .with_max_request_body_bytes(REQUEST_BYTES_MAX);
    let sessions = Arc::new(Sessions::new(pace.held));
    let session = move || Ok(Server::new(catalog.clone(), pace.watch));
    let service = StreamableHttpService::new(session, sessions, config);
    let gate = Gate {
        callers: settings.callers.clone().into(),
        open: settings.callers.is_empty() && address.ip().is_loopback(),
    };
    Router::new().route_service("/mcp", service).layer(from_fn_with_state(gate, admit))
}

#[derive(Clone, Debug)]
struct Gate {
    callers: Arc<[Caller]>,
    /// Nobody is asked for a token.
    open: bool,
}

async fn admit(State(gate): State<Gate>, mut request: Request, next: Next) -> Response {
    if gate.open {
        return next.run(request).await;
    }
    if gate.callers.is_empty() {
        let text = "MCP over HTTP on an address that others reach needs mcp.token_file\n";
        return (StatusCode::FORBIDDEN, text).into_response();
    }
    let shown = request
        .headers()
        .get(header::AUTHORIZATION)
        .and_then(|v| v.to_str().ok())
        .and_then(|v| v.strip_prefix("Bearer "))
        .map(|token| hash(token.trim()));
    // Every caller is compared, so that the time tells nothing.
    let caller = shown.and_then(|shown| {
        gate.callers.iter().fold(None, |found, c| {
            if bool::from(c.token.ct_eq(&shown)) { Some(c.name.clone()) } else { found }
        })
    });
    let Some(name) = caller else {
        let mut refusal =
            (StatusCode::UNAUTHORIZED, "a bearer token of mcp.token_file is needed\n")
                .into_response();
        let challenge = HeaderValue::from_static("Bearer realm=\"vm-obs\"");
        refusal.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        return refusal;
    };
    request.extensions_mut().insert(Actor(format!("did:vm:agent:{name}")));
    next.run(request).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_file_is_read_or_refused_with_its_line() {
        let text = "# who asks\nassistant 0123456789abcdef\n\nsre  fedcba9876543210\n";
        let callers = Caller::read_all(text).unwrap();
        let names: Vec<&str> = callers.iter().map(|c| c.name.as_str()).collect();
        assert_eq!(names, ["assistant", "sre"]);
        for (text, said) in [
            ("", "at least one line"),
            ("assistant", "line 1: expected NAME TOKEN"),
            ("a short", "line 1: the token of a"),
            ("a b 0123456789abcdef", "line 1: the token of a"),
            ("a 0123456789abcdef\na 0123456789abcdef", "line 2: a is there twice"),
            ("a/b 0123456789abcdef", "line 1: the name \"a/b\""),
        ] {
            let e = Caller::read_all(text).unwrap_err().to_string();
            assert!(e.contains(said), "{text:?}: {e}");
        }
        let shown = format!("{callers:?}");
        assert!(!shown.contains("0123456789abcdef"), "{shown}");
    }
}
