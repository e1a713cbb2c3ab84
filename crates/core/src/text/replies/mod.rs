//! What the tools answer. Every answer that is not the wanted one says what to do instead.

mod applying;
mod page;
mod refusal;
mod steering;

use std::fmt::Write as _;

pub use applying::{Applied, Conflict, applied, conflicting, may_not_apply, nothing_to_apply};
pub use page::{Page, page};
pub use refusal::{Refusal, TASK_GUARD};
pub use steering::{Stood, Unsteerable, cancelled, continued, retried, sent};

use super::line::one_line;
use crate::delegation::{State, Worktree, span};
use crate::id::DelegationId;

/// How the parent's host lives, on which depends how a result gets back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostMode {
    /// It stays: notices come by themselves.
    Interactive,
    /// It ends when the parent has no more to say (`opencode run`): results are to be fetched before.
    Run,
}

/// An accepted `delegate` call.
#[derive(Debug, Clone)]
pub struct Started<'a> {
    /// The delegation.
    pub id: &'a DelegationId,
    /// Who does it.
    pub agent: &'a str,
    /// Registered, or running for one that was there already.
    pub state: State,
    /// Whether the same agent was already at work on the same prompt; nothing new was started then.
    pub existing: bool,
    /// How many delegations of the root session are registered or running, this one included.
    pub active: usize,
    /// What of the agent's usual rights the child does not get.
    pub withheld: &'a [String],
    /// What remains open by rule only; empty when read-only is enforced.
    pub open: &'a [String],
    /// What it works in, where it changes files.
    pub worktree: Option<&'a Worktree>,
    /// How the result gets back.
    pub mode: HostMode,
}

/// The answer to an accepted `delegate` call. Its first line is `Delegation started: <id>`.
pub fn started(view: &Started<'_>) -> String {
    let id = view.id;
    let mut text = format!(
        "Delegation started: {id}\nAgent: {}\n",
        one_line(view.agent, 80)
    );
    if view.existing {
        let _ = writeln!(
            text,
            "It was under way before this call ({}): the same agent has the same prompt, so no second one was \
             started.",
            view.state
        );
    }
    if !view.withheld.is_empty() {
        let _ = writeln!(text, "Withheld from it: {}.", view.withheld.join("; "));
    }
    match view.worktree {
        Some(worktree) => {
            in_worktree(&mut text, id, worktree);
            if !view.open.is_empty() {
                let _ = writeln!(text, "Not held by that: {}.", view.open.join("; "));
            }
        }
        None if view.open.is_empty() => {}
        None => {
            let _ = writeln!(
                text,
                "Read-only by rule; it may still use: {}.",
                view.open.join("; ")
            );
        }
    }
    match view.active {
        0 | 1 => text.push_str("1 delegation is active.\n"),
        n => {
            let _ = writeln!(text, "{n} delegations are active.");
        }
    }
    match view.mode {
        HostMode::Interactive => text.push_str(
            "A task-notification comes by itself when it ends. Polling is needless: go on with other work, or \
             end your turn if nothing else is left.",
        ),
        HostMode::Run => {
            let _ = write!(
                text,
                "This host ends with your turn, so no notification will reach you. Do your other work first, then \
                 collect the result with delegation_read(\"{id}\"), which waits for it, before you end your turn."
            );
        }
    }
    text
}

fn in_worktree(text: &mut String, id: &DelegationId, worktree: &Worktree) {
    let begins = match &worktree.from {
        Some(from) => format!("with what {from} has left"),
        None => "as it was just now, uncommitted changes included".to_owned(),
    };
    let _ = writeln!(
        text,
        "It edits files in a copy of this tree, {begins}. Nothing changes here until \
         delegation_apply(\"{id}\") brings its changes in."
    );
    if !worktree.left_out.is_empty() {
        let left_out = one_line(&worktree.left_out.join("; "), 400);
        let _ = writeln!(text, "Not in the copy: {left_out}.");
    }
}

/// A delegation that has not ended yet.
#[derive(Debug, Clone)]
pub struct Unfinished<'a> {
    /// The delegation.
    pub id: &'a DelegationId,
    /// Registered or running.
    pub state: State,
    /// How long ago it was registered, in milliseconds.
    pub age_ms: u64,
    /// What it is doing or waiting for, if that is known.
    pub doing: Option<&'a str>,
    /// How the result gets back.
    pub mode: HostMode,
}

/// What `delegation_read` answers when it gives up waiting.
pub fn unfinished(view: &Unfinished<'_>) -> String {
    let id = view.id;
    let mut text = format!(
        "{id} is still {}, for {} now",
        view.state,
        span(view.age_ms / 1_000 * 1_000)
    );
    if let Some(doing) = view.doing {
        let _ = write!(text, " ({})", one_line(doing, 200));
    }
    text.push_str(".\n");
    match view.mode {
        HostMode::Interactive => text.push_str(
            "Its task-notification comes by itself. Go on with other work, or end your turn if nothing else is left.",
        ),
        HostMode::Run => {
            let _ = write!(
                text,
                "This host ends with your turn: call delegation_read(\"{id}\") again to go on waiting."
            );
        }
    }
    text
}

/// What `delegation_read` answers for an ID that is none, or that this project does not have. `near`
/// holds IDs that the caller may have meant.
pub fn not_found(id: &str, near: &[DelegationId]) -> String {
    let mut text = format!("This project has no delegation {:?}.", one_line(id, 80));
    if near.is_empty() {
        text.push_str(" delegation_list(scope=\"project\") names all of them.");
    } else {
        let names: Vec<&str> = near.iter().map(DelegationId::as_str).collect();
        let _ = write!(text, " Did you mean: {}?", names.join(", "));
    }
    text
}

/// One delegation in a list.
#[derive(Debug, Clone)]
pub struct ListItem<'a> {
    /// Its ID.
    pub id: &'a str,
    /// Its title, or the head of its prompt.
    pub title: &'a str,
    /// Who does it.
    pub agent: &'a str,
    /// Where it stands.
    pub state: State,
    /// Whether it has ended and its parent has not seen the result.
    pub unread: bool,
    /// How long ago it was registered, in milliseconds.
    pub age_ms: u64,
    /// Its summary, or the passage that a search found; left out when empty.
    pub summary: &'a str,
}

/// Which delegations a list is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Those of this root session.
    Session,
    /// All of the project's.
    Project,
}

/// What `delegation_list` answers: a line each, as they come (newest first), and how many there are
/// beyond them.
pub fn list(items: &[ListItem<'_>], scope: Scope, query: Option<&str>, more: usize) -> String {
    let place = match scope {
        Scope::Session => "this session",
        Scope::Project => "this project",
    };
    if items.is_empty() {
        let mut text = match query {
            Some(query) => format!(
                "Nothing in the delegations of {place} matches {:?}.",
                one_line(query, 80)
            ),
            None => format!("There are no delegations in {place}."),
        };
        if scope == Scope::Session {
            text.push_str(" delegation_list(scope=\"project\") looks through the whole project.");
        }
        return text;
    }
    let mut text = String::new();
    for item in items {
        let unread = if item.unread { ", unread" } else { "" };
        let _ = write!(
            text,
            "- {} [{}{unread}] {} ago, {}: {}",
            item.id,
            item.state,
            span(item.age_ms / 1_000 * 1_000),
            one_line(item.agent, 40),
            one_line(item.title, super::title::MAX_TITLE),
        );
        let summary = one_line(item.summary, super::title::MAX_SUMMARY);
        if !summary.is_empty() {
            let _ = write!(text, "\n  {summary}");
        }
        text.push('\n');
    }
    if more > 0 {
        let _ = writeln!(text, "… and {more} more; narrow them down with query.");
    }
    text.push_str("delegation_read(\"id\") gives a result.");
    text
}

/// What any tool answers when Brigade can't be reached.
pub fn unavailable(why: &str, mend: &str) -> String {
    format!(
        "Brigade is not available: {why}. {mend} Everything else works as if it were not there."
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id() -> DelegationId {
        "brave-amber-otter".parse().unwrap()
    }

    #[test]
    fn started_begins_with_the_id_and_says_what_comes() {
        let id = id();
        let view = Started {
            id: &id,
            agent: "explore",
            state: State::Registered,
            existing: false,
            active: 3,
            withheld: &["the open shell".into()],
            open: &[],
            worktree: None,
            mode: HostMode::Interactive,
        };
        let text = started(&view);
        assert!(text.starts_with("Delegation started: brave-amber-otter\n"));
        assert!(text.contains("3 delegations are active."));
        assert!(text.contains("Withheld from it: the open shell."));
        assert!(text.contains("comes by itself") && !text.contains("delegation_read"));
        let run = started(&Started {
            mode: HostMode::Run,
            existing: true,
            state: State::Running,
            ..view
        });
        assert!(run.starts_with("Delegation started: brave-amber-otter\n"));
        assert!(run.contains("under way before this call (running)"));
        assert!(
            run.contains("delegation_read(\"brave-amber-otter\")")
                && run.contains("before you end your turn")
        );
    }

    #[test]
    fn a_list_shows_each_and_an_empty_one_says_where_to_look() {
        let item = ListItem {
            id: "brave-amber-otter",
            title: "Lock\norder",
            agent: "explore",
            state: State::Complete,
            unread: true,
            age_ms: 125_400,
            summary: "Taken first.",
        };
        let text = list(
            &[
                item.clone(),
                ListItem {
                    unread: false,
                    summary: "",
                    ..item
                },
            ],
            Scope::Session,
            None,
            4,
        );
        assert_eq!(
            text,
            "- brave-amber-otter [complete, unread] 2m 5s ago, explore: Lock order\n  Taken first.\n\
             - brave-amber-otter [complete] 2m 5s ago, explore: Lock order\n\
             … and 4 more; narrow them down with query.\ndelegation_read(\"id\") gives a result."
        );
        assert!(list(&[], Scope::Session, None, 0).contains("scope=\"project\""));
        assert!(list(&[], Scope::Project, Some("x"), 0).contains("matches \"x\""));
    }

    #[test]
    fn unfinished_says_how_to_go_on() {
        let id = id();
        let view = Unfinished {
            id: &id,
            state: State::Running,
            age_ms: 600_400,
            doing: Some("grep"),
            mode: HostMode::Interactive,
        };
        assert!(
            unfinished(&view)
                .starts_with("brave-amber-otter is still running, for 10m now (grep).\n")
        );
        assert!(
            unfinished(&Unfinished {
                mode: HostMode::Run,
                ..view
            })
            .contains("again")
        );
        assert!(not_found("../../x\0", &[]).contains("delegation_list"));
        assert!(not_found("brave", &[id]).contains("Did you mean: brave-amber-otter?"));
    }
}
