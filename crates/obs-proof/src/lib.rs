//! Canonical JSON, hashes, Merkle trees, signed notes, proofs, policy and the verifier.
