//! A TCP proxy whose connections can be made slow, narrow, cut or dead, driven by Toxiproxy's API.
//!
//! Source: Toxiproxy 2 documentation (toxics and HTTP API).

mod api;
mod link;
mod toxic;

pub use api::router;
pub use toxic::{Toxic, ToxicForm};

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::exchange::AllowedHosts;

/// Why a request to the proxies was refused; the status is HTTP's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ProxyError {
    pub status: u16,
    pub message: String,
}

impl ProxyError {
    fn new(status: u16, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }

    fn no_proxy(name: &str) -> Self {
        Self::new(404, format!("proxy {name:?} not found"))
    }
}

/// All proxies of one server.
#[derive(Debug)]
pub struct Proxies {
    allowed: AllowedHosts,
    all: Mutex<BTreeMap<String, Arc<Proxy>>>,
}

/// One way from a port here to an upstream.
#[derive(Debug)]
pub struct Proxy {
    name: String,
    upstream: String,
    listen: SocketAddr,
    toxics: Arc<Mutex<Vec<Toxic>>>,
    /// Raised when toxics change or the proxy goes down; connections follow.
    changes: watch::Sender<State>,
    accepting: Mutex<Option<tokio::task::JoinHandle<()>>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct State {
    enabled: bool,
    version: u64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Proxies {
    /// Upstreams other than loopback must be in `allowed`.
    pub fn new(allowed: AllowedHosts) -> Self {
        Self { allowed, all: Mutex::new(BTreeMap::new()) }
    }

    pub fn get(&self, name: &str) -> Result<Arc<Proxy>, ProxyError> {
        lock(&self.all).get(name).cloned().ok_or_else(|| ProxyError::no_proxy(name))
    }

    fn list(&self) -> Vec<Arc<Proxy>> {
        lock(&self.all).values().cloned().collect()
    }

    /// Makes a proxy; a port of 0 in `listen` picks a free one.
    pub async fn create(
        &self,
        name: &str,
        listen: &str,
        upstream: &str,
        enabled: bool,
    ) -> Result<Arc<Proxy>, ProxyError> {
        if name.is_empty() || upstream.is_empty() {
            return Err(ProxyError::new(400, "missing required field: name and upstream"));
        }
        let host = upstream.rsplit_once(':').map_or(upstream, |(host, _)| host);
        self.allowed.check(host).map_err(|e| ProxyError::new(403, e.to_string()))?;
        if lock(&self.all).contains_key(name) {
            return Err(ProxyError::new(409, "proxy already exists"));
        }
        let listen = if listen.is_empty() { "127.0.0.1:0" } else { listen };
        let listen = listen.replace("localhost", "127.0.0.1");
        let address: SocketAddr = listen
            .parse()
            .map_err(|_e| ProxyError::new(400, format!("listen {listen:?} is not ADDRESS:PORT")))?;
        if !address.ip().is_loopback() {
            self.allowed
                .check(&address.ip().to_string())
                .map_err(|e| ProxyError::new(403, e.to_string()))?;
        }
        let listener = bind(address).await?;
        let listen = listener.local_addr().map_err(|e| ProxyError::new(500, e.to_string()))?;
        let proxy = Arc::new(Proxy {
            name: name.to_owned(),
            upstream: upstream.to_owned(),
            listen,
            toxics: Arc::default(),
            changes: watch::channel(State { enabled, version: 0 }).0,
            accepting: Mutex::new(None),
        });
        if enabled {
            proxy.accept(listener);
        }
        lock(&self.all).insert(name.to_owned(), Arc::clone(&proxy));
        Ok(proxy)
    }

    pub fn delete(&self, name: &str) -> Result<(), ProxyError> {
        let proxy = lock(&self.all).remove(name).ok_or_else(|| ProxyError::no_proxy(name))?;
        proxy.down();
        Ok(())
    }

    /// Takes every toxic away and every proxy up.
    pub async fn reset(&self) -> Result<(), ProxyError> {
        for proxy in self.list() {
            lock(&proxy.toxics).clear();
            proxy.changed();
            proxy.enable(true).await?;
        }
        Ok(())
    }
}

async fn bind(address: SocketAddr) -> Result<TcpListener, ProxyError> {
    TcpListener::bind(address)
        .await
        .map_err(|e| ProxyError::new(500, format!("cannot listen on {address}: {e}")))
}

impl Proxy {
    pub fn listen(&self) -> SocketAddr {
        self.listen
    }

    fn accept(self: &Arc<Self>, listener: TcpListener) {
        let (upstream, toxics) = (self.upstream.clone(), Arc::clone(&self.toxics));
        let changes = self.changes.subscribe();
        let task = tokio::spawn(async move {
            let mut number = 0;
            while let Ok((client, _)) = listener.accept().await {
                number += 1;
                let link = link::carry(
                    client,
                    upstream.clone(),
                    Arc::clone(&toxics),
                    changes.clone(),
                    number,
                );
                tokio::spawn(link);
            }
        });
        *lock(&self.accepting) = Some(task);
    }

    fn changed(&self) {
        self.changes.send_modify(|s| s.version += 1);
    }

    fn down(&self) {
        self.changes.send_modify(|s| s.enabled = false);
        if let Some(task) = lock(&self.accepting).take() {
            task.abort();
        }
    }

    /// Up or down; down closes the port and every connection.
    pub async fn enable(self: &Arc<Self>, enabled: bool) -> Result<(), ProxyError> {
        if !enabled {
            self.down();
            return Ok(());
        }
        if lock(&self.accepting).is_some() {
            return Ok(());
        }
        let listener = bind(self.listen).await?;
        self.changes.send_modify(|s| s.enabled = true);
        self.accept(listener);
        Ok(())
    }

    pub fn enabled(&self) -> bool {
        self.changes.borrow().enabled
    }

    pub fn add_toxic(&self, form: ToxicForm) -> Result<Toxic, ProxyError> {
        let toxic = Toxic::check(form)?;
        let mut all = lock(&self.toxics);
        if all.iter().any(|t| t.name == toxic.name) {
            return Err(ProxyError::new(409, "toxic already exists"));
        }
        all.push(toxic.clone());
        drop(all);
        self.changed();
        Ok(toxic)
    }

    pub fn update_toxic(&self, name: &str, form: &ToxicForm) -> Result<Toxic, ProxyError> {
        let mut all = lock(&self.toxics);
        let slot = all
            .iter_mut()
            .find(|t| t.name == name)
            .ok_or_else(|| ProxyError::new(404, format!("toxic {name:?} not found")))?;
        *slot = slot.updated(form)?;
        let toxic = slot.clone();
        drop(all);
        self.changed();
        Ok(toxic)
    }

    pub fn remove_toxic(&self, name: &str) -> Result<(), ProxyError> {
        let mut all = lock(&self.toxics);
        let before = all.len();
        all.retain(|t| t.name != name);
        let gone = all.len() < before;
        drop(all);
        if !gone {
            return Err(ProxyError::new(404, format!("toxic {name:?} not found")));
        }
        self.changed();
        Ok(())
    }

    fn toxics_json(&self) -> Vec<Value> {
        lock(&self.toxics).iter().map(Toxic::json).collect()
    }

    fn json(&self) -> Value {
        json!({
            "name": self.name, "listen": self.listen.to_string(), "upstream": self.upstream,
            "enabled": self.enabled(), "toxics": self.toxics_json(),
        })
    }
}
