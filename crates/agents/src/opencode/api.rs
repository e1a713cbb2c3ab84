//! The calls that Brigade makes, typed. What is unknown in an answer is ignored.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use brigade_core::id::{Attempt, DelegationId, SessionId};
use brigade_core::permission::Rule;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::shared::Inquiries;
use super::transport::{Method, Reply, Request, Transport};
use super::types::{AgentInfo, ApiError, Ask, Child, HostError, PromptBody, Status};

/// How long an ordinary call may take. A host with twenty children at work answers within a second; one that
/// is suspended or booting does not answer at all.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// How far a clock may have been set back since a delegation was registered, in milliseconds.
const CLOCK_MARGIN: u64 = 24 * 60 * 60 * 1_000;
/// How many root sessions are looked through: more than anybody uses in a day and a delegation's time.
const ROOTS: usize = 100_000;

/// The host's API in one directory.
#[derive(Clone)]
pub struct Api {
    transport: Arc<dyn Transport>,
    directory: String,
    /// An answer about all sessions is as good as a new one if it was asked for after this.
    since: Option<Instant>,
}

impl fmt::Debug for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Api")
            .field("directory", &self.directory)
            .finish_non_exhaustive()
    }
}

impl Api {
    /// The API over this transport, for the host's instance of this directory.
    pub fn new(transport: Arc<dyn Transport>, directory: impl Into<String>) -> Self {
        Self {
            transport,
            directory: directory.into(),
            since: None,
        }
    }

    /// The same where an answer about all sessions will do that somebody else has asked for after this time.
    #[must_use]
    pub fn as_of(self, since: Instant) -> Self {
        let since = Some(since);
        Self { since, ..self }
    }

    /// Makes a child session; for the shell, which is no session, a root one.
    ///
    /// # Errors
    /// Every call of this type fails with [`ApiError`]: no answer, an error of the host, or an answer that is not
    /// understood. After [`super::TransportError::Doubt`] the child may exist: look for it.
    pub async fn create_child(
        &self,
        parent: &SessionId,
        title: &str,
        delegation: &DelegationId,
        attempt: Attempt,
        rules: &[Rule],
    ) -> Result<Child, ApiError> {
        let mut body = json!({
            "title": title,
            "metadata": metadata(delegation, attempt),
            "permission": rules,
        });
        if !parent.is_shell() {
            body["parentID"] = json!(parent);
        }
        self.typed(Method::Post, "/session".to_owned(), Some(body))
            .await
    }

    /// All children of `parent` that were made for this delegation, whatever the attempt, oldest first: for the
    /// shell, which is no session, the root sessions here. `since_ms` is when it was registered.
    ///
    /// # Errors
    /// [`ApiError`]; not found means that the parent is gone.
    pub async fn find_children(
        &self,
        parent: &SessionId,
        delegation: &DelegationId,
        since_ms: u64,
    ) -> Result<Vec<Child>, ApiError> {
        let path = if parent.is_shell() {
            let since = since_ms.saturating_sub(CLOCK_MARGIN);
            format!("/session?roots=true&start={since}&limit={ROOTS}")
        } else {
            format!("/session/{parent}/children")
        };
        let mut children: Vec<Child> = self.typed(Method::Get, path, None).await?;
        children.retain(|child| child.brigade().is_some_and(|(id, _)| id == *delegation));
        children.sort_by_key(|child| child.time.created);
        Ok(children)
    }

    /// Writes delegation and attempt into a child's metadata. A child that was made over the API shows in the
    /// TUI's child navigation only after such a change from within the process.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn touch(
        &self,
        child: &SessionId,
        delegation: &DelegationId,
        attempt: Attempt,
    ) -> Result<(), ApiError> {
        let body = json!({"metadata": metadata(delegation, attempt)});
        self.call(
            Method::Patch,
            format!("/session/{child}"),
            Some(body),
            CALL_TIMEOUT,
        )
        .await
        .map(|_| ())
    }

    /// One session; none if it does not exist.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn session(&self, session: &SessionId) -> Result<Option<Child>, ApiError> {
        absent(
            self.typed(Method::Get, format!("/session/{session}"), None)
                .await,
        )
    }

    /// Prompts a session and returns as soon as the host has accepted it. The host also accepts what then fails,
    /// such as an unknown agent.
    ///
    /// # Errors
    /// [`ApiError`]. After [`super::TransportError::Doubt`] the same body can be posted again if it names its message and
    /// parts.
    pub async fn prompt_async(
        &self,
        session: &SessionId,
        body: &PromptBody,
    ) -> Result<(), ApiError> {
        let path = format!("/session/{session}/prompt_async");
        let body = json!(body);
        self.call(Method::Post, path, Some(body), CALL_TIMEOUT)
            .await
            .map(|_| ())
    }

    /// Stops what a session does and returns when the host has done so. Idle sessions are left as they are.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn abort(&self, session: &SessionId) -> Result<(), ApiError> {
        self.call(
            Method::Post,
            format!("/session/{session}/abort"),
            None,
            CALL_TIMEOUT,
        )
        .await
        .map(|_| ())
    }

    /// What this process does in this directory: sessions that are not in it do nothing, or their prompt is newer
    /// than some 100 ms.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn statuses(&self) -> Result<BTreeMap<String, Status>, ApiError> {
        #[derive(Deserialize)]
        struct Wire {
            #[serde(rename = "type")]
            kind: String,
            #[serde(default)]
            message: String,
            #[serde(default)]
            next: u64,
        }
        let map: BTreeMap<String, Wire> = self
            .typed(Method::Get, "/session/status".to_owned(), None)
            .await?;
        Ok(map
            .into_iter()
            .map(|(session, wire)| {
                let status = match wire.kind.as_str() {
                    "idle" => Status::Idle,
                    "retry" => Status::Retry {
                        next_ms: wire.next,
                        message: wire.message,
                    },
                    _ => Status::Busy,
                };
                (session, status)
            })
            .collect())
    }

    /// What one session does, by the status map.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn status(&self, session: &SessionId) -> Result<Status, ApiError> {
        let shared = self.shared();
        let statuses = shared.statuses.ask(self.since, self.statuses()).await?;
        let status = statuses.get(session.as_str());
        Ok(status.cloned().unwrap_or(Status::Idle))
    }

    /// Permissions that await an answer in this directory.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn permissions(&self) -> Result<Arc<Vec<Ask>>, ApiError> {
        let asks = self.typed(Method::Get, "/permission".to_owned(), None);
        self.shared().permissions.ask(self.since, asks).await
    }

    /// Questions that await an answer in this directory.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn questions(&self) -> Result<Arc<Vec<Ask>>, ApiError> {
        let asks = self.typed(Method::Get, "/question".to_owned(), None);
        self.shared().questions.ask(self.since, asks).await
    }

    fn shared(&self) -> Arc<Inquiries> {
        let shared = self.transport.shared();
        shared.map_or_else(Arc::default, |shared| shared.of(&self.directory))
    }

    /// Refuses a permission with words for the model, which then goes on. Without words its turn would end.
    /// Returns whether the request was still open.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn refuse_permission(&self, request: &str, message: &str) -> Result<bool, ApiError> {
        let body = json!({"reply": "reject", "message": message});
        let path = format!("/permission/{request}/reply");
        let reply = self
            .call(Method::Post, path, Some(body), CALL_TIMEOUT)
            .await;
        Ok(absent(reply.map(|_| ()))?.is_some())
    }

    /// Answers each of a request's questions with the same words, so that the model goes on; merely dismissed,
    /// its turn would end. Returns whether the request was still open.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn answer_question(
        &self,
        request: &str,
        count: usize,
        words: &str,
    ) -> Result<bool, ApiError> {
        let body = json!({"answers": vec![vec![words]; count]});
        let path = format!("/question/{request}/reply");
        let reply = self
            .call(Method::Post, path, Some(body), CALL_TIMEOUT)
            .await;
        Ok(absent(reply.map(|_| ()))?.is_some())
    }

    /// Dismisses a question, which ends the turn. Returns whether the request was still open.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn reject_question(&self, request: &str) -> Result<bool, ApiError> {
        let path = format!("/question/{request}/reject");
        let reply = self.call(Method::Post, path, None, CALL_TIMEOUT).await;
        Ok(absent(reply.map(|_| ()))?.is_some())
    }

    /// The agents of this directory.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn agents(&self) -> Result<Vec<AgentInfo>, ApiError> {
        self.typed(Method::Get, "/agent".to_owned(), None).await
    }

    /// The names of the MCP servers that are configured in this directory, connected or not.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn mcp_servers(&self) -> Result<Vec<String>, ApiError> {
        let map: BTreeMap<String, Value> = self.typed(Method::Get, "/mcp".to_owned(), None).await?;
        Ok(map.into_keys().collect())
    }

    /// The host's version.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn version(&self) -> Result<String, ApiError> {
        #[derive(Deserialize)]
        struct Health {
            version: String,
        }
        let health: Health = self
            .typed(Method::Get, "/global/health".to_owned(), None)
            .await?;
        Ok(health.version)
    }

    pub(super) async fn typed<T: DeserializeOwned>(
        &self,
        method: Method,
        path: String,
        body: Option<Value>,
    ) -> Result<T, ApiError> {
        let call = format!("{method} {path}");
        let reply = self.call(method, path, body, CALL_TIMEOUT).await?;
        parse(&call, reply)
    }

    pub(super) async fn call(
        &self,
        method: Method,
        path: String,
        body: Option<Value>,
        timeout: Duration,
    ) -> Result<Reply, ApiError> {
        let call = format!("{method} {path}");
        let reply = self
            .transport
            .call(Request {
                method,
                path,
                directory: self.directory.clone(),
                body,
                timeout,
            })
            .await?;
        if (200..300).contains(&reply.status) {
            return Ok(reply);
        }
        let error = HostError {
            status: reply.status,
            message: words_of(&reply.body),
        };
        Err(ApiError::Host { call, error })
    }
}

fn metadata(delegation: &DelegationId, attempt: Attempt) -> Value {
    json!({"brigade": {"delegation": delegation, "attempt": attempt}})
}

pub(super) fn parse<T: DeserializeOwned>(call: &str, reply: Reply) -> Result<T, ApiError> {
    serde_json::from_value(reply.body).map_err(|error| ApiError::Unexpected {
        call: call.to_owned(),
        why: error.to_string(),
    })
}

pub(super) fn absent<T>(result: Result<T, ApiError>) -> Result<Option<T>, ApiError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

/// The words of an error answer: `{name, data: {message}}`, `{message}`, or what it is.
fn words_of(body: &Value) -> String {
    let words = body
        .pointer("/data/message")
        .or_else(|| body.get("message"))
        .or_else(|| body.pointer("/error/message"))
        .or_else(|| body.get("name"))
        .and_then(Value::as_str);
    match (words, body) {
        (Some(words), _) => words.to_owned(),
        (None, Value::Null) => "no reason given".to_owned(),
        (None, body) => body.to_string().chars().take(500).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_an_error_are_found() {
        assert_eq!(
            words_of(&json!({"name": "NotFoundError", "data": {"message": "no"}})),
            "no"
        );
        assert_eq!(words_of(&json!({"name": "BadRequest"})), "BadRequest");
        assert_eq!(words_of(&Value::Null), "no reason given");
        assert_eq!(words_of(&json!("x")), "\"x\"");
    }
}
