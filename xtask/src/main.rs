//! Countersign's own commands. `cargo xtask` lists them.

mod bench;
mod ci;
mod command;
mod deny;
mod dist;
mod fuzz;
mod image;
mod reference;
mod rules;
mod setup;
mod suite;

use std::process::ExitCode;

use anyhow::{Result, bail};

use crate::command::{cargo, run};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match dispatch(&words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(words: &[&str]) -> Result<()> {
    let Some((&command, options)) = words.split_first() else {
        print!("{USAGE}");
        return Ok(());
    };
    match command {
        "setup" => {
            let only_compiler = flag(options, &["--compiler"])?[0];
            setup::compiler()?;
            if !only_compiler {
                setup::tools()?;
            }
            Ok(())
        }
        "demo" => {
            flag(options, &[])?;
            setup::compiler()?;
            run(cargo().args(["run", "--quiet", "--package", "countersign", "--", "demo"]))
        }
        "test" => suite::test(suite::Extent::from_fast(flag(options, &["--fast"])?[0])).map(drop),
        "ci" => {
            flag(options, &[])?;
            ci::run()
        }
        "bench" => {
            let chosen = flag(options, &["webhook", "rules", "copy", "--smoke", "--strict"])?;
            let subject = match chosen[..3] {
                [true, false, false] => bench::Subject::Webhook,
                [false, true, false] => bench::Subject::Rules,
                [false, false, true] => bench::Subject::Copy,
                _ => bench::Subject::Everything,
            };
            bench::run(subject, chosen[3], chosen[4])
        }
        "dist" => {
            flag(options, &[])?;
            dist::build().map(drop)
        }
        "image" => image::command(options),
        "rules" => {
            flag(options, &[])?;
            rules::build_and_test()
        }
        "deny" => {
            flag(options, &[])?;
            deny::check()
        }
        "fuzz" => fuzz::command(options),
        "reference" => {
            flag(options, &[])?;
            reference::write()
        }
        "help" | "--help" | "-h" => {
            print!("{USAGE}");
            Ok(())
        }
        unknown => bail!("`{unknown}` is not a command of cargo xtask\n\n{USAGE}"),
    }
}

/// Which of the flags in `known` were given; anything else is a mistake.
fn flag(options: &[&str], known: &[&str]) -> Result<Vec<bool>> {
    if let Some(unknown) = options.iter().find(|option| !known.contains(option)) {
        bail!("unknown option `{unknown}`; this command knows: {}", known.join(" "));
    }
    Ok(known.iter().map(|name| options.contains(name)).collect())
}

const USAGE: &str = "\
Usage: cargo xtask COMMAND

  setup [--compiler]        install the compiler for the engine component, and the tools that tests run
  demo                      set up the compiler, then run `countersign demo`
  test [--fast]             set up, then run every test; --fast leaves out those against real tools
  bench [webhook|rules|copy]
                            measure against the peers and against the targets: the server alone, rules in it
                            (which `rules` has to build first), copying and signing, or, without a name, all and
                            single evaluations; writes target/bench/bench.json, and RESULTS.md, RULES.md and
                            COPY.md in benches/
        [--strict]          ... and fail if a target is missed
        [--smoke]           ... with few rounds of the development build, to see that it works
  rules                     build and test the rules in policies/; the modules are in target/rules
  dist                      the release in target/dist, with the engine compiled ahead
  image [--tag NAME] [--twice]  the container image in target/image, an OCI layout; --twice builds it
                            a second time elsewhere and compares
  fuzz [TARGET] [--seconds N]  fuzz all targets, or one; 60 seconds each unless told
  reference                 write docs/rules/reference.md anew, from the interface of rules
  deny                      check licences, bans and sources of all dependencies
  ci                        everything that has to pass before a change lands
";
