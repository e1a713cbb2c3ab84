//! The work that is given out: alike for all contestants.

use std::fmt;
use std::ops::Range;

use brigade_testkit::Script;
use brigade_testkit::model::script::Op;

/// Pieces of a streamed answer, and the milliseconds between them: about a second, at the pace of a usual model.
const STREAM: (usize, u64) = (40, 25);

/// How the model answers those that work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pace {
    /// In one go.
    Instant,
    /// Word by word.
    Stream,
}

impl fmt::Display for Pace {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Instant => "instant model",
            Self::Stream => "streamed answers",
        })
    }
}

/// What is measured at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Setting {
    pub(super) pace: Pace,
    pub(super) at_once: u32,
}

impl fmt::Display for Setting {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} at once, {}", self.at_once, self.pace)
    }
}

/// Pieces of work that are given out together.
#[derive(Debug, Clone, Copy)]
pub(super) struct Batch {
    /// No other batch has it.
    pub(super) number: u32,
    pub(super) setting: Setting,
}

impl Batch {
    /// The numbers of its pieces.
    pub(super) fn pieces(&self) -> Range<u32> {
        0..self.setting.at_once
    }

    /// The same, as the number of them.
    pub(super) fn len(&self) -> usize {
        self.pieces().len()
    }

    /// Where the model waits before it answers any of them.
    pub(super) fn gate(&self) -> String {
        format!("gate-{}", self.number)
    }

    /// A word that stands in this piece's prompt and answer, and nowhere else.
    pub(super) fn marker(&self, piece: u32) -> String {
        format!("finding{:05}x{piece:02}", self.number)
    }

    /// What is asked of whoever does this piece.
    pub(super) fn prompt(&self, piece: u32) -> String {
        let script = Script::new().gate(&self.gate()).say(self.answer(piece));
        let script = match self.setting.pace {
            Pace::Instant => script,
            Pace::Stream => script.op(Op::Chunks {
                count: STREAM.0,
                every_ms: STREAM.1,
            }),
        };
        format!("Look into {}.\n{script}", self.marker(piece))
    }

    /// What the model answers, or begins to.
    pub(super) fn answer(&self, piece: u32) -> String {
        let marker = self.marker(piece);
        format!(
            "# {marker}\n\nWhat there is about it.\n\nAll there is to say about it, in one line of an answer.\n\n"
        )
    }
}
