//! The MCP server, over standard input and output or at `/mcp`: tools, resources and prompts as a
//! client of the HTTP routes.
//!
//! An answer is small: a summary first, then as much data as fits, with a notice of what was left
//! out, the exact query, a link into the portal, and where the ledger stood. What monitored
//! programs wrote stands in a field of its own and is marked as untrusted, because log lines can
//! carry instructions. Tools that change something are there only where they were allowed.

mod answer;
mod catalog;
mod complete;
mod http;
mod offer;
mod prompts;
mod resources;
mod schema;
mod server;
mod sessions;
mod tools;
mod watch;

#[cfg(test)]
mod tests;

pub(crate) use http::{Caller, McpSettings, router};
pub(crate) use offer::run;
