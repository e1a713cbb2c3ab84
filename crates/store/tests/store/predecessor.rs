//! What the predecessor left.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use brigade_core::delegation::State;
use brigade_store::{Foreign, Found, ListFilter, Listed, Registration, Wake};

use crate::common::{Fixture, at, id, open, project, session, spec};

fn folder(root: &Path) -> PathBuf {
    root.join(project().as_str()).join("ses_old")
}

fn leave(folder: &Path, name: &str, text: &str) -> PathBuf {
    std::fs::create_dir_all(folder).unwrap();
    let path = folder.join(format!("{name}.md"));
    std::fs::write(&path, text).unwrap();
    path
}

/// Makes a file or folder look as if it had not been touched for long.
fn settle(path: &Path) {
    let then = SystemTime::now() - Duration::from_hours(1);
    std::fs::File::open(path)
        .unwrap()
        .set_modified(then)
        .unwrap();
}

fn artifact(name: &str, status: Option<&str>, text: &str) -> String {
    let status = status.map_or(String::new(), |status| format!("**Status:** {status}\n"));
    format!(
        "# Old findings\n\nWhat was found.\n\n**ID:** {name}\n**Agent:** researcher\n{status}**Session:** ses_child\n\
         **Started:** 2025-11-03T10:00:00.000Z\n**Completed:** 2025-11-03T10:05:00.000Z\n\n---\n\n{text}"
    )
}

async fn listed(fixture: &Fixture) -> Vec<Foreign> {
    fixture.store.scan_predecessor(&project()).await.unwrap();
    let filter = ListFilter {
        project: Some(project()),
        limit: 100,
        ..ListFilter::default()
    };
    let (rows, _) = fixture.store.list(filter).await.unwrap();
    rows.into_iter()
        .filter_map(|row| match row {
            Listed::Predecessor(file) => Some(*file),
            Listed::Ours(_) => None,
        })
        .collect()
}

#[tokio::test]
async fn its_files_are_found_listed_searched_and_read() {
    let fixture = Fixture::new();
    let text = artifact(
        "swift-green-wolf",
        Some("error"),
        "The borrow checker complained.",
    );
    leave(
        &folder(&fixture.path().join("old")),
        "swift-green-wolf",
        &text,
    );
    // In the other place too; without a status it is complete.
    let plain = artifact("slow-grey-fox", None, "All fine.");
    leave(
        &folder(&fixture.path().join("delegations")),
        "slow-grey-fox",
        &plain,
    );
    let files = listed(&fixture).await;
    assert_eq!(files.len(), 2);
    let wolf = files
        .iter()
        .find(|file| file.id == id("swift-green-wolf"))
        .unwrap();
    assert_eq!(
        (wolf.state, wolf.agent.as_str()),
        (State::Error, "researcher")
    );
    assert_eq!(
        (wolf.title.as_str(), wolf.summary.as_str()),
        ("Old findings", "What was found.")
    );
    assert_eq!(wolf.root, session("ses_old"));
    assert_eq!(wolf.started_at, "2025-11-03T10:00:00Z".parse().unwrap());
    let fox = files
        .iter()
        .find(|file| file.id == id("slow-grey-fox"))
        .unwrap();
    assert_eq!(fox.state, State::Complete);

    let hits = fixture
        .store
        .search("borrow", Some(&project()), None, 5)
        .await
        .unwrap();
    assert_eq!(hits[0].row.id(), &wolf.id);
    assert!(hits[0].snippet.contains("[borrow]"));
    let found = fixture.store.find("swift", Some(&project())).await.unwrap();
    let Found::One(row) = found else {
        panic!("{found:?}");
    };
    assert_eq!(fixture.store.artifact_text(&row).await.unwrap(), text);
    // Its ID is taken.
    let same = fixture
        .store
        .register(spec("slow-grey-fox", "ses_1", "x"), at(1))
        .await;
    assert_eq!(same.unwrap(), Registration::IdTaken);
    // Another project's are not looked at.
    let elsewhere = "fedcba9876543210".parse().unwrap();
    fixture.store.scan_predecessor(&elsewhere).await.unwrap();
    let other = fixture.store.find("swift", Some(&elsewhere)).await.unwrap();
    assert_eq!(other, Found::None);
}

#[tokio::test]
async fn changed_new_and_removed_files_are_noticed() {
    let fixture = Fixture::new();
    let folder = folder(&fixture.path().join("old"));
    let first = leave(
        &folder,
        "swift-green-wolf",
        &artifact("swift-green-wolf", None, "one"),
    );
    settle(&first);
    settle(&folder);
    assert_eq!(listed(&fixture).await.len(), 1);
    // Written anew in place: the folder has not changed.
    std::fs::write(
        &first,
        artifact("swift-green-wolf", Some("timeout"), "quite another text"),
    )
    .unwrap();
    settle(&folder);
    assert_eq!(listed(&fixture).await[0].state, State::Timeout);
    let search = async |words: &'static str| {
        fixture
            .store
            .search(words, None, None, 5)
            .await
            .unwrap()
            .len()
    };
    assert_eq!((search("another").await, search("one").await), (1, 0));
    leave(
        &folder,
        "slow-grey-fox",
        &artifact("slow-grey-fox", None, "two"),
    );
    assert_eq!(listed(&fixture).await.len(), 2);
    std::fs::remove_file(&first).unwrap();
    assert_eq!(listed(&fixture).await[0].id, id("slow-grey-fox"));
    assert_eq!(search("another").await, 0);
    std::fs::remove_dir_all(&folder).unwrap();
    assert!(listed(&fixture).await.is_empty());
    // And the index is right after a restart too.
    leave(
        &folder,
        "swift-green-wolf",
        &artifact("swift-green-wolf", None, "back"),
    );
    assert_eq!(listed(&fixture).await.len(), 1);
    fixture.store.close().await;
    std::fs::remove_dir_all(&folder).unwrap();
    let again = Fixture {
        store: open(fixture.path()).unwrap(),
        dir: fixture.dir,
    };
    assert!(listed(&again).await.is_empty());
}

#[tokio::test]
async fn what_is_no_artifact_and_what_is_ours_is_passed_over() {
    let fixture = Fixture::new();
    let root = fixture.path().join("delegations");
    let folder = folder(&root);
    leave(&folder, "no-such-thing", "just notes");
    leave(&folder, "NotAnId", &artifact("x", None, "x"));
    leave(&folder, "two-words", &artifact("two-words", None, "x"));
    leave(
        &root.join(project().as_str()).join("bad name"),
        "swift-green-wolf",
        "x",
    );
    std::fs::write(root.join(project().as_str()).join("file"), "x").unwrap();
    std::fs::create_dir(folder.join("a-folder-named.md")).unwrap();
    let outside = fixture.path().join("outside.md");
    std::fs::write(&outside, artifact("l-i-nk", None, "x")).unwrap();
    std::os::unix::fs::symlink(&outside, folder.join("l-i-nk.md")).unwrap();
    let life = fixture
        .ended(spec("a-b-c", "ses_old", "mine"), "# T", Wake::All)
        .await;
    let path = fixture
        .store
        .write_artifact(
            &project(),
            &session("ses_old"),
            life.id(),
            artifact("a-b-c", None, "x"),
        )
        .await
        .unwrap();
    assert!(path.starts_with(&folder));
    assert!(listed(&fixture).await.is_empty());
}
