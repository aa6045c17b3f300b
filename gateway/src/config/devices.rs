//! `[devices]`: where devices and service clients come in, what the listeners show, and how much they let in.
//!
//! Reads the files that it names only when asked to (`TlsFiles::listener`): at the check, at the start and at each reload.

use super::pem;
use serde::{Deserialize, Serialize};
use spalla_broker::server::{BrokerConfig, Limits, TlsListener};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The listeners for devices. At least one address must be given, here or in `tls`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Devices {
    /// MQTT over plain TCP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listen: Option<SocketAddr>,
    /// MQTT over WebSocket (subprotocol `mqtt`), plain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub websocket: Option<SocketAddr>,
    /// Lets clients in without user name and password. Only for a bench: anyone who reaches the port may then speak as any device.
    #[serde(default)]
    pub allow_anonymous: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<DevicesTls>,
    #[serde(default)]
    pub limits: DeviceLimits,
}

/// TLS 1.2 and 1.3 for devices: one identity for both addresses. At least one of them must be given.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DevicesTls {
    /// MQTT over TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listen: Option<SocketAddr>,
    /// MQTT over WebSocket over TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub websocket: Option<SocketAddr>,
    #[serde(flatten)]
    pub files: TlsFiles,
}

/// The files of an identity; a reload reads them again.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TlsFiles {
    /// PEM: the server's certificate, then its chain.
    pub certificate: PathBuf,
    pub key: PathBuf,
    /// PEM: the authorities that client certificates are checked against. A certificate's common name is a device id or
    /// `client:NAME`, and its bearer needs no password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_ca: Option<PathBuf>,
    /// Turns clients without a certificate away.
    #[serde(default)]
    pub client_required: bool,
    /// PEM: revocation lists of those authorities.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_crl: Option<PathBuf>,
}

impl TlsFiles {
    /// What the files hold now, for a listener at `address`. The error names the file or setting and says what is wrong with it.
    pub fn listener(&self, address: SocketAddr) -> Result<TlsListener, String> {
        let read = |path: &Path| std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()));
        // Names the file, where the broker could only name the part.
        pem::certified_key(&self.certificate, &self.key)?;
        let listener = TlsListener {
            address,
            certificates_pem: read(&self.certificate)?,
            key_pem: read(&self.key)?,
            client_ca_pem: self.client_ca.as_deref().map(read).transpose()?,
            client_required: self.client_required,
            crl_pem: self.client_crl.as_deref().map(read).transpose()?,
        };
        listener.check()?;
        Ok(listener)
    }
}

impl Devices {
    /// Every address with the setting that gave it.
    pub fn addresses(&self) -> Vec<(&'static str, SocketAddr)> {
        let tls = self.tls.as_ref();
        let all = [
            ("devices.listen", self.listen),
            ("devices.websocket", self.websocket),
            ("devices.tls.listen", tls.and_then(|tls| tls.listen)),
            ("devices.tls.websocket", tls.and_then(|tls| tls.websocket)),
        ];
        all.into_iter().filter_map(|(place, address)| Some((place, address?))).collect()
    }

    /// What the broker is started with; `store` is its file.
    pub fn broker(&self, store: PathBuf) -> Result<BrokerConfig, String> {
        let secure = |address: fn(&DevicesTls) -> Option<SocketAddr>| {
            let wanted = self.tls.as_ref().and_then(|tls| Some((tls, address(tls)?)));
            wanted.map(|(tls, address)| tls.files.listener(address)).transpose()
        };
        Ok(BrokerConfig {
            tcp: self.listen,
            ws: self.websocket,
            tls: secure(|tls| tls.listen)?,
            wss: secure(|tls| tls.websocket)?,
            store: Some(store),
            limits: self.limits.limits(),
        })
    }

    pub(super) fn paths(&mut self) -> Vec<&mut PathBuf> {
        let Some(DevicesTls { files, .. }) = &mut self.tls else { return Vec::new() };
        let optional = files.client_ca.iter_mut().chain(files.client_crl.iter_mut());
        [&mut files.certificate, &mut files.key].into_iter().chain(optional).collect()
    }
}

/// One limit: what was asked for, what it is without being asked for, and what the broker was built for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    pub name: &'static str,
    pub wanted: Option<u64>,
    pub default: u64,
    pub min: u64,
    pub max: u64,
}

macro_rules! limits {
    ($($(#[$doc:meta])* $name:ident: $field:ident as $unit:ident,)*) => {
        /// Bounds of the listeners for devices; what is left out keeps its default. The bounds of each are the broker's own.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct DeviceLimits {
            $($(#[$doc])* #[serde(skip_serializing_if = "Option::is_none")] pub $name: Option<u64>,)*
        }

        impl DeviceLimits {
            pub fn limits(&self) -> Limits {
                let mut limits = Limits::default();
                $(if let Some(wanted) = self.$name {
                    limits.$field = $unit(wanted);
                })*
                limits
            }

            /// All of them, with what each may be.
            pub fn bounds(&self) -> Vec<Bound> {
                let clamped = |change: &dyn Fn(&mut Limits)| {
                    let mut limits = Limits::default();
                    change(&mut limits);
                    limits.clamped()
                };
                vec![$(Bound {
                    name: stringify!($name),
                    wanted: self.$name,
                    default: Limits::default().$field.number(stringify!($unit)),
                    min: clamped(&|limits| limits.$field = $unit(0)).$field.number(stringify!($unit)),
                    max: clamped(&|limits| limits.$field = $unit(u64::MAX)).$field.number(stringify!($unit)),
                }),*]
            }
        }
    };
}

limits! {
    /// Clients at one time.
    connections: connections as count,
    /// Connections of one device or service client at one time.
    connections_per_login: connections_per_principal as count,
    /// Sessions remembered, connected or not.
    sessions: sessions as count,
    /// Largest packet taken, bytes.
    packet_size: packet_size as count,
    /// QoS 1 and 2 messages unacknowledged, for each client and direction.
    in_flight: in_flight as count,
    /// Subscriptions of one client.
    subscriptions: subscriptions as count,
    /// PUBLISH packets a second that one client is read at; 0: as many as come.
    publish_rate: publish_rate as count,
    /// Topic aliases that a v5 client may send.
    topic_aliases: topic_aliases as count,
    /// Messages that wait for a connected client before it counts as too slow.
    outgoing_queue: outgoing_queue as count,
    /// Bytes of the same.
    outgoing_bytes: outgoing_bytes as count,
    /// Messages kept for a client that is away.
    offline_queue: offline_queue as count,
    /// Levels of a topic.
    topic_levels: topic_levels as count,
    /// Retained messages.
    retained: retained as count,
    /// Bytes of their payloads.
    retained_bytes: retained_bytes as count,
    /// Size of broker.db, bytes.
    store_bytes: store_bytes as count,
    /// Longest time that a session outlives its connection, seconds.
    session_expiry_s: session_expiry as seconds,
    /// For TLS, for WebSocket, for the CONNECT and for its password, each; milliseconds.
    connect_timeout_ms: connect_timeout as milliseconds,
    /// From the first byte of a packet to its last, milliseconds.
    packet_timeout_ms: packet_timeout as milliseconds,
    /// One write to a client that takes nothing, milliseconds.
    write_timeout_ms: write_timeout as milliseconds,
    /// Longest keep-alive that v5 clients are held to, seconds; 0: whatever they ask for.
    keep_alive_max_s: keep_alive_max as seconds,
    /// How long a client may take to return after a restart before its will is published, seconds.
    will_grace_s: will_grace as seconds,
    /// Client ids and addresses whose failed logins are remembered.
    failed_logins: failed_logins as count,
    /// Between two rounds of `$SYS/broker/…`, seconds; 0: none.
    sys_every_s: sys_every as seconds,
}

fn count<T: TryFrom<u64> + Number>(wanted: u64) -> T {
    T::try_from(wanted).unwrap_or(T::MOST)
}
fn seconds(wanted: u64) -> Duration {
    Duration::from_secs(wanted)
}
fn milliseconds(wanted: u64) -> Duration {
    Duration::from_millis(wanted)
}

/// A limit as the settings write it.
trait Number: Copy {
    const MOST: Self;
    fn number(self, unit: &str) -> u64;
}

macro_rules! numbers {
    ($($type:ty),*) => {
        $(impl Number for $type {
            const MOST: Self = <$type>::MAX;
            fn number(self, _unit: &str) -> u64 {
                u64::try_from(self).unwrap_or(u64::MAX)
            }
        })*
    };
}
numbers!(u16, u32, u64, usize);

impl Number for Duration {
    const MOST: Self = Self::MAX;
    fn number(self, unit: &str) -> u64 {
        if unit == "seconds" { self.as_secs() } else { u64::try_from(self.as_millis()).unwrap_or(u64::MAX) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_is_inside_its_bounds_and_a_wish_is_kept() {
        for bound in DeviceLimits::default().bounds() {
            assert!(bound.min <= bound.default && bound.default <= bound.max && bound.min < bound.max, "{bound:?}");
        }
        assert_eq!(DeviceLimits::default().limits(), Limits::default());
        let wanted = DeviceLimits { connections: Some(7), session_expiry_s: Some(60), write_timeout_ms: Some(1500), ..Default::default() };
        let limits = wanted.limits();
        assert_eq!((limits.connections, limits.session_expiry), (7, Duration::from_secs(60)));
        assert_eq!(limits.write_timeout, Duration::from_millis(1500));
    }

    /// The page for site engineers has each limit with its default and bounds, as the code has them.
    #[test]
    fn the_handbook_page_says_every_limit_as_it_is() {
        let page = include_str!("../../docs/broker.md");
        for Bound { name, default, min, max, .. } in DeviceLimits::default().bounds() {
            let row = format!("| `{name}` | {default} | {min} to {max} |");
            assert!(page.contains(&row), "gateway/docs/broker.md has no row\n{row}");
        }
    }
}
