//! A receiver of notifications that keeps what it is sent.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;

/// The largest notification that is read.
const BODY_BYTES_MAX: u64 = 4 << 20;

/// Listens on loopback, answers 200, and keeps every JSON body with its path.
#[derive(Debug)]
pub struct WebhookSink {
    address: String,
    received: Arc<Mutex<Vec<(String, Value)>>>,
}

impl WebhookSink {
    pub fn start() -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?.to_string();
        let received = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&received);
        // Ends with the process: a test has no use for a sink that stops listening earlier.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let kept = Arc::clone(&kept);
                std::thread::spawn(move || serve(stream, &kept));
            }
        });
        Ok(Self { address, received })
    }

    /// `http://127.0.0.1:PORT` and the path.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// What came so far: path and body, in order.
    pub fn received(&self) -> Vec<(String, Value)> {
        self.received.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn serve(stream: TcpStream, kept: &Mutex<Vec<(String, Value)>>) {
    let mut reader = BufReader::new(stream);
    while let Some((path, body)) = request(&mut reader) {
        let value = serde_json::from_slice(&body).unwrap_or_default();
        kept.lock().unwrap_or_else(PoisonError::into_inner).push((path, value));
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
        if reader.get_mut().write_all(answer).is_err() {
            return;
        }
    }
}

fn request(reader: &mut BufReader<TcpStream>) -> Option<(String, Vec<u8>)> {
    let mut first = String::new();
    reader.read_line(&mut first).ok().filter(|count| *count > 0)?;
    let path = first.split(' ').nth(1)?.to_owned();
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|count| *count > 0)?;
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().ok()?;
        }
    }
    let mut body = Vec::new();
    reader.by_ref().take(std::cmp::min(length, BODY_BYTES_MAX)).read_to_end(&mut body).ok()?;
    Some((path, body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_posted_is_kept() {
        let sink = WebhookSink::start().unwrap();
        let address = sink.url("").replace("http://", "");
        let mut client = crate::Client::new(address);
        for n in 0..2 {
            let reply = client.post_json("/hook", &serde_json::json!({"n": n})).unwrap();
            assert_eq!(reply.status, 200);
        }
        let received = sink.received();
        assert_eq!(received.len(), 2);
        assert_eq!(received[1], ("/hook".to_owned(), serde_json::json!({"n": 1})));
    }
}
