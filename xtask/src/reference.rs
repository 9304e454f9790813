//! The reference for authors of rules: a page made of the interface's own words.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use wit_parser::{
    Docs, Function, Interface, Resolve, Type, TypeDefKind, TypeId, WorldId, WorldItem, WorldKey,
};

/// Write the page.
pub(crate) fn write() -> Result<()> {
    let page = render(&root().join(SOURCE))?;
    fs::write(root().join(PAGE), page).with_context(|| format!("cannot write {PAGE}"))?;
    println!("{PAGE}");
    Ok(())
}

/// The page about a WIT file.
fn render(source: &Path) -> Result<String> {
    let wit = fs::read_to_string(source).with_context(|| format!("cannot read {SOURCE}"))?;
    let mut resolve = Resolve::new();
    let package = resolve.push_str(SOURCE, &wit)?;
    let package = &resolve.packages[package];
    let mut page = Page { resolve: &resolve, text: String::new() };
    page.paragraph("# Reference: the interface of rules");
    page.paragraph(&format!(
        "Package `{}`, made by `cargo xtask reference` of [{SOURCE}](../../{SOURCE}), whose comments these are. \
         [Rules](../rules.md) says how to use it.",
        package.name
    ));
    page.paragraph(
        "Types are those of the component model: a `record` has all of its fields, an `option` may be absent, a \
         `variant` and an `enum` are one of their cases.",
    );
    // In the order of the file: comments speak of what is above.
    for interface in package.interfaces.values() {
        page.interface(&resolve.interfaces[*interface])?;
    }
    for world in package.worlds.values() {
        page.world(*world);
    }
    Ok(page.text)
}

struct Page<'a> {
    resolve: &'a Resolve,
    text: String,
}

impl Page<'_> {
    fn world(&mut self, world: WorldId) {
        let world = &self.resolve.worlds[world];
        self.paragraph(&format!("## World `{}`", world.name));
        self.docs(&world.docs);
        for (what, items) in [("Imports", &world.imports), ("Exports", &world.exports)] {
            let interfaces = items.iter().filter_map(|(key, item)| {
                let id = match (key, item) {
                    (WorldKey::Interface(id), WorldItem::Interface { .. }) => id,
                    _ => return None,
                };
                let name = self.resolve.interfaces[*id].name.as_deref()?;
                Some(format!("[`{name}`](#interface-{name})"))
            });
            let interfaces: Vec<_> = interfaces.collect();
            let list =
                if interfaces.is_empty() { "nothing".to_owned() } else { interfaces.join(", ") };
            self.paragraph(&format!("{what}: {list}."));
        }
    }

    fn interface(&mut self, interface: &Interface) -> Result<()> {
        let name = interface.name.as_deref().context("an interface has no name")?;
        self.paragraph(&format!("## Interface `{name}`"));
        self.docs(&interface.docs);
        for function in interface.functions.values() {
            self.function(function)?;
        }
        for (name, id) in &interface.types {
            self.definition(name, *id)?;
        }
        Ok(())
    }

    fn function(&mut self, function: &Function) -> Result<()> {
        self.paragraph(&format!("### Function `{}`", function.name));
        self.docs(&function.docs);
        let mut rows = Vec::new();
        for parameter in &function.params {
            rows.push([format!("`{}`", parameter.name), self.named(&parameter.ty)?]);
        }
        if let Some(result) = &function.result {
            rows.push(["result".to_owned(), self.named(result)?]);
        }
        self.table(["parameter", "type"], &rows);
        Ok(())
    }

    fn definition(&mut self, name: &str, id: TypeId) -> Result<()> {
        let definition = &self.resolve.types[id];
        self.paragraph(&format!("### {} `{name}`", capitalised(definition.kind.as_str())));
        self.docs(&definition.docs);
        let code = |name: &str| format!("`{name}`");
        match &definition.kind {
            TypeDefKind::Record(record) => {
                let mut rows = Vec::new();
                for field in &record.fields {
                    rows.push([code(&field.name), self.named(&field.ty)?, line(&field.docs)]);
                }
                self.table(["field", "type", "meaning"], &rows);
            }
            TypeDefKind::Variant(variant) => {
                let mut rows = Vec::new();
                for case in &variant.cases {
                    let of = case.ty.as_ref().map(|of| self.named(of)).transpose()?;
                    rows.push([code(&case.name), of.unwrap_or_default(), line(&case.docs)]);
                }
                self.table(["case", "of", "meaning"], &rows);
            }
            TypeDefKind::Enum(cases) => {
                let names: Vec<_> = cases.cases.iter().map(|case| code(&case.name)).collect();
                self.paragraph(&format!("One of {}.", names.join(", ")));
            }
            other => anyhow::bail!("{name}: there are no words for a {}", other.as_str()),
        }
        Ok(())
    }

    /// A type as WIT spells it; names lead to where they are explained.
    fn named(&self, of: &Type) -> Result<String> {
        let mut spelled = String::new();
        self.spell(of, &mut spelled)?;
        // What is between two names is code; nothing is not.
        Ok(format!("`{spelled}`").replace("``", ""))
    }

    fn spell(&self, of: &Type, to: &mut String) -> Result<()> {
        let Type::Id(id) = of else {
            to.push_str(primitive(of)?);
            return Ok(());
        };
        let definition = &self.resolve.types[*id];
        if let Some(name) = &definition.name {
            let kind = definition.kind.as_str();
            write!(to, "`[`{name}`](#{kind}-{name})`")?;
            return Ok(());
        }
        let (outer, inner) = match &definition.kind {
            TypeDefKind::Option(of) => ("option", vec![of]),
            TypeDefKind::List(of) => ("list", vec![of]),
            TypeDefKind::Tuple(of) => ("tuple", of.types.iter().collect()),
            other => anyhow::bail!("there are no words for a {}", other.as_str()),
        };
        write!(to, "{outer}<")?;
        for (place, of) in inner.into_iter().enumerate() {
            to.push_str(if place == 0 { "" } else { ", " });
            self.spell(of, to)?;
        }
        to.push('>');
        Ok(())
    }

    fn docs(&mut self, docs: &Docs) {
        if let Some(text) = &docs.contents {
            self.paragraph(text.trim());
        }
    }

    fn table<const N: usize>(&mut self, head: [&str; N], rows: &[[String; N]]) {
        if rows.is_empty() {
            return;
        }
        let mut table = format!("| {} |\n|{}", head.join(" | "), "---|".repeat(N));
        for row in rows {
            table.push_str(&format!("\n| {} |", row.join(" | ")));
        }
        self.paragraph(&table);
    }

    fn paragraph(&mut self, text: &str) {
        if !self.text.is_empty() {
            self.text.push('\n');
        }
        self.text.push_str(text);
        self.text.push('\n');
    }
}

fn primitive(of: &Type) -> Result<&'static str> {
    Ok(match of {
        Type::Bool => "bool",
        Type::U8 => "u8",
        Type::U32 => "u32",
        Type::U64 => "u64",
        Type::String => "string",
        other => anyhow::bail!("there are no words for {other:?}"),
    })
}

/// A comment as a cell of a table.
fn line(docs: &Docs) -> String {
    let words = docs.contents.as_deref().unwrap_or_default().split_whitespace();
    words.collect::<Vec<_>>().join(" ").replace('|', "\\|")
}

fn capitalised(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(letters).collect()
}

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// What rules are written against: the released version, which never changes.
const SOURCE: &str = "wit/0.1.0/rule.wit";

const PAGE: &str = "docs/rules/reference.md";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_what_the_interface_says() {
        let page = fs::read_to_string(root().join(PAGE)).expect(PAGE);
        let made = render(&root().join(SOURCE)).expect("a page");
        assert!(page == made, "{PAGE} is not current; make it again: cargo xtask reference");
    }

    #[test]
    fn names_every_interface_function_and_type() {
        let page = render(&root().join(SOURCE)).expect("a page");
        for line in [
            "## World `rule`",
            "Exports: [`ruling`](#interface-ruling).",
            "## Interface `artifact`",
            "### Function `check-settings`",
            "| `settings` | `string` |",
            "| result | `list<string>` |",
            "### Record `question`",
            "### Variant `decision`",
            "| `deny` | `list<`[`reason`](#record-reason)`>` | At least one reason. |",
            "| `workload` | `option<`[`workload`](#record-workload)`>` |  |",
            "### Enum `scheme`",
            "| `hash` | [`hash`](#enum-hash) |",
        ] {
            assert!(page.lines().any(|has| has == line), "{line} is missing:\n{page}");
        }
    }
}
