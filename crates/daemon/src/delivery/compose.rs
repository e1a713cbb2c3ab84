//! A notice's two parts: what the model sees and what the person sees.

use brigade_core::delegation::Reason;
use brigade_core::id::SessionId;
use brigade_core::text::notice::{self, NoticeView};
use brigade_store::{NoticeRow, Row, StoreError};
use serde_json::{Value, json};

use super::Delivery;

/// A notice as it is sent.
pub(super) struct Composed {
    /// The parts, without a message ID.
    pub(super) parts: Vec<Value>,
    /// Whether the whole result stands in it: then it counts as read once it is delivered.
    pub(super) whole: bool,
}

impl Delivery {
    /// Writes a notice from what the store holds; the same row always gives the same text.
    pub(super) async fn compose(
        &self,
        parent: &SessionId,
        notice: &NoticeRow,
        row: &Row,
    ) -> Result<Composed, StoreError> {
        let spec = &row.delegation.spec;
        let inline_limit = self
            .0
            .configs
            .for_directory(&spec.directory)
            .limits
            .inline_result;
        let text = self.0.store.text_up_to(&spec.id, inline_limit).await?;
        let answered = matches!(
            row.delegation.outcome().map(|outcome| &outcome.reason),
            Some(Reason::Answered)
        );
        let error = row.delegation.reason_words().filter(|_| !answered);
        let artifact = row
            .artifact
            .as_ref()
            .map(|path| path.display().to_string())
            .unwrap_or_default();
        let rendered = notice::render(&NoticeView {
            id: &spec.id,
            agent: &spec.agent,
            state: row.delegation.state,
            title: &row.title,
            summary: &row.summary,
            error: error.as_deref(),
            artifact: &artifact,
            changes: row.delegation.changes.as_ref(),
            result: Some(&text),
            inline_limit,
            remaining: notice.remaining,
            batch: notice.batch_size,
        });
        Ok(Composed {
            parts: parts(
                parent,
                (&notice.model_part, &rendered.model),
                (&notice.person_part, &rendered.person),
            ),
            whole: text.chars().take(inline_limit + 1).count() <= inline_limit,
        })
    }
}

/// One message's parts, each given as ID and text: the model sees the first, the person the second.
pub(super) fn parts(parent: &SessionId, model: (&str, &str), person: (&str, &str)) -> Vec<Value> {
    let part = |(id, text): (&str, &str), flag: &str| json!({"id": id, "sessionID": parent, "type": "text", "text": text, flag: true});
    vec![part(model, "synthetic"), part(person, "ignored")]
}
