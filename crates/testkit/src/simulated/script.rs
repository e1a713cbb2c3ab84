//! What a simulated model does, as its prompt says.

use std::collections::VecDeque;

/// One thing a model does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// Streams until the gate opens.
    Stream(String),
    /// Calls a tool that runs until the gate opens.
    Tool(String),
    /// Calls a tool that needs this permission.
    Ask(String),
    /// Says this and has ended.
    Say(String),
    /// Says so many megabytes of text and has ended.
    Huge(usize),
    /// Streams so many pieces of text.
    Deltas(usize),
    /// Ends without a word.
    Empty,
    /// The provider fails with these words.
    Fail(String),
}

/// Reads the steps out of a prompt.
pub(super) fn parse(prompt: &str) -> VecDeque<Step> {
    prompt
        .lines()
        .filter_map(|line| {
            let line = line.trim().strip_prefix('@')?;
            let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
            let rest = rest.trim().to_owned();
            Some(match verb {
                "stream" => Step::Stream(rest),
                "tool" => Step::Tool(rest),
                "ask" => Step::Ask(rest),
                "say" => Step::Say(rest),
                "huge" => Step::Huge(rest.parse().ok()?),
                "deltas" => Step::Deltas(rest.parse().ok()?),
                "empty" => Step::Empty,
                "fail" => Step::Fail(rest),
                _ => return None,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_lines_with_a_known_verb_are_steps() {
        let steps = parse("Look here.\n@stream a b\n  @say done\n@unknown x\n@empty");
        let expected = [
            Step::Stream("a b".to_owned()),
            Step::Say("done".to_owned()),
            Step::Empty,
        ];
        assert_eq!(steps, expected);
    }
}
