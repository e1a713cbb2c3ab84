//! Five children, each in another state, and a kill: all end with their answers, and the parent hears of each
//! once.

use std::time::Instant;

use brigade_testkit::{Held, Hold, Script};
use serde_json::json;

use crate::figures::Figures;
use crate::rig::{World, task};
use crate::stage::{
    CONTINUED, Host, LIMIT, Parent, answer, ended, others_were_served, show, shown,
};

/// One sleeps, one streams, one is in a tool, one between two steps, and one waits for a slot.
const NAMES: [&str; 5] = ["sleeping", "streaming", "tool", "between", "queued"];
/// Those that a kill of their host interrupts.
const RUNNING: usize = 4;

/// Five children in the middle of their work.
struct Five<'a> {
    world: &'a World,
    parent: Parent<'a>,
    ids: Vec<String>,
    children: Vec<String>,
    /// Keeps the tool busy.
    held: Option<Held>,
}

async fn world() -> World {
    let world = World::new("[limits]\nconcurrent = 4\n").await;
    let reader = "description: Reads\nmode: subagent\npermission:\n  edit: deny\n  task: deny\n  bash:\n    \"*\": deny\n    \"cat *\": allow";
    world.sandbox.agent("reader", reader, "You read.").unwrap();
    world
}

impl<'a> Five<'a> {
    async fn begin(world: &'a World, host: &'a Host) -> Self {
        let sandbox = &world.sandbox;
        let hold = Hold::new(sandbox, "tool").unwrap();
        let works = NAMES.map(|name| {
            let script = match name {
                "sleeping" => Script::new().gate(name),
                "streaming" => Script::new().chunk("These words are not lost. ").gate(name),
                "tool" => Script::new()
                    .call(
                        "bash",
                        &json!({"command": hold.command(), "description": "Reads"}),
                    )
                    .step(),
                "between" => Script::new()
                    .call("glob", &json!({"pattern": "*"}))
                    .step()
                    .gate(name),
                _ => Script::new(),
            };
            task(name, script.say(answer(name)))
        });
        // The host carries the calls of a step out all at once: the one that is to wait has a step of its own.
        let calls = works
            .iter()
            .enumerate()
            .fold(Script::new(), |script, (at, prompt)| {
                let script = if at == RUNNING { script.step() } else { script };
                script.call("delegate", &json!({"agent": "reader", "prompt": prompt}))
            });
        let parent = Parent::open(sandbox, host, "Five").await;
        parent.says(calls.step().say("under way")).await;
        let ids = parent.delegations().await;
        assert_eq!(ids.len(), NAMES.len());
        for name in ["sleeping", "streaming", "between"] {
            sandbox.model().reached(name, 1, LIMIT).await.unwrap();
        }
        let held = hold.reached(LIMIT).await.unwrap();
        let mut children = Vec::new();
        for id in &ids[..RUNNING] {
            let row = show(sandbox, id).await;
            children.push(row["child"].as_str().unwrap().to_owned());
        }
        let queued = show(sandbox, &ids[RUNNING]).await;
        assert_eq!(queued["state"], "registered", "{queued:#}");
        Self {
            world,
            parent,
            ids,
            children,
            held: Some(held),
        }
    }

    /// Waits until each interrupted child has been told to go on, and counts the time since the kill.
    async fn go_on(&self, since: Instant, figures: &mut Figures) {
        for child in &self.children {
            let told = self
                .world
                .sandbox
                .model()
                .wait_for(&format!("{child} to go on"), LIMIT, |record| {
                    record.session.as_ref() == Some(child) && record.prompt.starts_with(CONTINUED)
                })
                .await
                .unwrap();
            figures.running_again.push(told.received - since);
        }
    }

    /// All five ended with their answers: those that were interrupted in their second attempt, each told once
    /// to go on.
    async fn assert_ended(&self, interrupted: bool) {
        let sandbox = &self.world.sandbox;
        for (name, id) in NAMES.iter().zip(&self.ids) {
            assert!(ended(sandbox, id).await.contains(&answer(name)), "{name}");
            let row = show(sandbox, id).await;
            let attempt = 1 + u32::from(interrupted && *name != "queued");
            assert_eq!(
                (&row["state"], &row["attempt"]),
                (&json!("complete"), &json!(attempt)),
                "{name}: {row:#}"
            );
        }
        let turns = sandbox.model().turns();
        for child in &self.children {
            let told = turns
                .iter()
                .filter(|turn| turn.session.as_ref() == Some(child))
                .filter(|turn| turn.prompt.starts_with(CONTINUED))
                .count();
            assert_eq!(told, usize::from(interrupted), "{child}");
        }
        let asked = |name: &str| {
            let opening = format!("Look into {name}.");
            let first = turns
                .iter()
                .filter(|turn| turn.parent_session.is_some() && turn.step == 0);
            first.filter(|turn| turn.prompt.contains(&opening)).count()
        };
        for name in NAMES {
            assert_eq!(asked(name), 1, "{name}");
        }
    }

    /// The person opens OpenCode again and writes: the notices are in that message.
    async fn assert_told_in(&self, next: &'a Host) {
        let sandbox = &self.world.sandbox;
        for id in &self.ids {
            shown(sandbox, id, "the offer", |row| row["notice"] == "leased").await;
        }
        let there = self.parent.in_host(next);
        let before = there.requests().len();
        there.says("what came of them?").await;
        there.assert_told_once(&self.ids).await;
        others_were_served(sandbox, next).await;
        assert_eq!(there.requests().len(), before + 1);
        there.assert_told_once(&self.ids).await;
    }
}

#[tokio::test]
async fn a_killed_opencode_loses_none_of_five() {
    let world = world().await;
    let host = Host::start(&world.sandbox).await;
    let five = Five::begin(&world, &host).await;
    let mut figures = Figures::default();
    let killed = Instant::now();
    world.kill_host(&host).await;
    // Nobody does anything.
    five.go_on(killed, &mut figures).await;
    five.assert_ended(true).await;
    let next = Host::start(&world.sandbox).await;
    five.assert_told_in(&next).await;
    figures.kills = 1;
    figures.survived = NAMES.len();
    figures.tell("opencode killed with five children");
}

#[tokio::test]
async fn a_killed_daemon_loses_none_of_five() {
    let world = world().await;
    let host = Host::start(&world.sandbox).await;
    let mut five = Five::begin(&world, &host).await;
    let mut figures = Figures::default();
    let killed = Instant::now();
    world.kill_daemon().await;
    world.daemon().await;
    figures.daemon_again.push(killed.elapsed());
    for name in NAMES {
        world.sandbox.model().open(name);
    }
    five.held.take();
    five.parent.answered(4).await;
    five.assert_ended(false).await;
    others_were_served(&world.sandbox, &host).await;
    five.parent.assert_told_once(&five.ids).await;
    assert_eq!(five.parent.requests().len(), 4);
    figures.kills = 1;
    figures.survived = NAMES.len();
    figures.tell("daemon killed with five children");
}

#[tokio::test]
async fn both_killed_lose_none_of_five() {
    let world = world().await;
    let host = Host::start(&world.sandbox).await;
    let five = Five::begin(&world, &host).await;
    let mut figures = Figures::default();
    world.kill_daemon().await;
    world.kill_host(&host).await;
    // Nothing of Brigade's is left; what comes first, here OpenCode, brings it back.
    let opened = Instant::now();
    let next = Host::start(&world.sandbox).await;
    five.go_on(opened, &mut figures).await;
    five.assert_ended(true).await;
    five.assert_told_in(&next).await;
    figures.kills = 2;
    figures.survived = NAMES.len();
    figures.tell("both killed with five children");
}
