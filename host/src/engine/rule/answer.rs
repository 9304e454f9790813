//! Whether an answer is within the limits that the words of strangers have.

use guest_policy::rule::{Answer, Description, RuleReason};

use super::bindings;
use super::fault::RuleFault;

/// The answer, if it is one that may be shown to people and written into logs.
pub(super) fn checked(answer: bindings::Answer, output: usize) -> Result<Answer, RuleFault> {
    let (allow, reasons) = match answer.decision {
        bindings::Decision::Allow => (true, Vec::new()),
        bindings::Decision::Deny(reasons) => (false, reasons),
    };
    let mut all = Bytes::up_to(output);
    let texts = reasons.iter().flat_map(|reason| [&reason.code, &reason.message]);
    let notes = answer.annotations.iter().flat_map(|(name, value)| [name, value]);
    texts.chain(&answer.warnings).chain(notes).try_for_each(|text| all.add(text))?;

    at_most(MAX_REASONS, reasons.len(), "reasons")?;
    at_most(MAX_WARNINGS, answer.warnings.len(), "warnings")?;
    at_most(MAX_ANNOTATIONS, answer.annotations.len(), "annotations")?;
    for reason in &reasons {
        no_longer(MAX_CODE_BYTES, &reason.code, "code of a reason")?;
        no_longer(MAX_MESSAGE_BYTES, &reason.message, "message of a reason")?;
    }
    for warning in &answer.warnings {
        no_longer(MAX_WARNING_BYTES, warning, "warning")?;
    }
    for (name, value) in &answer.annotations {
        no_longer(MAX_ANNOTATION_NAME_BYTES, name, "name of an annotation")?;
        no_longer(MAX_ANNOTATION_BYTES, value, "annotation")?;
        if name.is_empty() || !name.bytes().all(may_be_in_name) {
            return Err(RuleFault::Answer(format!(
                "the name of an annotation is {name:?}; it may have letters, digits, -, _ and ."
            )));
        }
    }

    let mut reasons: Vec<_> =
        reasons.into_iter().map(RuleReason::from).map(with_kebab_code).collect();
    if !allow && reasons.is_empty() {
        let message = "the rule does not say why".to_owned();
        reasons.push(RuleReason { code: UNSPECIFIED.to_owned(), message });
    }
    Ok(Answer {
        reasons,
        allow,
        warnings: answer.warnings,
        annotations: answer.annotations,
        valid_until: answer.valid_until,
    })
}

/// What the rule says of itself, if it is not too much.
pub(super) fn description(
    description: Description,
    output: usize,
) -> Result<Description, RuleFault> {
    let mut all = Bytes::up_to(output);
    let Description { name, version, purpose, settings_schema, capabilities } = &description;
    [name, version, purpose, settings_schema]
        .into_iter()
        .chain(capabilities)
        .try_for_each(|text| all.add(text))?;
    Ok(description)
}

/// What the rule has against settings, if it is not too much.
pub(super) fn complaints(complaints: Vec<String>, output: usize) -> Result<Vec<String>, RuleFault> {
    let mut all = Bytes::up_to(output);
    complaints.iter().try_for_each(|text| all.add(text))?;
    at_most(MAX_COMPLAINTS, complaints.len(), "mistakes in settings")?;
    for complaint in &complaints {
        no_longer(MAX_MESSAGE_BYTES, complaint, "mistake in settings")?;
    }
    Ok(complaints)
}

/// Counts what was handed over.
struct Bytes {
    limit: usize,
    seen: usize,
}

impl Bytes {
    fn up_to(limit: usize) -> Self {
        Self { limit, seen: 0 }
    }

    fn add(&mut self, text: &str) -> Result<(), RuleFault> {
        self.seen = self.seen.saturating_add(text.len());
        if self.seen > self.limit { Err(RuleFault::Output(self.limit)) } else { Ok(()) }
    }
}

fn at_most(limit: usize, count: usize, what: &str) -> Result<(), RuleFault> {
    if count > limit {
        return Err(RuleFault::Answer(format!("it has {count} {what}, more than {limit}")));
    }
    Ok(())
}

fn no_longer(limit: usize, text: &str, what: &str) -> Result<(), RuleFault> {
    let bytes = text.len();
    if bytes > limit {
        return Err(RuleFault::Answer(format!("a {what} has {bytes} bytes, more than {limit}")));
    }
    Ok(())
}

fn may_be_in_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.')
}

/// Users see codes in tables and select by them, so each is of one form, whatever the rule made of it.
fn with_kebab_code(reason: RuleReason) -> RuleReason {
    let mut code = String::with_capacity(reason.code.len());
    for c in reason.code.chars() {
        if c.is_ascii_alphanumeric() {
            code.push(c.to_ascii_lowercase());
        } else if !code.is_empty() && !code.ends_with('-') {
            code.push('-');
        }
    }
    let code = code.trim_end_matches('-');
    let code = if code.is_empty() { UNSPECIFIED } else { code };
    RuleReason { code: code.to_owned(), ..reason }
}

/// The code of a reason that has none.
const UNSPECIFIED: &str = "unspecified";

/// Reasons of one answer: one for each of a large image's layers.
const MAX_REASONS: usize = 32;

/// A reason's code: the longest of this project's own has half as many.
const MAX_CODE_BYTES: usize = 64;

/// A reason's message: as long as what the webhook passes on of all together.
const MAX_MESSAGE_BYTES: usize = 1 << 10;

/// Warnings of one answer.
const MAX_WARNINGS: usize = 16;

/// A warning: four times what API servers pass on.
const MAX_WARNING_BYTES: usize = 1 << 10;

/// Annotations of one answer.
const MAX_ANNOTATIONS: usize = 32;

/// An annotation's name: that of Kubernetes after its prefix.
const MAX_ANNOTATION_NAME_BYTES: usize = 63;

/// An annotation: as long as the webhook's own.
const MAX_ANNOTATION_BYTES: usize = 1 << 10;

/// Mistakes in settings that are told: as many as of a policy.
const MAX_COMPLAINTS: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_become_kebab_case() {
        for (given, expected) in [
            ("too-old", "too-old"),
            ("Too Old!", "too-old"),
            ("--x__y--", "x-y"),
            ("\u{1b}[31mred", "31mred"),
            ("é", "unspecified"),
            ("", "unspecified"),
        ] {
            let reason = RuleReason { code: given.to_owned(), message: String::new() };
            assert_eq!(with_kebab_code(reason).code, expected, "{given:?}");
        }
    }
}
