//! What an earlier daemon or attempt has left in the child.

use brigade_core::delegation::RunEnd;
use brigade_core::id::SessionId;

use super::send::{message_part, stands_in};
use super::{Driver, Exit, prompt_part};
use crate::opencode::judge::{Evidence, Verdict, judge, partial_of, usage_of};
use crate::opencode::message::{Message, Usage};
use crate::opencode::types::Status;

/// What the child holds of this delegation.
pub(super) enum Found {
    /// No prompt of it.
    Nothing,
    /// This attempt's prompt, or an earlier one whose run still goes on: it is followed, not prompted again.
    Followed,
    /// An earlier attempt's prompt whose run was cut off, with what there is of an answer.
    CutOff { partial: String, usage: Usage },
}

impl Driver {
    /// What the child holds of this delegation. A run that ended while nobody listened is collected here.
    pub(super) async fn look(&mut self, child: &SessionId) -> Result<Found, Exit> {
        let own = prompt_part(&self.spec, self.spec.attempt.0);
        let sent = *self.messages.borrow();
        let parts: Vec<String> = (1..=self.spec.attempt.0)
            .map(|attempt| prompt_part(&self.spec, attempt))
            .collect();
        let messages = self.messages(child, &parts).await?;
        let Some(prompt) = messages.first() else {
            return Ok(Found::Nothing);
        };
        self.earlier = self.used_before(child, &parts, prompt).await?;
        self.put = self.given(child, sent).await?;
        // What was heard before this prompt is not answered once more.
        let given: Vec<String> = (1..=self.put)
            .map(|number| message_part(&self.spec, number))
            .filter(|part| stands_in(&messages, part))
            .collect();
        if prompt.parts.iter().any(|part| part.id == own) {
            self.asked = given;
            return Ok(Found::Followed);
        }
        let busy = self.status_of(child).await? != Status::Idle;
        if busy {
            self.prompts = parts;
            self.asked = given;
            return Ok(Found::Followed);
        }
        let evidence = Evidence {
            idle: true,
            asked: &given,
            ..Evidence::default()
        };
        match judge(&messages, &evidence) {
            // It has not heard everything: it is followed, and goes on with the rest.
            Verdict::Ended { end, .. }
                if end.is_by_itself() && self.put < sent && !self.spec.collect =>
            {
                self.prompts = parts;
                self.asked = given;
                Ok(Found::Followed)
            }
            Verdict::Ended { end, answer, usage } if end != RunEnd::Aborted => Err(Exit::Ended {
                end,
                answer,
                usage: Some(usage.into()),
            }),
            _ => Ok(Found::CutOff {
                partial: partial_of(&messages),
                usage: usage_of(&messages),
            }),
        }
    }

    /// What the attempts before this prompt's have used in the child.
    async fn used_before(
        &mut self,
        child: &SessionId,
        parts: &[String],
        prompt: &Message,
    ) -> Result<Usage, Exit> {
        for part in parts {
            if prompt.parts.iter().any(|own| own.id == *part) {
                break;
            }
            // The first attempts need not have come as far as their prompt.
            let all = self.messages(child, std::slice::from_ref(part)).await?;
            if all.is_empty() {
                continue;
            }
            let before = all
                .iter()
                .position(|message| message.info.id == prompt.info.id);
            return Ok(usage_of(&all[..before.unwrap_or(all.len())]));
        }
        Ok(Usage::default())
    }
}
