//! The scripted conversation, scene by scene, each with what must be true after it.

use std::path::PathBuf;
use std::time::Duration;

use brigade_testkit::model::script::Op;
use brigade_testkit::opencode::VERSION;
use brigade_testkit::{Events, Kind, Message, Record, Sandbox, Script, Serve};
use serde_json::json;

use super::look::{
    NOTICE, all_texts, answer, artifact, children_tools, is_waking, list, offered, shell, started,
    took_ms, tool_calls,
};
use super::stage::{PIECES, Piece};
use super::transcript::{Transcript, Who};
use crate::error::{Error, Result};
use crate::say;

/// How long anything may take on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);
/// Opens a ledger.
const LEDGER: &str = "<delegation-ledger>";

const BEGIN: &str =
    "Our login got slow last week. Have three things looked into in the background.";
const MEANWHILE: &str = "Good. Meanwhile: what is this project, in one sentence?";
const READ: &str = "What did the first one find?";
const OPEN: &str = "Where were we?";
const FOURTH: &str = "One more, please: have somebody look whether the login has tests.";
const AGAIN: &str = "I am back in a new window. What did we find out about the login?";
const AFTER: &str = "And what became of the fourth?";

/// Plays it.
pub(super) async fn play(sandbox: &Sandbox, script: &mut Transcript) -> Result<()> {
    say(&format!(
        "Brigade in OpenCode {VERSION}, on a scripted model: no API key, nothing leaves this machine."
    ));
    script.scene("Setting up");
    script.now(
        Who::Scene,
        &format!("a throwaway home and project: {}", sandbox.root().display()),
    );
    shell(sandbox, script, &["install", "opencode"]).await?;
    teach(sandbox);
    let server = Serve::start(sandbox).await?;
    script.now(Who::Scene, "opencode serve answers");
    let events = server.events().await?;
    let session = server.create("The slow login").await?.id;
    let mut parent = Parent {
        sandbox,
        server: &server,
        events: &events,
        session: &session,
    };

    let ids = delegate(&mut parent, script).await?;
    notices(&mut parent, script, &ids).await?;
    compaction(&mut parent, script, &ids).await?;
    waking(&mut parent, script, &ids).await?;
    let fourth = start_fourth(&mut parent, script).await?;
    let root = session.clone();
    drop(events);

    script.scene("The server is killed and started again");
    server.kill9().await?;
    script.now(
        Who::Scene,
        "kill -9 of opencode serve, while the fourth is at work",
    );
    drop(server);
    shell(sandbox, script, &["list"]).await?;
    let server = Serve::start(sandbox).await?;
    script.now(Who::Scene, "opencode serve answers again");
    let events = server.events().await?;
    let session = server.create("A new window").await?.id;
    let mut window = Parent {
        sandbox,
        server: &server,
        events: &events,
        session: &session,
    };
    restarted(&mut window, script, &ids).await?;
    let mut old = Parent {
        sandbox,
        server: &server,
        events: &events,
        session: &root,
    };
    continued(&mut old, script, &fourth).await?;

    script.scene("What is left on disk");
    artifacts(sandbox, script).await
}

/// A session that delegates.
struct Parent<'a> {
    sandbox: &'a Sandbox,
    server: &'a Serve,
    events: &'a Events,
    session: &'a str,
}

impl Parent<'_> {
    /// The person says something; shows what comes of it, and gives the turn's messages.
    async fn says(&mut self, script: &mut Transcript, text: &str) -> Result<Vec<Message>> {
        let before = self.server.messages(self.session).await?.len();
        self.server.prompt(self.session, text).await?;
        let messages = self.server.messages(self.session).await?;
        script.messages(&messages);
        Ok(messages.into_iter().skip(before).collect())
    }

    /// Waits until the session holds a delegation's notice.
    async fn notice(&self, script: &mut Transcript, id: &str) -> Result<()> {
        let opening = format!("<task-id>{id}</task-id>");
        self.events
            .wait_for(&format!("the notice of {id}"), LIMIT, |event| {
                let part = &event["properties"]["part"];
                part["sessionID"] == self.session
                    && part["text"]
                        .as_str()
                        .is_some_and(|text| text.contains(&opening))
            })
            .await?;
        script.messages(&self.server.messages(self.session).await?);
        Ok(())
    }

    /// Model requests made for this session.
    fn requests(&self) -> Vec<Record> {
        let mut turns = self.sandbox.model().turns();
        turns.retain(|turn| turn.session.as_deref() == Some(self.session));
        turns
    }
}

/// What the scripted model does with each sentence.
fn teach(sandbox: &Sandbox) {
    let model = sandbox.model();
    for piece in &PIECES {
        model.when(
            piece.prompt,
            piece.script(sandbox, Op::Gate(piece.gate.to_owned())),
        );
    }
    let call = |piece: &Piece| json!({"agent": piece.agent, "prompt": piece.prompt});
    let mut begin = Script::new().say("I have three agents look into it at once.");
    for piece in &PIECES[..3] {
        begin = begin.call("delegate", &call(piece));
    }
    model.when(BEGIN, begin.step().say("They are under way: {{delegation:1}}, {{delegation:2}} and {{delegation:3}}. What else?"));
    let readme = json!({"filePath": sandbox.project().join("README.md")});
    model.when(
        MEANWHILE,
        Script::new()
            .call("read", &readme)
            .step()
            .say("A small web shop: src/ has its server, docs/ what it promises."),
    );
    let first = json!({"id": "{{delegation:1}}"});
    model.when(
        READ,
        Script::new()
            .call("delegation_read", &first)
            .step()
            .say(format!("It found that {}.", PIECES[0].finding)),
    );
    model.when(OPEN, Script::saying("One result is there and unread, and one agent is still at work; I will be told when it ends."));
    model.when(
        FOURTH,
        Script::new()
            .call("delegate", &call(&PIECES[3]))
            .step()
            .say("Somebody is looking."),
    );
    model.when(
        AFTER,
        Script::saying(format!(
            "It was interrupted with the server, went on by itself, and found that {}.",
            PIECES[3].finding
        )),
    );
    // The continued run is told of the interruption instead of being asked anew.
    model.when(
        "Your work was interrupted",
        Script::saying(format!("# The login has no test\n\n{}.", PIECES[3].finding)),
    );
    model.configure(|defaults| {
        defaults.summary = "The person and I spoke about a slow login.".to_owned();
        defaults.notice = Script::new()
            .call("delegation_read", &json!({"id": "{{delegation}}"}))
            .step()
            .say(format!(
                "All three are back. The last one says that {}.",
                PIECES[2].finding
            ));
    });
}

async fn delegate(parent: &mut Parent<'_>, script: &mut Transcript) -> Result<Vec<String>> {
    script.scene("Three pieces are delegated, and the conversation goes on");
    let messages = parent.says(script, BEGIN).await?;
    let calls = tool_calls(&messages, "delegate");
    let ids: Vec<String> = calls.iter().filter_map(|call| started(call)).collect();
    script.expect(
        ids.len() == 3,
        "each call of delegate was answered with an ID",
    );
    if ids.len() != 3 {
        return Err(Error::Wrong(
            "without the three delegations there is nothing more to show".to_owned(),
        ));
    }
    let took: Vec<u64> = calls.iter().filter_map(|call| took_ms(call)).collect();
    for piece in &PIECES[..3] {
        parent.sandbox.model().reached(piece.gate, 1, LIMIT).await?;
    }
    let turns = parent.sandbox.model().turns();
    let begun = |piece: &Piece| {
        let first = turns
            .iter()
            .find(|turn| turn.contains(piece.prompt) && turn.parent_session.is_some());
        first.map_or(0, |turn| turn.received_ms)
    };
    let ended = |call: &serde_json::Value| call["state"]["time"]["end"].as_u64();
    let at_once = PIECES
        .iter()
        .zip(&calls)
        .all(|(piece, call)| ended(call).is_some_and(|ended| ended <= begun(piece)));
    script.expect(
        at_once,
        &format!("at once ({took:?} ms), before the agent's own model was first asked"),
    );
    script.now(Who::Scene, "all three agents are at work");
    let messages = parent.says(script, MEANWHILE).await?;
    script.expect(
        !answer(&messages).is_empty(),
        "the parent answers while they work",
    );
    let listed = list(parent.sandbox).await?;
    let running = listed
        .iter()
        .filter(|row| row["state"] == "running")
        .count();
    script.expect(running == 3, "all three are running");
    let children = parent.server.children(parent.session).await?;
    script.expect(
        children.len() == 3,
        "each has a child session of the parent, where the person can watch it",
    );
    let offered: Vec<Vec<String>> = children_tools(
        parent.sandbox,
        &children
            .iter()
            .map(|child| child.id.clone())
            .collect::<Vec<_>>(),
    );
    let writes = ["edit", "write", "apply_patch", "bash", "task", "delegate"];
    let closed = offered.iter().all(|tools| {
        !tools.is_empty()
            && writes
                .iter()
                .all(|tool| !tools.iter().any(|name| name == tool))
    });
    script.expect(
        closed,
        &format!(
            "an agent is offered {} and nothing that writes",
            offered
                .first()
                .map(|tools| tools.join(", "))
                .unwrap_or_default()
        ),
    );
    Ok(ids)
}

async fn notices(parent: &mut Parent<'_>, script: &mut Transcript, ids: &[String]) -> Result<()> {
    script.scene("Two end: the parent is told, and not disturbed");
    let before = parent.requests().len();
    for (piece, id) in PIECES.iter().zip(ids).take(2) {
        parent.sandbox.model().open(piece.gate);
        parent.notice(script, id).await?;
    }
    script.expect(
        parent.requests().len() == before,
        "neither notice cost a model request",
    );
    let messages = parent.says(script, READ).await?;
    let read = tool_calls(&messages, "delegation_read")
        .first()
        .and_then(|call| call["state"]["output"].as_str().map(str::to_owned));
    script.expect(
        read.is_some_and(|text| text.contains(PIECES[0].finding)),
        "delegation_read gives the first one's result",
    );
    Ok(())
}

async fn compaction(
    parent: &mut Parent<'_>,
    script: &mut Transcript,
    ids: &[String],
) -> Result<()> {
    script.scene("The conversation is compacted, and the model still knows what is open");
    parent.server.compact(parent.session).await?;
    script.messages(&parent.server.messages(parent.session).await?);
    let summarising = parent
        .sandbox
        .model()
        .records()
        .into_iter()
        .rfind(|record| record.kind == Kind::Compaction);
    script.expect(
        summarising.is_some_and(|record| record.contains(LEDGER)),
        "the request for the summary named what is open",
    );
    parent.says(script, OPEN).await?;
    let request = parent
        .requests()
        .pop()
        .filter(|request| request.contains(OPEN));
    let ledger = request.and_then(|request| {
        request
            .user_texts()
            .into_iter()
            .rfind(|text| text.contains(LEDGER))
    });
    script.now(
        Who::Scene,
        "the end of that request, as the model saw it; it is not stored in the session:",
    );
    script.now(
        Who::Unseen,
        ledger.as_deref().unwrap_or("nothing of the kind"),
    );
    let ledger = ledger.unwrap_or_default();
    script.expect(
        ledger.contains(&ids[1]),
        &format!("it names {}, which has ended and was not read", ids[1]),
    );
    script.expect(
        ledger.contains(&ids[2]),
        &format!("it names {}, which still runs", ids[2]),
    );
    script.expect(
        !ledger.contains(&ids[0]),
        &format!("it leaves out {}, which was read", ids[0]),
    );
    Ok(())
}

async fn waking(parent: &mut Parent<'_>, script: &mut Transcript, ids: &[String]) -> Result<()> {
    script.scene("The last one ends and wakes the parent");
    let model = parent.sandbox.model();
    let before = parent.requests().len();
    let seen = parent.events.all().len();
    model.open(PIECES[2].gate);
    let woken = model
        .wait_for("the waking request", LIMIT, |record| {
            is_waking(record, parent.session)
        })
        .await?;
    parent.events.idle(parent.session, seen, LIMIT).await?;
    script.messages(&parent.server.messages(parent.session).await?);
    let ended = model
        .records()
        .into_iter()
        .rfind(|record| record.parent_session.as_deref() == Some(parent.session));
    let late = ended
        .and_then(|child| child.answered_ms)
        .map(|ended| woken.received_ms.saturating_sub(ended));
    script.expect(
        late.is_some(),
        &format!(
            "the parent was asked to go on {} ms after the agent's model had ended",
            late.unwrap_or_default()
        ),
    );
    let woken = parent
        .requests()
        .into_iter()
        .skip(before)
        .filter(|record| record.step == 0)
        .count();
    script.expect(woken == 1, "it was woken once for the three of them");
    let texts = all_texts(&parent.server.messages(parent.session).await?);
    let once = ids
        .iter()
        .all(|id| texts.matches(&format!("<task-id>{id}</task-id>")).count() == 1);
    script.expect(once, "each notice stands in the session once");
    Ok(())
}

async fn start_fourth(parent: &mut Parent<'_>, script: &mut Transcript) -> Result<String> {
    script.scene("A fourth is begun");
    let messages = parent.says(script, FOURTH).await?;
    let id = tool_calls(&messages, "delegate")
        .first()
        .and_then(|call| started(call));
    script.expect(id.is_some(), "it was accepted");
    let id = id.ok_or_else(|| Error::Wrong("the fourth delegation was not accepted".to_owned()))?;
    parent
        .sandbox
        .model()
        .reached(PIECES[3].gate, 1, LIMIT)
        .await?;
    Ok(id)
}

async fn restarted(parent: &mut Parent<'_>, script: &mut Transcript, ids: &[String]) -> Result<()> {
    let find = Script::new()
        .call("delegation_list", &json!({"scope": "project"}))
        .step()
        .call("delegation_read", &json!({"id": ids[1]}))
        .step()
        .say(format!("Among other things, that {}.", PIECES[1].finding));
    parent.sandbox.model().when(AGAIN, find);
    let messages = parent.says(script, AGAIN).await?;
    let output = |tool: &str| {
        let calls = tool_calls(&messages, tool);
        calls
            .first()
            .and_then(|call| call["state"]["output"].as_str().map(str::to_owned))
            .unwrap_or_default()
    };
    let listed = output("delegation_list");
    script.expect(
        ids.iter().all(|id| listed.contains(id)),
        "another session of the project lists them all",
    );
    script.expect(
        output("delegation_read").contains(PIECES[1].finding),
        "and reads the second one's result",
    );
    Ok(())
}

async fn continued(parent: &mut Parent<'_>, script: &mut Transcript, id: &str) -> Result<()> {
    script.scene("The fourth went on by itself");
    let follow = shell(parent.sandbox, script, &["read", "--follow", id]).await?;
    script.expect(
        follow.contains(PIECES[3].finding),
        "it went on in Brigade's own server, with nobody's help, and has its answer",
    );
    script.expect(
        offered(parent.sandbox, id, LIMIT).await?,
        "its notice waits in the host",
    );
    script.now(
        Who::Scene,
        "back in the first conversation, where its notice waits for the person's next words:",
    );
    let messages = parent.says(script, AFTER).await?;
    let carried = messages
        .iter()
        .find(|message| message.role() == "user")
        .map(|message| all_texts(std::slice::from_ref(message)));
    script.expect(
        carried.is_some_and(|text| text.contains(NOTICE) && text.contains(id)),
        "the notice rode on that message",
    );
    let row = list(parent.sandbox)
        .await?
        .into_iter()
        .find(|row| row["id"] == id)
        .unwrap_or_default();
    script.expect(
        row["state"] == "complete" && row["attempt"] == 2,
        "it is complete, at its second attempt",
    );
    Ok(())
}

async fn artifacts(sandbox: &Sandbox, script: &mut Transcript) -> Result<()> {
    shell(sandbox, script, &["list"]).await?;
    let rows = list(sandbox).await?;
    script.expect(
        rows.len() == 4 && rows.iter().all(|row| row["state"] == "complete"),
        "all four are complete",
    );
    let mut whole = true;
    for row in &rows {
        let path = PathBuf::from(row["artifact"].as_str().unwrap_or_default());
        whole &= artifact(&path)?;
        script.now(Who::Scene, &path.display().to_string());
    }
    script.expect(
        whole,
        "the artifacts are there, whole, and for this user alone",
    );
    let found = shell(sandbox, script, &["search", "sixty", "times"]).await?;
    script.expect(
        found.contains(PIECES[1].title),
        "a search finds the second by its words",
    );
    Ok(())
}
