//! A store in a temporary folder, and delegations that live by the state machine.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use brigade_core::clock::Clock;
use brigade_core::delegation::{Access, Command, Delegation, RunEnd, Spec};
use brigade_core::id::{DelegationId, ProjectId, SessionId};
use brigade_store::{
    Along, Change, CommitError, Committed, Ended, OpenError, Registered, Registration, Store,
    StorePaths, Wake,
};
use jiff::Timestamp;

/// A clock that stands still.
struct Still;

impl Clock for Still {
    fn now(&self) -> Timestamp {
        at(1_000)
    }
}

pub(crate) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + second).unwrap()
}

pub(crate) struct Fixture {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) store: Store,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path()).unwrap();
        Self { dir, store }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Registers one that must be new.
    pub(crate) async fn register(&self, spec: Spec) -> Life {
        match self.store.register(spec.clone(), spec.registered_at).await {
            Ok(Registration::New(row)) => Life::new(spec, &row),
            other => panic!("{other:?}"),
        }
    }

    /// One that has run and ended with this answer.
    pub(crate) async fn ended(&self, spec: Spec, answer: &str, wake: Wake) -> Life {
        let mut life = self.register(spec).await;
        life.run(&self.store).await;
        life.end(&self.store, answer, wake).await;
        life
    }
}

pub(crate) fn paths(dir: &Path) -> StorePaths {
    StorePaths {
        db: dir.join("brigade.db"),
        artifacts: dir.join("delegations"),
        predecessor: dir.join("old"),
    }
}

pub(crate) fn open(dir: &Path) -> Result<Store, OpenError> {
    Store::open(&paths(dir), Arc::new(Still))
}

pub(crate) fn id(text: &str) -> DelegationId {
    text.parse().unwrap()
}

pub(crate) fn session(text: &str) -> SessionId {
    text.parse().unwrap()
}

pub(crate) fn project() -> ProjectId {
    "0123456789abcdef".parse().unwrap()
}

pub(crate) fn spec(name: &str, parent: &str, prompt: &str) -> Spec {
    Spec {
        id: id(name),
        project: project(),
        directory: "/p".into(),
        parent: session(parent),
        root: session(parent),
        host: "host".into(),
        origin: None,
        credentials: Vec::new(),
        agent: "explore".into(),
        model: None,
        prompt: prompt.into(),
        ask_title: true,
        access: Access::default(),
        registered_at: at(0),
        max_run_ms: None,
        stall_ms: None,
        max_attempts: 3,
        caller: None,
        continues: None,
        retries: None,
        worktree: None,
    }
}

/// A number as a word of an ID.
pub(crate) fn word(n: u32) -> String {
    let letters = n.to_string();
    letters
        .bytes()
        .map(|digit| char::from(digit - b'0' + b'a'))
        .collect()
}

/// A delegation as the engine keeps it: the record, and its version in the store.
#[derive(Debug, Clone)]
pub(crate) struct Life {
    pub(crate) delegation: Delegation,
    pub(crate) version: i64,
}

impl Life {
    pub(crate) fn new(spec: Spec, row: &Registered) -> Self {
        Self {
            delegation: Delegation::new(spec),
            version: row.version,
        }
    }

    pub(crate) fn id(&self) -> &DelegationId {
        &self.delegation.spec.id
    }

    /// What a command leads to, not stored yet.
    pub(crate) fn change(&self, command: &Command) -> Change {
        let events = self.delegation.apply(command).unwrap().events;
        let mut delegation = self.delegation.clone();
        for event in &events {
            delegation.evolve(event, at(10));
        }
        Change {
            id: self.id().clone(),
            expect_version: self.version,
            delegation,
            events,
            at: at(10),
            along: Along::default(),
        }
    }

    pub(crate) async fn commit(
        &mut self,
        store: &Store,
        change: Change,
    ) -> Result<Committed, CommitError> {
        let after = change.delegation.clone();
        let committed = store.commit(change).await?;
        self.version = committed.version;
        self.delegation = after;
        Ok(committed)
    }

    /// Up to the prompt.
    pub(crate) async fn run(&mut self, store: &Store) {
        let start = Command::Start {
            runner: "1:1".into(),
            own: false,
            confinement: None,
        };
        self.commit(store, self.change(&start)).await.unwrap();
        let attempt = self.delegation.attempt;
        let prompted = Command::Prompted { attempt };
        self.commit(store, self.change(&prompted)).await.unwrap();
    }

    pub(crate) fn decision(&self, end: RunEnd, text: &str) -> Change {
        let command = Command::RunEnded {
            messages: 0,
            attempt: self.delegation.attempt,
            end,
            ran_ms: 5,
        };
        Change {
            along: Along {
                text: Some(Arc::new(text.to_owned())),
                ..Along::default()
            },
            ..self.change(&command)
        }
    }

    /// The last transition, with title and summary from the answer's first two lines.
    pub(crate) fn ending(&self, answer: &str, wake: Wake) -> Change {
        let mut lines = answer.lines().filter(|line| !line.is_empty());
        Change {
            along: Along {
                ended: Some(Ended {
                    title: lines.next().unwrap_or("untitled").to_owned(),
                    summary: lines.next().unwrap_or_default().to_owned(),
                    artifact: PathBuf::from(format!("/artifacts/{}.md", self.id())),
                    notify: true,
                    wake,
                    model_part: format!("prt_model_{}", self.id()),
                    person_part: format!("prt_person_{}", self.id()),
                }),
                ..Along::default()
            },
            ..self.change(&Command::ArtifactWritten)
        }
    }

    /// From running to terminal.
    pub(crate) async fn end(&mut self, store: &Store, answer: &str, wake: Wake) {
        self.commit(store, self.decision(RunEnd::Answered, answer))
            .await
            .unwrap();
        self.commit(store, self.ending(answer, wake)).await.unwrap();
    }
}
