//! The model by its events, and the screen by its snapshots.

use brigade_core::delegation::State;
use brigade_core::id::DelegationId;
use brigade_protocol::delegations::{Details, Follow, Summary, TimelineEntry, Watched};
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use proptest::prelude::*;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::style::Color;

use super::model::{Filter, Link, Mode, Model};
use super::theme::Theme;
use super::update::{Effect, Event, update};
use super::view::draw;
use crate::commands::list::tests::{at, now, summary};

const NAMES: [&str; 6] = [
    "brave-amber-otter",
    "calm-blue-crow",
    "deep-cold-lake",
    "eager-dry-elk",
    "fair-odd-fox",
    "grey-old-goat",
];

fn id(name: &str) -> DelegationId {
    name.parse().unwrap()
}

/// Three at work, one that failed, one unread, one read; newest first.
fn rows() -> Vec<Summary> {
    let states = [
        State::Running,
        State::Error,
        State::Running,
        State::Complete,
        State::Registered,
        State::Complete,
    ];
    let row = |(n, (name, state))| {
        let mut row = summary(name, state);
        row.registered_at = at(100 * (5 - i64::try_from(n).unwrap_or(0)));
        row.unread = false;
        row
    };
    let named = NAMES.into_iter().zip(states).enumerate();
    let mut rows: Vec<Summary> = named.map(row).collect();
    rows[0].progress.last_line = Some("The lock order is in store/worker.rs, and".into());
    rows[1].title = "Which settings no document names".into();
    rows[1].reason = Some("the provider failed: overloaded".into());
    rows[2].phase = "waiting for a host: its process ended".into();
    rows[2].attempt = 2;
    rows[3].unread = true;
    rows[3].title =
        "日本語の題名 and a title that is longer than most screens are wide, to be cut".into();
    rows[4].phase = "queued".into();
    rows[4].progress = Default::default();
    rows
}

fn model(size: (u16, u16)) -> Model {
    let mut model = Model::new(false, size, now());
    tell(&mut model, rows());
    model
}

fn tell(model: &mut Model, delegations: Vec<Summary>) -> Vec<Effect> {
    let reset = Watched::Reset {
        delegations,
        more: 0,
    };
    update(model, Event::Watched(reset))
}

fn key(code: KeyCode) -> Event {
    Event::Key(KeyEvent::new(code, KeyModifiers::NONE))
}

fn press(model: &mut Model, code: KeyCode) -> Vec<Effect> {
    update(model, key(code))
}

fn type_in(model: &mut Model, text: &str) -> Vec<Effect> {
    let keys = text.chars().map(KeyCode::Char);
    keys.flat_map(|code| press(model, code)).collect()
}

fn selected(model: &Model) -> &str {
    model.selected().map_or("", |row| row.id.as_str())
}

fn screen(model: &mut Model, colour: bool) -> Terminal<TestBackend> {
    let backend = TestBackend::new(model.size.0, model.size.1);
    let mut terminal = Terminal::new(backend).unwrap();
    terminal
        .draw(|frame| draw(model, frame, Theme { colour }))
        .unwrap();
    terminal
}

fn details(name: &str) -> Event {
    let row = rows().into_iter().find(|row| row.id.as_str() == name);
    let details = Details {
        summary: row.unwrap(),
        prompt: "Find where the locks are taken,\nin which order.".into(),
        child: Some("ses_child".into()),
        directory: "/p".into(),
        trace: None,
        model: Some("lab/small".into()),
        access: "enforced".into(),
        withheld: Vec::new(),
        ran_ms: 89_000,
        max_run_ms: None,
        notice: "none".into(),
        continues: None,
        retries: None,
        worktree: None,
        attempts: Vec::new(),
        tools: Vec::new(),
        refusals: Vec::new(),
        timeline: vec![TimelineEntry {
            at: at(0),
            event: "registered".into(),
            detail: "accepted".into(),
        }],
    };
    Event::Detailed(id(name), Ok(Box::new(details)))
}

fn text(name: &str, text: &str) -> Event {
    let text = text.to_owned();
    Event::Followed {
        id: id(name),
        follow: Follow::Reset { text },
        read: false,
    }
}

/// The result of one comes, as it does when the person reads it, or what ends a text that is only looked at.
fn ended(model: &mut Model, name: &str, result: &str, read: bool) {
    if read {
        update(model, text(name, result));
    }
    let follow = Follow::Ended {
        state: State::Complete,
        reason: "answered".into(),
        artifact: "/data/x.md".into(),
    };
    let id = id(name);
    update(model, Event::Followed { id, follow, read });
}

/// The cursor rests on the running one, whose text has begun.
fn at_work(size: (u16, u16)) -> Model {
    let mut model = model(size);
    update(&mut model, Event::Rested(id(NAMES[0])));
    update(&mut model, details(NAMES[0]));
    let so_far = "# Lock order\n\nTaken **first** in `worker.rs`:\n\n- one writer\n- three readers\n\n```rust\nlet db = open()?;\n```\n\nThe lock order is in store/worker.rs, and";
    update(&mut model, text(NAMES[0], so_far));
    model
}

#[test]
fn what_was_changed_is_told_in_a_line() {
    let mut read = model((100, 40));
    let Event::Detailed(id, Ok(mut changed)) = details(NAMES[0]) else {
        panic!("they are details");
    };
    changed.worktree = crate::commands::show::tests::details(State::Complete).worktree;
    update(&mut read, Event::Rested(id.clone()));
    press(&mut read, KeyCode::Enter);
    press(&mut read, KeyCode::Char('2'));
    update(&mut read, Event::Detailed(id.clone(), Ok(changed.clone())));
    let shown = screen(&mut read, false).backend().to_string();
    assert!(
        shown.contains("Changes  3 files changed, +9 -3; applied"),
        "{shown}"
    );
    // What is applied, or undone, elsewhere is seen at once.
    changed.worktree.as_mut().unwrap().applies.clear();
    update(&mut read, Event::Detailed(id, Ok(changed)));
    let shown = screen(&mut read, false).backend().to_string();
    assert!(
        shown.contains("+9 -3; brigade diff brave-amber-otter, brigade apply"),
        "{shown}"
    );
}

#[test]
fn the_screen_is_as_wide_as_it_may_be() {
    for size in [(40, 20), (80, 24), (140, 40)] {
        let terminal = screen(&mut at_work(size), true);
        insta::assert_snapshot!(format!("at_work_{}x{}", size.0, size.1), terminal.backend());
    }
    let mut read = model((100, 30));
    press(&mut read, KeyCode::Char('G'));
    press(&mut read, KeyCode::Enter);
    update(&mut read, details(NAMES[5]));
    ended(&mut read, NAMES[5], "# Read\n\nAll of it.", true);
    press(&mut read, KeyCode::Char('2'));
    insta::assert_snapshot!("timeline_100x30", screen(&mut read, true).backend());
    press(&mut read, KeyCode::Char('?'));
    insta::assert_snapshot!("help_100x30", screen(&mut read, true).backend());
}

#[test]
fn without_colours_there_are_none() {
    let coloured = |colour| {
        let terminal = screen(&mut at_work((140, 40)), colour);
        let cells = terminal.backend().buffer().content.iter();
        cells.filter(|cell| cell.fg != Color::Reset).count()
    };
    assert!(coloured(true) > 0);
    assert_eq!(coloured(false), 0);
}

#[test]
fn what_a_model_wrote_does_not_steer_the_terminal() {
    let mut model = model((80, 24));
    let mut row = rows().remove(0);
    row.title = "a\u{1b}[2Jb\nc".into();
    let changed = Watched::Changed {
        delegations: vec![row],
    };
    update(&mut model, Event::Watched(changed));
    update(&mut model, Event::Rested(id(NAMES[0])));
    update(&mut model, text(NAMES[0], "x\u{1b}]52;c;AAAA\u{7}y"));
    let shown = screen(&mut model, true).backend().to_string();
    assert!(
        !shown.contains(|c: char| c.is_control() && c != '\n'),
        "{shown:?}"
    );
}

#[test]
fn the_cursor_stays_on_its_delegation() {
    let mut model = model((80, 24));
    assert_eq!(selected(&model), NAMES[0]);
    press(&mut model, KeyCode::Down);
    press(&mut model, KeyCode::Down);
    assert_eq!(selected(&model), NAMES[4], "the active ones come first");
    let mut next = summary("new-red-newt", State::Running);
    next.registered_at = at(599);
    let mut ended = rows().remove(0);
    ended.state = State::Complete;
    let changed = Watched::Changed {
        delegations: vec![next, ended],
    };
    update(&mut model, Event::Watched(changed));
    assert_eq!(selected(&model), NAMES[4]);
    press(&mut model, KeyCode::Char('g'));
    assert_eq!(selected(&model), "new-red-newt");
    // One that is gone from sight leaves the cursor where it was.
    model.narrow(Filter::Failed);
    assert_eq!(selected(&model), NAMES[1]);
}

#[test]
fn a_result_is_read_only_when_the_person_asks_for_it() {
    let mut model = model((80, 24));
    let running = id(NAMES[0]);
    let effects = update(&mut model, Event::Rested(running.clone()));
    assert_eq!(
        effects,
        [Effect::Detail(running.clone()), Effect::Peek(running)]
    );
    let effects = press(&mut model, KeyCode::Char('G'));
    let last = id(NAMES[5]);
    assert_eq!(effects, [Effect::Rest(Some(last.clone()))]);
    let effects = update(&mut model, Event::Rested(last.clone()));
    assert_eq!(effects, [Effect::Detail(last.clone())]);
    let effects = press(&mut model, KeyCode::Enter);
    assert_eq!(
        effects,
        [Effect::Detail(last.clone()), Effect::Read(last.clone())]
    );
    update(&mut model, Event::NoText(last.clone(), "it is gone".into()));
    assert!(press(&mut model, KeyCode::Enter).contains(&Effect::Read(last)));
    ended(&mut model, NAMES[5], "# Done", true);
    press(&mut model, KeyCode::Esc);
    assert_eq!(press(&mut model, KeyCode::Enter), [], "it is here");
    // What comes for another one is for nobody.
    update(&mut model, text(NAMES[0], "late"));
    let open = model.open.as_ref().unwrap();
    assert_eq!(open.text.as_ref().unwrap().text, "# Done");
}

#[test]
fn what_ends_under_the_cursor_is_not_read_by_that() {
    let mut model = at_work((80, 24));
    ended(&mut model, NAMES[0], "", false);
    let mut row = rows().remove(0);
    row.state = State::Complete;
    row.phase = "ended".into();
    row.unread = true;
    let delegations = vec![row];
    update(&mut model, Event::Watched(Watched::Changed { delegations }));
    assert_eq!(selected(&model), NAMES[0]);
    let shown = screen(&mut model, false).backend().to_string();
    assert!(shown.contains("Enter reads the result."), "{shown}");
    let effects = press(&mut model, KeyCode::Enter);
    assert!(effects.contains(&Effect::Read(id(NAMES[0]))), "{effects:?}");
}

#[test]
fn what_costs_something_is_asked_back() {
    let mut model = model((80, 24));
    press(&mut model, KeyCode::Char('c'));
    assert!(matches!(model.mode, Mode::Confirm { .. }));
    assert_eq!(press(&mut model, KeyCode::Char('n')), []);
    press(&mut model, KeyCode::Char('c'));
    let running = id(NAMES[0]);
    assert_eq!(
        press(&mut model, KeyCode::Char('y')),
        [Effect::Cancel(running.clone())]
    );
    assert_eq!(press(&mut model, KeyCode::Char('r')), []);
    assert!(model.note.take().unwrap().text.contains("still at work"));
    press(&mut model, KeyCode::Char('s'));
    assert_eq!(type_in(&mut model, "look at q? too"), []);
    update(&mut model, Event::Pasted("\nand\r\nthere".into()));
    assert_eq!(
        press(&mut model, KeyCode::Enter),
        [Effect::Send(running, "look at q? too and  there".into())]
    );
    press(&mut model, KeyCode::Char('s'));
    assert_eq!(press(&mut model, KeyCode::Enter), [], "nothing to say");

    press(&mut model, KeyCode::Char('G'));
    assert_eq!(press(&mut model, KeyCode::Char('c')), []);
    assert!(model.note.take().unwrap().text.contains("has ended"));
    press(&mut model, KeyCode::Char('r'));
    let ended = id(NAMES[5]);
    assert_eq!(
        press(&mut model, KeyCode::Char('y')),
        [Effect::Retry(ended.clone())]
    );
    assert_eq!(
        press(&mut model, KeyCode::Char('e')),
        [Effect::Edit("/data/x.md".into())]
    );
    assert_eq!(
        press(&mut model, KeyCode::Char('y')),
        [Effect::Copy(ended.to_string())]
    );
}

#[test]
fn search_narrows_as_it_is_typed() {
    let mut model = model((80, 24));
    press(&mut model, KeyCode::Char('/'));
    type_in(&mut model, "SETTINGS docu");
    assert_eq!((model.len(), selected(&model)), (1, NAMES[1]));
    let effects = press(&mut model, KeyCode::Enter);
    let asked = Effect::Search {
        query: "SETTINGS docu".into(),
        all_projects: false,
    };
    assert!(effects.contains(&asked), "{effects:?}");
    // What only the daemon finds comes to it; what was found for other words, or is not here, does not.
    let hits = || Ok(vec![id(NAMES[3]), id("hot-icy-hare")]);
    update(&mut model, Event::Found("other".into(), hits()));
    assert_eq!(model.len(), 1);
    update(&mut model, Event::Found("SETTINGS docu".into(), hits()));
    assert_eq!(model.len(), 2);
    press(&mut model, KeyCode::Char('/'));
    type_in(&mut model, "zzz");
    assert_eq!(model.len(), 0);
    press(&mut model, KeyCode::Esc);
    assert_eq!(model.query, "SETTINGS docu", "the search before");
    press(&mut model, KeyCode::Esc);
    assert_eq!(model.len(), 6);
    press(&mut model, KeyCode::Char('f'));
    assert_eq!((model.filter, model.len()), (Filter::Active, 3));
    press(&mut model, KeyCode::Char('F'));
    press(&mut model, KeyCode::Char('F'));
    assert_eq!((model.filter, model.len()), (Filter::Complete, 2));
}

#[test]
fn a_daemon_that_goes_leaves_the_rows_and_is_heard_again() {
    let mut model = at_work((80, 24));
    update(&mut model, Event::Lost("nothing listens".into()));
    assert_eq!(model.link, Link::Lost("nothing listens".into()));
    assert_eq!(model.len(), 6);
    let shown = screen(&mut model, false).backend().to_string();
    assert!(shown.contains("reconnecting: nothing listens"), "{shown}");
    let mut ended = rows();
    ended[0].state = State::Complete;
    ended[0].phase = "ended".into();
    let effects = tell(&mut model, ended);
    assert_eq!(model.link, Link::Live);
    assert_eq!(
        effects,
        [Effect::Detail(id(NAMES[0]))],
        "it may have changed"
    );
    assert_eq!(
        press(&mut model, KeyCode::Char('p')),
        [Effect::Watch { all_projects: true }, Effect::Rest(None)]
    );
    assert_eq!((model.len(), &model.link), (0, &Link::Coming));
}

fn any_event() -> impl Strategy<Value = Event> {
    let keys = "jkgG/fFp123?screy qn\u{1b}";
    let keys: Vec<KeyCode> = keys
        .chars()
        .map(|c| match c {
            '\u{1b}' => KeyCode::Esc,
            c => KeyCode::Char(c),
        })
        .chain([
            KeyCode::Enter,
            KeyCode::Tab,
            KeyCode::Backspace,
            KeyCode::PageDown,
            KeyCode::PageUp,
            KeyCode::End,
        ])
        .collect();
    let some_rows = prop::collection::vec((0..NAMES.len(), 0..State::ALL.len()), 0..6);
    let some_rows = some_rows.prop_map(|drawn| {
        let row = |(name, state): (usize, usize)| summary(NAMES[name], State::ALL[state]);
        let mut rows: Vec<Summary> = drawn.into_iter().map(row).collect();
        rows.sort_by(|a, b| a.id.cmp(&b.id));
        rows.dedup_by(|a, b| a.id == b.id);
        rows
    });
    prop_oneof![
        6 => prop::sample::select(keys).prop_map(key),
        1 => (1..160_u16, 1..50_u16).prop_map(|(x, y)| Event::Resized(x, y)),
        1 => some_rows.clone().prop_map(|delegations| Event::Watched(Watched::Changed { delegations })),
        1 => some_rows.prop_map(|delegations| {
            let more = 3;
            Event::Watched(Watched::Reset { delegations, more })
        }),
        1 => (0..NAMES.len()).prop_map(|n| Event::Rested(id(NAMES[n]))),
        1 => (0..NAMES.len()).prop_map(|n| details(NAMES[n])),
        1 => ((0..NAMES.len()), ".{0,200}").prop_map(|(n, words)| text(NAMES[n], &words)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_is_pressed_and_told_the_cursor_is_seen(events in prop::collection::vec(any_event(), 1..60)) {
        let mut model = model((80, 24));
        for event in events {
            let before = selected(&model).to_owned();
            let effects = update(&mut model, event);
            let rest = effects.iter().any(|effect| matches!(effect, Effect::Rest(_)));
            prop_assert_eq!(rest, before != selected(&model), "what is followed is what the cursor is on");
            screen(&mut model, true);
            prop_assert!(model.len() == 0 || model.cursor < model.len());
            prop_assert!(model.top <= model.cursor && model.cursor < model.top + model.page.max(1) || model.len() == 0);
        }
    }
}
