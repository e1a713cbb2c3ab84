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
    if let Ok(text) = tokio::fs::read_to_string(git_dir.join("opencode")).await
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
        let text = tokio::fs::read_to_string(&dot_git).await.ok()?;
        let git_dir = top.join(text.strip_prefix("gitdir:")?.trim());
        let common = match tokio::fs::read_to_string(git_dir.join("commondir")).await {
            Ok(common) => git_dir.join(common.trim()),
            Err(_) => git_dir,
        };
        return Some((top.to_owned(), common));
    }
    None
}

async fn first_root(top: &Path) -> Option<ProjectId> {
    let git = Command::new("git")
        .args(["rev-list", "--max-parents=0", "--all"])
        .current_dir(top)
        .env_remove("GIT_DIR")
        .env_remove("GIT_WORK_TREE")
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
    async fn outside_git_the_path_decides() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().to_str().unwrap();
        assert_eq!(of(path).await, ProjectId::from_path(path));
    }
}
