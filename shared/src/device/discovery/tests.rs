use super::*;
use crate::device::convention::{Compiled, Incoming, Order, Speaker, Templates};
use crate::device::{CommandClass, FailMode};
use crate::time::Timestamp;

const LOCK: &str = r#"{"~": "esp/front", "name": "Front", "stat_t": "~/lock/state", "cmd_t": "~/lock/command", "avty_t": "~/status",
    "uniq_id": "front1", "ret": true, "dev": {"ids": "aa", "name": "Front door"}}"#;

fn announced(topic: &str, payload: &str) -> Announced {
    read("homeassistant", topic, payload.as_bytes()).unwrap().unwrap()
}

/// As admitted: with what only a person can say.
fn speaker(mut profile: Profile) -> Speaker {
    for capability in &mut profile.capabilities {
        capability.fail_mode = Some(FailMode::Secure);
    }
    assert_eq!(profile.check(), Ok(()));
    Speaker::bind(Arc::new(Compiled::of(&profile).unwrap().unwrap()), &Device::new("hq/it".into())).unwrap()
}

/// Knows one template by heart: the engine is the gateway's.
struct Field;
impl Templates for Field {
    fn render(&self, template: &str, value: &str) -> Result<String, String> {
        let field = template.trim_start_matches("{{ value_json.").trim_end_matches(" }}").trim_end_matches("}}");
        Ok(Value::from_json(value)?.get(field).map_or_else(String::new, Value::to_json))
    }
}

fn means(speaker: &Speaker, topic: &str, payload: &str) -> String {
    let understood = speaker.understand_with(&Incoming { topic, payload: payload.as_bytes(), retained: false }, &Field);
    format!("{:?} {:?}", understood.meanings, understood.problems)
}

#[test]
fn a_lock_with_short_keys_and_a_base_topic_becomes_a_safe_profile() {
    let found = announced("homeassistant/lock/node1/front/config", LOCK);
    assert_eq!((&*found.name, &*found.title, &*found.profile.name), ("node1-front", "Front door", "ha-node1-front"));
    assert!(Announced::needs_fail_mode(&found.profile));
    // Whatever the announcement says of `retain`.
    let convention = found.profile.convention.as_ref().unwrap();
    assert!(convention.commands.values().all(|to| !to.publish.retain));
    let unlock = found.profile.command("unlock-node1-front").unwrap();
    assert_eq!((unlock.class, unlock.confirm.is_some()), (CommandClass::Opening, true));
    let lock = speaker(found.profile);
    assert!(means(&lock, "esp/front/lock/state", "LOCKED").contains("locked"));
    assert!(means(&lock, "esp/front/status", "offline").contains("online: false"));
    assert_eq!(means(&lock, "esp/front/lock/state", "LOCKING"), "[] []", "on its way is not there");
    let order = |name| Order { id: "k", name, args: &Value::Null, issued_at: Timestamp(0), expires_at: Timestamp(1) };
    let encoded = lock.encode(&order("unlock-node1-front")).unwrap();
    assert_eq!((&*encoded.topic, &encoded.payload[..]), ("esp/front/lock/command", &b"UNLOCK"[..]));
}

#[test]
fn the_device_form_tells_many_components_at_once() {
    let payload = r#"{"dev": {"ids": "ea33", "name": "Kitchen"}, "o": {"name": "bla2mqtt"}, "state_topic": "kitchen/state", "cmps": {
        "temp": {"p": "sensor", "unit_of_measurement": "Cel", "value_template": "{{ value_json.temperature}}", "unique_id": "t"},
        "win": {"p": "binary_sensor", "stat_t": "kitchen/window", "pl_on": "1", "pl_off": "0"},
        "gone": {"p": "sensor"}, "light": {"p": "light", "cmd_t": "kitchen/light"},
        "bell": {"p": "event", "stat_t": "kitchen/bell", "evt_typ": ["press"]}}}"#;
    let found = announced("homeassistant/device/kitchen/config", payload);
    assert_eq!(found.left_out, ["`light`: components of platform `light` are not used"]);
    assert!(!Announced::needs_fail_mode(&found.profile));
    let kitchen = speaker(found.profile);
    assert!(means(&kitchen, "kitchen/state", r#"{"temperature": 23.2}"#).contains("Float(23.2)"));
    assert!(means(&kitchen, "kitchen/window", "1").contains("Bool(true)"), "a word that is JSON");
    assert!(means(&kitchen, "kitchen/bell", r#"{"event_type": "press"}"#).contains("bell-press"));
    assert_eq!(means(&kitchen, "kitchen/bell", r#"{"event_type": "other"}"#), "[] []");
}

/// What `payload` is read as, where the announcement says `on`, `off` and perhaps a template.
fn switched(on: &str, off: &str, payload: &str) -> String {
    let config = format!(r#"{{"stat_t": "a/b", "pl_on": {on}, "pl_off": {off}}}"#);
    means(&speaker(announced("homeassistant/binary_sensor/w/config", &config).profile), "a/b", payload)
}

#[test]
fn a_word_for_yes_is_found_however_it_is_written() {
    // JSON's `true` is Python's `True`: an announcement says one, a template gives the other.
    for (on, off, yes, no) in [
        ("\"ON\"", "\"OFF\"", "ON", "OFF"),
        ("true", "false", "true", "false"),
        ("\"True\"", "\"False\"", "True", "false"),
        ("true", "false", "True", "False"),
        ("1", "0", "1", "0"),
        ("\"open door\"", "\"shut door\"", "open door", "shut door"),
    ] {
        assert!(switched(on, off, yes).contains("Bool(true)"), "{on} {yes}");
        assert!(switched(on, off, no).contains("Bool(false)"), "{off} {no}");
        assert_eq!(switched(on, off, "neither"), "[] []");
    }
}

#[test]
fn an_announcement_cannot_break_out_of_what_it_is() {
    // Quotes, jq and parameters inside words stay words.
    for word in ["\" or true", "\\\"", "${x}", "\\(env)", "line\nbreak"] {
        let text = Value::from(word).to_json();
        assert!(switched(&text, "\"OFF\"", word).contains("Bool(true)"), "{word}");
        assert_eq!(switched(&text, "\"OFF\"", "anything"), "[] []", "{word}");
    }
    let many: Vec<String> = (0..=COMPONENTS_MAX).map(|n| format!(r#""c{n}": {{"p": "sensor", "stat_t": "a/{n}"}}"#)).collect();
    let device = format!(r#"{{"dev": {{"ids": "x"}}, "cmps": {{{}}}}}"#, many.join(","));
    assert!(read("homeassistant", "homeassistant/device/x/config", device.as_bytes()).unwrap_err().contains("is the most"));
    let long = format!(r#"{{"stat_t": "{}"}}"#, "x".repeat(70_000));
    assert!(read("homeassistant", "homeassistant/sensor/x/config", long.as_bytes()).is_err());
}

#[test]
fn what_is_no_announcement_or_of_no_use_is_said_so() {
    for (topic, is) in [
        ("homeassistant/lock/a/config", true),
        ("homeassistant/lock/n/a/config", true),
        ("homeassistant/device/a/config", true),
        ("homeassistant/status", false),
        ("homeassistant/lock/a/b/c/config", false),
        ("other/lock/a/config", false),
    ] {
        assert_eq!(is_announcement("homeassistant", topic), is, "{topic}");
    }
    assert_eq!(read("homeassistant", "homeassistant/lock/a/config", b""), Ok(None));
    for (payload, says) in [
        ("{", "not JSON"),
        ("[]", "no object"),
        (r#"{"cmd_t": "spalla/v1/hq/door/command"}"#, "belongs to the gateway"),
        (r##"{"cmd_t": "#"}"##, "wildcard"),
        (r#"{"cmd_t": "a/{x}"}"#, "no parameter `x`"),
        (r#"{"name": "x"}"#, "neither a state_topic nor a command_topic"),
    ] {
        let told = read("homeassistant", "homeassistant/lock/a/config", payload.as_bytes()).unwrap_err();
        assert!(told.contains(says), "{payload}: {told}");
    }
}
