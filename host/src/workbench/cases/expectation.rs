//! What should come out of a case, and what did.

use std::collections::BTreeMap;

use guest_policy::rule::Answer;
use serde::Serialize;

use crate::engine::RuleFault;

/// What should come out: the whole answer, so that nothing changes unseen.
#[derive(Clone, Debug)]
pub enum Expectation {
    /// The settings are refused: by the schema, or by what the rule says of them.
    SettingsRefused,
    /// This answer.
    Answer {
        /// Whether the image is allowed.
        allow: bool,
        /// Of the reasons, in order.
        codes: Vec<String>,
        /// Of the reasons, in order; `None` if the words do not matter.
        messages: Option<Vec<String>>,
        /// In order.
        warnings: Vec<String>,
        /// In the order of their names.
        annotations: BTreeMap<String, String>,
        /// Seconds since 1970-01-01 UTC; `None` if the end does not matter.
        valid_until: Option<Option<u64>>,
    },
    /// Nobody knows.
    Unknown,
}

/// Something that is not as expected.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Difference {
    /// Of the answer.
    pub member: &'static str,
    /// As JSON.
    pub expected: String,
    /// As JSON, or in words.
    pub found: String,
}

impl Difference {
    /// The rule was ended.
    pub(super) fn stopped(fault: &RuleFault) -> Self {
        Self {
            member: "answer",
            expected: "an answer".to_owned(),
            found: format!("{}: {fault}", fault.code()),
        }
    }
}

impl Expectation {
    pub(super) fn settings_refused(&self) -> bool {
        matches!(self, Self::SettingsRefused)
    }

    /// What is not as expected of settings against which the rule has this.
    pub(super) fn settings(&self, mistakes: &[String]) -> Vec<Difference> {
        let refused = if mistakes.is_empty() {
            "accepted".to_owned()
        } else {
            format!("refused: {}", mistakes.join("; "))
        };
        let expected = if self.settings_refused() { "refused" } else { "accepted" };
        if mistakes.is_empty() != self.settings_refused() {
            return Vec::new();
        }
        vec![Difference { member: "settings", expected: expected.to_owned(), found: refused }]
    }

    /// What of an answer is not as expected.
    pub(super) fn answer(&self, answer: &Answer) -> Vec<Difference> {
        let Self::Answer { allow, codes, messages, warnings, annotations, valid_until } = self
        else {
            return Vec::new();
        };
        let mut differences = Vec::new();
        let mut compare = |member, expected: String, found: String| {
            if expected != found {
                differences.push(Difference { member, expected, found });
            }
        };
        let found: Vec<_> = answer.reasons.iter().map(|reason| &reason.code).collect();
        compare("allow", show(allow), show(&answer.allow));
        compare("codes", show(codes), show(&found));
        if let Some(messages) = messages {
            let found: Vec<_> = answer.reasons.iter().map(|reason| &reason.message).collect();
            compare("messages", show(messages), show(&found));
        }
        compare("warnings", show(warnings), show(&answer.warnings));
        let annotations: Vec<_> = annotations.iter().collect();
        let mut found: Vec<_> =
            answer.annotations.iter().map(|(name, value)| (name, value)).collect();
        found.sort();
        compare("annotations", show(&annotations), show(&found));
        if let Some(valid_until) = valid_until {
            compare("valid_until", show(valid_until), show(&answer.valid_until));
        }
        differences
    }
}

fn show(value: &impl Serialize) -> String {
    // Texts, lists and numbers are always JSON.
    serde_json::to_string(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use guest_policy::rule::RuleReason;

    use super::*;

    fn expectation() -> Expectation {
        Expectation::Answer {
            allow: false,
            codes: vec!["a".to_owned()],
            messages: None,
            warnings: Vec::new(),
            annotations: BTreeMap::from([("k".to_owned(), "v".to_owned())]),
            valid_until: Some(None),
        }
    }

    fn answer() -> Answer {
        Answer {
            reasons: vec![RuleReason { code: "a".to_owned(), message: "m".to_owned() }],
            allow: false,
            warnings: Vec::new(),
            annotations: vec![("k".to_owned(), "v".to_owned())],
            valid_until: None,
        }
    }

    #[test]
    fn finds_each_difference() {
        assert_eq!(expectation().answer(&answer()), []);
        let members = |answer: Answer| -> Vec<_> {
            expectation().answer(&answer).into_iter().map(|difference| difference.member).collect()
        };
        assert_eq!(members(Answer { allow: true, ..answer() }), ["allow"]);
        assert_eq!(members(Answer { reasons: Vec::new(), ..answer() }), ["codes"]);
        assert_eq!(members(Answer { warnings: vec!["w".to_owned()], ..answer() }), ["warnings"]);
        assert_eq!(members(Answer { annotations: Vec::new(), ..answer() }), ["annotations"]);
        assert_eq!(members(Answer { valid_until: Some(1), ..answer() }), ["valid_until"]);
    }

    #[test]
    fn messages_matter_where_they_are_expected() {
        let mut expectation = expectation();
        if let Expectation::Answer { messages, .. } = &mut expectation {
            *messages = Some(vec!["other".to_owned()]);
        }
        let found = expectation.answer(&answer());
        let told = Difference {
            member: "messages",
            expected: r#"["other"]"#.to_owned(),
            found: r#"["m"]"#.to_owned(),
        };
        assert_eq!(found, [told]);
    }

    #[test]
    fn settings_are_refused_or_not() {
        let mistakes = ["wrong".to_owned()];
        assert_eq!(Expectation::SettingsRefused.settings(&mistakes), []);
        assert_eq!(Expectation::SettingsRefused.settings(&[]).len(), 1);
        assert_eq!(expectation().settings(&mistakes)[0].found, "refused: wrong");
        assert_eq!(expectation().settings(&[]), []);
    }
}
