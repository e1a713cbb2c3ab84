//! What the keys mean.

use brigade_core::id::DelegationId;
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::model::{Deed, Filter, Link, Mode, Model, Note, Tab};
use super::update::{Effect, opened, rested};
use crate::output::Tone;

/// What a key does, by the mode it is pressed in.
pub(super) fn pressed(model: &mut Model, key: KeyEvent) -> Vec<Effect> {
    let control = key.modifiers.contains(KeyModifiers::CONTROL);
    if control && key.code == KeyCode::Char('z') {
        return vec![Effect::Suspend];
    }
    if control && key.code == KeyCode::Char('c') && model.mode == Mode::Normal {
        return vec![Effect::Quit];
    }
    model.note = None;
    match model.mode.clone() {
        Mode::Help => {
            model.mode = Mode::Normal;
            Vec::new()
        }
        Mode::Confirm { what, id } => {
            model.mode = Mode::Normal;
            if !matches!(key.code, KeyCode::Char('y' | 'Y')) {
                return Vec::new();
            }
            match what {
                Deed::Cancel => {
                    model.note = under_way(format!("cancelling {id} …"));
                    vec![Effect::Cancel(id)]
                }
                Deed::Retry => {
                    model.note = under_way(format!("beginning anew with the work of {id} …"));
                    vec![Effect::Retry(id)]
                }
            }
        }
        Mode::Search { before } => in_search(model, key, before),
        Mode::Send { to, text } => in_message(model, key, to, text),
        Mode::Normal => in_list(model, key, control),
    }
}

fn under_way(text: String) -> Option<Note> {
    let tone = Tone::Faint;
    Some(Note { tone, text })
}

/// Text for whatever is being typed.
pub(super) fn typed(model: &mut Model, more: &str) {
    match &mut model.mode {
        Mode::Search { .. } => {
            let query = format!("{}{more}", model.query);
            model.search(query);
        }
        Mode::Send { text, .. } => text.push_str(more),
        _ => {}
    }
}

fn in_search(model: &mut Model, key: KeyEvent, before: String) -> Vec<Effect> {
    let control = key.modifiers.contains(KeyModifiers::CONTROL);
    match key.code {
        KeyCode::Char('c') if control => cancel_search(model, before),
        KeyCode::Esc => cancel_search(model, before),
        KeyCode::Char('u') if control => model.search(String::new()),
        KeyCode::Backspace => {
            let mut query = model.query.clone();
            query.pop();
            model.search(query);
        }
        KeyCode::Char(c) if !control => typed(model, &c.to_string()),
        KeyCode::Enter => {
            model.mode = Mode::Normal;
            if !model.query.trim().is_empty() {
                return vec![Effect::Search {
                    query: model.query.clone(),
                    all_projects: model.all_projects,
                }];
            }
        }
        KeyCode::Down => model.move_to(model.cursor + 1),
        KeyCode::Up => model.move_to(model.cursor.saturating_sub(1)),
        _ => {}
    }
    Vec::new()
}

fn cancel_search(model: &mut Model, before: String) {
    model.mode = Mode::Normal;
    model.search(before);
}

fn in_message(model: &mut Model, key: KeyEvent, to: DelegationId, mut text: String) -> Vec<Effect> {
    let control = key.modifiers.contains(KeyModifiers::CONTROL);
    match key.code {
        KeyCode::Char('c') if control => model.mode = Mode::Normal,
        KeyCode::Esc => model.mode = Mode::Normal,
        KeyCode::Char('u') if control => {
            model.mode = Mode::Send {
                to,
                text: String::new(),
            };
        }
        KeyCode::Backspace => {
            text.pop();
            model.mode = Mode::Send { to, text };
        }
        KeyCode::Char(c) if !control => typed(model, &c.to_string()),
        KeyCode::Enter => {
            model.mode = Mode::Normal;
            if !text.trim().is_empty() {
                model.note = under_way(format!("sending to {to} …"));
                return vec![Effect::Send(to, text)];
            }
        }
        _ => {}
    }
    Vec::new()
}

fn in_list(model: &mut Model, key: KeyEvent, control: bool) -> Vec<Effect> {
    let half = (if model.in_pane {
        model.pane.height
    } else {
        model.page
    } / 2)
        .max(1);
    match key.code {
        KeyCode::Char('q') => return vec![Effect::Quit],
        KeyCode::Char('?') => model.mode = Mode::Help,
        KeyCode::Char('d') if control => step(model, signed(half)),
        KeyCode::Char('u') if control => step(model, -signed(half)),
        KeyCode::Char('f') if control => step(model, 2 * signed(half)),
        KeyCode::Char('b') if control => step(model, -2 * signed(half)),
        _ if control => {}
        KeyCode::Char('j') | KeyCode::Down => step(model, 1),
        KeyCode::Char('k') | KeyCode::Up => step(model, -1),
        KeyCode::PageDown | KeyCode::Char(' ') => step(model, 2 * signed(half)),
        KeyCode::PageUp => step(model, -2 * signed(half)),
        KeyCode::Char('g') | KeyCode::Home => step(model, isize::MIN),
        KeyCode::Char('G') | KeyCode::End => step(model, isize::MAX),
        KeyCode::Char('/') => {
            let before = model.query.clone();
            model.search(String::new());
            model.mode = Mode::Search { before };
        }
        KeyCode::Char('f') => model.narrow(model.filter.turned(true)),
        KeyCode::Char('F') => model.narrow(model.filter.turned(false)),
        KeyCode::Char('p') => {
            model.all_projects = !model.all_projects;
            model.link = Link::Coming;
            model.reset(Vec::new(), 0);
            return vec![Effect::Watch {
                all_projects: model.all_projects,
            }];
        }
        KeyCode::Char('1') => model.tab = Tab::Text,
        KeyCode::Char('2') => model.tab = Tab::Timeline,
        KeyCode::Char('3') => model.tab = Tab::Prompt,
        KeyCode::Tab => {
            let at = Tab::EACH.iter().position(|tab| *tab == model.tab);
            model.tab = Tab::EACH[(at.unwrap_or(0) + 1) % Tab::EACH.len()];
        }
        KeyCode::Esc | KeyCode::Char('h') | KeyCode::Left => {
            if model.in_pane {
                model.in_pane = false;
            } else if key.code == KeyCode::Esc && !model.query.is_empty() {
                model.search(String::new());
            } else if key.code == KeyCode::Esc && model.filter != Filter::All {
                model.narrow(Filter::All);
            }
        }
        code => return on_selected(model, code),
    }
    Vec::new()
}

fn signed(number: usize) -> isize {
    isize::try_from(number).unwrap_or(isize::MAX / 4)
}

/// Moves the cursor, or the text.
fn step(model: &mut Model, by: isize) {
    if model.in_pane {
        model.pane.scroll(by);
    } else {
        model.move_to(model.cursor.saturating_add_signed(by));
    }
}

/// Keys for the delegation that the cursor is on.
fn on_selected(model: &mut Model, code: KeyCode) -> Vec<Effect> {
    let Some(row) = model.selected() else {
        return Vec::new();
    };
    let (id, active) = (row.id.clone(), !row.state.is_terminal());
    let artifact = row.artifact.clone();
    let note = |text: String| {
        Some(Note {
            tone: Tone::Warn,
            text,
        })
    };
    match code {
        KeyCode::Enter | KeyCode::Char('l') | KeyCode::Right => {
            model.in_pane = true;
            let is_here = opened(model, &id)
                .and_then(|open| open.text.as_ref())
                .is_some_and(|text| text.whole && text.failed.is_none());
            if model.tab == Tab::Text && !active && !is_here {
                let mut effects = rested(model, &id);
                effects.push(Effect::Read(id));
                return effects;
            }
        }
        KeyCode::Char('c') if active => {
            model.mode = Mode::Confirm {
                what: Deed::Cancel,
                id,
            };
        }
        KeyCode::Char('c') => model.note = note(format!("{id} has ended.")),
        KeyCode::Char('r') if !active => {
            model.mode = Mode::Confirm {
                what: Deed::Retry,
                id,
            };
        }
        KeyCode::Char('r') => {
            model.note = note(format!(
                "{id} is still at work: c cancels it, s tells it more."
            ));
        }
        KeyCode::Char('s') => {
            model.mode = Mode::Send {
                to: id,
                text: String::new(),
            };
        }
        KeyCode::Char('y') => {
            model.note = Some(Note {
                tone: Tone::Good,
                text: format!("{id} is copied, where the terminal allows that (OSC 52)."),
            });
            return vec![Effect::Copy(id.to_string())];
        }
        KeyCode::Char('e') => match artifact {
            Some(path) if !active => return vec![Effect::Edit(path.into())],
            _ => {
                let text = opened(model, &id).and_then(|open| open.text.as_ref());
                match text.filter(|text| !text.text.is_empty()) {
                    Some(text) => return vec![Effect::EditCopy(id, text.text.clone())],
                    None => model.note = note(format!("{id} has written nothing yet.")),
                }
            }
        },
        _ => {}
    }
    Vec::new()
}
