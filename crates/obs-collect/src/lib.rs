//! Scraping, receivers, host metrics, file tail.
