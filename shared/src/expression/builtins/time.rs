//! Calendar functions: UTC, whole seconds, our own integer arithmetic, years -9999 to 9999.

use super::super::fuel::{Machine, Stop};
use super::Run;
use super::text::describe;
use crate::value::Value;
use std::fmt::Write;

pub(super) const NATIVES: &[(&str, usize, Run)] = &[
    ("gmtime", 0, |m, input, _| {
        m.mem_array(8)?;
        let (seconds, fraction) = instant(input)?;
        Ok(Broken::from_seconds(seconds)?.to_value(fraction))
    }),
    ("mktime", 0, |_, input, _| Ok(Value::Int(Broken::from_value(input, "mktime")?.seconds()))),
    ("strftime", 1, |m, input, args| match args {
        [Value::String(format)] => strftime(m, input, format),
        _ => Stop::raise("strftime/1 requires a string format"),
    }),
    ("strptime", 1, |m, input, args| match (input, args) {
        (Value::String(text), [Value::String(format)]) => {
            m.scan(text.len().saturating_add(format.len()).saturating_mul(16))?;
            m.mem_array(8)?;
            let read = Reader { text, broken: Broken::default(), offset: 0, week_day: None };
            read.read(text, format).map(|broken| broken.to_value(0.0))
        }
        (input, _) => Stop::raise(format!("strptime/1 requires string inputs and arguments, not {}", describe(input))),
    }),
    ("fromdate", 0, |m, input, _| from_date(m, input)),
];

const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
const MONTHS: [&str; 12] =
    ["January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December"];
/// Seconds of the years -9999 to 9999.
const SECONDS_MIN: i64 = -377_705_116_800;
const SECONDS_MAX: i64 = 253_402_300_799;

/// Whole seconds and the fraction above them.
fn instant(input: &Value) -> Result<(i64, f64), Stop> {
    let (seconds, fraction) = match input {
        Value::Int(seconds) => (*seconds, 0.0),
        Value::Float(seconds) => (seconds.floor() as i64, seconds - seconds.floor()),
        other => return Stop::raise(format!("{} is not a time: a number is needed", describe(other))),
    };
    Ok((seconds, fraction))
}

/// Broken down time. Months and weekdays count from 0, as jq has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Broken {
    year: i64,
    month: i64,
    day: i64,
    hour: i64,
    minute: i64,
    second: i64,
}

impl Default for Broken {
    fn default() -> Self {
        Self { year: 1900, month: 0, day: 1, hour: 0, minute: 0, second: 0 }
    }
}

impl Broken {
    fn from_seconds(seconds: i64) -> Result<Self, Stop> {
        if !(SECONDS_MIN..=SECONDS_MAX).contains(&seconds) {
            return Stop::raise("the time is out of range");
        }
        let (year, month, day) = civil(seconds.div_euclid(86_400));
        let rest = seconds.rem_euclid(86_400);
        Ok(Self { year, month, day, hour: rest / 3600, minute: rest / 60 % 60, second: rest % 60 })
    }

    fn from_value(value: &Value, name: &str) -> Result<Self, Stop> {
        let Value::Array(items) = value else { return Stop::raise(format!("{name} requires array of 6 numbers")) };
        let mut parts = [0i64; 6];
        for (place, part) in parts.iter_mut().enumerate() {
            let number = items.get(place).and_then(Value::as_f64).map(|number| number.floor() as i64);
            // Beyond this no calendar is meant; it also keeps the arithmetic within `i64`.
            match number.filter(|number| (-1_000_000..=1_000_000).contains(number)) {
                Some(number) => *part = number,
                None => return Stop::raise(format!("{name} requires parsed datetime inputs")),
            }
        }
        let [year, month, day, hour, minute, second] = parts;
        let broken = Self { year, month, day, hour, minute, second };
        if (SECONDS_MIN..=SECONDS_MAX).contains(&broken.seconds()) { Ok(broken) } else { Stop::raise("the time is out of range") }
    }

    /// Parts may overflow into larger ones: the 32nd of January is the 1st of February.
    fn seconds(&self) -> i64 {
        let year = self.year + self.month.div_euclid(12);
        let days = days_before(year, self.month.rem_euclid(12)) + self.day - 1;
        days * 86_400 + self.hour * 3600 + self.minute * 60 + self.second
    }

    fn days(&self) -> i64 {
        days_before(self.year, self.month) + self.day - 1
    }

    fn week_day(&self) -> i64 {
        (self.days() + 4).rem_euclid(7)
    }

    fn year_day(&self) -> i64 {
        self.days() - days_before(self.year, 0)
    }

    /// Year and number of the ISO week, which belongs to the year that has its Thursday.
    fn iso_week(&self) -> (i64, i64) {
        let thursday = self.days() - (self.week_day() + 6) % 7 + 3;
        let (year, _, _) = civil(thursday);
        (year, (thursday - days_before(year, 0)) / 7 + 1)
    }

    fn to_value(self, fraction: f64) -> Value {
        let second = if fraction > 0.0 {
            // Cut to microseconds: a float's own noise is not part of the time.
            Value::number(self.second as f64 + (fraction * 1e6).floor() / 1e6).unwrap_or_default()
        } else {
            Value::Int(self.second)
        };
        let mut parts: Vec<Value> = [self.year, self.month, self.day, self.hour, self.minute].into_iter().map(Value::Int).collect();
        parts.push(second);
        parts.push(Value::Int(self.week_day()));
        parts.push(Value::Int(self.year_day()));
        Value::array(parts)
    }
}

/// Days from 1970-01-01 to the first of a month (0 to 11).
fn days_before(year: i64, month: i64) -> i64 {
    // Years begin in March here, so that the leap day comes last.
    let year = if month < 2 { year - 1 } else { year };
    let shifted = (month + 10) % 12;
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * shifted + 2) / 5;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// Year, month (0 to 11) and day (1 to 31) of a day counted from 1970-01-01.
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = (month + 2) % 12;
    (era * 400 + year + i64::from(month < 2), month, day)
}

fn strftime(m: &mut Machine, input: &Value, format: &str) -> Result<Value, Stop> {
    let broken = match input {
        Value::Array(_) => {
            let read = Broken::from_value(input, "strftime/1")?;
            Broken::from_seconds(read.seconds())?
        }
        Value::Int(_) | Value::Float(_) => Broken::from_seconds(instant(input)?.0)?,
        _ => return Stop::raise("strftime/1 requires parsed datetime inputs"),
    };
    // The longest directive, `%c`, gives 24 bytes for two.
    m.mem_text(format.len().saturating_mul(16))?;
    let mut out = String::new();
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut directive = chars.next();
        if let Some('-' | 'E' | 'O') = directive {
            directive = chars.next();
        }
        match directive {
            Some(directive) => one(&broken, directive, &mut out)?,
            None => out.push('%'),
        }
    }
    Ok(Value::from(out))
}

fn one(broken: &Broken, directive: char, out: &mut String) -> Result<(), Stop> {
    let name =
        |names: &'static [&'static str], place: i64| usize::try_from(place).ok().and_then(|place| names.get(place)).copied().unwrap_or("?");
    let short = |text: &'static str| text.get(..3).unwrap_or(text);
    let twelve = (broken.hour + 11) % 12 + 1;
    let half = if broken.hour < 12 { "AM" } else { "PM" };
    let (iso_year, iso_week) = broken.iso_week();
    // Writing to a string does not fail.
    let _ = match directive {
        'Y' => write!(out, "{}", broken.year),
        'C' => write!(out, "{:02}", broken.year.div_euclid(100)),
        'y' => write!(out, "{:02}", broken.year.rem_euclid(100)),
        'm' => write!(out, "{:02}", broken.month + 1),
        'd' => write!(out, "{:02}", broken.day),
        'e' => write!(out, "{:2}", broken.day),
        'H' => write!(out, "{:02}", broken.hour),
        'k' => write!(out, "{:2}", broken.hour),
        'I' => write!(out, "{twelve:02}"),
        'l' => write!(out, "{twelve:2}"),
        'M' => write!(out, "{:02}", broken.minute),
        'S' => write!(out, "{:02}", broken.second),
        'p' => write!(out, "{half}"),
        'P' => write!(out, "{}", half.to_ascii_lowercase()),
        'Z' => write!(out, "UTC"),
        'z' => write!(out, "+0000"),
        'A' => write!(out, "{}", name(&DAYS, broken.week_day())),
        'a' => write!(out, "{}", short(name(&DAYS, broken.week_day()))),
        'B' => write!(out, "{}", name(&MONTHS, broken.month)),
        'b' | 'h' => write!(out, "{}", short(name(&MONTHS, broken.month))),
        'j' => write!(out, "{:03}", broken.year_day() + 1),
        'u' => write!(out, "{}", (broken.week_day() + 6) % 7 + 1),
        'w' => write!(out, "{}", broken.week_day()),
        'U' => write!(out, "{:02}", (broken.year_day() + 7 - broken.week_day()) / 7),
        'W' => write!(out, "{:02}", (broken.year_day() + 7 - (broken.week_day() + 6) % 7) / 7),
        'V' => write!(out, "{iso_week:02}"),
        'G' => write!(out, "{iso_year}"),
        'g' => write!(out, "{:02}", iso_year.rem_euclid(100)),
        's' => write!(out, "{}", broken.seconds()),
        'n' => out.write_char('\n'),
        't' => out.write_char('\t'),
        '%' => out.write_char('%'),
        'F' | 'T' | 'D' | 'R' | 'r' | 'c' | 'x' | 'X' => {
            for part in composite(directive) {
                match part.strip_prefix('%').and_then(|directive| directive.chars().next()) {
                    Some(directive) => one(broken, directive, out)?,
                    None => out.push_str(part),
                }
            }
            Ok(())
        }
        other => return Stop::raise(format!("`%{other}` is not a directive of time formats")),
    };
    Ok(())
}

fn composite(directive: char) -> &'static [&'static str] {
    match directive {
        'F' => &["%Y", "-", "%m", "-", "%d"],
        'T' | 'X' => &["%H", ":", "%M", ":", "%S"],
        'D' | 'x' => &["%m", "/", "%d", "/", "%y"],
        'R' => &["%H", ":", "%M"],
        'r' => &["%I", ":", "%M", ":", "%S", " ", "%p"],
        'c' => &["%a", " ", "%b", " ", "%e", " ", "%H", ":", "%M", ":", "%S", " ", "%Y"],
        _ => &[],
    }
}

/// What `strptime` has read so far, and what is left to read.
struct Reader<'t> {
    text: &'t str,
    broken: Broken,
    /// Seconds east of UTC that `%z` gave.
    offset: i64,
    week_day: Option<i64>,
}

impl Reader<'_> {
    fn read(mut self, whole: &str, format: &str) -> Result<Broken, Stop> {
        let failed =
            || Stop::raise(format!("date \"{}\" does not match format \"{}\"", super::text::shorten(whole), super::text::shorten(format)));
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
fn from_date(m: &mut Machine, input: &Value) -> Result<Value, Stop> {
    let Value::String(text) = input else { return Stop::raise("strptime/1 requires string inputs and arguments") };
    m.scan(text.len().saturating_mul(4))?;
    let failed = || Stop::raise(format!("date \"{}\" does not match format \"%Y-%m-%dT%H:%M:%SZ\"", super::text::shorten(text)));
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
            if fraction == 0.0 { Ok(Value::Int(seconds)) } else { super::super::math::number(seconds as f64 + fraction) }
        }
        _ => failed(),
    }
}
