//! Full-text search.

use brigade_store::{Hit, Listed, Wake};

use crate::common::{Fixture, id, project, session, spec};

fn ids(hits: &[Hit]) -> Vec<String> {
    hits.iter().map(|hit| hit.row.id().to_string()).collect()
}

#[tokio::test]
async fn titles_summaries_prompts_and_results_are_searched_titles_first() {
    let fixture = Fixture::new();
    let answer = "# Deadlocks explained\n\nTwo queues wait for each other.\n\nThe scheduler's mutex is involved.";
    fixture
        .ended(
            spec("a-b-c", "ses_1", "why does it hang"),
            answer,
            Wake::All,
        )
        .await;
    fixture
        .ended(
            spec("a-b-d", "ses_2", "something else"),
            "# Other\n\nOther.\n\nA deadlock in passing.",
            Wake::All,
        )
        .await;
    let search = async |words: &'static str| {
        fixture
            .store
            .search(words, Some(&project()), None, 10)
            .await
            .unwrap()
    };
    // By stem, and by beginning for the last word.
    assert_eq!(ids(&search("deadlock").await), ["a-b-c", "a-b-d"]);
    assert_eq!(ids(&search("hang").await), ["a-b-c"]);
    assert_eq!(ids(&search("queues").await), ["a-b-c"]);
    let hits = search("mutex").await;
    assert!(hits[0].snippet.contains("[mutex]"), "{}", hits[0].snippet);
    assert_eq!(ids(&search("mut").await), ["a-b-c"]);
    assert!(search("deadlock absentword").await.is_empty());
    let of_root = fixture
        .store
        .search("deadlock", Some(&project()), Some(&session("ses_2")), 10)
        .await;
    assert_eq!(ids(&of_root.unwrap()), ["a-b-d"]);
    let elsewhere = "fedcba9876543210".parse().unwrap();
    let other = fixture
        .store
        .search("deadlock", Some(&elsewhere), None, 10)
        .await;
    assert!(other.unwrap().is_empty());
    // The project's ID is a column too, and no text to be found.
    assert!(search("0123456789abcdef").await.is_empty());
    let limited = fixture
        .store
        .search("deadlock", None, None, 1)
        .await
        .unwrap();
    assert_eq!(ids(&limited), ["a-b-c"]);
}

#[tokio::test]
async fn one_that_runs_is_found_by_its_prompt() {
    let fixture = Fixture::new();
    fixture
        .register(spec("a-b-c", "ses_1", "trace the allocator"))
        .await;
    let hits = fixture
        .store
        .search("allocator", None, None, 5)
        .await
        .unwrap();
    assert!(matches!(&hits[0].row, Listed::Ours(row) if row.delegation.spec.id == id("a-b-c")));
}

#[tokio::test]
async fn whatever_is_asked_is_no_error() {
    let fixture = Fixture::new();
    fixture
        .ended(
            spec("a-b-c", "ses_1", "look"),
            "# NEAR\n\nAND OR NOT \"quoted\" foo-bar:baz*",
            Wake::All,
        )
        .await;
    let long = "word ".repeat(20_000);
    let wide = "x".repeat(100_000);
    for odd in [
        "",
        " ",
        "\"",
        "\"\"",
        "*",
        "**",
        "(",
        ")",
        "()",
        "AND",
        "OR",
        "NOT",
        "NEAR",
        "NEAR(",
        "NEAR(a b, 2)",
        "title:x",
        "{title} : x",
        "-x",
        "^x",
        "+",
        "a AND",
        "NOT a",
        "\"unclosed",
        "a\"b",
        "'",
        "';--",
        "\\",
        "\0",
        "a\0b",
        "foo-bar:baz*",
        "²",
        "…",
        "日本語",
        "\u{301}",
        "🦦",
        "_",
        "__",
        "%",
        &long,
        &wide,
    ] {
        let hits = fixture
            .store
            .search(odd, Some(&project()), Some(&session("ses_1")), 5)
            .await;
        assert!(
            hits.is_ok(),
            "{:?}: {hits:?}",
            odd.chars().take(30).collect::<String>()
        );
    }
    let hits = fixture
        .store
        .search("foo-bar:baz*", None, None, 5)
        .await
        .unwrap();
    assert_eq!(hits.len(), 1);
    let hits = fixture
        .store
        .search("\"quoted\" NEAR", None, None, 5)
        .await
        .unwrap();
    assert_eq!(hits.len(), 1);
}

#[tokio::test]
async fn a_long_result_is_found_with_an_excerpt() {
    let fixture = Fixture::new();
    let answer = format!(
        "# Long\n\nMuch.\n\n{} the locks were ordered {}",
        "filler ".repeat(10_000),
        "lock and order ".repeat(30_000)
    );
    fixture
        .ended(spec("a-b-c", "ses_1", "look"), &answer, Wake::All)
        .await;
    let hits = fixture.store.search("order locks", None, None, 5).await;
    let hits = hits.unwrap();
    assert_eq!(ids(&hits), ["a-b-c"]);
    let expected =
        "…filler filler filler filler filler the [locks] were [ordered] [lock] and [order]";
    assert!(hits[0].snippet.starts_with(expected), "{}", hits[0].snippet);
    assert!(hits[0].snippet.len() < 400);
}

#[tokio::test]
async fn what_has_the_words_in_its_title_comes_first_however_old_it_is() {
    let fixture = Fixture::new();
    let answers = [
        "# The quorum\n\nFound.\n\nText.",
        "# Other\n\nOf quorum, quorum and quorum.\n\nquorum quorum quorum",
        "# Other still\n\nNothing.\n\nA quorum.",
    ];
    for (n, answer) in answers.into_iter().enumerate() {
        let name = format!("a-b-{}", ["c", "d", "e"][n]);
        let spec = spec(&name, "ses_1", &name);
        fixture.ended(spec, answer, Wake::All).await;
    }
    let search = async |limit| {
        let hits = fixture
            .store
            .search("quorum", Some(&project()), None, limit)
            .await;
        hits.unwrap()
    };
    let all = search(10).await;
    assert_eq!(ids(&all), ["a-b-c", "a-b-d", "a-b-e"]);
    assert!(
        all.iter().all(|hit| hit.snippet.contains("[quorum")),
        "{all:?}"
    );
    assert_eq!(ids(&search(2).await), ["a-b-c", "a-b-d"]);
    assert_eq!(ids(&search(1).await), ["a-b-c"]);
}
