//! The documents, as they are for one namespace.

use std::fmt;
use std::str::FromStr;

use guest_policy::reference::Reference;
use serde_json::Value;

use super::{ImageFault, TektonError};
use crate::webhook_config::{Namespace, quoted};

/// Some of the documents, for somewhere.
#[derive(Clone, Debug)]
pub struct Bundle {
    /// Which.
    pub parts: Vec<Part>,
    /// Where they belong; `None` for whatever namespace they are applied in.
    pub namespace: Option<Namespace>,
    /// What the steps run.
    pub image: Image,
}

impl Bundle {
    /// The documents, to be applied. What is used comes before its users.
    pub fn yaml(&self) -> String {
        self.texts().collect::<Vec<_>>().join("---\n")
    }

    /// The same, read.
    pub(super) fn objects(&self) -> Result<Vec<Value>, TektonError> {
        let read = |text: String| {
            serde_saphyr::from_str(&text)
                .map_err(|e| TektonError::Document { fault: e.to_string() })
        };
        self.texts().map(read).collect()
    }

    fn texts(&self) -> impl Iterator<Item = String> {
        let wanted = DOCUMENTS.iter().filter(|(part, _)| self.parts.contains(part));
        wanted.map(|(_, text)| self.adapted(text))
    }

    /// With namespace, label and image.
    fn adapted(&self, text: &str) -> String {
        let mut adapted = String::with_capacity(text.len() + 256);
        let mut above = "";
        let steps_image = format!("  image: {DEFAULT_IMAGE}");
        for line in text.lines() {
            match line {
                line if line == steps_image => {
                    adapted.push_str(&format!("  image: {}\n", self.image));
                }
                line => adapted.extend([line, "\n"]),
            }
            // Of the document itself: a step's name is deeper.
            if let (Some(namespace), "metadata:") = (&self.namespace, above) {
                let namespace = quoted(namespace.as_str());
                adapted.push_str(&format!("  namespace: {namespace}\n"));
            }
            if line == "  labels:" {
                adapted.push_str(&format!("    {}: {}\n", LABEL.0, LABEL.1));
            }
            above = line;
        }
        adapted
    }
}

/// What can be installed by itself.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Part {
    /// StepAction and Task `countersign-verify`.
    Verify,
    /// StepAction and Task `countersign-sign`.
    Sign,
    /// StepAction and Task `countersign-copy`.
    Copy,
    /// Pipeline `build-sign-verify`.
    Pipeline,
}

impl Part {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Verify, Self::Sign, Self::Copy, Self::Pipeline];

    /// What its documents are called.
    pub fn name(self) -> &'static str {
        match self {
            Self::Verify => "countersign-verify",
            Self::Sign => "countersign-sign",
            Self::Copy => "countersign-copy",
            Self::Pipeline => "build-sign-verify",
        }
    }

    /// Whether an object of this name is one of the parts.
    pub(super) fn cover(parts: &[Self], name: &str) -> bool {
        let all = Self::ALL.iter().all(|part| parts.contains(part));
        all || parts.iter().any(|part| part.name() == name)
    }
}

/// What the steps run.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Image(String);

impl Image {
    /// Whether it is only the name that stands for an image of one's own.
    pub fn is_placeholder(&self) -> bool {
        self.0 == DEFAULT_IMAGE
    }
}

impl Default for Image {
    fn default() -> Self {
        Self(DEFAULT_IMAGE.to_owned())
    }
}

impl FromStr for Image {
    type Err = TektonError;

    fn from_str(text: &str) -> Result<Self, TektonError> {
        let invalid = |fault| TektonError::Image { text: text.to_owned(), fault };
        let reference = Reference::parse_normalized(text).map_err(|e| invalid(e.into()))?;
        match reference.digest() {
            Some(_) => Ok(Self(reference.to_string())),
            None => Err(invalid(ImageFault::NoDigest)),
        }
    }
}

impl fmt::Display for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What the documents run, unless told otherwise.
const DEFAULT_IMAGE: &str =
    concat!("registry.example.com/countersign/countersign:", env!("CARGO_PKG_VERSION"));

/// Name and value of the label that says whose an object is.
pub(super) const LABEL: (&str, &str) = ("app.kubernetes.io/managed-by", "countersign");

/// Version and kind of all documents, what is used before its users.
pub(super) const KINDS: [(&str, &str); 3] = [
    ("tekton.dev/v1beta1", "StepAction"),
    ("tekton.dev/v1", "Task"),
    ("tekton.dev/v1", "Pipeline"),
];

macro_rules! documents {
    ($($part:ident: $path:literal),* $(,)?) => {
        [$((Part::$part, include_str!(concat!("../../../deploy/tekton/", $path)))),*]
    };
}

const DOCUMENTS: [(Part, &str); 7] = documents![
    Verify: "stepaction/countersign-verify/0.1/countersign-verify.yaml",
    Sign: "stepaction/countersign-sign/0.1/countersign-sign.yaml",
    Copy: "stepaction/countersign-copy/0.1/countersign-copy.yaml",
    Verify: "task/countersign-verify/0.1/countersign-verify.yaml",
    Sign: "task/countersign-sign/0.1/countersign-sign.yaml",
    Copy: "task/countersign-copy/0.1/countersign-copy.yaml",
    Pipeline: "pipeline/build-sign-verify/0.1/build-sign-verify.yaml",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn bundle() -> Bundle {
        Bundle { parts: Part::ALL.to_vec(), namespace: None, image: Image::default() }
    }

    #[test]
    fn every_document_has_namespace_label_and_image() {
        let image: Image =
            format!("example.com/c@sha256:{}", "a".repeat(64)).parse().expect("an image");
        let there = Bundle {
            namespace: Some("true".parse().expect("a name")),
            image: image.clone(),
            ..bundle()
        };
        let objects = there.objects().expect("documents");
        assert_eq!(objects.len(), DOCUMENTS.len());
        for (object, before) in objects.iter().zip(bundle().objects().expect("documents")) {
            assert_eq!(object["metadata"]["namespace"], "true");
            assert_eq!(before["metadata"]["namespace"], Value::Null);
            assert_eq!(object["metadata"]["labels"][LABEL.0], LABEL.1);
            let known = (object["apiVersion"].as_str(), object["kind"].as_str());
            assert!(KINDS.iter().any(|(version, kind)| known == (Some(version), Some(kind))));
            if object["kind"] == "StepAction" {
                assert_eq!(object["spec"]["image"], image.to_string());
                assert_eq!(before["spec"]["image"], DEFAULT_IMAGE);
            }
            // And nothing else is different.
            let mut same = object.clone();
            same["metadata"] = before["metadata"].clone();
            if before["spec"]["image"].is_string() {
                same["spec"]["image"] = before["spec"]["image"].clone();
            }
            assert_eq!(same, before);
        }
    }

    #[test]
    fn documents_are_text_with_comments() {
        let yaml = bundle().yaml();
        assert_eq!(yaml.matches("\n---\n").count(), DOCUMENTS.len() - 1);
        assert!(yaml.contains("# No shell:"), "{yaml}");
    }

    #[test]
    fn parts_are_chosen_by_name() {
        assert!(Part::cover(&[Part::Sign], "countersign-sign"));
        assert!(!Part::cover(&[Part::Sign], "countersign-copy"));
        assert!(Part::cover(&Part::ALL, "of-an-older-version"));
        let only = Bundle { parts: vec![Part::Copy], ..bundle() };
        assert_eq!(only.objects().expect("documents").len(), 2);
    }

    #[test]
    fn image_has_a_digest() {
        for text in ["", "example.com/c", "example.com/c:1", "example.com/C@sha256:00"] {
            let fault = text.parse::<Image>().expect_err(text).to_string();
            assert!(fault.contains("expected HOST"), "{fault}");
        }
        let both = format!("example.com/c:1@sha256:{}", "b".repeat(64));
        assert_eq!(both.parse::<Image>().expect("an image").to_string(), both);
    }
}
