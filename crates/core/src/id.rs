//! Identifiers, each validated where it enters, so that no path or query is ever built from free text.

use std::fmt;
use std::str::FromStr;

use rand::Rng;
use serde::{Deserialize, Serialize};

/// Longest delegation ID that is accepted, in bytes. The longest that [`DelegationId::generate`] makes
/// and those the predecessor made stay well below it.
const MAX_DELEGATION_ID: usize = 64;
/// Longest word of an ID that is drawn, in letters.
const LONGEST_WORD: usize = 7;
/// Longest session or message ID that is accepted, in bytes (OpenCode's have 30).
const MAX_HOST_ID: usize = 64;

/// Why a text is no ID.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Not three or more lower-case words joined by hyphens.
    #[error(
        "{0:?} is no delegation ID: an ID is three lower-case words joined by hyphens, like brave-amber-otter"
    )]
    Delegation(String),
    /// Not a host's session or message ID.
    #[error("{0:?} is no session ID")]
    Session(String),
    /// Not 16 or 40 hex digits.
    #[error("{0:?} is no project ID: a project ID has 16 or 40 hex digits")]
    Project(String),
}

/// The head of a rejected text, so that an error stays readable whatever was passed in.
fn head(text: &str) -> String {
    let mut head: String = text.chars().take(60).collect();
    if head.len() < text.len() {
        head.push('…');
    }
    head
}

macro_rules! text_id {
    ($name:ident) => {
        impl $name {
            /// The ID as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(text: String) -> Result<Self, IdError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0
            }
        }
    };
}

/// A delegation's one ID, from birth to the archive: lower-case words joined by hyphens.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DelegationId(String);
text_id!(DelegationId);

impl DelegationId {
    /// Draws an ID of three words, two adjectives and a noun, of at most [`LONGEST_WORD`] letters each: people
    /// type them, and models copy them. Uniqueness is the store's to check; the caller draws again.
    pub fn generate<R: Rng>(rng: &mut R) -> Self {
        let words = petname::Petnames::default();
        let id = [
            pick(rng, &words.adjectives),
            pick(rng, &words.adjectives),
            pick(rng, &words.nouns),
        ];
        Self(id.join("-"))
    }
}

/// Draws a short word.
fn pick<'a, R: Rng>(rng: &mut R, list: &[&'a str]) -> &'a str {
    loop {
        let index = usize::try_from(rng.next_u64() % (list.len() as u64)).unwrap_or(0);
        let word = list[index];
        if word.len() <= LONGEST_WORD {
            return word;
        }
    }
}

impl FromStr for DelegationId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let words_ok = text
            .split('-')
            .all(|word| !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase()));
        if text.len() <= MAX_DELEGATION_ID && words_ok && text.matches('-').count() >= 2 {
            Ok(Self(text.to_owned()))
        } else {
            Err(IdError::Delegation(head(text)))
        }
    }
}

/// A session of the host, as the host names it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SessionId(String);
text_id!(SessionId);

/// Stands for the session in which work from the shell was asked for; the hosts' own names all have an underscore.
const SHELL: &str = "shell";

impl SessionId {
    /// What stands for the parent of work that no session has asked for, but a person in a shell.
    pub fn shell() -> Self {
        Self(SHELL.to_owned())
    }

    /// Whether it is no session of a host's, but stands for the shell.
    pub fn is_shell(&self) -> bool {
        self.0 == SHELL
    }
}

impl FromStr for SessionId {
    type Err = IdError;

    /// Accepts letters, digits, `_` and `-`: what can be a path component and a URL segment as it is.
    fn from_str(text: &str) -> Result<Self, IdError> {
        let ok = !text.is_empty()
            && text.len() <= MAX_HOST_ID
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
        if ok {
            Ok(Self(text.to_owned()))
        } else {
            Err(IdError::Session(head(text)))
        }
    }
}

/// A git repository (or a folder outside git), shared by all its worktrees.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ProjectId(String);
text_id!(ProjectId);

impl ProjectId {
    /// The ID of a folder outside git: the first 16 hex digits of the SHA-256 of its path, as the
    /// predecessor made it.
    pub fn from_path(path: &str) -> Self {
        use sha2::{Digest, Sha256};
        let digest = Sha256::digest(path.as_bytes());
        Self(digest.iter().take(8).map(|b| format!("{b:02x}")).collect())
    }
}

impl FromStr for ProjectId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let hex = text.bytes().all(|b| b.is_ascii_hexdigit());
        if hex && (text.len() == 40 || text.len() == 16) {
            Ok(Self(text.to_ascii_lowercase()))
        } else {
            Err(IdError::Project(head(text)))
        }
    }
}

/// The number of a run: 0 before the first, then 1, 2, … What an earlier attempt still says is fenced
/// off by comparing it.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Attempt(pub u32);

impl Attempt {
    /// The attempt after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    #[test]
    fn generated_ids_are_valid_and_differ() {
        let mut rng = StdRng::seed_from_u64(7);
        let ids: std::collections::HashSet<_> = (0..1_000)
            .map(|_| DelegationId::generate(&mut rng))
            .collect();
        assert!(ids.len() > 990, "only {} of 1000 differ", ids.len());
        for id in ids {
            assert_eq!(id.as_str().parse::<DelegationId>().as_ref(), Ok(&id));
        }
    }

    #[test]
    fn what_is_no_id_is_refused() {
        let long = "a-".repeat(5_000) + "b";
        for bad in [
            "", "x", "a-b", "../../x", "a/b-c-d", "a-b-c\0", "A-b-c", "a--b", "-a-b", "a-b-c-",
            &long,
        ] {
            assert!(bad.parse::<DelegationId>().is_err(), "{bad:?}");
        }
        for bad in ["", "ses/1", "..", "ses_\0", &long] {
            assert!(bad.parse::<SessionId>().is_err(), "{bad:?}");
        }
        assert!("../etc".parse::<ProjectId>().is_err());
    }

    #[test]
    fn a_path_gives_the_predecessors_project_id() {
        // sha256("/tmp/x") begins with this, by sha256sum.
        assert_eq!(ProjectId::from_path("/tmp/x").as_str(), "2e56aa36f538b33b");
    }
}
