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
async fn an_answer_of_100_megabytes_is_kept_whole() {
    let fixture = Fixture::new();
    let answer = format!(
        "# Huge\n\nVery long.\n\n{}",
        "all work and no play\n".repeat(5_000_000)
    );
    assert!(answer.len() > 100_000_000);
    let mut life = fixture.register(spec("a-b-c", "ses_1", "p")).await;
    life.run(&fixture.store).await;
    life.commit(&fixture.store, life.decision(RunEnd::Answered, &answer))
        .await
        .unwrap();
    let text = fixture.store.text(life.id()).await.unwrap().unwrap();
    assert!(text == answer, "the text differs");
    let path = fixture
        .store
        .write_artifact(&project(), &session("ses_1"), life.id(), text)
        .await
        .unwrap();
    assert!(
        std::fs::read(&path).unwrap() == answer.as_bytes(),
        "the file differs"
    );
    life.commit(&fixture.store, life.ending(&answer, Wake::All))
        .await
        .unwrap();
    let hits = fixture.store.search("huge", None, None, 5).await.unwrap();
    assert_eq!(hits.len(), 1);
}
