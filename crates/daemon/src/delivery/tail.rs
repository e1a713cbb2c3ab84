//! What the end of the parent's conversation says of messages, and what it takes to add one.

use brigade_agents::opencode::{Api, Message, PromptBody, PromptModel, later_than};
use brigade_core::id::SessionId;

use super::{Delivery, StepError};

/// How many messages are read at most for one that may never have been stored.
const FAR: usize = 20;

/// The end of the parent's conversation.
pub(super) struct Tail {
    messages: Vec<Message>,
}

impl Tail {
    /// Reads back to a person's message, whose agent and model are the session's, and to these where they are not far.
    async fn read(api: &Api, parent: &SessionId, sought: &[&str]) -> Result<Self, StepError> {
        let says_enough = |messages: &[Message]| {
            let holds = |id: &&str| messages.iter().any(|message| message.info.id == **id);
            messages.iter().any(is_persons) && (messages.len() > FAR || sought.iter().all(holds))
        };
        let messages = api.last_messages(parent, says_enough).await?;
        Ok(Self::of(messages))
    }

    /// A conversation that ends with these.
    pub(super) const fn of(messages: Vec<Message>) -> Self {
        Self { messages }
    }

    pub(super) fn last_id(&self) -> Option<&str> {
        self.messages.iter().map(|m| m.info.id.as_str()).max()
    }

    /// Whether this message is stored.
    pub(super) fn holds(&self, message: &str) -> bool {
        self.message(message).is_some()
    }

    pub(super) fn message(&self, id: &str) -> Option<&Message> {
        self.messages.iter().find(|m| m.info.id == id)
    }

    /// Whether a model request was made after this message was stored: an answer stands behind it, in the
    /// host's own order. IDs alone don't tell: one may be older than a request that has not seen its
    /// message, or, after the clock was set back, later than the answer's.
    pub(super) fn answered(&self, message: &str) -> bool {
        let answers = |m: &Message| m.info.is_assistant();
        match self.messages.iter().position(|m| m.info.id == message) {
            Some(at) => self.messages.iter().enumerate().any(|(index, m)| {
                answers(m) && (index > at || m.info.parent.as_deref() == Some(message))
            }),
            // Out of sight, or not stored.
            None => self
                .messages
                .iter()
                .any(|m| answers(m) && m.info.id.as_str() > message),
        }
    }

    pub(super) fn body(
        &self,
        message: &str,
        parts: Vec<serde_json::Value>,
        no_reply: bool,
    ) -> PromptBody {
        let latest = self.messages.iter().rev().find(|m| is_persons(m));
        let model = latest.and_then(|m| m.info.model.clone());
        PromptBody {
            message_id: Some(message.to_owned()),
            agent: latest.and_then(|m| m.info.agent.clone()),
            variant: model.as_ref().and_then(|model| model.variant.clone()),
            model: model.map(|model| PromptModel {
                provider: model.provider,
                model: model.model,
            }),
            no_reply,
            system: None,
            parts,
        }
    }
}

fn is_persons(message: &Message) -> bool {
    message.info.role == "user" && message.info.agent.is_some()
}

impl Delivery {
    /// The end of the parent's conversation, with these messages where they are near it; none when the parent is gone,
    /// and then nothing waits for it any more.
    pub(super) async fn tail(
        &self,
        parent: &SessionId,
        api: &Api,
        sought: &[&str],
    ) -> Result<Option<Tail>, StepError> {
        match Tail::read(api, parent, sought).await {
            Err(StepError::Host(error)) if error.is_not_found() => {
                self.parent_gone(parent.as_str()).await;
                Ok(None)
            }
            tail => tail.map(Some),
        }
    }

    /// An ID for a message that is to stand last in the session.
    pub(super) fn message_id(&self, last: Option<&str>) -> String {
        let now = u64::try_from(self.0.clock.now().as_millisecond()).unwrap_or(0);
        later_than(last, now, self.0.chance.bits())
    }
}
