//! Names of rules.

use std::fmt;
use std::str::FromStr;

/// The name of a rule, in kebab-case: words of lower-case letters and digits, each beginning with a letter or
/// digit, the first with a letter, with `-` between them.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RuleName(String);

impl RuleName {
    /// As it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for RuleName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let word = |word: &str| {
            !word.is_empty()
                && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
        };
        let good = text.len() <= MAX_NAME_LENGTH
            && text.starts_with(|first: char| first.is_ascii_lowercase())
            && text.split('-').all(word);
        if good { Ok(Self(text.to_owned())) } else { Err(NameError(text.to_owned())) }
    }
}

impl fmt::Display for RuleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// This is no name of a rule.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "invalid rule name {0:?}: expected up to {MAX_NAME_LENGTH} lower-case letters and digits, with `-` between words: max-age"
)]
pub struct NameError(String);

/// A label of DNS is as long, and names become parts of reason codes, file names and repositories.
const MAX_NAME_LENGTH: usize = 63;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_kebab_case() {
        for good in ["a", "max-age", "k8s", "deny-2-of-3", &"a".repeat(63)] {
            assert!(good.parse::<RuleName>().is_ok(), "{good}");
        }
        for bad in [
            "",
            "-a",
            "a-",
            "a--b",
            "Max",
            "max_age",
            "2fa",
            "a b",
            "a/b",
            "..",
            "ä",
            &"a".repeat(64),
        ] {
            assert!(bad.parse::<RuleName>().is_err(), "{bad}");
        }
    }
}
