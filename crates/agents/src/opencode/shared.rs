//! Answers about all sessions of a directory: asked for once on behalf of all who want them at the same time.
//!
//! Each of many runs that hear nothing for a while asks for them, and each answer tells of all. Who only looks after
//! its silence takes an answer that was asked for a moment ago, too: else very many of them, one after the other, would
//! keep the host telling of all.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::Instant;

use super::types::{ApiError, Ask, Status};

/// What is asked of one host, by directory.
#[derive(Debug, Default)]
pub struct Shared(Mutex<HashMap<String, Arc<Inquiries>>>);

/// What is asked of the host about all sessions of a directory.
#[derive(Debug, Default)]
pub(super) struct Inquiries {
    pub(super) statuses: Inquiry<BTreeMap<String, Status>>,
    pub(super) permissions: Inquiry<Vec<Ask>>,
    pub(super) questions: Inquiry<Vec<Ask>>,
}

impl Shared {
    pub(super) fn of(&self, directory: &str) -> Arc<Inquiries> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = all.get(directory) {
            return Arc::clone(known);
        }
        // Directories come and go with worktrees: those that nobody asks about just now go as others come.
        all.retain(|_, inquiries| Arc::strong_count(inquiries) > 1);
        Arc::clone(all.entry(directory.to_owned()).or_default())
    }
}

/// Something that is asked, with its last answer, and which one that was.
pub(super) struct Inquiry<T> {
    asked: AtomicU64,
    last: tokio::sync::Mutex<Option<Last<T>>>,
}

/// The last answer.
struct Last<T> {
    number: u64,
    asked_at: Instant,
    answer: Answer<T>,
}

type Answer<T> = Result<Arc<T>, ApiError>;

impl<T> Default for Inquiry<T> {
    fn default() -> Self {
        Self {
            asked: AtomicU64::new(0),
            last: tokio::sync::Mutex::default(),
        }
    }
}

impl<T> fmt::Debug for Inquiry<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inquiry").finish_non_exhaustive()
    }
}

impl<T> Inquiry<T> {
    /// The answer to what was asked no earlier than this: what was asked before may not know of what
    /// the asker has heard or done since. Or to what was asked after the time that is given, where that was answered.
    pub(super) async fn ask(
        &self,
        since: Option<Instant>,
        ask: impl Future<Output = Result<T, ApiError>>,
    ) -> Answer<T> {
        let before = self.asked.load(Ordering::SeqCst);
        let mut last = self.last.lock().await;
        if let Some(last) = &*last
            && (last.number > before
                || (last.answer.is_ok() && since.is_some_and(|since| last.asked_at > since)))
        {
            return last.answer.clone();
        }
        let number = self.asked.fetch_add(1, Ordering::SeqCst) + 1;
        let asked_at = Instant::now();
        let answer = ask.await.map(Arc::new);
        *last = Some(Last {
            number,
            asked_at,
            answer: answer.clone(),
        });
        answer
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;
    use std::time::Duration;

    use tokio::sync::Notify;

    use super::*;
    use crate::opencode::TransportError;

    #[tokio::test]
    async fn those_who_ask_meanwhile_share_the_next_answer_and_never_an_earlier_one() {
        let (inquiry, count, go) = (Inquiry::default(), AtomicU32::new(0), Notify::new());
        let ask = || {
            inquiry.ask(None, async {
                let number = count.fetch_add(1, Ordering::SeqCst);
                go.notified().await;
                Ok(number)
            })
        };
        // Polled in this order: the first asks the host, and the others come while it has not answered.
        let let_go = async {
            go.notify_one();
            tokio::task::yield_now().await;
            go.notify_one();
        };
        let (first, second, third, ()) = tokio::join!(ask(), ask(), ask(), let_go);
        let number = |answer: Answer<u32>| *answer.unwrap();
        assert_eq!((number(first), number(second), number(third)), (0, 1, 1));
        go.notify_one();
        assert_eq!(number(ask().await), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn who_looks_after_its_silence_takes_a_good_answer_that_is_newer_than_what_it_heard() {
        let inquiry = Inquiry::default();
        let second = Duration::from_secs(1);
        let heard = Instant::now();
        tokio::time::advance(second).await;
        assert_eq!(*inquiry.ask(None, async { Ok(1) }).await.unwrap(), 1);
        let asked = Instant::now();
        tokio::time::advance(second).await;
        let ask = async |since, answer| inquiry.ask(since, async move { answer }).await;
        assert_eq!(*ask(Some(heard), Ok(2)).await.unwrap(), 1);
        // What was heard as it was asked may be newer than the answer.
        assert_eq!(*ask(Some(asked), Ok(3)).await.unwrap(), 3);
        let failed = || {
            let why = "gone".to_owned();
            Err(ApiError::Transport(TransportError::NotSent { why }))
        };
        assert!(ask(None, failed()).await.is_err());
        assert_eq!(*ask(Some(heard), Ok(4)).await.unwrap(), 4);
    }

    #[tokio::test]
    async fn who_gives_up_asking_keeps_nobody_waiting() {
        let inquiry = Inquiry::<u32>::default();
        {
            let given_up = inquiry.ask(None, std::future::pending());
            tokio::pin!(given_up);
            assert!(futures::poll!(&mut given_up).is_pending());
        }
        assert_eq!(*inquiry.ask(None, async { Ok(7) }).await.unwrap(), 7);
    }
}
