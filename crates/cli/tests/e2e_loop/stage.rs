//! What these tests share: a host that is listened to, and a session in it that delegates.

use std::ops::Deref;
use std::time::{Duration, Instant};

use brigade_testkit::model::Outcome;
use brigade_testkit::{Events, Kind, Message, Record, Sandbox, Script, Serve};
use serde_json::{Value, json};

/// How long anything may take on a busy machine.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);
/// Opens a notice.
pub(crate) const NOTICE: &str = "<task-notification>";
/// Opens what the model sees of open delegations.
pub(crate) const LEDGER: &str = "<delegation-ledger>";
/// What a continued run is told first.
pub(crate) const CONTINUED: &str = "Your work was interrupted";

/// A sandbox with the bridge, the program of this build, and a configuration.
pub(crate) async fn sandbox(config: &str) -> Sandbox {
    let sandbox = Sandbox::builder()
        .bridge()
        .brigade(env!("CARGO_BIN_EXE_brigade"))
        .build()
        .await
        .unwrap();
    sandbox.brigade_toml(config).unwrap();
    sandbox
}

/// A prompt for a child that does as `script` says; the name makes it unlike any other.
#[expect(
    clippy::needless_pass_by_value,
    reason = "a script is built in place and used up by this"
)]
pub(crate) fn work(name: &str, script: Script) -> String {
    format!("Look into {name}.\n{script}")
}

/// A child that hangs at a gate of its own name and then answers shortly.
pub(crate) fn gated(name: &str) -> String {
    work(name, Script::new().gate(name).say(answer(name)))
}

/// What such a child answers.
pub(crate) fn answer(name: &str) -> String {
    format!("# About {name}\n\nWhat {name} is.\n\nAll of {name}.")
}

/// A step that delegates all of these at once.
pub(crate) fn delegating(works: &[String]) -> Script {
    works.iter().fold(Script::new(), |script, prompt| {
        script.call("delegate", &json!({"agent": "explore", "prompt": prompt}))
    })
}

/// `opencode serve` with its events.
pub(crate) struct Host {
    pub(crate) serve: Serve,
    pub(crate) events: Events,
}

impl Deref for Host {
    type Target = Serve;

    fn deref(&self) -> &Serve {
        &self.serve
    }
}

impl Host {
    pub(crate) async fn start(sandbox: &Sandbox) -> Self {
        let serve = Serve::start(sandbox).await.unwrap();
        let events = serve.events().await.unwrap();
        Self { serve, events }
    }
}

/// A root session that delegates.
pub(crate) struct Parent<'a> {
    pub(crate) sandbox: &'a Sandbox,
    pub(crate) host: &'a Host,
    pub(crate) id: String,
}

impl<'a> Parent<'a> {
    pub(crate) async fn open(sandbox: &'a Sandbox, host: &'a Host, title: &str) -> Self {
        let id = host.create(title).await.unwrap().id;
        Self { sandbox, host, id }
    }

    /// The same session in another host.
    pub(crate) fn in_host(&self, host: &'a Host) -> Self {
        Self {
            sandbox: self.sandbox,
            host,
            id: self.id.clone(),
        }
    }

    /// The person speaks; gives the end of the turn.
    pub(crate) async fn says(&self, text: impl ToString) -> Message {
        self.host.prompt(&self.id, text).await.unwrap()
    }

    /// The person speaks, and the turn is not awaited.
    pub(crate) async fn begins(&self, text: impl ToString) {
        self.host.prompt_async(&self.id, text).await.unwrap();
    }

    pub(crate) async fn messages(&self) -> Vec<Message> {
        self.host.messages(&self.id).await.unwrap()
    }

    /// The IDs that `delegate` has answered in this session, oldest first.
    pub(crate) async fn delegations(&self) -> Vec<String> {
        let messages = self.messages().await;
        let outputs = messages
            .iter()
            .flat_map(|message| message.parts_of("tool"))
            .filter(|part| part["tool"] == "delegate");
        outputs
            .map(|part| {
                let output = part["state"]["output"].as_str().unwrap_or_default();
                let id = output
                    .strip_prefix("Delegation started: ")
                    .and_then(|rest| rest.lines().next());
                id.unwrap_or_else(|| panic!("no ID in {part}")).to_owned()
            })
            .collect()
    }

    /// The steps that the model was asked for in this session.
    pub(crate) fn requests(&self) -> Vec<Record> {
        turns_of(self.sandbox, &self.id)
    }

    /// Waits until `count` steps of this session were asked for and are over, and for the end of that turn.
    pub(crate) async fn answered(&self, count: usize) -> Vec<Record> {
        let of_session = |record: &Record| {
            record.kind == Kind::Turn
                && record.session.as_ref() == Some(&self.id)
                && record.outcome != Outcome::Pending
        };
        let what = format!("{count} requests of {}", self.id);
        let model = self.sandbox.model();
        model
            .wait_for_count(&what, count, LIMIT, of_session)
            .await
            .unwrap();
        self.rest().await;
        self.requests()
    }

    /// Waits until the session is idle for now.
    pub(crate) async fn rest(&self) {
        let what = format!("{} to be idle", self.id);
        self.host
            .events
            .until(&what, LIMIT, |events| {
                let last = events.iter().rfind(|event| {
                    event["type"] == "session.status" && event["properties"]["sessionID"] == self.id
                });
                (last?["properties"]["status"]["type"] == "idle").then_some(())
            })
            .await
            .unwrap();
    }

    /// Waits until a delegation's notice stands in this session.
    pub(crate) async fn notice(&self, id: &str) {
        let opening = task_id(id);
        self.host
            .events
            .wait_for(&format!("the notice of {id}"), LIMIT, |event| {
                let part = &event["properties"]["part"];
                part["sessionID"] == self.id
                    && part["text"]
                        .as_str()
                        .is_some_and(|text| text.contains(&opening))
            })
            .await
            .unwrap();
    }

    /// Waits until a tool of this session runs.
    pub(crate) async fn tool_runs(&self, tool: &str) {
        self.host
            .events
            .wait_for(&format!("{tool} to run"), LIMIT, |event| {
                let part = &event["properties"]["part"];
                part["sessionID"] == self.id
                    && part["tool"] == tool
                    && part["state"]["status"] == "running"
            })
            .await
            .unwrap();
    }

    /// What a tool has answered in this session, oldest first.
    pub(crate) async fn outputs(&self, tool: &str) -> Vec<String> {
        let messages = self.messages().await;
        let parts = messages.iter().flat_map(|message| message.parts_of("tool"));
        parts
            .filter(|part| part["tool"] == tool)
            .map(|part| {
                let output = part["state"]["output"].as_str();
                output
                    .or(part["state"]["error"].as_str())
                    .unwrap_or_default()
                    .to_owned()
            })
            .collect()
    }

    /// Each of these notices stands in the session once, for the model and for the person, and never
    /// twice in what the model is sent; in the last request each is there.
    pub(crate) async fn assert_told_once(&self, ids: &[String]) {
        let messages = self.messages().await;
        for id in ids {
            let told: Vec<&Message> = messages
                .iter()
                .filter(|message| text_parts(message).any(|part| is_notice(part, id)))
                .collect();
            assert_eq!(told.len(), 1, "messages with the notice of {id}");
            let (for_model, for_person): (Vec<_>, Vec<_>) = text_parts(told[0])
                .filter(|part| {
                    part["text"]
                        .as_str()
                        .unwrap_or_default()
                        .contains(id.as_str())
                })
                .partition(|part| part["synthetic"] == true);
            let counts = (for_model.len(), for_person.len());
            assert_eq!(counts, (1, 1), "parts of the notice of {id}: {:?}", told[0]);
            assert_eq!(for_person[0]["ignored"], true);
            let line = for_person[0]["text"].as_str().unwrap();
            let requests = self.requests();
            for request in &requests {
                let said = request.body.to_string();
                assert!(
                    said.matches(&task_id(id)).count() <= 1,
                    "{id} twice: {said}"
                );
                assert!(
                    !request.contains(line),
                    "the person's line went to the model"
                );
            }
            let last = requests.last().unwrap();
            assert!(
                last.contains(&task_id(id)),
                "the last request lacks the notice of {id}"
            );
        }
        let all: usize = messages
            .iter()
            .flat_map(text_parts)
            .filter_map(|part| part["text"].as_str())
            .map(|text| text.matches("<task-id>").count())
            .sum();
        assert_eq!(all, ids.len(), "notices in the session");
    }
}

pub(crate) fn task_id(id: &str) -> String {
    format!("<task-id>{id}</task-id>")
}

fn text_parts(message: &Message) -> impl Iterator<Item = &Value> {
    message.parts.iter().filter(|part| part["type"] == "text")
}

fn is_notice(part: &Value, id: &str) -> bool {
    let text = part["text"].as_str().unwrap_or_default();
    text.contains(&task_id(id))
}

/// The steps that the model was asked for in a session.
pub(crate) fn turns_of(sandbox: &Sandbox, session: &str) -> Vec<Record> {
    let mut turns = sandbox.model().turns();
    turns.retain(|turn| turn.session.as_deref() == Some(session));
    turns
}

/// Whether the conversation of a request holds this; the system text, which explains it, is left out.
pub(crate) fn in_conversation(request: &Record, needle: &str) -> bool {
    let texts = [request.user_texts(), request.tool_results()];
    texts.iter().flatten().any(|text| text.contains(needle))
}

/// How often a child was asked to begin with the work of this name.
pub(crate) fn begun(sandbox: &Sandbox, name: &str) -> usize {
    let opening = format!("Look into {name}.");
    let turns = sandbox.model().turns();
    let of_child = turns
        .iter()
        .filter(|turn| turn.parent_session.is_some() && turn.prompt.contains(&opening));
    of_child.count()
}

/// Waits until a delegation has ended, as a person would: gives its text.
pub(crate) async fn ended(sandbox: &Sandbox, id: &str) -> String {
    let done = sandbox.brigade(&["read", id, "--follow"]).await;
    let Ok(done) = done else {
        panic!("{id} did not end: {:#}", show(sandbox, id).await);
    };
    assert_eq!(done.code(), Some(0), "{done:?}");
    done.stdout
}

/// Everything about a delegation.
pub(crate) async fn show(sandbox: &Sandbox, id: &str) -> Value {
    let done = sandbox.brigade(&["show", id, "--json"]).await.unwrap();
    assert_eq!(done.code(), Some(0), "{done:?}");
    done.json().unwrap()
}

/// Asks about a delegation until it is as wanted: for what no event tells.
pub(crate) async fn shown(
    sandbox: &Sandbox,
    id: &str,
    what: &str,
    wanted: impl Fn(&Value) -> bool,
) -> Value {
    let began = Instant::now();
    loop {
        let shown = show(sandbox, id).await;
        if wanted(&shown) {
            return shown;
        }
        assert!(
            began.elapsed() < LIMIT,
            "{id}: {what} did not come: {shown:#}"
        );
    }
}

/// A whole delegation in another session, from the call to the waking: whatever else the daemon had to
/// send by then has been sent.
pub(crate) async fn others_were_served(sandbox: &Sandbox, host: &Host) {
    let other = Parent::open(sandbox, host, "Another").await;
    let name = format!("something else for {}", other.id);
    let script = delegating(&[work(&name, Script::saying("done"))])
        .step()
        .say("begun");
    other.says(script).await;
    other.answered(3).await;
}
