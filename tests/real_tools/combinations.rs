//! Our verdict and skopeo's over combinations of key, trust, identity, scope, reference and tampering.

mod case;

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use lab::skopeo::{self, Answer};

use self::case::{Case, Style, Tampering};
use super::compare::compare;
use super::countersign;
use super::laboratory::{Kind, Laboratory, laboratory};

#[test]
fn agrees_with_skopeo_over_generated_combinations() {
    let Some(laboratory) = laboratory() else { return };
    let cases = case::all();
    let names: BTreeSet<String> = cases.iter().map(Case::to_string).collect();
    assert_eq!(names.len(), cases.len(), "each combination occurs once");

    let next = AtomicUsize::new(0);
    let answers = Mutex::new(Vec::new());
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let asked = ask(&laboratory, case);
                    answers.lock().expect("no worker failed").push((case, asked));
                }
            });
        }
    });
    let answers = answers.into_inner().expect("no worker failed");

    let mut tally = Tally::default();
    let mut used = BTreeSet::new();
    let mut wrong = Vec::new();
    for (case, Asked { ours, skopeos }) in &answers {
        let deviation = DEVIATIONS.iter().position(|deviation| (deviation.cases)(case));
        match compare(ours, skopeos) {
            Ok(()) => tally.agree(ours),
            Err(difference) => match deviation {
                Some(index) if DEVIATIONS[index].ours == Side::of(ours) => {
                    used.insert(index);
                    tally.deviating += 1;
                }
                _ => wrong.push(format!("{case}: {difference}")),
            },
        }
    }
    println!("{tally}");
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), answers.len(), wrong.join("\n"));
    assert!(tally.allowed >= 30 && tally.denied >= 60, "the combinations are lopsided: {tally}");

    let version = skopeo::version().expect("skopeo's version");
    for (index, deviation) in DEVIATIONS.iter().enumerate() {
        // Another skopeo may have come round to our answer.
        let stale = version == DEVIATING_SKOPEO && !used.contains(&index);
        assert!(!stale, "skopeo no longer differs: {}", deviation.why);
    }
}

/// Combinations where our answer is not that of [`DEVIATING_SKOPEO`]. Everything else must agree.
const DEVIATIONS: [Deviation; 7] = [
    Deviation {
        cases: |case| case.key == Kind::SigningSubkey,
        ours: Side::Allow,
        why: "it looks for the subkey among the primary keys; newer versions find the subkey's \
              primary key, as we do",
    },
    Deviation {
        cases: |case| matches!(case.key, Kind::BrainpoolP256 | Kind::Secp256k1),
        ours: Side::Deny,
        why: "our OpenPGP library has no Brainpool curves and no secp256k1",
    },
    Deviation {
        cases: |case| case.key == Kind::Dsa2048,
        ours: Side::Deny,
        why: "DSA is obsolete (RFC 9580 section 9.1)",
    },
    Deviation {
        cases: |case| matches!(case.style, Style::Ripemd160 | Style::Sha1),
        ours: Side::Deny,
        why: "a 160-bit hash does not bind a signature to its content",
    },
    Deviation {
        cases: |case| case.tampering == Tampering::FromTheFuture,
        ours: Side::Deny,
        why: "a signature that was made tomorrow was made by a wrong clock or backdates something",
    },
    Deviation {
        cases: |case| case.tampering == Tampering::AppendedLine,
        ours: Side::Deny,
        why: "gpg ignores what follows a compressed message; nobody signed that",
    },
    Deviation {
        cases: |case| case.tampering == Tampering::UpperCaseDigest,
        ours: Side::Deny,
        why: "it compares the digest and denies in the words for another image's; newer versions say, as we \
              do, that it is no digest",
    },
];

/// Debian 12's.
const DEVIATING_SKOPEO: &str = "1.9.3";

/// Combinations that we answer in another way than skopeo for one reason.
struct Deviation {
    cases: fn(&Case) -> bool,
    ours: Side,
    why: &'static str,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Side {
    Allow,
    Deny,
    Error,
}

impl Side {
    fn of(answer: &Answer) -> Self {
        match answer {
            Answer::Allow => Self::Allow,
            Answer::Deny(_) => Self::Deny,
            Answer::Error(_) => Self::Error,
        }
    }
}

struct Asked {
    ours: Answer,
    skopeos: Answer,
}

fn ask(laboratory: &Laboratory, case: &Case) -> Asked {
    let place = case.set_up(laboratory);
    let image = case.image(laboratory);
    Asked {
        ours: countersign::verdict(laboratory, &place, &[&image]),
        skopeos: skopeo::verdict(&image, &place.policy, &place.registries_d).expect("skopeo runs"),
    }
}

/// How the answers compare.
#[derive(Debug, Default)]
struct Tally {
    allowed: usize,
    denied: usize,
    deviating: usize,
}

impl Tally {
    fn agree(&mut self, answer: &Answer) {
        match answer {
            Answer::Allow => self.allowed += 1,
            _ => self.denied += 1,
        }
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "combinations: {} allowed by both, {} denied by both, {} listed as deviating",
            self.allowed, self.denied, self.deviating
        )
    }
}
