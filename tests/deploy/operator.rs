//! `deploy/operator`: definitions that say what the code reads, and an operator that may do what it has to.

use countersign::operator::resource::ImageSigning;
use kube::CustomResourceExt as _;
use serde_json::{Value, json};

use super::{documents, of_kind, schema, strings};
use crate::cli::User;
use crate::docs::{files, read};

#[test]
fn every_document_is_what_the_api_takes_and_part_of_the_folder() {
    let kustomization = &documents(&read(&format!("{FOLDER}/kustomization.yaml")))[0];
    let listed = strings(&kustomization["resources"]);
    let there = files(FOLDER, "yaml");
    let there = there.iter().filter_map(|file| file.strip_prefix(&format!("{FOLDER}/")));
    let mut there: Vec<_> = there.filter(|file| *file != "kustomization.yaml").collect();
    there.sort_unstable();
    let mut sorted = listed.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, there);
    schema::assert_valid(&all());
}

#[test]
fn definition_says_what_the_types_say() {
    let all = all();
    let definition = definition(&all, "countersign.dev");
    let mut expected = serde_json::to_value(ImageSigning::crd()).expect("a definition");
    strip(&mut expected);
    assert_eq!(*definition, expected, "{expected}");
}

#[test]
fn definitions_take_what_they_are_for_and_keep_what_is_there() {
    let all = all();
    let valid = |group: &str, object: &Value| {
        let definition = definition(&all, group);
        let version = &definition["spec"]["versions"][0];
        assert_eq!((&version["served"], &version["storage"]), (&json!(true), &json!(true)));
        assert!(version["subresources"]["status"].is_object(), "{group}");
        let schema = &version["schema"]["openAPIV3Schema"];
        structural(schema);
        let mut schema = schema.clone();
        close(&mut schema);
        let validator = jsonschema::draft4::new(&schema).expect("a schema");
        let mistakes: Vec<_> = validator.iter_errors(object).map(|e| e.to_string()).collect();
        if mistakes.is_empty() { Ok(()) } else { Err(mistakes.join("; ")) }
    };
    let example = documents(
        &read("docs/operator.md")
            .split("```yaml\n")
            .nth(1)
            .map(|block| block.split("```").next().unwrap_or_default().to_owned())
            .expect("an example"),
    );
    valid("countersign.dev", &example[0]).expect("the example of the documentation");
    let wrong = json!({"spec": {"algorithm": "dsa"}});
    valid("countersign.dev", &wrong).expect_err("an algorithm that there is not");
    valid("countersign.dev", &json!({"spec": {"privateKey": "x"}})).expect_err("no field for keys");
    // As section A3 of the reference has it.
    let kabanero = json!({
        "apiVersion": "security.kabanero.io/v1alpha1", "kind": "ImageSigning",
        "metadata": {"name": "a", "namespace": "b"},
        "spec": {
            "identity": {"name": "a", "email": "a@b", "comment": "c"},
            "keypair": {"secretKey": "s", "publicKey": "p"},
        },
        "status": {"generated": true, "errorMessage": "", "secretKey": "s", "publicKey": "p"},
    });
    valid("security.kabanero.io", &kabanero).expect("what there is in clusters");
}

#[test]
fn pods_are_restricted_and_their_arguments_are_understood() {
    let all = all();
    let deployment = of_kind(&all, "Deployment")[0];
    let pod = &deployment["spec"]["template"]["spec"];
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    assert!(pod["securityContext"]["runAsUser"].as_u64().is_some_and(|user| user > 0));
    assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
    assert!(pod["volumes"].is_null() && pod["hostNetwork"].is_null() && pod["hostPID"].is_null());
    let container = &pod["containers"][0];
    let context = &container["securityContext"];
    assert_eq!(context["allowPrivilegeEscalation"], false);
    assert_eq!(context["readOnlyRootFilesystem"], true);
    assert_eq!(context["capabilities"], json!({"drop": ["ALL"]}));
    assert!(container["resources"]["limits"]["memory"].is_string());
    let kustomization = &documents(&read(&format!("{FOLDER}/kustomization.yaml")))[0];
    assert_eq!(kustomization["images"][0]["name"], container["image"]);
    for account in of_kind(&all, "ServiceAccount") {
        assert_eq!(account["automountServiceAccountToken"], false);
        assert_eq!(account["metadata"]["name"], pod["serviceAccountName"]);
    }
    let namespace = &of_kind(&all, "Namespace")[0]["metadata"];
    assert_eq!(namespace["labels"]["pod-security.kubernetes.io/enforce"], "restricted");
    let bound = of_kind(&all, "RoleBinding");
    let namespaces: Vec<_> = bound.iter().map(|b| b["metadata"]["namespace"].clone()).collect();
    assert!(of_kind(&all, "ClusterRoleBinding").is_empty(), "no rights beyond named namespaces");
    let arguments = strings(&container["args"]);
    for (place, argument) in arguments.iter().enumerate() {
        if *argument == "--namespace" {
            assert!(namespaces.contains(&json!(arguments[place + 1])), "{namespaces:?}");
        }
    }
    let user = User::new();
    let mut command = user.command("");
    command.args(arguments).env("KUBECONFIG", user.path("none"));
    crate::cli::Ended::of(&mut command).assert_error(&["cannot use the Kubernetes API"]);
}

/// The rules of a role: group, resource and verb of each.
pub(crate) fn rights(role: &str) -> Vec<(String, String, String)> {
    let all = all();
    let roles = [of_kind(&all, "ClusterRole"), of_kind(&all, "Role")].concat();
    let found = roles.iter().find(|found| found["metadata"]["name"] == role).expect("a role");
    let mut rights = Vec::new();
    for rule in found["rules"].as_array().expect("rules") {
        for group in strings(&rule["apiGroups"]) {
            for resource in strings(&rule["resources"]) {
                for verb in strings(&rule["verbs"]) {
                    rights.push((group.to_owned(), resource.to_owned(), verb.to_owned()));
                }
            }
        }
    }
    rights.sort();
    rights.dedup();
    rights
}

fn all() -> Vec<Value> {
    let files = files(FOLDER, "yaml");
    let files = files.iter().filter(|file| !file.ends_with("/kustomization.yaml"));
    files.flat_map(|file| documents(&read(file))).collect()
}

fn definition<'a>(all: &'a [Value], group: &str) -> &'a Value {
    let definitions = of_kind(all, "CustomResourceDefinition");
    definitions.into_iter().find(|found| found["spec"]["group"] == group).expect("a definition")
}

/// Take out what is empty: nobody writes that into a file.
fn strip(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.values_mut().for_each(strip);
            let unsaid = ["categories", "shortNames", "selectableFields"];
            map.retain(|name, value| {
                let empty = value.as_array().is_some_and(Vec::is_empty);
                !(value.is_null() || empty && unsaid.contains(&name.as_str()))
            });
        }
        Value::Array(list) => list.iter_mut().for_each(strip),
        _ => {}
    }
}

/// What the API server demands of schemas: every place has a type.
fn structural(schema: &Value) {
    let kind = schema["type"].as_str();
    assert!(kind.is_some(), "no type: {schema}");
    for property in schema["properties"].as_object().into_iter().flatten().map(|(_, p)| p) {
        structural(property);
    }
    if kind == Some("array") {
        structural(&schema["items"]);
    }
}

/// A field that is not described is a mistake, as `kubectl apply` has it.
fn close(schema: &mut Value) {
    if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        properties.values_mut().for_each(close);
        for known in ["apiVersion", "kind", "metadata"] {
            if schema.get("description").is_some() && schema["properties"]["spec"].is_object() {
                schema["properties"][known] = json!({});
            }
        }
        schema["additionalProperties"] = false.into();
    }
    if schema["items"].is_object() {
        close(&mut schema["items"]);
    }
    // Draft 4 has no `nullable`.
    if schema["nullable"] == true {
        let kind = schema["type"].clone();
        schema["type"] = json!([kind, "null"]);
        if let Some(words) = schema.get_mut("enum").and_then(Value::as_array_mut) {
            words.push(Value::Null);
        }
    }
}

const FOLDER: &str = "deploy/operator";
