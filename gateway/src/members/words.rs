//! How a gateway is, in words that a person reads at three in the morning.

use super::MemberLook;
use crate::consensus::Freshness;
use crate::history::{Held, tell_missing};

/// Less than this of a disk free, and the operator should know.
const FREE_SHARE_MIN: f64 = 0.1;
/// A clock that is farther off makes times in the audit trail doubtful.
const SKEW_MS_MAX: u64 = 1_000;

/// `level, heard 0.2 s ago`; `12 entries behind, heard 0.2 s ago`; `silent for 40 s, 12 entries behind`.
pub fn progress(lag: Option<u64>, heard_ms: Option<u64>) -> String {
    let behind = match lag {
        Some(0) => "level".to_owned(),
        Some(1) => "1 entry behind".to_owned(),
        Some(lag) => format!("{lag} entries behind"),
        None => "how far behind is not known".to_owned(),
    };
    match heard_ms {
        Some(heard) if heard > super::ALIVE_MS_MAX => format!("silent for {}, {behind}", span(heard)),
        Some(heard) => format!("{behind}, heard {} ago", span(heard)),
        None => format!("not heard of yet, {behind}"),
    }
}

/// How old it is what a gateway shows of a group; nothing where it hears of the group's leader.
pub fn as_of(freshness: &Freshness) -> Option<String> {
    if !freshness.stale {
        return None;
    }
    let when = freshness.leader_seen_ms.map_or("before this gateway started".to_owned(), |age| format!("{} ago", span(age)));
    Some(format!("as of {when}: no leader has been heard of since, and what is shown may have changed"))
}

/// One line for one gateway.
pub fn line(name: &str, look: &MemberLook, version: &str) -> String {
    let is = match (look.leader, look.voter) {
        (true, _) => "leads".to_owned(),
        (_, true) => progress_or_own(look),
        (_, false) => format!("learns, {}", progress_or_own(look)),
    };
    let mut parts = vec![format!("{name} {}{is}", if look.leader || is.starts_with("learns") { "" } else { "is " })];
    match &look.vitals {
        None => parts.push("does not answer this gateway".into()),
        Some(vitals) => {
            if vitals.version != version {
                parts.push(format!("runs version {}", vitals.version));
            }
            let share = vitals.disk_free as f64 / (vitals.disk_size.max(1)) as f64;
            let lacks: Vec<&Held> = vitals.history.iter().flatten().filter(|held| !held.missing.is_empty()).collect();
            if !lacks.is_empty() {
                parts.push(format!("its history lacks {}", tell_missing(lacks.into_iter().map(|held| (&held.group, &held.missing)))));
            }
            if share < FREE_SHARE_MIN {
                parts.push(format!("only {} of disk free", size(vitals.disk_free)));
            }
        }
    }
    if let Some(skew) = look.clock_skew_ms.filter(|skew| skew.unsigned_abs() > SKEW_MS_MAX) {
        parts.push(format!("its clock is {} {}", span(skew.unsigned_abs()), if skew > 0 { "ahead" } else { "behind" }));
    }
    parts.join("; ")
}

fn progress_or_own(look: &MemberLook) -> String {
    // Only the leader knows; without one nobody does.
    match (look.lag, look.heard_ms, &look.vitals) {
        (None, None, Some(_)) => "there".into(),
        (None, None, None) => "not in reach".into(),
        (lag, heard_ms, _) => progress(lag, heard_ms),
    }
}

/// `0.2 s`, `40 s`, `3 min`, `5 h`, `2 d`.
fn span(ms: u64) -> String {
    match ms {
        0..10_000 => format!("{}.{} s", ms / 1000, ms % 1000 / 100),
        10_000..120_000 => format!("{} s", ms / 1000),
        120_000..7_200_000 => format!("{} min", ms / 60_000),
        7_200_000..172_800_000 => format!("{} h", ms / 3_600_000),
        _ => format!("{} d", ms / 86_400_000),
    }
}

/// `120 MB`, `1.5 GB`.
pub fn size(bytes: u64) -> String {
    let mb = bytes / 1_000_000;
    if mb < 1_000 { format!("{mb} MB") } else { format!("{}.{} GB", mb / 1000, mb % 1000 / 100) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use spalla_shared::id::NodeId;

    #[test]
    fn lags_and_silences_read_as_a_person_says_them() {
        for (lag, heard, said) in [
            (Some(12), Some(210), "12 entries behind, heard 0.2 s ago"),
            (Some(0), Some(0), "level, heard 0.0 s ago"),
            (Some(1), Some(40_000), "silent for 40 s, 1 entry behind"),
            (None, None, "not heard of yet, how far behind is not known"),
        ] {
            assert_eq!(progress(lag, heard), said);
        }
        let freshness = |stale, leader_seen_ms| Freshness { applied: 7, leader: Some(NodeId(1)), stale, leader_seen_ms };
        assert_eq!(as_of(&freshness(false, Some(90))), None);
        let told = as_of(&freshness(true, Some(40_000))).expect("words");
        assert!(told.starts_with("as of 40 s ago: no leader"), "{told}");
        assert!(as_of(&freshness(true, None)).is_some_and(|told| told.contains("before this gateway started")));
        let (fresh, old) = (freshness(false, Some(90)), freshness(true, Some(40_000)));
        assert_eq!([fresh.leads(), fresh.led(), old.leads(), old.led()], [Some(NodeId(1)), None, None, Some(NodeId(1))]);
        assert_eq!([span(119_000), span(600_000), span(7_200_000), span(864_000_000)], ["119 s", "10 min", "2 h", "10 d"]);
        assert_eq!([size(120_000_000), size(1_560_000_000)], ["120 MB", "1.5 GB"]);
    }
}
