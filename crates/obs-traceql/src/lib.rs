//! Parses and evaluates TraceQL.
