//! Calls and signals: the host is asked while it is heard, and asked again when the line was down.

use std::time::Duration;

use brigade_core::id::SessionId;
use tokio::time::{Instant, sleep_until};

use super::{Driver, Exit, OpenAsk};
use crate::opencode::api::Api;
use crate::opencode::event::{EventKind, HostEvent};
use crate::opencode::report::Signal;
use crate::opencode::transport::TransportError;
use crate::opencode::types::ApiError;

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// A host that fails inwardly this often in a row, which takes most of a minute, is taken at its word.
pub(super) const MAX_FAILURES: u32 = 12;

/// The growing pauses between tries.
pub(super) struct Backoff(Duration);

impl Backoff {
    pub(super) fn new() -> Self {
        Self(FIRST_PAUSE)
    }

    fn next(&mut self) -> Duration {
        let pause = self.0;
        self.0 = (pause * 2).min(LONGEST_PAUSE);
        pause
    }
}

impl Driver {
    /// Awaits something while signals are taken in; leaves when the host is gone or the caller.
    pub(super) async fn hearing<T>(&mut self, work: impl Future<Output = T>) -> Result<T, Exit> {
        tokio::pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return Ok(done),
                signal = self.signals.recv() => self.take(signal)?,
            }
        }
    }

    /// Asks something that may be asked as often as one likes, until there is an answer. Only what the host
    /// itself says of the request comes back as an error; a host that fails inwardly is asked again for a while.
    pub(super) async fn ask<T, F>(
        &mut self,
        call: impl Fn(Api) -> F,
    ) -> Result<Result<T, ApiError>, Exit>
    where
        F: Future<Output = Result<T, ApiError>>,
    {
        let mut backoff = Backoff::new();
        let mut failures = 0;
        let mut out_of_reach = false;
        loop {
            let answer = self.hearing(call(self.api.clone())).await?;
            match answer {
                Err(ApiError::Transport(error)) => {
                    tracing::debug!(delegation = %self.spec.delegation, %error, "asking again");
                    out_of_reach = true;
                }
                Err(ApiError::Host { error, call })
                    if error.status >= 500 && failures < MAX_FAILURES =>
                {
                    failures += 1;
                    tracing::warn!(delegation = %self.spec.delegation, %error, call, "asking again");
                }
                answer => {
                    if out_of_reach {
                        // Suspended, or the line was down: its silence meant nothing.
                        self.heard = Instant::now();
                    }
                    return Ok(answer);
                }
            }
            self.pause(&mut backoff).await?;
        }
    }

    /// Waits before the next try; a connection that is back ends the wait.
    pub(super) async fn pause(&mut self, backoff: &mut Backoff) -> Result<(), Exit> {
        let until = Instant::now() + backoff.next();
        loop {
            tokio::select! {
                () = sleep_until(until) => return Ok(()),
                signal = self.signals.recv() => {
                    let back = matches!(signal, Some(Signal::Reconnected));
                    self.take(signal)?;
                    if back {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Takes a signal in. Only the fold happens here; what follows from it is done by who follows the run.
    pub(super) fn take(&mut self, signal: Option<Signal>) -> Result<(), Exit> {
        match signal {
            None => Err(Exit::Detached),
            Some(Signal::HostGone { why }) => Err(Exit::Interrupted {
                why,
                partial: self.observer.partial().to_owned(),
            }),
            Some(Signal::Disconnected) => {
                self.connected = false;
                Ok(())
            }
            Some(Signal::Reconnected) => {
                self.connected = true;
                self.missed = true;
                self.heard = Instant::now();
                Ok(())
            }
            Some(Signal::Event(event)) => {
                self.on_event(*event);
                Ok(())
            }
        }
    }

    pub(super) fn on_event(&mut self, event: HostEvent) {
        if event.session.as_deref() != self.child.as_ref().map(SessionId::as_str)
            || self.child.is_none()
        {
            return;
        }
        self.heard = Instant::now();
        match &event.kind {
            EventKind::PermissionAsked {
                id,
                permission,
                patterns,
            } => self.note_ask(OpenAsk::Permission {
                id: id.clone(),
                permission: permission.clone(),
                patterns: patterns.clone(),
            }),
            EventKind::QuestionAsked { id, count } => self.note_ask(OpenAsk::Question {
                id: id.clone(),
                count: *count,
            }),
            _ => {}
        }
        self.hint |= self.observer.on_event(event);
    }

    pub(super) fn note_ask(&mut self, ask: OpenAsk) {
        if !self.asks.contains(&ask) {
            self.asks.push_back(ask);
        }
    }
}

/// Whether the request may have been carried out although there was no answer.
pub(super) fn in_doubt(error: &ApiError) -> bool {
    match error {
        ApiError::Transport(error) => matches!(error, TransportError::Doubt { .. }),
        // The host may have failed after having done it.
        ApiError::Host { error, .. } => error.status >= 500,
        ApiError::Unexpected { .. } => true,
    }
}

/// Whether it surely was not sent.
pub(super) fn not_sent(error: &ApiError) -> bool {
    matches!(error, ApiError::Transport(TransportError::NotSent { .. }))
}
