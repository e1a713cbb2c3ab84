//! What the bridge posts: batch after batch, in order.

use std::collections::{HashMap, VecDeque};

use brigade_client::Client;
use brigade_protocol::bridge::{Batch, Up};
use serde_json::Value;
use tokio::sync::mpsc;

/// How much the bridge posts at once.
const BATCH: usize = 512;

/// What becomes of pieces of text that come while a batch is on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Pieces {
    /// Those of one part are one event, as the real bridge has it.
    Joined,
    /// Each is an event of its own.
    Single,
}

/// What waits to be posted.
struct Queue {
    pieces: Pieces,
    messages: VecDeque<Up>,
    /// Where each child's newest event stands.
    newest: HashMap<String, usize>,
}

/// Posts what the bridge has to say, each batch when the one before is answered, until nobody can say anything more.
pub(super) async fn post(
    client: Client,
    connection: String,
    pieces: Pieces,
    mut said: mpsc::UnboundedReceiver<Up>,
) {
    let mut queue = Queue {
        pieces,
        messages: VecDeque::new(),
        newest: HashMap::new(),
    };
    let mut seq = 0;
    loop {
        if queue.messages.is_empty() {
            match said.recv().await {
                Some(message) => queue.push(message),
                None => return,
            }
        }
        while let Ok(message) = said.try_recv() {
            queue.push(message);
        }
        seq += 1;
        let messages = queue.take();
        // Without the daemon there is nothing to measure, which shows at once.
        if client
            .bridge_up(&connection, &Batch { seq, messages })
            .await
            .is_err()
        {
            return;
        }
    }
}

impl Queue {
    fn push(&mut self, message: Up) {
        if self.pieces == Pieces::Joined
            && let Up::Event { event, .. } = &message
            && let Some(session) = event["properties"]["sessionID"].as_str()
        {
            let newest = self.newest.get(session);
            if let Some(Up::Event { event: before, .. }) =
                newest.and_then(|at| self.messages.get_mut(*at))
                && join(before, event)
            {
                return;
            }
            self.newest.insert(session.to_owned(), self.messages.len());
        }
        self.messages.push_back(message);
    }

    fn take(&mut self) -> Vec<Up> {
        self.newest.clear();
        let count = self.messages.len().min(BATCH);
        self.messages.drain(..count).collect()
    }
}

/// Adds a piece to the one before it, if both are of the same part's text.
fn join(before: &mut Value, event: &Value) -> bool {
    let (now, then) = (&event["properties"], &before["properties"]);
    let is_more = event["type"] == "message.part.delta"
        && before["type"] == event["type"]
        && ["partID", "field"]
            .iter()
            .all(|name| now[*name] == then[*name]);
    let more = now["delta"].as_str().filter(|_| is_more);
    match (&mut before["properties"]["delta"], more) {
        (Value::String(text), Some(more)) => {
            text.push_str(more);
            true
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn piece(session: &str, part: &str, delta: &str) -> Up {
        let event = json!({"type": "message.part.delta", "properties":
            {"sessionID": session, "partID": part, "field": "text", "delta": delta}});
        Up::Event {
            directory: "/p".to_owned(),
            event,
        }
    }

    fn posted(pieces: Pieces) -> Vec<String> {
        let mut queue = Queue {
            pieces,
            messages: VecDeque::new(),
            newest: HashMap::new(),
        };
        let all = [("a", "1"), ("b", "1"), ("a", "1"), ("a", "2"), ("b", "1")];
        for (number, (session, part)) in all.into_iter().enumerate() {
            queue.push(piece(session, part, &number.to_string()));
        }
        let told = queue.take().into_iter().map(|message| match message {
            Up::Event { event, .. } => {
                let properties = &event["properties"];
                let word = |name: &str| properties[name].as_str().unwrap().to_owned();
                word("sessionID") + &word("partID") + ":" + &word("delta")
            }
            _ => panic!("only events were said"),
        });
        told.collect()
    }

    #[test]
    fn pieces_of_one_part_are_joined_and_no_others() {
        assert_eq!(posted(Pieces::Joined), ["a1:02", "b1:14", "a2:3"]);
        assert_eq!(
            posted(Pieces::Single),
            ["a1:0", "b1:1", "a1:2", "a2:3", "b1:4"]
        );
    }
}
