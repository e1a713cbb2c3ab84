//! Artifact files: private, whole or not there.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use brigade_core::delegation::RunEnd;
use brigade_store::{Listed, Wake};

use crate::common::{Fixture, id, project, session, spec};

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn folders_and_files_are_private_and_a_repeat_replaces() {
    let fixture = Fixture::new();
    let write = async |text: &str| {
        fixture
            .store
            .write_artifact(&project(), &session("ses_1"), &id("a-b-c"), text.to_owned())
            .await
    };
    let path = write("one").await.unwrap();
    let root = fixture.path().join("delegations");
    assert_eq!(path, root.join("0123456789abcdef/ses_1/a-b-c.md"));
    assert_eq!(mode(&path), 0o600);
    for folder in path.ancestors().skip(1).take(3) {
        assert_eq!(mode(folder), 0o700, "{}", folder.display());
    }
    // A crash left half a file.
    std::fs::write(path.with_extension("md.part"), "ha").unwrap();
    assert_eq!(write("two").await.unwrap(), path);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "two");
    assert_eq!(
        std::fs::read_dir(path.parent().unwrap()).unwrap().count(),
        1
    );
}

#[tokio::test]
async fn a_failure_names_the_file_and_leaves_the_earlier_one() {
    let fixture = Fixture::new();
    let write = async |parent: &str| {
        fixture
            .store
            .write_artifact(&project(), &session(parent), &id("a-b-c"), "x".to_owned())
            .await
    };
    let path = write("ses_1").await.unwrap();
    // A file stands where a folder should be.
    std::fs::write(path.parent().unwrap().with_file_name("ses_2"), "in the way").unwrap();
    let error = write("ses_2").await.unwrap_err();
    assert!(error.to_string().contains("ses_2"), "{error}");
    assert!(error.to_string().contains("kept in the store"), "{error}");
    // A folder stands where the file should be: nothing half-written stays.
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    write("ses_1").await.unwrap_err();
    assert!(!path.with_extension("md.part").exists());
}

#[tokio::test]
async fn a_deleted_file_is_rendered_from_the_store() {
    let fixture = Fixture::new();
    let life = fixture
        .ended(
            spec("a-b-c", "ses_1", "p"),
            "# Title\n\nSummary.\n\nThe whole answer.",
            Wake::All,
        )
        .await;
    let row = fixture.store.get(life.id()).await.unwrap().unwrap();
    let text = fixture
        .store
        .artifact_text(&Listed::Ours(Box::new(row)))
        .await
        .unwrap();
    assert!(text.contains("The whole answer."), "{text}");
    assert!(text.contains("is gone"), "{text}");
}

#[tokio::test]
async fn an_answer_of_100_megabytes_is_kept_whole_and_holds_nobody_up() {
    let fixture = Fixture::new();
    let answer = format!(
        "# Huge\n\nVery löng.\n\n{}",
        "all work and nö play\n".repeat(5_000_000)
    );
    assert!(answer.len() > 100_000_000);
    let mut life = fixture.register(spec("a-b-c", "ses_1", "p")).await;
    life.run(&fixture.store).await;
    let decision = life.decision(RunEnd::Answered, &answer);
    let mut others = 0;
    {
        let deciding = life.commit(&fixture.store, decision);
        tokio::pin!(deciding);
        let other = async |n: usize| {
            let prompt = format!("other {n}");
            let id = format!("other-work-{}", ["a", "b"][n % 2].repeat(n / 2 + 1));
            fixture.register(spec(&id, "ses_2", &prompt)).await;
        };
        loop {
            tokio::select! {
                biased;
                decided = &mut deciding => {
                    decided.unwrap();
                    break;
                }
                () = other(others) => others += 1,
            }
        }
    }
    // One after another between the pieces; a single write would have let one or two through.
    assert!(others > 50, "only {others} others were stored meanwhile");
    let text = fixture.store.text(life.id()).await.unwrap().unwrap();
    assert!(text == answer, "the text differs");
    let length = fixture.store.text_len(life.id()).await.unwrap();
    assert_eq!(length, answer.len() as u64);
    let head = fixture.store.beginning(life.id()).await.unwrap();
    assert!(head.len() <= 1 << 20 && answer.starts_with(&head));
    let path = fixture
        .store
        .write_result(
            &project(),
            &session("ses_1"),
            life.id(),
            format!("head\n{head}"),
            "",
        )
        .await
        .unwrap();
    assert!(
        std::fs::read(&path).unwrap() == format!("head\n{answer}").as_bytes(),
        "the file differs"
    );
    let short = fixture.store.text_up_to(life.id(), 4_000).await.unwrap();
    assert!(short.len() < 2 << 20 && short.chars().count() > 4_000);
    let whole = fixture
        .store
        .text_up_to(life.id(), answer.len())
        .await
        .unwrap();
    assert!(whole == answer, "the text differs");
    life.commit(&fixture.store, life.ending(&answer, Wake::All))
        .await
        .unwrap();
    let hits = fixture.store.search("huge", None, None, 5).await.unwrap();
    assert_eq!(hits.len(), 1);
    // Read from the store, it is as long.
    let row = fixture.store.get(life.id()).await.unwrap().unwrap();
    let row = Listed::Ours(Box::new(row));
    std::fs::remove_file(&path).unwrap();
    assert_eq!(fixture.store.artifact_len(&row).await, answer.len() as u64);
}

#[tokio::test]
async fn pieces_of_an_answer_that_was_never_decided_count_for_nothing() {
    let fixture = Fixture::new();
    let pieces = || {
        let db = rusqlite::Connection::open(fixture.path().join("brigade.db")).unwrap();
        db.query_row("SELECT count(*) FROM pieces", [], |row| {
            row.get::<_, i64>(0)
        })
        .unwrap()
    };
    let long = "long ".repeat(1_000_000);
    let mut life = fixture.register(spec("a-b-c", "ses_1", "p")).await;
    life.run(&fixture.store).await;
    let mut stale = life.decision(RunEnd::Answered, &long);
    stale.expect_version += 7;
    fixture.store.commit(stale).await.unwrap_err();
    assert_eq!(pieces(), 0, "they were taken back");
    assert_eq!(fixture.store.text(life.id()).await.unwrap(), None);
    // A disk that is full in the middle of them.
    let db = rusqlite::Connection::open(fixture.path().join("brigade.db")).unwrap();
    let full = "CREATE TRIGGER full BEFORE INSERT ON pieces WHEN NEW.n = 2 BEGIN SELECT RAISE(ABORT, 'full'); END";
    db.execute_batch(full).unwrap();
    let decision = life.decision(RunEnd::Answered, &long);
    fixture.store.commit(decision).await.unwrap_err();
    assert_eq!(pieces(), 0, "they were taken back");
    db.execute_batch("DROP TRIGGER full").unwrap();
    // As a crash between the pieces and the decision leaves them; the next attempt's answer is shorter.
    let left = "INSERT INTO pieces (delegation, attempt, n, text) SELECT seq, 1, n, 'left' FROM delegations, (SELECT 0 AS n UNION SELECT 8)";
    assert_eq!(db.execute(left, []).unwrap(), 2);
    let longer = "x".repeat((1 << 20) + 1);
    life.commit(&fixture.store, life.decision(RunEnd::Answered, &longer))
        .await
        .unwrap();
    assert_eq!(pieces(), 1);
    let text = fixture.store.text(life.id()).await.unwrap().unwrap();
    assert!(text == longer, "the text differs");
}
