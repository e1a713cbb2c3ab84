//! What the desktop shows of delegations that have ended.

use super::line::one_line;
use crate::delegation::State;

/// Characters of a title in a notification's head.
const TITLE: usize = 80;

/// Head and body of a notification. The body holds no words of a model's: desktops take marks in it for markup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DesktopNote {
    /// One line.
    pub head: String,
    /// One line.
    pub body: String,
}

/// What is shown of delegations that have ended, each with title and state; none where there is nothing to say: no
/// delegation, or none but those that a person has cancelled.
pub fn ended(delegations: &[(String, State)]) -> Option<DesktopNote> {
    let count = |states: &[State]| {
        let of = |(_, state): &&(String, State)| states.contains(state);
        delegations.iter().filter(of).count()
    };
    let complete = count(&[State::Complete]);
    let failed = count(&[State::Error, State::Timeout]);
    let cancelled = count(&[State::Cancelled]);
    match delegations {
        _ if complete + failed == 0 => None,
        [(title, state)] => Some(DesktopNote {
            head: one_line(title, TITLE),
            body: format!("Delegation: {state}"),
        }),
        several => {
            let parts = [
                (complete, "complete"),
                (failed, "failed"),
                (cancelled, "cancelled"),
            ];
            let parts = parts.iter().filter(|(count, _)| *count > 0);
            let parts: Vec<_> = parts
                .map(|(count, what)| format!("{count} {what}"))
                .collect();
            Some(DesktopNote {
                head: format!("{} delegations have ended", several.len()),
                body: parts.join(", "),
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(states: &[State]) -> Option<DesktopNote> {
        let all: Vec<_> = states
            .iter()
            .map(|state| ("Two\u{1b}[2J\nlines <b>".to_owned(), *state))
            .collect();
        ended(&all)
    }

    #[test]
    fn one_is_told_by_its_title_and_several_by_their_number() {
        let one = of(&[State::Complete]).unwrap();
        assert_eq!(one.body, "Delegation: complete");
        assert!(one.head.starts_with("Two"), "{one:?}");
        assert!(!one.head.contains(|c: char| c.is_control()), "{one:?}");
        let long = ended(&[("x".repeat(500), State::Error)]).unwrap();
        assert_eq!(long.head.chars().count(), TITLE);
        let three = of(&[State::Complete, State::Timeout, State::Complete]).unwrap();
        assert_eq!(three.head, "3 delegations have ended");
        assert_eq!(three.body, "2 complete, 1 failed");
        let mixed = of(&[State::Cancelled, State::Error]).unwrap();
        assert_eq!(mixed.body, "1 failed, 1 cancelled");
    }

    #[test]
    fn what_was_cancelled_needs_no_telling() {
        assert_eq!(of(&[State::Cancelled, State::Cancelled]), None);
        assert_eq!(of(&[]), None);
    }
}
