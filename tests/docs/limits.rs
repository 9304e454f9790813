//! docs/sandbox.md has every limit of the code, as it is.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{files, markdown, read};

#[test]
fn every_limit_has_the_value_that_is_documented() {
    let (_, prose) = markdown::split(&read(PAGE));
    for row in markdown::rows(&prose, "limit") {
        let [name, file] = markdown::code(row[1])[..] else {
            missing(&format!("{PAGE}: no constant and file in {row:?}"));
        };
        let value = value(file, name);
        let value = value.unwrap_or_else(|| missing(&format!("{file} has no constant {name}")));
        let documented = Value::of_page(row[2]);
        let documented = documented.unwrap_or_else(|| missing(&format!("not a value: {row:?}")));
        assert_eq!(documented, value, "{name} of {file}");
    }
}

#[test]
fn every_limit_is_documented() {
    let (_, prose) = markdown::split(&read(PAGE));
    let rows = markdown::rows(&prose, "limit");
    let mut found = 0;
    for file in files("host/src", "rs").into_iter().chain(files("guest-policy/src", "rs")) {
        for name in constants(&read(&file)).into_keys().filter(|name| is_limit(name)) {
            let known = rows.iter().any(|row| markdown::code(row[1]) == [name.as_str(), &file]);
            assert!(known, "{PAGE} has no row for {name} of {file}");
            found += 1;
        }
    }
    assert!(found > 30, "only {found} limits were found");
}

/// The value of a constant of a source file.
fn value(file: &str, name: &str) -> Option<Value> {
    Value::of_code(&constants(&read(file)).remove(name)?, &|path| {
        let count = match path.strip_prefix("crate::").and_then(|path| path.rsplit_once("::")) {
            Some((module, name)) => {
                let (source, _) = file.split_once("/src/")?;
                value(&format!("{source}/src/{}.rs", module.replace("::", "/")), name)
            }
            None => value(file, path),
        };
        count.and_then(Value::count)
    })
}

fn is_limit(name: &str) -> bool {
    let starts = ["MAX_", "MIN_"].iter().any(|start| name.starts_with(start));
    starts || ["DEADLINE", "SKEW", "TIMEOUT"].iter().any(|end| name.ends_with(end))
}

/// The constants of a source file with their expressions, without those of its tests.
fn constants(source: &str) -> BTreeMap<String, String> {
    let source = source.split("#[cfg(test)]").next().unwrap_or_default();
    let mut constants = BTreeMap::new();
    for declaration in source.split("const ").skip(1) {
        let Some((name, rest)) = declaration.split_once(':') else { continue };
        let Some((kind, rest)) = rest.split_once('=') else { continue };
        let kind = kind.trim().rsplit("::").next().unwrap_or_default();
        if ["usize", "u16", "u32", "u64", "Duration"].contains(&kind)
            && let Some((expression, _)) = rest.split_once(';')
        {
            constants.insert(name.to_owned(), expression.trim().to_owned());
        }
    }
    constants
}

#[derive(Debug, Eq, PartialEq)]
enum Value {
    Count(u64),
    Time(Duration),
}

impl Value {
    /// `4 * 1024 * 1024`, `128 << 20`, `Duration::from_secs(5)`; `named` knows other constants.
    fn of_code(expression: &str, named: &dyn Fn(&str) -> Option<u64>) -> Option<Self> {
        if let Some((_, call)) = expression.split_once("Duration::from_") {
            let (unit, number) = call.strip_suffix(')')?.split_once('(')?;
            let number = number.parse().ok()?;
            return match unit {
                "millis" => Some(Self::Time(Duration::from_millis(number))),
                "secs" => Some(Self::Time(Duration::from_secs(number))),
                _ => None,
            };
        }
        let number = |text: &str| {
            let text = text.trim();
            text.replace('_', "").parse().ok().or_else(|| named(text))
        };
        if let Some((left, right)) = expression.split_once("<<") {
            return Some(Self::Count(number(left)? << number(right)?));
        }
        expression.split('*').map(number).product::<Option<u64>>().map(Self::Count)
    }

    fn count(self) -> Option<u64> {
        match self {
            Self::Count(count) => Some(count),
            Self::Time(_) => None,
        }
    }

    /// `128 MiB`, `5 s`, `20000`.
    fn of_page(text: &str) -> Option<Self> {
        let (number, unit) = text.split_once(' ').unwrap_or((text, ""));
        let number: u64 = number.parse().ok()?;
        Some(match unit {
            "" => Self::Count(number),
            "KiB" => Self::Count(number << 10),
            "MiB" => Self::Count(number << 20),
            "ms" => Self::Time(Duration::from_millis(number)),
            "s" => Self::Time(Duration::from_secs(number)),
            _ => return None,
        })
    }
}

#[expect(clippy::panic, reason = "what is missing is the failure of the test")]
fn missing(what: &str) -> ! {
    panic!("{what}")
}

const PAGE: &str = "docs/sandbox.md";

#[test]
fn reads_values() {
    let named = |name: &str| (name == "OTHER").then_some(3);
    let code = |text| Value::of_code(text, &named).expect(text);
    assert_eq!(code("4 * 1024"), Value::of_page("4 KiB").expect("a value"));
    assert_eq!(code("128 << 20"), Value::of_page("128 MiB").expect("a value"));
    assert_eq!(code("20_000"), Value::Count(20_000));
    assert_eq!(code("std::time::Duration::from_secs(5)"), Value::Time(Duration::from_secs(5)));
    assert_eq!(code("2 * OTHER"), Value::Count(6));
    assert_eq!(Value::of_code("UNKNOWN", &named), None);
    let source = "pub const A: usize = 1;\nconst B: &str = \"x\";\n#[cfg(test)]\nconst C: u32 = 2;";
    let expected = BTreeMap::from([("A".to_owned(), "1".to_owned())]);
    assert_eq!(constants(source), expected);
}
