//! A strict reader of JSON (RFC 8259) that remembers where each value stands and keeps repeated keys, so that
//! every mistake in a document can be pointed at.
//!
//! Stricter than Go's, which the reference implementation uses: invalid UTF-8 and lone surrogates are refused
//! rather than replaced.

use std::fmt;

/// A value and the offset of its first byte.
#[derive(Debug)]
pub(super) struct Value {
    pub(super) at: usize,
    pub(super) kind: Kind,
}

#[derive(Debug)]
pub(super) enum Kind {
    Array(Vec<Value>),
    Bool(bool),
    Null,
    /// As it is written.
    Number(String),
    Object(Vec<Member>),
    String(String),
}

/// A member of an object, and the offset of its key.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) at: usize,
    pub(super) key: String,
    pub(super) value: Value,
}

impl Value {
    /// The value as JSON without insignificant space: numbers as they were written, members in their order.
    pub(super) fn compact(&self) -> String {
        let mut text = String::new();
        self.write(&mut text);
        text
    }

    fn write(&self, to: &mut String) {
        let join = |to: &mut String, count: &mut usize| {
            if *count > 0 {
                to.push(',');
            }
            *count += 1;
        };
        let mut count = 0;
        match &self.kind {
            Kind::Array(items) => {
                to.push('[');
                for item in items {
                    join(to, &mut count);
                    item.write(to);
                }
                to.push(']');
            }
            Kind::Bool(value) => to.push_str(if *value { "true" } else { "false" }),
            Kind::Null => to.push_str("null"),
            Kind::Number(digits) => to.push_str(digits),
            Kind::Object(members) => {
                to.push('{');
                for member in members {
                    join(to, &mut count);
                    to.push_str(&serde_json::Value::from(member.key.as_str()).to_string());
                    to.push(':');
                    member.value.write(to);
                }
                to.push('}');
            }
            Kind::String(string) => {
                to.push_str(&serde_json::Value::from(string.as_str()).to_string());
            }
        }
    }
}

/// With its article, as messages tell what was found.
impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Array(_) => "an array",
            Self::Bool(_) => "a boolean",
            Self::Null => "null",
            Self::Number(_) => "a number",
            Self::Object(_) => "an object",
            Self::String(_) => "a string",
        })
    }
}

/// A text is not JSON.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct SyntaxError {
    /// Offset of the byte that cannot stand there.
    pub(super) at: usize,
    pub(super) fault: Fault,
}

/// What is wrong with a text.
#[derive(Debug, Eq, PartialEq, thiserror::Error)]
pub(super) enum Fault {
    #[error("a string contains the control character {0:#04x}: write it as an escape")]
    Control(u8),
    #[error("unexpected end of JSON input")]
    End,
    #[error("invalid escape in a string")]
    Escape,
    #[error("expected {wanted}, found {found:?}")]
    Expected { wanted: &'static str, found: char },
    #[error("values are nested more than {MAX_DEPTH} deep")]
    Nesting,
    #[error("a \\u escape is half of a surrogate pair")]
    Surrogate,
    #[error("unexpected {0:?} after the end of the document")]
    Trailing(char),
    #[error("a string is not valid UTF-8")]
    Utf8,
}

/// Read `document`, which must be exactly one value.
pub(super) fn parse(document: &[u8]) -> Result<Value, SyntaxError> {
    let text = std::str::from_utf8(document)
        .map_err(|error| SyntaxError { at: error.valid_up_to(), fault: Fault::Utf8 })?;
    let mut reader = Reader { text, at: 0 };
    reader.skip_space();
    let value = reader.value(MAX_DEPTH)?;
    reader.skip_space();
    match reader.rest().chars().next() {
        None => Ok(value),
        Some(found) => Err(reader.error(Fault::Trailing(found))),
    }
}

struct Reader<'a> {
    text: &'a str,
    /// Always at the start of a character.
    at: usize,
}

impl<'a> Reader<'a> {
    fn value(&mut self, depth: usize) -> Result<Value, SyntaxError> {
        let at = self.at;
        let kind = match self.peek() {
            Some(b'{' | b'[') if depth == 0 => return Err(self.error(Fault::Nesting)),
            Some(b'{') => Kind::Object(self.list(b'}', |reader| reader.member(depth - 1))?),
            Some(b'[') => Kind::Array(self.list(b']', |reader| reader.value(depth - 1))?),
            Some(b'"') => Kind::String(self.string()?),
            Some(b'-' | b'0'..=b'9') => self.number()?,
            Some(b't') => self.literal("true", Kind::Bool(true))?,
            Some(b'f') => self.literal("false", Kind::Bool(false))?,
            Some(b'n') => self.literal("null", Kind::Null)?,
            _ => return Err(self.expected("a value")),
        };
        Ok(Value { at, kind })
    }

    fn member(&mut self, depth: usize) -> Result<Member, SyntaxError> {
        let at = self.at;
        if self.peek() != Some(b'"') {
            return Err(self.expected("a key in double quotes"));
        }
        let key = self.string()?;
        self.skip_space();
        self.token(b':', "a colon after the key")?;
        self.skip_space();
        Ok(Member { at, key, value: self.value(depth)? })
    }

    /// The items between an opening character, which is next, and `close`.
    fn list<T>(
        &mut self,
        close: u8,
        mut item: impl FnMut(&mut Self) -> Result<T, SyntaxError>,
    ) -> Result<Vec<T>, SyntaxError> {
        let mut items = Vec::new();
        self.at += 1;
        self.skip_space();
        if self.peek() == Some(close) {
            self.at += 1;
            return Ok(items);
        }
        loop {
            items.push(item(self)?);
            self.skip_space();
            if self.peek() == Some(close) {
                self.at += 1;
                return Ok(items);
            }
            let wanted = if close == b']' { "a comma or `]`" } else { "a comma or `}`" };
            self.token(b',', wanted)?;
            self.skip_space();
        }
    }

    fn string(&mut self) -> Result<String, SyntaxError> {
        self.at += 1;
        let mut string = String::new();
        loop {
            let rest = self.rest();
            let plain = rest
                .bytes()
                .position(|b| b == b'"' || b == b'\\' || b < b' ')
                .ok_or(SyntaxError { at: self.text.len(), fault: Fault::End })?;
            string.push_str(&rest[..plain]);
            self.at += plain;
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(string);
                }
                Some(b'\\') => string.push(self.escape()?),
                Some(control) => return Err(self.error(Fault::Control(control))),
                None => return Err(self.error(Fault::End)),
            }
        }
    }

    fn escape(&mut self) -> Result<char, SyntaxError> {
        let start = self.at;
        let error = |fault| SyntaxError { at: start, fault };
        self.at += 1;
        let escaped = self.peek().ok_or(error(Fault::End))?;
        let plain = match escaped {
            b'"' | b'\\' | b'/' => escaped as char,
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                self.at += 1;
                let first = self.hex4().ok_or(error(Fault::Escape))?;
                let mut units = vec![first];
                if (0xd800..0xdc00).contains(&first) {
                    if !self.rest().starts_with("\\u") {
                        return Err(error(Fault::Surrogate));
                    }
                    self.at += 2;
                    units.push(self.hex4().ok_or(error(Fault::Escape))?);
                }
                let mut decoded = char::decode_utf16(units);
                return match (decoded.next(), decoded.next()) {
                    (Some(Ok(character)), None) => Ok(character),
                    _ => Err(error(Fault::Surrogate)),
                };
            }
            _ => return Err(error(Fault::Escape)),
        };
        self.at += 1;
        Ok(plain)
    }

    fn hex4(&mut self) -> Option<u16> {
        let digits = self.rest().get(..4)?;
        if !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return None;
        }
        self.at += 4;
        u16::from_str_radix(digits, 16).ok()
    }

    fn number(&mut self) -> Result<Kind, SyntaxError> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(Kind::Number(self.text[start..self.at].to_owned()))
    }

    fn digits(&mut self) -> Result<(), SyntaxError> {
        let count = self.rest().bytes().take_while(u8::is_ascii_digit).count();
        if count == 0 {
            return Err(self.expected("a digit"));
        }
        self.at += count;
        Ok(())
    }

    fn literal(&mut self, word: &str, kind: Kind) -> Result<Kind, SyntaxError> {
        if !self.rest().starts_with(word) {
            return Err(self.expected("a value"));
        }
        self.at += word.len();
        Ok(kind)
    }

    fn token(&mut self, token: u8, wanted: &'static str) -> Result<(), SyntaxError> {
        if self.peek() != Some(token) {
            return Err(self.expected(wanted));
        }
        self.at += 1;
        Ok(())
    }

    fn skip_space(&mut self) {
        let space = |b: &u8| matches!(b, b' ' | b'\t' | b'\n' | b'\r');
        self.at += self.rest().bytes().take_while(space).count();
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn expected(&self, wanted: &'static str) -> SyntaxError {
        self.error(match self.rest().chars().next() {
            Some(found) => Fault::Expected { wanted, found },
            None => Fault::End,
        })
    }

    fn error(&self, fault: Fault) -> SyntaxError {
        SyntaxError { at: self.at, fault }
    }
}

/// Deepest nesting of arrays and objects. A policy needs seven, one with requirements in others fifteen, and the
/// settings of a rule as many again; the reader recurses, and the sandbox's stack is small.
const MAX_DEPTH: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(text: &str) -> (usize, Fault) {
        let error = parse(text.as_bytes()).expect_err(text);
        (error.at, error.fault)
    }

    #[test]
    fn keeps_places_and_repeated_keys() {
        let value = parse(br#" {"a": 1, "\u0061" : [null]}"#).expect("JSON");
        let Kind::Object(members) = value.kind else { unreachable!("an object") };
        let places: Vec<_> = members.iter().map(|m| (m.at, m.key.as_str(), m.value.at)).collect();
        assert_eq!(places, [(2, "a", 7), (10, "a", 21)]);
    }

    #[test]
    fn decodes_escapes() {
        let value = parse(r#""\"\\\/\b\f\n\r\té\ud83d\ude00 é""#.as_bytes()).expect("JSON");
        assert!(matches!(value.kind, Kind::String(s) if s == "\"\\/\u{8}\u{c}\n\r\té😀 é"));
    }

    #[test]
    fn compact_form_says_the_same() {
        let text =
            r#" { "b" : [1.50, -0, 1E+9, true , false, null], "a\n\u00e9" : { } , "c": "\"/" } "#;
        let value = parse(text.as_bytes()).expect("JSON");
        let compact = r#"{"b":[1.50,-0,1E+9,true,false,null],"a\né":{},"c":"\"/"}"#;
        assert_eq!(value.compact(), compact);
        assert_eq!(parse(compact.as_bytes()).expect("JSON").compact(), compact);
    }

    #[test]
    fn accepts_every_form_of_number_and_no_other() {
        for number in ["0", "-0", "10", "1.5", "1e9", "1E-9", "-1.5e+9"] {
            assert!(parse(number.as_bytes()).is_ok(), "{number}");
        }
        for number in ["01", "+1", "1.", ".5", "1e", "-", "0x1", "NaN", "Infinity"] {
            assert!(parse(number.as_bytes()).is_err(), "{number}");
        }
    }

    #[test]
    fn points_at_what_is_wrong() {
        assert_eq!(fault(""), (0, Fault::End));
        assert_eq!(fault("{\"a\":1,}").0, 7);
        assert_eq!(fault("[1] x"), (4, Fault::Trailing('x')));
        assert_eq!(fault("\"a\tb\""), (2, Fault::Control(b'\t')));
        assert_eq!(fault("\"a"), (2, Fault::End));
        assert_eq!(fault(r#""\x""#), (1, Fault::Escape));
        assert_eq!(fault("\u{feff}{}").0, 0);
        assert_eq!(fault("{'a':1}").0, 1);
        assert_eq!(parse(b"\"\xff\"").expect_err("no UTF-8").fault, Fault::Utf8);
    }

    #[test]
    fn refuses_lone_surrogates() {
        for text in [r#""\ud800""#, r#""\udc00""#, r#""\ud800A""#, r#""\ud800\ud800""#] {
            assert_eq!(fault(text), (1, Fault::Surrogate), "{text}");
        }
        assert_eq!(fault(r#""\ud800\u00""#).1, Fault::Escape);
        assert_eq!(fault(r#""\u12é""#).1, Fault::Escape);
    }

    #[test]
    fn refuses_deep_nesting_without_recursing() {
        let nested = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
        assert!(parse(nested(MAX_DEPTH).as_bytes()).is_ok());
        assert_eq!(fault(&nested(MAX_DEPTH + 1)), (MAX_DEPTH, Fault::Nesting));
        assert_eq!(fault(&"[".repeat(1_000_000)), (MAX_DEPTH, Fault::Nesting));
    }
}
