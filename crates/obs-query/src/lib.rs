//! One query front over hot engine and archive; limits, cancellation.
