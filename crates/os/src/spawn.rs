//! Starting a process that outlives its starter.

use std::ffi::{OsStr, OsString};
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Stdio;

use tokio::io::AsyncWriteExt;
use tokio::process::{Child, ChildStdin, Command};

use crate::process::{End, ProcessId};

/// What opens a gate.
const OPEN: &[u8] = b"go\n";

/// Starts `program` in `/`, reading nothing, with a pipe for its standard output and `errors` (made
/// with mode 0600, appended to) for its standard error, which goes nowhere if that can't be opened: a
/// full disk is no reason not to start. It is not stopped when the handle is dropped. The process
/// detaches itself by [`detach`].
///
/// # Errors
/// When the program can't be started.
pub fn background(
    program: &Path,
    args: impl IntoIterator<Item = impl AsRef<OsStr>>,
    errors: Option<&Path>,
) -> io::Result<Child> {
    let open = |path| {
        OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(path)
    };
    let stderr = errors
        .and_then(|path| open(path).ok())
        .map_or_else(Stdio::null, Stdio::from);
    Command::new(program)
        .args(args)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(stderr)
        .kill_on_drop(false)
        .spawn()
}

/// A started process that waits at its gate ([`pass_gate`]). Dropped, the gate closes for good and the
/// process ends without having done anything: who dies before the gate is open leaves nothing behind.
#[derive(Debug)]
pub struct Gated {
    /// The process; it stays the same through what it executes behind the gate.
    pub id: ProcessId,
    child: Child,
    gate: ChildStdin,
}

impl Gated {
    /// Lets the process through.
    ///
    /// # Errors
    /// When it has ended before.
    pub async fn open(mut self) -> io::Result<Child> {
        self.gate.write_all(OPEN).await?;
        self.gate.shutdown().await?;
        Ok(self.child)
    }
}

/// Starts `program` in `/` with exactly this environment, with `output` (made with mode 0600, replaced) for
/// both of its outputs. It has to wait by [`pass_gate`], and is not stopped when the handle is dropped after that.
///
/// # Errors
/// When the program can't be started or `output` not be made.
pub fn gated(
    program: &Path,
    args: impl IntoIterator<Item = impl AsRef<OsStr>>,
    env: impl IntoIterator<Item = (impl AsRef<OsStr>, impl AsRef<OsStr>)>,
    output: &Path,
) -> io::Result<Gated> {
    let log = OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(true)
        .mode(0o600)
        .open(output)?;
    let mut child = Command::new(program)
        .args(args)
        .env_clear()
        .envs(env)
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(log.try_clone()?)
        .stderr(log)
        .kill_on_drop(false)
        .spawn()?;
    let ended = || io::Error::other("it ended at once");
    let id = child.id().and_then(ProcessId::of).ok_or_else(ended)?;
    let gate = child.stdin.take().ok_or_else(ended)?;
    Ok(Gated { id, child, gate })
}

/// In a process that [`gated`] has started: leaves the starter's job and waits until the gate opens. False when
/// it never will, because the starter is gone or has changed its mind.
///
/// # Errors
/// When standard input can't be read.
pub fn pass_gate() -> io::Result<bool> {
    // Refused only to a leader of a group, who has left already.
    let _ = detach();
    let mut said = Vec::new();
    io::stdin().lock().read_to_end(&mut said)?;
    Ok(said == OPEN)
}

/// What says that a process on a leash may live on by itself.
const FREE: &[u8] = b"free\n";

/// Holds a process to the life of who holds this: dropped, be it by a crash, the process ends with it.
#[derive(Debug)]
pub struct Leash(Option<ChildStdin>);

impl Leash {
    /// One that holds nothing.
    pub fn none() -> Self {
        Self(None)
    }

    /// Lets the process live on by itself.
    ///
    /// # Errors
    /// When who watches it is gone; then nothing holds it.
    pub async fn release(mut self) -> io::Result<()> {
        match self.0.take() {
            Some(mut watch) => {
                watch.write_all(FREE).await?;
                watch.shutdown().await
            }
            None => Ok(()),
        }
    }
}

/// Puts a process on a leash: `program` is started in `/` to watch it by [`hold`].
///
/// # Errors
/// When the program can't be started.
pub fn leash(
    program: &Path,
    args: impl IntoIterator<Item = impl AsRef<OsStr>>,
) -> io::Result<Leash> {
    let mut child = Command::new(program)
        .args(args)
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(false)
        .spawn()?;
    Ok(Leash(child.stdin.take()))
}

/// In a process that [`leash`] has started: ends `process` and its group unless the leash is released.
///
/// # Errors
/// When the system refuses to end it.
pub fn hold(process: ProcessId) -> io::Result<()> {
    // Refused only to a leader of a group, who has left already.
    let _ = detach();
    let mut said = Vec::new();
    // What can't be read any more is held by nobody either.
    let read = io::stdin().lock().read_to_end(&mut said);
    if read.is_ok() && said == FREE {
        return Ok(());
    }
    process.end(End::Kill)
}

/// Becomes another program, which reads nothing; returns only when that fails.
pub fn become_program(program: &OsStr, args: &[OsString]) -> io::Error {
    std::process::Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .exec()
}

/// Leaves the terminal and the job of who started this process, by a session of its own: closing
/// the terminal or interrupting the starter then doesn't reach it.
///
/// # Errors
/// When this process leads a group already (it was started from a shell's prompt).
pub fn detach() -> io::Result<()> {
    rustix::process::setsid()?;
    Ok(())
}

/// Closes standard output for good, so that who reads it sees its end, and puts `/dev/null` there.
///
/// # Errors
/// When `/dev/null` can't be opened.
pub fn release_stdout() -> io::Result<()> {
    let null = File::options().write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdout(&null)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt;

    #[tokio::test]
    async fn runs_in_the_root_folder_with_its_output_piped() {
        let dir = tempfile::tempdir().unwrap();
        let errors = dir.path().join("errors");
        for _ in 0..2 {
            let script = "pwd; cat; echo oops >&2";
            let mut child =
                background(Path::new("/bin/sh"), ["-c", script], Some(&errors)).unwrap();
            let mut text = String::new();
            child
                .stdout
                .take()
                .unwrap()
                .read_to_string(&mut text)
                .await
                .unwrap();
            assert_eq!(text, "/\n");
            assert!(child.wait().await.unwrap().success());
        }
        assert_eq!(std::fs::read_to_string(&errors).unwrap(), "oops\noops\n");
    }

    #[tokio::test]
    async fn a_gate_that_closes_lets_nobody_through() {
        let dir = tempfile::tempdir().unwrap();
        let output = dir.path().join("output");
        // What `pass_gate` does, in the shell's words.
        let script = "read line || exit 7; echo \"$line $WORD\"";
        let start = || {
            gated(
                Path::new("/bin/sh"),
                ["-c", script],
                [("WORD", "x")],
                &output,
            )
        };
        let open = start().unwrap();
        let id = open.id;
        let mut child = open.open().await.unwrap();
        assert!(child.wait().await.unwrap().success());
        assert!(!id.is_alive());
        assert_eq!(std::fs::read_to_string(&output).unwrap(), "go x\n");
        let closed = start().unwrap();
        let id = closed.id;
        drop(closed);
        id.wait_exit().await.unwrap();
        assert_eq!(std::fs::read_to_string(&output).unwrap(), "");
    }

    #[test]
    fn a_program_that_is_not_there_is_an_error() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let _inside = runtime.enter();
        let error = background(Path::new("/no/such"), [""; 0], None).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
