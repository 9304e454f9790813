//! What a rule's module is.

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::Value;

use super::{Style, document, printable};
use crate::workbench::{Inspection, Loaded};

/// One document: `module`, `size`, `digest`, `imports`, `exports`, `loads`; of a module that loads also `name`,
/// `version`, `purpose`, `capabilities`, `settings_schema` and `doubts`, of another the `reason` with `code` and
/// `message`.
pub fn json(name: &str, inspection: &Inspection) -> String {
    let Inspection { size, sha256, imports, exports, loaded } = inspection;
    document(&Document {
        module: name,
        size: *size,
        digest: format!("sha256:{sha256}"),
        imports,
        exports,
        loads: loaded.is_ok(),
        described: loaded.as_ref().ok().map(Described::from),
        reason: loaded
            .as_ref()
            .err()
            .map(|fault| Reason { code: fault.code(), message: fault.to_string() }),
    })
}

/// A heading, and a line for each thing that is to know.
pub fn text(name: &str, inspection: &Inspection, style: Style) -> String {
    let Inspection { size, sha256, imports, exports, loaded } = inspection;
    let heading = match loaded {
        Ok(loaded) => format!("{} {}", loaded.description.name, loaded.description.version),
        Err(_) => name.to_owned(),
    };
    let mut text = style.strong(&printable(&heading));
    text.push_str(&format!("\nsha256:{sha256}\n\n"));
    let list = |names: &BTreeSet<String>| match names.is_empty() {
        true => "nothing".to_owned(),
        false => names.iter().cloned().collect::<Vec<_>>().join(", "),
    };
    let mut line = |label, words: &str| text.push_str(&style.line(label, words));
    if let Ok(Loaded { description, .. }) = loaded {
        line("purpose", &description.purpose);
        let wanted = description.capabilities.iter().cloned().collect();
        line("wants", &list(&wanted));
    }
    line("imports", &list(imports));
    line("exports", &list(exports));
    line("size", &format!("{size} bytes"));
    match loaded {
        Ok(loaded) => {
            line("settings", &loaded.description.settings_schema);
            line("loads", "yes");
            for doubt in loaded.doubts() {
                line("but", &doubt);
            }
        }
        Err(fault) => {
            line("loads", "no");
            line("reason", &format!("{fault} ({})", fault.code()));
        }
    }
    text
}

#[derive(Serialize)]
struct Document<'a> {
    module: &'a str,
    size: usize,
    digest: String,
    imports: &'a BTreeSet<String>,
    exports: &'a BTreeSet<String>,
    loads: bool,
    #[serde(flatten)]
    described: Option<Described<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<Reason>,
}

#[derive(Serialize)]
struct Described<'a> {
    name: &'a str,
    version: &'a str,
    purpose: &'a str,
    capabilities: &'a [String],
    /// As the rule gave it, if that is JSON at all.
    settings_schema: Value,
    doubts: Vec<String>,
}

impl<'a> From<&'a Loaded> for Described<'a> {
    fn from(loaded: &'a Loaded) -> Self {
        let description = &loaded.description;
        let schema = &description.settings_schema;
        Self {
            name: &description.name,
            version: &description.version,
            purpose: &description.purpose,
            capabilities: &description.capabilities,
            settings_schema: serde_json::from_str(schema).unwrap_or_else(|_| schema.clone().into()),
            doubts: loaded.doubts(),
        }
    }
}

#[derive(Serialize)]
struct Reason {
    code: &'static str,
    message: String,
}
