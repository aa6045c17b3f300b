//! History as it stands at one moment, for a backup: a reader that sees nothing newer, while the writer goes on.

use super::schema::{self, unsigned};
use rusqlite::Connection;
use rusqlite::backup::{Backup, StepResult};
use std::path::Path;

/// Pages that are copied at a stretch.
const PAGES_AT_ONCE: i32 = 1_000;

pub struct Cut(Connection);

impl Cut {
    /// On the writer's thread, between two transactions.
    pub(super) fn open(path: &Path) -> Result<Self, String> {
        let connection = schema::open_for_reading(path).map_err(|error| error.to_string())?;
        // The first read fixes what this connection sees.
        let fixed = connection
            .execute_batch("BEGIN")
            .and_then(|()| connection.query_row("SELECT count(*) FROM meta", [], |row| row.get::<_, i64>(0)));
        fixed.map_err(|error| error.to_string())?;
        Ok(Self(connection))
    }

    /// Bytes that the copy will have.
    pub fn size(&self) -> Result<u64, String> {
        let read = |pragma: &str| self.0.query_row(&format!("PRAGMA {pragma}"), [], |row| row.get::<_, i64>(0));
        let (pages, page) = (read("page_count"), read("page_size"));
        let (pages, page) = pages.and_then(|pages| Ok((pages, page?))).map_err(|error| error.to_string())?;
        Ok(unsigned(pages).saturating_mul(unsigned(page)))
    }

    /// Writes it to a new file. Blocks.
    pub fn copy_to(&self, path: &Path) -> Result<(), String> {
        let say = |error: rusqlite::Error| error.to_string();
        let mut target = Connection::open(path).map_err(say)?;
        let backup = Backup::new(&self.0, &mut target).map_err(say)?;
        loop {
            match backup.step(PAGES_AT_ONCE).map_err(say)? {
                StepResult::Done => break,
                StepResult::More => {}
                other => return Err(format!("history cannot be copied: {other:?}")),
            }
        }
        drop(backup);
        // A single file, to be read and moved by anyone.
        target.execute_batch("PRAGMA journal_mode = DELETE").map_err(say)?;
        target.close().map_err(|(_, error)| say(error))
    }
}
