//! The stand-alone verifier: obs-proof and a file reader.

fn main() {}
