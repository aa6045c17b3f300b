//! How a gateway is, in words that a person reads at three in the morning.

use super::MemberLook;

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
    if look.lag.is_none() && look.heard_ms.is_none() && look.vitals.is_some() {
        return "there".into();
    }
    progress(look.lag, look.heard_ms)
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
        assert_eq!([span(119_000), span(600_000), span(7_200_000), span(864_000_000)], ["119 s", "10 min", "2 h", "10 d"]);
        assert_eq!([size(120_000_000), size(1_560_000_000)], ["120 MB", "1.5 GB"]);
    }
}
