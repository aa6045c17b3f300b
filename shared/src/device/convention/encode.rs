//! A device command in the device's own words.

use super::speaker::Speaker;
use super::{NoTemplates, Templates};
use crate::expression::Budget;
use crate::time::Timestamp;
use crate::value::Value;

/// Longest payload that goes down, bytes: what a native command with the most arguments takes.
const PAYLOAD_LEN_MAX: usize = 64 * 1024;

/// One device command to write.
#[derive(Clone, Copy, Debug)]
pub struct Order<'a> {
    pub id: &'a str,
    pub name: &'a str,
    pub args: &'a Value,
    pub issued_at: Timestamp,
    pub expires_at: Timestamp,
}

/// Never retained: there is no field for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    pub topic: String,
    pub payload: Vec<u8>,
    pub qos: u8,
}

impl Speaker {
    pub fn encode(&self, order: &Order) -> Result<Encoded, String> {
        self.encode_with(order, &NoTemplates)
    }

    /// The error is for whoever wrote the profile or the arguments.
    pub fn encode_with(&self, order: &Order, templates: &dyn Templates) -> Result<Encoded, String> {
        let (Some(to), Some(topic)) = (self.compiled.commands.get(order.name), self.commands.get(order.name)) else {
            return Err(format!("the convention does not say how `{}` is sent", order.name));
        };
        let payload = match &to.payload {
            None => Vec::new(),
            Some(payload) => {
                let command = Value::object([
                    ("id", Value::from(order.id)),
                    ("name", Value::from(order.name)),
                    ("issuedAt", Value::Int(order.issued_at.millis())),
                    ("expiresAt", Value::Int(order.expires_at.millis())),
                ]);
                let variables = [("command", command), ("device", self.device.clone())];
                let written = payload.eval(order.args, &variables, &mut Budget::per_evaluation()).map_err(|error| error.to_string())?;
                match written {
                    Value::Null => Vec::new(),
                    Value::String(text) => text.as_bytes().to_vec(),
                    other => other.to_json().into_bytes(),
                }
            }
        };
        let payload = match &to.template {
            None => payload,
            Some(template) => templates.render(template, &String::from_utf8_lossy(&payload))?.into_bytes(),
        };
        if payload.len() > PAYLOAD_LEN_MAX {
            return Err(format!("the payload of `{}` has more than {PAYLOAD_LEN_MAX} bytes", order.name));
        }
        Ok(Encoded { topic: topic.clone(), payload, qos: to.qos })
    }
}
