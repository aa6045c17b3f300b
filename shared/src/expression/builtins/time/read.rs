//! `strptime` and `fromdate`.

use super::super::super::fuel::{Machine, Stop, wide};
use super::super::super::math::number;
use super::super::text::shorten;
use super::calendar::{Broken, DAYS, MONTHS, SECONDS_MAX};
use super::write::composite;
use crate::value::Value;

/// What `strptime` has read so far, and what is left to read.
pub(super) struct Reader<'t> {
    pub text: &'t str,
    pub broken: Broken,
    /// Seconds east of UTC that `%z` gave.
    pub offset: i64,
    pub week_day: Option<i64>,
}

impl Reader<'_> {
    pub fn read(mut self, whole: &str, format: &str) -> Result<Broken, Stop> {
        let failed = || Stop::raise(format!("date \"{}\" does not match format \"{}\"", shorten(whole), shorten(format)));
        let mut pm = None;
        if self.all(format, &mut pm).is_none() || !self.text.is_empty() {
            return failed();
        }
        if let Some(pm) = pm {
            self.broken.hour = self.broken.hour % 12 + if pm { 12 } else { 0 };
        }
        match Broken::from_seconds(self.broken.seconds().saturating_sub(self.offset)) {
            Ok(broken) => Ok(broken),
            Err(_) => failed(),
        }
    }

    fn all(&mut self, format: &str, pm: &mut Option<bool>) -> Option<()> {
        let mut chars = format.chars();
        while let Some(c) = chars.next() {
            if c.is_ascii_whitespace() {
                self.text = self.text.trim_start_matches(|c: char| c.is_ascii_whitespace());
            } else if c != '%' {
                self.text = self.text.strip_prefix(c)?;
            } else {
                self.directive(chars.next()?, pm)?;
            }
        }
        Some(())
    }

    fn directive(&mut self, directive: char, pm: &mut Option<bool>) -> Option<()> {
        match directive {
            'Y' => self.broken.year = self.number(4, 0, 9999)?,
            'y' => {
                let year = self.number(2, 0, 99)?;
                self.broken.year = year + if year < 69 { 2000 } else { 1900 };
            }
            'm' => self.broken.month = self.number(2, 1, 12)? - 1,
            'd' | 'e' => self.broken.day = self.number(2, 1, 31)?,
            'H' | 'k' => self.broken.hour = self.number(2, 0, 23)?,
            'I' | 'l' => self.broken.hour = self.number(2, 1, 12)?,
            'M' => self.broken.minute = self.number(2, 0, 59)?,
            'S' => self.broken.second = self.number(2, 0, 60)?,
            'j' => {
                self.broken.month = 0;
                self.broken.day = self.number(3, 1, 366)?;
            }
            'p' | 'P' => {
                let half = self.text.get(..2)?.to_ascii_uppercase();
                *pm = Some(match half.as_str() {
                    "AM" => false,
                    "PM" => true,
                    _ => return None,
                });
                self.text = self.text.get(2..)?;
            }
            'A' | 'a' => self.week_day = Some(self.name(&DAYS)?),
            'B' | 'b' | 'h' => self.broken.month = self.name(&MONTHS)?,
            'u' | 'w' => {
                self.number(1, 0, 7)?;
            }
            'Z' => self.text = self.text.trim_start_matches(|c: char| c.is_ascii_alphabetic()),
            'z' => self.offset = self.zone()?,
            's' => {
                let seconds = self.number(12, 0, SECONDS_MAX)?;
                self.broken = Broken::from_seconds(seconds).ok()?;
            }
            'n' | 't' => self.text = self.text.trim_start_matches(|c: char| c.is_ascii_whitespace()),
            '%' => self.text = self.text.strip_prefix('%')?,
            composed => {
                let parts = composite(composed);
                if parts.is_empty() {
                    return None;
                }
                parts.iter().try_for_each(|part| self.all(part, pm))?;
            }
        }
        Some(())
    }

    fn number(&mut self, digits: usize, least: i64, most: i64) -> Option<i64> {
        let text = self.text.trim_start_matches(' ');
        let end = text.bytes().take(digits).take_while(u8::is_ascii_digit).count();
        let number = text.get(..end)?.parse().ok()?;
        self.text = text.get(end..)?;
        (least..=most).contains(&number).then_some(number)
    }

    /// A whole or shortened name, in any case.
    fn name(&mut self, names: &[&str]) -> Option<i64> {
        for (place, name) in (0i64..).zip(names) {
            for length in [name.len(), 3] {
                if self.text.get(..length).is_some_and(|text| name.get(..length).is_some_and(|name| text.eq_ignore_ascii_case(name))) {
                    self.text = self.text.get(length..)?;
                    return Some(place);
                }
            }
        }
        None
    }

    /// `Z`, `+0200` or `+02:00`, in seconds.
    fn zone(&mut self) -> Option<i64> {
        if let Some(rest) = self.text.strip_prefix(['Z', 'z']) {
            self.text = rest;
            return Some(0);
        }
        let sign = match self.text.chars().next()? {
            '+' => 1,
            '-' => -1,
            _ => return None,
        };
        self.text = self.text.get(1..)?;
        let hours = self.number(2, 0, 23)?;
        self.text = self.text.strip_prefix(':').unwrap_or(self.text);
        let minutes = self.number(2, 0, 59)?;
        Some(sign * (hours * 3600 + minutes * 60))
    }
}

/// RFC 3339 with any offset and fraction: more than jq reads, because times from the log have milliseconds.
pub(super) fn from_date(m: &mut Machine, input: &Value) -> Result<Value, Stop> {
    let Value::String(text) = input else { return Stop::raise("strptime/1 requires string inputs and arguments") };
    m.scan(wide(text.len()).saturating_mul(4))?;
    let failed = || Stop::raise(format!("date \"{}\" does not match format \"%Y-%m-%dT%H:%M:%SZ\"", shorten(text)));
    let mut reader = Reader { text, broken: Broken::default(), offset: 0, week_day: None };
    if reader.all("%Y-%m-%dT%H:%M:%S", &mut None).is_none() {
        return failed();
    }
    let mut fraction = 0.0;
    if let Some(rest) = reader.text.strip_prefix('.') {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        match rest.get(..digits.min(9)).and_then(|digits| format!("0.{digits}").parse::<f64>().ok()) {
            Some(read) if digits > 0 => fraction = read,
            _ => return failed(),
        }
        reader.text = rest.get(digits..).unwrap_or_default();
    }
    match reader.zone() {
        Some(offset) if reader.text.is_empty() => {
            let seconds = reader.broken.seconds() - offset;
            if fraction == 0.0 { Ok(Value::Int(seconds)) } else { number(seconds as f64 + fraction) }
        }
        _ => failed(),
    }
}
