//! `cargo xtask fill`: a store with a long past, made by the store's own functions.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use brigade_core::clock::Clock;
use brigade_core::delegation::{
    Access, Actor, Command, Delegation, Model, RunEnd, Spec, StopCause,
};
use brigade_core::id::{DelegationId, ProjectId, SessionId};
use brigade_store::{Along, Change, Ended, Progress, Registration, Store, StorePaths, Wake};
use futures::StreamExt;
use jiff::{SignedDuration, Timestamp};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};

use crate::error::{Error, Result, io};
use crate::{block_on, say};

/// What to fill, and with how much.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How many delegations that have ended
    #[arg(long, default_value_t = 100_000)]
    count: u32,
    /// How many more that are registered or running
    #[arg(long, default_value_t = 0)]
    active: u32,
    /// The folder to be used as XDG_DATA_HOME; the most frequent project is its folder `project`. Outside of
    /// any git repository, and without a store yet
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Over how many days the past spreads
    #[arg(long, default_value_t = 180)]
    days: u32,
    /// What the choices are drawn from
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

impl Args {
    /// How many of the active ones are running; the others are registered.
    pub(crate) fn running(&self) -> u32 {
        let active = self.count..self.count + self.active;
        let running = active.filter(|n| !self.is_waiting(*n)).count();
        u32::try_from(running).unwrap_or(u32::MAX)
    }

    fn is_waiting(&self, n: u32) -> bool {
        n >= self.count && n.is_multiple_of(3)
    }

    fn is_rare(&self, n: u32) -> bool {
        n < self.count && n.is_multiple_of((self.count / 5).max(1))
    }

    /// As many as are to be measured.
    pub(crate) fn for_a_bench(data: PathBuf, count: u32, active: u32) -> Self {
        Self {
            count,
            active,
            data,
            days: 180,
            seed: 1,
        }
    }

    /// As many as a busy person has in two months.
    pub(crate) fn for_a_picture(data: PathBuf) -> Self {
        Self {
            count: 900,
            active: 0,
            data,
            days: 60,
            seed: 7,
        }
    }
}

/// A word in every prompt.
pub(crate) const COMMON: &str = "the";
/// A word in the prompts of five or six, however many there are.
pub(crate) const RARE: &str = "heisenbug";
/// How many are written at once, so that the store commits them in groups.
const AT_ONCE: usize = 512;
const AGENTS: [&str; 5] = ["explore", "researcher", "reviewer", "librarian", "planner"];
const MODELS: [(&str, &str, f64); 4] = [
    ("anthropic", "claude-sonnet-4-5", 3.0),
    ("openai", "gpt-5.1", 1.25),
    ("openai", "gpt-5.1-mini", 0.25),
    ("opencode", "grok-code", 0.0),
];
const TOOLS: [&str; 6] = ["read", "grep", "glob", "list", "webfetch", "bash"];
/// The first ones are the most frequent.
const WORDS: &str = "the a of to is in and for that it with on as be token session lock queue store daemon \
    request answer index test error file module handler state retry timeout cache parser lexer syntax tree \
    network socket stream buffer thread task future schema migration column row query plan index scan cost model \
    agent prompt child parent notice batch wake ledger host bridge runner artifact summary title result search \
    snippet rank score limit budget usage detail figure table plot terminal colour width height key value map set \
    login password hash secret header cookie route path method status code body json yaml toml config option flag \
    command argument output input pipe signal process memory page disk write read sync async await lease owner \
    project root commit branch merge rebase conflict patch diff review comment issue release version changelog \
    licence crate package registry dependency feature build target profile debug deadlock starvation race \
    monotonic heartbeat backpressure idempotent quorum checksum tombstone compaction bloom skiplist";

struct Wall;

impl Clock for Wall {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

/// Fills the store, and says how to look at it.
///
/// # Errors
/// When there is a store already, or it can't be written.
pub(crate) fn run(args: &Args) -> Result<()> {
    block_on(fill(args))?;
    let home = args.data.canonicalize().map_err(io("find the folder"))?;
    say(&format!(
        "cd {} && XDG_DATA_HOME={} BRIGADE_RUNTIME_DIR={} brigade list",
        home.join("project").display(),
        home.display(),
        home.join("run").display()
    ));
    Ok(())
}

/// Fills the store.
///
/// # Errors
/// When there is a store already, or it can't be written.
pub(crate) async fn fill(args: &Args) -> Result<()> {
    let home = &args.data;
    let project = home.join("project");
    let own = home.join("brigade");
    for folder in [&project, &own] {
        fs::create_dir_all(folder).map_err(io(format!("make {}", folder.display())))?;
    }
    let project = project.canonicalize().map_err(io("find the project"))?;
    if own.join("brigade.db").exists() {
        return Err(Error::Wrong(format!(
            "{} has a store already",
            own.display()
        )));
    }
    let paths = StorePaths {
        db: own.join("brigade.db"),
        artifacts: home.join("opencode/delegations"),
        predecessor: home.join("opencode/delegations"),
    };
    let store = Store::open(&paths, Arc::new(Wall)).map_err(wrong)?;
    let filler = Filler {
        store,
        artifacts: paths.artifacts,
        directory: project.to_string_lossy().into_owned(),
        words: WORDS.split_whitespace().collect(),
        args,
        begin: Timestamp::now() - SignedDuration::from_hours(24 * i64::from(args.days)),
        done: AtomicU32::new(0),
    };
    let mut work = futures::stream::iter(0..args.count + args.active)
        .map(|n| filler.one(n))
        .buffer_unordered(AT_ONCE);
    while let Some(done) = work.next().await {
        done?;
    }
    drop(work);
    filler.store.close().await;
    Ok(())
}

fn wrong(error: impl std::fmt::Display) -> Error {
    Error::Wrong(error.to_string())
}

struct Filler<'a> {
    store: Store,
    artifacts: PathBuf,
    directory: String,
    words: Vec<&'static str>,
    args: &'a Args,
    begin: Timestamp,
    done: AtomicU32,
}

/// A delegation on its way, with its version in the store.
struct Life {
    delegation: Delegation,
    version: i64,
    now: Timestamp,
}

impl Filler<'_> {
    /// One delegation from its registration to where it is to stand.
    async fn one(&self, n: u32) -> Result<()> {
        let mut rng = StdRng::seed_from_u64(self.args.seed.wrapping_mul(1 << 32) + u64::from(n));
        let all = self.args.count + self.args.active;
        let span = 86_400_000.0 * f64::from(self.args.days);
        #[expect(clippy::cast_possible_truncation, reason = "far below the range")]
        let ms = (span * f64::from(n) / f64::from(all.max(1))) as i64;
        let at = self.begin + SignedDuration::from_millis(ms);
        let (mut life, price) = self.register(&mut rng, n, at).await?;
        if self.args.is_waiting(n) {
            return self.tick();
        }
        // A process that can't be: the ID is beyond what any system gives.
        let runner = "2147483646:1".to_owned();
        self.put(
            &mut life,
            &Command::Start {
                runner,
                own: false,
                confinement: None,
            },
            None,
            None,
        )
        .await?;
        let attempt = life.delegation.attempt;
        let session = parsed(&format!("ses_child{n}"))?;
        self.put(
            &mut life,
            &Command::ChildReady { attempt, session },
            None,
            None,
        )
        .await?;
        self.put(&mut life, &Command::Prompted { attempt }, None, None)
            .await?;
        let ran_ms = rng.random_range(4_000..600_000);
        life.now += SignedDuration::from_millis(i64::try_from(ran_ms).unwrap_or(0));
        let progress = progress(&mut rng, &life, price);
        let answer = format!(
            "# {}\n\n{}.\n\n{}",
            self.text(&mut rng, 5),
            self.text(&mut rng, 12),
            self.text(&mut rng, 160)
        );
        let id = life.delegation.spec.id.clone();
        if n >= self.args.count {
            let saved = self
                .store
                .save_progress(&id, attempt, progress, Some(&answer), ran_ms);
            saved.await.map_err(wrong)?;
            return self.tick();
        }
        self.store
            .save_progress(&id, attempt, progress, None, ran_ms)
            .await
            .map_err(wrong)?;
        let end = match rng.random_range(0..100) {
            0..88 => RunEnd::Answered,
            88..92 => RunEnd::ProviderError {
                message: "overloaded".to_owned(),
            },
            other => {
                let cause = if other < 96 {
                    StopCause::Cancel { by: Actor::Person }
                } else {
                    StopCause::TimeLimit { limit_ms: 600_000 }
                };
                let attempt = Some(attempt);
                self.put(&mut life, &Command::Stop { attempt, cause }, None, None)
                    .await?;
                RunEnd::Aborted
            }
        };
        let ended = Command::RunEnded {
            attempt,
            end,
            messages: 0,
            ran_ms,
        };
        let text = Arc::new(answer.clone());
        self.put(&mut life, &ended, Some(text), None).await?;
        let ended = self.ended(&life, &answer, n)?;
        self.put(&mut life, &Command::ArtifactWritten, None, Some(ended))
            .await?;
        self.tick()
    }

    async fn register(&self, rng: &mut StdRng, n: u32, at: Timestamp) -> Result<(Life, f64)> {
        let (provider, model, price) = MODELS.choose(rng).copied().unwrap_or(MODELS[0]);
        // Most in the project to be looked at, the rest in nine others.
        let directory = match rng.random_range(0..30) {
            other @ 0..9 => format!("/projects/other{other}"),
            _ => self.directory.clone(),
        };
        let session: SessionId = parsed(&format!("ses_root{}", n / 40))?;
        let mut spec = Spec {
            id: DelegationId::generate(rng),
            project: ProjectId::from_path(&directory),
            directory,
            parent: session.clone(),
            root: session,
            host: "fill".to_owned(),
            origin: None,
            credentials: Vec::new(),
            agent: (*AGENTS.choose(rng).unwrap_or(&AGENTS[0])).to_owned(),
            model: Some(Model {
                provider: provider.to_owned(),
                model: model.to_owned(),
                variant: None,
            }),
            prompt: match self.args.is_rare(n) {
                true => format!("{COMMON} {RARE} {} ({n})", self.text(rng, 60)),
                false => format!("{COMMON} {} ({n})", self.text(rng, 60)),
            },
            ask_title: true,
            access: Access::default(),
            registered_at: at,
            max_run_ms: Some(900_000),
            stall_ms: Some(360_000),
            max_attempts: 3,
            caller: None,
            continues: None,
            retries: None,
            worktree: None,
        };
        loop {
            match self.store.register(spec.clone(), at).await.map_err(wrong)? {
                Registration::New(row) => {
                    let life = Life {
                        delegation: Delegation::new(spec),
                        version: row.version,
                        now: at,
                    };
                    return Ok((life, price));
                }
                Registration::IdTaken => spec.id = DelegationId::generate(rng),
                Registration::Existing { .. } | Registration::WorktreeGone => {
                    return Err(Error::Wrong("two prompts are the same".to_owned()));
                }
            }
        }
    }

    async fn put(
        &self,
        life: &mut Life,
        command: &Command,
        text: Option<Arc<String>>,
        ended: Option<Ended>,
    ) -> Result<()> {
        let events = life.delegation.apply(command).map_err(wrong)?.events;
        for event in &events {
            life.delegation.evolve(event, life.now);
        }
        let change = Change {
            id: life.delegation.spec.id.clone(),
            expect_version: life.version,
            delegation: life.delegation.clone(),
            events,
            at: life.now,
            along: Along {
                text,
                progress: None,
                ended,
            },
        };
        life.version = self.store.commit(change).await.map_err(wrong)?.version;
        Ok(())
    }

    /// Title, summary and file. Files are written plainly: nothing of this has to outlive a power cut.
    fn ended(&self, life: &Life, answer: &str, n: u32) -> Result<Ended> {
        let spec = &life.delegation.spec;
        let folder = self
            .artifacts
            .join(spec.project.as_str())
            .join(spec.root.as_str());
        fs::create_dir_all(&folder).map_err(io(format!("make {}", folder.display())))?;
        let artifact = folder.join(format!("{}.md", spec.id));
        let mut lines = answer.lines().filter(|line| !line.is_empty());
        let title = lines
            .next()
            .unwrap_or_default()
            .trim_start_matches("# ")
            .to_owned();
        let summary = lines.next().unwrap_or_default().to_owned();
        write(&artifact, &life.delegation, &title, &summary, answer)?;
        let part = |kind: &str| format!("prt_{kind}_{}", spec.id);
        Ok(Ended {
            title,
            summary,
            artifact,
            // What nobody was to be told of counts as read; the last ones are unread.
            notify: n + 50 >= self.args.count,
            wake: Wake::Never,
            model_part: part("model"),
            person_part: part("person"),
        })
    }

    /// Words, the first ones of the vocabulary far more often.
    fn text(&self, rng: &mut StdRng, words: usize) -> String {
        let pick = |rng: &mut StdRng| {
            let x: f64 = rng.random();
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                clippy::cast_precision_loss,
                reason = "an index from a number between 0 and 1"
            )]
            let index = (x * x * x * self.words.len() as f64) as usize;
            self.words.get(index).copied().unwrap_or("the")
        };
        let picked: Vec<_> = (0..words).map(|_| pick(rng)).collect();
        picked.join(" ")
    }

    fn tick(&self) -> Result<()> {
        let done = self.done.fetch_add(1, Ordering::Relaxed) + 1;
        if done.is_multiple_of(10_000) {
            say(&format!("{done} delegations"));
        }
        Ok(())
    }
}

fn progress(rng: &mut StdRng, life: &Life, price: f64) -> Progress {
    let tokens_in = rng.random_range(5_000..400_000_u32);
    let tokens_out = rng.random_range(200..9_000_u32);
    Progress {
        tool_calls: rng.random_range(0..40),
        last_tool: TOOLS.choose(rng).map(|&tool| tool.to_owned()),
        tokens_in: tokens_in.into(),
        tokens_out: tokens_out.into(),
        cost: price * (f64::from(tokens_in) + 5.0 * f64::from(tokens_out)) / 1e6,
        heard_at: Some(life.now),
        model: life.delegation.spec.model.as_ref().map(ToString::to_string),
        ..Progress::default()
    }
}

fn write(path: &Path, record: &Delegation, title: &str, summary: &str, answer: &str) -> Result<()> {
    let spec = &record.spec;
    let state = record
        .outcome()
        .map_or("complete", |outcome| outcome.state.name());
    let text = format!(
        "# {title}\n\n{summary}\n\n**ID:** {}\n**Agent:** {}\n**Status:** {state}\n**Session:** {}\n\n---\n\n{answer}\n",
        spec.id, spec.agent, spec.root
    );
    fs::write(path, text).map_err(io(format!("write {}", path.display())))
}

fn parsed<T: std::str::FromStr>(text: &str) -> Result<T>
where
    T::Err: std::fmt::Display,
{
    text.parse().map_err(wrong)
}
