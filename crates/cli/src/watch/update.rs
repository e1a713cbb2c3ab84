//! What an event does to the model, and what is to be done for it. Pure: nothing is asked of anybody here.

use std::path::PathBuf;

use brigade_core::id::DelegationId;
use brigade_protocol::delegations::{Details, Follow, Summary, Watched};
use crossterm::event::{KeyEvent, KeyEventKind};

use super::keys::{pressed, typed};
use super::model::{Link, Model, Note, Open, Tab, Text};
use crate::output::{Tone, harmless};

/// Something that has happened.
#[derive(Debug)]
pub(super) enum Event {
    /// A key.
    Key(KeyEvent),
    /// Text was pasted.
    Pasted(String),
    /// The terminal has another size: columns, lines.
    Resized(u16, u16),
    /// The daemon tells of rows.
    Watched(Watched),
    /// It is out of reach.
    Lost(String),
    /// The cursor has rested on this delegation for a moment.
    Rested(DelegationId),
    /// Everything about one.
    Detailed(DelegationId, Result<Box<Details>, String>),
    /// One's text goes on, or (`read`) its result comes.
    Followed {
        id: DelegationId,
        follow: Follow,
        read: bool,
    },
    /// One's text can't be had.
    NoText(DelegationId, String),
    /// What the daemon has found for these words.
    Found(String, Result<Vec<DelegationId>, String>),
    /// Something that was asked for is done, or why not.
    Done(Result<String, String>),
}

/// Something to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Effect {
    /// Watch all projects, or this one.
    Watch { all_projects: bool },
    /// The cursor is on another delegation: nothing of the last one is needed, and once it rests, say so.
    Rest(Option<DelegationId>),
    /// Ask for everything about one.
    Detail(DelegationId),
    /// Follow one's text while it grows.
    Peek(DelegationId),
    /// Read the result of one that has ended.
    Read(DelegationId),
    /// Search prompts and results.
    Search { query: String, all_projects: bool },
    /// Cancel one.
    Cancel(DelegationId),
    /// Have its work done anew.
    Retry(DelegationId),
    /// Send it a message.
    Send(DelegationId, String),
    /// Open its file in the editor.
    Edit(PathBuf),
    /// Open a copy of its text so far in the editor.
    EditCopy(DelegationId, String),
    /// Copy text to the clipboard.
    Copy(String),
    /// Stop this process until it is told to go on.
    Suspend,
    /// Leave.
    Quit,
}

/// The model after the event.
pub(super) fn update(model: &mut Model, event: Event) -> Vec<Effect> {
    let before = model.selected().map(|row| row.id.clone());
    let mut effects = match event {
        Event::Key(key) if key.kind != KeyEventKind::Release => pressed(model, key),
        Event::Key(_) => Vec::new(),
        Event::Pasted(text) => {
            typed(model, &text.replace(['\r', '\n'], " "));
            Vec::new()
        }
        Event::Resized(columns, lines) => {
            model.size = (columns, lines);
            Vec::new()
        }
        Event::Watched(Watched::Reset { delegations, more }) => {
            model.link = Link::Live;
            model.reset(delegations, more);
            // What came while nothing was heard.
            refreshed(model, None)
        }
        Event::Watched(Watched::Changed { delegations }) => {
            let changed: Vec<_> = delegations.iter().map(|row| row.id.clone()).collect();
            model.change(delegations);
            refreshed(model, Some(&changed))
        }
        Event::Lost(why) => {
            model.link = Link::Lost(why);
            Vec::new()
        }
        Event::Rested(id) => rested(model, &id),
        Event::Detailed(id, details) => {
            if let Some(open) = opened(model, &id) {
                match details {
                    Ok(details) => {
                        open.details = Some(details);
                        open.failed = None;
                    }
                    Err(why) => open.failed = Some(why),
                }
            }
            Vec::new()
        }
        Event::Followed { id, follow, read } => {
            if let Some(open) = opened(model, &id) {
                followed(open.text.get_or_insert_with(Text::default), follow, read);
            }
            Vec::new()
        }
        Event::NoText(id, why) => {
            if let Some(open) = opened(model, &id) {
                let text = open.text.get_or_insert_with(Text::default);
                text.failed = Some(why);
                text.revision += 1;
            }
            Vec::new()
        }
        Event::Found(query, hits) => {
            if query == model.query {
                match hits {
                    Ok(hits) => model.found(hits),
                    Err(why) => model.note = Some(bad(&why)),
                }
            }
            Vec::new()
        }
        Event::Done(done) => {
            let effects = model
                .open
                .iter()
                .map(|open| Effect::Detail(open.id.clone()));
            let effects = effects.collect();
            model.note = Some(match done {
                Ok(text) => Note {
                    tone: Tone::Good,
                    text: harmless(&text).into_owned(),
                },
                Err(why) => bad(&why),
            });
            effects
        }
    };
    let after = model.selected().map(|row| row.id.clone());
    if before != after {
        model.open = None;
        effects.push(Effect::Rest(after));
    }
    effects
}

fn bad(why: &str) -> Note {
    Note {
        tone: Tone::Bad,
        text: harmless(why).into_owned(),
    }
}

pub(super) fn opened<'a>(model: &'a mut Model, id: &DelegationId) -> Option<&'a mut Open> {
    model.open.as_mut().filter(|open| open.id == *id)
}

/// The cursor rests: what it is on is looked at. The text of what runs is followed; to read a result is for the
/// person to ask for.
pub(super) fn rested(model: &mut Model, id: &DelegationId) -> Vec<Effect> {
    let Some(row) = model.selected().filter(|row| row.id == *id) else {
        return Vec::new();
    };
    let active = !row.state.is_terminal();
    let known = model.open.as_ref().is_some_and(|open| open.id == *id);
    if !known {
        model.open = Some(Open {
            id: id.clone(),
            details: None,
            text: None,
            failed: None,
        });
    }
    let mut effects = vec![Effect::Detail(id.clone())];
    if active && !known {
        effects.push(Effect::Peek(id.clone()));
    }
    effects
}

/// What is open may have changed: all of it, or these.
fn refreshed(model: &Model, changed: Option<&[DelegationId]>) -> Vec<Effect> {
    let Some(open) = &model.open else {
        return Vec::new();
    };
    let concerned = changed.is_none_or(|changed| changed.contains(&open.id));
    let Some(row) = model.row(&open.id).filter(|_| concerned) else {
        return Vec::new();
    };
    let known = open.details.as_ref().map(|details| &details.summary);
    // The row tells how far it is; what it has called and was refused stands in the timeline alone.
    let called = |row: &Summary| match model.tab {
        Tab::Timeline => (row.progress.tool_calls, row.progress.refused),
        _ => (0, 0),
    };
    let same = known.is_some_and(|known| {
        (known.state, &known.phase, known.attempt) == (row.state, &row.phase, row.attempt)
            && called(known) == called(row)
    });
    if same {
        Vec::new()
    } else {
        vec![Effect::Detail(open.id.clone())]
    }
}

fn followed(text: &mut Text, follow: Follow, read: bool) {
    text.revision += 1;
    text.failed = None;
    match follow {
        Follow::Reset { text: whole } => text.text = whole,
        Follow::More { text: more } => text.text.push_str(&more),
        // The rows tell how it goes.
        Follow::Doing { .. } => {}
        Follow::Ended { .. } => text.whole = read,
    }
}
