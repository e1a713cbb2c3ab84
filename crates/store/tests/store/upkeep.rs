//! What is left between store and files, found and mended on real files.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use brigade_core::delegation::{Event, Reason, RunEnd, State};
use brigade_core::text::artifact::{self, Artifact, Header};
use brigade_store::{
    Ended, Found, Left, ListFilter, Listed, Place, Stray, TakenBack, Unfit, Wake, inspect_files,
};

use crate::common::{Fixture, Life, at, id, open, paths, project, session, spec};

const ROOT: &str = "ses_root";

fn text(name: &str, status: State, reason: &str, answer: &str) -> String {
    artifact::render(&Artifact {
        title: "Lock order".into(),
        summary: "Taken first.".into(),
        header: Header {
            id: name.into(),
            agent: "explore".into(),
            status: Ok(status),
            session: "ses_child".into(),
            started: Some(at(10)),
            completed: Some(at(70)),
            model: Some("lab/small".into()),
            tokens: Some("1200 in, 34 out".into()),
            cost: Some("$0.0120".into()),
            duration: Some("1m".into()),
            attempts: Some(2),
            reason: Some(reason.into()),
            confined: None,
            changes: None,
            patch: None,
        },
        answer: answer.to_owned(),
    })
}

fn complete(name: &str) -> String {
    text(name, State::Complete, "answered", "All about walruses.\n")
}

/// Writes a file below the artifacts, whatever is in it.
fn put(dir: &Path, path: &str, text: &str) -> PathBuf {
    let path = dir.join("delegations").join(project().as_str()).join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, text).unwrap();
    path
}

fn place(path: &Path, name: &str) -> Place {
    Place {
        path: path.to_owned(),
        project: project(),
        root: session(ROOT),
        id: id(name),
    }
}

/// One that has ended with its artifact on disk, as the engine leaves it.
async fn ended(fixture: &Fixture, name: &str, answer: &str) -> (Life, PathBuf) {
    let mut life = fixture.register(spec(name, ROOT, "look")).await;
    life.run(&fixture.store).await;
    let decision = life.decision(RunEnd::Answered, answer);
    life.commit(&fixture.store, decision).await.unwrap();
    let path = fixture
        .store
        .write_artifact(&project(), &session(ROOT), life.id(), complete(name))
        .await
        .unwrap();
    let mut change = life.ending(answer, Wake::Never);
    change.along.ended = change.along.ended.map(|ended| Ended {
        artifact: path.clone(),
        ..ended
    });
    life.commit(&fixture.store, change).await.unwrap();
    (life, path)
}

/// What is seen without opening the store for work.
fn looked(fixture: &Fixture) -> Vec<Stray> {
    let found = inspect_files(&paths(fixture.path())).unwrap().unwrap();
    found.strays
}

#[tokio::test]
async fn where_all_is_well_nothing_is_found() {
    let fixture = Fixture::new();
    ended(&fixture, "brave-amber-otter", "text").await;
    // Not Brigade's: they stay what they are.
    let old = "# Old\n\nOne.\n\n**ID:** calm-red-fox\n**Agent:** explore\n\n---\n\ntext";
    put(fixture.path(), "ses_root/calm-red-fox.md", old);
    put(fixture.path(), "ses_root/a-b-c.md", "notes of a person");
    put(fixture.path(), "ses_root/notes.txt", "notes of a person");
    put(fixture.path(), "no session!/x-y-z.md", &complete("x-y-z"));
    assert_eq!(fixture.store.strays().await.unwrap(), []);
    assert_eq!(looked(&fixture), []);
}

#[tokio::test]
async fn an_artifact_without_a_record_is_taken_back_with_all_it_says() {
    let fixture = Fixture::new();
    let store = &fixture.store;
    let path = put(
        fixture.path(),
        "ses_root/brave-amber-otter.md",
        &complete("brave-amber-otter"),
    );
    let half = text(
        "calm-red-fox",
        State::Timeout,
        "over its time limit of 1m",
        &artifact::partial("half a walrus", "over its time limit of 1m"),
    );
    let other = put(fixture.path(), "ses_root/calm-red-fox.md", &half);
    // As long as nobody takes it back it is listed as a file of the predecessor's is.
    store.scan_predecessor(&project()).await.unwrap();
    let expected = [
        Stray::Unrecorded(place(&path, "brave-amber-otter")),
        Stray::Unrecorded(place(&other, "calm-red-fox")),
    ];
    assert_eq!(store.strays().await.unwrap(), expected);
    for stray in &expected {
        let Stray::Unrecorded(place) = stray else {
            unreachable!()
        };
        assert_eq!(store.take_back(place).await.unwrap(), TakenBack::Done);
        assert_eq!(store.take_back(place).await.unwrap(), TakenBack::Known);
    }
    assert_eq!(store.strays().await.unwrap(), []);
    assert_eq!(
        fs::read_to_string(&path).unwrap(),
        complete("brave-amber-otter")
    );

    let row = store.get(&id("brave-amber-otter")).await.unwrap().unwrap();
    let record = &row.delegation;
    assert_eq!(
        (row.title.as_str(), row.summary.as_str()),
        ("Lock order", "Taken first.")
    );
    assert_eq!(record.state, State::Complete);
    assert_eq!(record.outcome().unwrap().reason, Reason::Answered);
    assert_eq!(record.spec.registered_at, at(10));
    assert_eq!(record.ended_at, Some(at(70)));
    assert_eq!(record.child, Some(session("ses_child")));
    assert_eq!(row.artifact, Some(path));
    assert_eq!(
        (row.progress.tokens_in, row.progress.tokens_out),
        (1200, 34)
    );
    // Unread, and nobody is told.
    assert_eq!((row.read_at, row.seen), (None, false));
    assert_eq!(row.notice, "none");
    assert!(store.parents_with_pending().await.unwrap().is_empty());
    assert_eq!(store.counts().await.unwrap().unread, 2);
    let open = store.open_of_root(&session(ROOT)).await.unwrap();
    assert_eq!(open.len(), 2);
    // The text as it came, without the mark that the file has.
    let half = store.text(&id("calm-red-fox")).await.unwrap();
    assert_eq!(half.as_deref(), Some("half a walrus"));
    // Listed once, as ours, and found by its text.
    let all = ListFilter {
        limit: 10,
        ..ListFilter::default()
    };
    store.scan_predecessor(&project()).await.unwrap();
    let (rows, _) = store.list(all).await.unwrap();
    assert!(rows.iter().all(|row| matches!(row, Listed::Ours(_))));
    assert_eq!(rows.len(), 2);
    let hits = store.search("walruses", None, None, 10).await.unwrap();
    assert_eq!(hits.len(), 1);
    let timeline = store.timeline(&id("brave-amber-otter")).await.unwrap();
    let events: Vec<_> = timeline.iter().map(|row| row.event.name()).collect();
    assert_eq!(events, ["registered", "taken_back"]);
    assert!(matches!(timeline[1].event, Event::TakenBack { .. }));
    // What comes next in that session is not disturbed by it.
    let life = fixture.register(spec("new-blue-elk", ROOT, "look")).await;
    assert_eq!(life.version, 1);
}

#[tokio::test]
async fn an_edited_cost_that_is_none_spoils_no_sum() {
    let fixture = Fixture::new();
    let store = &fixture.store;
    for (name, cost) in [
        ("brave-amber-otter", "$0.0120"),
        ("calm-red-fox", "$inf"),
        ("odd-blue-elk", "$NaN"),
        ("tall-blue-elk", "$-3"),
    ] {
        let text = complete(name).replace("$0.0120", cost);
        let path = put(fixture.path(), &format!("ses_root/{name}.md"), &text);
        let taken = store.take_back(&place(&path, name)).await.unwrap();
        assert_eq!(taken, TakenBack::Done, "{cost}");
    }
    let used = store.used_in_session(&session(ROOT)).await.unwrap();
    assert_eq!((used.cost, used.tokens), (0.012, 4 * 1234));
}

#[tokio::test]
async fn a_long_answer_is_taken_back_whole() {
    let fixture = Fixture::new();
    let answer = "walrus ".repeat(500_000);
    let name = "brave-amber-otter";
    let long = text(name, State::Complete, "answered", &answer);
    let path = put(fixture.path(), "ses_root/brave-amber-otter.md", &long);
    let store = &fixture.store;
    let taken = store.take_back(&place(&path, name)).await.unwrap();
    assert_eq!(taken, TakenBack::Done);
    assert_eq!(store.text(&id(name)).await.unwrap(), Some(answer.clone()));
    // Held in pieces, as any other long answer is.
    let beginning = store.beginning(&id(name)).await.unwrap();
    assert!(beginning.len() < answer.len() && answer.starts_with(&beginning));
    let head = long.strip_suffix(&answer).unwrap().to_owned() + &beginning;
    let written = store
        .write_result(&project(), &session(ROOT), &id(name), head, "")
        .await
        .unwrap();
    assert_eq!(fs::read_to_string(written).unwrap(), long);
}

#[tokio::test]
async fn the_oldest_is_taken_back_first() {
    let fixture = Fixture::new();
    let early = complete("zany-red-fox").replace(&at(10).to_string(), &at(5).to_string());
    let early = put(fixture.path(), "ses_root/zany-red-fox.md", &early);
    let late = put(
        fixture.path(),
        "ses_root/brave-amber-otter.md",
        &complete("brave-amber-otter"),
    );
    assert_eq!(
        fixture.store.strays().await.unwrap(),
        [
            Stray::Unrecorded(place(&early, "zany-red-fox")),
            Stray::Unrecorded(place(&late, "brave-amber-otter")),
        ]
    );
}

#[tokio::test]
async fn what_can_not_be_taken_back_is_told_and_left() {
    let fixture = Fixture::new();
    let (_, own) = ended(&fixture, "brave-amber-otter", "text").await;
    let copy = put(
        fixture.path(),
        "ses_other/brave-amber-otter.md",
        &complete("brave-amber-otter"),
    );
    let renamed = put(
        fixture.path(),
        "ses_root/my-own-name.md",
        &complete("calm-red-fox"),
    );
    let first = put(
        fixture.path(),
        "ses_a/new-blue-elk.md",
        &complete("new-blue-elk"),
    );
    let second = put(
        fixture.path(),
        "ses_b/new-blue-elk.md",
        &complete("new-blue-elk"),
    );
    let running = put(
        fixture.path(),
        "ses_root/odd-blue-elk.md",
        &text("odd-blue-elk", State::Running, "answered", "x"),
    );
    let misspelt = put(
        fixture.path(),
        "ses_root/tall-blue-elk.md",
        &complete("tall-blue-elk").replace("** complete", "** canceled"),
    );
    let of = |path: &Path, root: &str, name: &str| Place {
        root: session(root),
        ..place(path, name)
    };
    assert_eq!(
        fixture.store.strays().await.unwrap(),
        [
            Stray::Unrecorded(of(&first, "ses_a", "new-blue-elk")),
            Stray::Unfit {
                place: of(&second, "ses_b", "new-blue-elk"),
                why: Unfit::Clash(first),
            },
            Stray::Unfit {
                place: of(&copy, "ses_other", "brave-amber-otter"),
                why: Unfit::Clash(own),
            },
            Stray::Unfit {
                place: of(&renamed, ROOT, "my-own-name"),
                why: Unfit::OtherId("calm-red-fox".into()),
            },
            Stray::Unfit {
                place: of(&running, ROOT, "odd-blue-elk"),
                why: Unfit::NotEnded("running".into()),
            },
            Stray::Unfit {
                place: of(&misspelt, ROOT, "tall-blue-elk"),
                why: Unfit::NotEnded("canceled".into()),
            },
        ]
    );
    // It would overwrite nothing either.
    let take = async |place: Place| fixture.store.take_back(&place).await.unwrap();
    let taken = take(of(&copy, "ses_other", "brave-amber-otter")).await;
    assert_eq!(taken, TakenBack::Known);
    let taken = take(of(&running, ROOT, "odd-blue-elk")).await;
    assert!(matches!(taken, TakenBack::Changed(_)));
    let taken = take(of(&misspelt, ROOT, "tall-blue-elk")).await;
    assert!(matches!(taken, TakenBack::Changed(_)));
    fs::write(&second, "edited into something else").unwrap();
    let taken = take(of(&second, "ses_b", "new-blue-elk")).await;
    assert!(matches!(taken, TakenBack::Changed(_)));
    assert!(matches!(
        fixture.store.find("new-blue-elk", None).await.unwrap(),
        Found::None
    ));
}

#[tokio::test]
async fn a_record_without_its_artifact_says_what_is_left_of_it() {
    let fixture = Fixture::new();
    let (_, moved) = ended(&fixture, "brave-amber-otter", "text").await;
    let (_, lost) = ended(&fixture, "calm-red-fox", "text").await;
    let (_, empty) = ended(&fixture, "new-blue-elk", "").await;
    let old = fixture.path().join("old").join(project().as_str());
    let old = old.join(ROOT).join("brave-amber-otter.md");
    fs::create_dir_all(old.parent().unwrap()).unwrap();
    fs::rename(&moved, &old).unwrap();
    fs::remove_file(&lost).unwrap();
    fs::remove_file(&empty).unwrap();
    let missing = |name: &str, path: &Path, left: Left| Stray::Missing {
        id: id(name),
        path: path.to_owned(),
        left,
    };
    let found = fixture.store.strays().await.unwrap();
    assert_eq!(
        found,
        [
            missing("brave-amber-otter", &moved, Left::Moved(old.clone())),
            missing("calm-red-fox", &lost, Left::Text),
            missing("new-blue-elk", &empty, Left::Nothing),
        ]
    );
    let otter = id("brave-amber-otter");
    fixture.store.set_artifact(&otter, &old).await.unwrap();
    let row = fixture.store.get(&otter).await.unwrap().unwrap();
    assert_eq!(row.artifact, Some(old));
    // Found without a daemon too, and nothing is changed by looking.
    fixture.store.close().await;
    let found = looked(&fixture);
    assert_eq!(found.len(), 2);
}

#[tokio::test]
async fn a_person_s_edits_are_nothing_to_mend() {
    let fixture = Fixture::new();
    let (_, path) = ended(&fixture, "brave-amber-otter", "text").await;
    fs::write(&path, "all rewritten").unwrap();
    assert_eq!(fixture.store.strays().await.unwrap(), []);
}

#[tokio::test]
async fn parts_go_once_their_result_is_safe() {
    let fixture = Fixture::new();
    let (_, path) = ended(&fixture, "brave-amber-otter", "text").await;
    let (_, gone) = ended(&fixture, "calm-red-fox", "").await;
    fs::remove_file(&gone).unwrap();
    let mut writing = fixture.register(spec("new-blue-elk", ROOT, "look")).await;
    writing.run(&fixture.store).await;
    let part = |name: &str| put(fixture.path(), &format!("ses_root/{name}.md.part"), "half");
    let safe = part("brave-amber-otter");
    let only = part("calm-red-fox");
    part("new-blue-elk");
    let unknown = part("odd-blue-elk");
    let found = fixture.store.strays().await.unwrap();
    let of = |path: PathBuf, needless| Stray::Part {
        path,
        size: 4,
        needless,
    };
    assert_eq!(
        found[1..],
        [of(safe, true), of(only, false), of(unknown, false)],
        "what is being written is left alone"
    );
    assert!(path.exists());
}

#[tokio::test]
async fn folders_count_as_empty_once_nobody_is_about_to_write() {
    let fixture = Fixture::new();
    let (_, path) = ended(&fixture, "brave-amber-otter", "text").await;
    let mut life = fixture
        .register(spec("new-blue-elk", "ses_busy", "look"))
        .await;
    life.run(&fixture.store).await;
    let base = fixture.path().join("delegations");
    let busy = base.join(project().as_str()).join("ses_busy");
    let fresh = base.join(project().as_str()).join("ses_fresh");
    let idle = base.join(project().as_str()).join("ses_idle");
    let nobodys = base.join("fedcba9876543210");
    let inner = nobodys.join("ses_x");
    for folder in [&busy, &fresh, &idle, &inner] {
        fs::create_dir_all(folder).unwrap();
    }
    // What is left after a needless part has gone is empty too.
    let folder = path.parent().unwrap();
    let part = folder.join("brave-amber-otter.md.part");
    fs::write(&part, "half").unwrap();
    let old = SystemTime::now() - Duration::from_secs(3_600);
    for folder in [&busy, &idle, &inner, &nobodys, &folder.to_owned()] {
        File::open(folder).unwrap().set_modified(old).unwrap();
    }
    let found = fixture.store.strays().await.unwrap();
    assert_eq!(found[1..], [idle, inner, nobodys].map(Stray::EmptyFolder));
}

#[tokio::test]
async fn without_a_store_all_artifacts_are_without_a_record() {
    let fixture = Fixture::new();
    let (_, path) = ended(&fixture, "brave-amber-otter", "text").await;
    fixture.store.close().await;
    fs::remove_file(fixture.path().join("brigade.db")).unwrap();
    let lost = Stray::Unrecorded(place(&path, "brave-amber-otter"));
    assert_eq!(looked(&fixture), std::slice::from_ref(&lost));
    let store = open(fixture.path()).unwrap();
    assert_eq!(store.strays().await.unwrap(), [lost]);
}

#[tokio::test]
async fn the_upkeep_shrinks_the_log_and_keeps_everything() {
    let fixture = Fixture::new();
    for n in 0..40 {
        let name = format!("brave-amber-{}", crate::common::word(n));
        fixture
            .register(spec(
                &name,
                ROOT,
                &format!("{n} {}", "walrus ".repeat(2_000)),
            ))
            .await;
    }
    let log = fixture.path().join("brigade.db-wal");
    assert!(fs::metadata(&log).unwrap().len() > 0);
    let tended = fixture.store.tend().await.unwrap();
    assert!(tended.folded);
    assert!(tended.after < tended.before, "{tended:?}");
    assert_eq!(fs::metadata(&log).unwrap().len(), 0);
    assert_eq!(fixture.store.counts().await.unwrap().total, 40);
    let hits = fixture.store.search("walrus", None, None, 100).await;
    assert_eq!(hits.unwrap().len(), 40);
}
