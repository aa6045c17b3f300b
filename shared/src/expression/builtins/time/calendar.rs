//! The calendar: UTC, whole seconds, integer arithmetic, years -9999 to 9999.

use super::super::super::fuel::Stop;
use crate::value::Value;

pub(super) const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
pub(super) const MONTHS: [&str; 12] =
    ["January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December"];
/// Seconds of the years -9999 to 9999.
pub(super) const SECONDS_MIN: i64 = -377_705_116_800;
pub(super) const SECONDS_MAX: i64 = 253_402_300_799;

/// Broken down time. Months and weekdays count from 0, as jq has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Broken {
    pub year: i64,
    pub month: i64,
    pub day: i64,
    pub hour: i64,
    pub minute: i64,
    pub second: i64,
}

impl Default for Broken {
    fn default() -> Self {
        Self { year: 1900, month: 0, day: 1, hour: 0, minute: 0, second: 0 }
    }
}

impl Broken {
    pub(super) fn from_seconds(seconds: i64) -> Result<Self, Stop> {
        if !(SECONDS_MIN..=SECONDS_MAX).contains(&seconds) {
            return Stop::raise("the time is out of range");
        }
        let (year, month, day) = civil(seconds.div_euclid(86_400));
        let rest = seconds.rem_euclid(86_400);
        Ok(Self { year, month, day, hour: rest / 3600, minute: rest / 60 % 60, second: rest % 60 })
    }

    pub(super) fn from_value(value: &Value, name: &str) -> Result<Self, Stop> {
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
    pub(super) fn seconds(&self) -> i64 {
        let year = self.year + self.month.div_euclid(12);
        let days = days_before(year, self.month.rem_euclid(12)) + self.day - 1;
        days * 86_400 + self.hour * 3600 + self.minute * 60 + self.second
    }

    pub(super) fn days(&self) -> i64 {
        days_before(self.year, self.month) + self.day - 1
    }

    pub(super) fn week_day(&self) -> i64 {
        (self.days() + 4).rem_euclid(7)
    }

    pub(super) fn year_day(&self) -> i64 {
        self.days() - days_before(self.year, 0)
    }

    /// Year and number of the ISO week, which belongs to the year that has its Thursday.
    pub(super) fn iso_week(&self) -> (i64, i64) {
        let thursday = self.days() - (self.week_day() + 6) % 7 + 3;
        let (year, _, _) = civil(thursday);
        (year, (thursday - days_before(year, 0)) / 7 + 1)
    }

    pub(super) fn to_value(self, fraction: f64) -> Value {
        let second = if fraction > 0.0 {
            // To microseconds: a float of seconds since 1970 is good for no more, its own noise is not part of the time.
            Value::number(self.second as f64 + (fraction * 1e6).round().min(999_999.0) / 1e6).unwrap_or_default()
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
pub(super) fn days_before(year: i64, month: i64) -> i64 {
    // Years begin in March here, so that the leap day comes last.
    let year = if month < 2 { year - 1 } else { year };
    let shifted = (month + 10) % 12;
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * shifted + 2) / 5;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// Year, month (0 to 11) and day (1 to 31) of a day counted from 1970-01-01.
pub(super) fn civil(days: i64) -> (i64, i64, i64) {
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
