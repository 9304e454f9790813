//! Whose key it is.

use std::fmt;
use std::str::FromStr;

/// The user ID of a key: `NAME (COMMENT) <EMAIL>`, of which name or address may be absent.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct UserId(String);

impl UserId {
    /// Put together as gpg does of `Name-Real`, `Name-Comment` and `Name-Email`; empty ones are left out.
    ///
    /// # Errors
    ///
    /// There is neither name nor address, or one of them cannot be part of a user ID.
    pub fn new(name: &str, comment: &str, email: &str) -> Result<Self, InvalidUser> {
        if name.is_empty() && email.is_empty() {
            return Err(InvalidUser("a name or an e-mail address"));
        }
        if [name, comment, email].iter().any(|text| text.chars().any(char::is_control)) {
            return Err(InvalidUser("no control characters"));
        }
        if name.contains(['<', '>']) || comment.contains(['<', '>', '(', ')']) {
            return Err(InvalidUser(
                "no angle brackets in the name, and no brackets in the comment",
            ));
        }
        if !email.is_empty() && !is_address(email) {
            return Err(InvalidUser("an e-mail address as LOCAL@DOMAIN"));
        }
        let mut parts = Vec::new();
        if !name.is_empty() {
            parts.push(name.to_owned());
        }
        if !comment.is_empty() {
            parts.push(format!("({comment})"));
        }
        match (parts.is_empty(), email.is_empty()) {
            (_, true) => {}
            (true, false) => parts.push(email.to_owned()),
            (false, false) => parts.push(format!("<{email}>")),
        }
        let text = parts.join(" ");
        if text.len() > MAX_USER_ID_BYTES {
            return Err(InvalidUser("at most 255 bytes"));
        }
        Ok(Self(text))
    }

    /// As it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for UserId {
    type Err = InvalidUser;

    /// `NAME <EMAIL>`: the address is what people name the key by, so it has to be there.
    fn from_str(text: &str) -> Result<Self, InvalidUser> {
        let expected = InvalidUser("NAME <EMAIL>, for example \"Release <release@example.com>\"");
        // Before the ends are trimmed, which would hide a second line.
        if text.chars().any(char::is_control) {
            return Err(InvalidUser("no control characters"));
        }
        let (name, email) = text.trim().split_once('<').ok_or_else(|| expected.clone())?;
        let email = email.strip_suffix('>').ok_or_else(|| expected.clone())?;
        if email.is_empty() {
            return Err(expected);
        }
        Self::new(name.trim(), "", email)
    }
}

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What was written names nobody.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("expected {0}")]
pub struct InvalidUser(&'static str);

fn is_address(text: &str) -> bool {
    let plain = |part: &str| {
        !part.is_empty() && !part.contains(|c: char| c.is_whitespace() || "<>@()".contains(c))
    };
    text.split_once('@').is_some_and(|(local, domain)| plain(local) && plain(domain))
}

/// Longest user ID: three times the longest that people write, and a line of any list.
const MAX_USER_ID_BYTES: usize = 255;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_id_is_put_together_as_gpg_does() {
        let made = |name, comment, email| UserId::new(name, comment, email).expect("valid").0;
        assert_eq!(made("Joe X", "hi", "joe@e"), "Joe X (hi) <joe@e>");
        assert_eq!(made("Joe X", "", "joe@e"), "Joe X <joe@e>");
        assert_eq!(made("Joe X", "", ""), "Joe X");
        assert_eq!(made("", "", "joe@e"), "joe@e");
    }

    #[test]
    fn an_option_names_somebody_who_can_be_written_to() {
        let user: UserId = "Release Team <release@example.com>".parse().expect("valid");
        assert_eq!(user.as_str(), "Release Team <release@example.com>");
        for text in [
            "",
            "Release",
            "Release <>",
            "Release <a>",
            "<a@b> x",
            "A <a@b",
            "A\n <a@b>",
            "A <a b@c>",
        ] {
            text.parse::<UserId>().expect_err(text);
        }
        UserId::new(&"x".repeat(300), "", "").expect_err("too long");
    }
}
