//! Custom resources: where they name images is said by JSON paths.

use serde_json::Value;
use serde_json::value::RawValue;

use super::CustomResource;
use super::places::{Place, PodSpec, Role};

/// A JSON path (RFC 9535) of names and wildcards: `$.spec.steps[*].image`, `$['spec'].*`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct JsonPath {
    steps: Vec<Step>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum Step {
    Every,
    Member(String),
}

impl JsonPath {
    /// Read one.
    ///
    /// # Errors
    ///
    /// It is none, or has selectors other than names and wildcards; the error tells the position.
    pub fn parse(text: &str) -> Result<Self, InvalidPath> {
        let fault = |at: usize, expected: &'static str| InvalidPath {
            path: text.to_owned(),
            position: at + 1,
            expected,
        };
        let Some(mut rest) = text.strip_prefix('$') else { return Err(fault(0, "$")) };
        let mut steps = Vec::new();
        while !rest.is_empty() {
            let at = text.len() - rest.len();
            let (step, tail) = if let Some(tail) = rest.strip_prefix("[*]") {
                (Step::Every, tail)
            } else if let Some(tail) = rest.strip_prefix(".*") {
                (Step::Every, tail)
            } else if let Some(quoted) = rest.strip_prefix("['") {
                let end = quoted.find("']").ok_or_else(|| fault(at, "a name that ends with ']"))?;
                (Step::Member(quoted[..end].to_owned()), &quoted[end + 2..])
            } else if let Some(name) = rest.strip_prefix('.') {
                let end = name.find(['.', '[']).unwrap_or(name.len());
                (Step::Member(name[..end].to_owned()), &name[end..])
            } else {
                return Err(fault(at, ".NAME, ['NAME'], [*] or .*"));
            };
            if step == Step::Member(String::new()) {
                return Err(fault(at, "a name"));
            }
            steps.push(step);
            rest = tail;
        }
        if steps.is_empty() {
            return Err(fault(1, ".NAME, ['NAME'], [*] or .*"));
        }
        Ok(Self { steps })
    }

    /// What it finds in a document, with the JSON pointer of each.
    fn find<'a>(&self, document: &'a Value) -> Vec<(String, &'a Value)> {
        let mut found = vec![(String::new(), document)];
        for step in &self.steps {
            let mut next = Vec::new();
            for (pointer, value) in found {
                match (step, value) {
                    (Step::Member(name), Value::Object(members)) => {
                        if let Some(member) = members.get(name) {
                            next.push((format!("{pointer}/{}", escaped(name)), member));
                        }
                    }
                    (Step::Every, Value::Array(items)) => {
                        let items = items.iter().enumerate();
                        next.extend(items.map(|(n, item)| (format!("{pointer}/{n}"), item)));
                    }
                    (Step::Every, Value::Object(members)) => {
                        next.extend(members.iter().map(|(name, member)| {
                            (format!("{pointer}/{}", escaped(name)), member)
                        }));
                    }
                    _ => {}
                }
            }
            found = next;
        }
        found
    }
}

/// RFC 6901.
fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

/// A text is no JSON path that can be used.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("cannot use JSON path {path:?}: at character {position}, expected {expected}")]
pub struct InvalidPath {
    /// The text.
    pub path: String,
    /// From 1, in bytes.
    pub position: usize,
    /// What would have been right.
    pub expected: &'static str,
}

/// Every image that a custom resource names.
///
/// # Errors
///
/// What is wrong, as a fragment.
pub(super) fn places(resource: &CustomResource, object: &RawValue) -> Result<Vec<Place>, String> {
    let document: Value =
        serde_json::from_str(object.get()).map_err(|error| format!("it is not JSON: {error}"))?;
    let mut places = Vec::new();
    for path in &resource.images {
        let path = JsonPath::parse(path).map_err(|error| error.to_string())?;
        for (pointer, value) in path.find(&document) {
            match value {
                Value::Null => {}
                Value::String(image) => places.push(Place {
                    pointer,
                    role: Role::Field,
                    name: String::new(),
                    image: image.clone(),
                }),
                _ => return Err(format!("{pointer} is not the name of an image")),
            }
        }
    }
    for path in &resource.pod_specs {
        let path = JsonPath::parse(path).map_err(|error| error.to_string())?;
        for (pointer, value) in path.find(&document) {
            if value.is_null() {
                continue;
            }
            let spec: PodSpec =
                serde_json::from_value(value.clone()).map_err(|e| format!("{pointer}: {e}"))?;
            places.extend(spec.places(&pointer));
        }
    }
    Ok(places)
}

/// Whether a text is filled in later: by Tekton (`$(params.x)`) or Argo (`{{inputs.x}}`).
pub(super) fn is_template(image: &str) -> bool {
    image.contains("$(") || image.contains("{{")
}

impl CustomResource {
    /// Resources of projects that make pods of what they hold: Tekton, Argo Rollouts and Workflows,
    /// OpenShift's deployment configurations, Knative.
    pub fn defaults() -> Vec<Self> {
        let resource = |group: &str, resource: &str, images: &[&str], pod_specs: &[&str]| Self {
            group: group.to_owned(),
            resource: resource.to_owned(),
            images: images.iter().map(|&path| path.to_owned()).collect(),
            pod_specs: pod_specs.iter().map(|&path| path.to_owned()).collect(),
        };
        let task = |at: &str| -> Vec<String> {
            let fields = ["steps[*]", "sidecars[*]", "stepTemplate"];
            fields.iter().map(|field| format!("{at}.{field}.image")).collect()
        };
        let pipeline = |at: &str| -> Vec<String> {
            let lists = ["tasks", "finally"];
            lists.iter().flat_map(|list| task(&format!("{at}.{list}[*].taskSpec"))).collect()
        };
        let tekton = |name: &str, images: Vec<String>| Self {
            group: "tekton.dev".to_owned(),
            resource: name.to_owned(),
            images,
            pod_specs: Vec::new(),
        };
        let analysis = "$.spec.metrics[*].provider.job.spec.template.spec";
        let workflow = [
            "$.spec.templates[*].container.image",
            "$.spec.templates[*].script.image",
            "$.spec.templates[*].initContainers[*].image",
            "$.spec.templates[*].sidecars[*].image",
            "$.spec.templates[*].containerSet.containers[*].image",
        ];
        vec![
            tekton("tasks", task("$.spec")),
            tekton("stepactions", vec!["$.spec.image".to_owned()]),
            tekton("taskruns", task("$.spec.taskSpec")),
            tekton("pipelines", pipeline("$.spec")),
            tekton("pipelineruns", pipeline("$.spec.pipelineSpec")),
            resource("argoproj.io", "rollouts", &[], &["$.spec.template.spec"]),
            resource("argoproj.io", "experiments", &[], &["$.spec.templates[*].template.spec"]),
            resource("argoproj.io", "analysistemplates", &[], &[analysis]),
            resource("argoproj.io", "clusteranalysistemplates", &[], &[analysis]),
            resource("argoproj.io", "analysisruns", &[], &[analysis]),
            resource("argoproj.io", "workflows", &workflow, &[]),
            resource("argoproj.io", "workflowtemplates", &workflow, &[]),
            resource("argoproj.io", "clusterworkflowtemplates", &workflow, &[]),
            resource(
                "argoproj.io",
                "cronworkflows",
                &workflow
                    .map(|path| path.replace("$.spec.", "$.spec.workflowSpec."))
                    .each_ref()
                    .map(String::as_str),
                &[],
            ),
            resource("apps.openshift.io", "deploymentconfigs", &[], &["$.spec.template.spec"]),
            resource("serving.knative.dev", "services", &[], &["$.spec.template.spec"]),
            resource("serving.knative.dev", "configurations", &[], &["$.spec.template.spec"]),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_names_and_wildcards() {
        for text in ["$.a", "$.a.b[*].c", "$['a.b'][*]", "$.*.x", "$[*]"] {
            assert!(JsonPath::parse(text).is_ok(), "{text}");
        }
        for (text, position) in [
            ("", 1),
            ("a", 1),
            ("$", 2),
            ("$.", 2),
            ("$..a", 2),
            ("$.a[0]", 4),
            ("$['a", 2),
            ("$.a[?(@.b)]", 4),
        ] {
            let error = JsonPath::parse(text).expect_err("no path");
            assert_eq!(error.position, position, "{error}");
        }
    }

    #[test]
    fn images_of_a_pipeline_are_found_with_their_pointers() {
        let resources = CustomResource::defaults();
        let pipeline = resources.iter().find(|r| r.resource == "pipelines").expect("pipelines");
        let object = r#"{"spec": {
            "tasks": [{"taskRef": {"name": "x"}}, {"taskSpec": {"steps": [{"image": "a"}, {"script": "x"}]}}],
            "finally": [{"taskSpec": {"sidecars": [{"image": "b"}], "stepTemplate": {"image": "c"}}}]
        }}"#;
        let object = RawValue::from_string(object.to_owned()).expect("JSON");
        let places = places(pipeline, &object).expect("places");
        let found: Vec<_> = places.iter().map(|p| (p.pointer.as_str(), p.image.as_str())).collect();
        let expected = [
            ("/spec/tasks/1/taskSpec/steps/0/image", "a"),
            ("/spec/finally/0/taskSpec/sidecars/0/image", "b"),
            ("/spec/finally/0/taskSpec/stepTemplate/image", "c"),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn what_is_no_image_where_one_should_be_is_refused() {
        let object = RawValue::from_string(r#"{"spec": {"image": 7}}"#.to_owned()).expect("JSON");
        let resource = CustomResource {
            group: "example.com".to_owned(),
            resource: "widgets".to_owned(),
            images: vec!["$.spec.image".to_owned()],
            pod_specs: Vec::new(),
        };
        let fault = places(&resource, &object).expect_err("no name");
        assert_eq!(fault, "/spec/image is not the name of an image");
    }

    #[test]
    fn paths_of_the_default_table_are_paths() {
        for resource in CustomResource::defaults() {
            for path in resource.images.iter().chain(&resource.pod_specs) {
                assert!(JsonPath::parse(path).is_ok(), "{path}");
            }
        }
    }
}
