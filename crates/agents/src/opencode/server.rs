//! A server of Brigade's own: the host's program without a window, for work that its host has left.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use brigade_os::confine::{NotAvailable, available};
use brigade_os::process::ProcessId;
use brigade_os::spawn::{Gated, Leash, gated, leash};
use futures::FutureExt;
use futures::future::BoxFuture;

use super::confine::{Confine, Writable, surroundings, writable};
use super::http::HttpTransport;
use super::transport::{Method, Request, Transport, TransportError};

/// How long one look for a sign of life may take. A request to a server that is booting can hang for minutes.
const LOOK: Duration = Duration::from_secs(2);
/// The pause between two looks; the server takes 4 to 6 s to listen.
const AGAIN: Duration = Duration::from_millis(100);
/// How long a directory may take to open: with the registry of packages out of reach the host tries for 70 s.
const OPEN: Duration = Duration::from_secs(120);

/// What says to the bridge that it is inside a server of Brigade's own: the server's name.
pub const WORKER: &str = "BRIGADE_WORKER";
/// How long a server without a daemon stays, in milliseconds.
pub const LINGER: &str = "BRIGADE_LINGER_MS";
/// The password of a server's API.
pub const PASSWORD: &str = "OPENCODE_SERVER_PASSWORD";
/// What marks the shells of children, by their session.
pub const SESSION_MARK: &str = "BRIGADE_SESSION";

/// A server to be started.
#[derive(Clone)]
pub struct ServerSpec {
    /// Its name.
    pub id: String,
    /// The host's program.
    pub executable: PathBuf,
    /// Its whole environment but for what is said here besides.
    pub variables: BTreeMap<String, String>,
    /// The loopback port to listen on.
    pub port: u16,
    /// The password of its API.
    pub password: String,
    /// How long it stays without a daemon.
    pub linger: Duration,
    /// Where its outputs go.
    pub log: PathBuf,
    /// What confines it; none leaves it everything that its user may do.
    pub confine: Option<Confine>,
}

impl std::fmt::Debug for ServerSpec {
    /// Leaves password and environment out.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServerSpec")
            .field("id", &self.id)
            .field("executable", &self.executable)
            .field("port", &self.port)
            .finish_non_exhaustive()
    }
}

/// A started process that does nothing before its gate is opened, and ends if it is dropped.
pub trait Gate: Send {
    /// The process; it stays the same.
    fn process(&self) -> ProcessId;

    /// Lets it go to work, on a leash: until that is released the process ends with whoever holds it.
    fn open(self: Box<Self>) -> BoxFuture<'static, io::Result<Leash>>;
}

/// How servers are started and reached.
pub trait Launcher: Send + Sync {
    /// The version of what confines servers here.
    ///
    /// # Errors
    /// Why nothing does.
    fn confines(&self) -> Result<u32, NotAvailable>;

    /// Starts the process of a server, up to its gate.
    ///
    /// # Errors
    /// When the system refuses.
    fn launch(&self, spec: &ServerSpec) -> io::Result<Box<dyn Gate>>;

    /// The way to a server's API.
    ///
    /// # Errors
    /// When there can be none.
    fn reach(&self, port: u16, password: &str) -> Result<Arc<dyn Transport>, TransportError>;
}

/// Starts OpenCode's servers through a program that waits at the gate and then becomes the host's, or holds
/// one on a leash.
#[derive(Debug, Clone)]
pub struct ServeLauncher {
    /// The program.
    pub program: PathBuf,
    /// Its arguments, before `[--confined --writable PATH… --plain PATH…] -- PROGRAM ARGS…` for the one and `--hold PID:START`
    /// for the other.
    pub args: Vec<OsString>,
}

/// A server at its gate, and what is started to hold it.
struct AtGate {
    gated: Gated,
    launcher: ServeLauncher,
}

impl Gate for AtGate {
    fn process(&self) -> ProcessId {
        self.gated.id
    }

    fn open(self: Box<Self>) -> BoxFuture<'static, io::Result<Leash>> {
        async move {
            let hold = ["--hold".to_owned(), self.gated.id.to_string()];
            let args = self.launcher.args.iter().cloned();
            let leash = leash(&self.launcher.program, args.chain(hold.map(OsString::from)))?;
            // Whoever lets go of the handle leaves the collecting of its end to the runtime.
            self.gated.open().await?;
            Ok(leash)
        }
        .boxed()
    }
}

impl Launcher for ServeLauncher {
    fn confines(&self) -> Result<u32, NotAvailable> {
        available()
    }

    fn launch(&self, spec: &ServerSpec) -> io::Result<Box<dyn Gate>> {
        let own = [
            (WORKER, spec.id.clone()),
            (LINGER, spec.linger.as_millis().to_string()),
            (PASSWORD, spec.password.clone()),
        ];
        let own = own.map(|(name, value)| (name.to_owned(), value));
        let mut variables = spec.variables.clone();
        let mut gate: Vec<OsString> = Vec::new();
        if let Some(confine) = &spec.confine {
            gate.push("--confined".into());
            let Writable { own, plain } = writable(confine, &variables)?;
            for (option, paths) in [("--writable", own), ("--plain", plain)] {
                for path in paths {
                    gate.extend([option.into(), path.into_os_string()]);
                }
            }
            let others = surroundings(confine, &variables)?;
            variables.extend(others);
        }
        let serve = [
            "--".into(),
            spec.executable.clone().into_os_string(),
            "serve".into(),
            "--hostname".into(),
            "127.0.0.1".into(),
            "--port".into(),
            spec.port.to_string().into(),
        ];
        let started = gated(
            &self.program,
            self.args.iter().cloned().chain(gate).chain(serve),
            variables.into_iter().chain(own),
            &spec.log,
        )?;
        Ok(Box::new(AtGate {
            gated: started,
            launcher: self.clone(),
        }))
    }

    fn reach(&self, port: u16, password: &str) -> Result<Arc<dyn Transport>, TransportError> {
        let base = format!("http://127.0.0.1:{port}");
        Ok(Arc::new(HttpTransport::new(
            base,
            Some(password.to_owned()),
        )?))
    }
}

/// Waits until the server answers. There is no event for that: its listening is all it does.
pub async fn listens(server: &dyn Transport) {
    loop {
        let look = server.call(Request {
            method: Method::Get,
            path: "/global/health".to_owned(),
            directory: "/".to_owned(),
            body: None,
            timeout: LOOK,
        });
        match look.await {
            Ok(reply) if reply.status == 200 => return,
            Ok(reply) => tracing::debug!(status = reply.status, "the server is not ready"),
            Err(error) => tracing::trace!(%error, "the server does not listen yet"),
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// Has the server open a directory, and with it load the plugins that are configured for it.
///
/// # Errors
/// What the server says, or why it can't be reached.
pub async fn open_directory(server: &dyn Transport, directory: &str) -> Result<(), String> {
    let asked = server.call(Request {
        method: Method::Get,
        path: "/session/status".to_owned(),
        directory: directory.to_owned(),
        body: None,
        timeout: OPEN,
    });
    match asked.await {
        Ok(reply) if reply.status < 300 => Ok(()),
        Ok(reply) => Err(format!(
            "it answered {} when it was to open {directory}",
            reply.status
        )),
        Err(error) => Err(error.to_string()),
    }
}

/// What belongs to one process of the host, to the terminal it was started in, or to the git command whose hook that
/// is (`git rev-parse --local-env-vars`, and what `git commit` adds), and to no other. With another's `GIT_INDEX_FILE`
/// a server would write in that one's index.
const FLEETING: [&str; 60] = [
    "_",
    "AGENT",
    "COLORTERM",
    "COLUMNS",
    "FNM_MULTISHELL_PATH",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_AUTHOR_DATE",
    "GIT_COMMITTER_DATE",
    "GIT_COMMON_DIR",
    "GIT_CONFIG",
    "GIT_CONFIG_PARAMETERS",
    "GIT_DIR",
    "GIT_EDITOR",
    "GIT_EXEC_PATH",
    "GIT_GRAFT_FILE",
    "GIT_IMPLICIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_INTERNAL_SUPER_PREFIX",
    "GIT_NO_REPLACE_OBJECTS",
    "GIT_OBJECT_DIRECTORY",
    "GIT_PREFIX",
    "GIT_QUARANTINE_PATH",
    "GIT_REFLOG_ACTION",
    "GIT_REPLACE_REF_BASE",
    "GIT_SHALLOW_FILE",
    "GIT_WORK_TREE",
    "GNOME_TERMINAL_SCREEN",
    "GNOME_TERMINAL_SERVICE",
    "GPG_TTY",
    "INIT_CWD",
    "INVOCATION_ID",
    "JOURNAL_STREAM",
    "LINES",
    "OLDPWD",
    "OPENCODE",
    "OPENCODE_ACP_PROFILE",
    "OPENCODE_CLIENT",
    "OPENCODE_EDITOR_SSE_PORT",
    "OPENCODE_PID",
    "OPENCODE_ROUTE",
    "OPENCODE_WORKSPACE_ID",
    "PWD",
    "SECURITYSESSIONID",
    "SHLVL",
    "SSH_CLIENT",
    "SSH_CONNECTION",
    "SSH_TTY",
    "STY",
    "SYSTEMD_EXEC_PID",
    "TERM",
    "VTE_VERSION",
    "WINDOW",
    "WINDOWID",
    "WINDOWPATH",
    "WT_SESSION",
    "XDG_ACTIVATION_TOKEN",
    "XDG_SESSION_ID",
    "ZELLIJ",
    "_P9K_SSH_TTY",
    "_P9K_TTY",
];
/// The same by the beginning of their names.
const FLEETING_PREFIXES: [&str; 20] = [
    "ALACRITTY_",
    "ATUIN_",
    "BRIGADE_",
    "DIRENV_",
    "GHOSTTY_",
    "GIT_PUSH_OPTION_",
    "ITERM_",
    "KITTY_",
    "KONSOLE_",
    "LC_TERMINAL",
    "OPENCODE_SERVER_",
    "P9K_",
    "SHELL_SESSION_",
    "STARSHIP_",
    "TERM_",
    "TMUX",
    "VSCODE_",
    "WEZTERM_",
    "ZELLIJ_",
    "npm_",
];

/// What of a host's environment a server of its kind is started with.
pub fn lasting(variables: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let fleeting = |name: &str| {
        FLEETING.contains(&name)
            || FLEETING_PREFIXES
                .iter()
                .any(|prefix| name.starts_with(prefix))
    };
    variables
        .iter()
        .filter(|(name, _)| !fleeting(name))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

/// The names of those variables that look like credentials: without them a model may not be reached.
pub fn credentials(variables: &BTreeMap<String, String>) -> Vec<String> {
    const ENDINGS: [&str; 6] = [
        "_KEY",
        "_TOKEN",
        "_SECRET",
        "_PASSWORD",
        "_CREDENTIALS",
        "_PAT",
    ];
    let secret = |name: &str| {
        let name = name.to_ascii_uppercase();
        ENDINGS.iter().any(|ending| name.ends_with(ending)) || name.starts_with("AWS_")
    };
    lasting(variables)
        .into_iter()
        .filter(|(name, value)| secret(name) && !value.is_empty())
        .map(|(name, _)| name)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn a_server_gets_the_persons_surroundings_and_nothing_of_a_terminal_or_a_process() {
        let host = variables(&[
            ("PATH", "/bin"),
            ("OPENAI_API_KEY", "sk"),
            ("OPENCODE_CONFIG", "/c.json"),
            ("TERM", "xterm"),
            ("TMUX_PANE", "%1"),
            ("STARSHIP_SESSION_KEY", "1"),
            ("OPENCODE_SERVER_PASSWORD", "theirs"),
            ("BRIGADE_WORKER", "x"),
            ("GIT_INDEX_FILE", ".git/index.lock"),
            ("GIT_AUTHOR_DATE", "@1"),
            ("GIT_SSH_COMMAND", "ssh -i k"),
        ]);
        let kept = lasting(&host);
        let names: Vec<&str> = kept.keys().map(String::as_str).collect();
        assert_eq!(
            names,
            [
                "GIT_SSH_COMMAND",
                "OPENAI_API_KEY",
                "OPENCODE_CONFIG",
                "PATH"
            ]
        );
        // What a server was started with is what it tells of itself.
        assert_eq!(lasting(&kept), kept);
    }

    #[test]
    fn credentials_are_known_by_name_and_never_by_value() {
        let host = variables(&[
            ("OPENAI_API_KEY", "sk"),
            ("github_token", "gh"),
            ("EMPTY_TOKEN", ""),
            ("AWS_PROFILE", "dev"),
            ("KEYBOARD", "us"),
            ("OPENCODE_SERVER_PASSWORD", "p"),
        ]);
        assert_eq!(
            credentials(&host),
            ["AWS_PROFILE", "OPENAI_API_KEY", "github_token"]
        );
    }
}
