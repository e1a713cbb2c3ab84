//! What a background child may do: the rules of its session, so that it can read and nothing else.

use serde::{Deserialize, Serialize};

use super::replay::Replay;
use super::rule::{Action, Rule, Ruleset, mcp_prefix};
use super::wildcard::{literal_head, matches};
use crate::delegation::Access;

/// Permissions that only read. `list` and the two tools of our own are among them.
const READING: [&str; 9] = [
    "read",
    "grep",
    "glob",
    "list",
    "webfetch",
    "websearch",
    "skill",
    "delegation_read",
    "delegation_list",
];

/// What is closed by name at the very end, besides the general deny at the beginning: an MCP server may
/// have a name whose rules would match one of these, and a later rule of another pattern would bring the
/// tool back into sight, where an earlier "always" could open it.
const CLOSED: [&str; 12] = [
    "edit",
    "task",
    "todowrite",
    "question",
    "plan_enter",
    "plan_exit",
    "external_directory",
    "doom_loop",
    "delegate",
    "delegation_cancel",
    "delegation_send",
    "delegation_apply",
];

/// The host's own tools; others in its list come from plugins.
const HOST_TOOLS: [&str; 20] = [
    "invalid",
    "question",
    "bash",
    "read",
    "glob",
    "grep",
    "list",
    "edit",
    "write",
    "task",
    "webfetch",
    "todowrite",
    "websearch",
    "skill",
    "apply_patch",
    "lsp",
    "plan_exit",
    "list_mcp_resources",
    "list_mcp_resource_templates",
    "read_mcp_resource",
];

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
}

/// How sure it is that a child can change nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "enforcement", content = "remains")]
pub enum Enforcement {
    /// The tools that could are not there.
    Enforced,
    /// Some remain that are trusted to only read: shell patterns and MCP tools, named here.
    ByRule(Vec<String>),
}

/// A read-only child.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadOnly {
    /// The child session's own rules. The host puts them after the agent's.
    pub rules: Ruleset,
    /// How sure it is.
    pub enforcement: Enforcement,
    /// What the agent has and this child does not get, for child and caller to know.
    pub withheld: Vec<String>,
}

impl From<ReadOnly> for Access {
    fn from(child: ReadOnly) -> Self {
        Access {
            rules: child.rules.0,
            open: match child.enforcement {
                Enforcement::Enforced => Vec::new(),
                Enforcement::ByRule(remains) => remains,
            },
            withheld: child.withheld,
        }
    }
}

/// How an agent runs in the background.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Plan {
    /// Read-only.
    ReadOnly(ReadOnly),
    /// It changes files, and needs a worktree of its own.
    WriteCapable {
        /// What makes it so.
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
        Some(RunMode::Worktree) => Plan::WriteCapable {
            why: "the configuration has run = \"worktree\" for it".to_owned(),
        },
        Some(RunMode::ReadOnly) => Plan::ReadOnly(read_only(request)),
        None => match edit_right(request.agent) {
            Some(why) => Plan::WriteCapable { why },
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

/// Why an agent can change files, if it can. An ask counts as what stands under it: a person's general
/// `edit: ask` takes no right from `general` and gives none to an agent whose author had closed it.
fn edit_right(agent: &Ruleset) -> Option<String> {
    let firm = agent
        .0
        .iter()
        .filter(|rule| rule.action != Action::Ask)
        .cloned();
    let edit = Replay::of_permission(&Ruleset(firm.collect()), "edit");
    if edit.general == Action::Allow {
        return Some("its rules allow edit".to_owned());
    }
    edit.exceptions
        .iter()
        .find(|(_, action)| *action == Action::Allow)
        .map(|(pattern, _)| format!("its rules allow edit on {pattern}"))
}

fn read_only(request: &Request<'_>) -> ReadOnly {
    let mut child = Builder {
        request,
        rules: vec![Rule::close("*")],
        remains: Vec::new(),
        withheld: Vec::new(),
    };
    child.mcp();
    child.reading();
    child.shell();
    child.close();
    ReadOnly {
        rules: Ruleset(child.rules),
        enforcement: if child.remains.is_empty() {
            Enforcement::Enforced
        } else {
            Enforcement::ByRule(child.remains)
        },
        withheld: child.withheld,
    }
}

struct Builder<'a> {
    request: &'a Request<'a>,
    rules: Vec<Rule>,
    remains: Vec<String>,
    withheld: Vec<String>,
}

impl Builder<'_> {
    /// MCP servers come first, so that what follows wins where a server's name resembles a permission.
    fn mcp(&mut self) {
        for server in self.request.mcp_servers {
            let prefix = mcp_prefix(server);
            let named_only = self.request.mcp == McpPolicy::Named;
            let own = Replay::of_server(self.request.agent, &prefix, named_only);
            let parent = Replay::of_server(self.request.parent, &prefix, false);
            let replay = own.narrowed_by(&parent);
            // Also a server that is closed gets its rule: another one's prefix may contain its own.
            self.rules
                .push(Rule::new(format!("{prefix}*"), "*", replay.general));
            if replay.general == Action::Allow {
                self.remains.push(format!("MCP tools {prefix}*"));
            }
            for (name, action) in replay.exceptions {
                if action == Action::Allow {
                    self.remains.push(format!("MCP tools {name}"));
                }
                self.rules.push(Rule::new(name, "*", action));
            }
        }
    }

    fn reading(&mut self) {
        for permission in READING {
            let mut own = Replay::of_permission(self.request.agent, permission);
            if own.general == Action::Ask && !own.allows_something() {
                if self
                    .request
                    .agent
                    .0
                    .iter()
                    .any(|rule| matches(permission, &rule.permission))
                {
                    self.withheld
                        .push(format!("{permission}, which would ask a person"));
                }
            } else if permission == "read" {
                keep_secrets(&mut own);
            }
            let had = own.allows_something();
            let replay = own.narrowed_by(&Replay::of_permission(self.request.parent, permission));
            if replay.allows_something() {
                self.replay(permission, replay);
            } else {
                if had {
                    self.withheld
                        .push(format!("{permission}, which the caller lacks"));
                }
                self.rules.push(Rule::close(permission));
            }
        }
    }

    /// Only commands that the author allowed one by one over a general deny stay.
    fn shell(&mut self) {
        let mut own = Replay::of_permission(self.request.agent, "bash");
        let had = own.allows_something();
        if own.general != Action::Deny {
            let what = if own.general == Action::Allow {
                "the shell (bash), which is open to it"
            } else {
                "the shell (bash), which would ask a person"
            };
            self.withheld.push(what.to_owned());
            self.rules.push(Rule::close("bash"));
            return;
        }
        // A pattern that begins with a wildcard names no command.
        own.exceptions.retain(|(pattern, action)| {
            let open = *action == Action::Allow && literal_head(pattern).trim().is_empty();
            if open {
                self.withheld
                    .push(format!("shell commands {pattern}, which name no program"));
            }
            !open
        });
        let replay = own.narrowed_by(&Replay::of_permission(self.request.parent, "bash"));
        if !replay.allows_something() {
            if had && own.allows_something() {
                self.withheld
                    .push("the shell (bash), which the caller lacks".to_owned());
            }
            self.rules.push(Rule::close("bash"));
            return;
        }
        let allowed = replay
            .exceptions
            .iter()
            .filter(|(_, action)| *action == Action::Allow);
        self.remains
            .extend(allowed.map(|(pattern, _)| format!("shell commands {pattern}")));
        self.replay("bash", replay);
    }

    fn replay(&mut self, permission: &str, replay: Replay) {
        self.rules.push(Rule::new(permission, "*", replay.general));
        let rules = replay.exceptions.into_iter();
        self.rules
            .extend(rules.map(|(pattern, action)| Rule::new(permission, pattern, action)));
    }

    fn close(&mut self) {
        // Without the edit tool an agent that was made read-only, or that would ask, misses something.
        let edit = Replay::of_permission(self.request.agent, "edit");
        let has = |action: Action| action != Action::Deny;
        if has(edit.general) || edit.exceptions.iter().any(|(_, action)| has(*action)) {
            self.withheld.push("editing files".to_owned());
        }
        self.rules.extend(CLOSED.map(Rule::close));
        // A plugin's tool asks for nothing when called, so that one which bears a server's prefix would run.
        for tool in self.request.host_tools {
            let known = HOST_TOOLS.contains(&tool.as_str())
                || READING.contains(&tool.as_str())
                || CLOSED.contains(&tool.as_str());
            if !known {
                self.rules.push(Rule::close(tool.as_str()));
            }
        }
    }
}

/// Takes environment files out of what may be read; the example file stays where the agent's own rules
/// end by allowing it.
fn keep_secrets(read: &mut Replay) {
    const EXAMPLE: &str = "*.env.example";
    let example = match read.exceptions.last() {
        None => read.general == Action::Allow,
        Some((pattern, action)) => {
            *action == Action::Allow && super::wildcard::covers(pattern, EXAMPLE)
        }
    };
    for pattern in ["*.env", "*.env.*"] {
        read.exceptions.push((pattern.to_owned(), Action::Deny));
    }
    if example {
        read.exceptions.push((EXAMPLE.to_owned(), Action::Allow));
    }
}
