//! The rule `no-root`: images say that they run as somebody else than root.

use countersign_rule::{Answer, Question, artifact, rule};
use image_config::Config;
use schemars::JsonSchema;
use serde::Deserialize;

rule! {
    purpose: "images say that they run as somebody else than root",
    settings: Settings,
    check: check,
    evaluate: evaluate,
    capabilities: [artifact],
}

/// Whom images may run as.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
struct Settings {
    /// Names that are not root in your images: a name says nothing by itself, since the image's own /etc/passwd
    /// gives it a number.
    users: Vec<String>,
    /// The lowest number that is allowed.
    #[schemars(range(min = 1, max = 2_147_483_647))]
    minimum_uid: u32,
    /// Whether the group has to be somebody else's than root's, too. Images made for OpenShift run in group 0.
    root_group: RootGroup,
    /// Names of groups that are not root's in your images.
    groups: Vec<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { users: Vec::new(), minimum_uid: 1, root_group: RootGroup::Allow, groups: Vec::new() }
    }
}

/// What to say of group 0.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq)]
#[serde(rename_all = "kebab-case")]
enum RootGroup {
    Allow,
    Deny,
}

fn check(settings: &Settings) -> Vec<String> {
    let mut mistakes = Vec::new();
    if !(1..=LARGEST_ID).contains(&settings.minimum_uid) {
        let minimum = settings.minimum_uid;
        mistakes.push(format!("minimumUid is {minimum}, but has to be from 1 to {LARGEST_ID}"));
    }
    for (list, names) in [("users", &settings.users), ("groups", &settings.groups)] {
        for (at, name) in names.iter().enumerate() {
            if ADMINISTRATORS.iter().any(|known| known.eq_ignore_ascii_case(name)) {
                mistakes.push(format!("{list}[{at}] is {name:?}, which this rule is against"));
            } else if !is_name(name) {
                mistakes.push(format!(
                    "{list}[{at}] is {name:?}, which is no name; numbers need not be listed"
                ));
            }
        }
    }
    if settings.root_group == RootGroup::Allow && !settings.groups.is_empty() {
        mistakes.push("groups are looked at only if rootGroup is \"deny\"".to_owned());
    }
    mistakes
}

fn evaluate(_question: &Question, settings: &Settings) -> Answer {
    if let Some(mistake) = check(settings).into_iter().next() {
        return Answer::deny("settings-invalid", mistake);
    }
    match Config::read(&artifact::config()) {
        Err(error) => Answer::deny(
            "config-unusable",
            format!("the image's configuration cannot be relied on: {error}"),
        ),
        Ok(config) => match judge(&config.user, settings) {
            Ok(()) => Answer::allow(),
            Err((code, message)) => Answer::deny(code, message),
        },
    }
}

/// What is wrong with `config.User`: code and message.
fn judge(user: &str, settings: &Settings) -> Result<(), (&'static str, String)> {
    let shown = image_config::shown(user);
    if user.is_empty() {
        let message = "the image names no user, and so runs as root; set USER to a number above 0";
        return Err(("user-missing", message.to_owned()));
    }
    let (name, group) = match user.split_once(':') {
        Some((name, group)) => (name, Some(group)),
        None => (user, None),
    };
    match Id::of(name) {
        Id::Number(number) if number > LARGEST_ID => return Err(too_large(&shown)),
        Id::Number(0) => return Err(root(&shown)),
        Id::Number(number) if number < settings.minimum_uid => {
            let minimum = settings.minimum_uid;
            let message =
                format!("the image runs as {shown}; numbers below {minimum} are not allowed");
            return Err(("user-too-low", message));
        }
        Id::Number(_) => {}
        Id::TooLarge => return Err(too_large(&shown)),
        Id::Name if ADMINISTRATORS.iter().any(|known| known.eq_ignore_ascii_case(name)) => {
            return Err(root(&shown));
        }
        Id::Name if settings.users.iter().any(|known| known == name) => {}
        Id::Name => {
            let message = format!(
                "the image runs as {shown}, a name whose number only its own files tell; set USER to a number, or list \
                 the name in the setting users"
            );
            return Err(("user-not-listed", message));
        }
    }
    match group.map(Id::of) {
        None | Some(Id::Number(0)) if settings.root_group == RootGroup::Deny => {
            let message = format!(
                "the image runs as {shown}, in root's group or in one that only its own files tell; set USER to two \
                 numbers above 0: 1000:1000"
            );
            Err(("root-group", message))
        }
        None => Ok(()),
        Some(Id::TooLarge) => Err(too_large(&shown)),
        Some(Id::Number(number)) if number > LARGEST_ID => Err(too_large(&shown)),
        Some(Id::Number(_)) => Ok(()),
        Some(Id::Name) => {
            let group = group.unwrap_or_default();
            let listed = settings.groups.iter().any(|known| known == group);
            if !is_name(group) {
                let message = format!("the image runs as {shown}, which is no user and group");
                Err(("user-malformed", message))
            } else if settings.root_group == RootGroup::Deny && !listed {
                let message = format!(
                    "the image runs as {shown}, in a group whose number only its own files tell; give its number, or \
                     list the name in the setting groups"
                );
                Err(("group-not-listed", message))
            } else {
                Ok(())
            }
        }
    }
}

fn root(shown: &str) -> (&'static str, String) {
    ("user-root", format!("the image runs as {shown}, which is root; set USER to a number above 0"))
}

fn too_large(shown: &str) -> (&'static str, String) {
    let message = format!(
        "the image runs as {shown}; numbers above {LARGEST_ID} become 0 in some runtimes (CVE-2024-40635)"
    );
    ("user-too-large", message)
}

/// One half of `User`, as runtimes read it.
enum Id {
    /// Digits, and nothing else. Signs, which some runtimes read as part of a number, are not in the names that one
    /// can list.
    Number(u32),
    TooLarge,
    Name,
}

impl Id {
    fn of(text: &str) -> Self {
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Self::Name;
        }
        text.parse().map_or(Self::TooLarge, Self::Number)
    }
}

/// A name as useradd(8) takes it, also with capitals as on Windows.
fn is_name(text: &str) -> bool {
    let first = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_';
    let other = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    text.bytes().next().is_some_and(first) && text.bytes().all(other)
}

/// Largest number that every runtime keeps as it is: containerd refuses larger ones since CVE-2024-40635, before
/// which it cut them to 32 bits.
const LARGEST_ID: u32 = i32::MAX as u32;

/// Names that are root wherever they are known: on Linux, and in images for Windows.
const ADMINISTRATORS: [&str; 4] = ["root", "ContainerAdministrator", "Administrator", "SYSTEM"];

#[cfg(test)]
mod tests {
    use super::*;

    fn code(user: &str, settings: &Settings) -> &'static str {
        judge(user, settings).map_or_else(|(code, _)| code, |()| "")
    }

    #[test]
    fn allows_numbers_above_0() {
        for user in
            ["1", "1000", "65532:65532", "1000:0", "0001", "2147483647:2147483647", "1:staff"]
        {
            assert_eq!(code(user, &Settings::default()), "", "{user}");
        }
    }

    #[test]
    fn denies_root_in_every_spelling() {
        for user in [
            "0",
            "0:0",
            "0:1000",
            "00",
            "000:1",
            "root",
            "root:root",
            "ROOT",
            "ContainerAdministrator",
        ] {
            assert_eq!(code(user, &Settings::default()), "user-root", "{user}");
        }
        assert_eq!(code("", &Settings::default()), "user-missing");
    }

    #[test]
    fn denies_what_runtimes_may_read_as_root() {
        for user in ["+0", "-0", " 0", "0 ", "0x0", "０", ":0", ":1000", "1000,0", "app"] {
            assert_eq!(code(user, &Settings::default()), "user-not-listed", "{user}");
        }
        for user in ["1000:", "1000: 0", "1000:+0", "1000:0:0", "1000:1000:"] {
            assert_eq!(code(user, &Settings::default()), "user-malformed", "{user}");
        }
    }

    /// CVE-2024-40635: containerd took 4294967296 for 0.
    #[test]
    fn denies_numbers_that_wrap_around_to_root() {
        for user in [
            "2147483648",
            "4294967295",
            "4294967296",
            "18446744073709551616",
            "1000:4294967296",
            "1:2147483648",
        ] {
            assert_eq!(code(user, &Settings::default()), "user-too-large", "{user}");
        }
    }

    #[test]
    fn names_have_to_be_listed() {
        let settings = Settings { users: vec!["nonroot".to_owned()], ..Settings::default() };
        assert_eq!(code("nonroot", &settings), "");
        assert_eq!(code("nonroot:nonroot", &settings), "");
        for user in ["Nonroot", "nonroot2", "nonroot "] {
            assert_eq!(code(user, &settings), "user-not-listed", "{user}");
        }
    }

    #[test]
    fn low_numbers_are_denied_where_they_are_told_to_be() {
        let settings = Settings { minimum_uid: 10_000, ..Settings::default() };
        assert_eq!(code("9999", &settings), "user-too-low");
        assert_eq!(code("10000", &settings), "");
        assert_eq!(code("0", &settings), "user-root");
    }

    #[test]
    fn roots_group_is_denied_where_it_is_told_to_be() {
        let settings = Settings {
            root_group: RootGroup::Deny,
            groups: vec!["app".to_owned()],
            ..Settings::default()
        };
        for user in ["1000", "1000:0", "1000:00"] {
            assert_eq!(code(user, &settings), "root-group", "{user}");
        }
        for (user, expected) in [
            ("1000:1000", ""),
            ("1000:app", ""),
            ("1000:root", "group-not-listed"),
            ("1000:apps", "group-not-listed"),
            ("0:1000", "user-root"),
        ] {
            assert_eq!(code(user, &settings), expected, "{user}");
        }
    }

    #[test]
    fn finds_mistakes_in_settings() {
        assert_eq!(check(&Settings::default()), Vec::<String>::new());
        for name in ["root", "Root", "0", "1000", "+0", "", "a b", "a:b", "administrator"] {
            let settings = Settings { users: vec![name.to_owned()], ..Settings::default() };
            assert_eq!(check(&settings).len(), 1, "{name}");
        }
        for minimum_uid in [0, LARGEST_ID + 1] {
            let settings = Settings { minimum_uid, ..Settings::default() };
            assert_eq!(check(&settings).len(), 1, "{minimum_uid}");
        }
        let settings = Settings { groups: vec!["app".to_owned()], ..Settings::default() };
        assert_eq!(check(&settings), ["groups are looked at only if rootGroup is \"deny\""]);
    }
}
