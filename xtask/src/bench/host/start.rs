//! What the bridge adds to the host's start.

use std::path::Path;
use std::time::Duration;

use brigade_testkit::opencode::Boot;
use brigade_testkit::{Sandbox, Serve};

use super::Order;
use super::contestant::{Way, sandbox};
use crate::bench::measure::{Figure, Section, Unit};
use crate::error::{Error, Result};
use crate::say;

/// The ways to start, in the order of the figures.
const WAYS: [&str; 3] = [
    "Without the bridge",
    "With it, the daemon running",
    "With it, which starts the daemon",
];

/// The starts of a round, in the order of [`WAYS`].
type Round = [Boot; 3];

/// Starts the host in every way, once a round.
pub(super) async fn measure(rounds: u32, program: &Path, order: &mut Order) -> Result<Vec<Round>> {
    let bare = sandbox(&Way::Floor, program, 1).await?;
    let bridged = sandbox(&Way::Brigade, program, 1).await?;
    let homes = [&bare, &bridged, &bridged];
    // The first start in a home makes its database.
    for home in [&bare, &bridged] {
        Serve::start(home).await?.stop().await?;
    }
    let mut found = Vec::new();
    for round in 0..rounds {
        let nothing = Boot {
            healthy: Duration::ZERO,
            opened: Duration::ZERO,
        };
        let mut boots = [nothing; WAYS.len()];
        for way in order.of(WAYS.len()) {
            daemon(homes[way], way).await?;
            let serve = Serve::start(homes[way]).await?;
            boots[way] = serve.boot();
            serve.stop().await?;
        }
        let shown = boots.map(|boot| boot.opened.as_millis());
        say(&format!(
            "round {} of {rounds}, start: {shown:?} ms",
            round + 1
        ));
        found.push(boots);
    }
    Ok(found)
}

/// Has the daemon be as this way needs it.
async fn daemon(home: &Sandbox, way: usize) -> Result<()> {
    let verb = match way {
        0 => return Ok(()),
        1 => "start",
        _ => "stop",
    };
    let done = home.brigade(&["daemon", verb]).await?;
    let is_running = home.daemon_pid().is_some();
    if is_running == (verb == "start") {
        return Ok(());
    }
    Err(Error::Wrong(format!(
        "`brigade daemon {verb}` did not do it: {done:?}"
    )))
}

/// What came out.
pub(super) fn section(rounds: &[Round]) -> Option<Section> {
    let mut section = Section::new(
        "Start of the host",
        "`opencode serve` from the start of its process until `GET /global/health` says that it is healthy, and until \
         the first request for the project is answered, which has opened it with its plugins. What the bridge adds is \
         the difference to the start without it in the same round.",
    );
    type Step = (&'static str, fn(&Boot) -> Duration);
    let steps: [Step; 2] = [
        ("healthy", |boot| boot.healthy),
        ("project opened", |boot| boot.opened),
    ];
    for (way, name) in WAYS.iter().enumerate() {
        for (column, step) in &steps {
            let times = rounds.iter().map(|round| step(&round[way]));
            section.figures.extend(Figure::times(*name, *column, times));
        }
    }
    for (way, name) in WAYS.iter().enumerate().skip(1) {
        for (column, step) in &steps {
            let ms = |boot: &Boot| step(boot).as_secs_f64() * 1e3;
            let added = rounds.iter().map(|round| ms(&round[way]) - ms(&round[0]));
            let row = format!("{name}: added");
            section
                .figures
                .extend(Figure::new(row, *column, Unit::Ms, added));
        }
    }
    (!section.figures.is_empty()).then_some(section)
}
