//! How a gateway comes into a running mesh: an operator invites, whoever holds the invitation joins once. The secret is shown
//! once and never stored; the mesh keeps its hash.

use super::{Members, Refusal};
use crate::config::Timing;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use spalla_shared::engine::roster::{Duty, INVITATION_MS_MAX, MemberCommand};
use spalla_shared::engine::{Accepted, Command};
use spalla_shared::id::{Actor, NodeId, SiteId};
use spalla_shared::time::Timestamp;
use spalla_shared::topic::{NAME_WANTED, is_name};
use std::time::Duration;

/// For an operator to walk over to the new machine.
const INVITATION_MS: u64 = 3_600_000;
/// A token is 64 characters; longer ones are not looked at.
const TOKEN_LEN_MAX: usize = 128;
/// For an invitation to be known at every gateway.
const HEAR_TIME_MAX: Duration = Duration::from_millis(500);

#[derive(Clone, Debug, Serialize)]
pub struct Invited {
    /// Shown this once.
    pub token: String,
    pub until: Timestamp,
}

#[derive(Clone, Debug, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct JoinRequest {
    pub site: String,
    /// host:port of the new gateway's mesh listener, as the others dial it.
    pub address: String,
    /// PEM of the authority that is to sign the gateway's certificate: it must be this mesh's, or the id would be wasted.
    pub ca: String,
}

/// All that a new gateway's folder needs beside its certificate.
#[derive(Clone, Serialize, Deserialize)]
pub struct Joined {
    pub node: NodeId,
    pub organisation: String,
    pub mesh: String,
    pub timing: Timing,
    /// All gateways, the new one included.
    pub gateways: Vec<crate::config::Gateway>,
    pub cloud_url: Option<String>,
    /// Secrets that are the same at all gateways.
    pub api_token: String,
    pub credentials_key: String,
}

impl Members {
    /// Lasts an hour, or `valid`.
    pub async fn invite(&self, site: Option<SiteId>, duty: Duty, valid: Option<Duration>, by: Actor) -> Result<Invited, Refusal> {
        let valid_ms = valid.map_or(INVITATION_MS, |valid| u64::try_from(valid.as_millis()).unwrap_or(u64::MAX));
        if valid_ms == 0 || valid_ms > INVITATION_MS_MAX {
            return Err(Refusal::new("invalid", "an invitation lasts between a second and seven days"));
        }
        if let Some(site) = &site {
            check_site(site)?;
        }
        let mut secret = [0u8; 32];
        rand::fill(&mut secret);
        let token = hex::encode(secret);
        // The leader's clock may be ahead of this one: a longest invitation must not be refused for that.
        let until = Timestamp(self.group.now().millis().saturating_add(i64::try_from(valid_ms).unwrap_or(i64::MAX)));
        let command = MemberCommand::Invite { token: hashed(&token), site, duty, until, by };
        self.group.propose(Command::Member(command)).await?.reply?;
        Ok(Invited { token, until })
    }

    /// Gives the next id. The token is the right to ask.
    pub async fn join(&self, token: &str, request: &JoinRequest) -> Result<Joined, Refusal> {
        if token.len() > TOKEN_LEN_MAX {
            return Err(Refusal::new("forbidden", "no such invitation"));
        }
        // Who shows none must not fill the log. A follower hears of a new one a moment later.
        let token = hashed(token);
        let mut applied = self.group.applied();
        let there = applied.wait_for(|_| self.group.state().read().roster.invitations.contains_key(&token));
        if !tokio::time::timeout(HEAR_TIME_MAX, there).await.is_ok_and(|there| there.is_ok()) {
            return Err(Refusal::new("forbidden", "no such invitation: it was used, it has lapsed, or it is of another mesh"));
        }
        let site = SiteId::new(&request.site);
        check_site(&site)?;
        let own = std::fs::read_to_string(&self.config.peers.ca).map_err(|error| self.unreadable("peers.ca", &error))?;
        if own.trim() != request.ca.trim() {
            return Err(Refusal::new(
                "conflict",
                "that authority is not this mesh's: use the `mesh-ca` folder that `spalla init` made for it",
            ));
        }
        // Before the invitation is used up.
        let read = |name: &str, path: &std::path::Path| std::fs::read_to_string(path).map_err(|error| self.unreadable(name, &error));
        let api_token = read("api.token_file", &self.config.api.token_file)?;
        let credentials_key = read("credentials.key_file", &self.config.credentials.key_file)?;
        let command = MemberCommand::Join { token, site, address: request.address.as_str().into() };
        let Accepted::Member { node } = self.group.propose(Command::Member(command)).await?.reply? else {
            return Err(Refusal::new("failed", "the mesh gave no id"));
        };
        let members = self.group.state().read().roster.members.clone();
        let gateway = |(node, member): (NodeId, spalla_shared::engine::roster::Member)| crate::config::Gateway {
            node,
            site: member.site,
            address: member.address.to_string(),
        };
        Ok(Joined {
            node,
            organisation: self.config.organisation.clone(),
            mesh: self.config.mesh.clone(),
            timing: self.config.peers.timing,
            gateways: members.into_iter().map(gateway).collect(),
            cloud_url: self.config.cloud.as_ref().map(|cloud| cloud.url.clone()),
            api_token,
            credentials_key,
        })
    }

    fn unreadable(&self, name: &str, error: &std::io::Error) -> Refusal {
        Refusal::new("failed", format!("{name} of gateway {} cannot be read: {error}", self.node()))
    }
}

/// Here and not in the log: what entries there named stays as it is.
fn check_site(site: &SiteId) -> Result<(), Refusal> {
    if is_name(site.as_str()) {
        return Ok(());
    }
    Err(Refusal::new("invalid", format!("`{site}` cannot name a site; {NAME_WANTED}")))
}

fn hashed(token: &str) -> std::sync::Arc<str> {
    hex::encode(Sha256::digest(token.trim().as_bytes())).into()
}
