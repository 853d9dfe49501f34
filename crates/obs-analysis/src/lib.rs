//! SLO arithmetic, anomaly detectors, correlation, bottleneck analysis.
