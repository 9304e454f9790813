//! Command lines in the pages are understood.

use std::process::Command;

use super::{markdown, pages, read};

#[test]
fn every_command_and_option_of_countersign_exists() {
    let mut tried = 0;
    for (page, line) in lines() {
        let Some(rest) = line.strip_prefix("countersign ") else { continue };
        // What a shell makes of it is not ours.
        let words: Vec<_> =
            rest.split_whitespace().take_while(|w| !matches!(*w, ">" | "|")).collect();
        let mut command = Vec::new();
        let mut help = help(&command);
        for word in &words {
            if !commands(&help).contains(word) {
                break;
            }
            command.push(*word);
            help = self::help(&command);
        }
        assert!(
            !command.is_empty() || words[0].starts_with('-'),
            "{page}: {line}: no such command"
        );
        let options = words.iter().filter(|word| word.starts_with('-'));
        for option in options.map(|option| option.split('=').next().unwrap_or(option)) {
            let known = help.split(|c: char| c.is_whitespace() || c == ',' || c == '=');
            assert!(known.into_iter().any(|word| word == option), "{page}: {line}: no {option}");
        }
        tried += 1;
    }
    assert!(tried > 15, "only {tried} command lines were found");
}

#[test]
fn every_command_of_the_project_exists() {
    let usage = read("xtask/src/main.rs");
    let mut tried = 0;
    for (page, line) in lines() {
        let Some(rest) = line.strip_prefix("cargo xtask ") else { continue };
        let mut words = rest.split_whitespace().take_while(|word| *word != "#");
        let command = words.next().expect("a command");
        let described =
            usage.lines().find(|line| line.trim_start().split(' ').next() == Some(command));
        let described = described.map(str::to_owned).unwrap_or_default();
        assert!(!described.is_empty(), "{page}: {line}: no such command");
        for option in words {
            assert!(described.contains(option), "{page}: {line}: no {option}");
        }
        tried += 1;
    }
    assert!(tried > 5, "only {tried} command lines were found");
}

/// The commands that a help text lists.
fn commands(help: &str) -> Vec<&str> {
    let (_, list) = help.split_once("Commands:\n").unwrap_or_default();
    let list = list.lines().take_while(|line| !line.is_empty());
    list.filter_map(|line| line.split_whitespace().next()).collect()
}

fn help(command: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_countersign"))
        .args(command)
        .arg("--help")
        .output()
        .expect("the program starts");
    assert!(output.status.success(), "countersign {command:?} --help: {}", output.status);
    String::from_utf8(output.stdout).expect("text")
}

/// What follows a prompt in blocks for consoles.
fn lines() -> Vec<(String, String)> {
    let mut lines = Vec::new();
    for page in pages() {
        let (blocks, _) = markdown::split(&read(&page));
        for block in blocks.iter().filter(|block| block.info == "console") {
            let commands = block.text.lines().filter_map(|line| line.strip_prefix("$ "));
            lines.extend(commands.map(|line| (page.clone(), line.to_owned())));
        }
    }
    lines
}
