//! Policies with their lookasides, judged by skopeo for images that it pulled.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use countersign::digest::Digest;
use countersign::evidence::{self, Directories, EvidenceError, RegistriesD};
use countersign::image::{ImageName, Platform, PlatformSelection};
use countersign::reference::Reference;
use countersign::registry::{Client, Settings};
use countersign::verdict::{Mistake, Outcome, Verdict};
use countersign::vocabulary::{Evidence, Signature, SignatureForm};
use serde::Deserialize;

use super::{Answer, Both, NOW, Observation, Tally, file, folder, subject};

#[test]
fn policies_get_the_verdict_of_skopeo() {
    let mut tally = Tally::new("policy");
    for case in cases() {
        let Some(observed) = case.observed.get("skopeo-1.22.0") else {
            tally.skip(&case.id);
            continue;
        };
        let expected = Answer::expected(None, observed);
        let policy = match case.policy() {
            Ok(policy) => policy,
            Err(mistakes) => {
                assert!(observed.is_about_the_policy(), "{}: {mistakes:?}", case.id);
                tally.count(&case.id, expected, Answer::Reject, &mistakes);
                if let Some(text) = observed.fixed_text() {
                    let ours: Vec<_> = mistakes.iter().map(|m| m.message.as_str()).collect();
                    tally.compare_text(&case.id, &text, &ours);
                }
                continue;
            }
        };
        if observed.is_about_the_policy() {
            tally.count(&case.id, expected, Answer::Accept, &"the policy is loaded");
            continue;
        }
        let verdicts = case.judge(&policy);
        let refused = verdicts.iter().find(|verdict| verdict.outcome != Outcome::Allow);
        let ours = refused.map_or(Answer::Accept, Answer::of);
        tally.count(&case.id, expected, ours, &verdicts);
        if let (Some(text), Some(refused)) = (observed.fixed_text(), refused) {
            let ours: Vec<_> = refused.reasons.iter().map(|r| r.message.as_str()).collect();
            tally.compare_text(&case.id, &text, &ours);
        }
    }
    tally.settle();
}

/// From the layout on disk over registries.d and the lookaside to the same verdict as above.
#[test]
fn host_gathers_what_the_verdict_needs() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime that can read files");
    let mut run = 0;
    for case in cases() {
        let Ok(policy) = case.policy() else { continue };
        let direct = case.judge(&policy);
        let gathered = runtime.block_on(case.gather(&case.folder().join("lookaside")));
        let through: Vec<_> = gathered
            .expect("evidence")
            .iter()
            .map(|evidence| policy.evaluate(&subject(&case.reference), evidence, NOW))
            .collect();
        // Messages name the source of a signature, which is not the one that skopeo had.
        let bare = |verdicts: &[Verdict]| -> Vec<_> {
            let codes = |v: &Verdict| v.reasons.iter().map(|r| r.code.clone()).collect::<Vec<_>>();
            verdicts.iter().map(|v| (v.outcome, v.digest.clone(), codes(v))).collect()
        };
        assert_eq!(bare(&direct), bare(&through), "{}", case.id);
        run += 1;
    }
    assert!(run > 30, "only {run} policies were loaded");
}

/// The left-out case `list-huge`: a signature over the limit makes the image unreadable, even if a good one
/// follows.
#[test]
fn huge_signature_in_a_list_is_an_error_before_it_reaches_the_engine() {
    let cases = cases();
    let case = cases.iter().find(|case| case.id == "list-wrongkey-then-good").expect("a case");
    let lookaside = tempfile::tempdir().expect("a folder");
    let image = &case.images()[0];
    let store = case.store(lookaside.path(), image);
    fs::create_dir_all(&store).expect("created");
    fs::write(store.join("signature-1"), vec![0xa3; 5 << 20]).expect("written");
    let good = &case.evidence(image).signatures[1];
    fs::write(store.join("signature-2"), &good.content).expect("written");
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let error = runtime.block_on(case.gather(lookaside.path())).expect_err("too large");
    assert!(
        error.to_string().contains("exceeded maximum allowed size of 4194304 bytes"),
        "{error}"
    );

    let mut evidence = case.evidence(image);
    let policy = case.policy().expect("a policy");
    let judge = |evidence: &Evidence| policy.evaluate(&subject(&case.reference), evidence, NOW);
    assert_eq!(judge(&evidence).outcome, Outcome::Allow);
    evidence.signatures[0].content = vec![0xa3; 5 << 20];
    let verdict = judge(&evidence);
    assert_eq!(verdict.outcome, Outcome::Deny, "{verdict:?}");
}

/// gpgme's part of each reason is not ours; that there are ten is.
#[test]
fn ten_bad_signatures_give_ten_reasons_in_one_sentence() {
    let cases = cases();
    let case = cases.iter().find(|case| case.id == "list-ten-bad").expect("a case");
    let verdict = case.judge(&case.policy().expect("a policy")).remove(0);
    let whole = "None of the signatures were accepted, reasons: ";
    let message = verdict.reasons.iter().find_map(|reason| reason.message.strip_prefix(whole));
    assert_eq!(message.map(|reasons| reasons.split("; ").count()), Some(10), "{verdict:?}");
}

fn cases() -> Vec<Case> {
    #[derive(Deserialize)]
    struct Index {
        cases: Vec<Case>,
    }
    let index: Index = serde_json::from_slice(&file("policy/cases.json")).expect("an index");
    index.cases
}

#[derive(Deserialize)]
struct Case {
    id: String,
    reference: String,
    /// `--all`: every instance of an index is copied, otherwise that for the platform.
    args: Vec<String>,
    observed: BTreeMap<String, Observation>,
}

impl Case {
    fn folder(&self) -> PathBuf {
        folder().join("policy").join(&self.id)
    }

    fn policy(&self) -> Result<Both, Vec<Mistake>> {
        Both::load(&file(&format!("policy/{}/policy.json", self.id)), &[])
    }

    fn judge(&self, policy: &Both) -> Vec<Verdict> {
        let judge = |image| policy.evaluate(&subject(&self.reference), &self.evidence(image), NOW);
        self.images().iter().map(judge).collect()
    }

    fn reference(&self) -> Reference {
        Reference::parse_normalized(&self.reference).expect("a reference")
    }

    fn layout(&self) -> PathBuf {
        let reference = self.reference();
        let (_, name) = reference.path().rsplit_once('/').expect("lab/NAME");
        folder().join("images").join(name)
    }

    /// What is copied: manifests, with the index that they are from.
    fn images(&self) -> Vec<Image> {
        let layout = self.layout();
        let blob = |digest: &Digest| {
            fs::read(layout.join("blobs/sha256").join(digest.hex())).expect("a manifest")
        };
        let read = |content: &[u8]| -> Manifest { serde_json::from_slice(content).expect("JSON") };
        let entry = fs::read(layout.join("index.json")).expect("an index of the layout");
        let top = blob(&read(&entry).manifests[0].digest);
        let all = self.args.iter().any(|arg| arg == "--all");
        let instances: Vec<_> = read(&top)
            .manifests
            .into_iter()
            .filter(|i| all || i.platform.as_ref().is_some_and(|p| p.architecture == "amd64"))
            .map(|i| Image { manifest: blob(&i.digest), index: Some(top.clone()) })
            .collect();
        if instances.is_empty() { vec![Image { manifest: top, index: None }] } else { instances }
    }

    /// Where a lookaside has the signatures of a manifest.
    fn store(&self, lookaside: &Path, image: &Image) -> PathBuf {
        let digest = Digest::sha256(&image.manifest);
        lookaside.join(format!("{}@sha256={}", self.reference().path(), digest.hex()))
    }

    /// The signatures in the order of the lookaside, with the sources that skopeo named.
    fn evidence(&self, image: &Image) -> Evidence {
        let on_disk = self.store(&self.folder().join("lookaside"), image);
        let source = self.store(Path::new(&format!("$VEC/{}/lookaside", self.id)), image);
        let mut signatures = Vec::new();
        for number in 1.. {
            let name = format!("signature-{number}");
            let Ok(content) = fs::read(on_disk.join(&name)) else { break };
            let source = source.join(&name).display().to_string();
            signatures.push(Signature { source, form: SignatureForm::Stored, content });
        }
        Evidence { manifest: image.manifest.clone(), index: image.index.clone(), signatures }
    }

    /// What the host gathers by itself for the layout, judged as though it had been pulled.
    async fn gather(&self, lookaside: &Path) -> Result<Vec<Evidence>, EvidenceError> {
        let registries_d = tempfile::tempdir().expect("a folder");
        let url = lookaside.display();
        fs::write(
            registries_d.path().join("a.yaml"),
            format!("default-docker:\n  lookaside: file://{url}\n"),
        )
        .expect("written");
        let registries = RegistriesD::load(&Directories::Explicit(registries_d.path().to_owned()))?;
        let client = Client::new(Settings::isolated());
        let name: ImageName = format!("oci:{}", self.layout().display()).parse().expect("a name");
        let platforms = if self.args.iter().any(|arg| arg == "--all") {
            PlatformSelection::All
        } else {
            let amd64: Platform = "linux/amd64".parse().expect("a platform");
            PlatformSelection::Named(amd64)
        };
        let reference = self.reference();
        let images = name.resolve(&client, Some(&reference), &platforms).await.expect("an image");
        let mut all = Vec::new();
        for image in images {
            let signatures = evidence::signatures(&image, &client, &registries).await?;
            all.push(Evidence { manifest: image.manifest, index: image.index, signatures });
        }
        Ok(all)
    }
}

struct Image {
    manifest: Vec<u8>,
    index: Option<Vec<u8>>,
}

/// What a manifest or index says about others.
#[derive(Deserialize)]
struct Manifest {
    #[serde(default)]
    manifests: Vec<Instance>,
}

#[derive(Deserialize)]
struct Instance {
    digest: Digest,
    platform: Option<InstancePlatform>,
}

#[derive(Deserialize)]
struct InstancePlatform {
    architecture: String,
}
