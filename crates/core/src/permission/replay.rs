//! What a list of rules says on one permission, or on one MCP server's tools, in a form that can be
//! narrowed by another list and written as rules again.

use super::rule::{Action, Ruleset};
use super::wildcard::{covers, is_universal, literal_head, matches, within_prefix};

/// The decision on everything, and the exceptions from it in their order; the last that matches wins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Replay {
    /// What holds where no exception matches.
    pub(super) general: Action,
    /// Patterns with their decisions.
    pub(super) exceptions: Vec<(String, Action)>,
}

impl Replay {
    /// Where the host starts: without a rule it asks.
    fn start() -> Self {
        Self {
            general: Action::Ask,
            exceptions: Vec::new(),
        }
    }

    fn push(&mut self, pattern: &str, action: Action) {
        if is_universal(pattern) {
            self.general = action;
            self.exceptions.clear();
        } else {
            self.exceptions.push((pattern.to_owned(), action));
        }
    }

    /// What the rules say on one permission; the patterns are those of what it is asked for.
    pub(super) fn of_permission(rules: &Ruleset, permission: &str) -> Self {
        let mut replay = Self::start();
        for rule in &rules.0 {
            if matches(permission, &rule.permission) {
                replay.push(&rule.pattern, rule.action);
            }
        }
        replay
    }

    /// What the rules say on the tools whose names begin with `prefix`; the patterns are those of the
    /// tools' names. The host asks for such a tool with the pattern `*` alone, so that only rules whose
    /// own pattern matches that have a say. With `named_only`, an allow counts only if it names the server.
    pub(super) fn of_server(rules: &Ruleset, prefix: &str, named_only: bool) -> Self {
        let server = prefix.strip_suffix('_').unwrap_or(prefix);
        let mut replay = Self::start();
        for rule in &rules.0 {
            let applies = if rule.action == Action::Allow {
                is_universal(&rule.pattern)
                    && (!named_only || literal_head(&rule.permission).starts_with(server))
            } else {
                matches("*", &rule.pattern)
            };
            if !applies {
                continue;
            }
            let parts = within_prefix(&rule.permission, prefix);
            let whole = parts
                .iter()
                .any(|part| part.strip_prefix(prefix).is_some_and(is_universal));
            if whole {
                replay.push("*", rule.action);
            } else {
                for part in parts {
                    replay.exceptions.push((part, rule.action));
                }
            }
        }
        replay
    }

    /// Whether anything at all is allowed.
    pub(super) fn allows_something(&self) -> bool {
        self.general == Action::Allow || self.exceptions.iter().any(|(_, a)| *a == Action::Allow)
    }

    /// What is allowed here and not denied by `parent`, with every ask turned into a deny. Where the
    /// intersection of two patterns can't be told, the outcome is a deny.
    pub(super) fn narrowed_by(&self, parent: &Replay) -> Replay {
        let parent_has = |action: Action| action != Action::Deny;
        let parent_allows = |pattern: &str| {
            parent_has(parent.general)
                || parent
                    .exceptions
                    .iter()
                    .any(|(outer, action)| parent_has(*action) && covers(outer, pattern))
        };
        let mut narrowed = Replay {
            general: Action::Deny,
            exceptions: Vec::new(),
        };
        if self.general == Action::Allow {
            if parent_has(parent.general) {
                narrowed.general = Action::Allow;
            } else {
                // The parent has some of what the child has all of: the child gets that some.
                let shared = parent
                    .exceptions
                    .iter()
                    .filter(|(_, action)| parent_has(*action));
                narrowed
                    .exceptions
                    .extend(shared.map(|(pattern, _)| (pattern.clone(), Action::Allow)));
            }
        }
        for (pattern, action) in &self.exceptions {
            if *action != Action::Allow {
                narrowed.exceptions.push((pattern.clone(), Action::Deny));
            } else if parent_allows(pattern) {
                narrowed.exceptions.push((pattern.clone(), Action::Allow));
            }
        }
        // All of the parent's denies come last, also those that it has exceptions from: narrower, and true.
        let denies = parent
            .exceptions
            .iter()
            .filter(|(_, action)| !parent_has(*action));
        narrowed
            .exceptions
            .extend(denies.map(|(pattern, _)| (pattern.clone(), Action::Deny)));
        narrowed.drop_idle_denies();
        narrowed
    }

    /// Drops denies that deny nothing, since nothing before them was allowed.
    fn drop_idle_denies(&mut self) {
        let mut allowed = self.general == Action::Allow;
        self.exceptions.retain(|(_, action)| {
            allowed |= *action == Action::Allow;
            allowed
        });
    }
}
