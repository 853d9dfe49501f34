//! HTTP/1.1 over loopback, blocking, with the connection kept open.
//!
//! Only what the tests need: no TLS, no redirects, no proxies; a reply is bounded in size and time.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

/// The largest reply that is read.
const REPLY_BYTES_MAX: usize = 512 << 20;

/// Why there is no reply.
#[derive(Debug)]
pub struct HttpError(pub String);

impl fmt::Display for HttpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for HttpError {}

impl From<io::Error> for HttpError {
    fn from(e: io::Error) -> Self {
        Self(e.to_string())
    }
}

/// Status, headers (names in lower case) and body.
#[derive(Clone, Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Reply {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON; `Null` if it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }
}

/// A client of one server.
#[derive(Debug)]
pub struct Client {
    address: String,
    timeout: Duration,
    connection: Option<BufReader<TcpStream>>,
}

impl Client {
    /// `address` is `HOST:PORT`; nothing is connected yet.
    pub fn new(address: impl Into<String>) -> Self {
        Self { address: address.into(), timeout: Duration::from_secs(60), connection: None }
    }

    /// How long a read or write may take.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    pub fn get(&mut self, path: &str) -> Result<Reply, HttpError> {
        self.send("GET", path, &[], &[])
    }

    /// GET with parameters, which are escaped here.
    pub fn query(&mut self, path: &str, parameters: &[(&str, &str)]) -> Result<Reply, HttpError> {
        let text: Vec<String> =
            parameters.iter().map(|(k, v)| format!("{}={}", escape(k), escape(v))).collect();
        self.send("GET", &format!("{path}?{}", text.join("&")), &[], &[])
    }

    pub fn post(&mut self, path: &str, media_type: &str, body: &[u8]) -> Result<Reply, HttpError> {
        self.send("POST", path, &[("content-type", media_type)], body)
    }

    pub fn post_json(&mut self, path: &str, body: &Value) -> Result<Reply, HttpError> {
        self.post(path, "application/json", body.to_string().as_bytes())
    }

    /// A remote-write body with the headers of the protocol.
    pub fn remote_write(&mut self, path: &str, body: &[u8]) -> Result<Reply, HttpError> {
        let headers = [
            ("content-type", "application/x-protobuf"),
            ("content-encoding", "snappy"),
            ("x-prometheus-remote-write-version", "0.1.0"),
        ];
        self.send("POST", path, &headers, body)
    }

    /// Any request. A kept connection that the server has closed is opened again once.
    pub fn send(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Reply, HttpError> {
        if let Some(connection) = self.connection.take()
            && let Ok(reply) = self.exchange(connection, method, path, headers, body)
        {
            return Ok(reply);
        }
        let stream = TcpStream::connect(&self.address)
            .map_err(|e| HttpError(format!("{}: {e}", self.address)))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(self.timeout))?;
        stream.set_write_timeout(Some(self.timeout))?;
        self.exchange(BufReader::new(stream), method, path, headers, body)
            .map_err(|e| HttpError(format!("{method} http://{}{path}: {e}", self.address)))
    }

    fn exchange(
        &mut self,
        mut connection: BufReader<TcpStream>,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Reply, HttpError> {
        let mut head = format!("{method} {path} HTTP/1.1\r\nhost: {}\r\n", self.address);
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if method != "GET" || !body.is_empty() {
            head.push_str(&format!("content-length: {}\r\n", body.len()));
        }
        head.push_str("\r\n");
        let mut request = head.into_bytes();
        request.extend_from_slice(body);
        let sent = connection.get_mut().write_all(&request);
        // A server may refuse a body before it has read it all: the reply counts then.
        let (reply, keep) = match read_reply(&mut connection) {
            Ok(reply) => reply,
            Err(e) => {
                sent?;
                return Err(e);
            }
        };
        if keep && sent.is_ok() {
            self.connection = Some(connection);
        }
        Ok(reply)
    }
}

fn read_reply(from: &mut BufReader<TcpStream>) -> Result<(Reply, bool), HttpError> {
    let status_line = line(from)?;
    let status = status_line
        .split(' ')
        .nth(1)
        .and_then(|s| s.parse().ok())
        .ok_or_else(|| HttpError(format!("not a status line: {status_line:?}")))?;
    let mut reply = Reply { status, headers: Vec::new(), body: Vec::new() };
    loop {
        let text = line(from)?;
        if text.is_empty() {
            break;
        }
        if let Some((name, value)) = text.split_once(':') {
            reply.headers.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
        }
    }
    if status == 100 {
        return read_reply(from);
    }
    let mut keep = reply.header("connection").is_none_or(|c| !c.eq_ignore_ascii_case("close"));
    if reply.header("transfer-encoding").is_some_and(|t| t.eq_ignore_ascii_case("chunked")) {
        loop {
            let size = line(from)?;
            let size = size.split(';').next().unwrap_or_default().trim();
            let size = usize::from_str_radix(size, 16)
                .map_err(|e| HttpError(format!("chunk size {size:?}: {e}")))?;
            read_exact(from, size, &mut reply.body)?;
            line(from)?;
            if size == 0 {
                break;
            }
        }
    } else if let Some(length) = reply.header("content-length") {
        let length = length.parse().map_err(|e| HttpError(format!("content-length: {e}")))?;
        read_exact(from, length, &mut reply.body)?;
    } else if status != 204 && status != 304 {
        keep = false;
        from.by_ref().take(REPLY_BYTES_MAX as u64).read_to_end(&mut reply.body)?;
    }
    Ok((reply, keep))
}

fn line(from: &mut impl BufRead) -> Result<String, HttpError> {
    let mut bytes = Vec::new();
    let count = from.by_ref().take(64 << 10).read_until(b'\n', &mut bytes)?;
    if count == 0 {
        return Err(HttpError("the server closed the connection".to_owned()));
    }
    Ok(String::from_utf8_lossy(&bytes).trim_end().to_owned())
}

fn read_exact(from: &mut impl Read, count: usize, into: &mut Vec<u8>) -> Result<(), HttpError> {
    if into.len().saturating_add(count) > REPLY_BYTES_MAX {
        return Err(HttpError(format!("the reply is above {REPLY_BYTES_MAX} bytes")));
    }
    let before = into.len();
    let got = from.by_ref().take(count as u64).read_to_end(into)?;
    if got == count {
        Ok(())
    } else {
        Err(HttpError(format!("the reply ends after {} bytes", before + got)))
    }
}

/// Percent-encoding of everything but RFC 3986's unreserved characters.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    fn serve_once(answer: &'static str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut buffer = [0; 4096];
            let _read = stream.read(&mut buffer).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
        });
        address
    }

    #[test]
    fn a_chunked_reply_is_put_together() {
        let address = serve_once(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n",
        );
        let reply = Client::new(address).get("/").unwrap();
        assert_eq!((reply.status, reply.text().as_str()), (200, "hello world"));
    }

    #[test]
    fn a_reply_cut_short_is_an_error() {
        let address = serve_once("HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello");
        let error = Client::new(address).get("/").unwrap_err();
        assert!(error.0.contains("ends after 5 bytes"), "{error}");
    }

    #[test]
    fn parameters_are_escaped() {
        assert_eq!(escape("a b{c=\"é\"}"), "a%20b%7Bc%3D%22%C3%A9%22%7D");
    }
}
