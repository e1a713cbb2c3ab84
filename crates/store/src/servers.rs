//! The servers of Brigade's own that may be running.

use jiff::Timestamp;
use rusqlite::{Row as SqlRow, params};

use crate::Store;
use crate::error::StoreError;
use crate::rows::{at, ms};

/// A server of Brigade's own.
#[derive(Clone, PartialEq, Eq)]
pub struct ServerRow {
    /// Its name; also in the name of its log.
    pub id: String,
    /// Its process as `brigade-os` writes it; none while it is being started.
    pub process: Option<String>,
    /// The loopback port it listens on.
    pub port: u16,
    /// The password of its API; empty where the process's environment tells it.
    pub password: String,
    /// Whose sessions it serves: the digest of HOME and XDG folders.
    pub host: String,
    /// The host's program.
    pub executable: String,
    /// What confines it.
    pub profile: String,
    /// When its start was decided.
    pub started_at: Timestamp,
}

impl std::fmt::Debug for ServerRow {
    /// Leaves the password out.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServerRow")
            .field("id", &self.id)
            .field("process", &self.process)
            .field("port", &self.port)
            .field("host", &self.host)
            .field("executable", &self.executable)
            .field("profile", &self.profile)
            .field("started_at", &self.started_at)
            .finish_non_exhaustive()
    }
}

fn server(sql: &SqlRow<'_>) -> rusqlite::Result<ServerRow> {
    Ok(ServerRow {
        id: sql.get(0)?,
        process: sql.get(1)?,
        port: sql.get(2)?,
        password: sql.get(3)?,
        host: sql.get(4)?,
        executable: sql.get(5)?,
        profile: sql.get(6)?,
        started_at: at(sql.get(7)?)?,
    })
}

impl Store {
    /// The servers on record, oldest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn servers(&self) -> Result<Vec<ServerRow>, StoreError> {
        self.0
            .workers
            .read(|db| {
                let rows = db
                    .prepare_cached(
                        "SELECT id, process, port, password, host, executable, profile, started_at
                         FROM servers ORDER BY started_at, id",
                    )?
                    .query_map([], server)?
                    .collect::<Result<_, _>>()?;
                Ok(rows)
            })
            .await
    }

    /// Records a server that is about to be started, or what is known of it now.
    ///
    /// # Errors
    /// [`StoreError`]; it must not be started then.
    pub async fn put_server(&self, row: ServerRow) -> Result<(), StoreError> {
        self.0
            .workers
            .write(move |db| -> Result<(), StoreError> {
                db.prepare_cached(
                    "INSERT OR REPLACE INTO servers (id, process, port, password, host, executable, profile, started_at)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
                )?
                .execute(params![
                    row.id,
                    row.process,
                    row.port,
                    row.password,
                    row.host,
                    row.executable,
                    row.profile,
                    ms(row.started_at)
                ])?;
                Ok(())
            })
            .await
    }

    /// Forgets a server whose end is proven.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn remove_server(&self, id: &str) -> Result<(), StoreError> {
        let id = id.to_owned();
        self.0
            .workers
            .write(move |db| -> Result<(), StoreError> {
                db.prepare_cached("DELETE FROM servers WHERE id = ?1")?
                    .execute([id])?;
                Ok(())
            })
            .await
    }
}
