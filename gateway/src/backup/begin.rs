//! A mesh begun again: from a backup in an empty folder, or from the folder of the last gateway that is left. Works on files,
//! with no gateway running. Both are written into the log's audit trail.

use super::{BackupError, BackupFile};
use crate::config::Config;
use crate::consensus::RecordSink;
use crate::consensus::recovery::{self, BegunAgain, Survivor};
use crate::effects::clock::wall_now;
use crate::history::{FILE_NAME, History, Verification, mark, set_aside, verify_audit};
use crate::storage::{SnapshotFolder, SnapshotImage};
use spalla_shared::engine::Command;
use spalla_shared::engine::roster::MemberCommand;
use spalla_shared::engine::state::SEMANTICS_VERSION;
use spalla_shared::id::{Actor, GroupId};
use std::path::Path;
use std::sync::Arc;

/// Who wants it, and why: it stands in the audit trail.
pub struct Wish {
    pub reason: String,
    pub by: Actor,
}

impl Wish {
    fn check(&self) -> Result<(), BackupError> {
        if self.reason.trim().is_empty() {
            return Err(BackupError::Refused("--reason is empty; say why in a few words: it stands in the audit trail".into()));
        }
        Ok(())
    }
}

/// Where the mesh goes on.
pub struct Begun {
    pub at: BegunAgain,
    pub audit_links: u64,
}

/// Fills the empty data folder of `config`, whose gateway is the only one, and begins the mesh again from there.
pub async fn restore(config: &Config, backup: &BackupFile, wish: Wish) -> Result<Begun, BackupError> {
    wish.check()?;
    let others = config.peers.gateways.iter().filter(|gateway| gateway.node != config.node).count();
    if others > 0 {
        return Err(BackupError::Refused(format!(
            "the settings name {others} other gateways; a restored mesh begins with one: make its folder with `spalla init` and one \
             --site, restore into it, and let the others join"
        )));
    }
    if config.data.exists() && std::fs::read_dir(&config.data).is_ok_and(|mut files| files.next().is_some()) {
        return Err(BackupError::Refused(format!("{} is not empty; nothing is overwritten", config.data.display())));
    }
    if backup.head.semantics > SEMANTICS_VERSION {
        return Err(BackupError::Refused(format!(
            "the backup uses semantics {}, this build knows them up to {SEMANTICS_VERSION}: use a build at least as new as {}",
            backup.head.semantics, backup.head.version
        )));
    }
    let group = GroupId::mesh();
    check_audit(backup, &group)?;
    std::fs::create_dir_all(&config.data).map_err(|error| BackupError::File { path: config.data.clone(), error })?;
    fill(config, backup)?;
    begin_again(config, wish).await
}

/// History and the groups' snapshots, as they lay in the folder of the gateway that gave the backup. Those who voted in buildings' groups
/// are no more: each begins again, from what is here, as soon as the building has a gateway.
fn fill(config: &Config, backup: &BackupFile) -> Result<(), BackupError> {
    let history = config.data.join(FILE_NAME);
    backup.extract(FILE_NAME, &history)?;
    let groups: Vec<GroupId> = backup.head.groups.iter().map(|mark| mark.group.clone()).collect();
    set_aside(&history, &groups, &mark(backup.head.epoch + 1))?;
    for mark in &backup.head.groups {
        let part = config.data.join("restored.part");
        backup.extract(mark.group.as_str(), &part)?;
        let fail = |error| BackupError::File { path: part.clone(), error };
        let bytes = std::fs::read(&part).map_err(fail)?;
        let damaged = |why| BackupError::Failed(format!("the state of group `{}` in it: {why}", mark.group));
        let image = SnapshotImage::check(bytes.into()).map_err(|why| damaged(why.to_string()))?;
        let image = if mark.group == GroupId::mesh() { image } else { recovery::without_voters(&image).map_err(damaged)? };
        let folder = SnapshotFolder::open(&recovery::folder(&config.data, &mark.group)).map_err(crate::consensus::StartError::from)?;
        folder.write(mark.applied, &image).map_err(crate::consensus::StartError::from)?;
        std::fs::remove_file(&part).map_err(fail)?;
    }
    Ok(())
}

/// The chain is recomputed, and ends where the state says.
pub fn check_audit(backup: &BackupFile, group: &GroupId) -> Result<u64, BackupError> {
    let folder = tempfile::tempdir().map_err(|error| BackupError::File { path: std::env::temp_dir(), error })?;
    let file = folder.path().join(FILE_NAME);
    backup.extract(FILE_NAME, &file)?;
    let mark = backup.group(group)?;
    match verify_audit(&file, group)? {
        Verification::Verified { count, head } if head == mark.audit_head && count == mark.audit_seq => Ok(count),
        Verification::Verified { count, .. } => Err(BackupError::Failed(format!(
            "the audit trail in it ends at link {count}, the state says {}: the gateway that gave it had not got the whole history yet",
            mark.audit_seq
        ))),
        Verification::Broken { seq, why } => Err(BackupError::Failed(format!("the audit trail in it is broken at link {seq}: {why}"))),
    }
}

/// What `recover` would go on from.
pub async fn look(config: &Config) -> Result<BegunAgain, BackupError> {
    exists(&config.data)?;
    Ok(recovery::look(&survivor(config)?, &GroupId::mesh()).await?)
}

/// Goes on from the data folder of `config` alone; all other gateways are removed.
pub async fn recover(config: &Config, wish: Wish) -> Result<Begun, BackupError> {
    wish.check()?;
    exists(&config.data)?;
    begin_again(config, wish).await
}

fn exists(data: &Path) -> Result<(), BackupError> {
    if data.join(FILE_NAME).exists() {
        return Ok(());
    }
    Err(BackupError::Refused(format!("{} is no data folder of a gateway", data.display())))
}

async fn begin_again(config: &Config, wish: Wish) -> Result<Begun, BackupError> {
    let survivor = survivor(config)?;
    let history = open_history(config)?;
    let sink: Arc<dyn RecordSink> = Arc::new(history.clone());
    let command = Command::Member(MemberCommand::Recover {
        node: config.node,
        site: config.site.clone(),
        address: survivor.address.into(),
        reason: wish.reason.into(),
        by: wish.by,
        buildings_anew: false,
    });
    let group = GroupId::mesh();
    let at = recovery::begin_again(&survivor, &group, command, wall_now(), sink).await?;
    drop(history);
    match verify_audit(&config.data.join(FILE_NAME), &group)? {
        Verification::Verified { count, .. } => Ok(Begun { at, audit_links: count }),
        Verification::Broken { seq, why } => Err(BackupError::Failed(format!(
            "the mesh is begun again, but the audit trail here is broken at link {seq} ({why}): what was there before it is lost"
        ))),
    }
}

fn open_history(config: &Config) -> Result<History, BackupError> {
    Ok(History::open(&config.data, Box::new(|why| tracing::error!(why, "history cannot be kept")))?)
}

fn survivor(config: &Config) -> Result<Survivor<'_>, BackupError> {
    let own = config.peers.gateways.iter().find(|gateway| gateway.node == config.node);
    let own = own.ok_or_else(|| BackupError::Refused(format!("gateway {} is not in peers.gateways", config.node)))?;
    Ok(Survivor { node: config.node, address: &own.address, data: &config.data })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_begins_a_mesh_again_says_why() {
        let wish = |reason: &str| Wish { reason: reason.into(), by: Actor::new("user:anna") };
        for blank in ["", " ", "\t\n", "\u{a0}"] {
            let refused = wish(blank).check().expect_err("blank").to_string();
            assert!(refused.contains("--reason"), "{refused}");
        }
        wish("fire at hq").check().expect("a reason");
    }
}
