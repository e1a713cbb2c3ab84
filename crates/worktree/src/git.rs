//! Running git, and never with what a child could have configured.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::bytes::text;
use crate::error::{Fault, io_at};
use crate::place::Place;
use crate::repository::Repository;

/// How long a single command may take.
const LIMIT: Duration = Duration::from_secs(15 * 60);

/// What every command is told: nothing of the repository's own is started, nothing is fetched.
const ALWAYS: [&str; 13] = [
    "core.fsmonitor=false",
    "core.hooksPath=/dev/null",
    "core.untrackedCache=false",
    "core.splitIndex=false",
    "core.ignoreStat=false",
    // It would refuse files whose line ends are mixed.
    "core.safecrlf=false",
    "index.sparse=false",
    "protocol.allow=never",
    "gc.auto=0",
    "maintenance.auto=false",
    "color.ui=false",
    // Objects are on disk before anything is said about them; one flush for all of a command's.
    "core.fsync=objects,reference",
    "core.fsyncMethod=batch",
];

/// One git command.
pub(crate) struct Git {
    command: Command,
    shown: String,
    stdin: Option<Vec<u8>>,
    file: Option<File>,
    limit: Duration,
}

/// What a command has said, however it ended.
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
}

impl Git {
    /// Git in a directory of the person's, which finds the repository itself.
    pub(crate) fn within(place: &Place, directory: &Path) -> Self {
        let mut command = Command::new("git");
        if let Some(environment) = place.environment() {
            command.env_clear();
            command.envs(environment);
        }
        // Nothing may lead git to another repository, index or configuration than the one meant.
        let inherited: Vec<OsString> = match place.environment() {
            Some(environment) => environment.keys().cloned().collect(),
            None => std::env::vars_os().map(|(name, _)| name).collect(),
        };
        for name in inherited {
            if name.as_encoded_bytes().starts_with(b"GIT_") {
                command.env_remove(name);
            }
        }
        command
            .env("GIT_OPTIONAL_LOCKS", "0")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_NO_LAZY_FETCH", "1")
            // What a configuration says of protocols goes before what we say by `-c`, and not before this.
            .env("GIT_ALLOW_PROTOCOL", "none")
            .env("LC_ALL", "C")
            .current_dir(directory)
            .kill_on_drop(true);
        for setting in ALWAYS {
            command.arg("-c").arg(setting);
        }
        Self {
            command,
            shown: String::new(),
            stdin: None,
            file: None,
            limit: LIMIT,
        }
    }

    /// Git on the person's repository, with the person's configuration. New objects go into the
    /// vault, and so must the index that is used.
    pub(crate) fn of_person(place: &Place, repository: &Repository, index: &Path) -> Self {
        Self::within(place, &repository.top)
            .env("GIT_DIR", &repository.git_dir)
            .env("GIT_WORK_TREE", &repository.top)
            .env("GIT_INDEX_FILE", index)
            .env("GIT_OBJECT_DIRECTORY", place.vault().join("objects"))
    }

    /// Git on the vault, with nobody's configuration. Attributes of no tree count.
    pub(crate) fn of_vault(place: &Place) -> Self {
        Self::of_vault_over(place, &place.nowhere(), &place.index("none"))
    }

    /// Git on the vault over a working tree: its files are read and its attributes count, nothing in
    /// it is run.
    pub(crate) fn of_vault_over(place: &Place, tree: &Path, index: &Path) -> Self {
        Self::within(place, tree)
            .env("GIT_DIR", place.vault())
            .env("GIT_WORK_TREE", tree)
            .env("GIT_INDEX_FILE", index)
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_ATTR_NOSYSTEM", "1")
            // Who the synthetic commits are by, and when, makes no difference to anything.
            .env("GIT_AUTHOR_NAME", "Brigade")
            .env("GIT_AUTHOR_EMAIL", "brigade@localhost")
            .env("GIT_AUTHOR_DATE", "@1 +0000")
            .env("GIT_COMMITTER_NAME", "Brigade")
            .env("GIT_COMMITTER_EMAIL", "brigade@localhost")
            .env("GIT_COMMITTER_DATE", "@1 +0000")
    }

    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    pub(crate) fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        if !self.shown.is_empty() {
            self.shown.push(' ');
        }
        self.shown.push_str(&argument.as_ref().to_string_lossy());
        self.command.arg(argument);
        self
    }

    pub(crate) fn args<A: AsRef<OsStr>>(self, arguments: impl IntoIterator<Item = A>) -> Self {
        arguments.into_iter().fold(self, Self::arg)
    }

    /// What it reads.
    pub(crate) fn reading(mut self, stdin: Vec<u8>) -> Self {
        self.stdin = Some(stdin);
        self
    }

    /// The file that it reads.
    pub(crate) fn reading_file(mut self, path: &Path) -> Result<Self, Fault> {
        self.file = Some(File::open(path).map_err(io_at("reading", path))?);
        Ok(self)
    }

    /// How long it may take at most.
    pub(crate) fn within_time(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Its output, if it succeeds.
    pub(crate) async fn output(self) -> Result<Vec<u8>, Fault> {
        Ok(self.heard().await?.stdout)
    }

    /// Its output without the white space around it, if it succeeds.
    pub(crate) async fn line(self) -> Result<String, Fault> {
        Ok(text(&self.output().await?))
    }

    /// All that it says, if it succeeds.
    pub(crate) async fn heard(self) -> Result<Said, Fault> {
        let shown = self.shown.clone();
        let said = self.said().await?;
        if said.code == Some(0) {
            Ok(said)
        } else {
            Err(said.failed(shown))
        }
    }

    /// All that it says, and how it ended.
    pub(crate) async fn said(self) -> Result<Said, Fault> {
        self.run(Stdio::piped()).await
    }

    /// Has its output written to a file, if it succeeds.
    pub(crate) async fn into_file(self, file: &File) -> Result<(), Fault> {
        let shown = self.shown.clone();
        let file = file
            .try_clone()
            .map_err(io_at("writing the output of git", Path::new("")))?;
        let said = self.run(Stdio::from(file)).await?;
        if said.code == Some(0) {
            Ok(())
        } else {
            Err(said.failed(shown))
        }
    }

    async fn run(mut self, stdout: Stdio) -> Result<Said, Fault> {
        let stdin = match (self.file.take(), &self.stdin) {
            (Some(file), _) => Stdio::from(file),
            (None, Some(_)) => Stdio::piped(),
            (None, None) => Stdio::null(),
        };
        let mut child = self
            .command
            .stdin(stdin)
            .stdout(stdout)
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|why| Fault::NoGit { why })?;
        let pipe = child.stdin.take();
        let input = self.stdin.take().unwrap_or_default();
        let feed = async move {
            if let Some(mut pipe) = pipe {
                // A command that has failed reads no further, and says itself what is wrong.
                let _ = pipe.write_all(&input).await;
            }
        };
        let both = async { tokio::join!(feed, child.wait_with_output()).1 };
        let output = tokio::time::timeout(self.limit, both)
            .await
            .map_err(|_| Fault::Slow {
                command: self.shown.clone(),
                limit: self.limit,
            })?
            .map_err(|why| Fault::NoGit { why })?;
        Ok(Said {
            code: output.status.code(),
            stdout: output.stdout,
            stderr: output.stderr,
        })
    }
}

impl Said {
    /// As an error of the command.
    pub(crate) fn failed(&self, command: String) -> Fault {
        Fault::Git {
            command,
            code: self.code,
            stderr: text(&self.stderr),
        }
    }
}

/// Checks that git is there and new enough.
pub(crate) async fn check_version(place: &Place) -> Result<(), Fault> {
    let found = Git::within(place, Path::new("/"))
        .arg("version")
        .line()
        .await?;
    if version(&found).is_some_and(|version| version >= (2, 38)) {
        Ok(())
    } else {
        Err(Fault::TooOld { found })
    }
}

fn version(said: &str) -> Option<(u32, u32)> {
    let mut numbers = said.strip_prefix("git version ")?.split(['.', ' ', '-']);
    let major = numbers.next()?.parse().ok()?;
    let minor = numbers.next()?.parse().ok()?;
    Some((major, minor))
}

#[cfg(test)]
mod tests {
    use super::version;

    #[test]
    fn versions_of_all_makes_are_read() {
        assert_eq!(version("git version 2.39.5"), Some((2, 39)));
        assert_eq!(version("git version 2.37.0 (Apple Git-136)"), Some((2, 37)));
        assert_eq!(version("git version 2.47.3.windows.1"), Some((2, 47)));
        assert_eq!(version("git version 3.0-rc1"), Some((3, 0)));
        assert_eq!(version("something else"), None);
    }
}
