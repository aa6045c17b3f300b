//! `strftime`.

use super::super::super::fuel::{Machine, Stop, wide};
use super::calendar::{Broken, DAYS, MONTHS};
use super::instant;
use crate::value::Value;
use std::fmt::Write;

pub(super) fn strftime(m: &mut Machine, input: &Value, format: &str) -> Result<Value, Stop> {
    let broken = match input {
        Value::Array(_) => {
            let read = Broken::from_value(input, "strftime/1")?;
            Broken::from_seconds(read.seconds())?
        }
        Value::Int(_) | Value::Float(_) => Broken::from_seconds(instant(input)?.0)?,
        _ => return Stop::raise("strftime/1 requires parsed datetime inputs"),
    };
    // The longest directive, `%c`, gives 24 bytes for two.
    m.mem_text(wide(format.len()).saturating_mul(16))?;
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

pub(super) fn composite(directive: char) -> &'static [&'static str] {
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
