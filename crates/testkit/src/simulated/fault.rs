//! What goes wrong between bridge and daemon, on order or by chance.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::{Result, Watched};

/// What goes wrong with one of the daemon's requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// It is not carried out, and the bridge says that it does not know.
    LostRequest,
    /// It is carried out, and the bridge says that it does not know.
    LostReply,
    /// It is carried out after a while.
    Late(Duration),
    /// It is carried out once the gate opens.
    Held(String),
    /// It is answered at once (with 204) and carried out once the gate opens: so the host takes prompts.
    Accepted(String),
    /// It is not carried out, and the connection breaks.
    BreakBefore,
    /// It is carried out, and the connection breaks before the answer.
    BreakAfter,
    /// It is not carried out, and the daemon crashes.
    CrashBefore,
    /// It is carried out, and the daemon crashes before the answer.
    CrashAfter,
    /// The host answers with this status and has done nothing.
    Status(u16),
}

struct Random {
    rng: StdRng,
    percent: u64,
    left: u32,
    crashes: u32,
}

#[derive(Default)]
struct Plan {
    ordered: VecDeque<(String, Fault)>,
    random: Option<Random>,
    crash: Option<Arc<dyn Fn() + Send + Sync>>,
}

/// What is to go wrong. Cheap to clone; all clones share one plan.
#[derive(Clone)]
pub struct Faults(Arc<Watched<Plan>>);

impl Default for Faults {
    fn default() -> Self {
        Self(Arc::new(Watched::new(Plan::default())))
    }
}

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .read(|plan| f.debug_list().entries(&plan.ordered).finish())
    }
}

impl Faults {
    /// The next request whose `METHOD path` begins so goes wrong like this.
    pub fn next(&self, line: &str, fault: Fault) {
        self.0
            .update(|plan| plan.ordered.push_back((line.to_owned(), fault)));
    }

    /// Whether everything that was ordered has happened.
    #[must_use]
    pub fn all_happened(&self) -> bool {
        self.0.read(|plan| plan.ordered.is_empty())
    }

    /// Waits until everything that was ordered has happened.
    ///
    /// # Errors
    /// [`Error::Timeout`](crate::Error::Timeout).
    pub async fn all_happen(&self, limit: Duration) -> Result<()> {
        let seen = |plan: &Plan| format!("{:?} has not happened", plan.ordered);
        let look = |plan: &Plan| plan.ordered.is_empty().then_some(());
        self.0
            .until_within(limit, "what was to go wrong", seen, look)
            .await
    }

    /// How the daemon is crashed.
    pub fn on_crash(&self, crash: impl Fn() + Send + Sync + 'static) {
        self.0.update(|plan| plan.crash = Some(Arc::new(crash)));
    }

    /// From now on requests go wrong by chance: so many of a hundred, at most so many in all, with at most so
    /// many crashes of the daemon among them.
    pub fn by_chance(&self, seed: u64, percent: u64, budget: u32, crashes: u32) {
        let random = Random {
            rng: StdRng::seed_from_u64(seed),
            percent,
            left: budget,
            crashes,
        };
        self.0.update(|plan| plan.random = Some(random));
    }

    /// Nothing goes wrong any more.
    pub fn heal(&self) {
        self.0.update(|plan| {
            plan.ordered.clear();
            plan.random = None;
        });
    }

    pub(super) fn crash(&self) {
        let crash = self.0.read(|plan| plan.crash.clone());
        if let Some(crash) = crash {
            crash();
        }
    }

    /// What goes wrong with this request.
    pub(super) fn draw(&self, line: &str) -> Option<Fault> {
        self.0.update(|plan| {
            let mut ordered = plan.ordered.iter();
            let at = ordered.position(|(prefix, _)| line.starts_with(prefix.as_str()));
            match at {
                Some(at) => plan.ordered.remove(at).map(|(_, fault)| fault),
                None => plan.random.as_mut()?.draw(),
            }
        })
    }

    /// Whether something else, of which one of a hundred times this many goes wrong, does so now.
    pub(super) fn strikes(&self, percent: u64) -> bool {
        self.0.update(|plan| {
            let random = plan.random.as_mut();
            random.is_some_and(|random| random.left > 0 && random.rng.next_u64() % 100 < percent)
        })
    }
}

impl Random {
    fn draw(&mut self) -> Option<Fault> {
        if self.left == 0 || self.rng.next_u64() % 100 >= self.percent {
            return None;
        }
        self.left -= 1;
        let crashes = if self.crashes > 0 { 2 } else { 0 };
        let fault = match self.rng.next_u64() % (6 + crashes) {
            0 => Fault::LostRequest,
            1 => Fault::LostReply,
            2 => Fault::Late(Duration::from_millis(self.rng.next_u64() % 60)),
            3 => Fault::BreakBefore,
            4 => Fault::BreakAfter,
            5 => Fault::Status(500),
            6 => Fault::CrashBefore,
            _ => Fault::CrashAfter,
        };
        if matches!(fault, Fault::CrashBefore | Fault::CrashAfter) {
            self.crashes -= 1;
        }
        Some(fault)
    }
}
