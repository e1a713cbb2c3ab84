//! What a host has told of a directory: its agents, MCP servers and tools.

use std::sync::Arc;

use brigade_agents::opencode::AgentInfo;
use brigade_core::permission::{McpPolicy, Plan, Request, Ruleset, RunMode, plan};

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
    pub(crate) fn plan(
        &self,
        agent: &AgentInfo,
        parent: Option<&str>,
        mcp: McpPolicy,
        run: Option<RunMode>,
    ) -> Plan {
        // Without a known parent nothing is taken away beyond the agent's own rules; the parent's
        // session rules follow when the child is made.
        let unrestricted = Ruleset::default();
        let parent = parent
            .and_then(|name| self.0.agents.iter().find(|agent| agent.name == name))
            .map_or(&unrestricted, |agent| &agent.rules);
        plan(&Request {
            agent: &agent.rules,
            parent,
            mcp_servers: &self.0.mcp_servers,
            host_tools: &self.0.tools,
            mcp,
            run,
        })
    }
}
