//! Parses and evaluates LogQL.
