//! Identifiers. Each is a newtype, so that a site can never be handed where a device is meant.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            pub fn new(text: impl AsRef<str>) -> Self {
                Self(Arc::from(text.as_ref()))
            }
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self::new(text)
            }
        }
        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self::new(text)
            }
        }
        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
    };
}

text_id!(
    /// A building, e.g. `hq`. One topic level: no `/ + # $`.
    SiteId
);
text_id!(
    /// A device, `site/name`, e.g. `hq/turnstile-1`. Unique in the mesh.
    DeviceId
);
text_id!(
    /// One execution of a flow: 16 hex digits hashed from (group, log index, ordinal).
    InstanceId
);
text_id!(
    /// A thing a person must do: 16 hex digits.
    WorkItemId
);
text_id!(
    /// A signed QR, card or PIN: 16 hex digits.
    CredentialId
);
text_id!(
    /// The doors and times that a credential opens: 16 hex digits.
    GrantId
);
text_id!(
    /// A Raft group: `mesh` or `site:<id>`.
    GroupId
);
text_id!(
    /// Who did it: `user:anna@example.com`, `device:hq/reader-1`, `node:2`, `flow:<instance>`, `system`.
    Actor
);

/// A gateway. Allocated once, never reused, also not after the disk was wiped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NodeId(pub u64);

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// An effect: the log index that asked for it and its place among that entry's effects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EffectId {
    pub index: u64,
    pub ordinal: u32,
}

impl fmt::Display for EffectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.index, self.ordinal)
    }
}

impl DeviceId {
    pub fn of(site: &SiteId, name: &str) -> Self {
        Self::new(format!("{site}/{name}"))
    }
    /// The part before the first `/`.
    pub fn site(&self) -> SiteId {
        SiteId::new(self.as_str().split('/').next().unwrap_or_default())
    }
    /// The part behind the first `/`.
    pub fn name(&self) -> &str {
        self.as_str().split_once('/').map_or("", |(_, name)| name)
    }
}

impl GroupId {
    const SITE: &str = "site:";

    pub fn mesh() -> Self {
        Self::new("mesh")
    }

    /// No group of a mesh: flows of the mesh and of buildings live in it together.
    pub fn rehearsal() -> Self {
        Self::new("rehearsal")
    }

    /// The group of one building.
    pub fn of_site(site: &SiteId) -> Self {
        Self::new(format!("{}{site}", Self::SITE))
    }

    /// The building whose group it is; none for the mesh's.
    pub fn site(&self) -> Option<SiteId> {
        self.as_str().strip_prefix(Self::SITE).map(SiteId::new)
    }
}

impl Actor {
    pub fn system() -> Self {
        Self::new("system")
    }
    pub fn node(node: NodeId) -> Self {
        Self::new(format!("node:{node}"))
    }
    pub fn device(device: &DeviceId) -> Self {
        Self::new(format!("device:{device}"))
    }
    pub fn flow(instance: &InstanceId) -> Self {
        Self::new(format!("flow:{instance}"))
    }
}

/// Chance that every replica agrees on: the first 8 bytes of SHA-256 over (group, index, ordinal, purpose).
pub fn derived_u64(group: &GroupId, index: u64, ordinal: u32, purpose: &str) -> u64 {
    use sha2::{Digest, Sha256};
    let mut hash = Sha256::new();
    hash.update((group.as_str().len() as u64).to_be_bytes());
    hash.update(group.as_str());
    hash.update(index.to_be_bytes());
    hash.update(ordinal.to_be_bytes());
    hash.update(purpose);
    let digest = hash.finalize();
    let mut first = [0; 8];
    first.copy_from_slice(&digest[..8]);
    u64::from_be_bytes(first)
}
