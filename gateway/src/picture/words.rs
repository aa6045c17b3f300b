//! Plain words for what a flow file says in its own: names, durations, conditions, texts with values in them.

use spalla_shared::flow::plan::DurationSpec;
use spalla_shared::value::Value;

/// Characters of a condition or text; what is longer is cut, and whole in the picture's tooltip.
const TEXT_LEN_MAX: usize = 90;

/// `askHost`, `ask-host`, `spalla.visit.ask_host` -> "Ask host".
pub fn humanised(name: &str) -> String {
    let words = lower_words(name);
    let mut letters = words.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

/// The same without the capital: inside a sentence. A word of capitals stays as it is (QR, ERP).
pub fn lower_words(name: &str) -> String {
    let mut out = String::new();
    let letters: Vec<char> = name.trim().chars().collect();
    for (at, letter) in letters.iter().enumerate() {
        let before = at.checked_sub(1).and_then(|before| letters.get(before));
        let behind = letters.get(at + 1);
        let lower = |letter: Option<&char>| letter.is_some_and(|letter| letter.is_lowercase() || letter.is_ascii_digit());
        let capital = |letter: Option<&char>| letter.is_some_and(|letter| letter.is_uppercase());
        if matches!(letter, '-' | '_' | '.' | '/' | ' ') {
            out.push(' ');
        } else if letter.is_uppercase() && (lower(before) || (capital(before) && lower(behind))) {
            out.push(' ');
            out.extend(if capital(behind) { vec![*letter] } else { letter.to_lowercase().collect() });
        } else if letter.is_uppercase() && !capital(before) && !capital(behind) {
            out.extend(letter.to_lowercase());
        } else {
            out.push(*letter);
        }
    }
    out.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// "10 minutes", "1 hour 30 minutes".
pub fn duration(spec: &DurationSpec) -> String {
    match spec {
        DurationSpec::Expression(_) => "a time that is worked out then".into(),
        DurationSpec::Millis(millis) => millis_in_words(*millis),
    }
}

pub fn millis_in_words(millis: u64) -> String {
    const UNITS: [(u64, &str); 4] = [(86_400_000, "day"), (3_600_000, "hour"), (60_000, "minute"), (1_000, "second")];
    let mut rest = millis;
    let mut parts = Vec::new();
    for (unit, name) in UNITS {
        let count = rest / unit;
        rest %= unit;
        if count > 0 && parts.len() < 2 {
            parts.push(format!("{count} {name}{}", if count == 1 { "" } else { "s" }));
        }
    }
    if parts.is_empty() { format!("{millis} ms") } else { parts.join(" ") }
}

/// What stands in `${ }`, or the text itself.
pub fn source(text: &str) -> &str {
    let text = text.trim();
    text.strip_prefix("${").and_then(|inner| inner.strip_suffix('}')).map_or(text, str::trim)
}

/// A jq condition as people say it: `$context.visit.vehicle != null` -> "visit vehicle is there". None where it is worked out in
/// ways that only programmers read.
pub fn condition(text: &str) -> Option<String> {
    let said = spoken(text);
    (!said.contains(['|', '*', '[', '{', '?', '…'])).then_some(said)
}

fn spoken(text: &str) -> String {
    let mut source = source(text).to_owned();
    let negated = source.strip_suffix("| not").map(|rest| rest.trim().to_owned());
    if let Some(rest) = &negated {
        source = rest.clone();
    }
    let mut out: Vec<String> = Vec::new();
    for token in tokens(&source) {
        out.push(match token.as_str() {
            "==" => "is".into(),
            "!=" => "is not".into(),
            ">" => "is more than".into(),
            "<" => "is less than".into(),
            ">=" => "is at least".into(),
            "<=" => "is at most".into(),
            word => operand(word),
        });
    }
    let said = out.join(" ").replace("is not null", "is there").replace("is null", "is missing").replace("is not false", "holds");
    let said = said.replace("( ", "(").replace(" )", ")");
    let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
    cut(&if negated.is_some() { format!("not {said}") } else { said })
}

/// Text, or an expression that joins texts and values: `"Admit " + .visitor.name + "?"` -> "Admit ‹name›?".
pub fn phrase(value: &Value) -> Option<String> {
    let Value::String(text) = value else { return None };
    if !text.trim_start().starts_with("${") {
        return Some(cut(text));
    }
    let mut out = String::new();
    for token in tokens(source(text)) {
        match token.as_str() {
            "+" => {}
            word if word.starts_with('"') => out += &serde_json::from_str::<String>(word).ok()?,
            word if is_path(word) => out += &format!("‹{}›", value_name(word)),
            _ => return None,
        }
    }
    (!out.is_empty()).then(|| cut(&out))
}

/// `role:guard` -> "guard"; `user:` and an expression -> "a person".
pub fn recipient(value: &Value) -> String {
    let said = phrase(value).unwrap_or_default();
    match said.split_once(':') {
        Some(("role", role)) => lower_words(role),
        Some(("user", person)) => whose(person),
        _ if said.is_empty() => "a person".into(),
        _ => whose(&said),
    }
}

/// `$context.visit.visitor.name` -> "visitor name": a last word that anything may have says too little.
fn value_name(path: &str) -> String {
    let parts: Vec<&str> = path.split(['.', '$']).filter(|part| !part.is_empty()).collect();
    let general = |part: &str| matches!(part, "name" | "id" | "email" | "phone" | "title" | "value" | "source");
    match parts.as_slice() {
        [.., before, last] if general(last) && !matches!(*before, "context" | "input" | "workflow") => {
            format!("{} {}", lower_words(before), lower_words(last))
        }
        [.., last] => lower_words(last),
        [] => String::new(),
    }
}

/// "‹host email›" -> "the host": people are not their addresses.
fn whose(said: &str) -> String {
    let Some(value) = said.strip_prefix('‹').and_then(|rest| rest.strip_suffix('›')) else { return said.to_owned() };
    let person = [" email", " phone", " id", " name"].iter().find_map(|ending| value.strip_suffix(ending)).unwrap_or(value);
    format!("the {person}")
}

fn is_path(word: &str) -> bool {
    let body = word.strip_prefix('$').unwrap_or(word);
    !body.is_empty() && body.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '.')) && body.contains(|c: char| c.is_alphabetic())
}

fn operand(word: &str) -> String {
    if let Ok(text) = serde_json::from_str::<String>(word) {
        return text;
    }
    if !is_path(word) {
        return word.to_owned();
    }
    let path = ["$context.", "$input.", "$workflow.", "."].iter().find_map(|lead| word.strip_prefix(lead)).unwrap_or(word);
    lower_words(path.trim_start_matches('$'))
}

/// Texts, paths and signs of a jq source, in order. Whatever is odd comes out as it stands.
fn tokens(source: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut letters = source.chars().peekable();
    while let Some(letter) = letters.next() {
        let mut token = String::from(letter);
        if letter == '"' {
            let mut escaped = false;
            for next in letters.by_ref() {
                token.push(next);
                if next == '"' && !escaped {
                    break;
                }
                escaped = next == '\\' && !escaped;
            }
        } else if letter.is_alphanumeric() || matches!(letter, '$' | '_' | '.') {
            while let Some(next) = letters.next_if(|next| next.is_alphanumeric() || matches!(next, '_' | '.')) {
                token.push(next);
            }
        } else if matches!(letter, '=' | '!' | '<' | '>') {
            if let Some(next) = letters.next_if_eq(&'=') {
                token.push(next);
            }
        } else if letter.is_whitespace() {
            continue;
        }
        found.push(token);
    }
    found
}

fn cut(text: &str) -> String {
    let text: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if text.chars().count() <= TEXT_LEN_MAX {
        return text;
    }
    let kept: String = text.chars().take(TEXT_LEN_MAX - 1).collect();
    format!("{}…", kept.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_conditions_become_words() {
        for (name, words) in [
            ("askHost", "Ask host"),
            ("issueQR", "Issue QR"),
            ("askERPSystem", "Ask ERP system"),
            ("spalla.visit.refused", "Spalla visit refused"),
            ("evacuate-building", "Evacuate building"),
            ("", ""),
        ] {
            assert_eq!(humanised(name), words);
        }
        for (jq, words) in [
            (r#"${ .choice != "approve" }"#, Some("choice is not approve")),
            ("$context.identity.verified | not", Some("not identity verified")),
            ("$context.visit.vehicle != null", Some("visit vehicle is there")),
            (".unit == null", Some("unit is missing")),
            (".kg >= 3.5", Some("kg is at least 3.5")),
            ("($context.missing | length) == 0", None),
        ] {
            assert_eq!(condition(jq).as_deref(), words);
        }
        assert_eq!(condition(&".a and ".repeat(100)), None, "nobody reads so much");
    }

    #[test]
    fn texts_with_values_show_where_they_come() {
        let said = |text: &str| phrase(&Value::from(text));
        assert_eq!(said(r#"${ "Admit " + $context.visit.visitor.name + "?" }"#).as_deref(), Some("Admit ‹visitor name›?"));
        assert_eq!(said("hq/gate").as_deref(), Some("hq/gate"));
        assert_eq!(said("${ .a | map(.b) }"), None);
        assert_eq!(said(r#"${ "open quote }"#), None);
        assert_eq!(recipient(&Value::from("role:fire-chief")), "fire chief");
        assert_eq!(recipient(&Value::from(r#"${ "user:" + $context.visit.host.email }"#)), "the host");
        assert_eq!([90_000, 7_200_000, 5, 3_661_000].map(millis_in_words), ["1 minute 30 seconds", "2 hours", "5 ms", "1 hour 1 minute"]);
    }
}
