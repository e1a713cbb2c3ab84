//! Permissions and questions that arise in the background: nobody can be asked, so they are refused at once.

use std::time::Duration;

use brigade_core::id::SessionId;
use tokio::time::Instant;

use super::{Driver, Exit, OpenAsk};
use crate::opencode::report::Refusal;
use crate::opencode::types::{ApiError, Status};

impl Driver {
    /// Reads what events may have told meanwhile: status, open asks. An answer may be as old as this, if it is newer
    /// than what was heard last.
    pub(super) async fn catch_up(&mut self, child: &SessionId, age: Duration) -> Result<(), Exit> {
        let status = self.status_as_of(child, age).await?;
        match status {
            Status::Idle => self.observer.resync(true, None),
            Status::Busy => self.observer.resync(false, None),
            Status::Retry { next_ms, message } => {
                self.observer.resync(false, Some((message, next_ms)));
            }
        }
        let since = self.since(age);
        let permissions = self
            .ask(|api| async move { api.as_of(since).permissions().await })
            .await?;
        let permissions = permissions.unwrap_or_else(|error| self.unread(&error));
        for ask in permissions
            .iter()
            .filter(|ask| ask.session == child.as_str())
        {
            self.note_ask(OpenAsk::Permission {
                id: ask.id.clone(),
                permission: ask.permission.clone(),
                patterns: ask.patterns.clone(),
            });
        }
        let questions = self
            .ask(|api| async move { api.as_of(since).questions().await })
            .await?;
        let questions = questions.unwrap_or_else(|error| self.unread(&error));
        for ask in questions.iter().filter(|ask| ask.session == child.as_str()) {
            self.note_ask(OpenAsk::Question {
                count: ask.questions(),
                id: ask.id.clone(),
            });
        }
        while let Some(ask) = self.asks.pop_front() {
            self.refuse(ask).await?;
        }
        Ok(())
    }

    /// Since when an answer counts that may be as old as this.
    pub(super) fn since(&self, age: Duration) -> Instant {
        let now = Instant::now();
        now.checked_sub(age).unwrap_or(now).max(self.heard)
    }

    /// Open asks are found by their events as well; a host that cannot list them is no reason to give up a run.
    fn unread<T: Default>(&self, error: &ApiError) -> T {
        tracing::warn!(delegation = %self.spec.delegation, %error, "open asks were not read");
        T::default()
    }

    /// Refuses what is asked, with words that the model can act on.
    pub(super) async fn refuse(&mut self, ask: OpenAsk) -> Result<(), Exit> {
        let (open, refusal) = match ask {
            OpenAsk::Permission {
                id,
                permission,
                patterns,
            } => {
                let refusal = Refusal {
                    permission,
                    patterns,
                };
                let words = format!(
                    "Refused: this is a background delegation and nobody can be asked. It may not use {}. \
                     Go on without it and say in your answer what you could not do.",
                    refusal.words()
                );
                let answer = self
                    .ask(|api| {
                        let (id, words) = (id.clone(), words.clone());
                        async move { api.refuse_permission(&id, &words).await }
                    })
                    .await?;
                (answer, refusal)
            }
            OpenAsk::Question { id, count } => {
                const WORDS: &str = "Nobody can answer: this is a background delegation. Decide by yourself, go \
                                     on, and say in your answer what you assumed.";
                let answer = self
                    .ask(|api| {
                        let id = id.clone();
                        async move {
                            match api.answer_question(&id, count, WORDS).await {
                                Err(ApiError::Host { error, .. }) if error.status < 500 => {
                                    api.reject_question(&id).await
                                }
                                answer => answer,
                            }
                        }
                    })
                    .await?;
                let refusal = Refusal {
                    permission: "question".to_owned(),
                    patterns: Vec::new(),
                };
                (answer, refusal)
            }
        };
        match open {
            Ok(true) => {
                self.refused = Some(refusal.words());
                self.log.refused(refusal).await?;
            }
            // Somebody was quicker.
            Ok(false) => {}
            Err(error) => {
                tracing::warn!(delegation = %self.spec.delegation, %error, "an ask could not be refused");
            }
        }
        Ok(())
    }
}
