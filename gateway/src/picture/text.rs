//! How wide text is at most, and where it breaks: boxes are made to fit before any font is known.

/// Width of a character in units of the font's size: an upper bound over the common sans-serif fonts (DejaVu is the widest).
fn width_of(letter: char) -> f64 {
    match letter {
        'i' | 'j' | 'l' | '\'' | '.' | ',' | ':' | ';' | '|' | '!' => 0.36,
        'f' | 't' | 'r' | 'I' | '(' | ')' | '[' | ']' | ' ' | '/' | '‹' | '›' => 0.44,
        'm' | 'w' | 'M' | 'W' | '@' | '%' | '…' | '–' => 1.02,
        'a'..='z' | '0'..='9' | '-' | '"' | '“' | '”' | '?' | '*' => 0.66,
        'A'..='Z' | '&' => 0.80,
        letter if (letter as u32) < 0x250 => 0.80,
        // Anything else: as wide as it is high.
        _ => 1.05,
    }
}

/// Width in pixels at a font size. Bold is a tenth wider.
pub fn width(text: &str, size: f64, bold: bool) -> f64 {
    text.chars().map(width_of).sum::<f64>() * size * if bold { 1.1 } else { 1.0 }
}

/// Lines none of which is wider than `room` pixels; at most `lines_max`, the last then ends in `…`. Words that are too long are broken.
pub fn wrapped(text: &str, size: f64, bold: bool, room: f64, lines_max: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut line = String::new();
    for word in text.split_whitespace() {
        for part in broken(word, size, bold, room) {
            let joined = if line.is_empty() { part.clone() } else { format!("{line} {part}") };
            if width(&joined, size, bold) <= room {
                line = joined;
            } else {
                if !line.is_empty() {
                    lines.push(std::mem::take(&mut line));
                }
                line = part;
            }
        }
    }
    if !line.is_empty() {
        lines.push(line);
    }
    if lines.len() > lines_max {
        lines.truncate(lines_max);
        if let Some(last) = lines.last_mut() {
            while !last.is_empty() && width(&format!("{last}…"), size, bold) > room {
                last.pop();
            }
            last.push('…');
        }
    }
    lines
}

/// A word that is too long, in parts: behind a sign where there is one, else anywhere.
fn broken(word: &str, size: f64, bold: bool, room: f64) -> Vec<String> {
    let mut parts = Vec::new();
    let mut part = String::new();
    for letter in word.chars() {
        part.push(letter);
        if width(&part, size, bold) > room && part.chars().count() > 1 {
            let sign = part.char_indices().rev().skip(1).find(|(_, letter)| matches!(letter, '/' | '-' | '.' | '_' | ':'));
            let at = sign.map_or(part.len() - letter.len_utf8(), |(at, sign)| at + sign.len_utf8());
            let rest = part.split_off(at);
            parts.push(std::mem::replace(&mut part, rest));
        }
    }
    parts.push(part);
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_line_is_wider_than_its_room_and_no_word_is_lost() {
        let long = "W".repeat(200);
        for text in
            ["", "one", "a few words that do not fit into one line", &long, "mixed WWWWWWWWWWWWWWWWWWWWWWWWWWWWWW end", "日本語のテキスト"]
        {
            for room in [40.0, 100.0, 300.0] {
                let lines = wrapped(text, 13.0, true, room, 1_000);
                assert!(lines.iter().all(|line| width(line, 13.0, true) <= room), "{lines:?}");
                assert_eq!(lines.concat().replace(' ', ""), text.replace(' ', ""));
                let cut = wrapped(text, 13.0, true, room, 2);
                assert!(cut.len() <= 2 && cut.iter().all(|line| width(line, 13.0, true) <= room), "{cut:?}");
            }
        }
    }
}
