//! Rules and their evaluation, as the host does it.

use serde::{Deserialize, Serialize};

use super::wildcard::matches;

/// What a rule decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Goes through.
    Allow,
    /// A person is asked.
    Ask,
    /// Is refused at once.
    Deny,
}

/// One permission rule, in the host's own JSON form.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Rule {
    /// Which permission, with wildcards: `edit`, `bash`, `github_*`, `*`.
    pub permission: String,
    /// On what, with wildcards: a path, a command, an agent's name.
    pub pattern: String,
    /// The decision.
    pub action: Action,
}

impl Rule {
    /// A rule of its three fields.
    pub fn new(permission: impl Into<String>, pattern: impl Into<String>, action: Action) -> Self {
        Self {
            permission: permission.into(),
            pattern: pattern.into(),
            action,
        }
    }

    /// A rule that removes a permission altogether.
    pub fn close(permission: impl Into<String>) -> Self {
        Self::new(permission, "*", Action::Deny)
    }
}

/// Rules in their order; the last one that matches wins.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Ruleset(pub Vec<Rule>);

impl Ruleset {
    /// The decision on `pattern` (a path, a command, …) under `permission`. Without any matching rule
    /// the host asks.
    pub fn evaluate(&self, permission: &str, pattern: &str) -> Action {
        self.0
            .iter()
            .rev()
            .find(|rule| matches(permission, &rule.permission) && matches(pattern, &rule.pattern))
            .map_or(Action::Ask, |rule| rule.action)
    }

    /// Whether the host offers `tool` to the model at all. It leaves a tool out when the last rule on its
    /// permission, whatever that rule's pattern, is a deny of exactly `*`. Approvals given later ("always")
    /// play no part in this: a tool that was left out stays out.
    pub fn tool_offered(&self, tool: &str) -> bool {
        let permission = permission_of(tool);
        self.0
            .iter()
            .rev()
            .find(|rule| matches(permission, &rule.permission))
            .is_none_or(|rule| rule.pattern != "*" || rule.action != Action::Deny)
    }

    /// These rules with others after them, so that the others win.
    #[must_use]
    pub fn then(&self, later: &Ruleset) -> Ruleset {
        Ruleset(self.0.iter().chain(&later.0).cloned().collect())
    }
}

impl From<Vec<Rule>> for Ruleset {
    fn from(rules: Vec<Rule>) -> Self {
        Self(rules)
    }
}

/// The permission under which the host checks a tool. Most tools have their own name; the three that
/// change files share `edit` (a rule named `write` does nothing), and MCP resources are `read`.
pub fn permission_of(tool: &str) -> &str {
    match tool {
        "edit" | "write" | "apply_patch" => "edit",
        "list_mcp_resources" | "list_mcp_resource_templates" | "read_mcp_resource" => "read",
        other => other,
    }
}

/// The beginning of the names of all tools that an MCP server brings: its name with everything but
/// letters, digits, `_` and `-` replaced, and an underscore.
pub fn mcp_prefix(server: &str) -> String {
    let mut prefix = String::with_capacity(server.len() + 1);
    for unit in server.encode_utf16() {
        // One underscore per UTF-16 unit, as the host's regular expression has it.
        match u8::try_from(unit) {
            Ok(b) if b.is_ascii_alphanumeric() || b == b'_' || b == b'-' => {
                prefix.push(char::from(b));
            }
            _ => prefix.push('_'),
        }
    }
    prefix.push('_');
    prefix
}

#[cfg(test)]
mod tests {
    use super::*;
    use Action::{Allow, Ask, Deny};

    fn rules(list: &[(&str, &str, Action)]) -> Ruleset {
        Ruleset(list.iter().map(|(p, q, a)| Rule::new(*p, *q, *a)).collect())
    }

    #[test]
    fn the_last_match_wins_and_none_asks() {
        let set = rules(&[
            ("*", "*", Allow),
            ("bash", "*", Deny),
            ("bash", "git *", Allow),
        ]);
        assert_eq!(set.evaluate("bash", "git log"), Allow);
        assert_eq!(set.evaluate("bash", "rm x"), Deny);
        assert_eq!(set.evaluate("read", "x"), Allow);
        assert_eq!(Ruleset::default().evaluate("read", "x"), Ask);
    }

    #[test]
    fn a_tool_is_left_out_only_by_a_last_deny_of_star() {
        let set = rules(&[("edit", "*", Deny)]);
        for tool in ["edit", "write", "apply_patch"] {
            assert!(!set.tool_offered(tool), "{tool}");
        }
        assert!(set.tool_offered("bash"));
        // A later deny of some pattern brings the tool back into sight.
        assert!(rules(&[("edit", "*", Deny), ("edit", "a", Deny)]).tool_offered("edit"));
        assert!(rules(&[("edit", "**", Deny)]).tool_offered("edit"));
        // A rule named after a tool that has no permission of its own does nothing.
        assert!(rules(&[("write", "*", Deny)]).tool_offered("write"));
        assert!(!rules(&[("*", "*", Deny)]).tool_offered("read_mcp_resource"));
    }

    #[test]
    fn rules_have_the_hosts_json() {
        let json = r#"[{"permission":"read","pattern":"*.env","action":"ask"}]"#;
        let set: Ruleset = serde_json::from_str(json).unwrap();
        assert_eq!(set, rules(&[("read", "*.env", Ask)]));
        assert_eq!(serde_json::to_string(&set).unwrap(), json);
    }

    #[test]
    fn mcp_prefixes_are_the_hosts() {
        assert_eq!(mcp_prefix("github"), "github_");
        assert_eq!(mcp_prefix("my server.v2"), "my_server_v2_");
    }
}
