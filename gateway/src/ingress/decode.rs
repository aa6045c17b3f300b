//! Payloads of the native contract as they come from outside. Refuses with a reason; never guesses.

use super::event::Said;
use spalla_shared::device::Format;
use spalla_shared::event::DATA_SIZE_MAX;
use spalla_shared::time::Timestamp;
use spalla_shared::value::{DEPTH_MAX, Object, Value};
use std::sync::Arc;

/// Longest event id that is taken: it becomes a dedupe key in the replicated state.
const ID_LEN_MAX: usize = 128;
/// Largest payload that is looked at.
pub const PAYLOAD_LEN_MAX: usize = 64 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    Oversize,
    Undecodable(&'static str),
}

/// An `event/{name}` payload.
#[derive(Debug, PartialEq)]
pub struct IncomingEvent {
    pub said: Said,
    pub format: Format,
}

/// `{id?, time?, historical?, data}` or the data's fields beside them; an empty payload is an event without data.
pub fn event(payload: &[u8]) -> Result<IncomingEvent, Refused> {
    if payload.is_empty() {
        let said = Said { id: None, time: None, historical: false, data: Value::empty_object() };
        return Ok(IncomingEvent { said, format: Format::Json });
    }
    let (format, body) = value(payload)?;
    let Value::Object(fields) = body else { return Err(Refused::Undecodable("an event must be an object")) };
    let id = match fields.get("id") {
        None | Some(Value::Null) => None,
        Some(Value::String(id)) if !id.is_empty() && id.len() <= ID_LEN_MAX => Some(id.clone()),
        Some(Value::Int(id)) => Some(Arc::from(id.to_string())),
        Some(_) => return Err(Refused::Undecodable("an event's id must be text of 1 to 128 bytes, or a whole number")),
    };
    let time = time(fields.get("time"))?;
    let historical = fields.get("historical").is_some_and(Value::is_truthy);
    let data = match fields.get("data") {
        Some(data) => data.clone(),
        None => {
            let mut rest = Object::clone(&fields);
            rest.retain(|key, _| !matches!(&**key, "id" | "time" | "historical"));
            Value::Object(Arc::new(rest))
        }
    };
    if data.size() > DATA_SIZE_MAX {
        return Err(Refused::Oversize);
    }
    Ok(IncomingEvent { said: Said { id, time, historical, data }, format })
}

/// A `state/{property}` payload: a bare value, or `{value, time?}`.
pub fn state(payload: &[u8]) -> Result<(Value, Option<Timestamp>, Format), Refused> {
    let (format, body) = value(payload)?;
    match body.get("value") {
        Some(inner) => Ok((inner.clone(), time(body.get("time"))?, format)),
        None => Ok((body, None, format)),
    }
}

/// An `online` payload: `true`, `"online"`, or `{online: true}`; plain text `online` and `offline` too, as wills often are.
pub fn online(payload: &[u8]) -> Result<bool, Refused> {
    match payload {
        b"online" => return Ok(true),
        b"offline" => return Ok(false),
        _ => {}
    }
    let (_, body) = value(payload)?;
    let flag = body.get("online").unwrap_or(&body);
    match (flag.as_bool(), flag.as_str()) {
        (Some(flag), _) => Ok(flag),
        (None, Some("online")) => Ok(true),
        (None, Some("offline")) => Ok(false),
        _ => Err(Refused::Undecodable("online must be true or false")),
    }
}

/// Any other payload, bounded.
pub fn read<T: serde::de::DeserializeOwned>(payload: &[u8]) -> Result<(Format, T), Refused> {
    if payload.len() > PAYLOAD_LEN_MAX {
        return Err(Refused::Oversize);
    }
    Format::read(payload).map_err(|_| Refused::Undecodable("the payload is neither JSON nor CBOR of the expected shape"))
}

fn value(payload: &[u8]) -> Result<(Format, Value), Refused> {
    let (format, body) = read::<Value>(payload)?;
    if !nests_within(&body, DEPTH_MAX) {
        return Err(Refused::Undecodable("the payload is nested too deep"));
    }
    Ok((format, body))
}

fn time(field: Option<&Value>) -> Result<Option<Timestamp>, Refused> {
    match field {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Int(millis)) => Ok(Some(Timestamp(*millis))),
        Some(Value::String(text)) => match Timestamp::parse_rfc3339(text) {
            Some(at) => Ok(Some(at)),
            None => Err(Refused::Undecodable("time must be RFC 3339 or Unix milliseconds")),
        },
        Some(_) => Err(Refused::Undecodable("time must be RFC 3339 or Unix milliseconds")),
    }
}

/// The decoders bound recursion themselves (128 for JSON, 256 for CBOR), so this walk is bounded too.
fn nests_within(value: &Value, depth: usize) -> bool {
    match value {
        Value::Array(items) => depth > 0 && items.iter().all(|item| nests_within(item, depth - 1)),
        Value::Object(fields) => depth > 0 && fields.values().all(|item| nests_within(item, depth - 1)),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_read_from_both_shapes_and_both_encodings() {
        let wrapped = event(br#"{"id":"e1","time":"2026-11-23T09:00:00Z","data":{"badge":7}}"#).unwrap();
        let flat = event(br#"{"id":"e1","time":1795424400000,"badge":7}"#).unwrap();
        assert_eq!(wrapped, flat);
        let cbor = Format::Cbor.write(&Value::object([("id", Value::from("e1")), ("badge", Value::Int(7))]));
        let read = event(&cbor).unwrap();
        assert_eq!((read.format, read.said.data), (Format::Cbor, flat.said.data));
    }

    #[test]
    fn what_is_not_of_the_contract_is_refused() {
        for bad in [&b"\xff\xff"[..], b"[1]", b"{", br#"{"id":""}"#, br#"{"id":[1]}"#, br#"{"time":"soon"}"#, br#"{"n":1e999}"#] {
            assert!(matches!(event(bad), Err(Refused::Undecodable(_))), "{bad:?}");
        }
        assert_eq!(event(&vec![b' '; PAYLOAD_LEN_MAX + 1]), Err(Refused::Oversize));
        // 200 nested CBOR arrays: within the decoder's bound, past ours.
        let mut deep = vec![0x81; 200];
        deep.push(0);
        assert!(matches!(state(&deep), Err(Refused::Undecodable(_))));
    }

    #[test]
    fn a_reading_is_bare_or_carries_its_time() {
        assert_eq!(state(b"21.5").unwrap(), (Value::Float(21.5), None, Format::Json));
        assert_eq!(state(br#"{"value":21.5,"time":7}"#).unwrap(), (Value::Float(21.5), Some(Timestamp(7)), Format::Json));
        assert_eq!(state(br#"{"lat":1}"#).unwrap().0, Value::object([("lat", Value::Int(1))]));
        assert_eq!(online(b"offline"), Ok(false));
        assert_eq!(online(br#"{"online":true}"#), Ok(true));
    }
}
