//! Starting a process that outlives its starter.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::Stdio;

use tokio::process::{Child, Command};

/// Starts `program` in `/`, reading nothing, with a pipe for its standard output and `errors` (made
/// with mode 0600, appended to) for its standard error. It is not stopped when the handle is
/// dropped. The process detaches itself by [`detach`].
///
/// # Errors
/// When the program can't be started or `errors` not be opened.
pub fn background(
    program: &Path,
    args: impl IntoIterator<Item = impl AsRef<OsStr>>,
    errors: Option<&Path>,
) -> io::Result<Child> {
    let stderr = match errors {
        Some(path) => Stdio::from(
            OpenOptions::new()
                .create(true)
                .append(true)
                .mode(0o600)
                .open(path)?,
        ),
        None => Stdio::null(),
    };
    Command::new(program)
        .args(args)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(stderr)
        .kill_on_drop(false)
        .spawn()
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
