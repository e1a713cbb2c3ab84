//! Lists: filtered, sorted, in pages.
//!
//! Which rows they are is found in an index that holds all it takes; only those of the page are read whole.

use brigade_core::delegation::State;
use brigade_core::id::{ProjectId, SessionId};
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, params_from_iter};

use crate::error::StoreError;
use crate::record::{COLUMNS, row};
use crate::rows::{ListFilter, Listed, Sort, count, ms};
use crate::{Store, predecessor};

impl Store {
    /// A list, newest first unless it is sorted otherwise, and how many there are beyond it. Prompts are left out
    /// (they are empty): a long list of them would fill the memory for nothing.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn list(&self, filter: ListFilter) -> Result<(Vec<Listed>, u64), StoreError> {
        self.0.workers.read(move |db| list(db, &filter)).await
    }
}

/// Where a row comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Ours,
    Predecessors,
}

/// Where a row belongs: what it is sorted by, the table, its number there.
type Place = (f64, Kind, i64);

/// The conditions of a filter with their values.
struct Clause {
    text: String,
    values: Vec<Value>,
}

impl Kind {
    /// The table, and the index that is counted in: the narrowest that holds all it takes.
    fn counted(self, filter: &ListFilter) -> &'static str {
        let narrow = filter.project.is_some()
            && filter.root.is_none()
            && filter.agent.is_none()
            && !filter.unread
            && filter.since.is_none();
        match self {
            Kind::Ours if narrow => "delegations d INDEXED BY delegations_counted",
            _ => self.from(filter),
        }
    }

    /// The table, and the index to look in.
    fn from(self, filter: &ListFilter) -> &'static str {
        let plain = filter.states.is_empty()
            && filter.agent.is_none()
            && !filter.unread
            && filter.since.is_none()
            && filter.sort == Sort::Registered;
        match self {
            Kind::Predecessors => "foreign_artifacts d",
            Kind::Ours if filter.root.is_some() => "delegations d INDEXED BY delegations_by_root",
            // The newest of all are the last in the table.
            Kind::Ours if filter.project.is_none() && plain => "delegations d",
            Kind::Ours => "delegations d INDEXED BY delegations_by_project",
        }
    }

    fn clause(self, filter: &ListFilter) -> Clause {
        let mut clause = Clause {
            text: "1".to_owned(),
            values: Vec::new(),
        };
        let mut equal = |column: &str, value: Option<&str>| {
            if let Some(value) = value {
                clause.values.push(value.to_owned().into());
                clause.text += &format!(" AND d.{column} = ?{}", clause.values.len());
            }
        };
        equal("project", filter.project.as_ref().map(ProjectId::as_str));
        equal("root", filter.root.as_ref().map(SessionId::as_str));
        equal("agent", filter.agent.as_deref());
        if !filter.states.is_empty() {
            let names: Vec<_> = filter.states.iter().map(|state| state.name()).collect();
            clause.text += &format!(" AND d.state IN ('{}')", names.join("', '"));
        }
        if let Some(since) = filter.since {
            clause.values.push(ms(since).into());
            let column = match self {
                Kind::Ours => "registered_at",
                Kind::Predecessors => "started_at",
            };
            clause.text += &format!(" AND d.{column} >= ?{}", clause.values.len());
        }
        if filter.unread {
            clause.text += match self {
                Kind::Ours => " AND d.active = 0 AND d.read_at IS NULL AND d.seen = 0",
                Kind::Predecessors => " AND 0",
            };
        }
        clause
    }

    /// What is sorted by, the greatest first.
    fn key(self, filter: &ListFilter) -> String {
        let ours = self == Kind::Ours;
        match filter.sort {
            Sort::Registered if ours => "d.registered_at".to_owned(),
            Sort::Registered => "d.started_at".to_owned(),
            Sort::Ended => {
                let column = if ours { "ended_at" } else { "completed_at" };
                // Last, whichever way it goes.
                let never = if filter.reverse { i64::MAX } else { -1 };
                format!("coalesce(d.{column}, {never})")
            }
            Sort::State => {
                let cases: String = State::ALL
                    .iter()
                    .rev()
                    .enumerate()
                    .map(|(n, state)| format!(" WHEN '{state}' THEN {n}"))
                    .collect();
                format!("CASE d.state{cases} END")
            }
            Sort::Cost if ours => "d.cost".to_owned(),
            Sort::Tokens if ours => "d.tokens_in + d.tokens_out".to_owned(),
            Sort::Duration if ours => "d.spent_ms + d.ran_ms".to_owned(),
            Sort::Cost | Sort::Tokens | Sort::Duration => "0".to_owned(),
        }
    }

    /// The first ones by their keys, and how many there are in all.
    fn first(
        self,
        db: &Connection,
        filter: &ListFilter,
        limit: usize,
    ) -> rusqlite::Result<(Vec<Place>, usize)> {
        let Clause { text, values } = self.clause(filter);
        let (from, key) = (self.from(filter), self.key(filter));
        let counted = self.counted(filter);
        let total = db
            .prepare_cached(&format!("SELECT count(*) FROM {counted} WHERE {text}"))?
            .query_row(params_from_iter(&values), |row| row.get(0))
            .map(count)?;
        if total == 0 {
            return Ok((Vec::new(), 0));
        }
        let way = if filter.reverse { "ASC" } else { "DESC" };
        let order = match (self, filter.sort) {
            // The order of registration, which no moved clock turns round.
            (Kind::Ours, Sort::Registered) => format!("d.seq {way}"),
            _ => format!("2 {way}, d.seq {way}"),
        };
        let sql =
            format!("SELECT d.seq, {key} FROM {from} WHERE {text} ORDER BY {order} LIMIT {limit}");
        let rows = db
            .prepare_cached(&sql)?
            .query_map(params_from_iter(&values), |row| {
                let key = match row.get(1)? {
                    Value::Real(key) => key,
                    // Times in milliseconds and numbers of tokens are exact far beyond what there is.
                    #[expect(clippy::cast_precision_loss, reason = "only sorted by")]
                    Value::Integer(key) => key as f64,
                    _ => 0.0,
                };
                Ok((key, self, row.get(0)?))
            })?
            .collect::<Result<_, _>>()?;
        Ok((rows, total))
    }
}

fn list(db: &Connection, filter: &ListFilter) -> Result<(Vec<Listed>, u64), StoreError> {
    let size = |n: u32| usize::try_from(n).unwrap_or(usize::MAX);
    let (offset, limit) = (size(filter.offset), size(filter.limit));
    let end = offset.saturating_add(limit);
    let (mut rows, ours) = Kind::Ours.first(db, filter, end)?;
    let (others, theirs) = Kind::Predecessors.first(db, filter, end)?;
    if !others.is_empty() {
        rows.extend(others);
        rows.sort_by(|(a, ..), (b, ..)| {
            let order = b.total_cmp(a);
            if filter.reverse {
                order.reverse()
            } else {
                order
            }
        });
    }
    let page: Vec<_> = rows.into_iter().skip(offset).take(limit).collect();
    let more = (ours + theirs).saturating_sub(offset.saturating_add(page.len()));
    let columns = COLUMNS.replace("p.prompt", "''");
    let mut whole = db.prepare_cached(&format!(
        "SELECT {columns} FROM delegations d LEFT JOIN notices n ON n.delegation = d.seq WHERE d.seq = ?1"
    ))?;
    let mut listed = Vec::with_capacity(page.len());
    for (_, kind, seq) in page {
        listed.extend(match kind {
            Kind::Ours => {
                let row = whole.query_row([seq], row).optional()?;
                row.map(|row| Listed::Ours(Box::new(row)))
            }
            Kind::Predecessors => {
                predecessor::by_seq(db, seq)?.map(|file| Listed::Predecessor(Box::new(file)))
            }
        });
    }
    Ok((listed, u64::try_from(more).unwrap_or(u64::MAX)))
}
