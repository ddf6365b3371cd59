//! Text with `*` in it, each standing for zero or more bytes.

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
}
