//! Full-text search over titles, summaries, prompts and results.

use brigade_core::id::{ProjectId, SessionId};
use rusqlite::{Connection, OptionalExtension, params};

use crate::error::StoreError;
use crate::rows::{Hit, Listed};
use crate::{Store, predecessor, record, snippet};

/// Words of an excerpt.
const SNIPPET: u32 = 24;
/// How much of a text is indexed, in bytes: the one thread that writes must not be busy with a huge result
/// for many seconds.
pub(crate) const INDEXED: u32 = 1 << 20;
/// How many words of a query count, and how many characters of each.
const QUERY: (usize, usize) = (32, 64);

/// The part of a text that is indexed.
fn head(text: &str) -> &str {
    &text[..text.floor_char_boundary(INDEXED as usize)]
}

/// Adds an entry.
pub(crate) fn insert(
    db: &Connection,
    rowid: i64,
    project: &str,
    title: &str,
    summary: &str,
    prompt: &str,
    result: &str,
) -> rusqlite::Result<()> {
    db.prepare_cached(
        "INSERT INTO search (rowid, project, title, summary, prompt, result) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?
    .execute(params![
        rowid,
        project,
        title,
        summary,
        head(prompt),
        head(result)
    ])?;
    Ok(())
}

/// Replaces an entry.
pub(crate) fn replace(
    db: &Connection,
    rowid: i64,
    project: &str,
    title: &str,
    summary: &str,
    prompt: &str,
    result: &str,
) -> rusqlite::Result<()> {
    remove(db, rowid)?;
    insert(db, rowid, project, title, summary, prompt, result)
}

/// Takes an entry out.
pub(crate) fn remove(db: &Connection, rowid: i64) -> rusqlite::Result<()> {
    db.prepare_cached("DELETE FROM search WHERE rowid = ?1")?
        .execute([rowid])?;
    Ok(())
}

/// The words that a query is taken to ask for. Of a very long query the beginning counts.
fn wanted(words: &str) -> impl Iterator<Item = &str> {
    words
        .split(|c: char| !c.is_alphanumeric() && c != '_')
        .filter(|word| !word.is_empty())
        .take(QUERY.0)
}

/// The words as a query that FTS5 takes whatever they hold: each word quoted, all wanted, the last one
/// as a beginning.
fn query(words: &str) -> Option<String> {
    let mut words: Vec<String> = wanted(words)
        .map(|word| {
            let head: String = word.chars().take(QUERY.1).collect();
            let more = if head.len() < word.len() { "*" } else { "" };
            format!("\"{head}\"{more}")
        })
        .collect();
    let last = words.last_mut()?;
    if !last.ends_with('*') {
        last.push('*');
    }
    Some(format!(
        "{{title summary prompt result}} : ({})",
        words.join(" AND ")
    ))
}

impl Store {
    /// What holds all these words, best first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn search(
        &self,
        words: &str,
        project: Option<&ProjectId>,
        root: Option<&SessionId>,
        limit: u32,
    ) -> Result<Vec<Hit>, StoreError> {
        let Some(query) = query(words) else {
            return Ok(Vec::new());
        };
        let words: Vec<String> = wanted(words).map(str::to_owned).collect();
        let (project, root) = (project.cloned(), root.cloned());
        self.0
            .workers
            .read(move |db| {
                let found: Vec<(i64, Option<String>)> = db
                    .prepare_cached(
                        "SELECT s.rowid,
                                CASE WHEN length(s.prompt) + length(s.result) <= ?6
                                     THEN snippet(search, -1, '[', ']', '…', ?4) END
                         FROM search s
                         WHERE search MATCH ?1 AND rank MATCH 'bm25(0, 8, 4, 2, 1)'
                           AND (?2 IS NULL OR s.project = ?2)
                           AND (?3 IS NULL
                                OR s.rowid IN (SELECT seq FROM delegations WHERE root = ?3)
                                OR -s.rowid IN (SELECT seq FROM foreign_artifacts WHERE root = ?3))
                         ORDER BY rank LIMIT ?5",
                    )?
                    .query_map(
                        params![
                            query,
                            project.as_ref().map(ProjectId::as_str),
                            root.as_ref().map(SessionId::as_str),
                            SNIPPET,
                            limit,
                            snippet::SHORT
                        ],
                        |row| Ok((row.get(0)?, row.get(1)?)),
                    )?
                    .collect::<Result<_, _>>()?;
                let mut hits = Vec::new();
                for (rowid, snippet) in found {
                    let snippet = match snippet {
                        Some(snippet) => snippet,
                        None => excerpt(db, rowid, &words)?,
                    };
                    if let Some(row) = by_rowid(db, rowid)? {
                        hits.push(Hit { row, snippet });
                    }
                }
                Ok(hits)
            })
            .await
    }
}

/// The excerpt of a long entry.
fn excerpt(db: &Connection, rowid: i64, words: &[String]) -> rusqlite::Result<String> {
    let texts: [String; 4] = db
        .prepare_cached("SELECT result, prompt, summary, title FROM search WHERE rowid = ?1")?
        .query_row([rowid], |row| {
            Ok([row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?])
        })?;
    let excerpt = texts
        .iter()
        .find_map(|text| snippet::around(text, words, SNIPPET as usize));
    let [.., summary, _] = texts;
    Ok(excerpt.unwrap_or(summary))
}

fn by_rowid(db: &Connection, rowid: i64) -> rusqlite::Result<Option<Listed>> {
    if rowid < 0 {
        return Ok(predecessor::by_seq(db, -rowid)?.map(|file| Listed::Predecessor(Box::new(file))));
    }
    let sql = format!(
        "SELECT {} FROM {} WHERE d.seq = ?1",
        record::COLUMNS,
        record::TABLES
    );
    db.prepare_cached(&sql)?
        .query_row([rowid], record::row)
        .optional()
        .map(|row| row.map(|row| Listed::Ours(Box::new(row))))
}

#[cfg(test)]
mod tests {
    use super::query;

    #[test]
    fn a_query_holds_words_and_nothing_else() {
        assert_eq!(
            query("lock \"order\" OR* (x").as_deref(),
            Some("{title summary prompt result} : (\"lock\" AND \"order\" AND \"OR\" AND \"x\"*)")
        );
        for nothing in ["", "  ", "*", "\"\"", "()"] {
            assert_eq!(query(nothing), None);
        }
    }
}
