//! Messages that are sent to a run beyond its prompt: each is put to the child once, in order.

use brigade_core::id::SessionId;

use super::{Driver, Exit};
use crate::opencode::id::{fixed_part_id, later_by};
use crate::opencode::message::Message;
use crate::opencode::report::RunSpec;

/// How often a message that stands in the child is posted again because nothing began with it: the host was
/// leaving its loop when it came.
const NUDGES: u32 = 3;

impl Driver {
    /// Whether something was sent that the child has not been given.
    pub(super) fn is_owed(&self) -> bool {
        self.stopping.is_none()
            && self.stop.borrow().is_none()
            && !self.spec.collect
            && self.put < *self.messages.borrow()
    }

    /// How many of so many messages stand in the child, whichever attempt has put them there.
    pub(super) async fn given(&mut self, child: &SessionId, sent: u32) -> Result<u32, Exit> {
        // In order, so that the last one that stands tells of all before it.
        for number in (1..=sent).rev() {
            let part = message_part(&self.spec, number);
            if self.stands(child, &part).await? {
                return Ok(number);
            }
        }
        Ok(0)
    }

    /// Puts the next message to the child. A busy one includes it in its next step, an idle one begins anew.
    pub(super) async fn put_message(&mut self, child: &SessionId) -> Result<(), Exit> {
        let number = self.put + 1;
        let log = self.log.clone();
        let text = self.hearing(log.message(number)).await??;
        let part = message_part(&self.spec, number);
        if !self.stands(child, &part).await? {
            let last = self.last_message(child).await?;
            let kind = format!("message/sent/{number}");
            let message = later_by(
                &self.spec.delegation,
                &kind,
                last.as_deref(),
                self.spec.registered_ms,
            );
            let body = self.body(message, &part, &text);
            if !self.post(child, &body, &part, false).await? {
                // It is being stopped; what was not sent is on record.
                return Ok(());
            }
            tracing::info!(delegation = %self.spec.delegation, number, "a message was put to the child");
            self.nudge = Some((body, 0));
            self.asked.push(part);
        } else {
            // Only what stands after this attempt's prompt has its answer there.
            let prompts = self.prompts.clone();
            let since = self.messages(child, &prompts).await?;
            self.asked.extend(stands_in(&since, &part).then_some(part));
        }
        self.put = number;
        Ok(())
    }

    /// Posts the last message once more, where the session does nothing although it stands there; false where that
    /// was tried often enough, or it is answered.
    pub(super) async fn nudge(
        &mut self,
        child: &SessionId,
        messages: &[Message],
    ) -> Result<bool, Exit> {
        let Some(part) = self.asked.last().cloned() else {
            return Ok(false);
        };
        let standing = messages.iter().rposition(|message| holds(message, &part));
        let answered = standing.is_some_and(|at| {
            messages[at..]
                .iter()
                .any(|message| message.info.is_assistant())
        });
        let Some((body, times)) = self
            .nudge
            .take_if(|(_, times)| !answered && *times < NUDGES)
        else {
            return Ok(false);
        };
        self.nudge = Some((body.clone(), times + 1));
        self.post(child, &body, &part, false).await
    }
}

/// The part ID of a message that was sent to a run.
pub(super) fn message_part(spec: &RunSpec, number: u32) -> String {
    fixed_part_id(
        &spec.delegation,
        &crate::opencode::id::message_kind(number),
        spec.registered_ms,
    )
}

/// Whether a part stands in these messages.
pub(super) fn stands_in(messages: &[Message], part: &str) -> bool {
    messages.iter().any(|message| holds(message, part))
}

fn holds(message: &Message, part: &str) -> bool {
    message.parts.iter().any(|one| one.id == part)
}
