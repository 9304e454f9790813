//! What would change, line by line, in the form of `diff -u`.

use std::fmt::Write as _;

/// The difference between two texts, empty if there is none. `before` and `after` name them.
pub fn diff(before: (&str, &str), after: (&str, &str)) -> String {
    let old: Vec<&str> = before.1.split_inclusive('\n').collect();
    let new: Vec<&str> = after.1.split_inclusive('\n').collect();
    if old == new {
        return String::new();
    }
    let lines = edits(&old, &new);
    let mut text = format!("--- {}\n+++ {}\n", before.0, after.0);
    let changed: Vec<usize> = (0..lines.len()).filter(|at| lines[*at].0 != Edit::Same).collect();
    let mut rest = changed.as_slice();
    while let Some(&first) = rest.first() {
        // What is close belongs together.
        let mut last = first;
        while let Some((&next, more)) = rest.split_first() {
            if next > last + 2 * CONTEXT {
                break;
            }
            (last, rest) = (next, more);
        }
        let (start, end) = (first.saturating_sub(CONTEXT), (last + CONTEXT + 1).min(lines.len()));
        hunk(&mut text, &lines, start, end);
    }
    text
}

fn hunk(text: &mut String, lines: &[(Edit, &str)], start: usize, end: usize) {
    let count = |lines: &[(Edit, &str)], without: Edit| {
        lines.iter().filter(|(edit, _)| *edit != without).count()
    };
    let range = |without| {
        let (before, length) =
            (count(&lines[..start], without), count(&lines[start..end], without));
        // An empty range stands behind the line that it names.
        format!("{},{length}", before + usize::from(length > 0))
    };
    let _ = writeln!(text, "@@ -{} +{} @@", range(Edit::Added), range(Edit::Removed));
    for (edit, line) in &lines[start..end] {
        text.push(match edit {
            Edit::Added => '+',
            Edit::Removed => '-',
            Edit::Same => ' ',
        });
        text.push_str(line);
        if !line.ends_with('\n') {
            text.push_str("\n\\ No newline at end of file\n");
        }
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Edit {
    Added,
    Removed,
    Same,
}

/// The lines of both texts in order, with as few changes as possible.
fn edits<'a>(old: &[&'a str], new: &[&'a str]) -> Vec<(Edit, &'a str)> {
    let head = old.iter().zip(new).take_while(|(a, b)| a == b).count();
    let (old, new, common) = (&old[head..], &new[head..], &old[..head]);
    let tail = old.iter().rev().zip(new.iter().rev()).take_while(|(a, b)| a == b).count();
    let (old, end) = old.split_at(old.len() - tail);
    let new = &new[..new.len() - tail];
    let same = |lines: &[&'a str]| lines.iter().map(|l| (Edit::Same, *l)).collect::<Vec<_>>();
    let mut lines = same(common);
    if old.len().saturating_mul(new.len()) > MAX_COMPARED {
        lines.extend(old.iter().map(|line| (Edit::Removed, *line)));
        lines.extend(new.iter().map(|line| (Edit::Added, *line)));
    } else {
        lines.extend(shortest(old, new));
    }
    lines.extend(same(end));
    lines
}

/// By the lengths of longest common subsequences, from every pair of places on.
fn shortest<'a>(old: &[&'a str], new: &[&'a str]) -> Vec<(Edit, &'a str)> {
    let width = new.len() + 1;
    let mut lengths = vec![0_u32; (old.len() + 1) * width];
    for i in (0..old.len()).rev() {
        for j in (0..new.len()).rev() {
            let at = i * width + j;
            lengths[at] = if old[i] == new[j] {
                lengths[at + width + 1] + 1
            } else {
                lengths[at + width].max(lengths[at + 1])
            };
        }
    }
    let (mut i, mut j, mut lines) = (0, 0, Vec::new());
    while i < old.len() || j < new.len() {
        let at = i * width + j;
        if i < old.len() && j < new.len() && old[i] == new[j] {
            lines.push((Edit::Same, old[i]));
            (i, j) = (i + 1, j + 1);
        } else if j == new.len() || i < old.len() && lengths[at + width] >= lengths[at + 1] {
            lines.push((Edit::Removed, old[i]));
            i += 1;
        } else {
            lines.push((Edit::Added, new[j]));
            j += 1;
        }
    }
    lines
}

/// Lines that are shown around a change, as `diff -u` has them.
const CONTEXT: usize = 3;

/// Most pairs of lines that are compared: two thousand changed lines on either side, in 16 MiB. What differs more
/// is shown as removed and added.
const MAX_COMPARED: usize = 4_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_texts_have_none() {
        assert_eq!(diff(("a", "x\n"), ("b", "x\n")), "");
    }

    #[test]
    fn change_is_shown_with_what_is_around_it() {
        let old: String = (1..=9).map(|n| format!("{n}\n")).collect();
        let new = old.replace("5\n", "five\n");
        let expected = "--- a\n+++ b\n@@ -2,7 +2,7 @@\n 2\n 3\n 4\n-5\n+five\n 6\n 7\n 8\n";
        assert_eq!(diff(("a", &old), ("b", &new)), expected);
    }

    #[test]
    fn changes_far_apart_are_two_hunks() {
        let old: String = (1..=20).map(|n| format!("{n}\n")).collect();
        let new = old.replace("\n2\n", "\nx\n").replace("\n19\n", "\n");
        assert_eq!(diff(("a", &old), ("b", &new)).matches("@@ -").count(), 2);
    }

    #[test]
    fn file_that_is_not_there_is_empty() {
        let text = diff(("/dev/null", ""), ("b", "x"));
        assert_eq!(
            text,
            "--- /dev/null\n+++ b\n@@ -0,0 +1,1 @@\n+x\n\\ No newline at end of file\n"
        );
    }
}
