//! Opening: what can't be understood is refused and left as it is.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use brigade_core::delegation::State;
use brigade_store::{Found, ListFilter, NoticeState, OpenError, SCHEMA, ServerRow, Wake, inspect};
use rusqlite::Connection;

use crate::common::{Fixture, id, open, paths, project, session, spec};

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// Why it is refused; the file must be the same byte for byte afterwards.
fn refusal(dir: &Path) -> OpenError {
    let db = paths(dir).db;
    let before = std::fs::read(&db).unwrap();
    let Err(error) = open(dir) else {
        panic!("it was opened");
    };
    assert_eq!(std::fs::read(&db).unwrap(), before, "it was changed");
    error
}

#[tokio::test]
async fn the_files_are_private() {
    let fixture = Fixture::new();
    fixture.register(spec("a-b-c", "ses_1", "1")).await;
    for name in ["brigade.db", "brigade.db-wal", "brigade.db-shm"] {
        assert_eq!(mode(&fixture.path().join(name)), 0o600, "{name}");
    }
    // One that was made readable meanwhile is closed again.
    fixture.store.close().await;
    let db = paths(fixture.path()).db;
    std::fs::set_permissions(&db, std::fs::Permissions::from_mode(0o644)).unwrap();
    drop(open(fixture.path()).unwrap());
    assert_eq!(mode(&db), 0o600);
}

#[tokio::test]
async fn a_newer_store_is_refused_untouched() {
    let fixture = Fixture::new();
    fixture.register(spec("a-b-c", "ses_1", "1")).await;
    fixture.store.close().await;
    let db = Connection::open(paths(fixture.path()).db).unwrap();
    db.pragma_update(None, "user_version", SCHEMA + 1).unwrap();
    drop(db);
    let error = refusal(fixture.path());
    assert!(
        matches!(error, OpenError::Newer { found, known, .. } if (found, known) == (SCHEMA + 1, SCHEMA)),
        "{error}"
    );
    assert!(error.to_string().contains("newer Brigade"), "{error}");
    let told = inspect(&paths(fixture.path()).db).unwrap_err();
    assert_eq!(told.to_string(), error.to_string());
}

#[test]
fn what_is_no_store_is_refused_untouched() {
    let dir = tempfile::tempdir().unwrap();
    let db = paths(dir.path()).db;
    std::fs::write(
        &db,
        "no database at all, but long enough to have a header".repeat(100),
    )
    .unwrap();
    let error = refusal(dir.path());
    assert!(matches!(error, OpenError::Corrupt { .. }), "{error}");
    assert!(error.to_string().contains("left as it is"), "{error}");

    std::fs::remove_file(&db).unwrap();
    let other = Connection::open(&db).unwrap();
    other.execute_batch("CREATE TABLE notes (text)").unwrap();
    drop(other);
    let error = refusal(dir.path());
    assert!(error.to_string().contains("another program"), "{error}");
}

#[tokio::test]
async fn a_damaged_store_is_refused_untouched() {
    let fixture = Fixture::new();
    fixture.register(spec("a-b-c", "ses_1", "1")).await;
    fixture.store.close().await;
    let db = paths(fixture.path()).db;
    let mut bytes = std::fs::read(&db).unwrap();
    // The schema's page, behind the header.
    bytes[100..2_000].fill(0xff);
    std::fs::write(&db, bytes).unwrap();
    let error = refusal(fixture.path());
    assert!(matches!(error, OpenError::Corrupt { .. }), "{error}");
}

#[tokio::test]
async fn damage_behind_the_schema_is_found_by_looking_through_it() {
    let fixture = Fixture::new();
    fixture.register(spec("a-b-c", "ses_1", "1")).await;
    let db = paths(fixture.path()).db;
    assert_eq!(inspect(&db).unwrap(), SCHEMA, "while it is open");
    fixture.store.close().await;
    assert_eq!(inspect(&db).unwrap(), SCHEMA);
    // The pages of tables: the schema's, the first ones, stay whole.
    let mut bytes = std::fs::read(&db).unwrap();
    let from = bytes.len() / 2;
    bytes[from..].fill(0xa5);
    std::fs::write(&db, &bytes).unwrap();
    let error = inspect(&db).unwrap_err();
    assert!(matches!(error, OpenError::Corrupt { .. }), "{error}");
    assert_eq!(std::fs::read(&db).unwrap(), bytes, "it was changed");
}

#[test]
fn a_start_that_was_killed_at_once_is_no_obstacle() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(paths(dir.path()).db, "").unwrap();
    assert_eq!(inspect(&paths(dir.path()).db).unwrap(), 0);
    open(dir.path()).unwrap();
}

#[test]
fn a_folder_that_is_not_there_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("missing");
    let Err(error) = open(&missing) else {
        panic!("it was opened");
    };
    assert!(matches!(error, OpenError::Io { .. }), "{error}");
    assert!(error.to_string().contains("missing"), "{error}");
}

/// The frozen store of a schema.
fn frozen(schema: i64) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/data/v{schema}.db"))
}

/// Writes the frozen store anew: only to be run before a schema is released, never after.
#[tokio::test]
#[ignore = "makes a checked-in file: cargo test -p brigade-store -- --ignored freeze"]
async fn freeze_the_current_schema() {
    let fixture = Fixture::new();
    fixture
        .ended(
            spec("brave-amber-otter", "ses_1", "Find the lock order"),
            "# Lock order\n\nThe queue is locked first.\n\nDetails about deadlocks.",
            Wake::All,
        )
        .await;
    let mut running = fixture
        .register(spec("calm-blue-heron", "ses_1", "Read the parser"))
        .await;
    running.run(&fixture.store).await;
    fixture
        .register(spec("eager-red-finch", "ses_2", "Wait for a slot"))
        .await;
    fixture.store.close().await;
    assert!(!frozen(SCHEMA).exists(), "a frozen file never changes");
    std::fs::create_dir_all(frozen(SCHEMA).parent().unwrap()).unwrap();
    std::fs::copy(paths(fixture.path()).db, frozen(SCHEMA)).unwrap();
}

#[tokio::test]
async fn the_store_of_schema_1_is_opened() {
    opens(1).await;
}

#[tokio::test]
async fn the_store_of_schema_3_is_opened() {
    opens(3).await;
}

#[tokio::test]
async fn the_store_of_schema_4_is_opened() {
    opens(4).await;
}

#[tokio::test]
async fn the_store_of_schema_5_is_opened() {
    opens(5).await;
}

async fn opens(schema: i64) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::copy(frozen(schema), paths(dir.path()).db).unwrap();
    let store = open(dir.path()).unwrap();
    let ended = store.get(&id("brave-amber-otter")).await.unwrap().unwrap();
    assert_eq!(ended.delegation.state, State::Complete);
    assert_eq!(ended.delegation.spec.prompt, "Find the lock order");
    assert_eq!(ended.title, "# Lock order");
    let text = store.text(&id("brave-amber-otter")).await.unwrap();
    assert!(text.unwrap().contains("deadlocks"));
    let active = store.load_active().await.unwrap();
    let states: Vec<_> = active.iter().map(|row| row.delegation.state).collect();
    assert_eq!(states, [State::Running, State::Registered]);
    let notices = store.open_notices(&session("ses_1")).await.unwrap();
    assert_eq!(notices[0].state, NoticeState::Pending);
    assert_eq!(store.outbox(&session("ses_1")).await.unwrap().1.len(), 1);
    assert_eq!(
        store
            .search("deadlock", Some(&project()), None, 5)
            .await
            .unwrap()
            .len(),
        1
    );
    let (rows, more) = store
        .list(ListFilter {
            limit: 10,
            ..ListFilter::default()
        })
        .await
        .unwrap();
    assert_eq!((rows.len(), more), (3, 0));
    assert!(matches!(
        store.find("calm", None).await.unwrap(),
        Found::One(_)
    ));
    assert_eq!(
        store.timeline(&id("calm-blue-heron")).await.unwrap().len(),
        3
    );
    assert_eq!(
        store.counts().await.unwrap().schema,
        u32::try_from(SCHEMA).unwrap()
    );
    store.close().await;
}

#[tokio::test]
async fn servers_are_found_again_until_their_end_is_proven() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    let mut row = ServerRow {
        id: "s1".into(),
        process: None,
        port: 65_535,
        password: "secret".into(),
        host: "h".into(),
        executable: "/bin/opencode".into(),
        profile: "open".into(),
        started_at: "2026-01-02T03:04:05Z".parse().unwrap(),
    };
    store.put_server(row.clone()).await.unwrap();
    row.process = Some("12:34".into());
    store.put_server(row.clone()).await.unwrap();
    store.close().await;
    let store = open(dir.path()).unwrap();
    assert_eq!(store.servers().await.unwrap(), [row.clone()]);
    assert!(!format!("{row:?}").contains("secret"));
    store.remove_server("s1").await.unwrap();
    assert_eq!(store.servers().await.unwrap(), []);
}

#[tokio::test]
async fn what_an_older_store_s_delegations_used_stands_in_columns_afterwards() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::copy(frozen(3), paths(dir.path()).db).unwrap();
    let db = Connection::open(paths(dir.path()).db).unwrap();
    let progress = r#"{"tool_calls":1,"last_tool":null,"tokens_in":7,"tokens_out":3,"cost":0.5,"heard_at":null,"refused":0,"model":"lab/small"}"#;
    let changed = "UPDATE delegations SET progress = ?1 WHERE id = 'brave-amber-otter'";
    assert_eq!(db.execute(changed, [progress]).unwrap(), 1);
    db.execute(
        "INSERT INTO reads SELECT seq, 0, 'x' FROM delegations WHERE id = 'brave-amber-otter'",
        [],
    )
    .unwrap();
    drop(db);
    open(dir.path()).unwrap().close().await;
    let db = Connection::open(paths(dir.path()).db).unwrap();
    let column = |id: &str| -> (String, i64, i64, f64, i64, Option<String>, i64) {
        db.query_row(
            "SELECT model, tokens_in, tokens_out, cost, spent_ms, day, seen FROM delegations WHERE id = ?1",
            [id],
            |row| {
                Ok((
                    row.get(0)?,
                    row.get(1)?,
                    row.get(2)?,
                    row.get(3)?,
                    row.get(4)?,
                    row.get(5)?,
                    row.get(6)?,
                ))
            },
        )
        .unwrap()
    };
    let day = crate::common::at(10)
        .to_zoned(jiff::tz::TimeZone::system())
        .date()
        .to_string();
    let ended = ("lab/small".to_owned(), 7, 3, 0.5, 5, Some(day), 1);
    assert_eq!(column("brave-amber-otter"), ended);
    let waiting = (String::new(), 0, 0, 0.0, 0, None, 0);
    assert_eq!(column("eager-red-finch"), waiting);
}
