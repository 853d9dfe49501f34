//! The MCP server over standard input and output: six read-only tools as a client of the HTTP
//! routes.
//!
//! An answer is small: a summary first, then as much data as fits, with a notice of what was left
//! out, the exact query, and a link into the portal. What monitored programs wrote stands in a
//! field of its own and is marked as untrusted, because log lines can carry instructions.

mod answer;
mod schema;
mod server;
mod tools;

#[cfg(test)]
mod tests;

pub(crate) use server::run;
