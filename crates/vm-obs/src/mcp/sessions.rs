//! Sessions over HTTP whose answers may take longer than a connection lives.
//!
//! A request's stream is given back after a while, although the call goes on; its client comes
//! again with `Last-Event-ID` and gets what was said meanwhile, the answer included. So no proxy
//! between the two cuts a long call off.

use std::time::Duration;

use futures_util::{Stream, StreamExt as _};
use rmcp::model::{ClientJsonRpcMessage, ServerJsonRpcMessage};
use rmcp::transport::common::server_side_http::{ServerSseMessage, SessionId};
use rmcp::transport::streamable_http_server::session::SessionManager;
use rmcp::transport::streamable_http_server::session::local::{
    LocalSessionManager, LocalSessionManagerError, SessionConfig, SessionError,
};

/// Proxies commonly cut a response after a minute.
pub(super) const STREAM_HELD_MAX: Duration = Duration::from_secs(50);
/// A subscriber may hear nothing for long; a client that has gone without a word is forgotten.
const SESSION_IDLE_MAX: Duration = Duration::from_secs(30 * 60);

/// Most sessions at a time: whoever opens them and does not end them must not fill the memory.
const SESSIONS_MAX: usize = 1_000;

/// The library's sessions in memory, with a longest life of a stream, and a limit.
#[derive(Debug)]
pub(super) struct Sessions {
    inner: LocalSessionManager,
    held: Duration,
    most: usize,
}

impl Sessions {
    pub(super) fn new(held: Duration) -> Self {
        let mut inner = LocalSessionManager::default();
        let mut config = SessionConfig::default();
        config.keep_alive = Some(SESSION_IDLE_MAX);
        inner.session_config = config;
        Self { inner, held, most: SESSIONS_MAX }
    }
}

type Local = LocalSessionManager;

impl SessionManager for Sessions {
    type Error = LocalSessionManagerError;
    type Transport = <Local as SessionManager>::Transport;

    async fn create_session(&self) -> Result<(SessionId, Self::Transport), Self::Error> {
        if self.inner.sessions.read().await.len() >= self.most {
            tracing::warn!(limit = self.most, "an MCP session was refused: too many are open");
            let reason = format!("too many sessions are open, at most {}", self.most);
            return Err(SessionError::Io(std::io::Error::other(reason)).into());
        }
        self.inner.create_session().await
    }

    async fn initialize_session(
        &self,
        id: &SessionId,
        message: ClientJsonRpcMessage,
    ) -> Result<ServerJsonRpcMessage, Self::Error> {
        self.inner.initialize_session(id, message).await
    }

    async fn has_session(&self, id: &SessionId) -> Result<bool, Self::Error> {
        self.inner.has_session(id).await
    }

    async fn close_session(&self, id: &SessionId) -> Result<(), Self::Error> {
        self.inner.close_session(id).await
    }

    async fn create_stream(
        &self,
        id: &SessionId,
        message: ClientJsonRpcMessage,
    ) -> Result<impl Stream<Item = ServerSseMessage> + Send + Sync + 'static, Self::Error> {
        let stream = self.inner.create_stream(id, message).await?;
        Ok(stream.take_until(tokio::time::sleep(self.held)))
    }

    async fn accept_message(
        &self,
        id: &SessionId,
        message: ClientJsonRpcMessage,
    ) -> Result<(), Self::Error> {
        self.inner.accept_message(id, message).await
    }

    async fn create_standalone_stream(
        &self,
        id: &SessionId,
    ) -> Result<impl Stream<Item = ServerSseMessage> + Send + Sync + 'static, Self::Error> {
        self.inner.create_standalone_stream(id).await
    }

    async fn resume(
        &self,
        id: &SessionId,
        last_event_id: String,
    ) -> Result<impl Stream<Item = ServerSseMessage> + Send + Sync + 'static, Self::Error> {
        self.inner.resume(id, last_event_id).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn there_are_at_most_so_many_until_one_ends() {
        let mut sessions = Sessions::new(STREAM_HELD_MAX);
        sessions.most = 2;
        let (first, _transport) = sessions.create_session().await.unwrap();
        let _second = sessions.create_session().await.unwrap();
        let refused = sessions.create_session().await.err().unwrap().to_string();
        assert!(refused.contains("at most 2"), "{refused}");
        sessions.close_session(&first).await.unwrap();
        assert!(sessions.create_session().await.is_ok());
    }
}
