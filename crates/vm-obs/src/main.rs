//! The VaultMesh Observability Engine: CLI, configuration, wiring.

fn main() {}
