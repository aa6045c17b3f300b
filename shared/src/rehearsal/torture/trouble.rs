//! What goes wrong in one run. Its text is how the run is asked for again.

use std::fmt;
use std::str::FromStr;

/// Effects and steps count from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trouble {
    Nothing,
    /// Every answer, attempt and event comes twice.
    Twice,
    /// The n-th effect fails.
    Fails(usize),
    /// Nobody knows what came of the n-th effect.
    IsUnknown(usize),
    /// The n-th effect is never answered.
    NeverAnswers(usize),
    /// All instances are cancelled before the n-th step.
    CancelledAt(usize),
    /// All instances are suspended before the n-th step and resumed behind it.
    SuspendedAt(usize),
    /// Another replica takes over before every entry, from a snapshot.
    FailsOver,
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("nothing"),
            Self::Twice => f.write_str("twice"),
            Self::FailsOver => f.write_str("failover"),
            Self::Fails(at) => write!(f, "fails:{at}"),
            Self::IsUnknown(at) => write!(f, "unknown:{at}"),
            Self::NeverAnswers(at) => write!(f, "silent:{at}"),
            Self::CancelledAt(at) => write!(f, "cancel:{at}"),
            Self::SuspendedAt(at) => write!(f, "suspend:{at}"),
        }
    }
}

impl FromStr for Trouble {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "`{text}` is no trouble: nothing, twice, failover, or fails, unknown, silent, cancel, suspend with a number (`fails:3`)"
            )
        };
        let (name, at) = text.split_once(':').map_or((text, None), |(name, at)| (name, Some(at)));
        let at = at.map(str::parse::<usize>).transpose().map_err(|_| wrong())?;
        match (name, at) {
            ("nothing", None) => Ok(Self::Nothing),
            ("twice", None) => Ok(Self::Twice),
            ("failover", None) => Ok(Self::FailsOver),
            ("fails", Some(at)) => Ok(Self::Fails(at)),
            ("unknown", Some(at)) => Ok(Self::IsUnknown(at)),
            ("silent", Some(at)) => Ok(Self::NeverAnswers(at)),
            ("cancel", Some(at)) => Ok(Self::CancelledAt(at)),
            ("suspend", Some(at)) => Ok(Self::SuspendedAt(at)),
            _ => Err(wrong()),
        }
    }
}
