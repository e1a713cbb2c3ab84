//! From the prompt to the proof of the end.

use std::time::Duration;

use brigade_core::delegation::{RunEnd, StopCause};
use brigade_core::id::SessionId;
use tokio::time::{Instant, sleep_until};

use super::{Driver, Exit};
use crate::opencode::judge::{Evidence, Verdict, end_of_error, judge, partial_of};
use crate::opencode::message::{Message, Usage};
use crate::opencode::types::Status;

/// The host writes a message's error up to 280 ms after the first idle; what has not come after this long is
/// read once more and then concluded from.
pub(super) const SETTLE: Duration = Duration::from_secs(2);
/// After this long without a word the session's status is asked for: an event may have been lost.
const QUIET: Duration = Duration::from_secs(30);
/// How old an answer may be to one that has heard nothing for so long.
const FRESH: Duration = Duration::from_secs(5);
/// A prompt that the host accepted and never stored is given up after this long: it may have to install things
/// first.
const START_LIMIT: Duration = Duration::from_secs(300);
/// Progress is reported this often at most, and the more seldom the longer the text is.
const REPORT: Duration = Duration::from_secs(1);

/// What the next wake-up is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Due {
    Report,
    Settle,
    Quiet,
    Stall(u64),
    Limit(u64),
    AbortAgain,
}

/// Timers of following a run.
pub(super) struct Timers {
    report: Instant,
    settle: Option<Instant>,
    probed: Instant,
    reported: u64,
    reported_text: u64,
}

impl Driver {
    pub(super) async fn follow(&mut self, child: &SessionId) -> Result<Exit, Exit> {
        let now = Instant::now();
        let mut timers = Timers {
            report: now + REPORT,
            settle: None,
            probed: now,
            reported: 0,
            reported_text: 0,
        };
        self.stop.mark_changed();
        loop {
            // What is done now and then is boxed: very many runs wait here for long.
            while let Some(ask) = self.asks.pop_front() {
                Box::pin(self.refuse(ask)).await?;
            }
            if std::mem::take(&mut self.missed) {
                Box::pin(self.catch_up(child, Duration::ZERO)).await?;
                self.behind = true;
                Box::pin(self.check(child, &mut timers, false)).await?;
                continue;
            }
            if std::mem::take(&mut self.hint) {
                Box::pin(self.check(child, &mut timers, false)).await?;
                continue;
            }
            if self.is_owed() {
                timers.settle = None;
                Box::pin(self.put_message(child)).await?;
                continue;
            }
            let (at, due) = self.next_due(&timers);
            tokio::select! {
                sent = self.messages.changed() => {
                    if sent.is_err() {
                        return Err(Exit::Detached);
                    }
                }
                signal = self.signals.recv() => self.take(signal)?,
                changed = self.stop.changed() => {
                    if changed.is_err() {
                        return Err(Exit::Detached);
                    }
                    if self.stopping.is_none() && self.stop.borrow_and_update().is_some() {
                        Box::pin(self.begin_stop(child, &mut timers)).await?;
                    }
                }
                () = sleep_until(at) => Box::pin(self.on_due(due, child, &mut timers)).await?,
            }
        }
    }

    fn next_due(&self, timers: &Timers) -> (Instant, Due) {
        let quiet = timers.probed.max(self.heard) + QUIET;
        let mut due = vec![(quiet, Due::Quiet)];
        if self.observer.revision() != timers.reported {
            due.push((timers.report, Due::Report));
        }
        if let Some(settle) = timers.settle {
            due.push((settle, Due::Settle));
        }
        match self.stopping {
            Some(stopping) => due.push((stopping.again, Due::AbortAgain)),
            None => {
                if let Some(limit) = self.spec.max_run_ms {
                    let left = limit.saturating_sub(self.spec.spent_ms);
                    due.push((
                        self.started + Duration::from_millis(left),
                        Due::Limit(limit),
                    ));
                }
                if let Some(stall) = self.spec.stall_ms
                    && self.can_stall()
                {
                    due.push((self.heard + Duration::from_millis(stall), Due::Stall(stall)));
                }
            }
        }
        due.into_iter()
            .min_by_key(|(at, _)| *at)
            .unwrap_or((quiet, Due::Quiet))
    }

    /// Silence means something only while something should be heard.
    fn can_stall(&self) -> bool {
        let progress = self.observer.progress();
        self.connected && progress.running_tools == 0 && progress.retrying.is_none()
    }

    async fn on_due(
        &mut self,
        due: Due,
        child: &SessionId,
        timers: &mut Timers,
    ) -> Result<(), Exit> {
        match due {
            Due::Report => self.report(timers).await,
            Due::Settle => {
                timers.settle = None;
                self.check(child, timers, true).await
            }
            Due::Quiet => {
                timers.probed = Instant::now();
                if self.connected {
                    self.catch_up(child, FRESH).await?;
                    if self.observer.is_idle() {
                        self.check(child, timers, false).await?;
                    }
                }
                Ok(())
            }
            Due::Stall(limit_ms) => {
                // Its end may have been missed.
                self.catch_up(child, Duration::ZERO).await?;
                self.check(child, timers, false).await?;
                if self.can_stall()
                    && self.heard + Duration::from_millis(limit_ms) <= Instant::now()
                {
                    self.log.stop(StopCause::Stall { limit_ms }).await?;
                    self.begin_stop(child, timers).await?;
                }
                Ok(())
            }
            Due::Limit(limit_ms) => {
                self.log.stop(StopCause::TimeLimit { limit_ms }).await?;
                self.begin_stop(child, timers).await
            }
            Due::AbortAgain => self.abort_again(child, timers).await,
        }
    }

    async fn report(&mut self, timers: &mut Timers) -> Result<(), Exit> {
        timers.reported = self.observer.revision();
        let text = self.observer.text_revision();
        let partial = (text != timers.reported_text).then(|| self.observer.partial());
        timers.reported_text = text;
        let megabytes = u32::try_from(self.observer.partial().len() >> 20).unwrap_or(u32::MAX);
        let mut progress = self.observer.progress().clone();
        progress.usage.merge(&self.earlier);
        self.log.progress(&progress, partial, self.ran_ms()).await?;
        timers.report = Instant::now() + REPORT.saturating_mul(megabytes.saturating_add(1));
        Ok(())
    }

    /// Reads the messages and leaves if they prove the end. `settled`: the last read is long enough ago for the
    /// host to have written all it had to write.
    pub(super) async fn check(
        &mut self,
        child: &SessionId,
        timers: &mut Timers,
        settled: bool,
    ) -> Result<(), Exit> {
        self.hint = false;
        let prompts = self.prompts.clone();
        let messages = self.messages(child, &prompts).await?;
        let evidence = Evidence {
            idle: self.observer.is_idle(),
            error: self.observer.error(),
            refused: self.refused.as_deref(),
            asked: &self.asked,
        };
        match judge(&messages, &evidence) {
            Verdict::Running => {
                timers.settle = None;
                if std::mem::take(&mut self.behind) {
                    self.observer.adopt(&messages);
                }
                Ok(())
            }
            // An error that is told before the prompt is stored need not be the prompt's.
            Verdict::Ended { .. } if messages.is_empty() && !settled => {
                timers.settle.get_or_insert(Instant::now() + SETTLE);
                Ok(())
            }
            Verdict::Ended {
                end: RunEnd::Aborted,
                answer,
                usage,
            } => self.aborted(answer, usage).await,
            // It goes on with what was sent to it meanwhile.
            Verdict::Ended { end, .. } if end.is_by_itself() && self.is_owed() => Ok(()),
            Verdict::Ended { end, answer, usage } => Err(Exit::Ended {
                end,
                answer,
                usage: Some(usage.into()),
            }),
            Verdict::NotStarted | Verdict::Unproven { .. } if !settled => {
                timers.settle.get_or_insert(Instant::now() + SETTLE);
                Ok(())
            }
            Verdict::NotStarted => {
                if self.stopping.is_none() && self.prompted_at.elapsed() >= START_LIMIT {
                    return Err(Exit::Interrupted {
                        why: "the host accepted the prompt and never began with it".to_owned(),
                        partial: String::new(),
                    });
                }
                Ok(())
            }
            Verdict::Unproven { usage, .. } => self.conclude(child, &messages, usage).await,
        }
    }

    /// The session does nothing and its messages prove no end, and nothing more was written for a while.
    async fn conclude(
        &mut self,
        child: &SessionId,
        messages: &[Message],
        usage: Usage,
    ) -> Result<(), Exit> {
        if self.status_of(child).await? != Status::Idle {
            self.observer.resync(false, None);
            return Ok(());
        }
        let answer = self.partial(messages);
        if let Some(error) = self.observer.error() {
            let end = end_of_error(error, false);
            if end == RunEnd::Aborted {
                return self.aborted(answer, usage).await;
            }
            return Err(Exit::Ended {
                end,
                answer,
                usage: Some(usage.into()),
            });
        }
        if self.stopping.is_some() {
            return Err(Exit::Ended {
                end: RunEnd::Aborted,
                answer,
                usage: Some(usage.into()),
            });
        }
        if self.nudge(child, messages).await? {
            return Ok(());
        }
        Err(Exit::Interrupted {
            why: "its session stopped without an end, as after a crash of the host".to_owned(),
            partial: answer,
        })
    }

    /// What there is of an answer: as stored, or as it streamed where that is more.
    pub(super) fn partial(&self, messages: &[Message]) -> String {
        let stored = partial_of(messages);
        if stored.len() < self.observer.partial().len() {
            self.observer.partial().to_owned()
        } else {
            stored
        }
    }
}
