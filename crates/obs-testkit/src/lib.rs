//! Fakes, generators, contract suites, real peers as processes.
