//! Which known name somebody meant.

/// The candidate nearest to `name`, if one is near enough to be what was meant.
///
/// Upper and lower case, and `-` for `_`, count as no mistake.
#[must_use]
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // A name of thousands of characters is no typing error, and distance is quadratic.
    const MAX_CHARACTERS: usize = 64;
    let name: Vec<char> = folded(name).take(MAX_CHARACTERS + 1).collect();
    if name.len() > MAX_CHARACTERS {
        return None;
    }
    let distances = candidates.into_iter().map(|candidate| {
        let letters: Vec<char> = folded(candidate).take(MAX_CHARACTERS).collect();
        (distance(&name, &letters), name.len().max(letters.len()), candidate)
    });
    distances
        .filter(|(distance, length, _)| *distance <= (length / 3).max(1) && distance < length)
        .min_by_key(|(distance, ..)| *distance)
        .map(|(.., candidate)| candidate)
}

fn folded(name: &str) -> impl Iterator<Item = char> {
    name.chars().map(|letter| if letter == '-' { '_' } else { letter.to_ascii_lowercase() })
}

/// Insertions, deletions, replacements and swaps of neighbours that turn one word into the other.
fn distance(from: &[char], to: &[char]) -> usize {
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=to.len()).collect();
    for (row, letter) in from.iter().enumerate() {
        let mut current = vec![row + 1];
        for (column, other) in to.iter().enumerate() {
            let replaced = last[column] + usize::from(letter != other);
            let mut best = replaced.min(last[column + 1] + 1).min(current[column] + 1);
            if row > 0 && column > 0 && from[row - 1] == *other && to[column - 1] == *letter {
                best = best.min(before_last[column - 1] + 1);
            }
            current.push(best);
        }
        before_last = std::mem::replace(&mut last, current);
    }
    last[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_found_and_a_far_one_is_not_offered() {
        let names = ["unit", "requests_per_unit", "unlimited", "burst"];
        let nearest = |name| nearest(name, names);
        assert_eq!(nearest("requests_per_units"), Some("requests_per_unit"));
        assert_eq!(nearest("Requests-Per-Unit"), Some("requests_per_unit"));
        assert_eq!(nearest("uint"), Some("unit"));
        assert_eq!(nearest("brust"), Some("burst"));
        assert_eq!(nearest("colour"), None);
        assert_eq!(nearest(&"x".repeat(100_000)), None);
    }
}
