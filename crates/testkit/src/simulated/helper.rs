//! Real processes for what the daemon watches by process: they only pass connections on.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};

use crate::{Error, Result};

/// The variable that makes a test program a helper.
const ROLE: &str = "BRIGADE_TEST_ROLE";
const LISTEN: &str = "BRIGADE_TEST_LISTEN";
const TARGET: &str = "BRIGADE_TEST_TARGET";
/// What a helper says once it can be used.
const READY: &str = "brigade-helper-ready";

/// What a test program was started for, if it is a helper.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Role(pub String);

impl Role {
    /// The role that the environment gives this process.
    #[must_use]
    pub fn of_this_process() -> Option<Self> {
        std::env::var(ROLE).ok().map(Self)
    }

    /// Says that the helper can be used.
    ///
    /// # Errors
    /// When nobody reads it.
    pub fn ready() -> io::Result<()> {
        let mut out = io::stdout().lock();
        writeln!(out, "\n{READY}")?;
        out.flush()
    }
}

/// A helper process: this test program once more, in a role. It is killed when dropped, and ends by itself when
/// its input does.
#[derive(Debug)]
pub struct Helper {
    child: Child,
    input: ChildStdin,
}

impl Helper {
    /// Starts this test program with only this test, which has to look at [`Role::of_this_process`], and waits
    /// until it is ready.
    ///
    /// # Errors
    /// When it can't be started, or ends first.
    pub async fn start(test: &str, role: &str, env: &[(&str, &Path)]) -> Result<Self> {
        Self::start_by(&[], test, role, env).await
    }

    /// As [`Self::start`], by a program that turns into the helper with the arguments it is given last, as
    /// `env` and `unshare` do.
    ///
    /// # Errors
    /// When it can't be started, or ends first.
    pub async fn start_by(
        by: &[OsString],
        test: &str,
        role: &str,
        env: &[(&str, &Path)],
    ) -> Result<Self> {
        let program = std::env::current_exe().map_err(Error::io("find this program"))?;
        let mut command = match by {
            [] => Command::new(program),
            [by, args @ ..] => {
                let mut command = Command::new(by);
                command.args(args).arg(program);
                command
            }
        };
        command
            .args(["--exact", test, "--nocapture", "--test-threads=1"])
            .env(ROLE, role)
            .envs(env.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command
            .spawn()
            .map_err(Error::io(format!("start the {role}")))?;
        let missing = || io::Error::other("a pipe is missing");
        let input = child.stdin.take().ok_or_else(missing);
        let output = child.stdout.take().ok_or_else(missing);
        let name = format!("use the {role}'s pipes");
        let (input, output) = (
            input.map_err(Error::io(name.clone()))?,
            output.map_err(Error::io(name))?,
        );
        let mut lines = BufReader::new(output).lines();
        let mut said = String::new();
        while let Some(line) = lines
            .next_line()
            .await
            .map_err(Error::io("read a helper's output"))?
        {
            if line == READY {
                return Ok(Self { child, input });
            }
            said.push_str(&line);
            said.push('\n');
        }
        Err(Error::Exited {
            what: format!("the {role}"),
            output: said,
        })
    }

    /// A process that passes what connects to `listen` on to `target`.
    ///
    /// # Errors
    /// When it can't be started.
    pub async fn relay(test: &str, listen: &Path, target: &Path) -> Result<Self> {
        Self::start(test, "relay", &[(LISTEN, listen), (TARGET, target)]).await
    }

    /// Its process ID; none once it has been waited for.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Writes a line to its input.
    ///
    /// # Errors
    /// When it has ended.
    pub async fn tell(&mut self, line: &str) -> Result<()> {
        let line = format!("{line}\n");
        self.input
            .write_all(line.as_bytes())
            .await
            .map_err(Error::io("write to a helper"))
    }

    /// Kills it without a warning and waits until it is gone.
    ///
    /// # Errors
    /// When the system refuses.
    pub async fn kill(&mut self) -> Result<()> {
        self.child.kill().await.map_err(Error::io("kill a helper"))
    }

    /// Waits until it has ended by itself.
    ///
    /// # Errors
    /// When the system refuses.
    pub async fn ended(&mut self) -> Result<std::process::ExitStatus> {
        self.child
            .wait()
            .await
            .map_err(Error::io("wait for a helper"))
    }
}

/// The relay's life, in its own process: until its input ends.
///
/// # Errors
/// When it was not told where to listen, or can't.
pub fn relay() -> io::Result<()> {
    let place = |name: &str| {
        let missing = || io::Error::other(format!("{name} is not set"));
        std::env::var_os(name)
            .map(PathBuf::from)
            .ok_or_else(missing)
    };
    let (listen, target) = (place(LISTEN)?, place(TARGET)?);
    let listener = UnixListener::bind(listen)?;
    std::thread::spawn(move || {
        for near in listener.incoming().flatten() {
            // Who finds nobody behind it sees a connection that is closed at once.
            if let Ok(far) = UnixStream::connect(&target) {
                pass(near, far);
            }
        }
    });
    Role::ready()?;
    io::copy(&mut io::stdin().lock(), &mut io::sink()).map(|_| ())
}

fn pass(near: UnixStream, far: UnixStream) {
    let (Ok(near_too), Ok(far_too)) = (near.try_clone(), far.try_clone()) else {
        return;
    };
    std::thread::spawn(move || copy(&near_too, &far_too));
    std::thread::spawn(move || copy(&far, &near));
}

/// Copies until either end is closed, and closes both then.
fn copy(mut from: &UnixStream, mut to: &UnixStream) {
    let mut buffer = [0; 65_536];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        if to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    for end in [from, to] {
        // It may be closed already.
        let _closed = end.shutdown(Shutdown::Both);
    }
}
