//! The store as one SQLite file. A thread of its own writes everything that has gathered since the last commit in one
//! transaction; while the disk refuses, it says so and tries the same group again.
//!
//! Never guesses: a file that is damaged, newer than this program or somebody else's is an error at the start.

use crate::store::batch::{Batch, Queued};
use crate::store::row::{self, Row};
use crate::store::{Change, Image, Store, StoreError, Then, Ticket};
use parking_lot::{Condvar, Mutex};
use rusqlite::{Connection, OpenFlags, Transaction, params};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::watch;

/// "SpMq": tells this file from other SQLite files.
const APPLICATION_ID: i32 = 0x5370_4D71;
const VERSION: i32 = 1;
const PAGE_BYTES: u64 = 4096;
const RETRY_AFTER: Duration = Duration::from_secs(1);
const MOVE_IT: &str = "Mend or move the file away; without it retained messages, sessions and what waits for them begin empty";

const TABLES: &str = "
CREATE TABLE retained (topic TEXT PRIMARY KEY, head BLOB NOT NULL, body BLOB NOT NULL, sum INTEGER NOT NULL);
CREATE TABLE session (id INTEGER PRIMARY KEY, head BLOB NOT NULL, sum INTEGER NOT NULL);
CREATE TABLE queued (session INTEGER NOT NULL, ord INTEGER NOT NULL, packet_id INTEGER, state INTEGER NOT NULL,
  head BLOB NOT NULL, body BLOB NOT NULL, sum INTEGER NOT NULL, PRIMARY KEY (session, ord));
CREATE TABLE received (session INTEGER NOT NULL, packet_id INTEGER NOT NULL, PRIMARY KEY (session, packet_id)) WITHOUT ROWID;
CREATE TABLE will (session INTEGER PRIMARY KEY, head BLOB NOT NULL, body BLOB NOT NULL, sum INTEGER NOT NULL);
";

pub(crate) struct SqliteStore {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    path: PathBuf,
    waiting: Mutex<Waiting>,
    rung: Condvar,
    settled: watch::Sender<Ticket>,
    fault: Mutex<Option<String>>,
}

struct Waiting {
    batch: Batch,
    /// The number of the group that gathers.
    ticket: Ticket,
    /// Somebody waits for that group: it is settled even where its changes were taken back.
    promised: bool,
    closing: bool,
}

impl Waiting {
    fn is_idle(&self) -> bool {
        self.batch.is_empty() && !self.promised
    }
}

impl SqliteStore {
    /// Opens or makes the file, reads what it holds, and begins to write. Blocks; `bytes_max` bounds the file.
    pub fn open(path: &Path, bytes_max: u64) -> Result<(Self, Image), StoreError> {
        let mut connection = prepare(path, bytes_max).map_err(|reason| wrong(path, reason))?;
        let image = load(&mut connection).map_err(|reason| wrong(path, reason))?;
        let shared = Arc::new(Shared {
            path: path.to_owned(),
            waiting: Mutex::new(Waiting { batch: Batch::default(), ticket: 1, promised: false, closing: false }),
            rung: Condvar::new(),
            settled: watch::Sender::new(0),
            fault: Mutex::new(None),
        });
        let thread = std::thread::Builder::new().name("broker-store".into()).spawn({
            let shared = shared.clone();
            move || shared.write_all(connection)
        });
        let thread = thread.map_err(|error| wrong(path, error.to_string()))?;
        Ok((Self { shared, thread: Mutex::new(Some(thread)) }, image))
    }
}

impl Store for SqliteStore {
    fn put(&self, change: Change) {
        self.shared.waiting.lock().batch.put(change);
        self.shared.rung.notify_one();
    }

    fn after(&self, then: Then) {
        self.shared.waiting.lock().batch.then.push(then);
        self.shared.rung.notify_one();
    }

    fn ticket(&self) -> Ticket {
        let mut waiting = self.shared.waiting.lock();
        waiting.promised |= !waiting.batch.is_empty();
        if waiting.promised { waiting.ticket } else { waiting.ticket - 1 }
    }

    fn settled(&self) -> watch::Receiver<Ticket> {
        self.shared.settled.subscribe()
    }

    fn fault(&self) -> Option<String> {
        self.shared.fault.lock().clone()
    }

    fn close(&self) {
        self.shared.waiting.lock().closing = true;
        self.shared.rung.notify_one();
        if let Some(thread) = self.thread.lock().take()
            && thread.join().is_err()
        {
            tracing::error!(file = %self.shared.path.display(), "the broker's store ended with a panic");
        }
    }
}

impl Drop for SqliteStore {
    /// Without waiting: the thread writes what is left and ends.
    fn drop(&mut self) {
        self.shared.waiting.lock().closing = true;
        self.shared.rung.notify_one();
    }
}

impl Shared {
    fn write_all(&self, mut connection: Connection) {
        loop {
            let (batch, ticket) = {
                let mut waiting = self.waiting.lock();
                while waiting.is_idle() && !waiting.closing {
                    self.rung.wait(&mut waiting);
                }
                if waiting.is_idle() {
                    return;
                }
                waiting.ticket += 1;
                waiting.promised = false;
                (std::mem::take(&mut waiting.batch), waiting.ticket - 1)
            };
            while let Err(error) = write(&mut connection, &batch) {
                let first = self.fault.lock().replace(error.to_string()).is_none();
                if first {
                    tracing::error!(file = %self.path.display(), %error, "the broker's store cannot be written: what depends on it is not acknowledged");
                }
                let mut waiting = self.waiting.lock();
                if waiting.closing {
                    return;
                }
                self.rung.wait_for(&mut waiting, RETRY_AFTER);
            }
            if self.fault.lock().take().is_some() {
                tracing::warn!(file = %self.path.display(), "the broker's store can be written again");
            }
            self.settled.send_replace(ticket);
            for then in batch.then {
                then();
            }
        }
    }
}

fn wrong(path: &Path, reason: String) -> StoreError {
    StoreError { path: path.to_owned(), reason, mend: MOVE_IT }
}

fn prepare(path: &Path, bytes_max: u64) -> Result<Connection, String> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(|error| format!("cannot be opened: {error}"))?;
    let text = |error: rusqlite::Error| error.to_string();
    // One broker per file: two would undo each other's sessions.
    connection.pragma_update(None, "locking_mode", "EXCLUSIVE").map_err(text)?;
    connection.pragma_update(None, "journal_mode", "WAL").map_err(text)?;
    connection.pragma_update(None, "synchronous", "FULL").map_err(text)?;
    connection.pragma_update(None, "max_page_count", (bytes_max / PAGE_BYTES).max(64).cast_signed()).map_err(text)?;
    let number = |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, i32>(0)).map_err(text);
    let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).map_err(text)?;
    if tables == 0 {
        connection
            .execute_batch(&format!("BEGIN; {TABLES} PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {VERSION}; COMMIT;"))
            .map_err(text)?;
        return Ok(connection);
    }
    if number("application_id")? != APPLICATION_ID {
        return Err("is a database, but not one of this broker".into());
    }
    match number("user_version")? {
        VERSION => {}
        version => return Err(format!("has version {version}, and this program knows version {VERSION}")),
    }
    let check: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(text)?;
    if check == "ok" { Ok(connection) } else { Err(format!("is damaged: {check}")) }
}

fn load(connection: &mut Connection) -> Result<Image, String> {
    let text = |error: rusqlite::Error| error.to_string();
    let damaged = |table: &str| format!("is damaged: a row of `{table}` does not match its checksum");
    let orphans = "DELETE FROM queued WHERE session NOT IN (SELECT id FROM session); DELETE FROM received WHERE session NOT IN (SELECT id FROM session);";
    connection.execute_batch(orphans).map_err(text)?;
    let mut image = Image::default();
    let read = |row: &rusqlite::Row<'_>, at: usize| -> rusqlite::Result<Row> {
        Ok(Row { head: row.get(at)?, body: row.get(at + 1)?, sum: row.get(at + 2)? })
    };
    let mut statement = connection.prepare("SELECT head, body, sum FROM retained").map_err(text)?;
    for found in statement.query_map([], |row| read(row, 0)).map_err(text)? {
        image.retained.push(row::read_retained(&found.map_err(text)?).ok_or_else(|| damaged("retained"))?);
    }
    let mut statement = connection.prepare("SELECT id, head, x'', sum FROM session ORDER BY id").map_err(text)?;
    for found in statement.query_map([], |row| Ok((row.get::<_, i64>(0)?.cast_unsigned(), read(row, 1)?))).map_err(text)? {
        let (id, found) = found.map_err(text)?;
        image.sessions.push(row::read_session(id, &found).ok_or_else(|| damaged("session"))?);
    }
    let mut statement =
        connection.prepare("SELECT session, ord, packet_id, state, head, body, sum FROM queued ORDER BY session, ord").map_err(text)?;
    let queued = |row: &rusqlite::Row<'_>| {
        Ok((row.get::<_, i64>(0)?.cast_unsigned(), row.get::<_, i64>(1)?.cast_unsigned(), row.get(2)?, row.get(3)?, read(row, 4)?))
    };
    for found in statement.query_map([], queued).map_err(text)? {
        let (session, order, packet_id, state, found) = found.map_err(text)?;
        image.queued.push(row::read_queued(session, order, packet_id, state, &found).ok_or_else(|| damaged("queued"))?);
    }
    let mut statement = connection.prepare("SELECT session, packet_id FROM received").map_err(text)?;
    for found in statement.query_map([], |row| Ok((row.get::<_, i64>(0)?.cast_unsigned(), row.get(1)?))).map_err(text)? {
        image.received.push(found.map_err(text)?);
    }
    let mut statement = connection.prepare("SELECT session, head, body, sum FROM will").map_err(text)?;
    for found in statement.query_map([], |row| Ok((row.get::<_, i64>(0)?.cast_unsigned(), read(row, 1)?))).map_err(text)? {
        let (session, found) = found.map_err(text)?;
        image.wills.push(row::read_will(session, &found).ok_or_else(|| damaged("will"))?);
    }
    Ok(image)
}

fn write(connection: &mut Connection, batch: &Batch) -> rusqlite::Result<()> {
    if batch.has_no_changes() {
        return Ok(());
    }
    let transaction = connection.transaction()?;
    write_retained(&transaction, batch)?;
    write_sessions(&transaction, batch)?;
    write_queued(&transaction, batch)?;
    write_wills(&transaction, batch)?;
    transaction.commit()
}

fn write_retained(transaction: &Transaction<'_>, batch: &Batch) -> rusqlite::Result<()> {
    let mut insert = transaction.prepare_cached("INSERT OR REPLACE INTO retained (topic, head, body, sum) VALUES (?1, ?2, ?3, ?4)")?;
    let mut delete = transaction.prepare_cached("DELETE FROM retained WHERE topic = ?1")?;
    for (topic, message) in &batch.retained {
        match message.as_deref().and_then(row::retained) {
            Some(row) => insert.execute(params![topic, row.head, row.body, row.sum])?,
            None => delete.execute([topic])?,
        };
    }
    Ok(())
}

fn write_sessions(transaction: &Transaction<'_>, batch: &Batch) -> rusqlite::Result<()> {
    let mut insert = transaction.prepare_cached("INSERT OR REPLACE INTO session (id, head, sum) VALUES (?1, ?2, ?3)")?;
    let mut delete = transaction.prepare_cached("DELETE FROM session WHERE id = ?1")?;
    let mut empty = transaction.prepare_cached("DELETE FROM queued WHERE session = ?1")?;
    let mut release = transaction.prepare_cached("DELETE FROM received WHERE session = ?1")?;
    for (id, session) in &batch.sessions {
        let id = id.cast_signed();
        if let Some(row) = session.as_ref().and_then(row::session) {
            insert.execute(params![id, row.head, row.sum])?;
        } else {
            delete.execute([id])?;
            empty.execute([id])?;
            release.execute([id])?;
        }
    }
    let mut insert = transaction.prepare_cached("INSERT OR REPLACE INTO received (session, packet_id) VALUES (?1, ?2)")?;
    let mut delete = transaction.prepare_cached("DELETE FROM received WHERE session = ?1 AND packet_id = ?2")?;
    for ((session, packet_id), held) in &batch.received {
        let session = session.cast_signed();
        if *held {
            insert.execute(params![session, packet_id])?
        } else {
            delete.execute(params![session, packet_id])?
        };
    }
    Ok(())
}

fn write_queued(transaction: &Transaction<'_>, batch: &Batch) -> rusqlite::Result<()> {
    let mut insert = transaction.prepare_cached(
        "INSERT OR REPLACE INTO queued (session, ord, packet_id, state, head, body, sum) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?;
    let mut update = transaction.prepare_cached("UPDATE queued SET state = ?3 WHERE session = ?1 AND ord = ?2")?;
    let mut delete = transaction.prepare_cached("DELETE FROM queued WHERE session = ?1 AND ord = ?2")?;
    for ((session, order), change) in &batch.queued {
        let (session, order) = (session.cast_signed(), order.cast_signed());
        match change {
            Queued::Insert(queued) => {
                let Some(row) = row::queued(queued) else { continue };
                insert.execute(params![session, order, queued.packet_id, queued.state as u8, row.head, row.body, row.sum])?
            }
            Queued::State(state) => update.execute(params![session, order, *state as u8])?,
            Queued::Delete => delete.execute(params![session, order])?,
        };
    }
    Ok(())
}

fn write_wills(transaction: &Transaction<'_>, batch: &Batch) -> rusqlite::Result<()> {
    let mut insert = transaction.prepare_cached("INSERT OR REPLACE INTO will (session, head, body, sum) VALUES (?1, ?2, ?3, ?4)")?;
    let mut delete = transaction.prepare_cached("DELETE FROM will WHERE session = ?1")?;
    for (session, will) in &batch.wills {
        let session = session.cast_signed();
        match will.as_ref().and_then(row::will) {
            Some(row) => insert.execute(params![session, row.head, row.body, row.sum])?,
            None => delete.execute([session])?,
        };
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{QueueRow, settle};

    /// A subscriber that acknowledged before the group was written took the group's only change back, and whoever held a
    /// ticket for it waited until something else changed: a publisher without its PUBACK.
    #[tokio::test]
    async fn a_ticket_is_settled_though_its_change_was_taken_back() {
        let folder = tempfile::TempDir::new().expect("a folder");
        let (store, _) = SqliteStore::open(&folder.path().join("broker.db"), 1 << 20).expect("opens");
        for order in 1..=200 {
            store.put(Change::Queue(Box::new(QueueRow::waiting(order))));
            let ticket = store.ticket();
            store.put(Change::Unqueue { session: 1, order });
            let mut settled = store.settled();
            let waited = tokio::time::timeout(Duration::from_secs(20), settle(&mut settled, ticket)).await;
            assert_eq!(waited, Ok(true), "ticket {ticket}");
        }
        store.close();
    }
}
