//! A sandbox with the bridge and a server in it, and what a test does there.

use std::path::Path;
use std::time::Duration;

use brigade_testkit::{Events, Message, Record, Sandbox, SandboxBuilder, Script, Serve};
use serde_json::{Value, json};

/// How long anything may take on a busy machine.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// The front matter of an agent that only reads.
pub(crate) const READER: &str =
    "description: Reads\nmode: subagent\npermission:\n  edit: deny\n  bash: deny\n  task: deny";

/// OpenCode with Brigade in it. The fields are dropped in this order: the host before its files.
pub(crate) struct Rig {
    pub(crate) events: Events,
    pub(crate) server: Serve,
    pub(crate) sandbox: Sandbox,
}

/// A sandbox with the bridge, on the binary of this build.
pub(crate) fn builder() -> SandboxBuilder {
    Sandbox::builder()
        .bridge()
        .brigade(env!("CARGO_BIN_EXE_brigade"))
}

impl Rig {
    /// With Brigade's config set to `toml`.
    pub(crate) async fn new(toml: &str) -> Self {
        let sandbox = builder().build().await.unwrap();
        sandbox.brigade_toml(toml).unwrap();
        Self::serve(sandbox).await
    }

    /// In a sandbox that is ready.
    pub(crate) async fn serve(sandbox: Sandbox) -> Self {
        let server = Serve::start(&sandbox).await.unwrap();
        let events = server.events().await.unwrap();
        Self {
            events,
            server,
            sandbox,
        }
    }

    /// A new root session.
    pub(crate) async fn root(&self) -> String {
        self.server.create("Root").await.unwrap().id
    }

    /// A turn of the model in a session; gives the messages that came of it.
    pub(crate) async fn turn(&self, session: &str, script: &Script) -> Vec<Message> {
        self.turn_with(session, script, &json!({})).await
    }

    /// As [`Self::turn`], with more fields of the prompt.
    pub(crate) async fn turn_with(
        &self,
        session: &str,
        script: &Script,
        fields: &Value,
    ) -> Vec<Message> {
        let before = self.server.messages(session).await.unwrap().len();
        let mut body =
            json!({"agent": "build", "parts": [{"type": "text", "text": script.to_string()}]});
        for (key, value) in fields.as_object().unwrap() {
            body[key] = value.clone();
        }
        self.server.prompt_with(session, &body).await.unwrap();
        let messages = self.server.messages(session).await.unwrap();
        messages.into_iter().skip(before).collect()
    }

    /// Has the model of a session call one tool; gives what it was told.
    pub(crate) async fn tool(&self, session: &str, tool: &str, args: &Value) -> String {
        let script = Script::new().call(tool, args).step().say("went on");
        let messages = self.turn(session, &script).await;
        let outputs = outputs(&messages, tool);
        assert_eq!(outputs.len(), 1, "{tool} was called once: {messages:?}");
        outputs[0].clone()
    }

    /// Delegates `work` to an agent.
    pub(crate) async fn delegate(&self, session: &str, agent: &str, work: &Script) -> String {
        let args = json!({"agent": agent, "prompt": work.to_string()});
        started(&self.tool(session, "delegate", &args).await)
    }

    /// Runs `brigade`, which must succeed and print JSON.
    pub(crate) async fn json(&self, args: &[&str]) -> Value {
        let done = self.sandbox.brigade(args).await.unwrap();
        assert_eq!(done.code(), Some(0), "{args:?}: {done:?}");
        done.json().unwrap()
    }

    /// What `brigade show` says of a delegation.
    pub(crate) async fn show(&self, id: &str) -> Value {
        self.json(&["show", id, "--json"]).await
    }

    /// Waits until it has ended, and shows it.
    pub(crate) async fn ended(&self, id: &str) -> Value {
        let follow = self.sandbox.brigade(&["read", "--follow", id]).await;
        let shown = self.show(id).await;
        assert_eq!(
            shown["phase"],
            "ended",
            "{follow:?} {shown:#}\n{}",
            self.log()
        );
        shown
    }

    /// The end of the daemon's log, for a test that fails.
    fn log(&self) -> String {
        let folder = self.sandbox.brigade_data().join("logs");
        let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let texts = files.filter_map(|file| std::fs::read_to_string(file.path()).ok());
        let all: Vec<String> = texts
            .flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>())
            .collect();
        all[all.len().saturating_sub(40)..].join("\n")
    }

    /// Waits for the end, which must be this one; gives the details and the artifact.
    pub(crate) async fn ends_as(&self, id: &str, state: &str) -> (Value, String) {
        let shown = self.ended(id).await;
        assert_eq!(shown["state"], state, "{shown:#}\n{}", self.log());
        let artifact = artifact(&shown);
        assert!(
            artifact.contains(&format!("\n**Status:** {state}\n")),
            "{artifact}"
        );
        (shown, artifact)
    }

    /// Waits for a delegation's notice in a session; gives its text for the model.
    pub(crate) async fn notice(&self, session: &str, id: &str) -> String {
        let opening = format!("<task-id>{id}</task-id>");
        let event = self
            .events
            .wait_for(&format!("the notice of {id}"), LIMIT, |event| {
                let part = &event["properties"]["part"];
                part["sessionID"] == session
                    && part["text"]
                        .as_str()
                        .is_some_and(|text| text.contains(&opening))
            })
            .await
            .unwrap();
        let text = &event["properties"]["part"]["text"];
        text.as_str().unwrap().to_owned()
    }

    /// How many notices of a delegation are stored in a session.
    pub(crate) async fn notices(&self, session: &str, id: &str) -> usize {
        let messages = self.server.messages(session).await.unwrap();
        let texts: Vec<String> = messages.iter().map(Message::text).collect();
        let opening = format!("<task-id>{id}</task-id>");
        texts.join("\n").matches(&opening).count()
    }

    /// The model requests of a session.
    pub(crate) fn requests(&self, session: &str) -> Vec<Record> {
        let mut turns = self.sandbox.model().turns();
        turns.retain(|turn| turn.session.as_deref() == Some(session));
        turns
    }

    /// What the child's model was told by its tools.
    pub(crate) fn told(&self, shown: &Value) -> Vec<String> {
        let child = shown["child"].as_str().unwrap();
        self.requests(child).last().unwrap().tool_results()
    }

    /// What git sees changed in the project; a file's name each.
    pub(crate) async fn changed(&self) -> String {
        let status = [
            "status",
            "--porcelain",
            "--untracked-files=all",
            "--",
            ":!.opencode",
        ];
        self.sandbox.git(&status).await.unwrap()
    }
}

/// What calls of a tool were answered with, errors too.
pub(crate) fn outputs(messages: &[Message], tool: &str) -> Vec<String> {
    let parts = messages.iter().flat_map(|message| &message.parts);
    parts
        .filter(|part| part["type"] == "tool" && part["tool"] == tool)
        .map(|part| {
            let state = &part["state"];
            let said = state["output"].as_str().or_else(|| state["error"].as_str());
            said.unwrap_or_default().to_owned()
        })
        .collect()
}

/// The ID in the answer of an accepted call.
pub(crate) fn started(answer: &str) -> String {
    let id = answer
        .strip_prefix("Delegation started: ")
        .unwrap_or_else(|| panic!("not accepted: {answer}"));
    id.lines().next().unwrap().to_owned()
}

/// The artifact that `brigade show` names.
pub(crate) fn artifact(shown: &Value) -> String {
    let path = shown["artifact"].as_str().expect("an artifact is named");
    std::fs::read_to_string(Path::new(path)).unwrap()
}

/// The answer in an artifact, without what stands above it.
pub(crate) fn answer(artifact: &str) -> &str {
    artifact.split_once("\n---\n\n").unwrap().1
}
