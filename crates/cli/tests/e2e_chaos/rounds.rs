//! Rounds drawn by a seed: a parent delegates, processes are killed at the nth sign of its children, and at the
//! end nothing is lost and nothing doubled.
//!
//! `BRIGADE_CHAOS=20` runs as many rounds, `BRIGADE_CHAOS_SEED=7` those of that seed.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use brigade_testkit::model::Outcome;
use brigade_testkit::model::script::Op;
use brigade_testkit::{Record, Script};
use serde_json::json;

use crate::figures::Figures;
use crate::rig::{World, gone, task};
use crate::stage::{
    CONTINUED, Host, LIMIT, Parent, answer, delegating, ended, others_were_served, show, shown,
};

/// Rounds where nobody asks for more.
const ROUNDS: usize = 3;

/// What dies in a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Victims {
    Daemon,
    Host,
    DaemonAndHost,
    /// The host, and then the server that goes on with its work.
    HostThenServer,
    /// The host, and then the daemon while a server goes on.
    HostThenDaemon,
}

const VICTIMS: [Victims; 5] = [
    Victims::HostThenServer,
    Victims::Daemon,
    Victims::HostThenDaemon,
    Victims::DaemonAndHost,
    Victims::Host,
];

/// When: at the nth request that the children make, or at the nth that is answered.
#[derive(Debug, Clone, Copy)]
enum Moment {
    Requested(usize),
    Answered(usize),
}

/// Numbers by a seed (splitmix64): the same on every machine.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn within(&mut self, from: usize, to: usize) -> usize {
        let span = u64::try_from(to - from + 1).unwrap();
        from + usize::try_from(self.roll() % span).unwrap()
    }
}

/// One round as it was drawn.
#[derive(Debug)]
struct Plan {
    number: usize,
    /// The steps of each child.
    steps: Vec<usize>,
    victims: Victims,
    moment: Moment,
}

impl Plan {
    fn draw(dice: &mut Dice, number: usize, first: usize) -> Self {
        let children = dice.within(2, 5);
        let steps: Vec<usize> = (0..children).map(|_| dice.within(1, 3)).collect();
        let signs = steps.iter().sum();
        let moment = match dice.within(0, 1) {
            0 => Moment::Requested(dice.within(1, signs)),
            _ => Moment::Answered(dice.within(1, signs)),
        };
        Self {
            number,
            steps,
            victims: VICTIMS[(first + number) % VICTIMS.len()],
            moment,
        }
    }

    fn name(&self, child: usize) -> String {
        format!("round {} child {child}", self.number)
    }

    fn works(&self) -> Vec<String> {
        let works = self.steps.iter().enumerate().map(|(child, steps)| {
            let pieces = || Op::Chunks {
                count: 4,
                every_ms: 50,
            };
            let looking = (1..*steps).fold(Script::new(), |script, _| {
                script
                    .op(pieces())
                    .call("glob", &json!({"pattern": "*"}))
                    .step()
            });
            let name = self.name(child);
            task(&name, looking.op(pieces()).say(answer(&name)))
        });
        works.collect()
    }
}

#[tokio::test]
async fn whatever_is_killed_whenever_nothing_is_lost_and_nothing_doubled() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse().unwrap());
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let seed = number("BRIGADE_CHAOS_SEED").unwrap_or_else(|| u64::from(now().subsec_micros()));
    let rounds = number("BRIGADE_CHAOS").map_or(ROUNDS, |rounds| usize::try_from(rounds).unwrap());
    let replay = format!("BRIGADE_CHAOS={rounds} BRIGADE_CHAOS_SEED={seed}");
    println!("replay with {replay}");

    let mut dice = Dice(seed);
    let first = dice.within(0, VICTIMS.len() - 1);
    let world = World::new("[limits]\nconcurrent = 3\n").await;
    // Whoever goes on takes its time, so that it can be interrupted again.
    world.sandbox.model().configure(|defaults| {
        let slowly = Script::new()
            .op(Op::Chunks {
                count: 5,
                every_ms: 100,
            })
            .say(answer("{{topic}}"));
        defaults.rules = vec![(CONTINUED.to_owned(), slowly)];
    });
    let mut figures = Figures::default();
    let mut host = Host::start(&world.sandbox).await;
    for number in 0..rounds {
        let plan = Plan::draw(&mut dice, number, first);
        println!("{plan:?}");
        host = play(&world, host, &plan, &mut figures).await;
    }
    figures.tell(&format!("random rounds, {replay}"));
}

/// Plays a round in this host; gives the one that is there at its end.
async fn play(world: &World, host: Host, plan: &Plan, figures: &mut Figures) -> Host {
    let sandbox = &world.sandbox;
    let works = plan.works();
    let title = format!("Round {}", plan.number);
    let parent = Parent::open(sandbox, &host, &title).await;
    let id = parent.id.clone();
    parent
        .begins(delegating(&works).step().say("under way"))
        .await;
    comes(world, &id, plan.moment).await;

    let killed = Instant::now();
    let host_lives = plan.victims == Victims::Daemon;
    match plan.victims {
        Victims::Daemon => {
            world.kill_daemon().await;
            world.daemon().await;
            figures.daemon_again.push(killed.elapsed());
        }
        Victims::Host => world.kill_host(&host).await,
        Victims::DaemonAndHost => {
            world.kill_daemon().await;
            world.kill_host(&host).await;
            figures.kills += 1;
        }
        Victims::HostThenServer => {
            world.kill_host(&host).await;
            if goes_on(world, &id).await {
                let daemon = world.daemon().await;
                for server in world.servers() {
                    assert_ne!(server, daemon, "a daemon marked as a server");
                    server.end(brigade_os::process::End::Kill).unwrap();
                    gone(server).await;
                    figures.kills += 1;
                }
            }
        }
        Victims::HostThenDaemon => {
            world.kill_host(&host).await;
            if goes_on(world, &id).await {
                let killed = Instant::now();
                world.kill_daemon().await;
                // The server's own bridge has it started.
                world.daemon().await;
                figures.daemon_again.push(killed.elapsed());
                figures.kills += 1;
            }
        }
    }
    figures.kills += 1;
    // Where nothing of Brigade's is left, it is back with the next OpenCode; else the work ends before.
    let next = match plan.victims {
        Victims::DaemonAndHost => Some(Host::start(sandbox).await),
        _ => None,
    };
    let ids = world.delegated(&id).await;
    assert!(!ids.is_empty(), "a child was seen, so one was delegated");
    for delegation in &ids {
        ended(sandbox, delegation).await;
    }
    let host = match next {
        Some(next) => next,
        None if host_lives => host,
        None => Host::start(sandbox).await,
    };
    let there = Parent {
        sandbox,
        host: &host,
        id,
    };
    if host_lives {
        for delegation in &ids {
            shown(sandbox, delegation, "its delivery", |row| {
                row["notice"] == "delivered"
            })
            .await;
        }
        others_were_served(sandbox, &host).await;
        there.rest().await;
    } else {
        for delegation in &ids {
            shown(sandbox, delegation, "its offer", |row| {
                row["notice"] == "leased" || row["notice"] == "delivered"
            })
            .await;
        }
        there.says("what came of them?").await;
        others_were_served(sandbox, &host).await;
    }
    there.assert_told_once(&ids).await;
    assert_whole(&there, plan, &ids).await;
    if plan.victims != Victims::DaemonAndHost {
        running_again(&there, &ids, killed, figures).await;
    }
    figures.survived += ids.len();
    host
}

/// Waits for the nth sign of the children.
async fn comes(world: &World, parent: &str, moment: Moment) {
    let of_child = |record: &Record| record.parent_session.as_deref() == Some(parent);
    let model = world.sandbox.model();
    let what = format!("{moment:?}");
    match moment {
        Moment::Requested(nth) => model.wait_for_count(&what, nth, LIMIT, of_child).await,
        Moment::Answered(nth) => {
            let answered =
                |record: &Record| of_child(record) && record.outcome == Outcome::Answered;
            model.wait_for_count(&what, nth, LIMIT, answered).await
        }
    }
    .unwrap();
}

/// Waits until one of the children goes on; false if all have ended without that.
async fn goes_on(world: &World, parent: &str) -> bool {
    let sandbox = &world.sandbox;
    let continued = sandbox
        .model()
        .wait_for("a child to go on", LIMIT, |record| {
            record.parent_session.as_deref() == Some(parent) && record.prompt.starts_with(CONTINUED)
        });
    let all_end = async {
        for id in world.delegated(parent).await {
            ended(sandbox, &id).await;
        }
    };
    tokio::select! {
        biased;
        record = continued => record.is_ok(),
        () = all_end => false,
    }
}

/// Every call that was answered is on record; each ended with its own answer, in one child that was given the
/// work once.
async fn assert_whole(parent: &Parent<'_>, plan: &Plan, ids: &[String]) {
    for output in parent.outputs("delegate").await {
        if let Some(rest) = output.strip_prefix("Delegation started: ") {
            let id = rest.lines().next().unwrap();
            assert!(ids.iter().any(|known| known == id), "{id} is lost");
        }
    }
    let children = parent.host.children(&parent.id).await.unwrap();
    assert_eq!(children.len(), ids.len(), "children");
    let turns = parent.sandbox.model().turns();
    let mut left: Vec<String> = (0..plan.steps.len()).map(|n| plan.name(n)).collect();
    for id in ids {
        let row = show(parent.sandbox, id).await;
        assert_eq!(row["state"], "complete", "{row:#}");
        let prompt = row["prompt"].as_str().unwrap();
        let at = left
            .iter()
            .position(|name| prompt.contains(&format!("Topic: {name}\n")));
        let name = left.swap_remove(at.expect("each work is there once"));
        let text = ended(parent.sandbox, id).await;
        assert!(text.contains(&format!("All of {name}.")), "{name}: {text}");
        let asked = turns
            .iter()
            .filter(|turn| turn.parent_session.is_some() && turn.step == 0)
            .filter(|turn| turn.prompt.contains(&format!("Topic: {name}\n")));
        assert!(asked.count() <= 1, "{name} was begun twice");
    }
}

/// Counts how long after the kill each interrupted child made its next request.
async fn running_again(
    parent: &Parent<'_>,
    ids: &[String],
    killed: Instant,
    figures: &mut Figures,
) {
    let turns = parent.sandbox.model().turns();
    for id in ids {
        let row = show(parent.sandbox, id).await;
        let child = row["child"].as_str();
        let next = turns.iter().find(|turn| {
            turn.session.as_deref() == child
                && turn.received > killed
                && turn.prompt.starts_with(CONTINUED)
        });
        if let Some(next) = next {
            figures.running_again.push(next.received - killed);
        }
    }
}
