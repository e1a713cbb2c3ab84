//! OpenCode's event stream, kept whole so that nothing is missed between two waits.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use serde_json::Value;
use tokio::task::JoinHandle;

use crate::{Result, Watched};

/// The events of a directory since the stream was opened.
#[derive(Debug)]
pub struct Events {
    seen: Arc<Watched<Log>>,
    reader: JoinHandle<()>,
}

/// What was heard, and when each was read off the stream.
#[derive(Debug, Default)]
struct Log {
    events: Vec<Value>,
    heard: Vec<Instant>,
}

impl Drop for Events {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

impl Events {
    pub(crate) async fn listen(response: reqwest::Response) -> Result<Self> {
        let seen = Arc::new(Watched::new(Log::default()));
        let log = Arc::clone(&seen);
        let reader = tokio::spawn(async move {
            let mut bytes = response.bytes_stream();
            let mut buffer = Vec::new();
            // The stream ends with its server; waits then end by their limits.
            while let Some(Ok(chunk)) = bytes.next().await {
                buffer.extend_from_slice(&chunk);
                while let Some(end) = buffer.iter().position(|byte| *byte == b'\n') {
                    let line: Vec<u8> = buffer.drain(..=end).collect();
                    let data = line.strip_prefix(b"data:").unwrap_or_default();
                    let heard = Instant::now();
                    if let Ok(event) = serde_json::from_slice(data) {
                        log.update(|log| {
                            log.events.push(event);
                            log.heard.push(heard);
                        });
                    }
                }
            }
        });
        let events = Self { seen, reader };
        // The server greets: from then on nothing is missed.
        events
            .wait_for("the greeting", Duration::from_secs(30), |event| {
                event["type"] == "server.connected"
            })
            .await?;
        Ok(events)
    }

    /// All events so far, oldest first.
    #[must_use]
    pub fn all(&self) -> Vec<Value> {
        self.seen.read(|log| log.events.clone())
    }

    /// How many events there are so far.
    #[must_use]
    pub fn count(&self) -> usize {
        self.seen.read(|log| log.events.len())
    }

    /// The events from the number `from` on, oldest first, each with the moment at which it was heard.
    #[must_use]
    pub fn heard(&self, from: usize) -> Vec<(Instant, Value)> {
        self.seen.read(|log| {
            let heard = log.heard.iter().copied();
            heard.zip(log.events.iter().cloned()).skip(from).collect()
        })
    }

    /// Waits for the first event that `wanted` accepts, also one of the past.
    ///
    /// # Errors
    /// [`crate::Error::Timeout`], with the types of the last events.
    pub async fn wait_for(
        &self,
        what: &str,
        limit: Duration,
        mut wanted: impl FnMut(&Value) -> bool,
    ) -> Result<Value> {
        self.until(what, limit, |events| {
            events.iter().find(|event| wanted(event)).cloned()
        })
        .await
    }

    /// Waits until `look` finds something in all the events so far.
    ///
    /// # Errors
    /// [`crate::Error::Timeout`], with the types of the last events.
    pub async fn until<T>(
        &self,
        what: &str,
        limit: Duration,
        mut look: impl FnMut(&[Value]) -> Option<T>,
    ) -> Result<T> {
        self.seen
            .until_within(
                limit,
                what,
                |log| types(&log.events),
                |log| look(&log.events),
            )
            .await
    }

    /// Waits until `session` has been busy and is idle again, counting from the event number `from`
    /// (the length of [`Self::all`] before the prompt).
    ///
    /// # Errors
    /// [`crate::Error::Timeout`].
    pub async fn idle(&self, session: &str, from: usize, limit: Duration) -> Result<()> {
        let what = format!("session {session} to be idle");
        self.until(&what, limit, |events| {
            let of_session = events
                .iter()
                .skip(from)
                .filter(|event| event["properties"]["sessionID"] == session);
            // An aborted run is told idle twice: the second must not end the wait for the next run.
            let mut since_busy =
                of_session.skip_while(|event| event["properties"]["status"]["type"] != "busy");
            since_busy
                .any(|event| event["type"] == "session.idle")
                .then_some(())
        })
        .await
    }
}

fn types(events: &[Value]) -> String {
    let last = &events[events.len().saturating_sub(30)..];
    let names: Vec<&str> = last
        .iter()
        .filter_map(|event| event["type"].as_str())
        .collect();
    names.join(", ")
}
