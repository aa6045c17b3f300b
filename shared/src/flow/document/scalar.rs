//! What a scalar without quotes means.

use crate::value::Value;

/// The core schema of YAML 1.2 for a scalar without quotes.
pub(super) fn plain(text: &str) -> Result<Value, String> {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Ok(Value::Null),
        "true" | "True" | "TRUE" => return Ok(Value::Bool(true)),
        "false" | "False" | "FALSE" => return Ok(Value::Bool(false)),
        _ => {}
    }
    let digits = text.trim_start_matches(['+', '-']);
    if matches!(digits, ".inf" | ".Inf" | ".INF" | ".nan" | ".NaN" | ".NAN") {
        return Err(format!("`{text}` is no number here: numbers are finite; put it in quotes if text is meant"));
    }
    if let Some(hex) = text.strip_prefix("0x").filter(|hex| hex.chars().all(|c| c.is_ascii_hexdigit()))
        && let Ok(number) = i64::from_str_radix(hex, 16)
    {
        return Ok(Value::Int(number));
    }
    if let Some(octal) = text.strip_prefix("0o").filter(|octal| octal.chars().all(|c| c.is_digit(8)))
        && let Ok(number) = i64::from_str_radix(octal, 8)
    {
        return Ok(Value::Int(number));
    }
    let signs = text.len() - digits.len();
    let numeric =
        signs <= 1 && digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') && digits.contains(|c: char| c.is_ascii_digit());
    if !numeric || !digits.chars().all(|c| c.is_ascii_digit() || matches!(c, '.' | 'e' | 'E' | '+' | '-')) {
        return Ok(Value::string(text));
    }
    if digits.chars().all(|c| c.is_ascii_digit()) {
        if let Ok(number) = text.trim_start_matches('+').parse::<i64>() {
            return Ok(Value::Int(number));
        }
        return Err(format!("`{text}` is larger than 64 bits hold; put it in quotes"));
    }
    // What only begins like a number (`1.0.0`, `2026-11-23`) is text.
    Ok(text.parse::<f64>().ok().and_then(Value::number).unwrap_or_else(|| Value::string(text)))
}
