//! The host's permission rules, evaluated as the host does, and what follows from them for a child:
//! which rules its session gets, so that what it may do is enforced and not guessed.

mod child;
mod plan;
mod replay;
mod rule;
mod wildcard;

pub use child::{Enforcement, ReadOnly, Writing};
pub use plan::{AskPolicy, McpPolicy, Plan, Request, RunMode, guarded, may_edit, plan};
pub use rule::{Action, Rule, Ruleset, mcp_prefix, permission_of};
pub use wildcard::matches;

#[cfg(test)]
mod tests;
