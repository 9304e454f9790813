//! What the engine found out about an image, and the verdict that follows once the rules have answered.
//!
//! The engine evaluates every requirement but `rule`: a rule is a component of its own, which the host asks. So
//! the engine's answer is a tree with open places, [`Evaluation`], and [`Evaluation::conclude`] closes it. Both
//! builds of the engine and the host use this one function.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::verdict::{Claim, Outcome, Reason, Verdict};

/// What the engine found out about an image.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Evaluation {
    /// As in [`Verdict`].
    pub scope: String,
    /// As in [`Verdict`].
    pub digest: String,
    /// Why no requirement was looked at.
    pub failure: Option<Failure>,
    /// The scope's requirements, each followed by its parts: a tree in pre-order, by [`Node::depth`]. All at
    /// depth 0 must hold.
    pub nodes: Vec<Node>,
}

/// A requirement, or a part of one.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Node {
    /// 0 for the scope's own requirements.
    pub depth: u32,
    /// In words, for people: `signedBy: …`.
    pub words: String,
    /// What is known of it.
    pub state: State,
}

/// What is known of a requirement.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// One of the parts, which follow, has to hold.
    AnyOf,
    /// So many distinct signers have to be behind the parts that hold.
    AtLeast(u32),
    /// It holds: by these claims, if it is about signatures.
    Held(Vec<Claim>),
    /// It does not hold.
    Failed(Failure),
    /// It was not looked at: what came before it decided.
    Skipped,
    /// What the rule of this index in the policy says.
    Rule(u32),
}

/// Why a requirement does not hold.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Failure {
    /// [`Outcome::Deny`] or [`Outcome::Error`].
    pub outcome: Outcome,
    /// Never empty.
    pub reasons: Vec<Reason>,
}

/// What a rule said, as far as the verdict rests on it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct RuleAnswer {
    /// Why it is against the image; `None` if it is not.
    pub failure: Option<Failure>,
    /// For whoever asks.
    pub warnings: Vec<String>,
    /// For the audit log, by `NAME/KEY`.
    pub annotations: BTreeMap<String, String>,
    /// An allow holds no longer than this (seconds since 1970-01-01 UTC).
    pub valid_until: Option<u64>,
}

/// Where an evaluation stands.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Step {
    /// The verdict depends on this rule's answer.
    Ask(u32),
    /// There is nothing left to ask.
    Done(Verdict),
}

/// How each requirement came out, for people.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Came {
    /// It does not hold.
    Failed,
    /// It holds.
    Held,
    /// It was not looked at: what came before it decided.
    Skipped,
}

impl RuleAnswer {
    /// The rule does not hold, and that is all.
    pub fn failed(failure: Failure) -> Self {
        Self {
            failure: Some(failure),
            warnings: Vec::new(),
            annotations: BTreeMap::new(),
            valid_until: None,
        }
    }
}

impl Evaluation {
    /// The verdict, or the rule that has to be asked next. `answers` has those of the rules that were asked, by
    /// index. Requirements are looked at in order, and the first of the scope that does not hold decides; a rule
    /// on which nothing depends is never asked.
    pub fn conclude(&self, answers: &BTreeMap<u32, RuleAnswer>) -> Step {
        match self.walk(answers) {
            Err(Open(rule)) => Step::Ask(rule),
            Ok((verdict, _)) => Step::Done(verdict),
        }
    }

    /// The verdict where nobody can ask rules: one that has to be asked makes it an error.
    pub fn without_rules(&self) -> Verdict {
        let mut answers = BTreeMap::new();
        loop {
            match self.conclude(&answers) {
                Step::Done(verdict) => return verdict,
                Step::Ask(rule) => answers.insert(rule, RuleAnswer::failed(unasked())),
            };
        }
    }

    /// How each of [`Self::nodes`] came out, with these answers.
    pub fn outcomes(&self, answers: &BTreeMap<u32, RuleAnswer>) -> Vec<(Came, Vec<Reason>)> {
        let mut came = vec![(Came::Skipped, Vec::new()); self.nodes.len()];
        if let Ok((_, seen)) = self.walk(answers) {
            for (at, failure) in seen {
                let outcome = if failure.is_some() { Came::Failed } else { Came::Held };
                came[at] = (outcome, failure.map(|failure| failure.reasons).unwrap_or_default());
            }
        }
        came
    }

    /// Every claim of the evaluation, each once: what rules are told of signatures.
    pub fn claims(&self) -> Vec<Claim> {
        let held = self.nodes.iter().filter_map(|node| match &node.state {
            State::Held(claims) => Some(claims),
            _ => None,
        });
        let mut claims: Vec<Claim> = Vec::new();
        for claim in held.flatten() {
            // Where it counted is nothing that a rule should know.
            let claim = Claim { requirement: 0, ..claim.clone() };
            if !claims.contains(&claim) {
                claims.push(claim);
            }
        }
        claims
    }

    fn walk(&self, answers: &BTreeMap<u32, RuleAnswer>) -> Result<(Verdict, Seen), Open> {
        let mut verdict = Verdict {
            outcome: Outcome::Allow,
            scope: self.scope.clone(),
            digest: self.digest.clone(),
            reasons: Vec::new(),
            claims: Vec::new(),
            valid_until: None,
            warnings: Vec::new(),
            annotations: BTreeMap::new(),
        };
        let mut walk = Walk::new(&self.nodes, answers);
        let mut failure = self.failure.clone();
        // A tree without requirements, or with some that nobody would look at, would allow unseen.
        if failure.is_none() && !is_whole(&self.nodes) {
            failure = Some(nothing());
        }
        let mut held = Support::default();
        if failure.is_none() {
            let mut is_complete = true;
            for (place, at) in (0..).zip(walk.children(None)) {
                // One that always fails decides alone, whatever stands before it.
                if matches!(self.nodes[at].state, State::Skipped) {
                    is_complete = false;
                    continue;
                }
                walk.place = Some(place);
                match walk.node(at, Extent::Needed)? {
                    Ok(support) => held.add(support),
                    Err(found) => {
                        failure = Some(found);
                        break;
                    }
                }
            }
            if failure.is_none() && !is_complete {
                failure = Some(nothing());
            }
        }
        for rule in &walk.asked {
            let Some(answer) = answers.get(rule) else { continue };
            verdict.warnings.extend(answer.warnings.iter().cloned());
            verdict.annotations.extend(answer.annotations.clone());
        }
        match failure {
            None => {
                let ends = held.claims.iter().filter_map(|claim| claim.valid_until);
                verdict.valid_until = ends.chain(held.valid_until).min();
                verdict.claims = held.claims;
            }
            Some(failure) => {
                verdict.outcome = failure.outcome;
                verdict.reasons = failure.reasons;
            }
        }
        Ok((verdict, walk.seen))
    }
}

/// Whether the requirement at this place of a tree holds, as far as that can be told without any rule.
#[cfg(feature = "engine")]
pub(crate) fn holds(nodes: &[Node], at: usize) -> Option<bool> {
    match nodes[at].state {
        State::Held(_) => return Some(true),
        State::Failed(_) => return Some(false),
        State::AnyOf | State::AtLeast(_) | State::Rule(_) | State::Skipped => {}
    }
    let answers = BTreeMap::new();
    let result = Walk::new(nodes, &answers).node(at, Extent::Needed);
    result.ok().map(|held| held.is_ok())
}

/// A rule that has to be asked first.
struct Open(u32);

/// Which nodes were looked at, and why they do not hold.
type Seen = Vec<(usize, Option<Failure>)>;

/// How far parts are looked at.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Extent {
    /// All of them: whoever is behind one of them counts.
    All,
    /// Until it is certain that the whole holds.
    Needed,
}

struct Walk<'a> {
    nodes: &'a [Node],
    answers: &'a BTreeMap<u32, RuleAnswer>,
    seen: Seen,
    asked: BTreeSet<u32>,
    /// Position of the scope's requirement that is looked at, for reasons.
    place: Option<u32>,
}

impl<'a> Walk<'a> {
    fn new(nodes: &'a [Node], answers: &'a BTreeMap<u32, RuleAnswer>) -> Self {
        Self { nodes, answers, seen: Vec::new(), asked: BTreeSet::new(), place: None }
    }

    /// The parts of a node; without one, the scope's requirements.
    fn children(&self, of: Option<usize>) -> Vec<usize> {
        let (first, depth) = match of {
            None => (0, 0),
            Some(at) => (at + 1, self.nodes[at].depth + 1),
        };
        let below = (first..self.nodes.len()).take_while(|at| self.nodes[*at].depth >= depth);
        below.filter(|at| self.nodes[*at].depth == depth).collect()
    }

    fn node(&mut self, at: usize, extent: Extent) -> Result<Result<Support, Failure>, Open> {
        let nodes = self.nodes;
        let result = match &nodes[at].state {
            State::Held(claims) => Ok(Support { claims: claims.clone(), ..Support::default() }),
            State::Failed(failure) => Err(failure.clone()),
            State::Skipped => Err(nothing()),
            State::Rule(rule) => {
                let answer = self.answers.get(rule).ok_or(Open(*rule))?;
                self.asked.insert(*rule);
                match &answer.failure {
                    Some(failure) => Err(self.placed(failure.clone())),
                    None => Ok(Support {
                        rules: BTreeSet::from([*rule]),
                        valid_until: answer.valid_until,
                        ..Support::default()
                    }),
                }
            }
            State::AnyOf => self.any_of(at, extent)?,
            State::AtLeast(count) => self.at_least(at, *count, extent)?,
        };
        self.seen.push((at, result.as_ref().err().cloned()));
        Ok(result)
    }

    fn any_of(&mut self, at: usize, extent: Extent) -> Result<Result<Support, Failure>, Open> {
        let (mut held, mut failures) = (None, Vec::new());
        for part in self.children(Some(at)) {
            match self.node(part, extent)? {
                Ok(support) if extent == Extent::Needed => return Ok(Ok(support)),
                Ok(support) => held.get_or_insert_with(Support::default).add(support),
                Err(failure) => failures.push(failure),
            }
        }
        Ok(held.ok_or_else(|| together(failures)))
    }

    /// The parts that hold are counted by who is behind them. First only as many are looked at as are needed. If
    /// these are too few, somebody else may be behind a part that was not looked at.
    fn at_least(
        &mut self,
        at: usize,
        count: u32,
        extent: Extent,
    ) -> Result<Result<Support, Failure>, Open> {
        // No document has a 0, which would hold without anybody.
        let count = count.max(1);
        let parts = self.children(Some(at));
        let mut most = Most::default();
        parts.iter().for_each(|part| self.most(*part, &mut most));
        let possible = most.reaches(count);
        let extents = match extent {
            Extent::Needed if possible => &[Extent::Needed, Extent::All][..],
            Extent::Needed | Extent::All => &[Extent::All],
        };
        let (mut held, mut failures) = (Support::default(), Vec::new());
        for part_extent in extents {
            (held, failures) = (Support::default(), Vec::new());
            for part in &parts {
                match self.node(*part, *part_extent) {
                    Ok(Ok(support)) => {
                        let before = held.size();
                        held.add(support);
                        // Only somebody new can make the difference.
                        if extent == Extent::Needed
                            && held.size() > before
                            && held.signers() >= count as usize
                        {
                            return Ok(Ok(held));
                        }
                    }
                    Ok(Err(failure)) => failures.push(failure),
                    // Whatever it says, there are too few.
                    Err(Open(_)) if !possible => {}
                    Err(open) => return Err(open),
                }
            }
        }
        let found = held.signers();
        if found >= count as usize {
            return Ok(Ok(held));
        }
        let short = Reason {
            code: "signers-too-few".to_owned(),
            requirement: None,
            message: format!(
                "{count} distinct signers are required, and there {} {found}",
                if found == 1 { "is" } else { "are" }
            ),
            hint: Some(
                "one key counts once, however often and under whatever name it signed".to_owned(),
            ),
        };
        // Those who are behind what could not be answered might have been enough.
        let outcome = if possible { Outcome::Error } else { Outcome::Deny };
        let reasons = failures.into_iter().flat_map(|failure| failure.reasons);
        let reasons = std::iter::once(short).chain(reasons).collect();
        Ok(Err(self.placed(Failure { outcome, reasons })))
    }

    /// Who may be behind a node at most: if everything holds of which the contrary is not known.
    fn most(&self, at: usize, most: &mut Most) {
        match &self.nodes[at].state {
            State::Held(claims) => {
                most.support.add(Support { claims: claims.clone(), ..Support::default() });
            }
            State::Failed(failure) => most.is_open |= failure.outcome == Outcome::Error,
            State::Skipped => most.is_open = true,
            State::Rule(rule) => {
                let failure = self.answers.get(rule).and_then(|answer| answer.failure.as_ref());
                if failure.is_none_or(|failure| failure.outcome == Outcome::Error) {
                    most.support.rules.insert(*rule);
                }
            }
            State::AnyOf => {
                self.children(Some(at)).into_iter().for_each(|part| self.most(part, most));
            }
            State::AtLeast(count) => {
                let mut parts = Most::default();
                self.children(Some(at)).into_iter().for_each(|part| self.most(part, &mut parts));
                if parts.reaches((*count).max(1)) {
                    most.support.add(parts.support);
                    most.is_open |= parts.is_open;
                }
            }
        }
    }

    /// With the position of the scope's requirement where a reason has none.
    fn placed(&self, mut failure: Failure) -> Failure {
        for reason in &mut failure.reasons {
            reason.requirement = reason.requirement.or(self.place);
        }
        failure
    }
}

/// What a requirement that holds rests on.
#[derive(Clone, Debug, Default)]
struct Support {
    claims: Vec<Claim>,
    rules: BTreeSet<u32>,
    valid_until: Option<u64>,
}

impl Support {
    fn add(&mut self, other: Self) {
        for claim in other.claims {
            if !self.claims.contains(&claim) {
                self.claims.push(claim);
            }
        }
        self.rules.extend(other.rules);
        self.valid_until = self.valid_until.into_iter().chain(other.valid_until).min();
    }

    /// How much there is of it, whoever it is from.
    fn size(&self) -> usize {
        self.claims.len() + self.rules.len()
    }

    /// How many distinct signers there are: claims that share any key material are one signer's; each rule is
    /// one.
    fn signers(&self) -> usize {
        let mut signers: Vec<BTreeSet<&str>> = Vec::new();
        for claim in &self.claims {
            let mut own: BTreeSet<&str> = claim.material.iter().map(String::as_str).collect();
            own.insert(&claim.key);
            own.insert(&claim.signing_key);
            let (others, same): (Vec<_>, Vec<_>) =
                signers.into_iter().partition(|known| known.is_disjoint(&own));
            signers = others;
            signers.push(same.into_iter().flatten().chain(own).collect());
        }
        signers.len() + self.rules.len()
    }
}

/// Who may be behind something at most.
#[derive(Default)]
struct Most {
    support: Support,
    /// Any number of others, too.
    is_open: bool,
}

impl Most {
    fn reaches(&self, count: u32) -> bool {
        self.is_open || self.support.signers() >= count as usize
    }
}

/// Whether every node of a tree is reached from the top: each stands below the one that it is a part of, and only
/// what has parts has some.
fn is_whole(nodes: &[Node]) -> bool {
    let mut deepest = 0;
    let fits = |node: &Node| {
        let fits = node.depth <= deepest;
        let has_parts = matches!(node.state, State::AnyOf | State::AtLeast(_) | State::Skipped);
        deepest =
            if has_parts { node.depth.saturating_add(1).min(MAX_NESTING) } else { node.depth };
        fits
    };
    !nodes.is_empty() && nodes.iter().all(fits)
}

/// Several failures as one: an error if one of them is, since what could not be answered might have held.
fn together(failures: Vec<Failure>) -> Failure {
    if failures.is_empty() {
        return nothing();
    }
    let error = failures.iter().any(|failure| failure.outcome == Outcome::Error);
    let outcome = if error { Outcome::Error } else { Outcome::Deny };
    Failure { outcome, reasons: failures.into_iter().flat_map(|failure| failure.reasons).collect() }
}

/// Nothing was looked at, which is no ground to allow.
fn nothing() -> Failure {
    let reason = Reason {
        code: "evaluation-failed".to_owned(),
        requirement: None,
        message: "no requirement was evaluated".to_owned(),
        hint: None,
    };
    Failure { outcome: Outcome::Error, reasons: vec![reason] }
}

/// Nobody is here who could ask a rule.
fn unasked() -> Failure {
    let reason = Reason {
        code: "rule-unasked".to_owned(),
        requirement: None,
        message: "the verdict depends on a rule, and nobody is here who could ask it".to_owned(),
        hint: None,
    };
    Failure { outcome: Outcome::Error, reasons: vec![reason] }
}

/// How deep requirements may be parts of others. People write two levels; four are more than anyone reads.
pub const MAX_NESTING: u32 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(key: &str) -> Claim {
        Claim {
            format: "simple-signing".to_owned(),
            key: key.to_owned(),
            signing_key: key.to_owned(),
            reference: "example.com/a:1".to_owned(),
            digest: "sha256:00".to_owned(),
            signed_at: None,
            creator: None,
            valid_until: None,
            requirement: 0,
            material: Vec::new(),
        }
    }

    fn held(keys: &[&str]) -> State {
        State::Held(keys.iter().map(|key| claim(key)).collect())
    }

    fn failed(outcome: Outcome) -> State {
        State::Failed(failure(outcome, "leaf-failed"))
    }

    fn failure(outcome: Outcome, code: &str) -> Failure {
        let (code, message) = (code.to_owned(), String::new());
        Failure { outcome, reasons: vec![Reason { code, requirement: None, message, hint: None }] }
    }

    fn tree(nodes: Vec<(u32, State)>) -> Evaluation {
        let nodes = nodes.into_iter();
        Evaluation {
            scope: "default".to_owned(),
            digest: String::new(),
            failure: None,
            nodes: nodes
                .map(|(depth, state)| Node { depth, words: String::new(), state })
                .collect(),
        }
    }

    /// Rules that allow, by index.
    fn allowed(rules: &[u32]) -> BTreeMap<u32, RuleAnswer> {
        let answer = RuleAnswer {
            failure: None,
            warnings: Vec::new(),
            annotations: BTreeMap::new(),
            valid_until: None,
        };
        rules.iter().map(|rule| (*rule, answer.clone())).collect()
    }

    fn denied(rules: &[u32]) -> BTreeMap<u32, RuleAnswer> {
        let failed = || RuleAnswer::failed(failure(Deny, "rule-says-no"));
        rules.iter().map(|rule| (*rule, failed())).collect()
    }

    fn verdict(evaluation: &Evaluation, answers: &BTreeMap<u32, RuleAnswer>) -> Verdict {
        match evaluation.conclude(answers) {
            Step::Done(verdict) => verdict,
            Step::Ask(rule) => unreachable!("rule {rule} has to be asked"),
        }
    }

    fn outcome(evaluation: &Evaluation) -> Outcome {
        verdict(evaluation, &BTreeMap::new()).outcome
    }

    fn asks(evaluation: &Evaluation, answers: &BTreeMap<u32, RuleAnswer>) -> Option<u32> {
        match evaluation.conclude(answers) {
            Step::Ask(rule) => Some(rule),
            Step::Done(_) => None,
        }
    }

    fn codes(verdict: &Verdict) -> Vec<&str> {
        verdict.reasons.iter().map(|reason| reason.code.as_str()).collect()
    }

    use Outcome::{Allow, Deny, Error};

    #[test]
    fn one_alternative_is_enough_whatever_is_wrong_with_the_others() {
        let any_of = |parts: &[State]| {
            let parts = parts.iter().map(|part| (1, part.clone()));
            tree(std::iter::once((0, State::AnyOf)).chain(parts).collect())
        };
        assert_eq!(outcome(&any_of(&[failed(Error), failed(Deny), held(&["A"])])), Allow);
        // What could not be answered might have held.
        assert_eq!(outcome(&any_of(&[failed(Deny), failed(Error)])), Error);
        let refused = verdict(&any_of(&[failed(Deny), failed(Deny)]), &BTreeMap::new());
        assert_eq!(refused.outcome, Deny);
        assert_eq!(codes(&refused), ["leaf-failed", "leaf-failed"]);
    }

    #[test]
    fn an_error_counts_only_if_it_might_have_been_enough() {
        let two_of = |parts: &[State]| {
            let parts = parts.iter().map(|part| (1, part.clone()));
            tree(std::iter::once((0, State::AtLeast(2))).chain(parts).collect())
        };
        assert_eq!(outcome(&two_of(&[held(&["A"]), failed(Error), held(&["B"])])), Allow);
        // Any number of signers may be behind a part that could not be answered.
        assert_eq!(outcome(&two_of(&[failed(Deny), failed(Error)])), Error);
        assert_eq!(outcome(&two_of(&[held(&["A"]), failed(Deny)])), Deny);
        // A rule is one signer, so that here it could not have helped.
        let rule = two_of(&[failed(Deny), State::Rule(0)]);
        let answers = BTreeMap::from([(0, RuleAnswer::failed(failure(Error, "rule-stuck")))]);
        assert_eq!(verdict(&rule, &answers).outcome, Deny);
        let rule = two_of(&[held(&["A"]), State::Rule(0)]);
        assert_eq!(verdict(&rule, &answers).outcome, Error);
    }

    #[test]
    fn what_always_holds_is_nobody() {
        let nodes = vec![(0, State::AtLeast(1)), (1, State::Held(Vec::new()))];
        let refused = verdict(&tree(nodes), &BTreeMap::new());
        assert_eq!((refused.outcome, codes(&refused)), (Deny, vec!["signers-too-few"]));
    }

    #[test]
    fn claims_that_share_material_are_one_signer_however_they_are_connected() {
        let with = |key: &str, material: &[&str]| {
            let material = material.iter().map(|name| (*name).to_owned()).collect();
            Claim { material, ..claim(key) }
        };
        let count = |claims: Vec<Claim>| Support { claims, ..Support::default() }.signers();
        assert_eq!(count(vec![with("A", &["a"]), with("B", &["b"])]), 2);
        assert_eq!(count(vec![with("A", &["a"]), with("B", &["a"])]), 1);
        let chain = [with("A", &["a", "b"]), with("B", &["c", "d"]), with("C", &["b", "c"])];
        assert_eq!(count(chain.to_vec()), 1);
        // A fingerprint names material, too.
        let subkey = Claim { signing_key: "S".to_owned(), ..with("A", &["a"]) };
        assert_eq!(count(vec![subkey, with("S", &["s"])]), 1);
        assert_eq!(count(Vec::new()), 0);
    }

    #[test]
    fn each_rule_counts_once() {
        let two = |second| {
            tree(vec![(0, State::AtLeast(2)), (1, State::Rule(0)), (1, State::Rule(second))])
        };
        assert_eq!(verdict(&two(1), &allowed(&[0, 1])).outcome, Allow);
        assert_eq!(verdict(&two(0), &allowed(&[0])).outcome, Deny);
    }

    #[test]
    fn a_rule_on_which_nothing_depends_is_not_asked() {
        let rule = State::Rule;
        for nodes in [
            // Behind what does not hold.
            vec![(0, failed(Deny)), (0, rule(0))],
            // Behind an alternative that holds.
            vec![(0, State::AnyOf), (1, held(&["A"])), (1, rule(0))],
            // Where there are enough.
            vec![(0, State::AtLeast(2)), (1, held(&["A", "B"])), (1, rule(0))],
            // Where there are too few, whatever it says.
            vec![(0, State::AtLeast(2)), (1, rule(0)), (1, failed(Deny))],
            vec![(0, State::AtLeast(3)), (1, State::AnyOf), (2, rule(0)), (1, held(&["A"]))],
            vec![(0, State::AtLeast(1)), (1, State::AtLeast(2)), (2, rule(0))],
            // Before what always fails.
            vec![(0, State::Skipped), (0, failed(Deny))],
        ] {
            let evaluation = tree(nodes);
            assert_eq!(asks(&evaluation, &BTreeMap::new()), None, "{evaluation:#?}");
        }
    }

    #[test]
    fn rules_are_asked_one_by_one_and_no_longer_than_it_matters() {
        let two_of_three = tree(vec![
            (0, State::AtLeast(2)),
            (1, State::Rule(0)),
            (1, State::Rule(1)),
            (1, State::Rule(2)),
        ]);
        assert_eq!(asks(&two_of_three, &BTreeMap::new()), Some(0));
        assert_eq!(asks(&two_of_three, &allowed(&[0])), Some(1));
        assert_eq!(asks(&two_of_three, &allowed(&[0, 1])), None);
        assert_eq!(asks(&two_of_three, &denied(&[0])), Some(1));
        // The third cannot make two of one.
        assert_eq!(asks(&two_of_three, &denied(&[0, 1])), None);
        let all = tree(vec![(0, State::Rule(0)), (0, State::Rule(1))]);
        assert_eq!(asks(&all, &allowed(&[0])), Some(1));
        assert_eq!(verdict(&all, &denied(&[0])).outcome, Deny);
    }

    #[test]
    fn everybody_behind_an_alternative_counts_where_signers_are_counted() {
        // The first alternative that holds has the same signer in both lists; the second has another.
        let nodes = vec![
            (0, State::AtLeast(2)),
            (1, State::AnyOf),
            (2, held(&["A"])),
            (2, held(&["B"])),
            (1, State::AnyOf),
            (2, held(&["A"])),
            (2, held(&["C"])),
        ];
        assert_eq!(outcome(&tree(nodes)), Allow);
        let nodes = vec![
            (0, State::AtLeast(3)),
            (1, State::AtLeast(2)),
            (2, held(&["A"])),
            (2, held(&["B"])),
            (2, held(&["C"])),
        ];
        assert_eq!(outcome(&tree(nodes)), Allow);
    }

    #[test]
    fn an_allow_ends_with_the_first_thing_that_it_rests_on() {
        let until = |end| State::Held(vec![Claim { valid_until: Some(end), ..claim("A") }]);
        let rule = |end| {
            let mut answers = allowed(&[0]);
            answers.entry(0).and_modify(|answer| answer.valid_until = Some(end));
            answers
        };
        let both = tree(vec![(0, until(20)), (0, State::Rule(0))]);
        assert_eq!(verdict(&both, &rule(10)).valid_until, Some(10));
        assert_eq!(verdict(&both, &rule(30)).valid_until, Some(20));
        // What is not needed does not end anything.
        let either = tree(vec![(0, State::AnyOf), (1, until(20)), (1, until(5))]);
        assert_eq!(verdict(&either, &BTreeMap::new()).valid_until, Some(20));
        let counted = tree(vec![(0, State::AtLeast(2)), (1, until(20)), (1, State::Rule(0))]);
        assert_eq!(verdict(&counted, &rule(10)).valid_until, Some(10));
    }

    #[test]
    fn reasons_name_the_scopes_own_requirement() {
        let nodes = vec![
            (0, held(&["A"])),
            (0, State::AtLeast(2)),
            (1, State::AnyOf),
            (2, State::Rule(0)),
            (1, held(&["A", "B"])),
            (0, State::AnyOf),
            (1, State::Rule(0)),
        ];
        let verdict = verdict(&tree(nodes), &denied(&[0]));
        assert_eq!(codes(&verdict), ["rule-says-no"]);
        assert!(verdict.reasons.iter().all(|reason| reason.requirement == Some(2)));
    }

    #[test]
    fn warnings_are_those_of_the_rules_that_were_asked() {
        let mut answers = allowed(&[0, 1]);
        for (rule, answer) in &mut answers {
            answer.warnings.push(format!("warning {rule}"));
            answer.annotations.insert(format!("rule-{rule}/key"), String::new());
        }
        let nodes = vec![(0, State::AnyOf), (1, State::Rule(1)), (1, State::Rule(0))];
        let verdict = verdict(&tree(nodes), &answers);
        assert_eq!(verdict.warnings, ["warning 1"]);
        assert_eq!(verdict.annotations.into_keys().collect::<Vec<_>>(), ["rule-1/key"]);
    }

    #[test]
    fn outcomes_tell_what_was_looked_at() {
        let nodes = vec![
            (0, State::AnyOf),
            (1, failed(Deny)),
            (1, held(&["A"])),
            (1, State::Rule(0)),
            (0, State::Rule(1)),
        ];
        let came: Vec<_> =
            tree(nodes).outcomes(&denied(&[1])).into_iter().map(|(came, _)| came).collect();
        assert_eq!(came, [Came::Held, Came::Failed, Came::Held, Came::Skipped, Came::Failed]);
    }

    #[test]
    fn nothing_is_allowed_that_nobody_looked_at() {
        let deep = || (0..=MAX_NESTING + 1).map(|depth| (depth, State::AnyOf));
        for nodes in [
            Vec::new(),
            vec![(0, State::Skipped)],
            vec![(0, held(&["A"])), (0, State::Skipped)],
            vec![(1, held(&["A"]))],
            vec![(0, held(&["A"])), (1, failed(Deny))],
            vec![(0, State::AnyOf), (2, held(&["A"]))],
            vec![(0, State::AnyOf), (u32::MAX, held(&["A"]))],
            vec![(u32::MAX, State::AnyOf), (u32::MAX, held(&["A"]))],
            deep().chain([(MAX_NESTING + 2, held(&["A"]))]).collect(),
        ] {
            let evaluation = tree(nodes);
            let verdict = verdict(&evaluation, &BTreeMap::new());
            assert_eq!(verdict.outcome, Error, "{evaluation:#?}");
            assert_eq!(codes(&verdict), ["evaluation-failed"]);
        }
        assert_eq!(outcome(&tree(vec![(0, State::AnyOf)])), Error);
        assert_eq!(outcome(&tree(vec![(0, State::AtLeast(0))])), Deny);
        assert_eq!(tree(vec![(0, State::Rule(0))]).without_rules().outcome, Error);
    }

    #[test]
    fn rules_are_told_of_every_claim_once() {
        let counted = Claim { requirement: 1, ..claim("A") };
        let nodes = vec![
            (0, held(&["A", "B"])),
            (0, State::AnyOf),
            (1, State::Held(vec![counted])),
            (1, State::Rule(0)),
        ];
        let keys: Vec<_> = tree(nodes).claims().into_iter().map(|claim| claim.key).collect();
        assert_eq!(keys, ["A", "B"]);
    }
}
