//! Full-text search over titles, summaries, prompts and results.

use brigade_core::id::{ProjectId, SessionId};
use rusqlite::{Connection, OptionalExtension, params};

use crate::error::StoreError;
use crate::rows::{Hit, Listed};
use crate::{Store, predecessor, record, snippet};

/// Words of an excerpt.
const SNIPPET: usize = 24;
/// How much of a text is indexed, in bytes: the one thread that writes must not be busy with a huge result
/// for many seconds.
pub(crate) const INDEXED: u32 = 1 << 20;
/// How many words of a query count, and how many characters of each.
const QUERY: (usize, usize) = (32, 64);
/// How many hits are ranked at most: a word that is everywhere would take a quarter of a second at 100,000.
const RANKED: u32 = 1_000;
/// The columns that hold texts.
const TEXTS: &str = "title summary prompt result";

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

/// The words that a query is taken to ask for. Of a very long query the beginning counts. What holds nothing that is
/// indexed, as `_` alone, would be found nowhere.
fn wanted(words: &str) -> impl Iterator<Item = &str> {
    words
        .split(|c: char| !c.is_alphanumeric() && c != '_')
        .map(|word| word.trim_matches('_'))
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
    Some(format!("({})", words.join(" AND ")))
}

/// What is looked for, and where.
struct Wanted {
    /// In the form that FTS5 takes.
    query: String,
    project: Option<ProjectId>,
    root: Option<SessionId>,
}

impl Store {
    /// What holds all these words: first what has them in its title, then the others, each best first; of a root
    /// session's, of which there are few, each newest first. Of more than [`RANKED`] that have them, the newest are
    /// looked at.
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
        let wanted = Wanted {
            query,
            project: project.cloned(),
            root: root.cloned(),
        };
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        self.0
            .workers
            .read(move |db| {
                let mut found = ranked(db, &wanted, "title", limit)?;
                if found.len() < limit {
                    // As many more as may be among those already.
                    for rowid in ranked(db, &wanted, TEXTS, limit + found.len())? {
                        if found.len() < limit && !found.contains(&rowid) {
                            found.push(rowid);
                        }
                    }
                }
                let mut hits = Vec::new();
                for rowid in found {
                    if let Some(row) = by_rowid(db, rowid)? {
                        let snippet = excerpt(db, rowid, &words)?;
                        hits.push(Hit { row, snippet });
                    }
                }
                Ok(hits)
            })
            .await
    }
}

/// The best of what has the words in these columns.
fn ranked(
    db: &Connection,
    wanted: &Wanted,
    columns: &str,
    limit: usize,
) -> rusqlite::Result<Vec<i64>> {
    let mut query = format!("{{{columns}}} : {}", wanted.query);
    if let Some(project) = &wanted.project {
        // As a word, so that what other projects have is not even looked at.
        query = format!("{{project}} : \"{project}\" AND {query}");
    }
    let root = wanted.root.as_ref().map(SessionId::as_str);
    if root.is_some() {
        return db
            .prepare_cached(
                "SELECT rowid FROM search WHERE search MATCH ?1
                    AND (rowid IN (SELECT seq FROM delegations WHERE root = ?2)
                         OR -rowid IN (SELECT seq FROM foreign_artifacts WHERE root = ?2))
                 ORDER BY rowid DESC LIMIT ?3",
            )?
            .query_map(params![query, root, stored(limit)], |row| row.get(0))?
            .collect();
    }
    let oldest: Option<i64> = db
        .prepare_cached(
            "SELECT min(rowid) FROM (SELECT rowid FROM search WHERE search MATCH ?1 ORDER BY rowid DESC LIMIT ?2)",
        )?
        .query_row(params![query, RANKED], |row| row.get(0))?;
    let Some(oldest) = oldest else {
        return Ok(Vec::new());
    };
    db.prepare_cached(
        "SELECT rowid FROM search WHERE search MATCH ?1 AND rank MATCH 'bm25(0, 8, 4, 2, 1)' AND rowid >= ?2
         ORDER BY rank LIMIT ?3",
    )?
    .query_map(params![query, oldest, stored(limit)], |row| row.get(0))?
    .collect()
}

fn stored(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

/// Where the words stand in an entry. Not FTS5's own `snippet`, which looks the words up again for each entry.
fn excerpt(db: &Connection, rowid: i64, words: &[String]) -> rusqlite::Result<String> {
    let texts: [String; 4] = db
        .prepare_cached("SELECT result, prompt, summary, title FROM search WHERE rowid = ?1")?
        .query_row([rowid], |row| {
            Ok([row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?])
        })?;
    let excerpt = texts
        .iter()
        .find_map(|text| snippet::around(text, words, SNIPPET));
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
            Some("(\"lock\" AND \"order\" AND \"OR\" AND \"x\"*)")
        );
        assert_eq!(
            query("a_b _ __init__").as_deref(),
            Some("(\"a_b\" AND \"init\"*)")
        );
        for nothing in ["", "  ", "*", "\"\"", "()", "_"] {
            assert_eq!(query(nothing), None);
        }
    }
}
