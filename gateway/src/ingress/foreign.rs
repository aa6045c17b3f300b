//! Messages of devices that speak a convention: read by their profiles, then taken as those of the native contract are.
//! A message means something only for the login that sent it and for the devices behind it, whatever its topic says.

use super::counters::count;
use super::watch::Heard;
use super::{Ingress, TAKEN, event};
use crate::speakers::{Behind, Tongue};
use crate::templates::{self, Jinja};
use serde_json::json;
use spalla_broker::hooks::Verdict;
use spalla_broker::message::Message;
use spalla_shared::device::convention::{Incoming, Meaning, Proposal, Speaker};
use spalla_shared::device::{Ack, Profile, discovery};
use spalla_shared::id::DeviceId;
use spalla_shared::time::Timestamp;
use std::sync::Arc;

/// The part of a device's availability that its announcement is: taken back, the device is gone. Behind all parts of a profile.
const ANNOUNCEMENT: usize = usize::MAX;

/// Those who speak by one login.
pub(super) struct Voice {
    own: Arc<Speaker>,
    behind: Behind,
}

impl Voice {
    fn all(&self) -> impl Iterator<Item = &Arc<Speaker>> {
        std::iter::once(&self.own).chain(self.behind.iter())
    }

    pub fn may_publish(&self, topic: &str) -> bool {
        self.all().any(|speaker| speaker.reads(topic))
            || self.all().any(|speaker| speaker.may_publish(topic)) && !self.all().any(|speaker| speaker.is_command(topic))
    }

    pub fn may_subscribe(&self, filter: &str) -> bool {
        self.all().any(|speaker| speaker.may_subscribe(filter))
    }
}

impl Ingress {
    /// `None`: the device speaks the native contract, or nobody declared it.
    pub(super) fn voice(&self, device: &DeviceId) -> Option<Voice> {
        self.groups.iter().find_map(|group| {
            let state = group.state().read();
            match self.speakers.of(&state, device)? {
                Tongue::Foreign(own) => {
                    let behind = if own.is_bridge() { self.speakers.behind(&state, device) } else { Behind::default() };
                    Some(Voice { own, behind })
                }
                Tongue::Native | Tongue::Broken(_) => None,
            }
        })
    }

    /// Takes what the message means, for all that it means something for. An event that is not safe yet makes the device send it again.
    pub(super) async fn take_foreign(&self, voice: &Voice, message: &Message, now: Timestamp, mut heard: Option<&mut Heard>) -> Verdict {
        let incoming = Incoming { topic: &message.topic, payload: &message.payload, retained: message.retain };
        let mut verdict = TAKEN;
        let mut meant = self.take_announcement(voice, message, now, heard.as_deref_mut());
        for speaker in voice.all() {
            let understood = speaker.understand_with(&incoming, &Jinja);
            for problem in understood.problems {
                meant = true;
                count(&self.counters.undecodable);
                tracing::debug!(device = %speaker.id(), topic = %message.topic, %problem, "message not understood");
                if let Some(heard) = heard.as_deref_mut() {
                    heard.problems.push(format!("{}: {problem}", speaker.id()));
                }
            }
            for meaning in understood.meanings {
                meant = true;
                if let Some(heard) = heard.as_deref_mut() {
                    note(heard, speaker.id(), &meaning);
                }
                match self.take_meaning(voice.own.id(), speaker.id(), meaning, message, now).await {
                    Verdict::Accept { .. } => {}
                    Verdict::NotNow(reason) => return Verdict::NotNow(reason),
                    refused @ Verdict::Refuse(_) => verdict = refused,
                }
            }
        }
        if !meant {
            count(&self.counters.unread);
        }
        verdict
    }

    async fn take_meaning(&self, login: &DeviceId, device: &DeviceId, meaning: Meaning, message: &Message, now: Timestamp) -> Verdict {
        match meaning {
            Meaning::Online { part, online } => {
                self.says_online(device, part, online, now);
                TAKEN
            }
            Meaning::State { property, value, time } => self.reading(device, &property, value, time, message, now).await,
            // A retained message comes again with every connection: nothing happens by it.
            Meaning::Event { .. } if message.retain => {
                count(&self.counters.events_retained);
                TAKEN
            }
            Meaning::Event { name, id, time, data } => {
                let incoming = event::Said { id, time, historical: false, data };
                self.event(device, &name, incoming, message, now).await
            }
            Meaning::Answer { command, id, status, detail } => {
                let taken = match id {
                    Some(id) => self.acks.take_of(device, &command, Ack { id: id.to_string(), status, detail }),
                    None => self.acks.take_last(device, &command, status, detail),
                };
                count(if taken { &self.counters.acks_taken } else { &self.counters.acks_unmatched });
                TAKEN
            }
            Meaning::Proposal(proposal) => {
                self.propose(login, proposal, None, now);
                TAKEN
            }
        }
    }

    fn says_online(&self, device: &DeviceId, part: usize, online: bool, now: Timestamp) {
        let online = self.presence.says(device, part, online);
        self.telemetry.says_online(device, online, now);
    }

    fn propose(&self, login: &DeviceId, proposal: Proposal, declares: Option<Profile>, now: Timestamp) {
        if !self.proposals.keep(login, proposal, declares, now) {
            count(&self.counters.proposals_refused);
        }
    }

    /// Home Assistant's discovery: whether the message was one of it.
    fn take_announcement(&self, voice: &Voice, message: &Message, now: Timestamp, heard: Option<&mut Heard>) -> bool {
        let Some(prefix) = voice.own.home_assistant() else { return false };
        if !discovery::is_announcement(prefix, &message.topic) {
            return false;
        }
        let parameters = [(discovery::PARAMETER.into(), message.topic.as_str().into())].into();
        let admitted = voice.behind.iter().find(|speaker| speaker.is_announced_by(&message.topic)).map(|speaker| speaker.id().clone());
        let read = discovery::read(prefix, &message.topic, &message.payload).and_then(|read| match read {
            Some(announced) => templates::check_profile(&announced.profile).map(|()| Some(announced)),
            None => Ok(None),
        });
        match (read, admitted) {
            (Ok(None), Some(device)) => self.says_online(&device, ANNOUNCEMENT, false, now),
            (Ok(None), None) => self.proposals.withdraw(voice.own.id(), &parameters),
            (Ok(Some(_)), Some(device)) => self.says_online(&device, ANNOUNCEMENT, true, now),
            (Ok(Some(announced)), None) => {
                let (name, title, profile) = (announced.name, announced.title, announced.profile.name.clone());
                if let Some(heard) = heard {
                    heard.note(voice.own.id(), "proposal", json!({ "name": name, "profile": profile, "left_out": announced.left_out }));
                }
                let proposal = Proposal { name, profile, title, parameters, own_login: false };
                self.propose(voice.own.id(), proposal, Some(announced.profile), now);
            }
            (Err(problem), _) => {
                count(&self.counters.undecodable);
                tracing::debug!(topic = %message.topic, %problem, "announcement not understood");
                if let Some(heard) = heard {
                    heard.problems.push(problem);
                }
            }
        }
        true
    }
}

fn note(heard: &mut Heard, device: &DeviceId, meaning: &Meaning) {
    match meaning {
        Meaning::Online { online, .. } => heard.note(device, "availability", json!({ "online": online })),
        Meaning::State { property, value, time } => {
            heard.note(device, "state", json!({ "property": property, "value": value, "time": time.map(Timestamp::to_rfc3339) }));
        }
        Meaning::Event { name, id, time, data } => {
            heard.note(device, "event", json!({ "event": name, "id": id, "time": time.map(Timestamp::to_rfc3339), "data": data }));
        }
        Meaning::Answer { command, id, status, detail } => {
            heard.note(device, "answer", json!({ "command": command, "id": id, "status": status, "detail": detail }));
        }
        Meaning::Proposal(proposal) => {
            heard.note(
                device,
                "proposal",
                json!({ "name": proposal.name, "profile": proposal.profile, "parameters": proposal.parameters }),
            );
        }
    }
}
