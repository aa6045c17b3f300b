//! Which of two versions is the newer: semantic versioning's precedence, total on any text.

use std::cmp::Ordering;

/// Order of semantic versions: numbers by value; a pre-release before its release.
pub fn order(left: &str, right: &str) -> Ordering {
    fn parts(version: &str) -> (Vec<u64>, &str) {
        let version = version.split('+').next().unwrap_or_default();
        let (core, pre) = version.split_once('-').unwrap_or((version, ""));
        (core.split('.').map(|part| part.parse().unwrap_or(0)).collect(), pre)
    }
    let ((left_core, left_pre), (right_core, right_pre)) = (parts(left), parts(right));
    left_core.cmp(&right_core).then_with(|| match (left_pre.is_empty(), right_pre.is_empty()) {
        (true, false) => Ordering::Greater,
        (false, true) => Ordering::Less,
        _ => pre_release_order(left_pre, right_pre),
    })
}

fn pre_release_order(left: &str, right: &str) -> Ordering {
    let one = |left: &str, right: &str| match (left.parse::<u64>(), right.parse::<u64>()) {
        (Ok(left), Ok(right)) => left.cmp(&right),
        (Ok(_), Err(_)) => Ordering::Less,
        (Err(_), Ok(_)) => Ordering::Greater,
        (Err(_), Err(_)) => left.cmp(right),
    };
    let (mut left, mut right) = (left.split('.'), right.split('.'));
    loop {
        match (left.next(), right.next()) {
            (None, None) => return Ordering::Equal,
            (None, Some(_)) => return Ordering::Less,
            (Some(_), None) => return Ordering::Greater,
            (Some(left), Some(right)) => match one(left, right) {
                Ordering::Equal => {}
                order => return order,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_order_by_number_and_a_pre_release_comes_before_its_release() {
        let ascending = ["1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-beta.2", "1.0.0-beta.11", "1.0.0", "1.9.0", "1.10.0"];
        for pair in ascending.windows(2) {
            assert_eq!(order(pair[0], pair[1]), Ordering::Less, "{pair:?}");
        }
        assert_eq!(order("1.0.0+a", "1.0.0+b"), Ordering::Equal);
    }
}
