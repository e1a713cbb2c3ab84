//! The host's permission rules, evaluated as the host does, and what follows from them for a child:
//! which rules its session gets, so that reading is enforced and not guessed.

mod read_only;
mod replay;
mod rule;
mod wildcard;

pub use read_only::{Enforcement, McpPolicy, Plan, ReadOnly, Request, RunMode, guarded, plan};
pub use rule::{Action, Rule, Ruleset, mcp_prefix, permission_of};
pub use wildcard::matches;

#[cfg(test)]
mod tests;
