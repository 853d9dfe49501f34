//! WAL, block files, checksums, durable writes, and the Disk and Clock traits with their fakes.
