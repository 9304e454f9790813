//! From plain functions to what the interface wants.

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::{Answer, Question};

/// Make a rule of a function.
///
/// - `purpose`: one line that says what the rule is for.
/// - `settings`: a type that is [`serde::Deserialize`] and [`schemars::JsonSchema`], best with
///   `#[serde(deny_unknown_fields)]`; [`NoSettings`] if there are none. Settings that do not fit
///   are refused when the policy is loaded.
/// - `check` (may be left out): `fn(&Settings) -> Vec<String>`, what is wrong with settings beyond what their
///   type can say: one sentence for each mistake.
/// - `evaluate`: `fn(&Question, &Settings) -> Answer`.
/// - `capabilities` (may be left out): those of `log`, `artifact`, `crypto` and `data` that the rule uses.
///
/// Name and version are those in Cargo.toml. Use it once, at the top of `lib.rs`.
#[macro_export]
macro_rules! rule {
    (
        purpose: $purpose:expr,
        settings: $settings:ty,
        $(check: $check:expr,)?
        evaluate: $evaluate:expr
        $(, capabilities: [$($capability:ident),* $(,)?])?
        $(,)?
    ) => {
        #[doc(hidden)]
        #[allow(dead_code, reason = "a type that stands for functions")]
        struct CountersignRule;

        impl $crate::Rule for CountersignRule {
            type Settings = $settings;
            const NAME: &str = ::core::env!("CARGO_PKG_NAME");
            const VERSION: &str = ::core::env!("CARGO_PKG_VERSION");
            const PURPOSE: &str = $purpose;
            const CAPABILITIES: &[&str] = &[$($(::core::stringify!($capability)),*)?];

            fn prepare() {
                $($($crate::capability::$capability();)*)?
            }

            $(fn check(settings: &$settings) -> ::std::vec::Vec<::std::string::String> {
                $check(settings)
            })?

            fn evaluate(question: &$crate::Question, settings: &$settings) -> $crate::Answer {
                $evaluate(question, settings)
            }
        }

        #[cfg(target_family = "wasm")]
        #[allow(unsafe_code, reason = "generated bindings")]
        const _: () = {
            type Exported = $crate::bindings::Exported<CountersignRule>;
            $crate::bindings::__export_rule!(Exported with_types_in $crate::bindings);
        };

        // What a component exports, elsewhere somebody has to use, too.
        #[cfg(not(target_family = "wasm"))]
        const _: fn(&$crate::Question, &str) -> $crate::Answer =
            $crate::evaluate::<CountersignRule>;

        #[cfg(all(test, not(target_family = "wasm")))]
        mod golden_cases {
            #[test]
            fn come_out_as_expected() {
                let folder = ::core::concat!(::core::env!("CARGO_MANIFEST_DIR"), "/cases");
                $crate::testing::golden_cases::<super::CountersignRule>(::std::path::Path::new(folder));
            }
        }
    };
}

/// What [`rule!`](crate::rule!) makes of its arguments.
#[doc(hidden)]
pub trait Rule {
    /// Of the policy.
    type Settings: DeserializeOwned + schemars::JsonSchema;
    /// Of the package.
    const NAME: &str;
    /// Of the package.
    const VERSION: &str;
    /// One line.
    const PURPOSE: &str;
    /// Names of those that are used.
    const CAPABILITIES: &[&str];

    /// Before anything else.
    fn prepare();

    /// What is wrong with settings beyond their type.
    fn check(_settings: &Self::Settings) -> Vec<String> {
        Vec::new()
    }

    /// The answer.
    fn evaluate(question: &Question, settings: &Self::Settings) -> Answer;
}

/// The settings of a rule that has none: `{}`.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NoSettings {}

/// The JSON Schema (draft 2020-12) of a rule's settings.
#[doc(hidden)]
pub fn settings_schema<R: Rule>() -> String {
    schemars::schema_for!(R::Settings).as_value().to_string()
}

/// Everything that is wrong with settings.
#[doc(hidden)]
pub fn check_settings<R: Rule>(settings: &str) -> Vec<String> {
    match serde_json::from_str(settings) {
        Ok(settings) => R::check(&settings),
        Err(error) => vec![misfit(&error)],
    }
}

/// The answer. Settings that do not fit are no ground to allow: whoever loads a policy finds that earlier.
#[doc(hidden)]
pub fn evaluate<R: Rule>(question: &Question, settings: &str) -> Answer {
    match serde_json::from_str(settings) {
        Ok(settings) => R::evaluate(question, &settings),
        Err(error) => Answer::deny(SETTINGS_INVALID, misfit(&error)),
    }
}

fn misfit(error: &serde_json::Error) -> String {
    format!("the settings do not fit: {error}")
}

/// The code of the reason.
const SETTINGS_INVALID: &str = "settings-invalid";

/// One function for each capability: that a rule names one that does not exist is a mistake when it is
/// compiled.
#[doc(hidden)]
pub mod capability {
    /// Nothing to prepare.
    pub fn artifact() {}

    /// Nothing to prepare.
    pub fn crypto() {}

    /// Nothing to prepare.
    pub fn data() {}

    /// A rule that panics says so in its log, before it is ended.
    pub fn log() {
        #[cfg(target_family = "wasm")]
        std::panic::set_hook(Box::new(|panic| crate::log::error(&panic.to_string())));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Picky;

    #[derive(Deserialize, schemars::JsonSchema)]
    #[serde(deny_unknown_fields)]
    struct Settings {
        days: u8,
    }

    impl Rule for Picky {
        type Settings = Settings;
        const NAME: &str = "picky";
        const VERSION: &str = "1.0.0";
        const PURPOSE: &str = "is picky";
        const CAPABILITIES: &[&str] = &[];

        fn prepare() {}

        fn check(settings: &Settings) -> Vec<String> {
            if settings.days == 0 { vec!["none".to_owned()] } else { Vec::new() }
        }

        fn evaluate(_question: &Question, _settings: &Settings) -> Answer {
            Answer::allow()
        }
    }

    #[test]
    fn denies_with_settings_that_do_not_fit() {
        for settings in [
            "",
            "{}",
            "[]",
            "null",
            r#"{"days":-1}"#,
            r#"{"days":1,"more":1}"#,
            r#"{"days":1,"days":2}"#,
        ] {
            let answer = evaluate::<Picky>(&Question::default(), settings);
            assert!(!answer.allow, "{settings}");
            assert_eq!(answer.reasons[0].code, "settings-invalid", "{settings}");
            assert_eq!(check_settings::<Picky>(settings).len(), 1, "{settings}");
        }
        assert!(evaluate::<Picky>(&Question::default(), r#"{"days":1}"#).allow);
    }

    #[test]
    fn asks_the_rule_about_settings_that_fit() {
        assert_eq!(check_settings::<Picky>(r#"{"days":0}"#), ["none"]);
        assert!(check_settings::<Picky>(r#"{"days":1}"#).is_empty());
    }

    #[test]
    fn the_schema_is_strict_where_the_type_is() {
        let schema: serde_json::Value =
            serde_json::from_str(&settings_schema::<Picky>()).expect("JSON");
        assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
        assert_eq!(schema["additionalProperties"], false);
        assert_eq!(schema["required"], serde_json::json!(["days"]));
        let none = schemars::schema_for!(NoSettings);
        assert_eq!(none.as_value()["additionalProperties"], false);
    }
}
