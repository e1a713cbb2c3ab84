//! What the screen is drawn from: the rows, which of them are shown, what is open, and what is being typed.

use std::collections::{HashMap, HashSet};

use brigade_core::delegation::State;
use brigade_core::id::DelegationId;
use brigade_protocol::delegations::{Details, Summary};

use super::pane::Pane;
use crate::context::Now;
use crate::output::Tone;

/// As many rows are kept; the daemon sends no more.
pub(super) const MOST: u32 = 10_000;

/// Which rows are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Filter {
    All,
    Active,
    Unread,
    Failed,
    Complete,
}

impl Filter {
    pub(super) const EACH: [Filter; 5] = [
        Filter::All,
        Filter::Active,
        Filter::Unread,
        Filter::Failed,
        Filter::Complete,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Filter::All => "all",
            Filter::Active => "active",
            Filter::Unread => "unread",
            Filter::Failed => "failed",
            Filter::Complete => "complete",
        }
    }

    fn takes(self, summary: &Summary) -> bool {
        match self {
            Filter::All => true,
            Filter::Active => !summary.state.is_terminal(),
            Filter::Unread => summary.unread,
            // Whatever has not come to its answer.
            Filter::Failed => summary.state.is_terminal() && summary.state != State::Complete,
            Filter::Complete => summary.state == State::Complete,
        }
    }

    /// The one after it, or before.
    pub(super) fn turned(self, forth: bool) -> Self {
        let at = Self::EACH.iter().position(|one| *one == self).unwrap_or(0);
        let step = if forth { 1 } else { Self::EACH.len() - 1 };
        Self::EACH[(at + step) % Self::EACH.len()]
    }
}

/// What keys mean now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Mode {
    /// They move and act.
    Normal,
    /// They are the words searched for; what was there before comes back with `Esc`.
    Search { before: String },
    /// They are a message to this delegation.
    Send { to: DelegationId, text: String },
    /// One of them confirms.
    Confirm { what: Deed, id: DelegationId },
    /// Any of them leaves the help.
    Help,
}

/// What is asked back before it is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Deed {
    Cancel,
    Retry,
}

/// How it stands with the daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Link {
    /// The rows have not come yet.
    Coming,
    /// The rows are as the daemon has them.
    Live,
    /// It is out of reach, for this reason; the rows are as they were.
    Lost(String),
}

/// What is to be looked at in the pane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tab {
    Text,
    Timeline,
    Prompt,
}

impl Tab {
    pub(super) const EACH: [Tab; 3] = [Tab::Text, Tab::Timeline, Tab::Prompt];

    pub(super) fn name(self) -> &'static str {
        match self {
            Tab::Text => "text",
            Tab::Timeline => "timeline",
            Tab::Prompt => "prompt",
        }
    }
}

/// A delegation's text, as far as it is here.
#[derive(Debug, Default)]
pub(super) struct Text {
    pub(super) text: String,
    /// Grows with each change.
    pub(super) revision: u64,
    /// Whether it is the result, read by the person.
    pub(super) whole: bool,
    /// Why there is none.
    pub(super) failed: Option<String>,
}

/// What is known of the delegation that the cursor is on.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) id: DelegationId,
    pub(super) details: Option<Box<Details>>,
    pub(super) text: Option<Text>,
    /// Why the details are not here.
    pub(super) failed: Option<String>,
}

/// A line about what was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Note {
    pub(super) tone: Tone,
    pub(super) text: String,
}

/// Everything that the screen shows.
pub(super) struct Model {
    rows: Vec<Summary>,
    /// What is searched, row by row.
    words: Vec<String>,
    places: HashMap<DelegationId, usize>,
    /// How many there are beyond those.
    pub(super) more: u64,
    /// The rows that are shown, the active ones first, each newest first.
    shown: Vec<usize>,
    /// The cursor, in `shown`.
    pub(super) cursor: usize,
    /// The first row on the screen.
    pub(super) top: usize,
    pub(super) filter: Filter,
    /// The words searched for.
    pub(super) query: String,
    /// What the daemon has found for them in prompts and results.
    found: HashSet<DelegationId>,
    pub(super) all_projects: bool,
    pub(super) mode: Mode,
    pub(super) link: Link,
    pub(super) tab: Tab,
    /// Whether keys move in the pane.
    pub(super) in_pane: bool,
    pub(super) open: Option<Open>,
    pub(super) pane: Pane,
    pub(super) note: Option<Note>,
    pub(super) now: Now,
    /// Columns and lines.
    pub(super) size: (u16, u16),
    /// How many rows the table has room for.
    pub(super) page: usize,
}

impl Model {
    pub(super) fn new(all_projects: bool, size: (u16, u16), now: Now) -> Self {
        Self {
            rows: Vec::new(),
            words: Vec::new(),
            places: HashMap::new(),
            more: 0,
            shown: Vec::new(),
            cursor: 0,
            top: 0,
            filter: Filter::All,
            query: String::new(),
            found: HashSet::new(),
            all_projects,
            mode: Mode::Normal,
            link: Link::Coming,
            tab: Tab::Text,
            in_pane: false,
            open: None,
            pane: Pane::default(),
            note: None,
            now,
            size,
            page: 1,
        }
    }

    /// How many rows are shown.
    pub(super) fn len(&self) -> usize {
        self.shown.len()
    }

    /// The rows from `top` on, at most so many.
    pub(super) fn window(&self, count: usize) -> impl Iterator<Item = (usize, &Summary)> {
        let rows = self.shown.iter().enumerate().skip(self.top).take(count);
        rows.map(|(at, row)| (at, &self.rows[*row]))
    }

    /// The row that the cursor is on.
    pub(super) fn selected(&self) -> Option<&Summary> {
        self.shown.get(self.cursor).map(|row| &self.rows[*row])
    }

    /// A row by its ID.
    pub(super) fn row(&self, id: &DelegationId) -> Option<&Summary> {
        self.places.get(id).map(|at| &self.rows[*at])
    }

    /// Whether something is at work, whose age changes by itself.
    pub(super) fn has_active(&self) -> bool {
        self.rows.iter().any(|row| !row.state.is_terminal())
    }

    /// How many rows a filter takes.
    pub(super) fn count(&self, filter: Filter) -> usize {
        self.rows.iter().filter(|row| filter.takes(row)).count()
    }

    /// What all of them have cost.
    pub(super) fn cost(&self) -> f64 {
        self.rows.iter().map(|row| row.progress.cost).sum()
    }

    /// All rows anew.
    pub(super) fn reset(&mut self, rows: Vec<Summary>, more: u64) {
        let kept = self.selected().map(|row| row.id.clone());
        self.rows = rows;
        self.more = more;
        self.words = self.rows.iter().map(searched).collect();
        self.number();
        self.choose(kept);
    }

    /// Rows that are new or have changed.
    pub(super) fn change(&mut self, changed: Vec<Summary>) {
        let kept = self.selected().map(|row| row.id.clone());
        let mut grown = false;
        for row in changed {
            match self.places.get(&row.id) {
                Some(at) if !grown => {
                    self.words[*at] = searched(&row);
                    self.rows[*at] = row;
                }
                _ => {
                    if let Some(at) = self.rows.iter().position(|known| known.id == row.id) {
                        self.words[at] = searched(&row);
                        self.rows[at] = row;
                    } else {
                        self.insert(row);
                        grown = true;
                    }
                }
            }
        }
        if grown {
            self.number();
        }
        self.choose(kept);
    }

    fn insert(&mut self, row: Summary) {
        let at = self
            .rows
            .partition_point(|known| known.registered_at > row.registered_at);
        self.words.insert(at, searched(&row));
        self.rows.insert(at, row);
        let most = usize::try_from(MOST).unwrap_or(usize::MAX);
        if self.rows.len() > most {
            self.rows.truncate(most);
            self.words.truncate(most);
            self.more += 1;
        }
    }

    fn number(&mut self) {
        let rows = self.rows.iter().enumerate();
        self.places = rows.map(|(at, row)| (row.id.clone(), at)).collect();
    }

    /// What the daemon has found for the words. Rows that are not here would grow old unheard of: they stay away.
    pub(super) fn found(&mut self, hits: Vec<DelegationId>) {
        let kept = self.selected().map(|row| row.id.clone());
        self.found = hits.into_iter().collect();
        self.choose(kept);
    }

    /// Other words are searched for.
    pub(super) fn search(&mut self, query: String) {
        let kept = self.selected().map(|row| row.id.clone());
        self.query = query;
        self.found.clear();
        self.choose(kept);
    }

    /// Another filter.
    pub(super) fn narrow(&mut self, filter: Filter) {
        let kept = self.selected().map(|row| row.id.clone());
        self.filter = filter;
        self.choose(kept);
    }

    /// Draws up which rows are shown; the cursor stays on its delegation, or where it was.
    fn choose(&mut self, kept: Option<DelegationId>) {
        let wanted: Vec<String> = self
            .query
            .split_whitespace()
            .map(str::to_lowercase)
            .collect();
        let takes = |at: &usize| {
            let row = &self.rows[*at];
            self.filter.takes(row)
                && (self.found.contains(&row.id)
                    || wanted.iter().all(|word| self.words[*at].contains(word)))
        };
        let mut shown: Vec<usize> = (0..self.rows.len()).filter(takes).collect();
        shown.sort_by_key(|at| self.rows[*at].state.is_terminal());
        self.shown = shown;
        let place = kept.and_then(|id| {
            let row = self.places.get(&id)?;
            self.shown.iter().position(|at| at == row)
        });
        self.move_to(place.unwrap_or(self.cursor));
    }

    /// Puts the cursor on this row, or the last.
    pub(super) fn move_to(&mut self, at: usize) {
        self.cursor = at.min(self.shown.len().saturating_sub(1));
        self.in_sight();
    }

    /// Scrolls the table so that the cursor is seen.
    pub(super) fn in_sight(&mut self) {
        let page = self.page.max(1);
        if self.cursor < self.top {
            self.top = self.cursor;
        } else if self.cursor >= self.top + page {
            self.top = self.cursor + 1 - page;
        }
        // No empty lines below the last row while there are rows above.
        self.top = self.top.min(self.shown.len().saturating_sub(page));
    }
}

fn searched(row: &Summary) -> String {
    format!(
        "{} {} {} {} {}",
        row.id,
        row.agent,
        row.state.name(),
        row.title,
        row.summary
    )
    .to_lowercase()
}
