//! Cases from recordings: what a rule was asked when decisions were made, and what it answered then.

use guest_policy::verdict::Reason;

use super::{Case, Expectation};
use crate::record::{RecordedRule, Recording};
use crate::rules::UNSPECIFIED;

impl Case {
    /// Every question of a recording to the rule of this name, with the answer that it gave. What it did not
    /// answer itself (it was ended, or a document could not be fetched) has an unknown expectation.
    pub fn recorded(recording: &Recording, rule: &str) -> Vec<Self> {
        let asked = recording.asked().filter(|asked| asked.name == rule);
        asked.filter_map(|asked| Self::of(recording, &asked)).collect()
    }

    fn of(recording: &Recording, asked: &RecordedRule<'_>) -> Option<Self> {
        let data = asked.data.iter().map(|(name, path)| {
            // Rules whose documents could not be read were not asked.
            Some((name.clone(), recording.data(path)?.to_vec()))
        });
        Some(Self {
            name: asked.image.to_owned(),
            description: None,
            question: asked.question.clone(),
            manifest: asked.manifest.to_vec(),
            documents: asked.documents.clone(),
            data: data.collect::<Option<_>>()?,
            expectation: Expectation::recorded(asked).unwrap_or(Expectation::Unknown),
        })
    }
}

impl Expectation {
    /// The answer of a rule, without its name before everything; absent if it is not its own.
    fn recorded(asked: &RecordedRule<'_>) -> Option<Self> {
        let RecordedRule { name: rule, answer, .. } = asked;
        let reasons = answer.failure.as_ref().map_or(&[][..], |failure| &failure.reasons);
        let codes = reasons.iter().map(|reason| own(&reason.code, rule, "/"));
        let mut codes: Vec<_> = codes.collect::<Option<_>>()?;
        let mut messages: Vec<_> =
            reasons.iter().map(|Reason { message, .. }| message.clone()).collect();
        if messages == [UNSPECIFIED] {
            (codes, messages) = (Vec::new(), Vec::new());
        }
        let warnings = answer.warnings.iter().map(|text| own(text, rule, ": "));
        let annotations = answer
            .annotations
            .iter()
            .map(|(key, value)| Some((own(key, rule, "/")?, value.clone())));
        Some(Self::Answer {
            allow: answer.failure.is_none(),
            codes,
            messages: Some(messages),
            warnings: warnings.collect::<Option<_>>()?,
            annotations: annotations.collect::<Option<_>>()?,
            // A module's signatures may end before what the rule said does.
            valid_until: if asked.signed { None } else { Some(answer.valid_until) },
        })
    }
}

fn own(text: &str, rule: &str, separator: &str) -> Option<String> {
    Some(text.strip_prefix(rule)?.strip_prefix(separator)?.to_owned())
}
