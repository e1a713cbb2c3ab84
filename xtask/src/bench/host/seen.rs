//! What a batch has left behind: in the model's records, in the event stream, on disk.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use brigade_testkit::{Kind, Record};
use serde_json::Value;

use super::run::Carried;
use crate::error::{Error, Result, io};

/// What names a piece of work.
#[derive(Debug)]
pub(super) struct Piece {
    marker: String,
    /// The ID that the call has answered, where it did.
    id: Option<String>,
}

impl Piece {
    pub(super) fn new(marker: String, output: &str) -> Self {
        let id = output
            .split_once("Delegation started: ")
            .and_then(|(_, rest)| rest.split_whitespace().next())
            .map(str::to_owned);
        Self { marker, id }
    }

    /// Whether a text tells of it.
    pub(super) fn is_told_by(&self, text: &str) -> bool {
        let id = self.id.as_deref();
        text.contains(&self.marker) || id.is_some_and(|id| text.contains(id))
    }
}

/// The end of a child's model.
#[derive(Debug)]
pub(super) struct End {
    session: String,
    /// When its last byte was sent.
    pub(super) at: Instant,
}

/// All that can be looked at once a batch is over.
pub(super) struct Seen<'a> {
    pub(super) parent: &'a str,
    pub(super) pieces: &'a [Piece],
    /// The model's records since the batch was begun.
    pub(super) requests: &'a [Record],
    /// The host's events since then.
    pub(super) events: &'a [(Instant, Value)],
    /// The number of the first event after the children were let go.
    pub(super) from_event: usize,
}

impl Seen<'_> {
    /// When each piece's model has ended, in the pieces' order.
    pub(super) fn ends(&self) -> Result<Vec<End>> {
        let end = |piece: &Piece| {
            let request = self.child_request(piece);
            let end = request.and_then(|request| {
                Some(End {
                    session: request.session.clone()?,
                    at: request.answered?,
                })
            });
            end.ok_or_else(|| Error::Wrong(format!("nobody worked on {}", piece.marker)))
        };
        self.pieces.iter().map(end).collect()
    }

    /// The request of the one who works on a piece. Later ones that name it may be about its result.
    fn child_request(&self, piece: &Piece) -> Option<&Record> {
        self.requests.iter().find(|request| {
            request.kind == Kind::Turn
                && request.session.as_deref() != Some(self.parent)
                && request.prompt.contains(&piece.marker)
        })
    }

    /// From each end to the child's being idle.
    pub(super) fn idle(&self, ends: &[End]) -> Vec<Duration> {
        let idle = |end: &End| {
            let (heard, _) = self.events[self.from_event..].iter().find(|(_, event)| {
                event["type"] == "session.idle" && event["properties"]["sessionID"] == end.session
            })?;
            Some(heard.saturating_duration_since(end.at))
        };
        ends.iter().filter_map(idle).collect()
    }

    /// From each end to the notice's being in the parent session; of nobody who does not send one.
    pub(super) fn notices(&self, ends: &[End]) -> Vec<Duration> {
        let texts: Vec<(Instant, &str)> = self.events[self.from_event..]
            .iter()
            .filter_map(|(heard, event)| {
                let part = &event["properties"]["part"];
                let of_parent = event["type"] == "message.part.updated"
                    && part["type"] == "text"
                    && part["sessionID"] == self.parent;
                Some((*heard, part["text"].as_str().filter(|_| of_parent)?))
            })
            .collect();
        let notice = |(piece, end): (&Piece, &End)| {
            let (heard, _) = texts.iter().find(|(_, text)| piece.is_told_by(text))?;
            Some(heard.saturating_duration_since(end.at))
        };
        self.pieces.iter().zip(ends).filter_map(notice).collect()
    }

    /// From each end to the moment at which its artifact took its place: the last change of the file's entry, which
    /// a rename is too.
    pub(super) fn artifacts(&self, ends: &[End], folder: &Path) -> Result<Vec<Duration>> {
        let (now, wall) = (Instant::now(), SystemTime::now());
        let mut found = Vec::new();
        for path in artifacts_of(folder, self.parent)? {
            let failed = || io(format!("read {}", path.display()));
            let text = fs::read_to_string(&path).map_err(failed())?;
            let told = self.pieces.iter().zip(ends);
            let Some((_, end)) = told.into_iter().find(|(piece, _)| piece.is_told_by(&text)) else {
                continue;
            };
            let of_file = fs::metadata(&path).map_err(failed())?;
            let seconds = u64::try_from(of_file.ctime()).unwrap_or_default();
            let nanoseconds = u32::try_from(of_file.ctime_nsec()).unwrap_or_default();
            let changed = UNIX_EPOCH + Duration::new(seconds, nanoseconds);
            let ended = wall - now.saturating_duration_since(end.at);
            found.push(changed.duration_since(ended).unwrap_or_default());
        }
        Ok(found)
    }

    /// The sessions that were made.
    pub(super) fn sessions(&self) -> usize {
        let made = |(_, event): &&(Instant, Value)| event["type"] == "session.created";
        self.events.iter().filter(made).count()
    }

    /// What requests carry.
    pub(super) fn carried(&self, waking: &Record) -> Carried {
        let of_parent = |request: &&Record| request.session.as_deref() == Some(self.parent);
        let parent = self.requests.iter().find(of_parent);
        let child = self
            .pieces
            .first()
            .and_then(|piece| self.child_request(piece));
        let told = waking.user_texts().into_iter().skip(1);
        Carried {
            parent: parent.map_or(0, beside_the_conversation),
            child: child.map_or(0, beside_the_conversation),
            notices: told.map(|text| text.chars().count()).sum(),
        }
    }
}

/// System text and tools, in characters.
fn beside_the_conversation(request: &Record) -> usize {
    let tools = request.body["tools"].to_string();
    request.system().chars().count() + tools.chars().count()
}

/// The artifacts of a root session, in whatever project.
fn artifacts_of(folder: &Path, root: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for project in entries(folder)? {
        let of_root = entries(&project.join(root))?.into_iter();
        found.extend(of_root.filter(|path| path.extension().is_some_and(|end| end == "md")));
    }
    Ok(found)
}

/// What is in a folder; nothing if there is none.
fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let failed = || io(format!("read {}", folder.display()));
    let entries = fs::read_dir(folder).map_err(failed())?;
    entries
        .map(|entry| Ok(entry.map_err(failed())?.path()))
        .collect()
}
