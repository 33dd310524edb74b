//! `completions` and `man`: what a shell and `man` want to know about the commands.

use std::io::{self, Write as _};

use clap::{Args, Command};
use clap_complete::Shell;
use clap_mangen::Man;

use super::CliError;

const NAME: &str = "dynamic-reverse-proxy";

/// `completions`.
#[derive(Args, Debug)]
pub(super) struct CompletionsArgs {
    /// The shell.
    shell: Shell,
}

/// The completions of a command and all below it.
pub(super) fn completions(args: &CompletionsArgs, command: &mut Command) -> Result<(), CliError> {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, command, NAME, &mut text);
    write(&text)
}

/// One page: the program, then each command as a section.
pub(super) fn man(mut command: Command) -> Result<(), CliError> {
    command.build();
    let mut page = Vec::new();
    let man = Man::new(command.clone()).manual("Commands");
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    for part in command.get_subcommands() {
        section(&mut page, part, part.get_name())?;
    }
    man.render_extra_section(&mut page)?;
    man.render_version_section(&mut page)?;
    write(&page)
}

/// A command and those below it; a command that only holds others has nothing to say itself.
fn section(page: &mut Vec<u8>, command: &Command, name: &str) -> Result<(), CliError> {
    if command.get_name() == "help" {
        return Ok(());
    }
    if command.has_subcommands() {
        for part in command.get_subcommands() {
            section(page, part, &format!("{name} {}", part.get_name()))?;
        }
        return Ok(());
    }
    let man = Man::new(command.clone());
    let mut text = Vec::new();
    man.render_synopsis_section(&mut text)?;
    man.render_description_section(&mut text)?;
    man.render_options_section(&mut text)?;
    writeln!(page, ".SH \"{}\"", name.to_uppercase())?;
    // The sections of a page are here those of a part of it.
    page.extend_from_slice(
        String::from_utf8_lossy(&text)
            .replace(".SH ", ".SS ")
            .as_bytes(),
    );
    Ok(())
}

fn write(text: &[u8]) -> Result<(), CliError> {
    let mut out = io::stdout().lock();
    out.write_all(text)?;
    Ok(out.flush()?)
}
