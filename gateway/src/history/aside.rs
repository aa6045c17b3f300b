//! What groups wrote that is no part of them any more, put aside under other names: of groups that a restored mesh has no state of and
//! begins anew, and what a copy had of a building's group that went on from another copy.

use super::{HistoryError, schema};
use rusqlite::{Connection, Transaction, params};
use spalla_shared::engine::life::Fork;
use spalla_shared::id::GroupId;
use std::path::Path;

/// Renames every group but those of `kept` to `<group><mark>`, and its instances alike. The file is nobody's at that time. Gives the new names.
pub fn set_aside(path: &Path, kept: &[GroupId], mark: &str) -> Result<Vec<String>, HistoryError> {
    let file = |error| HistoryError::File { path: path.into(), error };
    let mut connection = schema::open_for_writing(path)?;
    let renamed = rename(&mut connection, kept, mark).map_err(file)?;
    connection.close().map_err(|(_, error)| file(error))?;
    Ok(renamed)
}

fn rename(connection: &mut Connection, kept: &[GroupId], mark: &str) -> rusqlite::Result<Vec<String>> {
    let transaction = connection.transaction()?;
    // An empty name counts transactions.
    let all = "SELECT DISTINCT grp FROM audit UNION SELECT grp FROM meta WHERE grp <> '' ORDER BY 1";
    let groups: Vec<String> = transaction.prepare(all)?.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
    // Those of an earlier restore have their names already.
    let is_kept = |group: &String| group.contains(MARK) || kept.iter().any(|kept| kept.as_str() == group);
    let groups: Vec<String> = groups.into_iter().filter(|group| !is_kept(group)).collect();
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

/// Audit links that a copy had of entries before `fork` and that the group went on without: `<group>~<index>` holds them. Gives how many.
pub fn set_aside_links(transaction: &Transaction<'_>, group: &GroupId, fork: Fork) -> rusqlite::Result<usize> {
    let aside = format!("{group}{}", mark(fork.index));
    let links = params![group.as_str(), aside, schema::signed(fork.audit_seq), schema::signed(fork.index)];
    transaction.execute("UPDATE audit SET grp = ?2 WHERE grp = ?1 AND seq > ?3 AND log_index < ?4", links)
}

/// No group of a mesh has it in its name.
const MARK: char = '~';

/// `~1` for what was before the first restore.
pub fn mark(epoch: u64) -> String {
    format!("{MARK}{epoch}")
}
