//! Alert delivery: receivers, retries, delivery log.
