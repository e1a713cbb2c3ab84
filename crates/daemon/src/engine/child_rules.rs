//! The rules of a child as they go to the host and to the bridge.

use brigade_core::permission::{Action, Rule, Ruleset};
use brigade_protocol::bridge::ShellRule;

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
