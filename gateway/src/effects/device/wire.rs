//! A device command as it leaves: the native contract's own message, or the words of the device's convention.

use super::Order;
use crate::effects::executors::Executors;
use crate::speakers::Tongue;
use crate::templates::Jinja;
use spalla_broker::clock;
use spalla_broker::message::{Message, Qos};
use spalla_shared::device::convention::{self, Encoded};
use spalla_shared::device::{Command, Format};
use spalla_shared::engine::{Effect, Problem};
use spalla_shared::id::DeviceId;
use spalla_shared::time::Timestamp;
use spalla_shared::topic::DeviceTopic;
use spalla_shared::value::Value;
use tokio::time::Instant;

pub(super) enum Wire {
    Native,
    Foreign {
        encoded: Encoded,
        /// The login that it goes to, where that is not the device's own.
        bridge: Option<DeviceId>,
    },
}

impl Wire {
    pub fn of(
        executors: &Executors,
        effect: &Effect,
        device: &DeviceId,
        command: &str,
        args: &Value,
        expires_at: Timestamp,
    ) -> Result<Self, Problem> {
        let (tongue, bridge) = {
            let state = executors.group.state().read();
            (executors.speakers.of(&state, device), state.devices.get(device).and_then(|known| known.device.bridge.clone()))
        };
        let order = convention::Order { id: &effect.key, name: command, args, issued_at: effect.issued_at, expires_at };
        match tongue {
            None | Some(Tongue::Native) => Ok(Self::Native),
            Some(Tongue::Foreign(speaker)) => match speaker.encode_with(&order, &Jinja) {
                Ok(encoded) => Ok(Self::Foreign { encoded, bridge }),
                Err(problem) => Err(Problem::standard("validation", 400, format!("`{command}` for {device} cannot be written: {problem}"))),
            },
            Some(Tongue::Broken(problem)) => Err(Problem::standard("configuration", 500, format!("{device}: {problem}"))),
        }
    }

    /// The device whose login takes it.
    pub fn login<'a>(&'a self, device: &'a DeviceId) -> &'a DeviceId {
        match self {
            Self::Foreign { bridge: Some(bridge), .. } => bridge,
            Self::Native | Self::Foreign { bridge: None, .. } => device,
        }
    }
}

pub(super) fn message(executors: &Executors, order: &Order) -> Message {
    // On the broker's own clock, which may run beside the leader's.
    let left = order.send_until.saturating_duration_since(Instant::now());
    let expires_at = clock::now().plus(u64::try_from(left.as_millis()).unwrap_or(u64::MAX));
    let message = Message { retain: false, expires_at: Some(expires_at), ..Message::default() };
    match &order.wire {
        Wire::Native => native(executors, order, message),
        Wire::Foreign { encoded, .. } => Message {
            topic: encoded.topic.clone(),
            payload: encoded.payload.clone().into(),
            qos: if encoded.qos == 0 { Qos::AtMostOnce } else { Qos::AtLeastOnce },
            ..message
        },
    }
}

fn native(executors: &Executors, order: &Order, message: Message) -> Message {
    let command = Command {
        id: order.effect.key.to_string(),
        name: order.command.to_owned(),
        args: order.args.clone(),
        issued_at: order.effect.issued_at,
        expires_at: order.told_until,
    };
    let format = executors.telemetry.format(order.device).unwrap_or(Format::Json);
    let content_type = match format {
        Format::Json => "application/json",
        Format::Cbor => "application/cbor",
    };
    Message {
        topic: DeviceTopic::Command(order.device.clone()).to_string(),
        payload: format.write(&command).into(),
        qos: Qos::AtLeastOnce,
        content_type: Some(content_type.into()),
        ..message
    }
}
