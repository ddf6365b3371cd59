//! Patterns: each `*` stands for any bytes, also none.

/// Whether a key or value is a pattern.
#[must_use]
pub fn is_pattern(text: &str) -> bool {
    text.contains('*')
}

/// Whether a text matches a pattern, from its first to its last byte.
#[must_use]
pub fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let mut parts = pattern.split(|byte| *byte == b'*');
    let first = parts.next().unwrap_or_default();
    let Some(last) = parts.next_back() else { return pattern == text };
    let Some(mut rest) = text.strip_prefix(first).and_then(|rest| rest.strip_suffix(last)) else {
        return false;
    };
    // The leftmost place leaves most for what follows, so no other needs to be tried.
    parts.all(|part| match find(rest, part) {
        Some(at) => {
            rest = &rest[at + part.len()..];
            true
        }
        None => false,
    })
}

/// Whether everything that `narrow` matches is matched by `wide` as well.
#[must_use]
pub fn covers(wide: &str, narrow: &str) -> bool {
    // A star of the narrow one may become anything, so it must fall to a star of the wide one; and it
    // does, since what stands between the stars of the wide one holds none.
    matches(wide.as_bytes(), narrow.as_bytes())
}

fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    if part.is_empty() {
        return Some(0);
    }
    text.windows(part.len()).position(|window| window == part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_bytes() {
        let check = |pattern: &str, text: &str, expected| {
            assert_eq!(matches(pattern.as_bytes(), text.as_bytes()), expected, "{pattern} {text}");
        };
        for text in ["", "a", "abc"] {
            check("*", text, true);
            check("**", text, true);
        }
        check("a*", "a", true);
        check("a*", "ba", false);
        check("*a", "ba", true);
        check("a*a", "a", false);
        check("a*b*c", "a-b-b-c", true);
        check("a*b*c", "a-c-b", false);
        check("a*bb*c", "abc", false);
        check("abc", "abc", true);
        check("abc", "abcd", false);
    }

    #[test]
    fn a_wide_pattern_covers_a_narrow_one() {
        assert!(covers("*", "a*"));
        assert!(covers("a*", "ab*"));
        assert!(covers("a*", "a*b*"));
        assert!(covers("*b*", "ab*c"));
        assert!(covers("a*", "abc"));
        assert!(!covers("ab*", "a*"));
        assert!(!covers("a*c", "a*"));
        assert!(!covers("*b*", "a*c"));
    }
}
