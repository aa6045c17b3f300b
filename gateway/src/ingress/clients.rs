//! Service clients (a dashboard, Home Assistant): what their rules let them do, looked at anew for each message.
//!
//! None ever commands a device that can open something, whatever its rules say; none speaks on a device's topics but for devices
//! that its rules name. What a reader presents (a credential) is shown to none.

use super::counters::count;
use super::{Ingress, TAKEN, decode, event};
use crate::speakers::Tongue;
use spalla_broker::hooks::{Principal, Verdict};
use spalla_broker::message::Message;
use spalla_shared::device::{self, Profile};
use spalla_shared::engine::{Denied, State};
use spalla_shared::id::{Actor, DeviceId};
use spalla_shared::resource::{Client, Device, names_device};
use spalla_shared::time::Timestamp;
use spalla_shared::topic::{DeviceTopic, device_publishes, filter_covers, filter_matches, is_reserved};

/// What a client's message is, by its topic.
#[derive(Debug, PartialEq, Eq)]
enum Aim {
    Command,
    /// As if this device had said it.
    Voice(DeviceId),
    /// Nothing of a device.
    Free,
}

/// The client that a principal is.
pub(super) fn client_of(who: &Principal) -> Option<&str> {
    who.name.strip_prefix(Client::PREFIX)
}

impl Ingress {
    fn with_client<T>(&self, name: &str, pick: impl FnOnce(&State, &Client) -> T) -> Option<T> {
        let state = self.groups.first()?.state().read();
        state.clients.get(name).map(|client| pick(&state, client))
    }

    /// `None`: its rules do not let it.
    fn aim(&self, name: &str, topic: &str) -> Option<Aim> {
        self.with_client(name, |state, client| {
            if let Some(parsed) = DeviceTopic::parse(topic) {
                let known = &state.devices.get(parsed.device())?.device;
                return match parsed {
                    DeviceTopic::Command(_) => {
                        let profile = state.profiles.get(&known.profile)?;
                        (names_device(&client.commands, known) && is_harmless(profile)).then_some(Aim::Command)
                    }
                    _ => names_device(&client.speaks_for, known).then(|| Aim::Voice(known.id.clone())),
                };
            }
            if is_reserved(topic) {
                return None;
            }
            let (mut voice, mut heard) = (None, false);
            for known in state.devices.values() {
                let Some(Tongue::Foreign(speaker)) = self.speakers.of(state, &known.device.id) else { continue };
                // Nobody but the gateway: only it knows the deadline and the class of what it sends there.
                if speaker.is_command(topic) {
                    return None;
                }
                heard = heard || speaker.subscribes().iter().any(|filter| filter_matches(filter, topic));
                if speaker.reads(topic) {
                    if !names_device(&client.speaks_for, &known.device) {
                        return None;
                    }
                    voice.get_or_insert_with(|| known.device.bridge.clone().unwrap_or_else(|| known.device.id.clone()));
                }
            }
            match voice {
                Some(device) => Some(Aim::Voice(device)),
                // Devices have more ways to be commanded than the one that their profile uses.
                None if heard => None,
                None => client.publish.iter().any(|filter| filter_matches(filter, topic)).then_some(Aim::Free),
            }
        })?
    }

    pub(super) fn client_may_publish(&self, name: &str, topic: &str) -> bool {
        self.aim(name, topic).is_some()
    }

    pub(super) fn client_may_subscribe(&self, name: &str, filter: &str) -> bool {
        self.with_client(name, |state, client| {
            client.subscribe.iter().any(|rule| match rule.strip_prefix("group:") {
                None => filter_covers(rule, filter),
                Some(group) => {
                    let devices = state.devices.values().filter(|known| known.device.groups.iter().any(|own| **own == *group));
                    devices.into_iter().any(|known| match self.speakers.of(state, &known.device.id) {
                        Some(Tongue::Native) => device_publishes(&known.device.id).iter().any(|own| filter_covers(own, filter)),
                        Some(Tongue::Foreign(speaker)) => speaker.publishes().iter().any(|own| filter_covers(own, filter)),
                        _ => false,
                    })
                }
            })
        })
        .unwrap_or(false)
    }

    /// Whether the device of a native topic is connected to this gateway: its broker is the only one that passes the command on.
    fn is_here(&self, topic: &str) -> bool {
        DeviceTopic::parse(topic).is_some_and(|topic| self.presence.session(topic.device()) != 0)
    }

    pub(super) async fn take_from_client(&self, who: &Principal, name: &str, message: &Message, now: Timestamp) -> Verdict {
        match self.aim(name, &message.topic) {
            Some(Aim::Free) => Verdict::Accept { route: true },
            Some(Aim::Command) => match decode::read::<device::Command>(&message.payload) {
                Ok((_, command)) if command.expires_at <= now => Verdict::Refuse("the command is past its deadline"),
                Ok(_) if !self.is_here(&message.topic) => Verdict::Refuse("the device is not connected to this gateway"),
                Ok(_) => {
                    count(&self.counters.client_commands);
                    self.denials.note(Actor::new(&*who.name), Denied::Command, &message.topic);
                    Verdict::Accept { route: true }
                }
                Err(_) => {
                    count(&self.counters.undecodable);
                    Verdict::Refuse("the payload is no device command")
                }
            },
            Some(Aim::Voice(device)) => {
                let verdict = match self.voice(&device) {
                    Some(voice) => self.take_foreign(&voice, message, now, None).await,
                    None => self.take_native(DeviceTopic::parse(&message.topic), message, now).await,
                };
                self.shown(&device, message, verdict)
            }
            // Its rules changed since the broker asked.
            None => Verdict::Refuse("not authorised to publish here"),
        }
    }

    /// Lets clients see what a device said, where there are any.
    pub(super) fn shown(&self, device: &DeviceId, message: &Message, verdict: Verdict) -> Verdict {
        if verdict != TAKEN {
            return verdict;
        }
        let Some(group) = self.groups.first() else { return verdict };
        let state = group.state().read();
        if state.clients.is_empty() {
            return verdict;
        }
        let known = state.devices.get(device);
        let hidden = match DeviceTopic::parse(&message.topic) {
            Some(DeviceTopic::Event(_, name)) => name == event::PRESENTED,
            Some(_) => false,
            // In a convention only its expressions know where a credential stands.
            None => known.is_none_or(|known| known.device.opens.is_some() || presents(&state, &known.device)),
        };
        Verdict::Accept { route: !hidden }
    }
}

/// Whether its profile, or one of a device that it speaks for, gives an event that presents a credential.
fn presents(state: &State, device: &Device) -> bool {
    let behind = state.devices.values().map(|known| &known.device).filter(|other| other.bridge.as_ref() == Some(&device.id));
    std::iter::once(device).chain(behind).any(|device| {
        let profile = state.profiles.get(&device.profile);
        profile.and_then(|profile| profile.convention.as_ref()).is_some_and(|convention| convention.events.contains_key(event::PRESENTED))
    })
}

fn is_harmless(profile: &Profile) -> bool {
    profile.convention.is_none() && !profile.can_open()
}
