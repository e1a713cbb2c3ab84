//! The API's requests.

use std::path::{Path, PathBuf};
use std::time::Duration;

use brigade_os::paths::Dirs;
use brigade_os::process::ProcessId;
use brigade_protocol::bridge::{Batch, Down, Host, Register, Registered};
use brigade_protocol::changes::{Apply, ApplyReport, DiffQuery, Discard, Discarded};
use brigade_protocol::daemon::{
    EventsQuery, Hello, LogLevel, LoggedEvent, SetLogLevel, Status, Stop, Welcome,
};
use brigade_protocol::delegations::{
    Cancel, Cancelled, Details, Follow, FollowQuery, ListQuery, Listing, Message, Retried, Scope,
    SearchQuery, SearchResults, Sent, Text, WatchQuery, Watched,
};
use brigade_protocol::gc::{Gc, GcReport};
use brigade_protocol::run::{Begun, Run};
use brigade_protocol::stats::{Stats, StatsQuery};
use brigade_protocol::tools::{Answer, Delegate, List, Read};
use brigade_protocol::{ErrorBody, ErrorCode, paths};
use reqwest::{Method, RequestBuilder, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::connect::wait_gone;
use crate::{ClientError, Connector, Events, Patch, StartPolicy};

/// How long the daemon may take for an answer. A tool's call may take longer: it waits for work.
const PATIENCE: Duration = Duration::from_secs(30);
/// The same where a server may have to be brought up for it: with the registry of packages out of reach that takes
/// minutes.
const STARTING: Duration = Duration::from_secs(330);
/// The same where files are compared, copied and written, which in a large tree takes long.
const WRITING: Duration = Duration::from_secs(1_800);
/// How often a request is sent again to the next daemon.
const REPEATS: u32 = 3;
/// Longest ID that is sent, in bytes.
const MAX_ID: usize = 64;

/// A connection to the daemon. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    socket: PathBuf,
    pub(crate) welcome: Option<Welcome>,
    /// How to get to the next daemon when this one goes.
    pub(crate) connector: Option<Connector>,
}

impl Client {
    /// Connects to the daemon of these places; see [`Connector::connect`].
    ///
    /// # Errors
    /// When there is no daemon in the end, or it can't serve this client.
    pub async fn connect(dirs: &Dirs, policy: StartPolicy) -> Result<Self, ClientError> {
        Connector::new(dirs.clone(), policy).connect().await
    }

    /// A client of whatever listens there, without a greeting.
    pub(crate) fn new(socket: &Path) -> Result<Self, reqwest::Error> {
        let http = reqwest::Client::builder()
            .unix_socket(socket)
            .no_proxy()
            .build()?;
        Ok(Self {
            http,
            socket: socket.to_owned(),
            welcome: None,
            connector: None,
        })
    }

    /// What the daemon answered to the greeting.
    pub fn welcome(&self) -> Option<&Welcome> {
        self.welcome.as_ref()
    }

    /// Greets the daemon. [`Client::connect`] has done so already.
    ///
    /// # Errors
    /// When the daemon serves another data home, is about to go, or can't be reached.
    pub async fn hello(&self, hello: &Hello) -> Result<Welcome, ClientError> {
        let request = self
            .request(Method::POST, paths::HELLO)
            .timeout(PATIENCE)
            .json(hello);
        parsed(paths::HELLO, self.send_once(request).await?).await
    }

    /// How the daemon is.
    ///
    /// # Errors
    /// When it can't be reached.
    pub async fn status(&self) -> Result<Status, ClientError> {
        self.get(paths::STATUS, &()).await
    }

    /// Asks the daemon to go; it goes soon after.
    ///
    /// # Errors
    /// When it can't be reached or refuses.
    pub async fn stop(&self, stop: &Stop) -> Result<(), ClientError> {
        let request = self
            .request(Method::POST, paths::STOP)
            .timeout(PATIENCE)
            .json(stop);
        self.send_once(request).await.map(|_| ())
    }

    /// Asks the daemon to go and waits until its process has ended.
    ///
    /// # Errors
    /// When it can't be reached, refuses, or doesn't go.
    pub async fn stop_and_wait(&self, reason: &str) -> Result<(), ClientError> {
        let process = match &self.welcome {
            Some(welcome) => ProcessId::of(welcome.pid),
            None => ProcessId::of(self.status().await?.pid),
        };
        let reason = reason.to_owned();
        match (self.stop(&Stop { reason }).await, process) {
            // It was going already, or went faster than it could answer.
            (Ok(()) | Err(ClientError::Lost { .. }), Some(process)) => {
                wait_gone(process, &self.socket).await
            }
            (result, _) => result,
        }
    }

    /// What the daemon writes into its log.
    ///
    /// # Errors
    /// When it can't be reached.
    pub async fn log_level(&self) -> Result<LogLevel, ClientError> {
        self.get(paths::LOG, &()).await
    }

    /// Has the daemon log something else, until it ends.
    ///
    /// # Errors
    /// When it can't be reached, or takes that for no log level.
    pub async fn set_log_level(&self, wish: &SetLogLevel) -> Result<LogLevel, ClientError> {
        self.post(paths::LOG, wish, PATIENCE).await
    }

    /// The event log from a place on, and what is appended to it from then on.
    ///
    /// # Errors
    /// When the daemon can't be reached.
    pub async fn events(&self, query: &EventsQuery) -> Result<Events<LoggedEvent>, ClientError> {
        self.stream(paths::EVENTS, query).await
    }

    /// Registers a host's process.
    ///
    /// # Errors
    /// When the daemon can't be reached or refuses.
    pub async fn register(&self, register: &Register) -> Result<Registered, ClientError> {
        self.post(paths::BRIDGE_REGISTER, register, PATIENCE).await
    }

    /// What the daemon sends to a registered host's process.
    ///
    /// # Errors
    /// When the daemon can't be reached or doesn't know the connection.
    pub async fn bridge_stream(&self, connection: &str) -> Result<Events<Down>, ClientError> {
        let path = fill(paths::BRIDGE_STREAM, "{connection}", connection)?;
        self.stream(&path, &()).await
    }

    /// What a registered host's process sends to the daemon.
    ///
    /// # Errors
    /// When the daemon can't be reached or doesn't know the connection.
    pub async fn bridge_up(&self, connection: &str, batch: &Batch) -> Result<(), ClientError> {
        let path = fill(paths::BRIDGE_UP, "{connection}", connection)?;
        let request = self
            .request(Method::POST, &path)
            .timeout(PATIENCE)
            .json(batch);
        self.ask(request).await.map(|_| ())
    }

    /// The tool `delegate`.
    ///
    /// # Errors
    /// When the daemon can't be reached. A refusal is an answer.
    pub async fn tool_delegate(&self, call: &Delegate) -> Result<Answer, ClientError> {
        self.post(paths::TOOL_DELEGATE, call, PATIENCE).await
    }

    /// The tool `delegation_read`. It waits for the delegation's end; dropping the future ends that.
    ///
    /// # Errors
    /// When the daemon can't be reached. A refusal is an answer.
    pub async fn tool_read(&self, call: &Read) -> Result<Answer, ClientError> {
        // The daemon itself ends the wait after ten minutes.
        self.post(paths::TOOL_READ, call, Duration::from_secs(660))
            .await
    }

    /// The tool `delegation_list`.
    ///
    /// # Errors
    /// When the daemon can't be reached. A refusal is an answer.
    pub async fn tool_list(&self, call: &List) -> Result<Answer, ClientError> {
        self.post(paths::TOOL_LIST, call, PATIENCE).await
    }

    /// Lists delegations, newest first.
    ///
    /// # Errors
    /// When the daemon can't be reached.
    pub async fn list(&self, query: &ListQuery) -> Result<Listing, ClientError> {
        self.get(paths::DELEGATIONS, query).await
    }

    /// Everything about one delegation; `id` may be a unique prefix.
    ///
    /// # Errors
    /// When there is none or are several of that prefix, or the daemon can't be reached.
    pub async fn show(&self, id: &str, scope: &Scope) -> Result<Details, ClientError> {
        self.get(&fill(paths::DELEGATION, "{id}", id)?, scope).await
    }

    /// A delegation's artifact, or its text so far; `id` may be a unique prefix.
    ///
    /// # Errors
    /// When there is none or are several of that prefix, or the daemon can't be reached.
    pub async fn text(&self, id: &str, scope: &Scope) -> Result<Text, ClientError> {
        self.get(&fill(paths::DELEGATION_TEXT, "{id}", id)?, scope)
            .await
    }

    /// A delegation's text as it grows, until it ends; `id` may be a unique prefix.
    ///
    /// # Errors
    /// When there is none or are several of that prefix, or the daemon can't be reached.
    pub async fn follow(&self, id: &str, scope: &Scope) -> Result<Events<Follow>, ClientError> {
        let query = FollowQuery {
            directory: scope.directory.clone(),
            peek: false,
        };
        self.stream(&fill(paths::DELEGATION_FOLLOW, "{id}", id)?, &query)
            .await
    }

    /// The same only while it grows: the result does not come at its end, and does not count as read.
    ///
    /// # Errors
    /// As for [`Client::follow`].
    pub async fn peek(&self, id: &str) -> Result<Events<Follow>, ClientError> {
        let query = FollowQuery {
            directory: None,
            peek: true,
        };
        self.stream(&fill(paths::DELEGATION_FOLLOW, "{id}", id)?, &query)
            .await
    }

    /// Sums what delegations have used.
    ///
    /// # Errors
    /// When the daemon can't be reached.
    pub async fn stats(&self, query: &StatsQuery) -> Result<Stats, ClientError> {
        self.get(paths::STATS, query).await
    }

    /// The delegations, and from then on each that changes, live progress included.
    ///
    /// # Errors
    /// When the daemon can't be reached.
    pub async fn watch(&self, query: &WatchQuery) -> Result<Events<Watched>, ClientError> {
        self.stream(paths::WATCH, query).await
    }

    /// Searches titles, summaries, prompts and results.
    ///
    /// # Errors
    /// When the daemon can't be reached.
    pub async fn search(&self, query: &SearchQuery) -> Result<SearchResults, ClientError> {
        self.get(paths::SEARCH, query).await
    }

    /// Orders delegations to be stopped.
    ///
    /// # Errors
    /// When an ID is unknown or ambiguous, or the daemon can't be reached.
    pub async fn cancel(&self, cancel: &Cancel) -> Result<Cancelled, ClientError> {
        self.post(paths::CANCEL, cancel, PATIENCE).await
    }

    /// Has a message reach a delegation; `id` may be a unique prefix.
    ///
    /// # Errors
    /// When there is none or are several of that prefix, it takes none now, or the daemon can't be reached.
    pub async fn send(&self, id: &str, message: &Message) -> Result<Sent, ClientError> {
        let path = fill(paths::DELEGATION_SEND, "{id}", id)?;
        self.post(&path, message, STARTING).await
    }

    /// Has the work of an ended delegation done anew; `id` may be a unique prefix.
    ///
    /// # Errors
    /// When there is none or are several of that prefix, it has not ended, it is refused, or the daemon can't be
    /// reached.
    pub async fn retry(&self, id: &str, scope: &Scope) -> Result<Retried, ClientError> {
        let path = fill(paths::DELEGATION_RETRY, "{id}", id)?;
        self.post(&path, scope, STARTING).await
    }

    /// What a delegation has changed, as a patch; `id` may be a unique prefix. It comes piece by piece: a patch may
    /// be large.
    ///
    /// # Errors
    /// When there is none or are several of that prefix, it has no patch, or the daemon can't be reached.
    pub async fn diff(&self, id: &str, query: &DiffQuery) -> Result<Patch, ClientError> {
        let path = fill(paths::DELEGATION_DIFF, "{id}", id)?;
        let request = self.request(Method::GET, &path).query(query);
        Ok(Patch::new(&path, self.ask(request).await?))
    }

    /// Brings a delegation's changes into a tree, or takes them out again; `id` may be a unique prefix. Dropping the
    /// future hangs up, and the daemon then takes back what it has written so far: nothing is left half done.
    ///
    /// # Errors
    /// When there is none or are several of that prefix, it is refused, or the daemon can't be reached. A conflict is
    /// an answer.
    pub async fn apply(&self, id: &str, apply: &Apply) -> Result<ApplyReport, ClientError> {
        let path = fill(paths::DELEGATION_APPLY, "{id}", id)?;
        self.post(&path, apply, WRITING).await
    }

    /// Throws a delegation's worktree away; `id` may be a unique prefix. Its patch stays.
    ///
    /// # Errors
    /// When there is none or are several of that prefix, it has no worktree, or the daemon can't be reached. That it
    /// stays since it holds what is in no patch is an answer.
    pub async fn discard(&self, id: &str, discard: &Discard) -> Result<Discarded, ClientError> {
        let path = fill(paths::DELEGATION_DISCARD, "{id}", id)?;
        self.post(&path, discard, WRITING).await
    }

    /// Work from the shell.
    ///
    /// # Errors
    /// When it is refused, or the daemon can't be reached.
    pub async fn run(&self, run: &Run) -> Result<Begun, ClientError> {
        self.post(paths::RUN, run, STARTING).await
    }

    /// Shows this process's environment to the daemon (again), for what was asked for in it.
    ///
    /// # Errors
    /// When the daemon can't be reached.
    pub async fn shell(&self, host: &Host) -> Result<(), ClientError> {
        let request = self
            .request(Method::POST, paths::SHELL)
            .timeout(PATIENCE)
            .json(host);
        self.ask(request).await.map(|_| ())
    }

    /// Looks for what a crash has left, and mends it unless it is only to be looked.
    ///
    /// # Errors
    /// When the store can't be read, or the daemon can't be reached.
    pub async fn gc(&self, gc: &Gc) -> Result<GcReport, ClientError> {
        // It may read, index and write thousands of results.
        self.post(paths::GC, gc, Duration::from_secs(1_800)).await
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http
            .request(method, format!("http://brigade.local{path}"))
    }

    async fn get<A: DeserializeOwned>(
        &self,
        path: &str,
        query: &(impl Serialize + Sync),
    ) -> Result<A, ClientError> {
        let request = self
            .request(Method::GET, path)
            .timeout(PATIENCE)
            .query(query);
        parsed(path, self.ask(request).await?).await
    }

    async fn post<A: DeserializeOwned>(
        &self,
        path: &str,
        body: &(impl Serialize + Sync),
        patience: Duration,
    ) -> Result<A, ClientError> {
        let request = self
            .request(Method::POST, path)
            .timeout(patience)
            .json(body);
        parsed(path, self.ask(request).await?).await
    }

    async fn stream<E: DeserializeOwned + Send + 'static>(
        &self,
        path: &str,
        query: &(impl Serialize + Sync),
    ) -> Result<Events<E>, ClientError> {
        let response = self
            .ask(self.request(Method::GET, path).query(query))
            .await?;
        Ok(Events::new(path, response))
    }

    /// Sends it and takes every answer but a success for an error. Where the daemon goes just then
    /// (it is replaced, or has been idle), the next one is asked, provided that nothing can be done
    /// twice by that.
    async fn ask(&self, request: RequestBuilder) -> Result<Response, ClientError> {
        let (http, request) = request.build_split();
        let request = request.map_err(|error| lost("a request", &error))?;
        let path = request.url().path().to_owned();
        let mut repeats = 0;
        loop {
            let Some(copy) = request.try_clone() else {
                return judged(&path, http.execute(request).await).await;
            };
            match (http.execute(copy).await, &self.connector) {
                (Err(error), Some(connector))
                    if repeats < REPEATS && can_repeat(&request, &error) =>
                {
                    repeats += 1;
                    connector.clone().connect().await?;
                }
                (result, _) => return judged(&path, result).await,
            }
        }
    }

    /// Sends it to this very daemon.
    async fn send_once(&self, request: RequestBuilder) -> Result<Response, ClientError> {
        let (http, request) = request.build_split();
        let request = request.map_err(|error| lost("a request", &error))?;
        let path = request.url().path().to_owned();
        judged(&path, http.execute(request).await).await
    }
}

/// Whether a request can be sent again after this: it did not get there, or it only asks, or shows what may be shown
/// as often as one likes.
fn can_repeat(request: &reqwest::Request, error: &reqwest::Error) -> bool {
    let harmless = *request.method() == Method::GET || request.url().path() == paths::SHELL;
    error.is_connect() || (harmless && !error.is_timeout())
}

/// Takes every answer but a success for an error.
async fn judged(
    path: &str,
    result: Result<Response, reqwest::Error>,
) -> Result<Response, ClientError> {
    let response = result.map_err(|error| lost(path, &error))?;
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let body = response.bytes().await.map_err(|error| lost(path, &error))?;
    Err(match serde_json::from_slice::<ErrorBody>(&body) {
        Ok(body) => body.into(),
        Err(_) => ClientError::Protocol {
            request: path.to_owned(),
            why: format!("status {status} without an error that this brigade knows"),
        },
    })
}

/// Reads a success's body.
async fn parsed<A: DeserializeOwned>(path: &str, response: Response) -> Result<A, ClientError> {
    let body = response.bytes().await.map_err(|error| lost(path, &error))?;
    serde_json::from_slice(&body).map_err(|error| ClientError::Protocol {
        request: path.to_owned(),
        why: error.to_string(),
    })
}

/// A broken connection, with the innermost cause: the outer ones only repeat the address.
pub(crate) fn lost(request: &str, error: &reqwest::Error) -> ClientError {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    let why = if error.is_timeout() {
        "it did not answer in time".to_owned()
    } else {
        cause.to_string()
    };
    ClientError::Lost {
        request: request.to_owned(),
        why,
    }
}

/// Puts an ID into a path. What can't be the beginning of any is refused here: it may name another
/// path when it is a segment of one.
fn fill(path: &str, parameter: &str, id: &str) -> Result<String, ClientError> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if id.is_empty() || id.len() > MAX_ID || !id.bytes().all(plain) {
        let head: String = id.chars().take(60).collect();
        let message = format!("{head:?} is no ID, nor the beginning of one");
        let hint = "an ID is three lower-case words joined by hyphens, like brave-amber-otter; brigade list shows them";
        return Err(ErrorBody::new(ErrorCode::BadRequest, message)
            .with_hint(hint)
            .into());
    }
    Ok(path.replace(parameter, id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_begins_an_id_gets_into_a_path() {
        assert_eq!(
            fill(paths::DELEGATION_TEXT, "{id}", "brave-amber").unwrap(),
            "/v1/delegations/brave-amber/text"
        );
        let long = "a".repeat(10_000);
        for bad in [
            "", "..", ".", "../../x", "a/b", "a\0b", "a b", "a%2fb", "ä", "a?b", &long,
        ] {
            let error = fill(paths::DELEGATION, "{id}", bad).unwrap_err();
            let ClientError::Api(body) = error else {
                panic!("{bad:?}")
            };
            assert_eq!(body.code, ErrorCode::BadRequest);
            assert!(body.message.len() < 400);
        }
    }
}
