//! What the names in a repository point to, as plain text: `OID NAME`, or `ref: NAME NAME`.

use std::collections::BTreeMap;
use std::path::Path;

use crate::bytes;
use crate::disk::{make_folder, write_plainly};
use crate::error::Fault;
use crate::git::Git;
use crate::place::Place;
use crate::repository::Repository;

/// What a name points to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Points {
    /// To an object.
    At(String),
    /// To where another name points.
    Like(String),
}

/// All names of a repository, `HEAD` among them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Refs(pub(crate) BTreeMap<String, Points>);

impl Refs {
    /// The person's.
    pub(crate) async fn of_person(place: &Place, repository: &Repository) -> Result<Self, Fault> {
        let git = || Git::of_person(place, repository, &repository.index);
        let mut refs = BTreeMap::new();
        let listed = git()
            .args([
                "for-each-ref",
                "--format=%(objectname) %(refname) %(symref)",
            ])
            .output()
            .await?;
        for line in bytes::lines(&listed) {
            let line = bytes::text(line);
            let mut parts = line.split(' ');
            let (Some(oid), Some(name)) = (parts.next(), parts.next()) else {
                continue;
            };
            let points = match parts.next() {
                Some(other) if !other.is_empty() => Points::Like(other.to_owned()),
                _ => Points::At(oid.to_owned()),
            };
            refs.insert(name.to_owned(), points);
        }
        let branch = git().args(["symbolic-ref", "-q", "HEAD"]).said().await?;
        let head = if branch.code == Some(0) {
            Points::Like(bytes::text(&branch.stdout))
        } else {
            Points::At(git().args(["rev-parse", "--verify", "HEAD"]).line().await?)
        };
        refs.insert("HEAD".to_owned(), head);
        Ok(Self(refs))
    }

    /// As text.
    pub(crate) fn to_text(&self) -> String {
        self.0
            .iter()
            .fold(String::new(), |text, (name, points)| match points {
                Points::At(oid) => text + &format!("{oid} {name}\n"),
                Points::Like(other) => text + &format!("ref: {other} {name}\n"),
            })
    }

    /// From that text.
    pub(crate) fn from_text(text: &str) -> Self {
        let refs = text.lines().filter_map(|line| {
            let (points, name) = line.rsplit_once(' ')?;
            let points = points.strip_prefix("ref: ").map_or_else(
                || Points::At(points.to_owned()),
                |other| Points::Like(other.to_owned()),
            );
            Some((name.to_owned(), points))
        });
        Self(refs.collect())
    }

    /// The objects that are named.
    pub(crate) fn objects(&self) -> impl Iterator<Item = &str> {
        self.0.values().filter_map(|points| match points {
            Points::At(oid) => Some(oid.as_str()),
            Points::Like(_) => None,
        })
    }

    /// Writes them into a new git directory.
    pub(crate) fn write(&self, git_dir: &Path) -> Result<(), Fault> {
        make_folder(&git_dir.join("refs/heads"))?;
        make_folder(&git_dir.join("refs/tags"))?;
        // Bytewise order of names is what git calls sorted.
        let mut packed = "# pack-refs with: sorted \n".to_owned();
        for (name, points) in &self.0 {
            match points {
                Points::At(oid) if name == "HEAD" => {
                    write_plainly(&git_dir.join(name), format!("{oid}\n").as_bytes())?;
                }
                Points::At(oid) => packed += &format!("{oid} {name}\n"),
                Points::Like(other) => {
                    write_plainly(&git_dir.join(name), format!("ref: {other}\n").as_bytes())?;
                }
            }
        }
        write_plainly(&git_dir.join("packed-refs"), packed.as_bytes())
    }
}
