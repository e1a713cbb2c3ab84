//! The daemon dies wherever it starts a server of its own for what a dead host has left.

use brigade_testkit::{Record, Script};
use serde_json::json;

use crate::figures::Figures;
use crate::rig::{World, gone, hanging};
use crate::stage::{
    CONTINUED, Host, LIMIT, Parent, answer, begun, delegating, ended, others_were_served, show,
    shown, turns_of,
};

/// The points on the way, in their order: at each a daemon dies, and the next goes on from there.
pub(crate) const POINTS: &[&str] = &[
    "interrupted",
    "server-planned",
    "server-launched",
    "server-recorded",
    "server-begun",
    "server-up",
];
/// A server that was let to its work is taken over, so that nobody comes to both of the last two.
const CHAINS: [&[usize]; 2] = [&[0, 1, 2, 3, 5], &[4]];

#[tokio::test]
async fn wherever_the_daemon_dies_starting_a_server_one_goes_on_and_none_is_left_over() {
    let world = World::new("[server]\nlinger = \"1s\"\n").await;
    let (sandbox, model) = (&world.sandbox, world.sandbox.model());
    model.configure(|defaults| {
        let hangs = Script::new().gate("continued").say(answer("{{topic}}"));
        defaults.rules = vec![(CONTINUED.to_owned(), hangs)];
    });
    // Its bridge has the daemon started again; it does nothing else.
    let other = Host::start(sandbox).await;
    for (chain, points) in CHAINS.iter().enumerate() {
        let name = format!("chain {chain}");
        let host = Host::start(sandbox).await;
        let parent = Parent::open(sandbox, &host, &name).await;
        parent
            .says(delegating(&[hanging(&name)]).step().say("begun"))
            .await;
        let ids = parent.delegations().await;
        let id = &ids[0];
        model.reached(&name, 1, LIMIT).await.unwrap();
        let mut armed = Vec::new();
        for point in *points {
            armed.push(world.arm(POINTS[*point], 1).await);
        }
        world.kill_host(&host).await;
        let again = |record: &Record| {
            record.prompt.starts_with(CONTINUED)
                && record.parent_session.as_ref() == Some(&parent.id)
        };
        model.wait_for("it to go on", LIMIT, again).await.unwrap();
        for point in &armed {
            point.assert_reached();
        }
        let [server] = world.servers()[..] else {
            panic!("one server: {:?}", world.servers());
        };
        model.admit("continued", 1);
        assert!(ended(sandbox, id).await.contains(&answer(&name)));
        let row = show(sandbox, id).await;
        assert_eq!(
            (&row["state"], &row["attempt"]),
            (&json!("complete"), &json!(2))
        );
        assert_eq!(begun(sandbox, &name), 1);
        let child = row["child"].as_str().unwrap();
        assert_eq!(turns_of(sandbox, child).len(), 2);

        shown(sandbox, id, "its offer", |row| row["notice"] == "leased").await;
        let there = parent.in_host(&other);
        there.says("what came of it?").await;
        others_were_served(sandbox, &other).await;
        there.assert_told_once(&ids).await;
        // Nothing needs it any more.
        gone(server).await;
    }
    let figures = Figures {
        kills: POINTS.len() + CHAINS.len(),
        survived: CHAINS.len(),
        ..Figures::default()
    };
    figures.tell("daemon killed while it starts a server");
}
