//! Reading a session's messages, from the end.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use brigade_core::id::SessionId;
use serde_json::json;

use super::api::{Api, absent, parse};
use super::message::Message;
use super::transport::Method;
use super::types::ApiError;

/// Reading messages may carry many megabytes.
const READ_TIMEOUT: Duration = Duration::from_secs(120);
/// How many of the last messages are asked for at first where a few will do. One message may hold much, and the
/// host has better to do than to tell them all.
const FEW: usize = 6;
/// Messages per page while something is looked for.
const PAGE: usize = 30;

impl Api {
    /// One message; none if it does not exist.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn message(
        &self,
        session: &SessionId,
        id: &str,
    ) -> Result<Option<Message>, ApiError> {
        absent(
            self.typed(
                Method::Get,
                format!("/session/{session}/message/{id}"),
                None,
            )
            .await,
        )
    }

    /// The last `limit` messages, in order.
    ///
    /// # Errors
    /// [`ApiError`]; not found means that the session is gone.
    pub async fn messages(
        &self,
        session: &SessionId,
        limit: usize,
    ) -> Result<Vec<Message>, ApiError> {
        self.page(session, limit, None).await
    }

    /// The last messages, in order, as far back as it takes for them to be enough; all where they never are.
    ///
    /// # Errors
    /// [`ApiError`]; not found means that the session is gone.
    pub async fn last_messages(
        &self,
        session: &SessionId,
        is_enough: impl Fn(&[Message]) -> bool,
    ) -> Result<Vec<Message>, ApiError> {
        self.read_back(session, FEW, is_enough).await
    }

    /// All messages from the last one that holds one of these parts, in order; empty if there is none.
    ///
    /// # Errors
    /// [`ApiError`]; not found means that the session is gone.
    pub async fn messages_since(
        &self,
        session: &SessionId,
        parts: &[String],
    ) -> Result<Vec<Message>, ApiError> {
        let begin = |all: &[Message]| all.iter().rposition(|message| holds(message, parts));
        let is_enough = |all: &[Message]| begin(all).is_some();
        let mut read = self.read_back(session, PAGE, is_enough).await?;
        Ok(begin(&read).map_or_else(Vec::new, |at| read.split_off(at)))
    }

    /// Reads from the end, page by page, and no further than is enough. The first page has `first` messages.
    async fn read_back(
        &self,
        session: &SessionId,
        first: usize,
        is_enough: impl Fn(&[Message]) -> bool,
    ) -> Result<Vec<Message>, ApiError> {
        let mut read = self.page(session, first, None).await?;
        let mut is_all = read.len() < first;
        while !is_all && !is_enough(&read) {
            let before = read.first().map(cursor_before);
            let mut page = match self.page(session, PAGE, before.as_deref()).await {
                // The host knows our cursor no more: all at once, then.
                Err(ApiError::Host { error, .. }) if error.status == 400 => {
                    return self.page(session, 0, None).await;
                }
                page => page?,
            };
            is_all = page.len() < PAGE;
            page.append(&mut read);
            read = page;
        }
        Ok(read)
    }

    async fn page(
        &self,
        session: &SessionId,
        limit: usize,
        before: Option<&str>,
    ) -> Result<Vec<Message>, ApiError> {
        let mut path = format!("/session/{session}/message?limit={limit}");
        if let Some(before) = before {
            path.push_str("&before=");
            path.push_str(before);
        }
        let call = format!("GET {path}");
        let reply = self.call(Method::Get, path, None, READ_TIMEOUT).await?;
        parse(&call, reply)
    }
}

fn holds(message: &Message, parts: &[String]) -> bool {
    message.info.role == "user" && message.parts.iter().any(|part| parts.contains(&part.id))
}

/// The host's cursor for what comes before a message: it gives it in a header, which not every transport
/// carries, and it is no more than this.
fn cursor_before(message: &Message) -> String {
    let cursor = json!({"id": message.info.id, "time": message.info.time.created});
    URL_SAFE_NO_PAD.encode(cursor.to_string())
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use futures::future::BoxFuture;
    use serde_json::Value;

    use super::*;
    use crate::opencode::{Reply, Request, Transport, TransportError};

    #[test]
    fn the_cursor_is_the_hosts() {
        // Recorded: the `before` of the host's own Link header.
        let message: Message = serde_json::from_value(json!({
            "info": {"id": "msg_20431655b001vHSlzshRsIdGI9", "role": "assistant",
                     "time": {"created": 1_795_366_675_803_u64}},
        }))
        .unwrap();
        assert_eq!(
            cursor_before(&message),
            "eyJpZCI6Im1zZ18yMDQzMTY1NWIwMDF2SFNsenNoUnNJZEdJOSIsInRpbWUiOjE3OTUzNjY2NzU4MDN9"
        );
    }

    /// A host with one session of so many messages, and the limits by which it was asked for them.
    struct Host {
        messages: usize,
        knows_cursors: bool,
        asked: Mutex<Vec<usize>>,
    }

    impl Host {
        fn page(&self, path: &str) -> Reply {
            let (_, query) = path.split_once("?limit=").unwrap();
            let (limit, before) = query.split_once("&before=").unwrap_or((query, ""));
            let limit: usize = limit.parse().unwrap();
            self.asked.lock().unwrap().push(limit);
            let end = match before {
                "" => self.messages,
                _ if !self.knows_cursors => {
                    return Reply {
                        status: 400,
                        body: Value::Null,
                    };
                }
                cursor => {
                    let cursor = URL_SAFE_NO_PAD.decode(cursor).unwrap();
                    let cursor: Value = serde_json::from_slice(&cursor).unwrap();
                    let id = cursor["id"].as_str().unwrap();
                    id.strip_prefix("msg_").unwrap().parse().unwrap()
                }
            };
            let begin = if limit == 0 {
                0
            } else {
                end.saturating_sub(limit)
            };
            let message = |n: usize| {
                let part = json!({"id": format!("prt_{n}"), "type": "text", "text": ""});
                json!({"info": {"id": format!("msg_{n}"), "role": "user", "time": {"created": n}}, "parts": [part]})
            };
            Reply {
                status: 200,
                body: (begin..end).map(message).collect(),
            }
        }
    }

    impl Transport for Host {
        fn call(&self, request: Request) -> BoxFuture<'_, Result<Reply, TransportError>> {
            Box::pin(std::future::ready(Ok(self.page(&request.path))))
        }
    }

    /// What a host with so many messages is asked for, and how many are read by this.
    async fn read<F, R>(messages: usize, knows_cursors: bool, reading: F) -> (Vec<usize>, usize)
    where
        F: FnOnce(Api, SessionId) -> R,
        R: Future<Output = Result<Vec<Message>, ApiError>>,
    {
        let host = Arc::new(Host {
            messages,
            knows_cursors,
            asked: Mutex::default(),
        });
        let api = Api::new(Arc::clone(&host) as _, "/p");
        let read = reading(api, "ses_1".parse().unwrap()).await.unwrap();
        let ids = read.iter().map(|message| message.info.id.clone());
        let last = (messages - read.len()..messages).map(|n| format!("msg_{n}"));
        assert!(ids.eq(last), "the last ones, in order: {read:?}");
        let asked = std::mem::take(&mut *host.asked.lock().unwrap());
        (asked, read.len())
    }

    #[tokio::test]
    async fn no_more_of_the_last_messages_is_read_than_is_enough() {
        for (messages, sought, knows_cursors, expected) in [
            (100, "msg_95", true, (vec![FEW], FEW)),
            (100, "msg_70", true, (vec![FEW, PAGE], FEW + PAGE)),
            (100, "none", true, (vec![FEW, PAGE, PAGE, PAGE, PAGE], 100)),
            (100, "msg_70", false, (vec![FEW, PAGE, 0], 100)),
            (FEW - 1, "none", true, (vec![FEW], FEW - 1)),
            (FEW, "none", true, (vec![FEW, PAGE], FEW)),
            (0, "none", true, (vec![FEW], 0)),
        ] {
            let is_enough = |all: &[Message]| all.iter().any(|one| one.info.id == sought);
            let done = read(messages, knows_cursors, async |api: Api, session| {
                api.last_messages(&session, is_enough).await
            });
            assert_eq!(done.await, expected, "{sought} of {messages}");
        }
    }

    #[tokio::test]
    async fn what_was_written_since_a_prompt_is_found_however_long_ago_that_was() {
        for (sought, knows_cursors, expected) in [
            ("prt_99", true, (vec![PAGE], 1)),
            ("prt_70", true, (vec![PAGE], 30)),
            ("prt_69", true, (vec![PAGE, PAGE], 31)),
            ("prt_5", true, (vec![PAGE, PAGE, PAGE, PAGE], 95)),
            ("prt_5", false, (vec![PAGE, PAGE, 0], 95)),
            ("none", true, (vec![PAGE, PAGE, PAGE, PAGE], 0)),
        ] {
            let parts = [sought.to_owned()];
            let done = read(100, knows_cursors, async |api: Api, session| {
                api.messages_since(&session, &parts).await
            });
            assert_eq!(done.await, expected, "{sought}");
        }
    }
}
