//! Name, TCP and TLS, each timed.

use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::allow::{AllowedHosts, Refused};

/// How long the parts of one exchange took; zero where a part did not happen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Phases {
    pub resolve: Duration,
    pub connect: Duration,
    pub tls: Duration,
    /// From the request's first byte to the answer's head.
    pub processing: Duration,
    /// From the answer's head to its last byte.
    pub transfer: Duration,
}

/// Whom to connect to.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Without brackets.
    pub host: String,
    pub port: u16,
    /// TLS with this configuration.
    pub tls: Option<Arc<rustls::ClientConfig>>,
    /// Name for SNI and verification, `host` by default.
    pub server_name: Option<String>,
}

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    #[error("cannot resolve {host:?}: {reason}")]
    Resolve { host: String, reason: String },
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error("cannot connect to {address}: {source}")]
    Connect { address: SocketAddr, source: std::io::Error },
    #[error("TLS with {host:?} failed: {reason}")]
    Tls { host: String, reason: String },
}

/// A plain or encrypted connection.
#[derive(Debug)]
pub enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// What a connection took.
#[derive(Debug)]
pub struct Connected {
    pub stream: Stream,
    pub phases: Phases,
    pub address: SocketAddr,
}

/// Addresses of a name, IPv4 first where both exist; a literal address is itself.
pub async fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>, ConnectError> {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, port)]);
    }
    let failed = |reason: String| ConnectError::Resolve { host: host.to_owned(), reason };
    let found = tokio::net::lookup_host((host, port)).await.map_err(|e| failed(e.to_string()))?;
    let mut all: Vec<SocketAddr> = found.collect();
    all.sort_by_key(SocketAddr::is_ipv6);
    if all.is_empty() {
        return Err(failed("no address".to_owned()));
    }
    Ok(all)
}

/// Resolves, connects and, where asked for, encrypts.
pub async fn connect(plan: &Plan, allowed: &AllowedHosts) -> Result<Connected, ConnectError> {
    let mut phases = Phases::default();
    let began = Instant::now();
    let addresses = resolve(&plan.host, plan.port).await?;
    phases.resolve = began.elapsed();
    let Some(address) = addresses.first().copied() else {
        return Err(ConnectError::Resolve { host: plan.host.clone(), reason: "no address".into() });
    };
    allowed.check_address(&plan.host, address.ip())?;
    let began = Instant::now();
    let tcp = TcpStream::connect(address)
        .await
        .map_err(|source| ConnectError::Connect { address, source })?;
    phases.connect = began.elapsed();
    // A request is one write; waiting to fill a packet would be measured as the server's time.
    let _best_effort = tcp.set_nodelay(true);
    let Some(config) = &plan.tls else {
        return Ok(Connected { stream: Stream::Plain(tcp), phases, address });
    };
    let began = Instant::now();
    let stream = encrypt(tcp, plan.server_name.as_deref().unwrap_or(&plan.host), config).await?;
    phases.tls = began.elapsed();
    Ok(Connected { stream: Stream::Tls(Box::new(stream)), phases, address })
}

/// TLS over a connection that is there already.
pub(crate) async fn encrypt(
    tcp: TcpStream,
    name: &str,
    config: &Arc<rustls::ClientConfig>,
) -> Result<TlsStream<TcpStream>, ConnectError> {
    let failed = |reason: String| ConnectError::Tls { host: name.to_owned(), reason };
    let server = ServerName::try_from(name.to_owned()).map_err(|e| failed(e.to_string()))?;
    TlsConnector::from(Arc::clone(config))
        .connect(server, tcp)
        .await
        .map_err(|e| failed(e.to_string()))
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Plain(s) => Pin::new(s).poll_read(cx, buf),
            Self::Tls(s) => Pin::new(s.as_mut()).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(s) => Pin::new(s).poll_write(cx, bytes),
            Self::Tls(s) => Pin::new(s.as_mut()).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Plain(s) => Pin::new(s).poll_flush(cx),
            Self::Tls(s) => Pin::new(s.as_mut()).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Plain(s) => Pin::new(s).poll_shutdown(cx),
            Self::Tls(s) => Pin::new(s.as_mut()).poll_shutdown(cx),
        }
    }
}
