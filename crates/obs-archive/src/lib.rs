//! Seals in open formats: Parquet and JSONL.gz with record trees.
