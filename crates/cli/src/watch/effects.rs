//! What is done for the screen: asked of the daemon, in tasks that tell of it by events, or done with the terminal.

use std::io::{self, Write as _, stdout};
use std::path::Path;
use std::time::Duration;

use brigade_client::{Client, ClientError, StartPolicy};
use brigade_core::id::DelegationId;
use brigade_os::paths::Dirs;
use brigade_protocol::delegations::{
    Cancel, Details, Follow, Message, Scope, SearchQuery, WatchQuery,
};
use crossterm::clipboard::CopyToClipboard;
use crossterm::execute;
use futures::StreamExt;
use tokio::process::Command;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::{JoinHandle, JoinSet};

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
    looks: JoinSet<()>,
    /// What the person has asked for and is under way.
    deeds: JoinSet<()>,
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
            looks: JoinSet::new(),
            deeds: JoinSet::new(),
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
            Effect::Detail(id) => self.look(|dirs| async move {
                let details = details(&dirs, &id).await;
                let details = details.map(Box::new).map_err(|error| error.to_string());
                Event::Detailed(id, details)
            }),
            Effect::Peek(id) => self.follow(id, false),
            Effect::Read(id) => self.follow(id, true),
            Effect::Search {
                query,
                all_projects,
            } => {
                let search = SearchQuery {
                    q: query.clone(),
                    directory: self.scope(all_projects),
                    limit: Some(HITS),
                };
                self.look(|dirs| async move {
                    let hits = search_all(&dirs, &search).await;
                    Event::Found(query, hits.map_err(|error| error.to_string()))
                });
            }
            Effect::Cancel(id) => self.act(|client| async move { cancel(&client, &id).await }),
            Effect::Retry(id) => self.act(|client| async move { retry(&client, &id).await }),
            Effect::Send(id, text) => {
                self.act(|client| async move { send(&client, &id, text).await });
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

    /// Asks the daemon that runs, and starts none: the answer is an event.
    fn look<F: Future<Output = Event> + Send + 'static>(
        &mut self,
        question: impl FnOnce(Dirs) -> F,
    ) {
        let (asked, events) = (question(self.dirs.clone()), self.events.clone());
        self.looks.spawn(async move {
            let answer = asked.await;
            tell(&events, answer).await;
        });
        while self.looks.try_join_next().is_some() {}
    }

    /// Does what a person has asked for, whether the screen stays until it is done or not.
    fn act<F>(&mut self, deed: impl FnOnce(Client) -> F)
    where
        F: Future<Output = Result<String, CliError>> + Send + 'static,
    {
        let (deed, events) = (deed(self.client.clone()), self.events.clone());
        self.deeds.spawn(async move {
            let done = deed.await.map_err(|error| error.with_hint());
            tell(&events, Event::Done(done)).await;
        });
        while self.deeds.try_join_next().is_some() {}
    }

    /// Follows a text while it grows, or reads a result.
    fn follow(&mut self, id: DelegationId, read: bool) {
        let (dirs, events) = (self.dirs.clone(), self.events.clone());
        self.following = Some(Task(tokio::spawn(follow(dirs, id, read, events))));
    }

    /// What the person has asked for, done or not; all else ends here.
    pub(super) fn into_deeds(self) -> JoinSet<()> {
        self.deeds
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

async fn details(dirs: &Dirs, id: &DelegationId) -> Result<Details, ClientError> {
    let client = Client::connect(dirs, StartPolicy::Never).await?;
    client.show(id.as_str(), &Scope::default()).await
}

async fn search_all(dirs: &Dirs, query: &SearchQuery) -> Result<Vec<DelegationId>, ClientError> {
    let client = Client::connect(dirs, StartPolicy::Never).await?;
    let found = client.search(query).await?;
    Ok(found.hits.into_iter().map(|hit| hit.summary.id).collect())
}

/// Follows a text to its end, over the daemon's own, or reads a result.
async fn follow(dirs: Dirs, id: DelegationId, read: bool, events: Sender<Event>) {
    let mut pause = AGAIN.0;
    loop {
        match followed(&dirs, &id, read, &events, &mut pause).await {
            Ok(true) => return,
            Ok(false) => {}
            // The next daemon may know better.
            Err(ref error)
                if !read
                    && !matches!(error, ClientError::Api(_) | ClientError::Protocol { .. }) => {}
            Err(error) => {
                tell(&events, Event::NoText(id, error.to_string())).await;
                return;
            }
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(AGAIN.1);
    }
}

/// Whether the text has come to its end.
async fn followed(
    dirs: &Dirs,
    id: &DelegationId,
    read: bool,
    events: &Sender<Event>,
    pause: &mut Duration,
) -> Result<bool, ClientError> {
    // To read is to ask for something: where no daemon runs, one is started.
    let stream = if read {
        let client = Client::connect(dirs, StartPolicy::IfNeeded).await?;
        client
            .follow(id.as_str(), &Scope::default())
            .await?
            .left_stream()
    } else {
        let client = Client::connect(dirs, StartPolicy::Never).await?;
        client.peek(id.as_str()).await?.right_stream()
    };
    let mut stream = std::pin::pin!(stream);
    let mut first = true;
    while let Some(news) = stream.next().await {
        *pause = AGAIN.0;
        let follow = match news? {
            // A stream begins with all there is, which may be here already.
            Follow::More { text } if std::mem::take(&mut first) => Follow::Reset { text },
            news => news,
        };
        let ended = matches!(follow, Follow::Ended { .. });
        let id = id.clone();
        tell(events, Event::Followed { id, follow, read }).await;
        if ended {
            return Ok(true);
        }
    }
    Ok(false)
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
pub(super) async fn edit(path: &Path) -> Result<(), String> {
    let named = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    let editor = named("VISUAL").or_else(|| named("EDITOR"));
    let editor = editor.unwrap_or_else(|| "vi".to_owned());
    // It may have arguments, as git has it.
    let status = Command::new("sh")
        .arg("-c")
        .arg(format!("{editor} \"$1\""))
        .arg("sh")
        .arg(path)
        .status()
        .await;
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!(
            "{editor} ended with {status}; $VISUAL or $EDITOR names another editor"
        )),
        Err(error) => Err(format!("{editor} can't be started: {error}")),
    }
}

/// The same with a copy of a text that is in no file yet.
pub(super) async fn edit_copy(id: &DelegationId, text: &str) -> Result<String, String> {
    let failed = |error: io::Error| format!("the text can't be written to a file: {error}");
    let mut file = tempfile::Builder::new()
        .prefix(&format!("{id}-"))
        .suffix(".md")
        .tempfile()
        .map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)?;
    edit(file.path()).await?;
    Ok(format!("That was a copy of what {id} has written so far."))
}
