//! What can be typed.

use brigade_core::delegation::State;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::since::Since;

/// Background delegation for AI coding agents.
#[derive(Debug, Parser)]
#[command(
    name = "brigade",
    version,
    // The terminal breaks long lines: the text is then the same with whatever features clap was built.
    term_width = 0,
    after_help = "IDs may be given by any unique beginning. Exit codes: 0 done, 1 failed, 2 usage, \
                  3 not found, 4 daemon unreachable, 5 refused."
)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Put Brigade's bridge into a host, for all projects or for one
    Install(Place),
    /// Take Brigade's bridge out of a host again; results stay
    Uninstall(Place),
    /// Look for what is wrong, and say how to mend it
    Doctor(Json),
    /// List delegations, newest first unless sorted otherwise
    List(List),
    /// Watch delegations on a screen of its own, and steer them
    Watch(Watch),
    /// Show everything about a delegation
    Show(Show),
    /// Print a delegation's result, or its text so far
    Read(Read),
    /// Search titles, summaries, prompts and results
    Search(Search),
    /// Sum what delegations have used: tokens, cost, time
    Stats(Stats),
    /// Stop delegations; what they have written so far is kept
    Cancel(Cancel),
    /// Have a message reach a delegation: a running one at its next step, an ended one goes on in its session
    Send(Send),
    /// Have the work of an ended delegation done anew
    Retry(Retry),
    /// Have an agent work in the background, without any window of OpenCode
    Run(Work),
    /// Show what a write-capable delegation has changed, as a patch
    Diff(Diff),
    /// Bring a delegation's changes into your working tree, or take them out again
    Apply(Apply),
    /// Throw a delegation's worktree away; its patch and its result stay
    Discard(Discard),
    /// Mend what crashes, restored backups and moved files have left; no result is ever deleted
    Gc(Gc),
    /// Run, start, stop or look at the daemon
    #[command(subcommand)]
    Daemon(Daemon),
    /// Wait for a sign on standard input, then become this program (used by the daemon for its own servers)
    #[command(hide = true)]
    Gate(Gate),
    /// Print the completions for a shell
    Completions(Completions),
}

/// A program that Brigade works in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Host {
    /// OpenCode
    Opencode,
}

/// Where the bridge goes.
#[derive(Debug, Args)]
pub(crate) struct Place {
    /// The host
    pub(crate) host: Host,
    /// Only for the project of the current directory
    #[arg(long)]
    pub(crate) project: bool,
}

/// How to print.
#[derive(Debug, Args)]
pub(crate) struct Json {
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// `list`.
#[derive(Debug, Args)]
pub(crate) struct List {
    /// Of all projects, not only the current directory's
    #[arg(long)]
    pub(crate) all: bool,
    /// Only those in this state; may be given several times, or with commas
    #[arg(long, value_name = "STATE", value_delimiter = ',', value_parser = state_parser())]
    pub(crate) state: Vec<State>,
    /// Only this agent's
    #[arg(long, value_name = "NAME")]
    pub(crate) agent: Option<String>,
    /// Only those that have ended and nobody has read
    #[arg(long)]
    pub(crate) unread: bool,
    /// Only those registered since then: 30m, 12h, 7d, 2w, a day or a time
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<Since>,
    /// Only those of this root session
    #[arg(long, value_name = "ID")]
    pub(crate) session: Option<String>,
    /// By what to sort, the latest or the most first
    #[arg(long, value_enum, default_value = "registered")]
    pub(crate) sort: Sort,
    /// Turn the order round
    #[arg(long)]
    pub(crate) reverse: bool,
    /// At most so many; without it 100, with --json 1,000
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<u32>,
    /// Pass over so many
    #[arg(long, value_name = "N")]
    pub(crate) offset: Option<u32>,
    #[command(flatten)]
    pub(crate) json: Json,
}

/// By what a list is sorted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Sort {
    /// When it was registered
    Registered,
    /// When it ended; what has not comes last
    Ended,
    /// What it has cost
    Cost,
    /// Tokens read and written
    Tokens,
    /// How long it has run
    Duration,
    /// Its state, in the order of a delegation's life
    State,
}

/// `watch`.
#[derive(Debug, Args)]
pub(crate) struct Watch {
    /// Of all projects, not only the current directory's
    #[arg(long)]
    pub(crate) all: bool,
    /// Only those of this root session
    #[arg(long, value_name = "ID")]
    pub(crate) session: Option<String>,
}

/// `show`.
#[derive(Debug, Args)]
pub(crate) struct Show {
    /// The delegation, by any unique beginning
    pub(crate) id: String,
    /// Look in all projects, not only the current directory's
    #[arg(long)]
    pub(crate) all: bool,
    #[command(flatten)]
    pub(crate) json: Json,
}

/// `read`.
#[derive(Debug, Args)]
pub(crate) struct Read {
    /// The delegation, by any unique beginning
    pub(crate) id: String,
    /// Print the text as it comes, until the delegation has ended
    #[arg(long, short, conflicts_with = "json")]
    pub(crate) follow: bool,
    /// Look in all projects, not only the current directory's
    #[arg(long)]
    pub(crate) all: bool,
    #[command(flatten)]
    pub(crate) json: Json,
}

/// `search`.
#[derive(Debug, Args)]
pub(crate) struct Search {
    /// The words
    #[arg(required = true)]
    pub(crate) query: Vec<String>,
    /// In all projects, not only the current directory's
    #[arg(long)]
    pub(crate) all: bool,
    /// At most so many
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<u32>,
    #[command(flatten)]
    pub(crate) json: Json,
}

/// `stats`.
#[derive(Debug, Args)]
pub(crate) struct Stats {
    /// By what to break the sums down
    #[arg(long, value_enum, default_value = "day")]
    pub(crate) by: By,
    /// Only what ended since then, or is active: 7d, 2w, a day [default: 30d]
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<Since>,
    /// Only those of this root session
    #[arg(long, value_name = "ID")]
    pub(crate) session: Option<String>,
    /// Of all projects, not only the current directory's
    #[arg(long)]
    pub(crate) all: bool,
    /// Draw bars
    #[arg(long, conflicts_with = "json")]
    pub(crate) plot: bool,
    #[command(flatten)]
    pub(crate) json: Json,
}

/// By what sums are broken down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum By {
    /// The day on which it ended; what is active counts for today
    Day,
    /// The agent
    Agent,
    /// The model
    Model,
    /// The root session
    Session,
    /// The project
    Project,
}

/// `cancel`.
#[derive(Debug, Args)]
#[group(skip)]
pub(crate) struct Cancel {
    /// The delegations, by any unique beginnings
    #[arg(required_unless_present_any = ["session", "all"], conflicts_with_all = ["session", "all"], value_name = "ID")]
    pub(crate) ids: Vec<String>,
    /// All active ones of this root session
    #[arg(long, value_name = "ID", conflicts_with = "all")]
    pub(crate) session: Option<String>,
    /// All active ones of the project
    #[arg(long)]
    pub(crate) all: bool,
    /// Of all projects, not only the current directory's
    #[arg(long)]
    pub(crate) all_projects: bool,
    #[command(flatten)]
    pub(crate) json: Json,
}

/// `send`.
#[derive(Debug, Args)]
pub(crate) struct Send {
    /// The delegation, by any unique beginning
    pub(crate) id: String,
    /// The message; `-` takes it from standard input
    #[arg(required = true, value_name = "MESSAGE")]
    pub(crate) message: Vec<String>,
    /// Look in all projects, not only the current directory's
    #[arg(long)]
    pub(crate) all: bool,
    #[command(flatten)]
    pub(crate) json: Json,
}

/// `retry`.
#[derive(Debug, Args)]
pub(crate) struct Retry {
    /// The delegation, by any unique beginning
    pub(crate) id: String,
    /// Look in all projects, not only the current directory's
    #[arg(long)]
    pub(crate) all: bool,
    #[command(flatten)]
    pub(crate) json: Json,
}

/// `run`.
#[derive(Debug, Args)]
pub(crate) struct Work {
    /// Who is to do it
    #[arg(long, short, value_name = "AGENT")]
    pub(crate) agent: String,
    /// The work; `-` or nothing takes it from standard input
    #[arg(value_name = "PROMPT")]
    pub(crate) prompt: Vec<String>,
    /// Print the answer as it comes, and exit with 0 only if it is complete
    #[arg(long, short)]
    pub(crate) wait: bool,
    /// Begin with the changes of this delegation, where the agent changes files
    #[arg(long, value_name = "ID")]
    pub(crate) from: Option<String>,
    /// Stop it after so many minutes of work, 0 for never
    #[arg(long, value_name = "MINUTES")]
    pub(crate) timeout: Option<f64>,
    /// OpenCode's program, if it is not the one on PATH
    #[arg(long, value_name = "PATH")]
    pub(crate) opencode: Option<std::path::PathBuf>,
    #[command(flatten)]
    pub(crate) json: Json,
}

/// `diff`.
#[derive(Debug, Args)]
pub(crate) struct Diff {
    /// The delegation, by any unique beginning
    pub(crate) id: String,
    /// Only these files and folders
    #[arg(value_name = "PATH")]
    pub(crate) paths: Vec<std::path::PathBuf>,
    /// Only the changed files, with the lines added and removed
    #[arg(long)]
    pub(crate) stat: bool,
    /// Look in all projects, not only the current directory's
    #[arg(long)]
    pub(crate) all: bool,
}

/// `apply`.
#[derive(Debug, Args)]
pub(crate) struct Apply {
    /// The delegation, by any unique beginning
    pub(crate) id: String,
    /// Only these files and folders
    #[arg(value_name = "PATH")]
    pub(crate) paths: Vec<std::path::PathBuf>,
    /// Write files with conflicts too, with both sides marked
    #[arg(long)]
    pub(crate) markers: bool,
    /// Take out again what was applied last
    #[arg(long, conflicts_with_all = ["paths", "markers"])]
    pub(crate) undo: bool,
    /// Only say what would be written
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Look in all projects, not only the current directory's
    #[arg(long)]
    pub(crate) all: bool,
    #[command(flatten)]
    pub(crate) json: Json,
}

/// `discard`.
#[derive(Debug, Args)]
pub(crate) struct Discard {
    /// The delegation, by any unique beginning
    pub(crate) id: String,
    /// Also what is in no patch
    #[arg(long)]
    pub(crate) force: bool,
    /// Look in all projects, not only the current directory's
    #[arg(long)]
    pub(crate) all: bool,
    #[command(flatten)]
    pub(crate) json: Json,
}

/// `gc`.
#[derive(Debug, Args)]
pub(crate) struct Gc {
    /// Only say what would be done
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Also end the processes that a dead host has left behind
    #[arg(long)]
    pub(crate) processes: bool,
    #[command(flatten)]
    pub(crate) json: Json,
}

/// `daemon`.
#[derive(Debug, Subcommand)]
pub(crate) enum Daemon {
    /// Run the daemon here, until it is stopped
    Run(Run),
    /// Start the daemon in the background, unless it runs
    Start,
    /// Stop the daemon; what runs goes on in its host
    Stop,
    /// Say how the daemon is
    Status(Json),
    /// Say what the daemon logs, or have it log more or less until it ends
    Log(Log),
}

/// `daemon log`.
#[derive(Debug, Args)]
pub(crate) struct Log {
    /// off, error, warn, info, debug, trace, or directives such as info,brigade_daemon::delivery=debug
    #[arg(value_name = "LEVEL|DIRECTIVES")]
    pub(crate) level: Option<String>,
    /// Only for so long: 90s, 10m, 1h30m
    #[arg(long = "for", value_name = "DURATION", requires = "level", value_parser = duration)]
    pub(crate) length: Option<std::time::Duration>,
    #[command(flatten)]
    pub(crate) json: Json,
}

/// `daemon run`.
#[derive(Debug, Args)]
pub(crate) struct Run {
    /// Leave the terminal, and say in one line when it is ready (used by what starts the daemon)
    #[arg(long, hide = true)]
    pub(crate) detached: bool,
}

/// `gate`.
#[derive(Debug, Args)]
pub(crate) struct Gate {
    /// End this process unless told otherwise, instead
    #[arg(long, value_name = "PID:START", conflicts_with = "command")]
    pub(crate) hold: Option<brigade_os::process::ProcessId>,
    /// Have the kernel keep the program from changing anything but what is writable
    #[arg(long, conflicts_with = "hold")]
    pub(crate) confined: bool,
    /// A folder or file that it may change
    #[arg(long, value_name = "PATH", requires = "confined")]
    pub(crate) writable: Vec<std::path::PathBuf>,
    /// A folder in which it may make, change and remove plain files, and nothing else
    #[arg(long, value_name = "PATH", requires = "confined")]
    pub(crate) plain: Vec<std::path::PathBuf>,
    /// The program and its arguments
    #[arg(required_unless_present = "hold", last = true)]
    pub(crate) command: Vec<std::ffi::OsString>,
}

/// `completions`.
#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// The shell
    pub(crate) shell: clap_complete::Shell,
}

/// Reads a duration, as the configuration has them.
fn duration(text: &str) -> Result<std::time::Duration, String> {
    text.parse::<jiff::SignedDuration>()
        .ok()
        .and_then(|length| length.try_into().ok())
        .filter(|length: &std::time::Duration| !length.is_zero())
        .ok_or_else(|| format!("{text:?} is no duration: write 90s, 10m or 1h30m"))
}

/// Reads the name of a state; the names are listed in the help and completed by shells.
fn state_parser() -> impl TypedValueParser<Value = State> {
    PossibleValuesParser::new(State::ALL.map(State::name)).try_map(|name| name.parse::<State>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn parse(line: &str) -> Result<Cli, clap::error::ErrorKind> {
        Cli::try_parse_from(line.split(' ')).map_err(|error| error.kind())
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn cancel_wants_to_know_what() {
        use clap::error::ErrorKind::{ArgumentConflict, MissingRequiredArgument};
        assert_eq!(
            parse("brigade cancel").unwrap_err(),
            MissingRequiredArgument
        );
        assert_eq!(
            parse("brigade cancel a --all").unwrap_err(),
            ArgumentConflict
        );
        assert_eq!(
            parse("brigade cancel --session s --all").unwrap_err(),
            ArgumentConflict
        );
        for line in [
            "cancel a b",
            "cancel --all --all-projects",
            "cancel --session s",
        ] {
            parse(&format!("brigade {line}")).unwrap();
        }
    }

    #[test]
    fn what_is_undone_is_undone_whole() {
        use clap::error::ErrorKind::ArgumentConflict;
        for line in ["apply a --undo src", "apply a --undo --markers"] {
            let error = parse(&format!("brigade {line}")).unwrap_err();
            assert_eq!(error, ArgumentConflict, "{line}");
        }
        for line in [
            "apply a --undo --dry-run",
            "apply a src/x.rs docs --markers --json",
            "diff a --stat src",
            "discard a --force",
            "run -a general --from brave-amber-otter x",
        ] {
            parse(&format!("brigade {line}")).unwrap();
        }
    }

    #[test]
    fn states_are_known_by_name() {
        let Command::List(list) = parse("brigade list --state timeout").unwrap().command else {
            panic!("it is list");
        };
        assert_eq!(list.state, [State::Timeout]);
        let Command::List(list) = parse("brigade list --state error,timeout --state complete")
            .unwrap()
            .command
        else {
            panic!("it is list");
        };
        assert_eq!(list.state, [State::Error, State::Timeout, State::Complete]);
        assert!(parse("brigade list --state done").is_err());
        assert!(parse("brigade read x --follow --json").is_err());
    }
}
