//! Answers: a short one in its row, what goes beyond that in pieces. None holds up who else wants to write, and none
//! has to be in memory as a whole.

use brigade_core::delegation::Delegation;
use brigade_core::id::{Attempt, DelegationId};
use rusqlite::{Connection, OptionalExtension, params};

use crate::Store;
use crate::error::StoreError;
use crate::record::seq_of;
use crate::rows::attempt;

/// How long a piece is at most, in bytes: what the disk takes in without anybody noticing.
const PIECE: usize = 1 << 20;

/// Takes one piece off a text.
fn split(text: &str) -> (&str, &str) {
    text.split_at(text.floor_char_boundary(PIECE))
}

/// Whether this, which ends with the beginning of a text, is surely all of it.
pub(crate) fn is_whole(head: &str) -> bool {
    head.len() < PIECE / 2
}

impl Store {
    /// The answer, or the text so far.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn text(&self, id: &DelegationId) -> Result<Option<String>, StoreError> {
        let id = id.clone();
        self.0
            .workers
            .read(move |db| {
                let Some((mut text, rest)) = first(db, &id)? else {
                    return Ok(None);
                };
                if let Some((seq, of, pieces)) = rest {
                    let mut statement = db.prepare_cached(
                        "SELECT text FROM pieces WHERE delegation = ?1 AND attempt = ?2 AND n < ?3 ORDER BY n",
                    )?;
                    let mut rows = statement.query(params![seq, of, pieces])?;
                    while let Some(row) = rows.next()? {
                        text.push_str(row.get_ref(0)?.as_str().map_err(rusqlite::Error::from)?);
                    }
                }
                Ok(Some(text))
            })
            .await
    }

    /// How long the text is, in bytes, without reading it.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn text_len(&self, id: &DelegationId) -> Result<u64, StoreError> {
        let id = id.clone();
        self.0
            .workers
            .read(move |db| {
                let length: Option<i64> = db
                    .prepare_cached(
                        "SELECT octet_length(t.text) + coalesce((SELECT sum(octet_length(p.text)) FROM pieces p
                            WHERE p.delegation = t.delegation AND p.attempt = t.attempt AND p.n < t.pieces), 0)
                         FROM texts t WHERE t.delegation = (SELECT seq FROM delegations WHERE id = ?1)",
                    )?
                    .query_row([id.as_str()], |row| row.get(0))
                    .optional()?;
                Ok(length.and_then(|n| u64::try_from(n).ok()).unwrap_or(0))
            })
            .await
    }

    /// The text if it has no more characters than this; of a longer one as much that it shows.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn text_up_to(&self, id: &DelegationId, chars: usize) -> Result<String, StoreError> {
        let beginning = self.beginning(id).await?;
        if is_whole(&beginning) || beginning.chars().nth(chars).is_some() {
            return Ok(beginning);
        }
        Ok(self.text(id).await?.unwrap_or_default())
    }

    /// The beginning of the text, a megabyte at least of one that is longer. [`Store::write_result`] adds the rest.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn beginning(&self, id: &DelegationId) -> Result<String, StoreError> {
        let id = id.clone();
        self.0
            .workers
            .read(move |db| Ok(first(db, &id)?.map(|(text, _)| text).unwrap_or_default()))
            .await
    }

    /// What follows the beginning, piece by piece.
    pub(crate) async fn piece(
        &self,
        id: &DelegationId,
        n: i64,
    ) -> Result<Option<String>, StoreError> {
        let id = id.clone();
        self.0
            .workers
            .read(move |db| {
                Ok(db
                    .prepare_cached(
                        "SELECT p.text FROM texts t JOIN pieces p
                            ON p.delegation = t.delegation AND p.attempt = t.attempt
                         WHERE t.delegation = (SELECT seq FROM delegations WHERE id = ?1)
                            AND p.n = ?2 AND p.n < t.pieces",
                    )?
                    .query_row(params![id.as_str(), n], |row| row.get(0))
                    .optional()?)
            })
            .await
    }

    /// Writes down what of an answer goes beyond its first piece, and gives that piece and the number of the others.
    /// They count for nothing until the decision is stored.
    pub(crate) async fn put_pieces(
        &self,
        delegation: &Delegation,
        text: &str,
    ) -> Result<(String, i64), StoreError> {
        let (first, mut rest) = split(text);
        let mut n = 0;
        while !rest.is_empty() {
            let (piece, left) = split(rest);
            self.put_piece(&delegation.spec.id, delegation.attempt, n, piece.to_owned())
                .await?;
            rest = left;
            n += 1;
        }
        Ok((first.to_owned(), n))
    }

    async fn put_piece(
        &self,
        id: &DelegationId,
        of: Attempt,
        n: i64,
        piece: String,
    ) -> Result<(), StoreError> {
        let id = id.clone();
        self.0
            .workers
            .write(move |db| -> Result<(), StoreError> {
                db.prepare_cached(
                    "INSERT OR REPLACE INTO pieces (delegation, attempt, n, text)
                     SELECT seq, ?2, ?3, ?4 FROM delegations WHERE id = ?1",
                )?
                .execute(params![id.as_str(), attempt(of), n, piece])?;
                Ok(())
            })
            .await
    }

    /// Takes back pieces whose decision was not stored. A failure costs space only, until there is a decision.
    pub(crate) async fn drop_pieces(&self, id: &DelegationId) {
        let dropped = {
            let id = id.clone();
            self.0
                .workers
                .write(move |db| -> Result<(), StoreError> {
                    if let Some(seq) = seq_of(db, &id)? {
                        sweep(db, seq)?;
                    }
                    Ok(())
                })
                .await
        };
        if let Err(error) = dropped {
            tracing::debug!(%id, %error, "pieces of an answer stay until it is decided");
        }
    }
}

/// A text's own row, and where it goes on: number of the delegation, attempt, pieces.
type First = (String, Option<(i64, i64, i64)>);

fn first(db: &Connection, id: &DelegationId) -> rusqlite::Result<Option<First>> {
    db.prepare_cached(
        "SELECT text, delegation, attempt, pieces FROM texts
         WHERE delegation = (SELECT seq FROM delegations WHERE id = ?1)",
    )?
    .query_row([id.as_str()], |row| {
        let pieces: i64 = row.get(3)?;
        let rest = (pieces > 0).then_some((row.get(1)?, row.get(2)?, pieces));
        Ok((row.get(0)?, rest))
    })
    .optional()
}

/// Deletes the pieces that belong to no decided text.
fn sweep(db: &Connection, seq: i64) -> rusqlite::Result<()> {
    db.prepare_cached(
        "DELETE FROM pieces WHERE delegation = ?1 AND NOT EXISTS (SELECT 1 FROM texts t
            WHERE t.delegation = pieces.delegation AND t.attempt = pieces.attempt AND pieces.n < t.pieces)",
    )?
    .execute([seq])?;
    Ok(())
}

/// Stores the text of a delegation that is not known to have had one before.
pub(crate) fn take_in(db: &Connection, seq: i64, of: Attempt, text: &str) -> rusqlite::Result<()> {
    let (first, mut rest) = split(text);
    let mut n: i64 = 0;
    while !rest.is_empty() {
        let (piece, left) = split(rest);
        db.prepare_cached(
            "INSERT INTO pieces (delegation, attempt, n, text) VALUES (?1, ?2, ?3, ?4)",
        )?
        .execute(params![seq, attempt(of), n, piece])?;
        (rest, n) = (left, n + 1);
    }
    db.prepare_cached(
        "INSERT INTO texts (delegation, attempt, decided, text, pieces) VALUES (?1, ?2, 1, ?3, ?4)",
    )?
    .execute(params![seq, attempt(of), first, n])?;
    Ok(())
}

/// Stores the decided text, once: without a new one what had streamed stands.
pub(crate) fn decide(
    db: &Connection,
    seq: i64,
    delegation: &Delegation,
    text: Option<&str>,
    pieces: i64,
) -> Result<(), StoreError> {
    match text {
        Some(text) if !text.is_empty() => {
            db.prepare_cached(
                "INSERT INTO texts (delegation, attempt, decided, text, pieces) VALUES (?1, ?2, 1, ?3, ?4)
                 ON CONFLICT (delegation) DO UPDATE SET attempt = excluded.attempt, decided = 1,
                    text = excluded.text, pieces = excluded.pieces
                 WHERE decided = 0",
            )?
            .execute(params![seq, attempt(delegation.attempt), text, pieces])?;
        }
        _ => {
            db.prepare_cached("UPDATE texts SET decided = 1 WHERE delegation = ?1")?
                .execute([seq])?;
        }
    }
    sweep(db, seq)?;
    Ok(())
}
