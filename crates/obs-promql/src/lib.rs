//! Parses and evaluates PromQL.
