//! How long it takes in a large repository: `cargo test -p brigade-worktree --test it -- --ignored --nocapture figures`.

use std::time::Instant;

use brigade_worktree::{no_step, write};
use tokio_util::sync::CancellationToken;

use crate::applying::planned;
use crate::rig::{Rig, built, collected, put};

#[tokio::test]
#[ignore = "it measures"]
async fn figures_of_a_large_repository() {
    let rig = Rig::empty(&[]);
    for number in 0..20_000 {
        let path = format!("src/{}/{}/file-{number}.txt", number % 40, number % 17);
        rig.write(&path, format!("{number}\n").repeat(500));
    }
    rig.commit("first");
    for number in 0..200 {
        rig.write(&format!("untracked/{number}"), format!("{number}\n"));
    }
    let place = rig.place("one");
    let mut from = Instant::now();
    let mut lap = |what: &str| {
        println!("{what:>9}: {:>5} ms", from.elapsed().as_millis());
        from = Instant::now();
    };
    let taken = rig.take(&place).await;
    lap("snapshot");
    let tree = built(&place, &taken).await;
    lap("build");
    for number in 0..100 {
        put(&place.tree(), &format!("untracked/{number}"), "child\n");
    }
    let found = collected(&place, &taken).await;
    lap("collect");
    let plan = planned(&rig, &place, &taken.base, &found.result, &[]).await;
    lap("plan");
    let journal = rig.path().join("work/journal");
    let done = write(&plan, &journal, &CancellationToken::new(), &no_step())
        .await
        .unwrap();
    lap("write");
    assert_eq!(done.files.len(), 100);
    println!("the tree takes {} MB", tree.bytes / 1_000_000);
}
