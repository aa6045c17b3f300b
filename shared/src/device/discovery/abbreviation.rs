//! Long names for the short ones that announcements use, and the base topic `~` put in.

use crate::value::{Object, Value};
use std::sync::Arc;

const SHORT: [(&str, &str); 36] = [
    ("avty", "availability"),
    ("avty_mode", "availability_mode"),
    ("avty_t", "availability_topic"),
    ("avty_tpl", "availability_template"),
    ("cmd_t", "command_topic"),
    ("cmd_tpl", "command_template"),
    ("cmps", "components"),
    ("dev", "device"),
    ("dev_cla", "device_class"),
    ("evt_typ", "event_types"),
    ("exp_aft", "expire_after"),
    ("o", "origin"),
    ("p", "platform"),
    ("pl_avail", "payload_available"),
    ("pl_cls", "payload_close"),
    ("pl_lock", "payload_lock"),
    ("pl_not_avail", "payload_not_available"),
    ("pl_off", "payload_off"),
    ("pl_on", "payload_on"),
    ("pl_open", "payload_open"),
    ("pl_stop", "payload_stop"),
    ("pl_unlk", "payload_unlock"),
    ("ret", "retain"),
    ("stat_closing", "state_closing"),
    ("stat_clsd", "state_closed"),
    ("stat_locked", "state_locked"),
    ("stat_off", "state_off"),
    ("stat_on", "state_on"),
    ("stat_open", "state_open"),
    ("stat_opening", "state_opening"),
    ("stat_t", "state_topic"),
    ("stat_unlocked", "state_unlocked"),
    ("t", "topic"),
    ("uniq_id", "unique_id"),
    ("unit_of_meas", "unit_of_measurement"),
    ("val_tpl", "value_template"),
];

pub(super) fn expanded(config: &Object) -> Object {
    let base = config.get("~").and_then(Value::as_str).unwrap_or_default();
    config.iter().filter(|(key, _)| &***key != "~").map(|(key, value)| (long(key), with_base(&long(key), value, base))).collect()
}

fn long(key: &Arc<str>) -> Arc<str> {
    match SHORT.binary_search_by(|(short, _)| (*short).cmp(key)) {
        Ok(place) => SHORT[place].1.into(),
        Err(_) => key.clone(),
    }
}

/// `~` at the beginning or the end of a topic stands for the base.
fn with_base(key: &str, value: &Value, base: &str) -> Value {
    match value {
        Value::String(text) if key == "topic" || key.ends_with("_topic") => {
            let text = match text.strip_prefix('~') {
                Some(rest) => format!("{base}{rest}"),
                None => text.to_string(),
            };
            match text.strip_suffix('~') {
                Some(rest) => Value::from(format!("{rest}{base}")),
                None => Value::from(text),
            }
        }
        Value::Array(items) if key == "availability" => Value::array(
            items.iter().map(|item| item.as_object().map_or_else(|| item.clone(), |item| one_availability(item, base))).collect(),
        ),
        Value::Object(item) if key == "availability" => one_availability(item, base),
        other => other.clone(),
    }
}

fn one_availability(item: &Object, base: &str) -> Value {
    Value::Object(Arc::new(item.iter().map(|(key, value)| (long(key), with_base(&long(key), value, base))).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_order_as_its_search_needs() {
        assert!(SHORT.is_sorted_by(|left, right| left.0 < right.0));
    }
}
