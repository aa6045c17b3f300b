//! The only place where topic text is built or parsed.

use crate::id::{DeviceId, NodeId, SiteId};
use std::fmt;

/// Native device contract, `spalla/v1/{site}/{device}/…`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeviceTopic {
    /// Up: `state/{property}`.
    State(DeviceId, String),
    /// Up: `event/{name}`.
    Event(DeviceId, String),
    /// Up: `ack`.
    Ack(DeviceId),
    /// Up, retained, will: `online`.
    Online(DeviceId),
    /// Down: `command`.
    Command(DeviceId),
}

impl DeviceTopic {
    pub fn parse(topic: &str) -> Option<Self> {
        let rest = topic.strip_prefix("spalla/v1/")?;
        let mut levels = rest.split('/');
        let (site, device, verb) = (levels.next()?, levels.next()?, levels.next()?);
        if !is_level(site) || !is_level(device) {
            return None;
        }
        let id = DeviceId::of(&SiteId::new(site), device);
        let parsed = match (verb, levels.next()) {
            ("state", Some(property)) if is_level(property) => Self::State(id, property.into()),
            ("event", Some(name)) if is_level(name) => Self::Event(id, name.into()),
            ("ack", None) => return Some(Self::Ack(id)),
            ("online", None) => return Some(Self::Online(id)),
            ("command", None) => return Some(Self::Command(id)),
            _ => return None,
        };
        levels.next().is_none().then_some(parsed)
    }
    pub fn device(&self) -> &DeviceId {
        match self {
            Self::State(id, _) | Self::Event(id, _) | Self::Ack(id) | Self::Online(id) | Self::Command(id) => id,
        }
    }
}

/// Filters of all that a device may publish: what `device add` tells whoever sets the device up.
pub fn device_publishes(device: &DeviceId) -> [String; 4] {
    let (ack, online) = (DeviceTopic::Ack(device.clone()), DeviceTopic::Online(device.clone()));
    [format!("spalla/v1/{device}/state/#"), format!("spalla/v1/{device}/event/#"), ack.to_string(), online.to_string()]
}

impl fmt::Display for DeviceTopic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::State(id, property) => write!(f, "spalla/v1/{id}/state/{property}"),
            Self::Event(id, name) => write!(f, "spalla/v1/{id}/event/{name}"),
            Self::Ack(id) => write!(f, "spalla/v1/{id}/ack"),
            Self::Online(id) => write!(f, "spalla/v1/{id}/online"),
            Self::Command(id) => write!(f, "spalla/v1/{id}/command"),
        }
    }
}

/// Northbound, `spalla/v1/{org}/{mesh}/…`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CloudTopic {
    Birth,
    NodeState(NodeId),
    Events,
    Summary(SiteId),
    Ack,
    Gap,
    Command,
    CommandResult(String),
}

impl CloudTopic {
    pub fn text(&self, org: &str, mesh: &str) -> String {
        let base = format!("spalla/v1/{org}/{mesh}");
        match self {
            Self::Birth => format!("{base}/birth"),
            Self::NodeState(node) => format!("{base}/node/{node}/state"),
            Self::Events => format!("{base}/ev"),
            Self::Summary(site) => format!("{base}/sum/{site}"),
            Self::Ack => format!("{base}/ack"),
            Self::Gap => format!("{base}/gap"),
            Self::Command => format!("{base}/cmd"),
            Self::CommandResult(id) => format!("{base}/cmd/{id}/res"),
        }
    }
    pub fn parse(topic: &str, org: &str, mesh: &str) -> Option<Self> {
        let rest = topic.strip_prefix("spalla/v1/")?.strip_prefix(org)?.strip_prefix('/')?.strip_prefix(mesh)?.strip_prefix('/')?;
        let levels: Vec<&str> = rest.split('/').collect();
        Some(match levels.as_slice() {
            ["birth"] => Self::Birth,
            ["node", node, "state"] => Self::NodeState(NodeId(node.parse().ok()?)),
            ["ev"] => Self::Events,
            ["sum", site] if is_level(site) => Self::Summary(SiteId::new(site)),
            ["ack"] => Self::Ack,
            ["gap"] => Self::Gap,
            ["cmd"] => Self::Command,
            ["cmd", id, "res"] if is_level(id) => Self::CommandResult((*id).into()),
            _ => return None,
        })
    }
}

/// May stand as one level of a topic: not empty, none of `/ + # $`, no control characters, at most 128 bytes.
pub fn is_level(text: &str) -> bool {
    !text.is_empty() && text.len() <= 128 && !text.chars().any(|c| matches!(c, '/' | '+' | '#' | '$') || c.is_control())
}

/// May name an organisation, a mesh or a site. Stricter than a level: names of groups, folders and topics are made of it, and in
/// those `~`, `:` and `.` mean something.
pub fn is_name(text: &str) -> bool {
    is_level(text) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

/// What `is_name` takes, for whoever gave something else.
pub const NAME_WANTED: &str = "use 1 to 128 letters (a-z, A-Z), digits, - and _";

/// Topics of the gateway itself and of the server: no convention may use them.
pub fn is_reserved(topic: &str) -> bool {
    topic.starts_with('$') || topic == "spalla" || topic.starts_with("spalla/")
}

/// A filter whose wildcards stand where they may: each alone in its level, `#` in the last one.
pub fn is_filter(filter: &str) -> bool {
    let mut levels = filter.split('/').peekable();
    while let Some(level) = levels.next() {
        let wild = level.contains(['+', '#']);
        if wild && level.len() > 1 || level == "#" && levels.peek().is_some() {
            return false;
        }
    }
    !filter.is_empty()
}

/// Whether all that `filter` takes is taken by `own` too.
pub fn filter_covers(own: &str, filter: &str) -> bool {
    if filter.starts_with('$') && own.starts_with(['+', '#']) {
        return false;
    }
    let (mut own_levels, mut levels) = (own.split('/'), filter.split('/'));
    loop {
        match (own_levels.next(), levels.next()) {
            (Some("#"), _) => return true,
            (Some("+"), Some(level)) if level != "#" => {}
            (Some(wanted), Some(level)) if wanted == level => {}
            (None, None) => return true,
            _ => return false,
        }
    }
}

/// Whether `filter` (with `+` and `#`) takes `topic`. Filters that start with a wildcard do not take `$…` topics.
pub fn filter_matches(filter: &str, topic: &str) -> bool {
    if topic.starts_with('$') && (filter.starts_with('+') || filter.starts_with('#')) {
        return false;
    }
    let mut topic_levels = topic.split('/');
    let mut filter_levels = filter.split('/');
    loop {
        match (filter_levels.next(), topic_levels.next()) {
            (Some("#"), _) => return true,
            (Some("+"), Some(_)) => {}
            (Some(wanted), Some(level)) if wanted == level => {}
            (None, None) => return true,
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_topic_reads_back_as_written() {
        let id = DeviceId::new("hq/reader-1");
        for topic in [
            DeviceTopic::State(id.clone(), "temperature".into()),
            DeviceTopic::Event(id.clone(), "passed".into()),
            DeviceTopic::Ack(id.clone()),
            DeviceTopic::Online(id.clone()),
            DeviceTopic::Command(id.clone()),
        ] {
            assert_eq!(DeviceTopic::parse(&topic.to_string()), Some(topic));
        }
    }

    #[test]
    fn a_filter_covers_another_only_where_it_takes_all_of_it() {
        for (own, filter, covers) in [
            ("a/b", "a/b", true),
            ("a/+", "a/b", true),
            ("a/+", "a/+", true),
            ("a/+", "a/#", false),
            ("a/b", "a/+", false),
            ("a/#", "a/#", true),
            ("a/#", "a/b/+", true),
            ("a/#", "a", true),
            ("a/#", "#", false),
            ("a/#", "b/#", false),
            ("a/#", "$share/g/a/b", false),
            ("#", "$SYS/x", false),
            ("+/x", "$SYS/x", false),
            ("$SYS/#", "$SYS/x", true),
            ("$SYS/+", "$SYS/x", true),
            ("#", "#", true),
        ] {
            assert_eq!(filter_covers(own, filter), covers, "{own} {filter}");
        }
        assert!(is_reserved("spalla/v1/x") && is_reserved("$SYS/x") && !is_reserved("spallax/y"));
    }

    #[test]
    fn a_name_is_of_plain_letters_and_as_long_as_a_level_may_be() {
        for name in ["hq", "HQ_2", "north-wing", "7", &"a".repeat(128)] {
            assert!(is_name(name), "{name}");
        }
        let bad = ["", "hq~1", "h q", "zürich", "hq.1", "..", "site:hq", "h/q", "h+q", "h\\q", "h\nq", &"a".repeat(129)];
        for name in bad {
            assert!(!is_name(name), "{name}");
        }
    }

    #[test]
    fn what_is_no_device_topic_is_refused() {
        for topic in [
            "",
            "spalla/v1",
            "spalla/v1/hq",
            "spalla/v1/hq/d",
            "spalla/v1/hq/d/state",
            "spalla/v1/hq/d/state/",
            "spalla/v1/hq/d/state/a/b",
            "spalla/v1/hq//ack",
            "spalla/v1/+/d/ack",
            "spalla/v1/hq/d/ack/x",
            "spalla/v2/hq/d/ack",
        ] {
            assert_eq!(DeviceTopic::parse(topic), None, "{topic}");
        }
    }

    #[test]
    fn filters_take_what_the_specification_says() {
        for (filter, topic, takes) in [
            ("sport/#", "sport", true),
            ("sport/+", "sport", false),
            ("+", "finance", true),
            ("#", "$SYS/x", false),
            ("+/x", "$SYS/x", false),
            ("$SYS/#", "$SYS/x", true),
            ("a/+/c", "a/b/c", true),
            ("a/+/c", "a/b/c/d", false),
            ("/+", "/finance", true),
            ("+", "/finance", false),
        ] {
            assert_eq!(filter_matches(filter, topic), takes, "{filter} {topic}");
        }
    }
}
