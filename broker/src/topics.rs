//! What the broker itself demands of topic names and filters, before any ACL is asked.

use spalla_shared::topic::{self, DeviceTopic};

/// A name a client may publish to: no wildcards, no control characters, not `$…` (the server's own), bounded.
pub(crate) fn is_publishable(topic: &str, levels_max: usize) -> bool {
    is_sound(topic, levels_max) && !topic.starts_with('$') && !topic.contains(['+', '#'])
}

/// A well-formed filter: `#` only as the last level, wildcards alone in their level.
pub(crate) fn is_filter(filter: &str, levels_max: usize) -> bool {
    is_sound(filter, levels_max) && topic::is_filter(filter)
}

pub(crate) fn is_shared(filter: &str) -> bool {
    filter.starts_with(SHARE)
}

const SHARE: &str = "$share/";

/// The filter of a shared subscription behind its group, `a/+` of `$share/group/a/+`; any other filter as it is.
pub(crate) fn bare(filter: &str) -> &str {
    filter.strip_prefix(SHARE).and_then(|rest| rest.split_once('/')).map_or(filter, |(_, bare)| bare)
}

/// `$share/group/filter`: the group has at least one character and no wildcard, and the filter is well formed.
pub(crate) fn is_share_filter(filter: &str, levels_max: usize) -> bool {
    let Some((group, bare)) = filter.strip_prefix(SHARE).and_then(|rest| rest.split_once('/')) else { return false };
    !group.is_empty() && group.len() <= 128 && is_sound(group, 1) && !group.contains(['+', '#']) && is_filter(bare, levels_max)
}

/// Topics on which nothing is ever retained or queued for later: a command belongs to its moment.
pub(crate) fn is_command(topic: &str) -> bool {
    matches!(DeviceTopic::parse(topic), Some(DeviceTopic::Command(_)))
}

/// Topics whose retain bit is ignored: an event that is replayed to a newcomer would open doors twice.
pub(crate) fn is_event(topic: &str) -> bool {
    matches!(DeviceTopic::parse(topic), Some(DeviceTopic::Event(..)))
}

/// Longest topic text taken, in bytes; the protocol's own bound of 65,535 serves nobody.
const TEXT_LEN_MAX: usize = 1024;

fn is_sound(text: &str, levels_max: usize) -> bool {
    !text.is_empty() && text.len() <= TEXT_LEN_MAX && !text.chars().any(char::is_control) && text.split('/').count() <= levels_max
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shared_filters_are_taken_apart() {
        for (filter, good) in [
            ("$share/g/a/+", true),
            ("$share/g//", true),
            ("$share/g/", false),
            ("$share/g", false),
            ("$share//a", false),
            ("$share/g+/a", false),
            ("$share/g/a#", false),
        ] {
            assert_eq!(is_share_filter(filter, 4), good, "{filter:?}");
        }
        assert_eq!((bare("$share/g/a/+"), bare("a/$share/g")), ("a/+", "a/$share/g"));
    }

    #[test]
    fn names_and_filters_are_told_apart() {
        for (topic, good) in [
            ("a/b", true),
            ("é/temp", true),
            ("", false),
            ("a/+", false),
            ("a#", false),
            ("$SYS/x", false),
            ("a\0b", false),
            ("a/b/c/d/e", false),
        ] {
            assert_eq!(is_publishable(topic, 4), good, "{topic:?}");
        }
        for (filter, good) in [
            ("#", true),
            ("+/a/#", true),
            ("a/#/b", false),
            ("a+", false),
            ("a/b#", false),
            ("", false),
            ("$SYS/#", true),
            ("a/b/c/d/e", false),
        ] {
            assert_eq!(is_filter(filter, 4), good, "{filter:?}");
        }
    }
}
