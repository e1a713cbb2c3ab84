//! Which project a directory belongs to: the git repository, so that all its worktrees share it.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use brigade_core::id::ProjectId;
use tokio::process::Command;

/// How long git may take to name the root commits; on a network file system it can hang.
const GIT_TIMEOUT: Duration = Duration::from_secs(5);

/// The project of a directory: what `opencode` in the common git folder holds if it is an ID, else the
/// first of the sorted root commits; outside git, or before the first commit, a digest of the path.
pub(crate) async fn of(directory: &str) -> ProjectId {
    let fallback = || ProjectId::from_path(directory);
    #[cfg(test)]
    if directory == crate::simulation::DIRECTORY {
        return fallback();
    }
    let Some((top, git_dir)) = find_git(Path::new(directory)).await else {
        return fallback();
    };
    if let Some(text) = small_file(&git_dir.join("opencode")).await
        && let Ok(id) = text.trim().parse()
    {
        return id;
    }
    match first_root(&top).await {
        Some(id) => id,
        None => ProjectId::from_path(&top.to_string_lossy()),
    }
}

/// The project of a directory, where one was named.
pub(crate) async fn of_optional(directory: Option<&str>) -> Option<ProjectId> {
    match directory {
        Some(directory) => Some(of(directory).await),
        None => None,
    }
}

/// The top of the working tree and the git folder that all worktrees share.
async fn find_git(directory: &Path) -> Option<(PathBuf, PathBuf)> {
    for top in directory.ancestors() {
        let dot_git = top.join(".git");
        let Ok(meta) = tokio::fs::metadata(&dot_git).await else {
            continue;
        };
        if meta.is_dir() {
            return Some((top.to_owned(), dot_git));
        }
        // A worktree or submodule: the file names the folder, and that one may name the common one.
        let text = small_file(&dot_git).await?;
        let git_dir = top.join(text.strip_prefix("gitdir:")?.trim());
        let common = match small_file(&git_dir.join("commondir")).await {
            Some(common) => git_dir.join(common.trim()),
            None => git_dir,
        };
        return Some((top.to_owned(), common));
    }
    None
}

/// The text of a file that git keeps for a path or a name. What is no such file is not opened: a pipe would hold us up
/// for ever, and anybody may have made this one.
async fn small_file(path: &Path) -> Option<String> {
    const LONGEST: u64 = 16 * 1024;
    let meta = tokio::fs::metadata(path).await.ok()?;
    if !meta.is_file() || meta.len() > LONGEST {
        return None;
    }
    tokio::fs::read_to_string(path).await.ok()
}

/// The repository may be one that a delegated agent has made: nothing that it configures is started. The only way to
/// that would be an object that is missing, for which git would ask a remote by a program of the configuration.
async fn first_root(top: &Path) -> Option<ProjectId> {
    let mut git = Command::new("git");
    for (name, _) in std::env::vars_os() {
        if name.as_encoded_bytes().starts_with(b"GIT_") {
            git.env_remove(name);
        }
    }
    let git = git
        .args(["rev-list", "--max-parents=0", "--all"])
        .current_dir(top)
        .env("GIT_ALLOW_PROTOCOL", "none")
        .env("GIT_NO_LAZY_FETCH", "1")
        .env("GIT_TERMINAL_PROMPT", "0")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = match tokio::time::timeout(GIT_TIMEOUT, git).await {
        Ok(Ok(output)) if output.status.success() => output.stdout,
        Ok(Ok(_)) => return None,
        Ok(Err(error)) => {
            tracing::warn!(%error, "git could not be run; the project is known by its path");
            return None;
        }
        Err(_) => {
            tracing::warn!(top = %top.display(), "git took too long; the project is known by its path");
            return None;
        }
    };
    String::from_utf8_lossy(&output)
        .lines()
        .filter_map(|line| line.trim().parse::<ProjectId>().ok())
        .min()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn git(dir: &Path, args: &[&str]) -> String {
        let output = std::process::Command::new("git")
            .args(["-c", "user.name=t", "-c", "user.email=t@example.com"])
            .args(args)
            .current_dir(dir)
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    async fn id(dir: &Path) -> String {
        of(dir.to_str().unwrap()).await.to_string()
    }

    #[tokio::test]
    async fn worktrees_and_folders_share_the_root_commit() {
        let temp = tempfile::tempdir().unwrap();
        let repo = temp.path().join("repo");
        std::fs::create_dir_all(repo.join("deep/er")).unwrap();
        git(&repo, &["init", "-q"]);
        assert_eq!(
            id(&repo).await,
            ProjectId::from_path(repo.to_str().unwrap()).to_string()
        );
        git(&repo, &["commit", "-q", "--allow-empty", "-m", "first"]);
        let root = git(&repo, &["rev-list", "--max-parents=0", "HEAD"]);
        git(&repo, &["worktree", "add", "-q", "../other"]);
        assert_eq!(id(&repo).await, root);
        assert_eq!(id(&repo.join("deep/er")).await, root);
        assert_eq!(id(&temp.path().join("other")).await, root);
        std::fs::write(repo.join(".git/opencode"), "0123456789abcdef\n").unwrap();
        assert_eq!(id(&temp.path().join("other")).await, "0123456789abcdef");
        std::fs::write(repo.join(".git/opencode"), "no id").unwrap();
        assert_eq!(id(&repo).await, root);
    }

    #[tokio::test]
    async fn nothing_that_a_repository_configures_is_started() {
        let temp = tempfile::tempdir().unwrap();
        let repo = temp.path().join("repo");
        std::fs::create_dir(&repo).unwrap();
        git(&repo, &["init", "-q"]);
        git(&repo, &["commit", "-q", "--allow-empty", "-m", "first"]);
        let proof = temp.path().join("started");
        let program = format!("touch {}; git-upload-pack", proof.display());
        for (name, value) in [
            ("core.repositoryFormatVersion", "1"),
            ("extensions.partialClone", "evil"),
            ("remote.evil.url", "."),
            ("remote.evil.promisor", "true"),
            ("remote.evil.uploadpack", &program),
            ("protocol.file.allow", "always"),
            ("protocol.allow", "always"),
        ] {
            git(&repo, &["config", name, value]);
        }
        let missing = repo.join(".git/refs/heads/missing");
        std::fs::write(missing, format!("{}\n", "1".repeat(40))).unwrap();
        let path = repo.to_str().unwrap();
        assert_eq!(of(path).await, ProjectId::from_path(path));
        assert!(!proof.exists(), "the repository's program was started");
    }

    #[tokio::test]
    async fn a_pipe_in_the_place_of_a_file_holds_nobody_up() {
        let temp = tempfile::tempdir().unwrap();
        let repo = temp.path().join("repo");
        std::fs::create_dir(&repo).unwrap();
        git(&repo, &["init", "-q"]);
        for name in ["repo/.git/opencode", ".git"] {
            let made = std::process::Command::new("mkfifo")
                .arg(temp.path().join(name))
                .status();
            assert!(made.unwrap().success());
        }
        let path = repo.to_str().unwrap();
        assert_eq!(of(path).await, ProjectId::from_path(path));
        let path = temp.path().to_str().unwrap();
        assert_eq!(of(path).await, ProjectId::from_path(path));
    }

    #[tokio::test]
    async fn outside_git_the_path_decides() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().to_str().unwrap();
        assert_eq!(of(path).await, ProjectId::from_path(path));
    }
}
