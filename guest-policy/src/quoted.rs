//! Texts of others in messages.

/// A text in quotation marks, as Go's `%q` shows it: what does not print is escaped, so that messages are the
/// reference implementation's and no text of an attacker's reaches a terminal as it is. Of a text longer than
/// any honest one, the beginning.
pub(crate) fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars().take(MAX_SHOWN) {
        let escaped = character.escape_debug().to_string();
        let code = u32::from(character);
        match character {
            '\'' => quoted.push('\''),
            '\x07' => quoted.push_str("\\a"),
            '\x08' => quoted.push_str("\\b"),
            '\x0b' => quoted.push_str("\\v"),
            '\x0c' => quoted.push_str("\\f"),
            '\n' | '\r' | '\t' => quoted.push_str(&escaped),
            '\0'..' ' | '\x7f' => quoted.push_str(&format!("\\x{code:02x}")),
            _ if !escaped.starts_with("\\u") => quoted.push_str(&escaped),
            _ if code <= 0xffff => quoted.push_str(&format!("\\u{code:04x}")),
            _ => quoted.push_str(&format!("\\U{code:08x}")),
        }
    }
    quoted.push('"');
    quoted
}

/// In characters: twice as many as the longest reference (a name of 255, a tag of 128, a digest) has.
const MAX_SHOWN: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_as_go_does() {
        for (text, shown) in [
            ("example.com/a:1", r#""example.com/a:1""#),
            ("it's", r#""it's""#),
            ("\"\\", r#""\"\\""#),
            ("\0\x07\x08\t\n\x0b\x0c\r\x1b\x7f", r#""\x00\a\b\t\n\v\f\r\x1b\x7f""#),
            ("é\u{85}\u{202e}\u{feff}", r#""é\u0085\u202e\ufeff""#),
            ("\u{e0001}😀", r#""\U000e0001😀""#),
        ] {
            assert_eq!(quoted(text), shown);
        }
    }
}
