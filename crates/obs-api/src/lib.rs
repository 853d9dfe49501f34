//! HTTP for every dialect, portal assets, MCP server.
