//! How an agent runs in the background: read-only, with write access in a worktree, or not at all.

use serde::{Deserialize, Serialize};

use super::child::{ReadOnly, Writing, read_only, writing};
use super::replay::Replay;
use super::rule::{Action, Ruleset};

/// Which MCP tools a child keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum McpPolicy {
    /// Those that the agent's rules allow.
    #[default]
    Agent,
    /// Only those that the agent's rules allow by the server's or the tool's name.
    Named,
}

/// What the person's configuration says about running an agent, the widest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RunMode {
    /// With write access, in a worktree of its own.
    Worktree,
    /// Read-only, whatever the agent's rules allow.
    ReadOnly,
    /// Not at all.
    Refuse,
}

impl RunMode {
    /// The stricter of two settings: a project's may only tighten the person's.
    #[must_use]
    pub fn tightened(self, by: Self) -> Self {
        self.max(by)
    }
}

/// What decides on a child's access.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The agent's resolved rules, as the host lists them.
    pub agent: &'a Ruleset,
    /// The rules that hold for the parent: its agent's, then its session's.
    pub parent: &'a Ruleset,
    /// Names of the configured MCP servers.
    pub mcp_servers: &'a [String],
    /// The host's tools, those of plugins among them; may be empty when unknown.
    pub host_tools: &'a [String],
    /// Which MCP tools stay.
    pub mcp: McpPolicy,
    /// What the configuration says about this agent, if it does.
    pub run: Option<RunMode>,
    /// What becomes of shell commands for which a person would be asked, where the child may write.
    pub asks: AskPolicy,
}

/// What becomes of a shell command that an agent's rules would ask a person about, in a worktree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AskPolicy {
    /// It is allowed.
    Allow,
    /// It is refused: nobody is there to be asked.
    #[default]
    Refuse,
}

/// How an agent runs in the background.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Plan {
    /// Read-only.
    ReadOnly(ReadOnly),
    /// With write access, in a worktree of its own.
    Writing(Writing),
    /// It changes files, and whoever delegates may not.
    BeyondCaller {
        /// What makes it change files.
        why: String,
    },
    /// Not at all.
    Refused {
        /// Who refuses.
        why: String,
    },
}

/// Decides how an agent runs.
pub fn plan(request: &Request<'_>) -> Plan {
    match request.run {
        Some(RunMode::Refuse) => Plan::Refused {
            why: "the configuration has run = \"refuse\" for it".to_owned(),
        },
        Some(RunMode::Worktree) => Plan::Writing(writing(request)),
        Some(RunMode::ReadOnly) => Plan::ReadOnly(read_only(request)),
        None => match edit_right(request.agent) {
            Some(why) if !may_edit(request.parent) => Plan::BeyondCaller { why },
            Some(_) => Plan::Writing(writing(request)),
            None => Plan::ReadOnly(read_only(request)),
        },
    }
}

/// The agents that `delegate` would run read-only now, and for which `task` is therefore to be refused.
pub fn guarded<'a>(agents: impl IntoIterator<Item = (&'a str, Request<'a>)>) -> Vec<String> {
    agents
        .into_iter()
        .filter(|(_, request)| matches!(plan(request), Plan::ReadOnly(_)))
        .map(|(name, _)| name.to_owned())
        .collect()
}

/// Why an agent can change files, if it can.
fn edit_right(agent: &Ruleset) -> Option<String> {
    let edit = firm_edit(agent);
    if edit.general == Action::Allow {
        return Some("its rules allow edit".to_owned());
    }
    edit.exceptions
        .iter()
        .find(|(_, action)| *action == Action::Allow)
        .map(|(pattern, _)| format!("its rules allow edit on {pattern}"))
}

/// Whether who delegates may change files in general; without any rule it may, as far as is known. Some files
/// alone (an agent that plans has its plans) are not enough: what is delegated is not about these.
pub fn may_edit(caller: &Ruleset) -> bool {
    firm_edit(caller).general != Action::Deny
}

/// What the rules say on edit, where an ask counts as what stands under it: a person's general `edit: ask`
/// takes no right from `general` and gives none to an agent whose author had closed it. In a worktree nothing of the
/// person's is changed, and to apply asks.
pub(super) fn firm_edit(rules: &Ruleset) -> Replay {
    let firm = rules
        .0
        .iter()
        .filter(|rule| rule.action != Action::Ask)
        .cloned();
    Replay::of_permission(&Ruleset(firm.collect()), "edit")
}
