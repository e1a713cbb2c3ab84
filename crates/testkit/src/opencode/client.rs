//! The part of OpenCode's HTTP API that tests need.

use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::events::Events;
use crate::{Error, Result};

/// How long a request may take; a synchronous prompt lasts as long as its turn.
const LIMIT: Duration = Duration::from_secs(60);

/// Talks to a server about one directory.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    base: String,
    directory: PathBuf,
    limit: Duration,
}

/// A session.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Session {
    /// Its ID.
    pub id: String,
    /// The session that it is a child of.
    #[serde(rename = "parentID")]
    pub parent_id: Option<String>,
    /// Its title.
    pub title: String,
    /// Its folder.
    pub directory: String,
    /// The agent of its latest message.
    pub agent: Option<String>,
    /// What its maker stored with it.
    #[serde(default)]
    pub metadata: Value,
    /// Its permission rules.
    #[serde(default)]
    pub permission: Value,
}

/// A message with its parts.
#[derive(Debug, Clone, Deserialize)]
pub struct Message {
    /// The message, as the host has it.
    pub info: Value,
    /// Its parts.
    pub parts: Vec<Value>,
}

impl Message {
    /// Its ID.
    #[must_use]
    pub fn id(&self) -> &str {
        self.info["id"].as_str().unwrap_or_default()
    }

    /// `user` or `assistant`.
    #[must_use]
    pub fn role(&self) -> &str {
        self.info["role"].as_str().unwrap_or_default()
    }

    /// Why the model stopped.
    #[must_use]
    pub fn finish(&self) -> Option<&str> {
        self.info["finish"].as_str()
    }

    /// Its error's name and message.
    #[must_use]
    pub fn error(&self) -> Option<(&str, &str)> {
        let error = self.info.get("error")?;
        Some((
            error["name"].as_str()?,
            error["data"]["message"].as_str().unwrap_or_default(),
        ))
    }

    /// Its texts, joined by newlines.
    #[must_use]
    pub fn text(&self) -> String {
        let texts: Vec<&str> = self
            .parts_of("text")
            .filter_map(|part| part["text"].as_str())
            .collect();
        texts.join("\n")
    }

    /// Its parts of one type.
    pub fn parts_of<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Value> {
        self.parts.iter().filter(move |part| part["type"] == kind)
    }
}

impl Client {
    pub(crate) fn new(base: String, directory: PathBuf) -> Self {
        Self {
            http: reqwest::Client::new(),
            base,
            directory,
            limit: LIMIT,
        }
    }

    /// The same server, another directory.
    #[must_use]
    pub fn at(&self, directory: &Path) -> Self {
        Self {
            directory: directory.to_owned(),
            ..self.clone()
        }
    }

    /// The same server; each request may take this long instead of a minute.
    #[must_use]
    pub fn within(&self, limit: Duration) -> Self {
        Self {
            limit,
            ..self.clone()
        }
    }

    /// Sends a request; the status and the body, which is null if it is empty and a string if it is
    /// no JSON.
    ///
    /// # Errors
    /// When it isn't answered.
    pub async fn request(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<(u16, Value)> {
        let what = format!("{method} {path}");
        let failed = |source| Error::Request {
            what: what.clone(),
            source,
        };
        let directory = self.directory.to_string_lossy();
        let mut request = self
            .http
            .request(method, format!("{}{path}", self.base))
            .header("x-opencode-directory", directory.as_ref())
            .timeout(self.limit);
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await.map_err(failed)?;
        let status = response.status().as_u16();
        let text = response.text().await.map_err(failed)?;
        let body = match text.as_str() {
            "" => Value::Null,
            text => serde_json::from_str(text).unwrap_or_else(|_| text.into()),
        };
        Ok((status, body))
    }

    /// `GET`.
    ///
    /// # Errors
    /// When the answer isn't a success or not of this form.
    pub async fn get<T: for<'de> Deserialize<'de>>(&self, path: &str) -> Result<T> {
        self.call(Method::GET, path, None).await
    }

    /// `POST`.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn post<T: for<'de> Deserialize<'de>>(&self, path: &str, body: &Value) -> Result<T> {
        self.call(Method::POST, path, Some(body)).await
    }

    async fn call<T: for<'de> Deserialize<'de>>(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<T> {
        let what = format!("{method} {path}");
        let (status, body) = self.request(method, path, body).await?;
        if !(200..300).contains(&status) {
            return Err(Error::Status {
                what,
                status,
                body: body.to_string(),
            });
        }
        let text = body.to_string();
        serde_json::from_value(body).map_err(|source| Error::Json {
            what: format!("{what}: {text}"),
            source,
        })
    }

    /// Listens to the directory's events from now on.
    ///
    /// # Errors
    /// When the stream can't be opened.
    pub async fn events(&self) -> Result<Events> {
        let failed = |source| Error::Request {
            what: "GET /event".to_owned(),
            source,
        };
        let directory = self.directory.to_string_lossy();
        let request = self
            .http
            .get(format!("{}/event", self.base))
            .header("x-opencode-directory", directory.as_ref());
        let response = request.send().await.map_err(failed)?;
        Events::listen(response).await
    }

    /// Makes a root session.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn create(&self, title: &str) -> Result<Session> {
        self.create_with(&json!({ "title": title })).await
    }

    /// Makes a session with any of the API's fields.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn create_with(&self, body: &Value) -> Result<Session> {
        self.post("/session", body).await
    }

    /// A session.
    ///
    /// # Errors
    /// As [`Self::get`]; [`Error::Status`] 404 if there is none.
    pub async fn session(&self, id: &str) -> Result<Session> {
        self.get(&format!("/session/{id}")).await
    }

    /// A session's children.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn children(&self, id: &str) -> Result<Vec<Session>> {
        self.get(&format!("/session/{id}/children")).await
    }

    /// Prompts as the default agent and waits for the end of the turn.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn prompt(&self, id: &str, text: impl ToString) -> Result<Message> {
        self.prompt_with(id, &prompt_body(&text)).await
    }

    /// Prompts with any of the API's fields and waits for the end of the turn.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn prompt_with(&self, id: &str, body: &Value) -> Result<Message> {
        self.post(&format!("/session/{id}/message"), body).await
    }

    /// Prompts as the default agent and returns at once.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn prompt_async(&self, id: &str, text: impl ToString) -> Result<()> {
        self.prompt_async_with(id, &prompt_body(&text)).await
    }

    /// Prompts with any of the API's fields and returns at once.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn prompt_async_with(&self, id: &str, body: &Value) -> Result<()> {
        self.post(&format!("/session/{id}/prompt_async"), body)
            .await
    }

    /// A session's messages, oldest first.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn messages(&self, id: &str) -> Result<Vec<Message>> {
        self.get(&format!("/session/{id}/message")).await
    }

    /// The sessions that are not idle, by ID.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn status(&self) -> Result<Value> {
        self.get("/session/status").await
    }

    /// Stops a session's run.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn abort(&self, id: &str) -> Result<()> {
        self.post::<Value>(&format!("/session/{id}/abort"), &json!({}))
            .await
            .map(drop)
    }

    /// Deletes a session.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn delete(&self, id: &str) -> Result<()> {
        self.call::<Value>(Method::DELETE, &format!("/session/{id}"), None)
            .await
            .map(drop)
    }

    /// Compacts a session and returns when that is done.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn compact(&self, id: &str) -> Result<()> {
        let model = json!({"providerID": "scripted", "modelID": "main"});
        self.post::<Value>(&format!("/session/{id}/summarize"), &model)
            .await
            .map(drop)
    }

    /// Undoes everything from this message on.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn revert(&self, id: &str, message: &str) -> Result<()> {
        let body = json!({ "messageID": message });
        self.post::<Value>(&format!("/session/{id}/revert"), &body)
            .await
            .map(drop)
    }

    /// Takes the undo back.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn unrevert(&self, id: &str) -> Result<()> {
        self.post::<Value>(&format!("/session/{id}/unrevert"), &json!({}))
            .await
            .map(drop)
    }

    /// The permission requests that wait for an answer.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn permissions(&self) -> Result<Vec<Value>> {
        self.get("/permission").await
    }

    /// Answers a permission request: `once`, `always` or `reject`.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn reply(&self, permission: &str, reply: &str, message: Option<&str>) -> Result<()> {
        let mut body = json!({ "reply": reply });
        if let Some(message) = message {
            body["message"] = message.into();
        }
        self.post::<Value>(&format!("/permission/{permission}/reply"), &body)
            .await
            .map(drop)
    }
}

fn prompt_body(text: &impl ToString) -> Value {
    json!({"agent": "build", "parts": [{"type": "text", "text": text.to_string()}]})
}
