//! What a rule answers.

/// One answer: begin with [`Answer::allow`] or [`Answer::deny`], and add to it.
///
/// ```
/// use countersign_rule::Answer;
///
/// let answer = Answer::deny("too-old", "the signature is 91 days old, and 90 are allowed")
///     .warn("next year 60 days will be allowed")
///     .annotate("age", "91");
/// assert!(!answer.allow);
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
#[must_use]
pub struct Answer {
    /// Whether the rule has nothing against the image.
    pub allow: bool,
    /// Why the image is not allowed. None of an allow.
    pub reasons: Vec<Reason>,
    /// Shown to whoever asks, whatever the decision.
    pub warnings: Vec<String>,
    /// Written into the audit log of the cluster: name (letters, digits, `-`, `_`, `.`) and value.
    pub annotations: Vec<(String, String)>,
    /// An allow holds no longer than this (seconds since 1970-01-01 UTC).
    pub valid_until: Option<u64>,
}

/// Why an image is not allowed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Reason {
    /// Kebab-case; users see it as `NAME/CODE`. Once published it never changes its meaning.
    pub code: String,
    /// One sentence that says what is wrong, and what would be right.
    pub message: String,
}

impl Answer {
    /// The rule has nothing against the image.
    pub fn allow() -> Self {
        Self {
            allow: true,
            reasons: Vec::new(),
            warnings: Vec::new(),
            annotations: Vec::new(),
            valid_until: None,
        }
    }

    /// The image is not allowed, for one reason: its code, in kebab-case, and one sentence.
    pub fn deny(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self::deny_all([(code, message)])
    }

    /// The image is not allowed, for several reasons: codes and sentences.
    pub fn deny_all<C, M>(reasons: impl IntoIterator<Item = (C, M)>) -> Self
    where
        C: Into<String>,
        M: Into<String>,
    {
        let reasons = reasons.into_iter();
        let reasons =
            reasons.map(|(code, message)| Reason { code: code.into(), message: message.into() });
        Self { allow: false, reasons: reasons.collect(), ..Self::allow() }
    }

    /// With a warning for whoever asks, whatever the decision.
    pub fn warn(mut self, warning: impl Into<String>) -> Self {
        self.warnings.push(warning.into());
        self
    }

    /// With a note for the audit log of the cluster. The name has letters, digits, `-`, `_` and `.`.
    pub fn annotate(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.annotations.push((name.into(), value.into()));
        self
    }

    /// An allow that holds no longer than this (seconds since 1970-01-01 UTC). Said twice, the earlier counts.
    pub fn valid_until(mut self, end: u64) -> Self {
        self.valid_until = Some(self.valid_until.map_or(end, |earlier| earlier.min(end)));
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_what_was_said() {
        let answer = Answer::allow()
            .warn("w")
            .annotate("a", "b")
            .valid_until(9)
            .valid_until(7)
            .valid_until(8);
        assert!(answer.allow && answer.reasons.is_empty());
        assert_eq!((answer.warnings, answer.valid_until), (vec!["w".to_owned()], Some(7)));
        assert_eq!(answer.annotations, [("a".to_owned(), "b".to_owned())]);
    }

    #[test]
    fn a_denial_without_reasons_is_no_allow() {
        assert!(!Answer::deny_all(Vec::<(String, String)>::new()).allow);
    }
}
