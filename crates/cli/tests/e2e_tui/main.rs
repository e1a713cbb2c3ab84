//! The panel in OpenCode's own terminal UI: what a person sees of delegations there, and does with them.
#![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

mod panel;
