//! Refused calls.

use std::fmt;

use crate::text::line::Line;

/// Why a `delegate` call is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// There is no such agent.
    UnknownAgent {
        /// What was asked for.
        agent: String,
        /// Those that can be delegated to.
        known: Vec<String>,
    },
    /// The agent changes files, and the caller may not.
    BeyondCaller {
        /// The agent.
        agent: String,
        /// What makes it change files.
        why: String,
        /// The calling agent.
        caller: String,
    },
    /// The agent changes files, and there can be no worktree for it.
    NoWorktree {
        /// The agent.
        agent: String,
        /// Why not, and what to do about it.
        why: String,
    },
    /// The person's configuration or the agent's rules refuse it.
    Forbidden {
        /// The agent.
        agent: String,
        /// Who refuses, and why.
        why: String,
    },
    /// The caller is itself a child.
    InChild,
    /// There is no work in it.
    EmptyPrompt,
    /// The prompt is too long.
    PromptTooLong {
        /// Its characters.
        chars: usize,
        /// How many it may have.
        limit: usize,
    },
    /// What may be used is used up.
    BudgetUsedUp {
        /// The figures: who has used how much of what.
        used: String,
        /// The key in `[budget]` that sets the limit.
        key: String,
    },
    /// An argument is missing or makes no sense.
    BadArgument {
        /// What is wrong with which one.
        what: String,
    },
    /// Something Brigade needs is out of reach.
    Unavailable {
        /// What, and why.
        why: String,
        /// What mends it.
        mend: String,
    },
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Delegation refused: ")?;
        match self {
            Refusal::UnknownAgent { agent, known } => {
                let agent = Line::capped(agent, 80);
                if known.is_empty() {
                    write!(f, "there is no agent {agent:?}, and none here can be delegated to. Do the work yourself.", agent = agent.as_str())
                } else {
                    write!(
                        f,
                        "there is no agent {:?}. Use one of: {}.",
                        agent.as_str(),
                        known.join(", ")
                    )
                }
            }
            Refusal::BeyondCaller { agent, why, caller } => write!(
                f,
                "agent {agent} can change files ({why}), and {caller} may not, so it can't have that done either. \
                 Delegate to a read-only agent, or ask the person to switch to an agent that edits."
            ),
            Refusal::NoWorktree { agent, why } => write!(
                f,
                "agent {agent} changes files, for which it needs a worktree of its own, and there is none: {why}. \
                 Use the `task` tool with subagent_type {agent:?}, or delegate to a read-only agent."
            ),
            Refusal::Forbidden { agent, why } => write!(
                f,
                "agent {agent} may not be delegated to: {why}. Use another agent, or do the work yourself."
            ),
            Refusal::InChild => f.write_str(
                "a delegated agent can't delegate. Do the work yourself and say in your answer what is left.",
            ),
            Refusal::EmptyPrompt => f.write_str(
                "the prompt is empty. Call again with the whole task in it: goal, paths, and the form of the answer.",
            ),
            Refusal::PromptTooLong { chars, limit } => write!(
                f,
                "the prompt has {chars} characters and may have {limit}. Name files for the agent to read instead of \
                 quoting them, or split the work."
            ),
            Refusal::BudgetUsedUp { used, key } => write!(
                f,
                "the budget is used up: {used}. What runs goes on, and results can be read. Tell the person, who can \
                 raise {key} in Brigade's config.toml. Until then do the work yourself."
            ),
            Refusal::BadArgument { what } => write!(f, "{what}. Call again with that mended."),
            Refusal::Unavailable { why, mend } => {
                write!(f, "{why}. {mend} Until then do the work yourself or use the `task` tool.")
            }
        }
    }
}

/// What the `task` tool answers for an agent that `delegate` runs; `{agent}` stands for its name.
pub const TASK_GUARD: &str = "Agent {agent} is read-only and runs in the background here: call \
delegate(prompt, agent=\"{agent}\") with the same prompt instead. It returns at once and its result comes by \
itself.";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_says_what_to_do_instead() {
        let agent = || "general".to_owned();
        for (refusal, instead) in [
            (
                Refusal::UnknownAgent {
                    agent: "x\ny".into(),
                    known: vec!["explore".into()],
                },
                "Use one of: explore.",
            ),
            (
                Refusal::UnknownAgent {
                    agent: agent(),
                    known: vec![],
                },
                "Do the work yourself",
            ),
            (
                Refusal::BeyondCaller {
                    agent: agent(),
                    why: "edit is allowed".into(),
                    caller: "plan".into(),
                },
                "ask the person to switch",
            ),
            (
                Refusal::NoWorktree {
                    agent: agent(),
                    why: "/p is in no git repository".into(),
                },
                "`task` tool with subagent_type \"general\"",
            ),
            (
                Refusal::Forbidden {
                    agent: agent(),
                    why: "the config says so".into(),
                },
                "Use another agent",
            ),
            (Refusal::InChild, "Do the work yourself"),
            (Refusal::EmptyPrompt, "Call again"),
            (
                Refusal::PromptTooLong { chars: 9, limit: 8 },
                "split the work",
            ),
            (
                Refusal::BudgetUsedUp {
                    used: "today's delegations have used $2.00 of $2.00".into(),
                    key: "day_cost".into(),
                },
                "raise day_cost in",
            ),
            (
                Refusal::BadArgument {
                    what: "timeout_minutes is negative".into(),
                },
                "Call again",
            ),
            (
                Refusal::Unavailable {
                    why: "the daemon is gone".into(),
                    mend: "Run `brigade doctor`.".into(),
                },
                "brigade doctor",
            ),
        ] {
            let text = refusal.to_string();
            assert!(text.starts_with("Delegation refused: "), "{text}");
            assert!(text.contains(instead), "{text}");
            assert_eq!(text.lines().count(), 1, "{text}");
        }
    }
}
