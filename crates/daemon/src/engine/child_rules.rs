//! The rules of a child as they go to the host and to the bridge.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use brigade_core::permission::{Action, Rule, Ruleset};
use brigade_protocol::bridge::ShellRule;

use crate::hosts::lock;

/// The rules of those that are active, each set once: many are of the same agent.
#[derive(Debug, Default)]
pub(super) struct SharedRules(Mutex<HashSet<Arc<[Rule]>>>);

impl SharedRules {
    /// Has a record hold its rules together with all that have the same.
    pub(super) fn share(&self, rules: &mut Arc<[Rule]>) {
        let mut known = lock(&self.0);
        if let Some(same) = known.get(&**rules) {
            *rules = Arc::clone(same);
            return;
        }
        // Those that nobody has any more go as others come.
        known.retain(|rules| Arc::strong_count(rules) > 1);
        known.insert(Arc::clone(rules));
    }
}

/// The child's rules with the denies of the parent's session. These stand before the closing rules: a
/// deny of some pattern behind them would bring a removed tool back into sight.
pub(super) fn with_denies(rules: &[Rule], parent: &Ruleset) -> Vec<Rule> {
    let closes = |rule: &Rule| rule.pattern == "*" && rule.action == Action::Deny;
    let closing = rules
        .iter()
        .rposition(|rule| !closes(rule))
        .map_or(0, |last| last + 1);
    let mut all = rules.to_vec();
    let denies = parent.0.iter().filter(|rule| rule.action == Action::Deny);
    all.splice(closing..closing, denies.cloned());
    all
}

/// Whether a child lacks a deny that its parent's session has by now.
pub(super) fn has_more(child: &Ruleset, parent: &Ruleset) -> bool {
    let mut denies = parent.0.iter().filter(|rule| rule.action == Action::Deny);
    denies.any(|rule| !child.0.contains(rule))
}

/// What the rules let the shell run, for the bridge to hold: in the host a person's "always" would
/// come after them.
fn shell_rules(rules: &[Rule]) -> Vec<ShellRule> {
    rules
        .iter()
        .filter(|rule| rule.permission == "bash")
        .map(|rule| ShellRule {
            pattern: regex_of(&rule.pattern),
            allow: rule.action == Action::Allow,
        })
        .collect()
}

/// The same for a child of this kind: none for one that writes in a worktree and has a shell that its rules leave
/// open, chaining and all.
pub(super) fn held_shell(writes: bool, rules: &[Rule]) -> Option<Vec<ShellRule>> {
    let general = |rule: &&Rule| rule.permission == "bash" && rule.pattern == "*";
    let last = rules.iter().rfind(general);
    let open = last.is_some_and(|rule| rule.action == Action::Allow);
    (!(writes && open)).then(|| shell_rules(rules))
}

/// The host's wildcard as a regular expression: `*` any text, `?` one character, a trailing ` *` optional.
fn regex_of(pattern: &str) -> String {
    let (body, optional) = match pattern.strip_suffix(" *") {
        Some(body) => (body, "( .*)?"),
        None => (pattern, ""),
    };
    let mut regex = String::from("^");
    for c in body.chars() {
        match c {
            '*' => regex.push_str(".*"),
            '?' => regex.push('.'),
            c if r"\.+^${}()|[]/".contains(c) => {
                regex.push('\\');
                regex.push(c);
            }
            c => regex.push(c),
        }
    }
    regex + optional + "$"
}

#[cfg(test)]
mod tests {
    use super::*;
    use brigade_core::permission::Ruleset;

    #[test]
    fn equal_rules_are_held_once_and_only_as_long_as_somebody_has_them() {
        let shared = SharedRules::default();
        let of = |permission: &str| -> Arc<[Rule]> {
            Arc::new([Rule {
                permission: permission.into(),
                pattern: "*".into(),
                action: Action::Allow,
            }])
        };
        let held = || lock(&shared.0).len();
        let (mut first, mut second) = (of("read"), of("read"));
        shared.share(&mut first);
        shared.share(&mut second);
        assert!(Arc::ptr_eq(&first, &second));
        let mut other = of("edit");
        shared.share(&mut other);
        assert_eq!(held(), 2);
        drop((first, second));
        shared.share(&mut of("bash"));
        assert_eq!(held(), 2);
    }

    #[test]
    fn a_child_has_more_than_a_parent_that_was_denied_something_since() {
        let rule = |permission: &str, action| Rule {
            permission: permission.into(),
            pattern: "*".into(),
            action,
        };
        let parent = Ruleset(vec![
            rule("edit", Action::Allow),
            rule("webfetch", Action::Deny),
        ]);
        let closed = Ruleset(vec![
            rule("*", Action::Deny),
            rule("webfetch", Action::Deny),
        ]);
        assert!(!has_more(&closed, &parent));
        assert!(has_more(&Ruleset(vec![rule("*", Action::Deny)]), &parent));
        assert!(!has_more(&Ruleset::default(), &Ruleset::default()));
    }

    #[test]
    fn only_what_writes_has_a_shell_that_nothing_holds() {
        let rule = |pattern: &str, action| Rule {
            permission: "bash".into(),
            pattern: pattern.into(),
            action,
        };
        let open = [rule("*", Action::Allow), rule("rm *", Action::Deny)];
        assert!(held_shell(true, &open).is_none());
        assert_eq!(held_shell(false, &open).unwrap().len(), 2);
        let patterns = [rule("*", Action::Deny), rule("make *", Action::Allow)];
        assert_eq!(held_shell(true, &patterns).unwrap().len(), 2);
        let closed = [rule("*", Action::Allow), rule("*", Action::Deny)];
        assert!(held_shell(true, &closed).is_some());
    }

    #[test]
    fn wildcards_become_anchored_expressions() {
        assert_eq!(regex_of("git diff*"), "^git diff.*$");
        assert_eq!(regex_of("git log *"), "^git log( .*)?$");
        assert_eq!(regex_of("a.b?(c)"), r"^a\.b.\(c\)$");
        assert_eq!(regex_of("*"), "^.*$");
    }

    #[test]
    fn a_parents_deny_closes_more_and_opens_nothing() {
        let rule = |permission: &str, pattern: &str, action| Rule {
            permission: permission.into(),
            pattern: pattern.into(),
            action,
        };
        let own = [
            rule("*", "*", Action::Deny),
            rule("read", "*", Action::Allow),
            rule("edit", "*", Action::Deny),
            rule("task", "*", Action::Deny),
        ];
        let parent = Ruleset(vec![
            rule("read", "secret/*", Action::Deny),
            rule("edit", "src/*", Action::Deny),
            rule("bash", "*", Action::Allow),
        ]);
        let rules = Ruleset(with_denies(&own, &parent));
        assert_eq!(rules.evaluate("read", "secret/x"), Action::Deny);
        assert_eq!(rules.evaluate("read", "open"), Action::Allow);
        // A deny of a pattern must not bring a removed tool back into sight.
        assert!(!rules.tool_offered("edit"));
        assert!(!rules.tool_offered("bash"));
    }
}
