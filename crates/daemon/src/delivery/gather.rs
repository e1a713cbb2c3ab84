//! Notices that wait for others of their batch.
//!
//! Each message costs the host as much as a prompt, on the one thread that is busy ending the others. So those that end
//! together are told by one message.

use std::collections::HashMap;
use std::time::Duration;

use brigade_core::id::SessionId;
use tokio::time::Instant;

/// How long a notice that wakes nobody waits for others at most: nobody feels it.
pub(super) const GATHER: Duration = Duration::from_millis(250);

/// Whether notices go.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Gathered {
    /// Now.
    Go,
    /// When what they wait for is there. They are to be looked at after [`GATHER`] at the latest.
    Begin,
    /// The same, and that look is under way.
    Wait,
}

/// Since when the notices of each parent wait.
#[derive(Default)]
pub(super) struct Gathering(HashMap<SessionId, Instant>);

impl Gathering {
    /// Whether what is pending for a parent goes now. Once it has waited it waits no longer, until it is forgotten.
    pub(super) fn look(&mut self, parent: &SessionId, may_wait: bool) -> Gathered {
        if !may_wait {
            return Gathered::Go;
        }
        match self.0.get(parent) {
            Some(since) if since.elapsed() < GATHER => Gathered::Wait,
            Some(_) => Gathered::Go,
            None => {
                self.0.insert(parent.clone(), Instant::now());
                Gathered::Begin
            }
        }
    }

    /// What was pending for this parent is told, or needs no telling.
    pub(super) fn forget(&mut self, parent: &SessionId) {
        self.0.remove(parent);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_may_wait_waits_once_and_not_for_long() {
        let mut gathering = Gathering::default();
        let parent: SessionId = "ses_1".parse().unwrap();
        let other: SessionId = "ses_2".parse().unwrap();
        assert_eq!(gathering.look(&parent, true), Gathered::Begin);
        tokio::time::advance(GATHER / 2).await;
        assert_eq!(gathering.look(&parent, true), Gathered::Wait);
        assert_eq!(gathering.look(&other, true), Gathered::Begin);
        tokio::time::advance(GATHER / 2).await;
        assert_eq!(gathering.look(&parent, true), Gathered::Go);
        assert_eq!(gathering.look(&other, true), Gathered::Wait);
        // What could not be sent does not wait once more; those that come later do.
        assert_eq!(gathering.look(&parent, true), Gathered::Go);
        gathering.forget(&parent);
        assert_eq!(gathering.look(&parent, true), Gathered::Begin);
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_of_a_batch_takes_those_along_that_wait() {
        let mut gathering = Gathering::default();
        let parent: SessionId = "ses_1".parse().unwrap();
        assert_eq!(gathering.look(&parent, false), Gathered::Go);
        assert_eq!(gathering.look(&parent, true), Gathered::Begin);
        assert_eq!(gathering.look(&parent, false), Gathered::Go);
        gathering.forget(&parent);
        tokio::time::advance(GATHER).await;
        assert_eq!(gathering.look(&parent, true), Gathered::Begin);
    }
}
