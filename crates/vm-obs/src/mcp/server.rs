//! The protocol: what a session may ask, over a [`Catalog`] of what there is.
//!
//! This file, `sessions` and `http` are the only ones that know the library's handler and transports.
#![expect(
    deprecated,
    reason = "clients of the protocol before 2026-07-28 subscribe and set a level"
)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CompleteRequestParams, CompleteResult, CompletionInfo,
    GetPromptRequestParams, GetPromptResponse, ListPromptsResult, ListResourceTemplatesResult,
    ListResourcesResult, ListToolsResult, PaginatedRequestParams, ReadResourceRequestParams,
    ReadResourceResponse, ServerCapabilities, ServerConfig, SetLevelRequestParams,
    SubscribeRequestParams, SubscriptionFilter, Tool, UnsubscribeRequestParams,
};
use rmcp::service::{RequestContext, SubscriptionContext};
use rmcp::{ErrorData, RoleServer, ServerHandler};

use super::catalog::{Catalog, Turn};
use super::http::Actor;
use super::watch::{self, SUBSCRIPTIONS_MAX, Session};

/// One session over a catalog.
#[derive(Clone, Debug)]
pub(super) struct Server<C> {
    catalog: C,
    session: Arc<Session>,
    watch_interval: Duration,
}

impl<C> Server<C> {
    /// `watch_interval` is how often is looked for what the session wants to hear.
    pub(super) fn new(catalog: C, watch_interval: Duration) -> Self {
        Self { catalog, session: Arc::default(), watch_interval }
    }
}

impl<C: Catalog> Server<C> {
    fn watch(&self, context: &RequestContext<RoleServer>) {
        self.session.watch(&self.catalog, &context.peer, self.watch_interval);
    }
}

impl<C: Catalog> ServerHandler for Server<C> {
    fn get_info(&self) -> ServerConfig {
        let mut info = self.catalog.info();
        info.capabilities = ServerCapabilities::builder()
            .enable_tools()
            .enable_resources()
            .enable_resources_subscribe()
            .enable_prompts()
            .enable_completions()
            .enable_logging()
            .build();
        info
    }

    async fn list_tools(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        Ok(ListToolsResult::with_all_items(self.catalog.tools()))
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        self.catalog.tools().into_iter().find(|t| t.name == name)
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        if let Some(level) = context.meta.log_level() {
            self.session.set_level(level);
        }
        let parts = context.extensions.get::<axum::http::request::Parts>();
        let actor = parts.and_then(|p| p.extensions.get::<Actor>()).map(|a| a.0.clone());
        let turn = Turn {
            progress: context.meta.get_progress_token(),
            peer: context.peer,
            actor,
            session: Arc::clone(&self.session),
            begun: Instant::now(),
        };
        let tool = request.name.clone();
        let outcome = self.catalog.call(request, &turn).await;
        turn.log_end(&tool, &outcome).await;
        outcome.map(Into::into)
    }

    async fn list_resources(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        Ok(ListResourcesResult::with_all_items(self.catalog.resources().await?))
    }

    async fn list_resource_templates(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        Ok(ListResourceTemplatesResult::with_all_items(self.catalog.templates()))
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        Ok(self.catalog.read(&request.uri).await?.into())
    }

    async fn subscribe(
        &self,
        request: SubscribeRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        let state = self.catalog.state(&request.uri).await?;
        self.session.subscribe(request.uri, state)?;
        self.watch(&context);
        Ok(())
    }

    async fn unsubscribe(
        &self,
        request: UnsubscribeRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        self.session.unsubscribe(&request.uri);
        Ok(())
    }

    /// Since 2026-07-28 subscriptions are a request that stays open.
    fn accepted_subscription_filter(
        &self,
        requested: &SubscriptionFilter,
    ) -> Option<SubscriptionFilter> {
        let uris = requested.resource_subscriptions.iter().flatten().take(SUBSCRIPTIONS_MAX);
        Some(SubscriptionFilter::builder().resource_subscriptions(uris).build())
    }

    async fn listen(&self, context: SubscriptionContext) -> Result<(), ErrorData> {
        let mut states = BTreeMap::new();
        for uri in context.accepted().resource_subscriptions.iter().flatten() {
            states.insert(uri.clone(), self.catalog.state(uri).await?);
        }
        loop {
            tokio::select! {
                () = context.cancelled() => return Ok(()),
                () = tokio::time::sleep(self.watch_interval) => {}
            }
            for uri in watch::changed(&self.catalog, &mut states).await {
                if context.sink().notify_resource_updated(uri).await.is_err() {
                    return Ok(());
                }
            }
        }
    }

    async fn set_level(
        &self,
        request: SetLevelRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        self.session.set_level(request.level);
        self.watch(&context);
        Ok(())
    }

    async fn list_prompts(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListPromptsResult, ErrorData> {
        Ok(ListPromptsResult::with_all_items(self.catalog.prompts()))
    }

    async fn get_prompt(
        &self,
        request: GetPromptRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<GetPromptResponse, ErrorData> {
        Ok(self.catalog.prompt(&request.name, request.arguments.as_ref())?.into())
    }

    async fn complete(
        &self,
        request: CompleteRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<CompleteResult, ErrorData> {
        let mut values = self.catalog.complete(&request).await?;
        let total = values.len();
        values.truncate(CompletionInfo::MAX_VALUES);
        let more = total > values.len();
        let info = CompletionInfo::with_pagination(values, u32::try_from(total).ok(), more)
            .map_err(|e| ErrorData::internal_error(e, None))?;
        Ok(CompleteResult::new(info))
    }
}
