//! Runners: what executes a delegation's run.
//!
//! [`opencode`] drives a child session of OpenCode over any transport: the host's own server through
//! its bridge, or a server over HTTP. It knows nothing of daemon or store: what has to be recorded goes
//! out through [`opencode::RunLog`].

pub mod opencode;
