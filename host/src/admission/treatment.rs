//! How an image is treated: the first rule that matches it and its namespace says.

use guest_policy::reference::Reference;

use super::{Rule, Rules, Treatment};

impl Rules {
    /// Whether objects of a namespace are not looked at. Objects without one always are.
    pub(super) fn exempts(&self, namespace: &str) -> bool {
        !namespace.is_empty() && self.exempt_namespaces.iter().any(|p| is_like(p, namespace))
    }

    /// How an image is treated; `None` for a name that is none. Rules are not combined: two that match never
    /// give more than the first of them.
    pub(super) fn treatment(&self, namespace: &str, image: Option<&Reference>) -> Treatment {
        let rule = self.rules.iter().find(|rule| rule.matches(namespace, image));
        rule.map_or(self.otherwise, |rule| rule.treatment)
    }
}

impl Rule {
    fn matches(&self, namespace: &str, image: Option<&Reference>) -> bool {
        let here =
            self.namespaces.is_empty() || self.namespaces.iter().any(|p| is_like(p, namespace));
        let this = self.images.is_empty()
            || image.is_some_and(|image| self.images.iter().any(|scope| covers(scope, image)));
        here && this
    }
}

/// Whether a text is `pattern`, or begins with it up to its final `*`.
pub(super) fn is_like(pattern: &str, text: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => text.starts_with(start),
        None => pattern == text,
    }
}

/// Whether an image is in a scope, as policy.json has them: a host, a namespace, a repository, a name with
/// tag or digest, or `*.DOMAIN`.
fn covers(scope: &str, image: &Reference) -> bool {
    let name = image.name();
    if let Some(domain) = scope.strip_prefix("*.") {
        let host = image.domain();
        return host.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.') && rest.len() > 1);
    }
    match name.strip_prefix(scope) {
        Some("") => true,
        Some(rest) => rest.starts_with('/'),
        None => scope == image.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{Mode, Mutation};
    use super::*;

    fn reference(text: &str) -> Reference {
        Reference::parse_normalized(text).expect("a reference")
    }

    #[test]
    fn scopes_end_where_a_component_ends() {
        for (scope, image, covered) in [
            ("docker.io", "busybox", true),
            ("docker.io/library", "busybox", true),
            ("docker.io/lib", "busybox", false),
            ("docker.io/library/busybox", "busybox:1", true),
            ("docker.io/library/busybox:1", "busybox:1", true),
            ("docker.io/library/busybox:1", "busybox:2", false),
            ("example.com", "example.com:5000/a", false),
            ("*.example.com", "a.example.com/b", true),
            ("*.example.com", "example.com/b", false),
            ("*.example.com", "badexample.com/b", false),
            ("*.example.com", "evil.com/a.example.com/b", false),
        ] {
            assert_eq!(covers(scope, &reference(image)), covered, "{scope} {image}");
        }
    }

    /// Security history, row 10 (CVE-2024-48921): exceptions that are combined never give more than one of them.
    #[test]
    fn first_rule_that_matches_decides_alone() {
        let observe = Treatment { mode: Mode::Observe, ..Treatment::default() };
        let on_error = Treatment { admit_on_error: true, ..Treatment::default() };
        let rules = Rules {
            rules: vec![
                Rule { namespaces: vec!["dev-*".into()], images: Vec::new(), treatment: on_error },
                Rule {
                    namespaces: Vec::new(),
                    images: vec!["docker.io".into()],
                    treatment: observe,
                },
            ],
            otherwise: Treatment { mutation: Mutation::Off, ..Treatment::default() },
            ..Rules::default()
        };
        let image = reference("busybox");
        assert_eq!(rules.treatment("dev-1", Some(&image)), on_error);
        assert_eq!(rules.treatment("prod", Some(&image)), observe);
        assert_eq!(rules.treatment("prod", Some(&reference("example.com/a"))), rules.otherwise);
        // What is no name is in no scope.
        assert_eq!(rules.treatment("prod", None), rules.otherwise);
    }

    proptest! {
        /// Security history, row 1 (Portieris PR #514): a pattern for a host was found inside of a path.
        #[test]
        fn row_1_host_of_a_scope_is_never_found_in_a_path(
            host in "[a-z]{1,8}\\.example\\.com(:[1-9][0-9]{1,3})?",
            path in "[a-z]{1,5}",
        ) {
            let bare = host.split(':').next().expect("a host");
            let hidden = [
                format!("evil.test/{bare}/{path}"),
                format!("evil.test/x/{bare}/{path}"),
                format!("{bare}.evil.test/{path}"),
                format!("evil-{bare}/{path}"),
            ];
            let own = reference(&format!("{host}/{path}:1"));
            for scope in [host.clone(), format!("{host}/{path}")] {
                prop_assert!(covers(&scope, &own));
                for image in &hidden {
                    prop_assert!(!covers(&scope, &reference(image)), "{} {}", scope, image);
                }
            }
            for image in &hidden[..3] {
                prop_assert!(!covers("*.example.com", &reference(image)), "{}", image);
            }
        }
    }

    #[test]
    fn namespaces_are_exempt_by_name_alone() {
        let rules = Rules {
            exempt_namespaces: vec!["kube-system".into(), "ci-*".into()],
            ..Rules::default()
        };
        assert!(rules.exempts("kube-system") && rules.exempts("ci-7"));
        assert!(!rules.exempts("kube-system-2") && !rules.exempts("ci") && !rules.exempts(""));
    }
}
