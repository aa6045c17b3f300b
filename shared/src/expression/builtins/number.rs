//! Numbers. Only functions whose results are the same on every machine.

use super::super::fuel::{Machine, Stop};
use super::super::math::number;
use super::Run;
use super::text::describe;
use crate::value::Value;

pub(super) const NATIVES: &[(&str, usize, Run)] = &[
    ("floor", 0, |_, input, _| rounded(input, f64::floor)),
    ("ceil", 0, |_, input, _| rounded(input, f64::ceil)),
    ("round", 0, |_, input, _| rounded(input, f64::round)),
    ("trunc", 0, |_, input, _| rounded(input, f64::trunc)),
    ("sqrt", 0, |_, input, _| number(float(input)?.sqrt())),
    ("fabs", 0, |_, input, _| absolute(input)),
    ("abs", 0, |_, input, _| absolute(input)),
    ("pow", 2, |m, _, args| pow(m, args)),
];

fn float(value: &Value) -> Result<f64, Stop> {
    value.as_f64().map_or_else(|| Stop::raise(format!("{} number required", describe(value))), Ok)
}

fn rounded(value: &Value, round: fn(f64) -> f64) -> Result<Value, Stop> {
    match value {
        Value::Int(_) => Ok(value.clone()),
        other => number(round(float(other)?)),
    }
}

fn absolute(value: &Value) -> Result<Value, Stop> {
    match value {
        Value::Int(whole) => whole.checked_abs().map_or_else(|| number((*whole as f64).abs()), |whole| Ok(Value::Int(whole))),
        other => number(float(other)?.abs()),
    }
}

/// Whole exponents only: by squaring, every machine multiplies the same numbers.
fn pow(m: &mut Machine, args: &[Value]) -> Result<Value, Stop> {
    let [base, exponent] = args else { return Stop::raise("pow takes two arguments") };
    float(base)?;
    let Some(exponent) = exponent.as_i64().filter(|exponent| (-1024..=1024).contains(exponent)) else {
        return Stop::raise("pow needs a whole exponent from -1024 to 1024");
    };
    m.step(16)?;
    let times = u32::try_from(exponent.unsigned_abs()).unwrap_or(0);
    if let (Value::Int(base), true) = (base, exponent >= 0)
        && let Some(exact) = base.checked_pow(times)
    {
        return Ok(Value::Int(exact));
    }
    let (mut result, mut square, mut left) = (1.0_f64, float(base)?, times);
    while left > 0 {
        if left % 2 == 1 {
            result *= square;
        }
        square *= square;
        left /= 2;
    }
    number(if exponent < 0 { 1.0 / result } else { result })
}
