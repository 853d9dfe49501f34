//! What a server offers, apart from how the protocol carries it.
#![expect(deprecated, reason = "clients of the protocol before 2026-07-28 set a log level")]

use std::time::Instant;

use rmcp::model::{
    CallToolRequestParams, CallToolResult, CompleteRequestParams, GetPromptResult, JsonObject,
    LoggingLevel, LoggingMessageNotificationParam, ProgressNotificationParam, ProgressToken,
    Prompt, ReadResourceResult, Resource, ResourceTemplate, ServerConfig, Tool,
};
use rmcp::service::Peer;
use rmcp::{ErrorData, RoleServer};
use serde_json::{Value, json};

use super::watch::Session;

/// Tools, resources and prompts. [`super::server::Server`] speaks the protocol for them.
///
/// An `Err` is an answer to a request for something that is not there; a tool that ran and failed
/// says so in its result, which the model reads.
pub(super) trait Catalog: Clone + Send + Sync + 'static {
    /// Names, version and instructions; the capabilities are the server's.
    fn info(&self) -> ServerConfig;

    fn tools(&self) -> Vec<Tool>;

    fn call(
        &self,
        request: CallToolRequestParams,
        turn: &Turn,
    ) -> impl Future<Output = Result<CallToolResult, ErrorData>> + Send;

    fn resources(&self) -> impl Future<Output = Result<Vec<Resource>, ErrorData>> + Send;

    fn templates(&self) -> Vec<ResourceTemplate>;

    fn read(&self, uri: &str)
    -> impl Future<Output = Result<ReadResourceResult, ErrorData>> + Send;

    /// What of a resource a subscriber is told of when it is another than before. `Err` where the
    /// address names nothing that can be subscribed to.
    fn state(&self, uri: &str) -> impl Future<Output = Result<String, ErrorData>> + Send;

    fn prompts(&self) -> Vec<Prompt>;

    fn prompt(
        &self,
        name: &str,
        arguments: Option<&JsonObject>,
    ) -> Result<GetPromptResult, ErrorData>;

    /// Values for an argument of a prompt or of a template, the likeliest first.
    fn complete(
        &self,
        request: &CompleteRequestParams,
    ) -> impl Future<Output = Result<Vec<String>, ErrorData>> + Send;

    /// What holds now and is worth a log message when it begins, changes or ends.
    fn conditions(&self) -> impl Future<Output = Vec<Condition>> + Send;
}

/// Something that holds for a while, such as an alert.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Condition {
    /// The same as long as it is the same thing.
    pub(super) id: String,
    pub(super) level: LoggingLevel,
    /// What the message says of it; another value makes another message.
    pub(super) data: Value,
}

/// One call of a tool: who asks, and what can be told before the answer.
#[derive(Debug)]
pub(super) struct Turn {
    pub(super) peer: Peer<RoleServer>,
    /// Who asks, where the transport knows.
    pub(super) actor: Option<String>,
    pub(super) session: std::sync::Arc<Session>,
    /// Set by clients that want to hear how far the call is.
    pub(super) progress: Option<ProgressToken>,
    pub(super) begun: Instant,
}

impl Turn {
    /// Tells how far the call is, to whoever asked to hear; `done` grows.
    pub(super) async fn progress(&self, done: f64, total: f64, message: &str) {
        let Some(token) = self.progress.clone() else { return };
        let told = ProgressNotificationParam::new(token, done)
            .with_total(total)
            .with_message(message.to_owned());
        // A client that has gone away hears nothing more.
        let _gone = self.peer.notify_progress(told).await;
    }

    /// A log message about the call, where the client set a level that lets it through.
    pub(super) async fn log(&self, level: LoggingLevel, data: Value) {
        if !self.session.hears(level) {
            return;
        }
        let told = LoggingMessageNotificationParam::new(level, data).with_logger("tools");
        let _gone = self.peer.notify_logging_message(told).await;
    }

    /// That the tool has answered, and how long it took.
    pub(super) async fn log_end(&self, tool: &str, outcome: &Result<CallToolResult, ErrorData>) {
        let failed = outcome.as_ref().map_or(true, |r| r.is_error == Some(true));
        let level = if failed { LoggingLevel::Warning } else { LoggingLevel::Debug };
        let took_ms = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.log(level, json!({"tool": tool, "failed": failed, "took_ms": took_ms})).await;
    }
}
