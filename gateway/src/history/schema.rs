//! The tables, and how the file is opened.

use super::HistoryError;
use rusqlite::{Connection, OpenFlags, OptionalExtension};
use spalla_shared::id::GroupId;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

/// `PRAGMA user_version`: a build refuses a file that it does not know instead of guessing.
pub const FORMAT: i64 = 2;

/// A reader may hold the file for so long while it is being checkpointed.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

// `gaps`: entries that a snapshot carried this gateway over. Audit links are missing down from `seq`, whose hash is `hash`;
// both move down while links come from another gateway.
// Times are milliseconds since 1970, UTC. `data`, `input`, `output` and `problem` are canonical JSON.
const TABLES: &str = "
CREATE TABLE meta (
    grp TEXT PRIMARY KEY,
    applied_index INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE gaps (
    grp TEXT NOT NULL,
    from_index INTEGER NOT NULL,
    to_index INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    hash TEXT NOT NULL,
    rows_done INTEGER NOT NULL,
    PRIMARY KEY (grp, to_index)
) WITHOUT ROWID;
CREATE TABLE audit (
    grp TEXT NOT NULL,
    seq INTEGER NOT NULL,
    log_index INTEGER NOT NULL,
    at INTEGER NOT NULL,
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    subject TEXT NOT NULL,
    data TEXT NOT NULL,
    previous TEXT NOT NULL,
    hash TEXT NOT NULL,
    PRIMARY KEY (grp, seq)
);
CREATE INDEX audit_by_subject ON audit (subject, grp, seq);
CREATE INDEX audit_by_at ON audit (at);
CREATE TABLE instances (
    id TEXT PRIMARY KEY,
    grp TEXT NOT NULL,
    namespace TEXT NOT NULL,
    name TEXT NOT NULL,
    version TEXT NOT NULL,
    business_key TEXT,
    status TEXT NOT NULL,
    started_at INTEGER NOT NULL,
    started_by TEXT NOT NULL,
    input TEXT NOT NULL,
    ended_at INTEGER,
    output TEXT,
    problem TEXT,
    ended_index INTEGER
);
CREATE INDEX instances_by_end ON instances (grp, ended_index) WHERE ended_index IS NOT NULL;
CREATE INDEX instances_by_start ON instances (started_at, id);
CREATE INDEX instances_by_key ON instances (business_key) WHERE business_key IS NOT NULL;
CREATE TABLE tasks (
    grp TEXT NOT NULL,
    log_index INTEGER NOT NULL,
    ordinal INTEGER NOT NULL,
    instance TEXT NOT NULL,
    at INTEGER NOT NULL,
    reference TEXT NOT NULL,
    name TEXT NOT NULL,
    what TEXT NOT NULL,
    data TEXT NOT NULL,
    PRIMARY KEY (grp, log_index, ordinal)
) WITHOUT ROWID;
CREATE INDEX tasks_by_instance ON tasks (instance, log_index, ordinal);
PRAGMA user_version = 2;
";

pub fn open_for_writing(path: &Path) -> Result<Connection, HistoryError> {
    let file = |error| HistoryError::File { path: path.into(), error };
    let connection = Connection::open(path).map_err(file)?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(file)?;
    // NORMAL: a commit costs no sync. What a power cut may take away is in the Raft log still,
    // which is purged only behind `flush`, and `flush` syncs.
    connection.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA temp_store = MEMORY;").map_err(file)?;
    match format(&connection).map_err(file)? {
        0 => connection.execute_batch(&format!("BEGIN IMMEDIATE; {TABLES} COMMIT;")).map_err(file)?,
        FORMAT => {}
        found => return Err(HistoryError::Format { path: path.into(), found }),
    }
    Ok(connection)
}

pub fn open_for_reading(path: &Path) -> Result<Connection, HistoryError> {
    let file = |error| HistoryError::File { path: path.into(), error };
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(file)?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(file)?;
    match format(&connection).map_err(file)? {
        FORMAT => Ok(connection),
        found => Err(HistoryError::Format { path: path.into(), found }),
    }
}

/// The newest index whose records are in the file, by group.
pub fn applied(connection: &Connection) -> rusqlite::Result<BTreeMap<GroupId, u64>> {
    connection
        .prepare("SELECT grp, applied_index FROM meta")?
        .query_map([], |row| Ok((GroupId::new(row.get::<_, String>(0)?), unsigned(row.get(1)?))))?
        .collect()
}

/// The newest index of `group` whose records are in the file; 0 where there are none.
pub fn reached(connection: &Connection, group: &GroupId) -> rusqlite::Result<u64> {
    let index = connection
        .prepare_cached("SELECT applied_index FROM meta WHERE grp = ?1")?
        .query_row([group.as_str()], |row| row.get(0))
        .optional()?;
    Ok(unsigned(index.unwrap_or(0)))
}

fn format(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("PRAGMA user_version", [], |row| row.get(0))
}

/// SQLite's integers are signed; indexes and sequences never reach 2^63.
pub fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or_default()
}
