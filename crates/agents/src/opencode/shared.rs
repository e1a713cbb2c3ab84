//! Answers about all sessions of a directory: asked for once on behalf of all who want them at the same time.
//!
//! Each of many runs that hear nothing for a while asks for them, and each answer tells of all.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

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
    last: tokio::sync::Mutex<(u64, Option<Answer<T>>)>,
}

type Answer<T> = Result<Arc<T>, ApiError>;

impl<T> Default for Inquiry<T> {
    fn default() -> Self {
        Self {
            asked: AtomicU64::new(0),
            last: tokio::sync::Mutex::new((0, None)),
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
    /// the asker has heard or done since.
    pub(super) async fn ask(&self, ask: impl Future<Output = Result<T, ApiError>>) -> Answer<T> {
        let before = self.asked.load(Ordering::SeqCst);
        let mut last = self.last.lock().await;
        if let (number, Some(answer)) = &*last
            && *number > before
        {
            return answer.clone();
        }
        let number = self.asked.fetch_add(1, Ordering::SeqCst) + 1;
        let answer = ask.await.map(Arc::new);
        *last = (number, Some(answer.clone()));
        answer
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;

    use tokio::sync::Notify;

    use super::*;

    #[tokio::test]
    async fn those_who_ask_meanwhile_share_the_next_answer_and_never_an_earlier_one() {
        let (inquiry, count, go) = (Inquiry::default(), AtomicU32::new(0), Notify::new());
        let ask = || {
            inquiry.ask(async {
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

    #[tokio::test]
    async fn who_gives_up_asking_keeps_nobody_waiting() {
        let inquiry = Inquiry::<u32>::default();
        {
            let given_up = inquiry.ask(std::future::pending());
            tokio::pin!(given_up);
            assert!(futures::poll!(&mut given_up).is_pending());
        }
        assert_eq!(*inquiry.ask(async { Ok(7) }).await.unwrap(), 7);
    }
}
