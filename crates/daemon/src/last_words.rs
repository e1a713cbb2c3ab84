//! What a process has written last, for people to read.

use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use brigade_core::text::line::one_line;

/// How much of the end of its output is looked at, in bytes.
const TAIL: u64 = 4_096;
/// How much of its last line is told, in characters.
const LINE: usize = 300;

/// The last line in the file of its output, and where that lies, to end a sentence with.
pub(crate) fn last_words(log: &Path) -> String {
    let tail = || -> std::io::Result<String> {
        let mut file = std::fs::File::open(log)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    let text = tail().unwrap_or_default();
    let last = text.lines().rev().find(|line| !line.trim().is_empty());
    match last {
        Some(line) => format!(", saying: {} (see {})", one_line(line, LINE), log.display()),
        None => format!(" and said nothing (see {})", log.display()),
    }
}
