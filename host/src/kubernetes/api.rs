//! Single requests to the API, without anything that logs or shows a body.

use std::error::Error as _;
use std::time::Duration;

use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::header::CONTENT_TYPE;
use hyper::{Method, Request};
use kube::client::Body;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{Cluster, ClusterError};

impl Cluster {
    /// GET an object; `None` if there is none.
    pub(super) async fn get<T: DeserializeOwned>(
        &self,
        path: &str,
        what: &str,
    ) -> Result<Option<T>, ClusterError> {
        let answer = self.ask(Question { method: Method::GET, path, content: None }, what).await?;
        match answer.status {
            200 => {}
            404 => return Ok(None),
            _ => return Err(answer.refusal(&Method::GET, what)),
        }
        answer.read(what).map(Some)
    }

    /// Ask, and give whatever is answered.
    pub(super) async fn ask(
        &self,
        question: Question<'_>,
        what: &str,
    ) -> Result<Answer, ClusterError> {
        let method = question.method.clone();
        let failed = |fault: String| failure(&method, what, fault);
        let request = question.into_request().map_err(|e| failed(e.to_string()))?;
        let response = self.client.send(request).await.map_err(|e| failed(transport_fault(&e)))?;
        let status = response.status().as_u16();
        let body = Limited::new(response.into_body(), MAX_ANSWER_BYTES);
        let content = body.collect().await.map_err(|e| match e.is::<LengthLimitError>() {
            true => failed(format!("the answer is larger than {MAX_ANSWER_BYTES} bytes")),
            false => failed("the answer broke off".to_owned()),
        })?;
        Ok(Answer { status, content: content.to_bytes().into() })
    }
}

/// Give an operation up when it takes too long.
pub(super) async fn within<T>(
    after: Duration,
    what: &str,
    operation: impl Future<Output = Result<T, ClusterError>>,
) -> Result<T, ClusterError> {
    match tokio::time::timeout(after, operation).await {
        Ok(result) => result,
        Err(_) => Err(ClusterError::Deadline { what: what.to_owned(), after }),
    }
}

/// What is asked of the API.
pub(super) struct Question<'a> {
    pub(super) method: Method,
    pub(super) path: &'a str,
    /// Media type and document.
    pub(super) content: Option<(&'static str, &'a Value)>,
}

impl Question<'_> {
    fn into_request(self) -> Result<Request<Body>, hyper::http::Error> {
        let request = Request::builder().method(self.method).uri(self.path);
        match self.content {
            Some((media_type, document)) => request
                .header(CONTENT_TYPE, media_type)
                .body(Body::from(document.to_string().into_bytes())),
            None => request.body(Body::empty()),
        }
    }
}

/// What the API answered.
pub(super) struct Answer {
    pub(super) status: u16,
    content: Vec<u8>,
}

impl Answer {
    /// The object that was answered.
    pub(super) fn read<T: DeserializeOwned>(&self, what: &str) -> Result<T, ClusterError> {
        // The parser's own message could quote a secret.
        serde_json::from_slice(&self.content).map_err(|e| ClusterError::Unreadable {
            what: what.to_owned(),
            fault: format!(
                "it is not the object that was expected, line {} column {}",
                e.line(),
                e.column()
            ),
        })
    }

    /// What an answer means that is none of those that were expected.
    pub(super) fn refusal(&self, method: &Method, what: &str) -> ClusterError {
        if matches!(self.status, 401 | 403) {
            let (what, status) = (what.to_owned(), self.status);
            return ClusterError::Forbidden { verb: verb(method), what, status };
        }
        // The API's message could quote what was sent; its reason is one word.
        #[derive(Deserialize)]
        struct Status {
            reason: String,
        }
        let reason = serde_json::from_slice::<Status>(&self.content).map(|status| status.reason);
        let reason: String = reason.unwrap_or_default();
        let word = reason.chars().filter(char::is_ascii_alphanumeric).take(MAX_REASON);
        let reason: String = word.collect();
        let fault = match reason.is_empty() {
            true => format!("it answered with status {}", self.status),
            false => format!("it answered with status {} ({reason})", self.status),
        };
        failure(method, what, fault)
    }
}

/// `value` if it can be the name of a namespace, service account or Secret (RFC 1123 subdomain, of which a
/// namespace's label is one): it becomes part of a path, and comes from whoever makes pods.
pub(super) fn name<'a>(kind: &'static str, value: &'a str) -> Result<&'a str, ClusterError> {
    let outside = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let labels = value.split('.').all(|label| {
        let (first, last) = (label.bytes().next(), label.bytes().last());
        first.is_some_and(outside)
            && last.is_some_and(outside)
            && label.bytes().all(|b| outside(b) || b == b'-')
    });
    if labels && value.len() <= MAX_NAME_BYTES {
        return Ok(value);
    }
    Err(ClusterError::Name { kind, name: value.chars().take(MAX_NAME_SHOWN).collect() })
}

/// Why there was no answer. Nothing of the process's own credentials is in it.
pub(super) fn transport_fault(error: &kube::Error) -> String {
    if let kube::Error::Auth(_) = error {
        return "the server's own credentials for it cannot be had; look at its service account's token \
                or at the kubeconfig"
            .to_owned();
    }
    let Some(mut cause) = error.source() else { return error.to_string() };
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}

fn failure(method: &Method, what: &str, fault: String) -> ClusterError {
    let what = what.to_owned();
    match *method == Method::GET {
        true => ClusterError::Unreadable { what, fault },
        false => ClusterError::Unwritable { what, fault },
    }
}

/// What role-based access control calls a method.
fn verb(method: &Method) -> &'static str {
    match method.as_str() {
        "POST" => "create",
        "PUT" => "update",
        "PATCH" => "patch",
        "DELETE" => "delete",
        _ => "get",
    }
}

/// Largest answer: twice what etcd stores of one object, for base64 and the names of fields.
const MAX_ANSWER_BYTES: usize = 4 * 1024 * 1024;

/// Longest name of an object (RFC 1123 subdomain).
const MAX_NAME_BYTES: usize = 253;

/// Characters of a name that is none, in messages.
const MAX_NAME_SHOWN: usize = 64;

/// Characters of a reason of the API: the longest has half as many.
const MAX_REASON: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_lead_elsewhere_are_refused() {
        let longest = "a".repeat(253);
        for value in ["a", "a-b.c", "0", "default-dockercfg-x7x9z", longest.as_str()] {
            assert!(name("Secret", value).is_ok(), "{value}");
        }
        let too_long = "a".repeat(254);
        for value in [
            "",
            ".",
            "..",
            "a/b",
            "../../kube-system/secrets/token",
            "a?x",
            "a#x",
            "a%2fb",
            "A",
            "-a",
            "a-",
            "a..b",
            ".a",
            "a.",
            "a b",
            "a\n",
            "é",
            too_long.as_str(),
        ] {
            let fault = name("Secret", value).expect_err(value).to_string();
            assert!(fault.contains("cannot be the name of a Secret"), "{fault}");
        }
    }
}
