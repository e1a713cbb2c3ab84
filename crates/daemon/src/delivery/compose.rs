//! A notice's two parts: what the model sees and what the person sees.

use brigade_core::delegation::Reason;
use brigade_core::id::SessionId;
use brigade_core::text::notice::{self, NoticeView};
use brigade_store::{NoticeRow, Row, StoreError};
use serde_json::{Value, json};

use super::Delivery;

/// A notice as it is sent.
pub(super) struct Composed {
    /// The ID of the part that the model sees, and its text.
    model: (String, String),
    /// The ID of the part that the person sees, and its line.
    person: (String, String),
    /// Whether the whole result stands in it: then it counts as read once it is delivered.
    pub(super) whole: bool,
}

/// The parts of one message that holds these notices, without a message ID. The person's lines are one part, named by the
/// first: OpenCode's web UI shows no more than the first text of a message.
pub(super) fn message<'a>(
    parent: &SessionId,
    notices: impl IntoIterator<Item = &'a Composed>,
) -> Vec<Value> {
    let notices = Vec::from_iter(notices);
    let mut parts: Vec<Value> = notices
        .iter()
        .map(|one| part(parent, &one.model, SYNTHETIC))
        .collect();
    if let Some(first) = notices.first() {
        let lines: Vec<&str> = notices.iter().map(|one| one.person.1.as_str()).collect();
        let person = (first.person.0.clone(), lines.join("\n"));
        parts.push(part(parent, &person, IGNORED));
    }
    parts
}

impl Delivery {
    /// A notice as it is sent; none where nothing is on record of its delegation.
    pub(super) async fn composed(
        &self,
        notice: &NoticeRow,
    ) -> Result<Option<Composed>, StoreError> {
        match self.0.store.get(&notice.delegation).await? {
            Some(row) => Ok(Some(self.compose(notice, &row).await?)),
            None => Ok(None),
        }
    }

    /// Writes a notice from what the store holds; the same row always gives the same text.
    async fn compose(&self, notice: &NoticeRow, row: &Row) -> Result<Composed, StoreError> {
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
            model: (notice.model_part.clone(), rendered.model),
            person: (notice.person_part.clone(), rendered.person),
            whole: text.chars().take(inline_limit + 1).count() <= inline_limit,
        })
    }
}

/// What the model sees and the person does not.
pub(super) const SYNTHETIC: &str = "synthetic";
/// What the person sees and the model does not.
pub(super) const IGNORED: &str = "ignored";

/// A part of a message, given as its ID and text, and for whom it is.
pub(super) fn part(parent: &SessionId, (id, text): &(String, String), whose: &str) -> Value {
    json!({"id": id, "sessionID": parent, "type": "text", "text": text, whose: true})
}
