//! The rules of a background child's session: so that it can read and nothing else, or also change files.

use serde::{Deserialize, Serialize};

use super::plan::{AskPolicy, McpPolicy, Request, RunMode, firm_edit};
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

/// A child that changes files in a worktree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Writing {
    /// The child session's own rules. The host puts them after the agent's.
    pub rules: Ruleset,
    /// The MCP tools it keeps: what these change is in no worktree.
    pub beyond: Vec<String>,
    /// What the agent has and this child does not get.
    pub withheld: Vec<String>,
}

impl From<Writing> for Access {
    fn from(child: Writing) -> Self {
        Access {
            rules: child.rules.0.into(),
            open: child.beyond,
            withheld: child.withheld,
        }
    }
}

impl From<ReadOnly> for Access {
    fn from(child: ReadOnly) -> Self {
        Access {
            rules: child.rules.0.into(),
            open: match child.enforcement {
                Enforcement::Enforced => Vec::new(),
                Enforcement::ByRule(remains) => remains,
            },
            withheld: child.withheld,
        }
    }
}

pub(super) fn read_only(request: &Request<'_>) -> ReadOnly {
    let mut child = Builder {
        request,
        rules: vec![Rule::close("*")],
        remains: Vec::new(),
        withheld: Vec::new(),
    };
    child.mcp();
    child.reading();
    child.shell();
    child.close(CLOSED.as_slice());
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

/// The rules of a child that changes files in its worktree: what the agent has, less what its caller lacks, with
/// nothing left that would ask a person, delegate, or reach out of the worktree.
pub(super) fn writing(request: &Request<'_>) -> Writing {
    let mut child = Builder {
        request,
        rules: vec![Rule::close("*")],
        remains: Vec::new(),
        withheld: Vec::new(),
    };
    child.mcp();
    let beyond = std::mem::take(&mut child.remains);
    child.reading();
    child.edit();
    child.whole_shell();
    let closed: Vec<&str> = CLOSED.into_iter().filter(|name| *name != "edit").collect();
    child.close(&closed);
    Writing {
        rules: Ruleset(child.rules),
        beyond,
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

    fn edit(&mut self) {
        let own = firm_edit(self.request.agent);
        // Who wrote that into the person's configuration has decided for whoever delegates.
        let replay = if self.request.run == Some(RunMode::Worktree) {
            own.narrowed_by(&Replay::of_permission(&Ruleset::default(), "edit"))
        } else {
            own.narrowed_by(&firm_edit(self.request.parent))
        };
        if !replay.allows_something() {
            self.withheld.push("editing files".to_owned());
            self.rules.push(Rule::close("edit"));
            return;
        }
        self.replay("edit", replay);
        // The host names a file by its path from the top of the working tree.
        for outside in ["../*", "/*"] {
            self.rules.push(Rule::new("edit", outside, Action::Deny));
        }
    }

    /// The shell as the agent's own rules have it.
    fn whole_shell(&mut self) {
        let mut own = Replay::of_permission(self.request.agent, "bash");
        let asked = |action: &Action| *action == Action::Ask;
        if asked(&own.general) || own.exceptions.iter().any(|(_, action)| asked(action)) {
            if self.request.asks == AskPolicy::Allow {
                let allow = |action: &mut Action| {
                    if asked(action) {
                        *action = Action::Allow;
                    }
                };
                allow(&mut own.general);
                own.exceptions
                    .iter_mut()
                    .for_each(|(_, action)| allow(action));
            } else {
                self.withheld
                    .push("shell commands that would ask a person".to_owned());
            }
        }
        let had = own.allows_something();
        let replay = own.narrowed_by(&Replay::of_permission(self.request.parent, "bash"));
        if replay.allows_something() {
            self.replay("bash", replay);
        } else {
            if had {
                self.withheld
                    .push("the shell (bash), which the caller lacks".to_owned());
            }
            self.rules.push(Rule::close("bash"));
        }
    }

    fn replay(&mut self, permission: &str, replay: Replay) {
        self.rules.push(Rule::new(permission, "*", replay.general));
        let rules = replay.exceptions.into_iter();
        self.rules
            .extend(rules.map(|(pattern, action)| Rule::new(permission, pattern, action)));
    }

    fn close(&mut self, closed: &[&str]) {
        // Without the edit tool an agent that was made read-only, or that would ask, misses something.
        let edit = Replay::of_permission(self.request.agent, "edit");
        let has = |action: Action| action != Action::Deny;
        if closed.contains(&"edit")
            && (has(edit.general) || edit.exceptions.iter().any(|(_, action)| has(*action)))
        {
            self.withheld.push("editing files".to_owned());
        }
        self.rules
            .extend(closed.iter().map(|name| Rule::close(*name)));
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
