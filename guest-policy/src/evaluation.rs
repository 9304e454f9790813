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
                Step::Ask(rule) => answers.insert(rule, RuleAnswer::failed(nothing())),
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
        let mut walk =
            Walk { nodes: &self.nodes, answers, seen: Vec::new(), asked: BTreeSet::new() };
        let mut failure = self.failure.clone();
        // A tree without requirements would allow what nobody looked at.
        if failure.is_none() && self.nodes.is_empty() {
            failure = Some(nothing());
        }
        let mut held = Support::default();
        if failure.is_none() {
            for at in walk.children(None) {
                match walk.node(at)? {
                    Ok(support) => held.add(support),
                    Err(found) => {
                        failure = Some(found);
                        break;
                    }
                }
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

/// A rule that has to be asked first.
struct Open(u32);

/// Which nodes were looked at, and why they do not hold.
type Seen = Vec<(usize, Option<Failure>)>;

struct Walk<'a> {
    nodes: &'a [Node],
    answers: &'a BTreeMap<u32, RuleAnswer>,
    seen: Seen,
    asked: BTreeSet<u32>,
}

impl Walk<'_> {
    /// The parts of a node; without one, the scope's requirements.
    fn children(&self, of: Option<usize>) -> Vec<usize> {
        let (first, depth) = match of {
            None => (0, 0),
            Some(at) => (at + 1, self.nodes[at].depth + 1),
        };
        let below = (first..self.nodes.len()).take_while(|at| self.nodes[*at].depth >= depth);
        below.filter(|at| self.nodes[*at].depth == depth).collect()
    }

    fn node(&mut self, at: usize) -> Result<Result<Support, Failure>, Open> {
        let nodes = self.nodes;
        let result = match &nodes[at].state {
            State::Held(claims) => Ok(Support { claims: claims.clone(), ..Support::default() }),
            State::Failed(failure) => Err(failure.clone()),
            State::Skipped => Err(nothing()),
            State::Rule(rule) => {
                let answer = self.answers.get(rule).ok_or(Open(*rule))?;
                self.asked.insert(*rule);
                match &answer.failure {
                    Some(failure) => Err(failure.clone()),
                    None => Ok(Support {
                        rules: BTreeSet::from([*rule]),
                        valid_until: answer.valid_until,
                        ..Support::default()
                    }),
                }
            }
            State::AnyOf => self.any_of(at)?,
            State::AtLeast(count) => self.at_least(at, *count)?,
        };
        self.seen.push((at, result.as_ref().err().cloned()));
        Ok(result)
    }

    fn any_of(&mut self, at: usize) -> Result<Result<Support, Failure>, Open> {
        let mut failures = Vec::new();
        for part in self.children(Some(at)) {
            match self.node(part)? {
                Ok(support) => return Ok(Ok(support)),
                Err(failure) => failures.push(failure),
            }
        }
        Ok(Err(together(failures)))
    }

    fn at_least(&mut self, at: usize, count: u32) -> Result<Result<Support, Failure>, Open> {
        let (mut held, mut failures) = (Support::default(), Vec::new());
        for part in self.children(Some(at)) {
            match self.node(part)? {
                Ok(support) => held.add(support),
                Err(failure) => failures.push(failure),
            }
            if held.signers() >= count as usize {
                return Ok(Ok(held));
            }
        }
        let found = held.signers();
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
        let mut failure = together(failures);
        failure.reasons.insert(0, short);
        Ok(Err(failure))
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

    /// How many distinct signers there are: claims that share any key material are one signer's; each rule is
    /// one.
    fn signers(&self) -> usize {
        let mut signers: Vec<BTreeSet<&str>> = Vec::new();
        for claim in &self.claims {
            let mut own: BTreeSet<&str> = claim.material.iter().map(String::as_str).collect();
            own.insert(&claim.key);
            own.insert(&claim.signing_key);
            let (same, others) = signers.into_iter().partition(|known| !known.is_disjoint(&own));
            signers = others;
            signers.push(Vec::into_iter(same).flatten().chain(own).collect());
        }
        signers.len() + self.rules.len()
    }
}

/// Several failures as one: an error if one of them is, since what could not be answered might have held.
fn together(failures: Vec<Failure>) -> Failure {
    if failures.is_empty() {
        return Failure { outcome: Outcome::Deny, reasons: Vec::new() };
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
