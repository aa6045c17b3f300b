//! `@base64` and its kin, alone or around interpolated strings.

use super::super::fuel::{Flow, Machine, Stop, wide};
use super::text::{self, describe};
use crate::value::Value;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Format {
    Text,
    Json,
    Csv,
    Tsv,
    Html,
    Uri,
    Sh,
    Base64,
    Base64d,
}

pub(in super::super) const NAMES: &[(&str, Format)] = &[
    ("text", Format::Text),
    ("json", Format::Json),
    ("csv", Format::Csv),
    ("tsv", Format::Tsv),
    ("html", Format::Html),
    ("uri", Format::Uri),
    ("sh", Format::Sh),
    ("base64", Format::Base64),
    ("base64d", Format::Base64d),
];

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

impl Format {
    pub(in super::super) fn by_name(name: &str) -> Option<Self> {
        NAMES.iter().find(|(own, _)| *own == name).map(|(_, format)| *format)
    }

    pub(in super::super) fn apply(self, m: &mut Machine, value: &Value) -> Result<Value, Stop> {
        if let (Self::Text, Value::String(_)) = (self, value) {
            return Ok(value.clone());
        }
        let mut made = String::new();
        self.append(m, value, &mut made)?;
        m.mem_text(made.len())?;
        Ok(Value::from(made))
    }

    /// Appends the formatted value. No format makes more than eight bytes of one.
    pub(in super::super) fn append(self, m: &mut Machine, value: &Value, out: &mut String) -> Flow {
        match self {
            Self::Text => text::append(m, value, out),
            Self::Json => text::append_json(m, value, out),
            Self::Csv => row(m, value, ',', out, |text, out| {
                out.push('"');
                out.push_str(&text.replace('"', "\"\""));
                out.push('"');
            }),
            Self::Tsv => row(m, value, '\t', out, |text, out| {
                for c in text.chars() {
                    match c {
                        '\t' => out.push_str("\\t"),
                        '\n' => out.push_str("\\n"),
                        '\r' => out.push_str("\\r"),
                        '\\' => out.push_str("\\\\"),
                        other => out.push(other),
                    }
                }
            }),
            Self::Html => escaped(m, value, out, |c, out| match c {
                '<' => out.push_str("&lt;"),
                '>' => out.push_str("&gt;"),
                '&' => out.push_str("&amp;"),
                '\'' => out.push_str("&#39;"),
                '"' => out.push_str("&quot;"),
                other => out.push(other),
            }),
            Self::Uri => escaped(m, value, out, |c, out| {
                if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '~') {
                    return out.push(c);
                }
                for byte in c.encode_utf8(&mut [0; 4]).bytes() {
                    out.push('%');
                    for digit in [byte >> 4, byte & 15] {
                        out.push(char::from_digit(u32::from(digit), 16).unwrap_or('0').to_ascii_uppercase());
                    }
                }
            }),
            Self::Sh => match value {
                Value::Array(items) => {
                    for (place, item) in items.iter().enumerate() {
                        if place > 0 {
                            out.push(' ');
                        }
                        quoted(m, item, out)?;
                    }
                    Ok(())
                }
                other => quoted(m, other, out),
            },
            Self::Base64 => encode(m, value, out),
            Self::Base64d => decode(m, value, out),
        }
    }
}

fn plain(m: &mut Machine, value: &Value) -> Result<String, Stop> {
    let mut text = String::new();
    text::append(m, value, &mut text)?;
    m.mem_text(wide(text.len()).saturating_mul(8))?;
    Ok(text)
}

fn escaped(m: &mut Machine, value: &Value, out: &mut String, escape: fn(char, &mut String)) -> Flow {
    plain(m, value)?.chars().for_each(|c| escape(c, out));
    Ok(())
}

fn row(m: &mut Machine, value: &Value, separator: char, out: &mut String, cell: fn(&str, &mut String)) -> Flow {
    let Value::Array(items) = value else {
        return Stop::raise(format!(
            "{} cannot be {}-formatted, only an array can be",
            describe(value),
            if separator == ',' { "csv" } else { "tsv" }
        ));
    };
    for (place, item) in items.iter().enumerate() {
        m.step(1)?;
        if place > 0 {
            out.push(separator);
        }
        match item {
            Value::Null => {}
            Value::Bool(_) | Value::Int(_) | Value::Float(_) => text::append_json(m, item, out)?,
            Value::String(text) => {
                m.mem_text(wide(text.len()).saturating_mul(4))?;
                cell(text, out);
            }
            other => return Stop::raise(format!("{} is not valid in a csv row", describe(other))),
        }
    }
    Ok(())
}

fn quoted(m: &mut Machine, value: &Value, out: &mut String) -> Flow {
    match value {
        Value::String(text) => {
            m.mem_text(wide(text.len()).saturating_mul(4))?;
            out.push('\'');
            out.push_str(&text.replace('\'', "'\\''"));
            out.push('\'');
            Ok(())
        }
        Value::Array(_) | Value::Object(_) => Stop::raise(format!("{} can not be escaped for shell", describe(value))),
        other => text::append_json(m, other, out),
    }
}

fn encode(m: &mut Machine, value: &Value, out: &mut String) -> Flow {
    let text = plain(m, value)?;
    for chunk in text.as_bytes().chunks(3) {
        let bits = chunk.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for place in 0..4usize {
            let six = bits >> (18 - 6 * place) & 63;
            let digit = ALPHABET.get(six as usize).copied().unwrap_or(b'=');
            out.push(if place <= chunk.len() { char::from(digit) } else { '=' });
        }
    }
    Ok(())
}

fn decode(m: &mut Machine, value: &Value, out: &mut String) -> Flow {
    let text = plain(m, value)?;
    let invalid = || Stop::raise(format!("{} is not valid base64 data", describe(value)));
    let digits = text.trim_end_matches('=').as_bytes();
    let mut bytes = Vec::with_capacity(digits.len());
    for chunk in digits.chunks(4) {
        let mut bits = 0u32;
        for digit in chunk {
            let Some(six) = (0u32..).zip(ALPHABET).find(|(_, own)| *own == digit).map(|(six, _)| six) else { return invalid() };
            bits = bits << 6 | six;
        }
        if chunk.len() == 1 {
            return invalid();
        }
        bits <<= 6 * (4 - chunk.len());
        let [_, whole @ ..] = bits.to_be_bytes();
        bytes.extend(whole.iter().take(chunk.len() - 1));
    }
    out.push_str(&String::from_utf8_lossy(&bytes));
    Ok(())
}
