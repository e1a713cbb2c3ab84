//! The threads that own the connections: one that writes, a few that read.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use rusqlite::Connection;
use tokio::sync::oneshot;

use crate::error::StoreError;

/// How many writes share one transaction at most: beyond this the first ones would wait for long
/// without the disk gaining much.
const GROUP: usize = 256;

/// A write that waits for its turn.
trait WriteJob: Send {
    /// Does the work inside a savepoint; false asks for it to be rolled back.
    fn run(&mut self, db: &Connection) -> bool;
    /// Answers the caller, after the transaction was committed or has failed.
    fn answer(self: Box<Self>, fate: Result<(), StoreError>);
}

struct Write<T, E, F> {
    work: Option<F>,
    outcome: Option<Result<T, E>>,
    reply: oneshot::Sender<Result<T, E>>,
}

impl<T, E, F> WriteJob for Write<T, E, F>
where
    T: Send,
    E: From<StoreError> + Send,
    F: FnOnce(&Connection) -> Result<T, E> + Send,
{
    fn run(&mut self, db: &Connection) -> bool {
        self.outcome = self
            .work
            .take()
            .map(|work| unpanicked(|| work(db)).unwrap_or_else(|error| Err(error.into())));
        matches!(self.outcome, Some(Ok(_)))
    }

    fn answer(self: Box<Self>, fate: Result<(), StoreError>) {
        let answer = match (self.outcome, fate) {
            // Its own failure says more than that of the transaction.
            (Some(Err(error)), _) => Err(error),
            (_, Err(error)) => Err(error.into()),
            (Some(done), Ok(())) => done,
            (None, Ok(())) => Err(StoreError::Closed.into()),
        };
        // A caller that no longer waits has lost nothing: the store is right either way.
        drop(self.reply.send(answer));
    }
}

/// Runs a job; one that panics is a failed one, and takes neither its thread nor the other jobs with it.
pub(crate) fn unpanicked<T>(work: impl FnOnce() -> T) -> Result<T, StoreError> {
    catch_unwind(AssertUnwindSafe(work))
        .map_err(|_| StoreError::internal("a job of the store panicked"))
}

enum WriteMessage {
    Job(Box<dyn WriteJob>),
    Stop,
}

type ReadJob = Box<dyn FnOnce(&Connection) + Send>;

enum ReadMessage {
    Job(ReadJob),
    Stop,
}

/// Who does the work.
pub(crate) enum Workers {
    /// Threads, as in every daemon.
    Threads(Threads),
    /// The caller itself, in a simulation.
    #[cfg(feature = "simulation")]
    Caller(crate::simulation::Disk),
}

impl Workers {
    /// Starts one thread for each connection.
    pub(crate) fn start(writer: Connection, readers: Vec<Connection>) -> std::io::Result<Self> {
        Threads::start(writer, readers).map(Self::Threads)
    }

    /// Runs a write; it is durable when this returns `Ok`.
    pub(crate) async fn write<T, E, F>(&self, work: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        F: FnOnce(&Connection) -> Result<T, E> + Send + 'static,
    {
        match self {
            Self::Threads(threads) => threads.write(work).await,
            #[cfg(feature = "simulation")]
            Self::Caller(disk) => disk.write(work).await,
        }
    }

    /// Runs a read; it sees every write that was answered before it was asked for, and all that it looks at as it was
    /// at one moment.
    pub(crate) async fn read<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        match self {
            Self::Threads(threads) => threads.read(work).await,
            #[cfg(feature = "simulation")]
            Self::Caller(disk) => disk.read(work).await,
        }
    }

    /// Does something with files.
    pub(crate) async fn files<T, F>(&self, work: F) -> std::io::Result<T>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        match self {
            Self::Threads(_) => tokio::task::spawn_blocking(work)
                .await
                .map_err(std::io::Error::other),
            #[cfg(feature = "simulation")]
            Self::Caller(disk) => disk.files(work).await,
        }
    }

    /// Carries out what is queued, closes the connections and joins the threads. Later calls fail
    /// with [`StoreError::Closed`]. A second call finds nothing to do.
    pub(crate) fn stop(&self) {
        match self {
            Self::Threads(threads) => threads.stop(),
            #[cfg(feature = "simulation")]
            Self::Caller(_) => {}
        }
    }
}

/// The handle on the threads. They end when it is dropped or stopped.
pub(crate) struct Threads {
    writer: Sender<WriteMessage>,
    reader: Sender<ReadMessage>,
    readers: usize,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Threads {
    fn start(writer: Connection, readers: Vec<Connection>) -> std::io::Result<Self> {
        let (write_tx, write_rx) = channel();
        let (read_tx, read_rx) = channel();
        let read_rx = Arc::new(Mutex::new(read_rx));
        let count = readers.len();
        let mut threads = vec![
            std::thread::Builder::new()
                .name("store-writer".into())
                .spawn(move || write_loop(&writer, &write_rx))?,
        ];
        for db in readers {
            let jobs = Arc::clone(&read_rx);
            threads.push(
                std::thread::Builder::new()
                    .name("store-reader".into())
                    .spawn(move || read_loop(&db, &jobs))?,
            );
        }
        Ok(Self {
            writer: write_tx,
            reader: read_tx,
            readers: count,
            threads: Mutex::new(threads),
        })
    }

    async fn write<T, E, F>(&self, work: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        F: FnOnce(&Connection) -> Result<T, E> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let job = Box::new(Write {
            work: Some(work),
            outcome: None,
            reply,
        });
        self.writer
            .send(WriteMessage::Job(job))
            .map_err(|_| StoreError::Closed)?;
        answer.await.map_err(|_| StoreError::Closed)?
    }

    async fn read<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let job: ReadJob = Box::new(move |db| {
            // As above: nobody may wait any more.
            drop(reply.send(unpanicked(|| at_one_moment(db, work)).flatten()));
        });
        self.reader
            .send(ReadMessage::Job(job))
            .map_err(|_| StoreError::Closed)?;
        answer.await.map_err(|_| StoreError::Closed)?
    }

    fn stop(&self) {
        let threads =
            std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        // Readers first: the writer's last checkpoint then finds nobody in its way. A thread that is
        // gone already needs no message.
        for _ in 0..self.readers {
            drop(self.reader.send(ReadMessage::Stop));
        }
        let mut threads = threads.into_iter();
        let writer = threads.next();
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a reader of the store had panicked");
            }
        }
        drop(self.writer.send(WriteMessage::Stop));
        if writer.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the writer of the store had panicked");
        }
    }
}

fn write_loop(db: &Connection, jobs: &Receiver<WriteMessage>) {
    let mut stopping = false;
    while !stopping {
        let mut group = match jobs.recv() {
            Ok(WriteMessage::Job(job)) => vec![job],
            Ok(WriteMessage::Stop) | Err(_) => break,
        };
        while group.len() < GROUP {
            match jobs.try_recv() {
                Ok(WriteMessage::Job(job)) => group.push(job),
                Ok(WriteMessage::Stop) => {
                    stopping = true;
                    break;
                }
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => break,
            }
        }
        let fate = run_group(db, &mut group);
        for job in group {
            job.answer(fate.clone());
        }
    }
    if let Err(error) = db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())) {
        // The log is carried over at the next start instead.
        tracing::warn!(%error, "the store's log could not be folded in at the end");
    }
}

/// Runs the jobs in one transaction, each in a savepoint of its own, so that one that fails takes
/// nothing of the others with it.
fn run_group(db: &Connection, group: &mut [Box<dyn WriteJob>]) -> Result<(), StoreError> {
    execute(db, "BEGIN IMMEDIATE")?;
    for job in group.iter_mut() {
        let step = execute(db, "SAVEPOINT job").and_then(|()| {
            if !job.run(db) && !db.is_autocommit() {
                execute(db, "ROLLBACK TO job")?;
            }
            // After some failures (disk full, IO) SQLite has rolled the whole transaction back.
            if db.is_autocommit() {
                return Err(StoreError::Io(
                    "the transaction was rolled back by a failure of the disk".into(),
                ));
            }
            execute(db, "RELEASE job")
        });
        if let Err(error) = step {
            abandon(db);
            return Err(error);
        }
    }
    execute(db, "COMMIT").inspect_err(|_| abandon(db))
}

pub(crate) fn execute(db: &Connection, sql: &str) -> Result<(), StoreError> {
    db.prepare_cached(sql)?.execute([])?;
    Ok(())
}

fn abandon(db: &Connection) {
    if !db.is_autocommit()
        && let Err(error) = execute(db, "ROLLBACK")
    {
        tracing::error!(%error, "a failed transaction could not be rolled back");
    }
}

/// Without a transaction each statement would see the store of its own moment: a waking and not the notice that was
/// stored with it.
fn at_one_moment<T>(
    db: &Connection,
    work: impl FnOnce(&Connection) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let moment = db.unchecked_transaction()?;
    let seen = work(&moment)?;
    moment.commit()?;
    Ok(seen)
}

fn read_loop(db: &Connection, jobs: &Mutex<Receiver<ReadMessage>>) {
    loop {
        let message = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        match message {
            Ok(ReadMessage::Job(job)) => job(db),
            Ok(ReadMessage::Stop) | Err(_) => break,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(db: &Connection) -> Result<i64, StoreError> {
        Ok(db.query_row("SELECT count(*) FROM t", [], |row| row.get(0))?)
    }

    fn insert(db: &Connection, n: i64) -> Result<(), StoreError> {
        db.execute("INSERT INTO t VALUES (?1)", [n])?;
        Ok(())
    }

    #[tokio::test]
    async fn a_group_is_one_transaction_and_one_that_fails_is_taken_back_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t.db");
        let writer = Connection::open(&path).unwrap();
        writer
            .execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE t (n INTEGER UNIQUE)")
            .unwrap();
        let reader = Connection::open(&path).unwrap();
        let workers = Workers::start(writer, vec![reader]).unwrap();
        // The first keeps the writer busy until all others are queued, so that they are one group.
        let ((go, wait), (begin, begun)) = (channel::<()>(), channel::<()>());
        let first = workers.write(move |db| -> Result<(), StoreError> {
            begin.send(()).map_err(|_| StoreError::Closed)?;
            wait.recv().map_err(|_| StoreError::Closed)?;
            insert(db, 1)
        });
        let second = workers.write(|db| insert(db, 2));
        let failing = workers.write(|db| -> Result<(), StoreError> {
            insert(db, 3)?;
            insert(db, 1)
        });
        let outside = path.clone();
        let last = workers.write(move |db| -> Result<(i64, i64), StoreError> {
            insert(db, 4)?;
            Ok((rows(db)?, rows(&Connection::open(&outside)?)?))
        });
        let busy = async move { begun.recv().unwrap() };
        let release = async move { go.send(()).unwrap() };
        // Polled in this order, and each is queued by its first poll.
        let (first, (), second, failing, last, ()) =
            tokio::join!(first, busy, second, failing, last, release);
        assert_eq!((first, second), (Ok(()), Ok(())));
        assert!(matches!(failing, Err(StoreError::Sql(_))), "{failing:?}");
        // Seen from inside: what came before, without what failed. From outside: nothing of this group.
        assert_eq!(last, Ok((3, 1)));
        assert_eq!(workers.read(rows).await, Ok(3));
        // One that panics is one that fails.
        let panics = workers.write(|_| -> Result<(), StoreError> { panic!("on purpose") });
        assert!(matches!(panics.await, Err(StoreError::Internal(_))));
        let panics = workers.read(|_| -> Result<(), StoreError> { panic!("on purpose") });
        assert!(matches!(panics.await, Err(StoreError::Internal(_))));
        assert_eq!(workers.write(|db| insert(db, 5)).await, Ok(()));
        assert_eq!(workers.read(rows).await, Ok(4));
        workers.stop();
        assert_eq!(workers.read(rows).await, Err(StoreError::Closed));
        assert_eq!(workers.write(rows).await, Err(StoreError::Closed));
    }
}
