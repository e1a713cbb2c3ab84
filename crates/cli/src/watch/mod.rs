//! `brigade watch`: events change the model, the model is drawn, effects are carried out beside it.

mod effects;
mod keys;
mod markdown;
mod model;
mod pane;
mod rows;
mod terminal;
#[cfg(test)]
mod tests;
mod theme;
mod update;
mod view;
mod wrap;

use std::io;
use std::time::Duration;

use brigade_client::Client;
use brigade_os::paths::Dirs;
use crossterm::event::{Event as Input, EventStream};
use futures::StreamExt;
use jiff::Timestamp;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc::Receiver;

use crate::context::Now;
use crate::error::{CliError, Kind};
use crate::output::{patiently, remark};
use effects::Effects;
use model::Model;
use terminal::Screen;
use theme::Theme;
use update::{Effect, Event, update};

/// How often the screen is drawn again, for what gets older, while something runs and else.
const TICK: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// As many events are taken in before the screen is drawn again.
const AT_ONCE: usize = 256;

/// What to watch.
pub(crate) struct Watching {
    /// The daemon.
    pub(crate) client: Client,
    /// Where the next one is found.
    pub(crate) dirs: Dirs,
    /// The directory whose project is this one.
    pub(crate) directory: String,
    /// Only this root session.
    pub(crate) session: Option<String>,
    /// Whether to begin with all projects.
    pub(crate) all_projects: bool,
    /// Whether colours are wanted.
    pub(crate) colour: bool,
}

/// Watches until the person has enough, or the terminal or the system ends it.
pub(crate) async fn run(watching: Watching) -> Result<(), CliError> {
    let theme = Theme {
        colour: watching.colour,
    };
    let mut ends = Ends::new()?;
    let mut screen = Screen::take()?;
    let mut model = Model::new(watching.all_projects, screen.size()?, Now::system());
    let (mut effects, mut events) = Effects::new(watching);
    effects.watch(model.all_projects);
    let mut input = EventStream::new();
    loop {
        model.now.at = Timestamp::now();
        screen.draw(|frame| view::draw(&mut model, frame, theme))?;
        let tick = if model.has_active() { TICK.0 } else { TICK.1 };
        let first = tokio::select! {
            event = events.recv() => event,
            typed = input.next() => match typed {
                Some(typed) => heard(typed?),
                // The terminal is gone.
                None => return Ok(()),
            },
            () = tokio::time::sleep(tick) => None,
            () = ends.wait() => return Ok(()),
        };
        let mut taken = first;
        for _ in 0..AT_ONCE {
            let Some(event) = taken else { break };
            for effect in update(&mut model, event) {
                // Who gets the terminal gets what is typed: the input is read only where it is awaited, above.
                match effect {
                    Effect::Quit => {
                        drop(screen);
                        return finish(effects, events).await;
                    }
                    Effect::Suspend => {
                        let suspending = async { brigade_os::terminal::suspend() };
                        let suspended = screen.lend(suspending).await?;
                        suspended?;
                    }
                    Effect::Edit(path) => {
                        let told = tokio::select! {
                            told = screen.lend(effects::edit(&path)) => told?,
                            () = ends.told_to_go() => return Ok(()),
                        };
                        ends.forget_interrupt()?;
                        if let Err(why) = told {
                            update(&mut model, Event::Done(Err(why)));
                        }
                    }
                    Effect::EditCopy(id, text) => {
                        let told = tokio::select! {
                            told = screen.lend(effects::edit_copy(&id, &text)) => told?,
                            () = ends.told_to_go() => return Ok(()),
                        };
                        ends.forget_interrupt()?;
                        update(&mut model, Event::Done(told));
                    }
                    effect => effects.carry_out(effect)?,
                }
            }
            taken = events.try_recv().ok();
        }
    }
}

/// Waits for what was asked for and is not done yet, and says what came of it: to give that up would be to lose it.
async fn finish(effects: Effects, mut events: Receiver<Event>) -> Result<(), CliError> {
    let deeds = effects.into_deeds();
    let told = async {
        // Nobody but they can tell anything any more: the events end with the last of them.
        while let Some(event) = events.recv().await {
            if let Event::Done(Ok(told) | Err(told)) = event {
                remark(&told);
            }
        }
        deeds.join_all().await
    };
    tokio::select! {
        _ = patiently("waiting for what you asked for last; Ctrl-C leaves without it", told) => Ok(()),
        pressed = tokio::signal::ctrl_c() => {
            pressed?;
            Err(CliError::told(Kind::Failed))
        }
    }
}

/// What of the terminal's events means something here.
fn heard(input: Input) -> Option<Event> {
    match input {
        Input::Key(key) => Some(Event::Key(key)),
        Input::Paste(text) => Some(Event::Pasted(text)),
        Input::Resize(columns, lines) => Some(Event::Resized(columns, lines)),
        _ => None,
    }
}

/// The signals that end it.
struct Ends([Signal; 3]);

impl Ends {
    fn new() -> io::Result<Self> {
        Ok(Self([
            signal(SignalKind::terminate())?,
            signal(SignalKind::interrupt())?,
            signal(SignalKind::hangup())?,
        ]))
    }

    /// What was typed to interrupt an editor was not meant for us.
    fn forget_interrupt(&mut self) -> io::Result<()> {
        self.0[1] = signal(SignalKind::interrupt())?;
        Ok(())
    }

    /// What ends it while somebody else has the terminal, whom Ctrl-C is for then.
    async fn told_to_go(&mut self) {
        let [terminate, _, hangup] = &mut self.0;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }

    async fn wait(&mut self) {
        let [terminate, interrupt, hangup] = &mut self.0;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}
