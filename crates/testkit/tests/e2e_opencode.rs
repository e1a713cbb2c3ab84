//! The rig against the real OpenCode.

use std::time::Duration;

use brigade_testkit::process::Exit;
use brigade_testkit::{Hold, Kind, Run, Sandbox, Script, Serve, Tui};
use serde_json::json;

const LIMIT: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_server_is_driven_and_listened_to() {
    let sandbox = Sandbox::new().await.unwrap();
    sandbox.mcp_server("echo").unwrap();
    sandbox
        .agent(
            "researcher",
            "mode: subagent\ndescription: Looks\nmodel: scripted/other\nvariant: high",
            "You look.",
        )
        .unwrap();
    let server = Serve::start(&sandbox).await.unwrap();
    let events = server.events().await.unwrap();

    // A tool of the host's and one over MCP in one step, then text.
    let session = server.create("First").await.unwrap();
    let script = Script::new()
        .call(
            "read",
            &json!({"filePath": sandbox.project().join("README.md")}),
        )
        .call("echo_shout", &json!({"text": "quiet"}))
        .step()
        .say("all read");
    let answer = server.prompt(&session.id, script).await.unwrap();
    assert_eq!(
        (answer.text().as_str(), answer.finish()),
        ("all read", Some("stop"))
    );
    assert_eq!(
        sandbox.mcp_calls("echo").unwrap(),
        [json!({"text": "quiet"})]
    );
    let turns = sandbox.model().turns();
    assert_eq!(turns.len(), 2);
    assert_eq!(turns[1].session.as_ref(), Some(&session.id));
    assert!(turns[1].contains("# A project") && turns[1].contains("QUIET"));
    events.idle(&session.id, 0, LIMIT).await.unwrap();

    // A child with an agent of the project: its model, its parent.
    let child = server
        .create_with(&json!({"parentID": session.id, "title": "Child"}))
        .await
        .unwrap();
    let body = json!({"agent": "researcher", "parts": [{"type": "text", "text": "look"}]});
    assert_eq!(
        server.prompt_with(&child.id, &body).await.unwrap().text(),
        "ok"
    );
    let turn = sandbox.model().turns().pop().unwrap();
    assert_eq!(
        (turn.model.as_str(), turn.parent_session.as_ref()),
        ("other", Some(&session.id))
    );
    let children = server.children(&session.id).await.unwrap();
    assert_eq!(
        children.iter().map(|child| &child.id).collect::<Vec<_>>(),
        [&child.id]
    );

    // A permission that is asked for and refused with a reason.
    let script = Script::new()
        .call("read", &json!({"filePath": "secret.env"}))
        .step()
        .say("without it");
    server.prompt_async(&session.id, script).await.unwrap();
    let asked = |event: &serde_json::Value| event["type"] == "permission.asked";
    let ask = events
        .wait_for("the permission", LIMIT, asked)
        .await
        .unwrap();
    let id = ask["properties"]["id"].as_str().unwrap();
    assert_eq!(server.permissions().await.unwrap().len(), 1);
    let before = events.all().len();
    server.reply(id, "reject", Some("not now")).await.unwrap();
    events.idle(&session.id, before, LIMIT).await.unwrap();
    assert_eq!(
        server
            .messages(&session.id)
            .await
            .unwrap()
            .pop()
            .unwrap()
            .text(),
        "without it"
    );

    // A compaction is told apart from a turn.
    server.compact(&session.id).await.unwrap();
    let records = sandbox.model().records();
    assert_eq!(
        records
            .iter()
            .filter(|record| record.kind == Kind::Compaction)
            .count(),
        1
    );
    server.prompt(&session.id, "and now").await.unwrap();
    assert!(
        sandbox
            .model()
            .turns()
            .pop()
            .unwrap()
            .contains("Summary: nothing special")
    );

    assert_eq!(server.kill9().await.unwrap(), Exit::Signal(9));
}

#[tokio::test]
async fn an_aborted_run_and_a_stopped_server_end_as_such() {
    let sandbox = Sandbox::new().await.unwrap();
    let server = Serve::start(&sandbox).await.unwrap();
    let session = server.create("Held").await.unwrap();
    server
        .prompt_async(&session.id, Script::new().gate("held").say("never"))
        .await
        .unwrap();
    sandbox.model().reached("held", 1, LIMIT).await.unwrap();
    assert_eq!(server.status().await.unwrap()[&session.id]["type"], "busy");
    server.abort(&session.id).await.unwrap();
    let gone = |record: &brigade_testkit::Record| {
        record.outcome == brigade_testkit::model::Outcome::Disconnected
    };
    sandbox
        .model()
        .wait_for("the abort", LIMIT, gone)
        .await
        .unwrap();

    // A tool that hangs until the test lets it go.
    let session = server.create("In a tool").await.unwrap();
    let hold = Hold::new(&sandbox, "tool").unwrap();
    let script = Script::new()
        .call(
            "bash",
            &json!({"command": hold.command(), "description": "wait"}),
        )
        .step()
        .say("on");
    let events = server.events().await.unwrap();
    server.prompt_async(&session.id, script).await.unwrap();
    let held = hold.reached(LIMIT).await.unwrap();
    assert_eq!(server.status().await.unwrap()[&session.id]["type"], "busy");
    drop(held);
    events.idle(&session.id, 0, LIMIT).await.unwrap();
    assert_eq!(
        server
            .messages(&session.id)
            .await
            .unwrap()
            .pop()
            .unwrap()
            .text(),
        "on"
    );
    server.stop().await.unwrap();
    assert!(server.process().has_exited());
}

#[tokio::test]
async fn a_run_prints_the_answer_and_ends() {
    let sandbox = Sandbox::new().await.unwrap();
    let script = Script::new()
        .call(
            "read",
            &json!({"filePath": sandbox.project().join("README.md")}),
        )
        .step()
        .say("it is a project");
    let run = Run::start(&sandbox, &script.to_string(), &[]).unwrap();
    let done = run.finished(LIMIT).await.unwrap();
    assert_eq!(done.code(), Some(0), "{done:?}");
    assert!(done.stdout.contains("it is a project"), "{done:?}");
}

#[tokio::test]
async fn the_terminal_ui_takes_a_prompt_and_shows_the_answer() {
    let sandbox = Sandbox::new().await.unwrap();
    let tui = Tui::start(&sandbox, &[]).await.unwrap();
    tui.line("::say hello from the model").await.unwrap();
    tui.until("the answer", LIMIT, |screen| {
        screen.matches("hello from the model").count() == 2
    })
    .await
    .unwrap();
    let script = Script::new()
        .call("read", &json!({"filePath": "README.md"}))
        .step()
        .say("read in the terminal");
    tui.paste(script).await.unwrap();
    let read = |record: &brigade_testkit::Record| record.contains("# A project");
    sandbox
        .model()
        .wait_for("the file's text", LIMIT, read)
        .await
        .unwrap();
    tui.until("the second answer", LIMIT, |screen| {
        // Its line as the model has written it, without the directive before it.
        screen
            .lines()
            .any(|line| line.trim().starts_with("read in the terminal"))
    })
    .await
    .unwrap();
    tui.keys("\x03").unwrap();
    tui.ended(LIMIT).await.unwrap();
}

/// A tool of a plugin that asks for an edit, and tells what came of it.
const ASKING: &str = r#"export default { id: "asking", server: async () => ({ tool: { edit_asked: {
  description: "Asks", args: {},
  async execute(_, context) {
    const asked = { permission: "edit", patterns: ["src/a.rs"], always: ["*"], metadata: { filepath: "src/a.rs" } };
    return await context.ask(asked).then(() => "passed", (error) => `refused: ${error?.message ?? error}`);
  },
} } }) };"#;

/// The bridge asks so before changes are applied: by the rules of the calling agent, else by the person.
#[tokio::test]
async fn a_tool_of_a_plugin_can_ask_for_an_edit() {
    let sandbox = Sandbox::new().await.unwrap();
    sandbox.plugin("asking.js", ASKING).unwrap();
    for rule in ["allow", "ask", "deny"] {
        let front = format!("mode: primary\ndescription: x\npermission:\n  edit: {rule}");
        sandbox.agent(rule, &front, "You are asked.").unwrap();
    }
    let server = Serve::start(&sandbox).await.unwrap();
    let events = server.events().await.unwrap();
    // The turn ends whatever is said; gives what the tool has told its model.
    let told = async |agent: &str, reply: Option<(&str, Option<&str>)>| {
        let session = server.create("Asks").await.unwrap();
        let script = Script::new()
            .call("edit_asked", &json!({}))
            .step()
            .say("went on");
        let body = json!({"agent": agent, "parts": [{"type": "text", "text": script.to_string()}]});
        let before = events.all().len();
        server.prompt_async_with(&session.id, &body).await.unwrap();
        if let Some((reply, message)) = reply {
            let asked = |event: &serde_json::Value| {
                event["type"] == "permission.asked"
                    && event["properties"]["sessionID"] == session.id.as_str()
            };
            let ask = events.wait_for("the ask", LIMIT, asked).await.unwrap();
            let ask = &ask["properties"];
            assert_eq!(
                (&ask["permission"], &ask["patterns"]),
                (&json!("edit"), &json!(["src/a.rs"]))
            );
            let id = ask["id"].as_str().unwrap();
            server.reply(id, reply, message).await.unwrap();
        }
        events.idle(&session.id, before, LIMIT).await.unwrap();
        let messages = server.messages(&session.id).await.unwrap();
        assert_eq!(messages.last().unwrap().text(), "went on");
        let tool = messages.iter().find_map(|m| m.parts_of("tool").next());
        tool.unwrap()["state"]["output"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    assert_eq!(told("allow", None).await, "passed");
    let denied = told("deny", None).await;
    assert!(
        denied.starts_with("refused: The user has specified a rule which prevents you"),
        "{denied}"
    );
    assert_eq!(told("ask", Some(("once", None))).await, "passed");
    let refused = told("ask", Some(("reject", None))).await;
    assert_eq!(
        refused,
        "refused: The user rejected permission to use this specific tool call."
    );
    let refused = told("ask", Some(("reject", Some("Leave it.")))).await;
    assert!(refused.contains("Leave it."), "{refused}");
    assert!(server.permissions().await.unwrap().is_empty());
}

/// The rule by which the simulated host goes, too.
#[tokio::test]
async fn what_was_posted_last_is_answered_once_whatever_its_id() {
    let sandbox = Sandbox::new().await.unwrap();
    let server = Serve::start(&sandbox).await.unwrap();
    let session = server.create("First").await.unwrap();
    let numbered = |number: u32| {
        let part = json!({"id": format!("prt_{number:012x}aaaaaaaaaaaaaa"), "type": "text", "text": number.to_string()});
        json!({"messageID": format!("msg_{number:012x}aaaaaaaaaaaaaa"), "parts": [part]})
    };
    let turns = async |body: &serde_json::Value| {
        server.prompt_with(&session.id, body).await.unwrap();
        sandbox.model().turns().len()
    };
    server.prompt(&session.id, "hello").await.unwrap();
    // An ID that is older than all others.
    assert_eq!(turns(&numbered(2)).await, 2);
    assert_eq!(turns(&numbered(2)).await, 2, "it is answered");
    assert_eq!(turns(&numbered(1)).await, 3);
    assert_eq!(turns(&numbered(2)).await, 4, "it is the latest again");
    let mut quiet = numbered(3);
    quiet["noReply"] = json!(true);
    assert_eq!(turns(&quiet).await, 4);
    // Stored once, and listed as it was stored first.
    let messages = server.messages(&session.id).await.unwrap();
    let prompts = messages.iter().filter(|message| message.role() == "user");
    let texts: Vec<String> = prompts.map(brigade_testkit::Message::text).collect();
    assert_eq!(texts, ["hello", "2", "1", "3"]);
}
