//! Text with `*` in it, each standing for zero or more bytes.

/// Whether a key or value is a pattern.
pub(super) fn is_pattern(text: &str) -> bool {
    text.contains('*')
}

/// Whether everything that `narrow` matches is matched by `wide` as well.
pub(super) fn covers(wide: &str, narrow: &str) -> bool {
    // A star of the narrow one may become any byte, so it must fall to a star of the wide one: it is
    // replaced by a byte that stands in no text.
    const ANY: u8 = 0xff;
    let narrow: Vec<u8> = narrow.bytes().map(|byte| if byte == b'*' { ANY } else { byte }).collect();
    Pattern::new(wide).matches(&narrow)
}

/// A pattern, anchored at both ends. Text without `*` matches itself only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pattern {
    prefix: Box<[u8]>,
    /// What must follow the prefix, in order, each as early as it comes.
    middles: Box<[Box<[u8]>]>,
    /// `None` if there is no `*`: the prefix is all.
    suffix: Option<Box<[u8]>>,
}

impl Pattern {
    pub(super) fn new(text: &str) -> Self {
        let mut literals = text.split('*').map(|literal| Box::from(literal.as_bytes()));
        let prefix = literals.next().unwrap_or_default();
        let mut rest: Vec<Box<[u8]>> = literals.collect();
        let suffix = rest.pop();
        rest.retain(|literal| !literal.is_empty());
        Self { prefix, middles: rest.into(), suffix }
    }

    pub(super) fn matches(&self, text: &[u8]) -> bool {
        let Some(suffix) = &self.suffix else { return *self.prefix == *text };
        // Prefix and suffix may not share bytes, so each is taken off before the next is looked for.
        let Some(rest) = text.strip_prefix(&*self.prefix) else { return false };
        let Some(mut rest) = rest.strip_suffix(&**suffix) else { return false };
        for middle in &self.middles {
            let Some(at) = rest.windows(middle.len()).position(|window| *window == **middle) else {
                return false;
            };
            rest = &rest[at + middle.len()..];
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_zero_or_more_bytes() {
        let cases = [
            ("*", "", true),
            ("*", "anything", true),
            ("a*", "a", true),
            ("a*", "b", false),
            ("*a", "ba", true),
            ("a*a", "a", false),
            ("a*a", "aa", true),
            ("a*b*c", "a-b-c", true),
            ("a*b*c", "a-c", false),
            ("a*bc*cd", "abcd", false),
            ("a*bc*cd", "abccd", true),
            ("a**c", "ac", true),
            ("*ab*ba*", "aba", false),
            ("*ab*ba*", "abba", true),
            ("plain", "plain", true),
            ("plain", "plainer", false),
            ("ü*", "über", true),
        ];
        for (pattern, text, expected) in cases {
            assert_eq!(Pattern::new(pattern).matches(text.as_bytes()), expected, "{pattern} on {text}");
        }
        assert!(Pattern::new("a*").matches(b"a\xff\x00"));
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
