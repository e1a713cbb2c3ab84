//! Budgets: what is used up is refused, however it is asked for.

use brigade_protocol::delegations::{Message, Scope};
use brigade_protocol::stats::{StatsBy, StatsQuery};

use crate::delivery::idle;
use crate::rig::Rig;

#[tokio::test]
async fn once_a_sessions_budget_is_used_up_nothing_new_begins_there() {
    let rig = Rig::new("[budget]\nsession_cost = 0.25\nday_tokens = 1000\n").await;
    let host = rig.host("a").await;
    let root = rig.world.root();
    host.person(&root, "hello");
    idle(&rig, &root).await;
    let work = "@stream g\n@say later";
    let running = host.delegate(&root, work).await.unwrap();
    let id = host.delegate(&root, "@say done").await.unwrap();
    rig.ended(std::slice::from_ref(&id)).await;
    let shown = rig.show(&id).await;
    assert_eq!(
        (
            shown.summary.progress.tokens_in,
            shown.summary.progress.tokens_out
        ),
        (7, 3)
    );

    let words = "this session's delegations have used $0.25 of the $0.25 that session_cost in [budget] allows";
    let refused = host
        .delegate(&root, "@say more")
        .await
        .unwrap_err()
        .to_string();
    // What was under way before is named, and no new one.
    assert_eq!(host.delegate(&root, work).await.unwrap(), running);
    assert!(
        refused.contains(words) && refused.contains("raise session_cost"),
        "{refused}"
    );
    let client = rig.client().await;
    let retried = client.retry(&id, &Scope::default()).await.unwrap_err();
    assert!(retried.to_string().contains(words), "{retried}");
    let message = Message {
        message: "@say further".into(),
        directory: None,
    };
    let sent = client.send(&id, &message).await.unwrap_err();
    assert!(sent.to_string().contains(words), "{sent}");

    rig.world.open("g");
    rig.ended(&[running]).await;

    // Another session has a budget of its own.
    let other = rig.world.root();
    host.person(&other, "hello");
    idle(&rig, &other).await;
    let second = host.delegate(&other, "@say done").await.unwrap();
    rig.ended(&[second]).await;
    let query = StatsQuery {
        by: StatsBy::Session,
        ..StatsQuery::default()
    };
    let stats = client.stats(&query).await.unwrap();
    assert_eq!(
        (
            stats.rows.len(),
            stats.total.tokens_in + stats.total.tokens_out
        ),
        (2, 30)
    );
    let [budget] = stats.budget.as_slice() else {
        panic!("{stats:?}");
    };
    assert_eq!(budget.key, "day_tokens");
    assert!((budget.used - 30.0).abs() < 1e-9, "{budget:?}");
}
