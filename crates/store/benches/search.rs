//! The full-text query, over real files: `cargo bench -p brigade-store`.

#![expect(
    clippy::unwrap_used,
    reason = "a benchmark that can't go on has failed"
)]

#[path = "../tests/store/common.rs"]
#[expect(dead_code, reason = "the tests need more of it")]
mod common;

use brigade_core::id::DelegationId;
use brigade_store::Wake;
use common::{Fixture, spec, word};
use divan::Bencher;
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::runtime::Runtime;

/// How many have ended.
const ON_FILE: [u32; 2] = [100, 2_000];

fn main() {
    divan::main();
}

/// A store in which all results have one word in common, and each has one of its own.
fn filled(runtime: &Runtime, count: u32) -> Fixture {
    runtime.block_on(async {
        let fixture = Fixture::new();
        let mut rng = StdRng::seed_from_u64(1);
        let ended = (0..count).map(|n| {
            let id = DelegationId::generate(&mut rng);
            let filler = "the quick brown fox jumps over the lazy dog ".repeat(40);
            let answer = format!("# Result {n}\n\n{filler} {}", own(n));
            let spec = spec(id.as_str(), "ses_parent", &format!("look at {n}"));
            let fixture = &fixture;
            async move { fixture.ended(spec, &answer, Wake::Never).await }
        });
        // At once, so that the store commits them in groups.
        futures::future::join_all(ended).await;
        fixture
    })
}

/// A word of one text alone. What is sought is a prefix as well, so its end is none of the number's letters: that of 42
/// would be found in 420, too.
fn own(n: u32) -> String {
    format!("own{}z", word(n))
}

fn search(bencher: Bencher, count: u32, words: &str, hits: usize) {
    let runtime = Runtime::new().unwrap();
    let fixture = filled(&runtime, count);
    bencher.bench_local(|| {
        let found = runtime.block_on(fixture.store.search(words, None, None, 10));
        assert_eq!(found.unwrap().len(), hits);
    });
}

/// A word that every text has.
#[divan::bench(args = ON_FILE)]
fn common_word(bencher: Bencher, count: u32) {
    search(bencher, count, "fox", 10);
}

/// A word that one text has.
#[divan::bench(args = ON_FILE)]
fn rare_word(bencher: Bencher, count: u32) {
    search(bencher, count, &own(42), 1);
}

/// A page of the list.
#[divan::bench(args = ON_FILE)]
fn list(bencher: Bencher, count: u32) {
    let runtime = Runtime::new().unwrap();
    let fixture = filled(&runtime, count);
    bencher.bench_local(|| {
        let filter = brigade_store::ListFilter {
            limit: 50,
            ..Default::default()
        };
        let (rows, _) = runtime.block_on(fixture.store.list(filter)).unwrap();
        assert_eq!(rows.len(), 50);
    });
}
