//! Instants and durations as the log carries them: whole milliseconds, UTC.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Milliseconds since 1970-01-01T00:00:00Z. May not go back inside a log: `apply` clamps it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

impl Timestamp {
    pub const MAX: Self = Self(i64::MAX);

    pub fn millis(self) -> i64 {
        self.0
    }
    #[must_use]
    pub fn plus(self, millis: u64) -> Self {
        Self(self.0.saturating_add(i64::try_from(millis).unwrap_or(i64::MAX)))
    }
    /// Milliseconds from `earlier` to `self`; 0 where `earlier` is later.
    pub fn since(self, earlier: Self) -> u64 {
        u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0)
    }
    /// RFC 3339 with milliseconds, `2026-11-23T09:00:00.000Z`; the bare number where it is out of jiff's range.
    pub fn to_rfc3339(self) -> String {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(at) => format!("{at:.3}"),
            Err(_) => self.0.to_string(),
        }
    }
    /// Reads RFC 3339 with any offset.
    pub fn parse_rfc3339(text: &str) -> Option<Self> {
        text.parse::<jiff::Timestamp>().ok().map(|at| Self(at.as_millisecond()))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_rfc3339())
    }
}

/// Reads an ISO 8601 duration (`PT5S`, `P1DT2H`) as milliseconds. Days are 24 hours, weeks 7 days;
/// months and years have no fixed length and are refused, as are negative durations.
pub fn parse_duration_ms(text: &str) -> Option<u64> {
    // jiff also reads `5 seconds`, which is no ISO 8601.
    let span: jiff::Span = text.strip_prefix('P').and_then(|_| text.parse().ok())?;
    if span.get_years() != 0 || span.get_months() != 0 || span.is_negative() {
        return None;
    }
    let total = span.total((jiff::Unit::Millisecond, jiff::SpanRelativeTo::days_are_24_hours())).ok()?;
    (0.0..9.0e15).contains(&total).then_some(total as u64)
}
