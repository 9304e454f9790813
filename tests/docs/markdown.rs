//! As much of Markdown as the pages use.

/// A fenced block.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Block {
    /// The words behind the fence: `json`, `console`, …
    pub(super) info: String,
    pub(super) text: String,
    /// Of the fence, from 1.
    pub(super) line: usize,
}

/// The fenced blocks of a page, and the page without them.
pub(super) fn split(page: &str) -> (Vec<Block>, String) {
    let mut blocks: Vec<Block> = Vec::new();
    let mut prose = String::new();
    let mut open = false;
    for (number, line) in page.lines().enumerate() {
        match (line.strip_prefix("```"), open) {
            (Some(info), false) => {
                let info = info.trim().to_owned();
                blocks.push(Block { info, text: String::new(), line: number + 1 });
                open = true;
            }
            (Some(_), true) => open = false,
            (None, true) => {
                if let Some(block) = blocks.last_mut() {
                    block.text.push_str(line);
                    block.text.push('\n');
                }
            }
            (None, false) => {
                prose.push_str(line);
                prose.push('\n');
            }
        }
    }
    assert!(!open, "a block is not closed:\n{page}");
    (blocks, prose)
}

/// The targets of `[text](target)`.
pub(super) fn links(prose: &str) -> Vec<&str> {
    prose.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(to, _)| to).collect()
}

/// The names under which headings can be linked to.
pub(super) fn anchors(prose: &str) -> Vec<String> {
    let headings = prose.lines().filter(|line| line.starts_with('#'));
    headings.map(|heading| anchor(heading.trim_start_matches('#').trim())).collect()
}

fn anchor(heading: &str) -> String {
    let kept = |c: &char| c.is_alphanumeric() || matches!(c, '-' | '_' | ' ');
    heading.to_lowercase().chars().filter(kept).map(|c| if c == ' ' { '-' } else { c }).collect()
}

/// What stands between single backticks.
pub(super) fn code(prose: &str) -> Vec<&str> {
    prose.lines().flat_map(|line| line.split('`').skip(1).step_by(2)).collect()
}

/// The rows of tables whose first heading is `heading`, as cells without the outer bars.
pub(super) fn rows<'a>(prose: &'a str, heading: &str) -> Vec<Vec<&'a str>> {
    let mut rows = Vec::new();
    let mut wanted = false;
    let mut inside = false;
    for line in prose.lines() {
        let Some(line) = line.trim().strip_prefix('|').and_then(|l| l.strip_suffix('|')) else {
            inside = false;
            continue;
        };
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        if !inside {
            wanted = cells.first() == Some(&heading);
            inside = true;
        } else if wanted && !cells.iter().all(|cell| cell.chars().all(|c| c == '-')) {
            rows.push(cells);
        }
    }
    rows
}

#[test]
fn finds_blocks_links_anchors_and_rows() {
    let page = "# A `b` c!\n[x](y.md#z) `code`\n```json error\n{}\n[no](link)\n```\n\n| h | i |\n|---|---|\n| 1 | 2 |\n\n| j |\n|---|\n| 3 |\n";
    let (blocks, prose) = split(page);
    let block = Block { info: "json error".into(), text: "{}\n[no](link)\n".into(), line: 3 };
    assert_eq!(blocks, [block]);
    assert_eq!(links(&prose), ["y.md#z"]);
    assert_eq!(anchors(&prose), ["a-b-c"]);
    assert_eq!(code(&prose), ["b", "code"]);
    assert_eq!(rows(&prose, "h"), [["1", "2"]]);
}
