//! Recording and alerting rules, alert state, silences as pure steps.
