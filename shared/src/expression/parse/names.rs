//! What to say about a function that we do not run.

/// Functions of jq that are left out on purpose, with the reason.
const REFUSED: &[(&str, &str)] = &[
    ("input", "an expression has one input"),
    ("inputs", "an expression has one input"),
    ("input_filename", "an expression has one input"),
    ("input_line_number", "an expression has one input"),
    ("env", "the result may not depend on the machine it runs on"),
    ("now", "the result may not depend on the clock; take a time from `$workflow` or from an event"),
    ("halt", "it would end the process"),
    ("halt_error", "it would end the process"),
    ("debug", "an expression has no side effects"),
    ("stderr", "an expression has no side effects"),
    ("localtime", "the result may not depend on a time zone; use `gmtime`"),
    ("strflocaltime", "the result may not depend on a time zone; use `strftime`"),
    ("mktimelocal", "the result may not depend on a time zone; use `mktime`"),
    ("repeat", "it never ends; use `while`, `until` or `limit`"),
    ("combinations", "its output grows without bound"),
    ("infinite", "numbers are finite"),
    ("nan", "numbers are finite"),
    ("isinfinite", "numbers are finite"),
    ("isnan", "numbers are finite"),
    ("isnormal", "numbers are finite"),
    ("sin", "trigonometry differs between machines"),
    ("cos", "trigonometry differs between machines"),
    ("tan", "trigonometry differs between machines"),
    ("exp", "it differs between machines"),
    ("exp2", "it differs between machines"),
    ("exp10", "it differs between machines"),
    ("log", "it differs between machines"),
    ("log2", "it differs between machines"),
    ("log10", "it differs between machines"),
    ("getpath_or_null", "use `getpath`"),
    ("import", "an expression stands alone"),
    ("include", "an expression stands alone"),
    ("modulemeta", "an expression stands alone"),
    ("get_search_list", "an expression stands alone"),
    ("builtins", "the list of functions is not part of the language here"),
    ("rand", "the result must be the same on every replica"),
    ("random", "the result must be the same on every replica"),
    ("uuid", "the result must be the same on every replica"),
];

/// `known` are the functions in sight, each with how many arguments it takes.
pub(super) fn unknown_function(name: &str, arity: usize, known: &[(&str, usize)]) -> String {
    if let Some((_, reason)) = REFUSED.iter().find(|(refused, _)| *refused == name) {
        return format!("`{name}` is not allowed: {reason}");
    }
    let mut arities = Vec::new();
    let mut nearest: Option<(usize, &str)> = None;
    for &(other, takes) in known {
        if other == name {
            arities.push(takes);
        }
        let away = distance(name, other);
        let better = nearest.is_none_or(|(best, text)| (away, other) < (best, text));
        // Names that share less than half of their letters are no help.
        if better && away <= 1 + name.chars().count() / 4 {
            nearest = Some((away, other));
        }
    }
    if !arities.is_empty() {
        arities.sort_unstable();
        arities.dedup();
        let takes: Vec<String> = arities.iter().map(usize::to_string).collect();
        return format!("`{name}` takes {} arguments, not {arity}", takes.join(" or "));
    }
    match nearest {
        Some((_, other)) => format!("unknown function `{name}`; did you mean `{other}`?"),
        None => format!("unknown function `{name}`"),
    }
}

pub(super) fn unknown_format(name: &str) -> String {
    let known = super::super::builtins::format::NAMES;
    match known.iter().map(|(other, _)| (distance(name, other), *other)).min() {
        Some((away, other)) if away <= 2 => format!("unknown format `@{name}`; did you mean `@{other}`?"),
        _ => format!("unknown format `@{name}`"),
    }
}

/// Edits between two names; names are short, since the source is.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (line, from) in left.chars().enumerate() {
        let mut corner = line;
        let mut previous = line + 1;
        if let Some(first) = row.first_mut() {
            *first = previous;
        }
        for (cell, to) in row.iter_mut().skip(1).zip(&right) {
            let change = corner + usize::from(from != *to);
            corner = *cell;
            previous = change.min(corner + 1).min(previous + 1);
            *cell = previous;
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        assert_eq!(distance("lenght", "length"), 2);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("keys", "keys"), 0);
        assert_eq!(distance("kes", "keys"), 1);
    }
}
