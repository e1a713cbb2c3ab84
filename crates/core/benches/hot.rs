//! What is done for every event, notice and model step: `cargo bench -p brigade-core`.

#![expect(
    clippy::unwrap_used,
    reason = "a benchmark that can't go on has failed"
)]

use brigade_core::delegation::{Access, Command, Delegation, RunEnd, Spec, State};
use brigade_core::id::{Attempt, DelegationId, ProjectId};
use brigade_core::text::ledger::{self, LedgerView, Running, Unread};
use brigade_core::text::notice::{self, NoticeView};
use divan::{Bencher, black_box};
use jiff::Timestamp;
use rand::SeedableRng;
use rand::rngs::StdRng;

fn main() {
    divan::main();
}

fn spec() -> Spec {
    Spec {
        id: "brave-amber-otter".parse().unwrap(),
        project: ProjectId::from_path("/p"),
        directory: "/p".into(),
        parent: "ses_parent".parse().unwrap(),
        root: "ses_parent".parse().unwrap(),
        host: "host".into(),
        origin: None,
        credentials: Vec::new(),
        agent: "explore".into(),
        model: None,
        prompt: "Find out how tokens are refreshed. ".repeat(40),
        ask_title: true,
        access: Access::default(),
        registered_at: Timestamp::UNIX_EPOCH,
        max_run_ms: None,
        stall_ms: None,
        max_attempts: 3,
        caller: None,
        continues: None,
        retries: None,
        worktree: None,
    }
}

/// What happens to one that goes well, in its order.
fn life() -> [Command; 5] {
    let attempt = Attempt(1);
    [
        Command::Start {
            runner: "1:1".into(),
            own: false,
            confinement: None,
        },
        Command::ChildReady {
            attempt,
            session: "ses_child".parse().unwrap(),
        },
        Command::Prompted { attempt },
        Command::RunEnded {
            attempt,
            end: RunEnd::Answered,
            messages: 0,
            ran_ms: 5,
        },
        Command::ArtifactWritten,
    ]
}

fn step(delegation: &mut Delegation, command: &Command) {
    let transition = delegation.apply(command).unwrap();
    for event in &transition.events {
        delegation.evolve(event, Timestamp::UNIX_EPOCH);
    }
}

/// All transitions of a life.
#[divan::bench]
fn transitions_of_a_life(bencher: Bencher) {
    let commands = life();
    bencher
        .with_inputs(|| Delegation::new(spec()))
        .bench_refs(|delegation| {
            for command in &commands {
                step(delegation, command);
            }
        });
}

/// The ledger with this many under way, and as many unread.
#[divan::bench(args = [1, 20, 200])]
fn ledger(bencher: Bencher, entries: usize) {
    let mut rng = StdRng::seed_from_u64(1);
    let ids: Vec<DelegationId> = (0..2 * entries)
        .map(|_| DelegationId::generate(&mut rng))
        .collect();
    let (under_way, ended) = ids.split_at(entries);
    let view = LedgerView {
        running: under_way
            .iter()
            .map(|id| Running {
                id,
                agent: "explore",
                state: State::Running,
                age_ms: 90_000,
                about: "Find out how tokens are refreshed, & who <asks>",
                shown: 0,
            })
            .collect(),
        unread: ended
            .iter()
            .map(|id| Unread {
                id,
                state: State::Complete,
                title: "How tokens are refreshed",
                shown: 0,
            })
            .collect(),
    };
    bencher.bench(|| ledger::render(black_box(&view)));
}

/// The notice of a result of this many bytes.
#[divan::bench(args = [100, 10_000, 1_000_000])]
fn notice(bencher: Bencher, bytes: usize) {
    let id = "brave-amber-otter".parse().unwrap();
    let result = "Tokens <are> refreshed by `auth/refresh.rs`.\n".repeat(bytes / 45 + 1);
    let view = NoticeView {
        id: &id,
        agent: "explore",
        state: State::Complete,
        title: "How tokens are refreshed",
        summary: "They are refreshed a minute before they expire.",
        error: None,
        artifact: "/home/x/.local/share/opencode/delegations/p/s/brave-amber-otter.md",
        changes: None,
        result: Some(&result),
        inline_limit: 4_000,
        remaining: 2,
        batch: 3,
    };
    bencher.bench(|| notice::render(black_box(&view)));
}
