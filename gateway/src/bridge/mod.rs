//! Between the mesh's group and a building's: brings the building what is declared for it, and carries what the two owe each other.
//! The leader of the building's group does it, from its own copies of both; only what is committed crosses.
//!
//! ```text
//! mesh: declared resources, flows ----mirror----> site: Mirror
//! mesh: crossings.owed[site] --------carry------> site: Deliver     then mesh: Taken
//! site: crossings.owed[mesh] --------carry------> mesh: Deliver     then site: Taken
//! mesh is in reach --------------------------->   site: Heard       (every few minutes: the offline lease counts from it)
//! nothing is owed any more ------------------->   mesh: Level       (where the mesh had said that it cannot hear the building)
//! ```
//! It decides nothing: what crosses was decided in the group that it comes from.

mod carry;
mod mirror;

use crate::consensus::{GroupRef, ProposeError};
use spalla_shared::engine::command::SiteCommand;
use spalla_shared::engine::{Command, PassbackCommand, site};
use std::time::Duration;
use tokio::time::Instant;

/// A look without being told to: mends what a lost answer left.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// Between two looks, however much happens: what crosses goes together.
const PACE: Duration = Duration::from_millis(20);
/// After a proposal that was not taken.
const BACKOFF: Duration = Duration::from_millis(500);
/// How often the building's log hears that the mesh is in reach. The offline lease is shorter by up to this.
const HEARD_EVERY_MS: u64 = 5 * 60 * 1000;

pub struct Bridge {
    pub mesh: GroupRef,
    pub site: GroupRef,
    /// How long doors are decided without the mesh.
    pub lease: Duration,
}

/// What the building was brought level with since this gateway leads.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Level {
    declared_at: u64,
    /// Of the building's group: what they do not know yet is left out.
    semantics: u32,
}

impl Bridge {
    /// Works while this gateway leads the building's group. Runs until it is dropped; spawn it once per building's group.
    pub async fn run(self) {
        let (mut of_mesh, mut of_site) = (self.mesh.applied(), self.site.applied());
        let mut leadership = self.site.leadership();
        // Where nothing changed, a sleeping mesh costs nothing but a look.
        let mut rest = None;
        let mut level = None;
        loop {
            if !leadership.borrow_and_update().is_self {
                level = None;
                if let Ok(Err(_)) = tokio::time::timeout(LOOK_AGAIN, leadership.changed()).await {
                    return;
                }
                continue;
            }
            of_mesh.borrow_and_update();
            of_site.borrow_and_update();
            if rest.is_none_or(|until| Instant::now() >= until) {
                rest = self.step(&mut level).await.err().map(|error| {
                    tracing::debug!(group = %self.site.id(), %error, "nothing crosses now");
                    Instant::now() + BACKOFF
                });
            }
            tokio::time::sleep(PACE).await;
            let told = async {
                tokio::select! {
                    changed = of_mesh.changed() => changed.is_ok(),
                    changed = of_site.changed() => changed.is_ok(),
                    changed = leadership.changed() => changed.is_ok(),
                }
            };
            if let Ok(false) = tokio::time::timeout(LOOK_AGAIN, told).await {
                return;
            }
        }
    }

    async fn step(&self, level: &mut Option<Level>) -> Result<(), ProposeError> {
        let in_reach = !self.mesh.freshness().stale;
        self.mirror(level).await?;
        if in_reach {
            self.heard().await?;
            carry::carry(&self.mesh, &self.site).await?;
            carry::carry(&self.site, &self.mesh).await?;
            self.heard_out().await?;
        }
        Ok(())
    }

    /// Once the mesh has all that was owed it: people who went in meanwhile are known to be inside.
    async fn heard_out(&self) -> Result<(), ProposeError> {
        let Some(site) = self.site.id().site() else { return Ok(()) };
        if !self.mesh.state().read().passback.split.contains(&site) {
            return Ok(());
        }
        let owes = self.site.state().read().crossings.owed.get(self.mesh.id()).is_some_and(|owed| owed.taken_seq < owed.newest_seq);
        if !owes {
            self.mesh.propose(Command::Passback(PassbackCommand::Level { site })).await?;
        }
        Ok(())
    }

    async fn mirror(&self, level: &mut Option<Level>) -> Result<(), ProposeError> {
        let (declared_at, applied) = {
            let state = self.mesh.state().read();
            (state.declared_at, state.applied)
        };
        let wanted = Level { declared_at, semantics: self.site.state().read().semantics };
        if *level == Some(wanted) {
            return Ok(());
        }
        let (parts, mirrored) = {
            // A copy of the smaller one: never both locks at once.
            let site = self.site.state().read().clone();
            let mirrored = site.beside.as_ref().map_or(0, |beside| beside.mirrored);
            (mirror::parts(&self.mesh.state().read(), &site), mirrored)
        };
        // This gateway's copy of the mesh may be older than that of the one that led before: what it lacks must not be taken away.
        if applied < mirrored {
            return Ok(());
        }
        let parts = if declared_at <= mirrored && mirror::are_empty(&parts) { Vec::new() } else { parts };
        for part in parts {
            let receipt = self.site.propose(Command::Site(part)).await?;
            if let Err(rejection) = receipt.reply {
                // Looked at again with the next declaration: this one would be refused again.
                tracing::warn!(group = %self.site.id(), code = %rejection.code, reason = %rejection.message, "part of what is declared was not taken");
                break;
            }
        }
        *level = Some(wanted);
        tracing::debug!(group = %self.site.id(), declared_at, "has what the mesh declares for it");
        Ok(())
    }

    async fn heard(&self) -> Result<(), ProposeError> {
        let lease_ms = u64::try_from(self.lease.as_millis()).unwrap_or(u64::MAX).min(site::LEASE_MAX_MS);
        let due = {
            let now = self.site.now();
            let state = self.site.state().read();
            let beside = state.beside.as_ref();
            beside.is_none_or(|beside| beside.lease_ms != lease_ms || beside.heard_at.is_none_or(|at| now.since(at) >= HEARD_EVERY_MS))
        };
        if due {
            self.site.propose(Command::Site(SiteCommand::Heard { lease_ms })).await?;
        }
        Ok(())
    }
}
