//! A value with a way to wait for what it becomes.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use crate::{Error, Result};

/// State that tasks and threads change and tests await: each change wakes whoever waits, so that
/// nothing has to poll.
#[derive(Debug)]
pub struct Watched<S> {
    state: Mutex<S>,
    changed: watch::Sender<()>,
}

impl<S> Watched<S> {
    /// Starts with `state`.
    pub fn new(state: S) -> Self {
        Self {
            state: Mutex::new(state),
            changed: watch::Sender::new(()),
        }
    }

    /// Looks at the state.
    pub fn read<T>(&self, look: impl FnOnce(&S) -> T) -> T {
        look(&self.lock())
    }

    /// Changes the state and wakes whoever waits.
    pub fn update<T>(&self, change: impl FnOnce(&mut S) -> T) -> T {
        let result = change(&mut self.lock());
        self.changed.send_replace(());
        result
    }

    /// Waits until `look` finds something.
    pub async fn until<T>(&self, mut look: impl FnMut(&S) -> Option<T>) -> T {
        let mut changes = self.changed.subscribe();
        loop {
            changes.mark_unchanged();
            if let Some(found) = self.read(&mut look) {
                return found;
            }
            // The sender lives in `self`, so this cannot fail while we borrow it.
            if changes.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// As [`Self::until`], at most `limit`; the error names `what` and what `seen` makes of the last
    /// state.
    ///
    /// # Errors
    /// [`Error::Timeout`].
    pub async fn until_within<T>(
        &self,
        limit: Duration,
        what: &str,
        seen: impl FnOnce(&S) -> String,
        look: impl FnMut(&S) -> Option<T>,
    ) -> Result<T> {
        match tokio::time::timeout(limit, self.until(look)).await {
            Ok(found) => Ok(found),
            Err(_) => Err(Error::Timeout {
                what: what.to_owned(),
                after: limit,
                seen: self.read(seen),
            }),
        }
    }

    // A panic in a test's predicate must not take the rig's threads down with it.
    fn lock(&self) -> MutexGuard<'_, S> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
