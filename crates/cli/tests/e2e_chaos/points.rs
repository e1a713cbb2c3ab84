//! The daemon dies at each of its fail points, and nobody starts it by hand.

use std::collections::BTreeSet;

use brigade_daemon::failpoint::POINTS;
use brigade_testkit::Script;
use serde_json::json;

use crate::figures::Figures;
use crate::rig::{World, hanging};
use crate::servers;
use crate::stage::{
    Host, LIMIT, Parent, answer, begun, delegating, ended, others_were_served, show, shown,
    turns_of,
};
use crate::worktrees;

/// Points that a delegation alone passes whose parent can be spoken to, and at which of their passes the
/// daemon dies: a life has five commits. The only notice asks for the reply itself.
const ALONE: &[(&str, u32)] = &[
    ("registered", 1),
    ("before-commit", 1),
    ("after-commit", 1),
    ("child-created", 1),
    ("before-commit", 2),
    ("after-commit", 2),
    ("prompt-posted", 1),
    ("before-commit", 3),
    ("after-commit", 3),
    ("run-ended", 1),
    ("before-commit", 4),
    ("after-commit", 4),
    ("outcome-decided", 1),
    ("artifact-written", 1),
    ("before-commit", 5),
    ("after-commit", 5),
    ("ended", 1),
    ("notice-planned", 1),
    ("waking-planned", 1),
    ("waking-sent", 1),
];

/// Points at a notice that asks for no reply: the first of two.
const FIRST_OF_TWO: &[&str] = &["notice-planned", "notice-sent", "notice-recorded"];

/// Points while a daemon takes up what an earlier one left: with nothing of it taken up, and with half.
const RECOVERING: (&str, &[u32]) = ("recovering", &[1, 2]);

/// Points at a notice whose parent nobody has open.
const OFFERED: &[&str] = &["offer-leased", "offer-taken"];

#[test]
fn no_point_is_left_out() {
    let alone = ALONE.iter().map(|(point, _)| point);
    let tested: BTreeSet<&str> = alone
        .chain(FIRST_OF_TWO)
        .chain([&RECOVERING.0])
        .chain(OFFERED)
        .chain(servers::POINTS)
        .copied()
        .chain(worktrees::points())
        .collect();
    assert_eq!(tested, POINTS.iter().copied().collect());
}

/// A parent and what it delegated, in the order of the names.
struct Family<'a> {
    parent: Parent<'a>,
    names: Vec<String>,
}

impl<'a> Family<'a> {
    async fn delegates(
        world: &'a World,
        host: &'a Host,
        title: &str,
        names: &[String],
    ) -> Family<'a> {
        let parent = Parent::open(&world.sandbox, host, title).await;
        let works: Vec<String> = names.iter().map(|name| hanging(name)).collect();
        parent.says(delegating(&works).step().say("begun")).await;
        Family {
            parent,
            names: names.to_vec(),
        }
    }

    /// Each ran once, in one child, to its own answer, and was told once.
    async fn assert_whole(&self, requests: usize) {
        let (parent, sandbox) = (&self.parent, self.parent.sandbox);
        let ids = parent.delegations().await;
        assert_eq!(ids.len(), self.names.len());
        parent.assert_told_once(&ids).await;
        assert_eq!(parent.requests().len(), requests, "{:?}", self.names);
        let children = parent.host.children(&parent.id).await.unwrap();
        assert_eq!(children.len(), ids.len(), "{:?}", self.names);
        for (name, id) in self.names.iter().zip(&ids) {
            assert!(ended(sandbox, id).await.contains(&answer(name)), "{name}");
            let row = show(sandbox, id).await;
            assert_eq!(
                (&row["state"], &row["attempt"]),
                (&json!("complete"), &json!(1)),
                "{name}"
            );
            assert_eq!(begun(sandbox, name), 1, "{name}");
            let child = row["child"].as_str().unwrap();
            assert_eq!(turns_of(sandbox, child).len(), 1, "{name}");
        }
    }
}

#[tokio::test]
async fn wherever_the_daemon_dies_a_delegation_runs_once_and_is_told_once() {
    let world = World::new("").await;
    let model = world.sandbox.model();
    let host = Host::start(&world.sandbox).await;
    let mut families = Vec::new();
    for (point, nth) in ALONE {
        let name = format!("{point} {nth}");
        let armed = world.arm(point, *nth).await;
        let family = Family::delegates(&world, &host, &name, std::slice::from_ref(&name)).await;
        model.open(&name);
        armed.died().await;
        family.parent.answered(3).await;
        families.push(family);
    }
    for point in FIRST_OF_TWO {
        let names = [1, 2].map(|n| format!("{point} of {n}"));
        let family = Family::delegates(&world, &host, point, &names).await;
        for name in &names {
            model.reached(name, 1, LIMIT).await.unwrap();
        }
        let armed = world.arm(point, 1).await;
        model.open(&names[0]);
        armed.died().await;
        model.open(&names[1]);
        family.parent.answered(3).await;
        families.push(family);
    }
    let (point, passes) = RECOVERING;
    for nth in passes {
        let names = ["one", "two"].map(|name| format!("{point} {nth} {name}"));
        let family = Family::delegates(&world, &host, point, &names).await;
        for name in &names {
            model.reached(name, 1, LIMIT).await.unwrap();
        }
        let armed = world.arm(point, *nth).await;
        world.kill_daemon().await;
        for name in &names {
            model.open(name);
        }
        family.parent.answered(3).await;
        armed.assert_reached();
        families.push(family);
    }
    others_were_served(&world.sandbox, &host).await;
    for family in &families {
        family.assert_whole(3).await;
    }
    let figures = Figures {
        kills: ALONE.len() + FIRST_OF_TWO.len() + 2 * passes.len(),
        survived: families.iter().map(|family| family.names.len()).sum(),
        ..Figures::default()
    };
    figures.tell("daemon killed at its points");
}

#[tokio::test]
async fn wherever_the_daemon_dies_an_offered_notice_rides_on_one_message() {
    let world = World::new("").await;
    let model = world.sandbox.model();
    let mut host = Host::start(&world.sandbox).await;
    for point in OFFERED {
        let name = point.to_string();
        let parent = Parent::open(&world.sandbox, &host, &name).await;
        // Its stream keeps the notice waiting until its host is gone.
        let streams = format!("{name} streams");
        let script = delegating(&[hanging(&name)])
            .step()
            .chunk("hm ")
            .gate(&streams)
            .say("so");
        parent.begins(script).await;
        model.reached(&streams, 1, LIMIT).await.unwrap();
        let ids = parent.delegations().await;
        model.open(&name);
        assert!(
            ended(&world.sandbox, &ids[0])
                .await
                .contains(&answer(&name))
        );
        let armed = world.arm(point, 1).await;
        host.kill9().await.unwrap();
        let next = Host::start(&world.sandbox).await;
        let there = parent.in_host(&next);
        let before = there.requests().len();
        if *point == "offer-leased" {
            armed.died().await;
        }
        shown(&world.sandbox, &ids[0], "the offer", |row| {
            row["notice"] == "leased"
        })
        .await;
        there.says(Script::saying("what came of it")).await;
        armed.died().await;
        shown(&world.sandbox, &ids[0], "the delivery", |row| {
            row["notice"] == "delivered"
        })
        .await;
        others_were_served(&world.sandbox, &next).await;
        there.rest().await;
        there.assert_told_once(&ids).await;
        // An offer that was only leased may come too late for the message, and then wakes by itself.
        let most = if *point == "offer-leased" { 2 } else { 1 };
        let after = there.requests().len() - before;
        assert!((1..=most).contains(&after), "{point}: {after} requests");
        assert_eq!(show(&world.sandbox, &ids[0]).await["attempt"], 1);
        host = next;
    }
    let figures = Figures {
        kills: 2 * OFFERED.len(),
        survived: OFFERED.len(),
        ..Figures::default()
    };
    figures.tell("daemon killed at an offer");
}
