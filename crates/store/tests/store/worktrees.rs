//! Worktrees and what was applied of them, on a real file.

use brigade_core::delegation::{Command, Spec, Worktree};
use brigade_store::{ApplyState, NewApply, Registration, Wake, WorktreeState};

use crate::common::{Fixture, id, open, project, session, spec};

fn writing(name: &str, tree: &str) -> Spec {
    Spec {
        worktree: Some(Worktree {
            id: id(tree),
            top: "/p".into(),
            directory: format!("/w/{tree}/tree"),
            base: "b".into(),
            from: None,
            confine: true,
            left_out: Vec::new(),
        }),
        ..spec(name, "ses_1", name)
    }
}

#[tokio::test]
async fn a_worktree_is_on_record_with_its_delegation_and_outlives_its_files() {
    let fixture = Fixture::new();
    let mut life = fixture.register(writing("a-b-c", "a-b-c")).await;
    let store = &fixture.store;
    let row = store.worktree(&id("a-b-c")).await.unwrap().unwrap();
    assert_eq!(
        (row.state, row.ended_at, row.setup.as_deref()),
        (WorktreeState::Taken, None, None)
    );
    let said = Some("npm ci ended with 1".to_owned());
    store
        .set_worktree(&id("a-b-c"), WorktreeState::Ready, 700, said)
        .await
        .unwrap();
    assert_eq!(store.worktree_usage().await.unwrap(), (1, 700));
    life.run(store).await;
    life.end(store, "# Done\n\nAll.", Wake::All).await;
    // A further round goes on in the same one.
    fixture.register(writing("a-b-d", "a-b-c")).await;
    store.close().await;
    let store = open(fixture.path()).unwrap();
    let all = store.worktrees().await.unwrap();
    assert_eq!(all.len(), 1);
    assert_eq!(
        (&all[0].id, &all[0].delegation),
        (&id("a-b-c"), &id("a-b-d"))
    );
    assert_eq!(all[0].setup.as_deref(), Some("npm ci ended with 1"));
    assert_eq!(all[0].ended_at, None);
    store
        .set_worktree(&id("a-b-c"), WorktreeState::Removed, 30, None)
        .await
        .unwrap();
    assert_eq!(store.worktree_usage().await.unwrap(), (0, 30));
    assert_eq!(store.worktrees().await.unwrap().len(), 1);
    store
        .set_worktree(&id("a-b-c"), WorktreeState::Discarded, 0, None)
        .await
        .unwrap();
    assert!(store.worktrees().await.unwrap().is_empty());
}

#[tokio::test]
async fn work_with_another_beginning_is_not_the_same_work() {
    let fixture = Fixture::new();
    fixture.register(writing("a-b-c", "a-b-c")).await;
    let same = Spec {
        prompt: "a-b-c".into(),
        ..writing("a-b-d", "a-b-d")
    };
    let under_way = fixture.store.under_way(&same).await.unwrap();
    assert!(under_way.is_some());
    let mut other = same;
    other.worktree.as_mut().unwrap().from = Some(id("x-y-z"));
    assert!(fixture.store.under_way(&other).await.unwrap().is_none());
}

#[tokio::test]
async fn an_apply_that_was_cut_off_is_found() {
    let fixture = Fixture::new();
    fixture.register(writing("a-b-c", "a-b-c")).await;
    let apply = NewApply {
        delegation: id("a-b-c"),
        top: "/p".into(),
        before: "t0".into(),
        after: "t1".into(),
        whole: true,
        files: 3,
        by: "person".into(),
    };
    let store = &fixture.store;
    let first = store.begin_apply(apply.clone()).await.unwrap();
    let second = store.begin_apply(apply.clone()).await.unwrap();
    store.set_apply(first, ApplyState::Applied).await.unwrap();
    store.close().await;
    let store = open(fixture.path()).unwrap();
    let open_ones = store.open_applies().await.unwrap();
    assert_eq!(open_ones.len(), 1);
    assert_eq!((open_ones[0].seq, &open_ones[0].apply), (second, &apply));
    store
        .set_apply(second, ApplyState::RolledBack)
        .await
        .unwrap();
    assert!(store.open_applies().await.unwrap().is_empty());
    let all = store.applies(&id("a-b-c")).await.unwrap();
    let states: Vec<ApplyState> = all.iter().map(|row| row.state).collect();
    assert_eq!(states, [ApplyState::Applied, ApplyState::RolledBack]);
}

#[tokio::test]
async fn a_patch_lies_beside_its_artifact() {
    let fixture = Fixture::new();
    let mut life = fixture.register(writing("a-b-c", "a-b-c")).await;
    life.run(&fixture.store).await;
    let source = fixture.path().join("result.patch");
    std::fs::write(&source, b"diff --git a/x b/x\n\xff").unwrap();
    let written = fixture
        .store
        .write_patch(&project(), &session("ses_1"), &id("a-b-c"), source.clone())
        .await
        .unwrap();
    assert!(written.ends_with("ses_1/a-b-c.patch"));
    assert_eq!(
        std::fs::read(&written).unwrap(),
        std::fs::read(source).unwrap()
    );
    let gone = fixture
        .store
        .write_patch(
            &project(),
            &session("ses_1"),
            &id("a-b-c"),
            "/no/such".into(),
        )
        .await;
    assert!(gone.is_err() && written.exists());
    // What names no changes is refused as an end of work that may have made some.
    let ready = Command::ChildReady {
        attempt: life.delegation.attempt,
        session: session("ses_child"),
    };
    life.commit(&fixture.store, life.change(&ready))
        .await
        .unwrap();
    let decided = life.decision(brigade_core::delegation::RunEnd::Answered, "x");
    life.commit(&fixture.store, decided).await.unwrap();
    assert!(life.delegation.lacks_changes());
    assert!(life.delegation.apply(&Command::ArtifactWritten).is_err());
}

#[tokio::test]
async fn files_are_claimed_from_the_last_to_work_with_them_and_laid_out_again_for_the_next() {
    let fixture = Fixture::new();
    let store = &fixture.store;
    let name = id("a-b-c");
    let state = async || store.worktree(&name).await.unwrap().unwrap().state;
    let claim = async |by: &str, to| store.claim_worktree(&name, &id(by), to).await.unwrap();
    let mut life = fixture.register(writing("a-b-c", "a-b-c")).await;
    life.run(store).await;
    life.end(store, "# Done\n\nAll.", Wake::All).await;
    assert!(claim("a-b-c", WorktreeState::Removed).await);
    assert!(
        !claim("a-b-c", WorktreeState::Removed).await,
        "it is claimed"
    );
    fixture.register(writing("a-b-d", "a-b-c")).await;
    assert_eq!(state().await, WorktreeState::Taken);
    assert!(
        !claim("a-b-c", WorktreeState::Removed).await,
        "another one works there"
    );
    assert!(!claim("a-b-c", WorktreeState::Discarded).await);
    assert!(claim("a-b-d", WorktreeState::Discarded).await);
    assert!(
        !claim("a-b-d", WorktreeState::Removed).await,
        "there is nothing left"
    );
    let late = writing("a-b-e", "a-b-c");
    let refused = store
        .register(late.clone(), late.registered_at)
        .await
        .unwrap();
    assert_eq!(refused, Registration::WorktreeGone);
    assert!(store.get(&id("a-b-e")).await.unwrap().is_none());
}
