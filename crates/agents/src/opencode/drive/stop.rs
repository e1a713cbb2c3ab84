//! Stopping a run: abort, await the proof of the end, keep what is there.

use std::time::Duration;

use brigade_core::delegation::RunEnd;
use brigade_core::id::SessionId;
use tokio::time::Instant;

use super::follow::{SETTLE, Timers};
use super::{Driver, Exit, Stopping};
use crate::opencode::judge::usage_of;
use crate::opencode::message::Usage;
use crate::opencode::report::AbortVerdict;
use crate::opencode::types::Status;

/// An abort is awaited this long once the host has taken it.
const STOP_LIMIT: Duration = Duration::from_secs(30);

impl Driver {
    /// It was aborted. By whom, if not by us, is for the caller to find out: a quitting host aborts as well.
    pub(super) async fn aborted(&mut self, answer: String, usage: Usage) -> Result<(), Exit> {
        if self.stopping.is_none() && self.stop.borrow().is_none() {
            let log = self.log.clone();
            let verdict = self.hearing(log.unordered_abort()).await?;
            if let AbortVerdict::Interrupted { why } = verdict {
                return Err(Exit::Interrupted {
                    why,
                    partial: answer,
                });
            }
        }
        Err(Exit::Ended {
            end: RunEnd::Aborted,
            answer,
            usage: Some(usage.into()),
        })
    }

    pub(super) async fn begin_stop(
        &mut self,
        child: &SessionId,
        timers: &mut Timers,
    ) -> Result<(), Exit> {
        self.stopping = Some(Stopping {
            until: None,
            again: Instant::now() + SETTLE,
        });
        self.abort(child).await?;
        let now = Instant::now();
        self.stopping = Some(Stopping {
            until: Some(now + STOP_LIMIT),
            again: now + SETTLE,
        });
        self.check(child, timers, false).await
    }

    /// An abort that came before the run did, or that the host has not carried out yet, is repeated.
    pub(super) async fn abort_again(
        &mut self,
        child: &SessionId,
        timers: &mut Timers,
    ) -> Result<(), Exit> {
        let now = Instant::now();
        let until = self.stopping.and_then(|stopping| stopping.until);
        if until.is_some_and(|until| until <= now) {
            let prompts = self.prompts.clone();
            let messages = self.messages(child, &prompts).await?;
            let answer = self.partial(&messages);
            tracing::warn!(delegation = %self.spec.delegation, "the host did not prove the end of an aborted run");
            return Err(Exit::Ended {
                end: RunEnd::Aborted,
                answer,
                usage: Some(usage_of(&messages).into()),
            });
        }
        self.stopping = Some(Stopping {
            until,
            again: now + SETTLE,
        });
        if self.status_of(child).await? == Status::Idle {
            self.observer.resync(true, None);
        } else {
            self.abort(child).await?;
        }
        self.check(child, timers, false).await
    }
}
