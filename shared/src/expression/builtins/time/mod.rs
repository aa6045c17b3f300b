//! Calendar functions. The result depends on the input alone: there is neither a clock nor a time zone.

mod calendar;
mod read;
mod write;

use super::super::fuel::{Stop, wide};
use super::Run;
use super::text::describe;
use crate::value::Value;
use calendar::Broken;
use read::{Reader, from_date};
use write::strftime;

pub(super) const NATIVES: &[(&str, usize, Run)] = &[
    ("gmtime", 0, |m, input, _| {
        m.mem_array(8u64)?;
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
            m.scan(wide(text.len()).saturating_add(wide(format.len())).saturating_mul(16))?;
            m.mem_array(8u64)?;
            let read = Reader { text, broken: Broken::default(), offset: 0, week_day: None };
            read.read(text, format).map(|broken| broken.to_value(0.0))
        }
        (input, _) => Stop::raise(format!("strptime/1 requires string inputs and arguments, not {}", describe(input))),
    }),
    ("fromdate", 0, |m, input, _| from_date(m, input)),
];

/// Whole seconds and the fraction above them.
fn instant(input: &Value) -> Result<(i64, f64), Stop> {
    let (seconds, fraction) = match input {
        Value::Int(seconds) => (*seconds, 0.0),
        Value::Float(seconds) => (seconds.floor() as i64, seconds - seconds.floor()),
        other => return Stop::raise(format!("{} is not a time: a number is needed", describe(other))),
    };
    Ok((seconds, fraction))
}
