//! A part of a change as a patch.

use crate::error::Fault;
use crate::git::Git;
use crate::place::Place;

/// What every patch is made with: all of each file, and nothing of anybody's configuration.
pub(crate) const PATCH: [&str; 10] = [
    "diff-tree",
    "-r",
    "-p",
    "--binary",
    "--full-index",
    "--no-renames",
    "--no-ext-diff",
    "--no-textconv",
    "--src-prefix=a/",
    "--dst-prefix=b/",
];

/// What leads from one tree in the vault to another at these files and folders, as a patch; all of it where none is
/// named.
///
/// # Errors
/// When git fails.
pub async fn diff(place: &Place, from: &str, to: &str, paths: &[String]) -> Result<Vec<u8>, Fault> {
    Git::of_vault(place)
        .env("GIT_LITERAL_PATHSPECS", "1")
        .args(PATCH)
        .args([from, to, "--"])
        .args(paths)
        .output()
        .await
}
