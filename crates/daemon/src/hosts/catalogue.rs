//! What a host has told of a directory: its agents, MCP servers and tools.

use std::sync::Arc;

use brigade_agents::opencode::AgentInfo;
use brigade_core::permission::{Plan, Request, Ruleset, may_edit, plan};

use crate::config::Config;

/// A directory's agents. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Catalogue(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    agents: Vec<AgentInfo>,
    mcp_servers: Vec<String>,
    tools: Vec<String>,
}

impl Catalogue {
    /// A catalogue of what the host has answered.
    pub(crate) fn new(
        agents: Vec<AgentInfo>,
        mcp_servers: Vec<String>,
        tools: Vec<String>,
    ) -> Self {
        Self(Arc::new(Inner {
            agents,
            mcp_servers,
            tools,
        }))
    }

    /// The agents that a person can see, hidden ones left out.
    pub(crate) fn agents(&self) -> impl Iterator<Item = &AgentInfo> {
        self.0.agents.iter().filter(|agent| !agent.hidden)
    }

    /// One agent by its name.
    pub(crate) fn agent(&self, name: &str) -> Option<&AgentInfo> {
        self.agents().find(|agent| agent.name == name)
    }

    /// How an agent would run as a child of a session whose agent is `parent`.
    pub(crate) fn plan(&self, agent: &AgentInfo, parent: Option<&str>, config: &Config) -> Plan {
        // Without a known parent nothing is taken away beyond the agent's own rules; the parent's
        // session rules follow when the child is made.
        let unrestricted = Ruleset::default();
        plan(&Request {
            agent: &agent.rules,
            parent: self.rules(parent).unwrap_or(&unrestricted),
            mcp_servers: &self.0.mcp_servers,
            host_tools: &self.0.tools,
            mcp: config.guard.mcp,
            run: config.run_mode(&agent.name),
            asks: config.worktree.ask,
        })
    }

    /// Whether an agent, hidden ones among them, may change files; without a known one nothing says no.
    pub(crate) fn may_edit(&self, name: Option<&str>) -> bool {
        self.rules(name).is_none_or(may_edit)
    }

    fn rules(&self, name: Option<&str>) -> Option<&Ruleset> {
        let name = name?;
        let mut agents = self.0.agents.iter();
        agents
            .find(|agent| agent.name == name)
            .map(|agent| &agent.rules)
    }
}
