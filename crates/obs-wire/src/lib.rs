//! Every foreign byte format, in and out.
