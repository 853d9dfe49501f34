//! Side-by-side benchmarks against real peers.

fn main() {}
