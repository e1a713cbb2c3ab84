//! Runs in the real OpenCode, over HTTP, with the scripted model.
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use brigade_agents::opencode::{
    AbortVerdict, Api, DriveOutcome, Ended, Fenced, HttpTransport, Progress, PromptBody, Refusal,
    RunLog, RunSpec, Signal, drive,
};
use brigade_core::delegation::{Actor, Model, RunEnd, StopCause};
use brigade_core::id::{Attempt, SessionId};
use brigade_core::permission::Rule;
use brigade_testkit::{Kind, Sandbox, Serve};
use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::json;
use tokio::sync::{broadcast, mpsc, watch};
use tokio::task::JoinHandle;

const PATIENCE: Duration = Duration::from_secs(60);

/// What a run reported.
struct Log {
    lines: Mutex<Vec<String>>,
    child: watch::Sender<Option<SessionId>>,
    partial: watch::Sender<String>,
    verdict: AbortVerdict,
}

impl Log {
    fn new(verdict: AbortVerdict) -> Arc<Self> {
        Arc::new(Self {
            lines: Mutex::default(),
            child: watch::Sender::new(None),
            partial: watch::Sender::new(String::new()),
            verdict,
        })
    }

    fn note(&self, line: impl Into<String>) -> BoxFuture<'_, Result<(), Fenced>> {
        self.lines.lock().unwrap().push(line.into());
        async { Ok(()) }.boxed()
    }

    fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }

    async fn child(&self) -> SessionId {
        let mut child = self.child.subscribe();
        let child = child.wait_for(Option::is_some).await.unwrap();
        child.clone().unwrap()
    }

    async fn partial(&self, text: &str) {
        let mut partial = self.partial.subscribe();
        let _held = partial
            .wait_for(|partial| partial.contains(text))
            .await
            .unwrap();
    }
}

impl RunLog for Log {
    fn watch<'a>(&'a self, _session: &'a SessionId) -> BoxFuture<'a, ()> {
        async {}.boxed()
    }

    fn message(&self, _number: u32) -> BoxFuture<'_, Result<String, Fenced>> {
        async { Err(Fenced) }.boxed()
    }

    fn child_ready<'a>(&'a self, session: &'a SessionId) -> BoxFuture<'a, Result<(), Fenced>> {
        self.child.send_replace(Some(session.clone()));
        self.note("child")
    }

    fn prompted(&self) -> BoxFuture<'_, Result<(), Fenced>> {
        self.note("prompted")
    }

    fn progress<'a>(
        &'a self,
        _progress: &'a Progress,
        partial: Option<&'a str>,
        _ran_ms: u64,
    ) -> BoxFuture<'a, Result<(), Fenced>> {
        if let Some(partial) = partial {
            self.partial.send_replace(partial.to_owned());
        }
        async { Ok(()) }.boxed()
    }

    fn refused(&self, refusal: Refusal) -> BoxFuture<'_, Result<(), Fenced>> {
        self.note(format!("refused {}", refusal.words()))
    }

    fn stop(&self, cause: StopCause) -> BoxFuture<'_, Result<(), Fenced>> {
        self.note(format!("stop {cause:?}"))
    }

    fn stray<'a>(&'a self, session: &'a SessionId) -> BoxFuture<'a, ()> {
        self.note(format!("stray {session}")).map(drop).boxed()
    }

    fn unordered_abort(&self) -> BoxFuture<'_, AbortVerdict> {
        let verdict = self.verdict.clone();
        self.note("unordered abort").map(move |_| verdict).boxed()
    }
}

/// A server with its events, heard by every run.
struct Host {
    serve: Serve,
    transport: Arc<HttpTransport>,
    events: broadcast::Sender<Signal>,
    directory: String,
    parent: SessionId,
}

impl Host {
    async fn start(sandbox: &Sandbox, parent: Option<SessionId>) -> Self {
        let serve = Serve::start(sandbox).await.unwrap();
        let base = serve
            .process()
            .line(PATIENCE, |line| {
                line.split_once("listening on ")
                    .map(|(_, base)| base.trim().to_owned())
            })
            .await
            .unwrap();
        let directory = sandbox.project().to_str().unwrap().to_owned();
        let transport = Arc::new(HttpTransport::new(base, None).unwrap());
        let (events, _) = broadcast::channel(100_000);
        let mut stream = transport.events(&directory).await.unwrap();
        let sender = events.clone();
        tokio::spawn(async move {
            while let Some(event) = stream.next().await {
                // Before the first run and after the last nobody listens.
                let _nobody = sender.send(Signal::Event(Box::new(event)));
            }
        });
        let parent = match parent {
            Some(parent) => parent,
            None => serve.create("parent").await.unwrap().id.parse().unwrap(),
        };
        Self {
            serve,
            transport,
            events,
            directory,
            parent,
        }
    }

    fn api(&self) -> Api {
        Api::new(self.transport.clone(), self.directory.clone())
    }

    fn spec(&self, delegation: &str, prompt: &str) -> RunSpec {
        RunSpec {
            delegation: delegation.parse().unwrap(),
            attempt: Attempt(1),
            registered_ms: 1_795_000_000_000,
            parent: self.parent.clone(),
            directory: self.directory.clone(),
            title: delegation.to_owned(),
            rules: vec![Rule::close("task")],
            agent: "reader".to_owned(),
            model: None,
            system: None,
            prompt: prompt.to_owned(),
            continuation: "Go on.\n::say went on".to_owned(),
            child: None,
            fresh: true,
            collect: false,
            spent_ms: 0,
            max_run_ms: None,
            stall_ms: None,
        }
    }

    fn drive(&self, spec: RunSpec, verdict: AbortVerdict) -> Driving {
        let log = Log::new(verdict);
        let (signals, receiver) = mpsc::channel(1_000);
        let (stop, stopped) = watch::channel(None);
        let (messages, sent) = watch::channel(0);
        let mut events = self.events.subscribe();
        let sender = signals.clone();
        let pump = tokio::spawn(async move {
            while let Ok(signal) = events.recv().await {
                if sender.send(signal).await.is_err() {
                    return;
                }
            }
        });
        let run = tokio::spawn(drive(
            spec,
            self.transport.clone(),
            receiver,
            stopped,
            sent,
            log.clone(),
        ));
        Driving {
            run,
            signals: Some(signals),
            pump,
            stop,
            _messages: messages,
            log,
        }
    }
}

struct Driving {
    run: JoinHandle<DriveOutcome>,
    signals: Option<mpsc::Sender<Signal>>,
    pump: JoinHandle<()>,
    stop: watch::Sender<Option<StopCause>>,
    _messages: watch::Sender<u32>,
    log: Arc<Log>,
}

impl Driving {
    async fn outcome(self) -> DriveOutcome {
        tokio::time::timeout(PATIENCE, self.run)
            .await
            .unwrap()
            .unwrap()
    }

    async fn ended(self) -> Ended {
        match self.outcome().await {
            DriveOutcome::Ended(ended) => ended,
            other => panic!("not ended: {other:?}"),
        }
    }

    /// Leaves the run alone, as a daemon that ends does.
    async fn detach(mut self) {
        self.pump.abort();
        let _aborted = (&mut self.pump).await;
        self.signals.take();
        assert!(matches!(
            self.outcome().await,
            DriveOutcome::Detached { .. }
        ));
    }
}

async fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new().await.unwrap();
    let front = "description: reads\nmode: subagent\npermission:\n  edit: deny\n  bash: ask";
    sandbox.agent("reader", front, "You read.").unwrap();
    sandbox
}

fn by_person() -> AbortVerdict {
    AbortVerdict::ByPerson
}

fn cancel() -> StopCause {
    StopCause::Cancel { by: Actor::Person }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn runs_end_as_what_they_are() {
    let sandbox = sandbox().await;
    sandbox.write("notes.txt", "the secret is 42").unwrap();
    let host = Host::start(&sandbox, None).await;
    let run =
        |delegation: &str, prompt: &str| host.drive(host.spec(delegation, prompt), by_person());

    let answer = run("a-plain-answer", "::say # Title\n::say the text");
    let notes = sandbox.project().join("notes.txt");
    let tool = run(
        "a-tool-call",
        &format!(
            "::say let me look\n::call read {{\"filePath\":{:?}}}\n::step\n::say it is 42",
            notes.to_str().unwrap()
        ),
    );
    let refused = run("a-bad-key", "::fail 401 bad key");
    let empty = run("an-empty-answer", "::empty");
    let dropped = run(
        "a-dropped-stream",
        "::say begun\n::drop times=1\n::say ended",
    );
    let asked = run(
        "an-open-ask",
        "::call bash {\"command\":\"ls\",\"description\":\"lists\"}\n::step\n::say without bash",
    );
    let no_agent = host.drive(
        RunSpec {
            agent: "nobody".to_owned(),
            ..host.spec("an-unknown-agent", "::say x")
        },
        by_person(),
    );
    let model = Model {
        provider: "scripted".to_owned(),
        model: "nope".to_owned(),
        variant: None,
    };
    let no_model = host.drive(
        RunSpec {
            model: Some(model),
            ..host.spec("an-unknown-model", "::say x")
        },
        by_person(),
    );

    let child = answer.log.child().await;
    let answer = answer.ended().await;
    assert_eq!(
        (answer.end, answer.answer.as_str()),
        (RunEnd::Answered, "# Title\nthe text")
    );
    assert!(answer.usage.as_ref().unwrap().tokens.input > 0);

    let tool = tool.ended().await;
    assert_eq!(
        (
            tool.end,
            tool.answer.as_str(),
            tool.usage.as_ref().unwrap().tool_calls
        ),
        (RunEnd::Answered, "it is 42", 1)
    );

    let refused = refused.ended().await;
    assert_eq!(
        refused.end,
        RunEnd::ProviderError {
            message: "bad key (HTTP 401)".to_owned()
        }
    );

    let empty = empty.ended().await;
    assert_eq!((empty.end, empty.answer.as_str()), (RunEnd::Empty, ""));

    let dropped = dropped.ended().await;
    assert_eq!(
        (dropped.end, dropped.answer.as_str()),
        (RunEnd::Answered, "begun\nended")
    );

    let log = asked.log.clone();
    let asked = asked.ended().await;
    assert_eq!(
        (asked.end, asked.answer.as_str()),
        (RunEnd::Answered, "without bash")
    );
    assert!(
        log.lines().contains(&"refused bash (ls)".to_owned()),
        "{:?}",
        log.lines()
    );

    let end = no_agent.ended().await.end;
    assert!(
        matches!(&end, RunEnd::HostError { message } if message.starts_with("Agent not found: \"nobody\"")),
        "{end:?}"
    );
    let end = no_model.ended().await.end;
    assert_eq!(
        end,
        RunEnd::HostError {
            message: "Model not found: scripted/nope.".to_owned()
        }
    );

    // The child carries what recovery looks for, and its title cost no model call.
    let api = host.api();
    let delegation = "a-plain-answer".parse().unwrap();
    let children = api
        .find_children(&host.parent, &delegation, 0)
        .await
        .unwrap();
    assert_eq!(children.len(), 1);
    assert_eq!(children[0].id, child);
    assert_eq!(children[0].brigade(), Some((delegation, Attempt(1))));
    assert_eq!(children[0].permission.0, vec![Rule::close("task")]);
    assert_eq!(
        sandbox
            .model()
            .records()
            .iter()
            .filter(|record| record.kind != Kind::Turn)
            .count(),
        0
    );
    assert!(api.permissions().await.unwrap().is_empty());

    pages_are_read_back_to_the_prompt(&api, &child).await;

    let agents = api.agents().await.unwrap();
    let reader = agents.iter().find(|agent| agent.name == "reader").unwrap();
    assert_eq!(
        (reader.mode.as_str(), reader.native, reader.hidden),
        ("subagent", false, false)
    );
    assert!(!reader.rules.tool_offered("edit") && reader.rules.tool_offered("bash"));
    assert!(
        agents
            .iter()
            .any(|agent| agent.name == "title" && agent.hidden && agent.native)
    );
}

/// The host's cursor is ours to make: it gives it only in a header.
async fn pages_are_read_back_to_the_prompt(api: &Api, session: &SessionId) {
    let found = api.messages(session, 0).await.unwrap();
    let part = found[0].parts[0].id.clone();
    for number in 0..70 {
        let body = PromptBody {
            message_id: None,
            agent: Some("reader".to_owned()),
            model: None,
            variant: None,
            no_reply: true,
            system: None,
            parts: vec![json!({"type": "text", "text": format!("more {number}")})],
        };
        api.store_message(session, &body).await.unwrap();
    }
    let all = api.messages_since(session, &[part]).await.unwrap();
    assert_eq!(all.len(), found.len() + 70);
    assert!(
        all.windows(2).all(|pair| pair[0].info.id < pair[1].info.id),
        "in order, none twice"
    );
    assert!(
        api.messages_since(session, &["prt_none".to_owned()])
            .await
            .unwrap()
            .is_empty()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopped_runs_keep_their_text_and_attached_ones_are_not_asked_twice() {
    let sandbox = sandbox().await;
    let host = Host::start(&sandbox, None).await;
    let model = sandbox.model();

    // Stopped by us.
    let stopped = host.drive(
        host.spec("a-stopped-run", "::chunk half of\n::gate never\n::say x"),
        by_person(),
    );
    stopped.log.partial("half of").await;
    stopped.stop.send_replace(Some(cancel()));
    let log = stopped.log.clone();
    let ended = stopped.ended().await;
    assert_eq!(
        (ended.end, ended.answer.as_str()),
        (RunEnd::Aborted, "half of")
    );
    assert!(!log.lines().contains(&"unordered abort".to_owned()));

    // Aborted by somebody else, in the host.
    let aborted = host.drive(
        host.spec("an-aborted-run", "::chunk half of\n::gate never\n::say x"),
        by_person(),
    );
    aborted.log.partial("half of").await;
    let log = aborted.log.clone();
    host.serve.abort(log.child().await.as_str()).await.unwrap();
    assert_eq!(aborted.ended().await.end, RunEnd::Aborted);
    assert!(
        log.lines().contains(&"unordered abort".to_owned()),
        "{:?}",
        log.lines()
    );

    // Over its time.
    let limit = RunSpec {
        max_run_ms: Some(2_000),
        ..host.spec("a-long-run", "::chunk half of\n::gate never")
    };
    let ended = host.drive(limit, by_person()).ended().await;
    assert_eq!(
        (ended.end, ended.answer.as_str()),
        (RunEnd::Aborted, "half of")
    );

    // Left alone, found again while it runs, and once more after its end.
    let prompt = "::chunk half of\n::gate later\n::chunk  it\n";
    let left = host.drive(host.spec("a-left-run", prompt), by_person());
    left.log.partial("half of").await;
    let child = left.log.child().await;
    left.detach().await;
    let again = RunSpec {
        fresh: false,
        ..host.spec("a-left-run", prompt)
    };
    let found = host.drive(again.clone(), by_person());
    assert_eq!(found.log.child().await, child);
    model.open("later");
    let ended = found.ended().await;
    assert_eq!(
        (ended.end, ended.answer.as_str()),
        (RunEnd::Answered, "half of it")
    );
    let ended = host
        .drive(
            RunSpec {
                child: Some(child),
                ..again
            },
            by_person(),
        )
        .ended()
        .await;
    assert_eq!(ended.answer, "half of it");
    let asked = model
        .turns()
        .iter()
        .filter(|turn| turn.contains("::gate later"))
        .count();
    assert_eq!(asked, 1, "the model was asked once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_hosts_run_is_continued_in_its_child_by_the_next() {
    let sandbox = sandbox().await;
    let host = Host::start(&sandbox, None).await;
    let model = sandbox.model();
    let run = host.drive(
        host.spec("a-killed-run", "the work\n::chunk half\n::gate never"),
        by_person(),
    );
    run.log.partial("half").await;
    let child = run.log.child().await;
    host.serve.kill9().await.unwrap();
    let gone = Signal::HostGone {
        why: "its process is gone".to_owned(),
    };
    run.signals.as_ref().unwrap().send(gone).await.unwrap();
    let outcome = run.outcome().await;
    assert!(
        matches!(&outcome, DriveOutcome::Interrupted { partial, .. } if partial == "half"),
        "{outcome:?}"
    );

    let next = Host::start(&sandbox, Some(host.parent.clone())).await;
    let spec = RunSpec {
        attempt: Attempt(2),
        fresh: false,
        ..next.spec("a-killed-run", "the work")
    };
    let run = next.drive(spec, by_person());
    assert_eq!(run.log.child().await, child, "the same child goes on");
    let ended = run.ended().await;
    assert_eq!(
        (ended.end, ended.answer.as_str()),
        (RunEnd::Answered, "went on")
    );
    let continued = model
        .wait_for("the continuation", PATIENCE, |record| {
            record.contains("Go on.")
        })
        .await
        .unwrap();
    assert!(
        continued.contains("the work"),
        "the model sees what it was doing"
    );
    let children = next
        .api()
        .find_children(&next.parent, &"a-killed-run".parse().unwrap(), 0)
        .await
        .unwrap();
    assert_eq!(children.len(), 1);
    assert_eq!(children[0].brigade().unwrap().1, Attempt(2));

    // The same attempt asked for again finds its end and asks nothing.
    let spec = RunSpec {
        attempt: Attempt(2),
        fresh: false,
        ..next.spec("a-killed-run", "the work")
    };
    let before = model.turns().len();
    assert_eq!(
        next.drive(spec, by_person()).ended().await.answer,
        "went on"
    );
    assert_eq!(model.turns().len(), before);
}
