//! The fenced blocks of a page.

/// A fenced block.
#[derive(Debug)]
pub(super) struct Block<'a> {
    /// What stands behind the opening fence: `yaml`, `text`.
    pub(super) language: &'a str,
    pub(super) text: String,
    /// The line of the page in which its text begins.
    pub(super) line: usize,
}

impl Block<'_> {
    /// Whether it is a whole rule file.
    pub(super) fn is_rule_file(&self) -> bool {
        let mut lines = self.text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
        self.language == "yaml" && lines.next().is_some_and(|line| line.starts_with("domain:"))
    }

    /// What a comment `# label: …` at the start of one of its lines says.
    pub(super) fn comments(&self, label: &str) -> Vec<&str> {
        let head = format!("# {label}: ");
        self.text.lines().filter_map(|line| line.strip_prefix(&*head)).collect()
    }
}

/// Every block, in order. Fences inside a list are indented; so is their text, which loses it.
pub(super) fn blocks(page: &str) -> Vec<Block<'_>> {
    let mut blocks = Vec::new();
    let mut open: Option<(usize, Block<'_>)> = None;
    for (number, line) in page.lines().enumerate() {
        let trimmed = line.trim_start();
        match (trimmed.strip_prefix("```"), open.take()) {
            (Some(_), Some((_, block))) => blocks.push(block),
            (Some(language), None) => {
                let block = Block { language, text: String::new(), line: number + 2 };
                open = Some((line.len() - trimmed.len(), block));
            }
            (None, Some((indent, mut block))) => {
                block.text.push_str(line.get(indent..).unwrap_or_default());
                block.text.push('\n');
                open = Some((indent, block));
            }
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "a block is not closed");
    blocks
}
