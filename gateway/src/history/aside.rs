//! What groups wrote before a mesh was restored, put aside under other names: those groups begin anew, with the same entry numbers
//! and the same ids.

use super::{HistoryError, schema};
use rusqlite::{Connection, params};
use spalla_shared::id::GroupId;
use std::path::Path;

/// Renames every group but `kept` to `<group><mark>`, and its instances alike. The file is nobody's at that time. Gives the new names.
pub fn set_aside(path: &Path, kept: &GroupId, mark: &str) -> Result<Vec<String>, HistoryError> {
    let file = |error| HistoryError::File { path: path.into(), error };
    let mut connection = schema::open_for_writing(path)?;
    let renamed = rename(&mut connection, kept, mark).map_err(file)?;
    connection.close().map_err(|(_, error)| file(error))?;
    Ok(renamed)
}

fn rename(connection: &mut Connection, kept: &GroupId, mark: &str) -> rusqlite::Result<Vec<String>> {
    let transaction = connection.transaction()?;
    // An empty name counts transactions.
    let others = "SELECT DISTINCT grp FROM audit WHERE grp <> ?1 UNION SELECT grp FROM meta WHERE grp NOT IN (?1, '') ORDER BY 1";
    let groups: Vec<String> =
        transaction.prepare(others)?.query_map([kept.as_str()], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
    // Those of an earlier restore have their names already.
    let groups: Vec<String> = groups.into_iter().filter(|group| !group.contains(MARK)).collect();
    for group in &groups {
        for table in ["audit", "gaps", "tasks", "instances"] {
            transaction.execute(&format!("UPDATE {table} SET grp = grp || ?2 WHERE grp = ?1"), params![group, mark])?;
        }
        let aside = format!("{group}{mark}");
        transaction.execute("UPDATE tasks SET instance = instance || ?2 WHERE grp = ?1", params![aside, mark])?;
        transaction.execute("UPDATE instances SET id = id || ?2 WHERE grp = ?1", params![aside, mark])?;
        transaction.execute("DELETE FROM meta WHERE grp = ?1", [group])?;
    }
    transaction.commit()?;
    Ok(groups.into_iter().map(|group| format!("{group}{mark}")).collect())
}

/// No group of a mesh has it in its name.
const MARK: char = '~';

/// `~1` for what was before the first restore.
pub fn mark(epoch: u64) -> String {
    format!("{MARK}{epoch}")
}
