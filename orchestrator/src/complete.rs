//! What a system is given beside the program: completions for shells, and manual pages.
//!
//! Both are made from the one description of the command line, so neither can be behind it.

use clap::CommandFactory as _;
use clap_complete::Shell;

use crate::cli::{Cli, ManArgs};
use crate::render::{self, Failure};

/// The name the program is called by.
const NAME: &str = "farstep";

/// Prints what a shell needs to complete our command lines.
pub fn completions(shell: Shell) -> Result<u8, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), NAME, &mut script);
    render::print_bytes(&script).map_err(Failure::Output)?;
    Ok(0)
}

/// Writes a manual page for every command into a folder.
pub fn man(args: &ManArgs) -> Result<u8, Failure> {
    let written = std::fs::create_dir_all(&args.out)
        .and_then(|()| clap_mangen::generate_to(Cli::command(), &args.out));
    written.map_err(|error| Failure::Write {
        path: args.out.clone(),
        error,
    })?;
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page_that_names_its_flags() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("man1");
        man(&ManArgs { out: out.clone() }).unwrap();
        let read = |name: &str| std::fs::read_to_string(out.join(name)).unwrap();
        assert!(read("farstep.1").contains("farstep\\-logs(1)"));
        assert!(read("farstep-logs.1").contains("follow"));
        assert!(read("farstep-env-list.1").contains("json"));
        let commands = Cli::command();
        let count = commands.get_subcommands().count();
        assert!(std::fs::read_dir(&out).unwrap().count() > count);
    }

    #[test]
    fn every_shell_completes_every_command() {
        for shell in [
            Shell::Bash,
            Shell::Elvish,
            Shell::Fish,
            Shell::PowerShell,
            Shell::Zsh,
        ] {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), NAME, &mut script);
            let script = String::from_utf8(script).unwrap();
            for name in ["logs", "exec", "detach", "since-seq"] {
                assert!(script.contains(name), "{shell} does not know {name}");
            }
        }
    }
}
