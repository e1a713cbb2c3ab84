//! Runners: what executes a delegation's run.
