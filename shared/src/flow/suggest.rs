//! "Did you mean": the known name nearest to a mistyped one.

/// Longer names are not compared: nobody mistypes them, and the distance costs the product of the lengths.
const NAME_LEN_MAX: usize = 64;

/// The nearest of `known`, if it is near enough to be what was meant (a third of the letters may differ, case never counts).
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if name.is_empty() || name.len() > NAME_LEN_MAX {
        return None;
    }
    let wanted: Vec<char> = name.to_lowercase().chars().collect();
    let allowed = (wanted.len() / 3).max(1);
    known
        .into_iter()
        .filter(|candidate| candidate.len() <= NAME_LEN_MAX)
        .map(|candidate| (distance(&wanted, &candidate.to_lowercase().chars().collect::<Vec<_>>()), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min()
        .map(|(_, candidate)| candidate)
}

/// "did you mean `x`?" for the nearest of `known`, else the list of what is known where it is short.
pub fn hint<'a>(name: &str, known: impl IntoIterator<Item = &'a str> + Clone) -> Option<String> {
    if let Some(near) = nearest(name, known.clone()) {
        return Some(format!("did you mean `{near}`?"));
    }
    let all: Vec<&str> = known.into_iter().take(13).collect();
    match all.len() {
        0 | 13 => None,
        _ => Some(format!("known here: {}", all.join(", "))),
    }
}

/// Edits (insert, delete, replace, swap of neighbours) between two words.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, to) in b.iter().enumerate() {
            let mut best = (last[j] + usize::from(from != to)).min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && a[i - 1] == *to && *from == b[j - 1] {
                best = best.min(before[j - 1] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_finds_its_word() {
        for (typed, meant) in [
            ("swtich", Some("switch")),
            ("Switch", Some("switch")),
            ("lisen", Some("listen")),
            ("timout", Some("timeout")),
            ("xyz", None),
            ("", None),
        ] {
            assert_eq!(nearest(typed, ["switch", "listen", "timeout", "set"]), meant, "{typed}");
        }
        assert_eq!(nearest(&"x".repeat(10_000), ["x"]), None);
    }

    #[test]
    fn without_a_near_word_a_short_list_helps() {
        assert_eq!(hint("zzz", ["do", "set"]).as_deref(), Some("known here: do, set"));
        assert_eq!(hint("zzz", []), None);
    }
}
