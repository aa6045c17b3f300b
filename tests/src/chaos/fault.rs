//! What is done to a mesh, and in which order: drawn from a seed, so that a run can be played again.

use super::link::Weather;
use std::fmt;
use std::time::Duration;

const LEAP_S_MAX: i64 = 3 * 60 * 60;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// kill -9 of these gateways, by place.
    Kill(Vec<usize>),
    /// SIGTERM, and started again.
    Restart(usize),
    /// Removed from the mesh, dead or while it works, and one of a new number in its building instead.
    Replace { place: usize, dead: bool },
    /// SIGSTOP: alive, connected, and answering nothing.
    Hold(usize),
    /// All links to and from one gateway.
    Around(usize, Weather),
    /// One direction of one link.
    Between { from: usize, to: usize, weather: Weather },
    /// All links.
    Everywhere(Weather),
    /// The power goes at these gateways: what their logs had not made durable is lost, but for some bytes.
    PowerCut { places: Vec<usize>, kept: u64, truncated: bool },
    /// Nothing can be written any more, or nothing made durable: the gateway ends by itself.
    Disk { place: usize, full: bool },
    /// The wall clocks of these gateways leap, and leap back at the end.
    Clock { places: Vec<usize>, ahead_s: i64 },
}

/// What a fault does something to; two of one kind at a time would be in each other's way.
#[derive(PartialEq)]
enum Kind {
    /// To be done to a mesh that is whole.
    Members,
    Process,
    Links,
    Clock,
}

/// A fault, how long it lasts, and how long the mesh is left alone afterwards.
#[derive(Clone, Debug)]
pub struct Step {
    pub faults: Vec<Fault>,
    pub lasts: Duration,
    pub pause: Duration,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kill(places) => write!(f, "kill {places:?}"),
            Self::Restart(place) => write!(f, "restart {place}"),
            Self::Replace { place, dead: true } => write!(f, "replace {place}, dead"),
            Self::Replace { place, dead: false } => write!(f, "replace {place}, at work"),
            Self::Hold(place) => write!(f, "hold {place}"),
            Self::Around(place, weather) => write!(f, "{weather:?} around {place}"),
            Self::Between { from, to, weather } => write!(f, "{weather:?} from {from} to {to}"),
            Self::Everywhere(weather) => write!(f, "{weather:?} everywhere"),
            Self::PowerCut { places, .. } => write!(f, "power cut at {places:?}"),
            Self::Disk { place, full: true } => write!(f, "disk of {place} full"),
            Self::Disk { place, full: false } => write!(f, "disk of {place} fails to make durable"),
            Self::Clock { places, ahead_s } => write!(f, "clock of {places:?} {ahead_s:+} s"),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let faults: Vec<String> = self.faults.iter().map(ToString::to_string).collect();
        write!(f, "{} for {:.1} s", faults.join(" and "), self.lasts.as_secs_f32())
    }
}

/// Draws steps one after the other, for ever.
pub struct Plan {
    random: fastrand::Rng,
    gateways: usize,
}

impl Plan {
    pub fn new(seed: u64, gateways: usize) -> Self {
        Self { random: fastrand::Rng::with_seed(seed), gateways }
    }

    pub fn step(&mut self) -> Step {
        let mut faults = vec![self.fault()];
        // Things go wrong together.
        if self.random.u8(..3) == 0 {
            let second = self.fault();
            if !faults.iter().any(|first| first.collides_with(&second)) {
                faults.push(second);
            }
        }
        Step { faults, lasts: Duration::from_millis(self.random.u64(200..6_000)), pause: Duration::from_millis(self.random.u64(0..3_000)) }
    }

    fn fault(&mut self) -> Fault {
        let place = self.random.usize(..self.gateways);
        let other = (place + 1 + self.random.usize(..self.gateways - 1)) % self.gateways;
        match self.random.u8(..19) {
            12 => Fault::PowerCut { places: vec![place], kept: self.kept(), truncated: self.random.bool() },
            13 => Fault::PowerCut { places: (0..self.gateways).collect(), kept: self.kept(), truncated: self.random.bool() },
            14 => Fault::Disk { place, full: self.random.bool() },
            15 | 16 => Fault::Clock { places: vec![place], ahead_s: self.leap_s() },
            18 => Fault::Replace { place, dead: self.random.bool() },
            17 => Fault::Clock { places: (0..self.gateways).collect(), ahead_s: self.leap_s() },
            0..3 => Fault::Kill(vec![place]),
            3 => Fault::Kill(vec![place, other]),
            4 => Fault::Kill((0..self.gateways).collect()),
            5 => Fault::Restart(place),
            6 => Fault::Hold(place),
            7 | 8 => Fault::Around(place, if self.random.bool() { Weather::Cut } else { Weather::HalfOpen }),
            9 => Fault::Between { from: place, to: other, weather: if self.random.bool() { Weather::Cut } else { Weather::Deaf } },
            10 => Fault::Everywhere(Weather::Slow { delay: Duration::from_millis(self.random.u64(5..80)) }),
            _ => Fault::Everywhere(Weather::Lossy { one_in: self.random.u32(4..40) }),
        }
    }

    /// Nothing, or a part of what is one write at most.
    fn kept(&mut self) -> u64 {
        if self.random.bool() { 0 } else { self.random.u64(1..2_000) }
    }

    /// From half a minute to three hours: keys are remembered for a day, which is a promise of its own.
    fn leap_s(&mut self) -> i64 {
        let far = self.random.i64(30..LEAP_S_MAX);
        if self.random.bool() { far } else { -far }
    }
}

impl Fault {
    /// Whether both would do something to one process, to one link, or to one clock, or one of them wants to be alone.
    fn collides_with(&self, other: &Self) -> bool {
        self.kind() == other.kind() || [self.kind(), other.kind()].contains(&Kind::Members)
    }

    fn kind(&self) -> Kind {
        match self {
            Self::Replace { .. } => Kind::Members,
            Self::Kill(_) | Self::Restart(_) | Self::Hold(_) | Self::PowerCut { .. } | Self::Disk { .. } => Kind::Process,
            Self::Around(..) | Self::Between { .. } | Self::Everywhere(_) => Kind::Links,
            Self::Clock { .. } => Kind::Clock,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_steps_and_all_kinds_come_up() {
        let said = |seed: u64| {
            let mut plan = Plan::new(seed, 3);
            (0..200).map(|_| format!("{:?}", plan.step())).collect::<Vec<_>>()
        };
        assert_eq!(said(7), said(7));
        assert_ne!(said(7), said(8));
        let all = said(7).join("\n");
        for kind in [
            "Kill([0, 1, 2])",
            "Restart",
            "dead: true",
            "dead: false",
            "Hold",
            "Cut",
            "HalfOpen",
            "Deaf",
            "Slow",
            "Lossy",
            "PowerCut",
            "full: true",
            "full: false",
            "ahead_s: -",
        ] {
            assert!(all.contains(kind), "{kind}");
        }
    }
}
