//! What a child may do, whatever its model tries.

use brigade_testkit::{Record, Script};
use serde_json::{Value, json};

use crate::rig::{LIMIT, READER, Rig, builder, outputs, started};

/// Every way to change something that the host has, each in a step of its own.
fn mischief(rig: &Rig) -> Script {
    let file = |name: &str| rig.sandbox.project().join(name);
    let edit = json!({"filePath": file("README.md"), "oldString": "project", "newString": "ruin"});
    let patch = "*** Begin Patch\n*** Add File: patched.txt\n+x\n*** End Patch";
    let calls = [
        (
            "bash",
            json!({"command": "touch by-bash", "description": "Writes"}),
        ),
        (
            "write",
            json!({"filePath": file("by-write"), "content": "x"}),
        ),
        ("edit", edit),
        ("apply_patch", json!({"patchText": patch})),
        (
            "task",
            json!({"description": "d", "prompt": "::call write {}", "subagent_type": "general"}),
        ),
        ("todowrite", json!({"todos": []})),
        ("delegate", json!({"agent": "explore", "prompt": "again"})),
    ];
    let tried = calls.iter().fold(Script::new(), |script, (tool, args)| {
        script.call(tool, args).step()
    });
    tried.say("I tried.")
}

const WRITING: [&str; 8] = [
    "bash",
    "write",
    "edit",
    "apply_patch",
    "task",
    "todowrite",
    "question",
    "delegate",
];

/// Has a person approve `command` in a root session, for always.
pub(crate) async fn approve_always(rig: &Rig, root: &str, command: &str) {
    let args = json!({"command": command, "description": "Runs"});
    let script = Script::new().call("bash", &args).step().say("went on");
    let seen = rig.events.all().len();
    rig.server.prompt_async(root, &script).await.unwrap();
    let ask = rig
        .events
        .wait_for("the ask", LIMIT, |event| {
            event["type"] == "permission.asked" && event["properties"]["permission"] == "bash"
        })
        .await
        .unwrap();
    let id = ask["properties"]["id"].as_str().unwrap();
    rig.server.reply(id, "always", None).await.unwrap();
    rig.events.idle(root, seen, LIMIT).await.unwrap();
    // Approved for always indeed: the next such command is run without a question.
    let again = rig.tool(root, "bash", &args).await;
    assert!(!again.contains("rule"), "{again}");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_child_can_write_even_where_a_person_approved_the_shell_for_always() {
    let sandbox = builder()
        .config("permission", json!({"bash": "ask"}))
        .build()
        .await
        .unwrap();
    sandbox.agent("reader", READER, "You read.").unwrap();
    sandbox
        .brigade_toml("[agent.general]\nrun = \"read-only\"\n")
        .unwrap();
    let rig = Rig::serve(sandbox).await;
    let root = rig.root().await;
    approve_always(&rig, &root, "touch approved").await;
    let before = rig.changed().await;
    assert_eq!(before.trim(), "?? approved");

    // `general` can write; a person may have it run read-only all the same.
    for agent in ["explore", "reader", "general"] {
        let id = rig.delegate(&root, agent, &mischief(&rig)).await;
        let (shown, _) = rig.ends_as(&id, "complete").await;
        assert_eq!(shown["access"], "enforced", "{agent}");
        assert_eq!(rig.changed().await, before, "{agent} wrote");
        let turns = rig.requests(shown["child"].as_str().unwrap());
        for turn in &turns {
            let offered = turn.tools();
            let open: Vec<&&str> = WRITING
                .iter()
                .filter(|tool| offered.iter().any(|offered| offered == *tool))
                .collect();
            assert!(open.is_empty(), "{agent} is offered {open:?}");
            assert!(offered.iter().any(|tool| tool == "read"), "{offered:?}");
            assert!(!turn.system().contains("# Background delegation"));
        }
        let told = turns.last().unwrap().tool_results();
        assert_eq!(told.len(), 7, "{told:#?}");
        for answer in told {
            assert!(answer.contains("unavailable tool"), "{agent}: {answer}");
        }
    }
    assert_eq!(
        rig.server.children(&root).await.unwrap().len(),
        3,
        "no child has begun another"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn agents_that_write_are_refused_with_guidance_and_unknown_ones_with_names() {
    let sandbox = builder().build().await.unwrap();
    sandbox.agent("reader", READER, "You read.").unwrap();
    sandbox
        .agent("careful", READER, "You are not to be asked.")
        .unwrap();
    sandbox
        .brigade_toml("[agent.careful]\nrun = \"refuse\"\n[server]\nenabled = false\n")
        .unwrap();
    let rig = Rig::serve(sandbox).await;
    let root = rig.root().await;
    let mut script = Script::new();
    for agent in ["general", "plan", "build", "nosuch", "careful", "explore"] {
        script = script.call("delegate", &json!({"agent": agent, "prompt": "::say done"}));
    }
    let messages = rig.turn(&root, &script.step().say("went on")).await;
    let answers = outputs(&messages, "delegate");
    for (agent, answer) in ["general", "plan", "build"].iter().zip(&answers) {
        assert!(answer.starts_with("Delegation refused: "), "{answer}");
        assert!(
            answer.contains(&format!("`task` tool with subagent_type \"{agent}\"")),
            "{answer}"
        );
    }
    assert!(
        answers[3].starts_with("Delegation refused: there is no agent \"nosuch\". Use one of: "),
        "{}",
        answers[3]
    );
    assert!(
        answers[3].contains("explore") && answers[3].contains("reader"),
        "{}",
        answers[3]
    );
    assert!(
        answers[4].contains("may not be delegated to"),
        "{}",
        answers[4]
    );
    let id = started(&answers[5]);
    rig.ends_as(&id, "complete").await;
    let listed = rig.json(&["list", "--json"]).await;
    assert_eq!(listed["delegations"].as_array().unwrap().len(), 1);
}

fn model_of(turn: &Record) -> (&str, Option<&str>) {
    (&turn.model, turn.body["reasoning_effort"].as_str())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_keeps_its_model_and_without_one_gets_the_parents() {
    let sandbox = builder().build().await.unwrap();
    let own = format!("{READER}\nmodel: scripted/other\nvariant: high");
    sandbox.agent("reader", &own, "You read.").unwrap();
    let rig = Rig::serve(sandbox).await;
    let root = rig.root().await;
    let work = Script::saying("done").to_string();
    let mut script = Script::new();
    for agent in ["reader", "explore"] {
        script = script.call("delegate", &json!({"agent": agent, "prompt": work}));
    }
    let parents = json!({"model": {"providerID": "scripted", "modelID": "main"}, "variant": "low"});
    let script = script.step().say("went on");
    let messages = rig.turn_with(&root, &script, &parents).await;
    let ids: Vec<String> = outputs(&messages, "delegate")
        .iter()
        .map(|answer| started(answer))
        .collect();
    for (id, expected) in ids
        .iter()
        .zip([("other", Some("high")), ("main", Some("low"))])
    {
        let (shown, artifact) = rig.ends_as(id, "complete").await;
        let turns = rig.requests(shown["child"].as_str().unwrap());
        assert_eq!(model_of(&turns[0]), expected, "{shown:#}");
        let (model, variant) = expected;
        let named = format!("scripted/{model}");
        assert!(
            artifact.contains(&format!("**Model:** {named}")),
            "{artifact}"
        );
        assert!(
            shown["model"].as_str().unwrap().starts_with(&named),
            "{shown:#} {variant:?}"
        );
    }
    // The parent's later turns are as before: with its own agent, model and variant.
    let woken = rig
        .sandbox
        .model()
        .wait_for("the waking", LIMIT, |turn| {
            turn.session.as_deref() == Some(&*root) && turn.prompt.contains("<task-notification>")
        })
        .await
        .unwrap();
    assert_eq!(model_of(&woken), ("main", Some("low")));
}

#[tokio::test(flavor = "multi_thread")]
async fn mcp_tools_reach_a_child_as_its_agents_rules_say() {
    let sandbox = builder().build().await.unwrap();
    sandbox.mcp_server("echo").unwrap();
    let named = "description: Reads\nmode: subagent\npermission:\n  \"*\": allow\n  edit: deny\n  bash: deny\n  task: deny\n  echo_shout: allow";
    let closed = format!("{READER}\n  \"echo_*\": deny");
    for (agent, front) in [("any", READER), ("named", named), ("closed", &closed)] {
        sandbox.agent(agent, front, "You read.").unwrap();
    }
    let rig = Rig::serve(sandbox).await;
    let root = rig.root().await;
    let shout = |text: &str| {
        Script::new()
            .call("echo_shout", &json!({ "text": text }))
            .step()
            .say("I shouted.")
    };
    let run = async |agent: &str, text: &str| -> (Value, String) {
        let id = rig.delegate(&root, agent, &shout(text)).await;
        let (shown, _) = rig.ends_as(&id, "complete").await;
        let told = rig.told(&shown).remove(0);
        (shown, told)
    };
    for agent in ["any", "named"] {
        let (shown, told) = run(agent, &format!("by {agent}")).await;
        assert!(
            told.contains(&format!("BY {}", agent.to_uppercase())),
            "{told}"
        );
        let access = shown["access"].as_str().unwrap();
        assert!(access.starts_with("read-only by rule: "), "{shown:#}");
        assert!(access.contains("MCP tools echo_"), "{shown:#}");
        let text = rig
            .sandbox
            .brigade(&["show", shown["id"].as_str().unwrap()])
            .await;
        assert!(text.unwrap().stdout.contains("MCP tools echo_"));
    }
    for agent in ["closed", "explore"] {
        let (shown, told) = run(agent, "too loud").await;
        assert!(told.contains("unavailable tool"), "{told}");
        assert_eq!(shown["access"], "enforced", "{agent}");
    }

    // A project may tighten: then only what is allowed by name is left.
    rig.sandbox
        .write(".brigade.toml", "[guard]\nmcp = \"named\"\n")
        .unwrap();
    let (shown, told) = run("any", "too loud").await;
    assert!(told.contains("unavailable tool"), "{told}");
    assert_eq!(shown["access"], "enforced");
    let (shown, told) = run("named", "still by name").await;
    assert!(told.contains("STILL BY NAME"), "{told}");
    assert!(
        shown["access"]
            .as_str()
            .unwrap()
            .contains("MCP tools echo_shout"),
        "{shown:#}"
    );
    let calls = rig.sandbox.mcp_calls("echo").unwrap();
    assert_eq!(calls.len(), 3, "{calls:?}");
}
