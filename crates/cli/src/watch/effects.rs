//! What is done for the screen: asked of the daemon, in tasks that tell of it by events, or done with the terminal.

use std::io::{self, Write as _, stdout};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use brigade_client::{Client, ClientError, StartPolicy};
use brigade_core::id::DelegationId;
use brigade_os::paths::Dirs;
use brigade_protocol::delegations::{Cancel, Follow, Message, Scope, SearchQuery, WatchQuery};
use crossterm::clipboard::CopyToClipboard;
use crossterm::execute;
use futures::StreamExt;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::JoinHandle;

use super::Watching;
use super::model::MOST;
use super::update::{Effect, Event};
use crate::commands::run::show_surroundings;
use crate::error::CliError;

/// How long the cursor rests before what it is on is asked for.
const REST: Duration = Duration::from_millis(150);
/// How long until the daemon is looked for again, at first and at most.
const AGAIN: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(2));
/// How many events may wait: a screen that is slow holds up the streams, which the daemon bears.
const WAITING: usize = 1_024;
/// How many hits a search asks for.
const HITS: u32 = 200;

/// A task that ends with whoever has begun it.
struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What is under way.
pub(super) struct Effects {
    client: Client,
    dirs: Dirs,
    directory: String,
    session: Option<String>,
    events: Sender<Event>,
    watching: Option<Task>,
    resting: Option<Task>,
    following: Option<Task>,
}

impl Effects {
    pub(super) fn new(watching: Watching) -> (Self, Receiver<Event>) {
        let (events, heard) = channel(WAITING);
        let effects = Self {
            client: watching.client,
            dirs: watching.dirs,
            directory: watching.directory,
            session: watching.session,
            events,
            watching: None,
            resting: None,
            following: None,
        };
        (effects, heard)
    }

    fn scope(&self, all_projects: bool) -> Option<String> {
        (!all_projects).then(|| self.directory.clone())
    }

    /// Watches this project, or all, from now on.
    pub(super) fn watch(&mut self, all_projects: bool) {
        let query = WatchQuery {
            directory: self.scope(all_projects),
            session: self.session.clone(),
            limit: Some(MOST),
        };
        let (dirs, events) = (self.dirs.clone(), self.events.clone());
        self.watching = Some(Task(tokio::spawn(async move {
            let mut pause = AGAIN.0;
            loop {
                let why = match watched(&dirs, &query, &events, &mut pause).await {
                    Ok(()) => "the daemon has gone".to_owned(),
                    Err(error) => error.to_string(),
                };
                tell(&events, Event::Lost(why)).await;
                // It was stopped, or crashed, and whoever needs it starts the next: nothing tells of that.
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(AGAIN.1);
            }
        })));
    }

    /// Does what has to do with the daemon or the clipboard.
    pub(super) fn carry_out(&mut self, effect: Effect) -> io::Result<()> {
        match effect {
            Effect::Watch { all_projects } => self.watch(all_projects),
            Effect::Rest(id) => {
                self.following = None;
                let events = self.events.clone();
                self.resting = id.map(|id| {
                    Task(tokio::spawn(async move {
                        tokio::time::sleep(REST).await;
                        tell(&events, Event::Rested(id)).await;
                    }))
                });
            }
            Effect::Detail(id) => self.ask(|client| async move {
                let details = client.show(id.as_str(), &Scope::default()).await;
                let details = details.map(Box::new).map_err(|error| error.to_string());
                Event::Detailed(id, details)
            }),
            Effect::Follow(id) => {
                let (dirs, events) = (self.dirs.clone(), self.events.clone());
                self.following = Some(Task(tokio::spawn(follow(dirs, id, events))));
            }
            Effect::Search {
                query,
                all_projects,
            } => {
                let search = SearchQuery {
                    q: query.clone(),
                    directory: self.scope(all_projects),
                    limit: Some(HITS),
                };
                self.ask(|client| async move {
                    let hits = client.search(&search).await;
                    let hits =
                        hits.map(|found| found.hits.into_iter().map(|hit| hit.summary).collect());
                    Event::Found(query, hits.map_err(|error| error.to_string()))
                });
            }
            Effect::Cancel(id) => {
                self.ask(|client| async move { done(cancel(&client, &id).await) });
            }
            Effect::Retry(id) => self.ask(|client| async move { done(retry(&client, &id).await) }),
            Effect::Send(id, text) => {
                self.ask(|client| async move { done(send(&client, &id, text).await) });
            }
            Effect::Copy(text) => {
                execute!(stdout(), CopyToClipboard::to_clipboard_from(text))?;
                stdout().flush()?;
            }
            // They need the screen itself.
            Effect::Edit(_) | Effect::EditCopy(..) | Effect::Suspend | Effect::Quit => {}
        }
        Ok(())
    }

    /// Asks the daemon something; the answer is an event.
    fn ask<F: Future<Output = Event> + Send + 'static>(&self, question: impl FnOnce(Client) -> F) {
        let (asked, events) = (question(self.client.clone()), self.events.clone());
        drop(tokio::spawn(async move {
            let answer = asked.await;
            tell(&events, answer).await;
        }));
    }
}

/// Tells of an event; when nobody hears it any more, nobody is left who needs it.
async fn tell(events: &Sender<Event>, event: Event) {
    let _ = events.send(event).await;
}

/// Watches until the daemon's stream ends.
async fn watched(
    dirs: &Dirs,
    query: &WatchQuery,
    events: &Sender<Event>,
    pause: &mut Duration,
) -> Result<(), ClientError> {
    let client = Client::connect(dirs, StartPolicy::Never).await?;
    let mut stream = std::pin::pin!(client.watch(query).await?);
    while let Some(news) = stream.next().await {
        *pause = AGAIN.0;
        tell(events, Event::Watched(news?)).await;
    }
    Ok(())
}

/// Follows a text to its end, over the daemon's own.
async fn follow(dirs: Dirs, id: DelegationId, events: Sender<Event>) {
    let mut pause = AGAIN.0;
    loop {
        match followed(&dirs, &id, &events, &mut pause).await {
            Ok(true) => return,
            Ok(false) => {}
            Err(error) if is_gone(&error) => {}
            Err(error) => {
                tell(&events, Event::NoText(id, error.to_string())).await;
                return;
            }
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(AGAIN.1);
    }
}

/// Whether the next daemon may know better.
fn is_gone(error: &ClientError) -> bool {
    !matches!(error, ClientError::Api(_) | ClientError::Protocol { .. })
}

/// Whether the text has come to its end.
async fn followed(
    dirs: &Dirs,
    id: &DelegationId,
    events: &Sender<Event>,
    pause: &mut Duration,
) -> Result<bool, ClientError> {
    let client = Client::connect(dirs, StartPolicy::Never).await?;
    let mut stream = std::pin::pin!(client.follow(id.as_str(), &Scope::default()).await?);
    let mut first = true;
    while let Some(news) = stream.next().await {
        *pause = AGAIN.0;
        let news = match news? {
            // A stream begins with all there is, which may be here already.
            Follow::More { text } if std::mem::take(&mut first) => Follow::Reset { text },
            news => news,
        };
        let ended = matches!(news, Follow::Ended { .. });
        tell(events, Event::Followed(id.clone(), news)).await;
        if ended {
            return Ok(true);
        }
    }
    Ok(false)
}

fn done(done: Result<String, CliError>) -> Event {
    Event::Done(done.map_err(|error| error.with_hint()))
}

async fn cancel(client: &Client, id: &DelegationId) -> Result<String, CliError> {
    let request = Cancel {
        ids: vec![id.to_string()],
        wait: true,
        ..Cancel::default()
    };
    let cancelled = client.cancel(&request).await?;
    if let Some(body) = cancelled.unknown.into_iter().next() {
        return Err(ClientError::from(body).into());
    }
    let results = cancelled.results.into_iter();
    let told: Vec<String> = results
        .map(|result| format!("{}: {}", result.id, result.message))
        .collect();
    Ok(told.join("; "))
}

async fn retry(client: &Client, id: &DelegationId) -> Result<String, CliError> {
    let scope = Scope::default();
    show_surroundings(client, id.as_str(), &scope).await?;
    Ok(client.retry(id.as_str(), &scope).await?.message)
}

async fn send(client: &Client, id: &DelegationId, text: String) -> Result<String, CliError> {
    show_surroundings(client, id.as_str(), &Scope::default()).await?;
    let message = Message {
        message: text,
        directory: None,
    };
    Ok(client.send(id.as_str(), &message).await?.message)
}

/// Opens a file in the person's editor, and waits until that has ended.
pub(super) fn edit(path: &Path) -> Result<(), String> {
    let named = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    let editor = named("VISUAL").or_else(|| named("EDITOR"));
    let editor = editor.unwrap_or_else(|| "vi".to_owned());
    // It may have arguments, as git has it.
    let status = Command::new("sh")
        .arg("-c")
        .arg(format!("{editor} \"$1\""))
        .arg("sh")
        .arg(path)
        .status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!(
            "{editor} ended with {status}; $VISUAL or $EDITOR names another editor"
        )),
        Err(error) => Err(format!("{editor} can't be started: {error}")),
    }
}

/// The same with a copy of a text that is in no file yet.
pub(super) fn edit_copy(id: &DelegationId, text: &str) -> Result<String, String> {
    let failed = |error: io::Error| format!("the text can't be written to a file: {error}");
    let mut file = tempfile::Builder::new()
        .prefix(&format!("{id}-"))
        .suffix(".md")
        .tempfile()
        .map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)?;
    edit(file.path())?;
    Ok(format!("That was a copy of what {id} has written so far."))
}
