//! `tidegate man`: a manual page for each command. Names, synopsis and options come from the definition of the command line, so
//! they are never out of date; all other sections are texts in `pages.rs`.

mod pages;

use crate::control::cli::output::print;
use crate::control::exit::{ExitError, USAGE};
use clap_mangen::Man;
use clap_mangen::roff::{Inline, Roff, bold, italic, roman};
pub(crate) use pages::{Page, page};
use std::io::{self, Write};

/// The day of the last change to the texts, for the foot of each page.
const DATE: &str = "2026-11-28";

/// Prints the page of a command of `program`, or without a name the page of the program. Fails with exit code 64 for a name that
/// is no command.
pub(crate) fn print_page(program: clap::Command, command: Option<&str>) -> Result<(), ExitError> {
    // `help` is a command too, but has no page of its own
    let mut program = program.disable_help_subcommand(true).subcommand_help_heading("COMMANDS");
    program.build();
    let names: Vec<_> = program.get_subcommands().map(|command| command.get_name().to_owned()).collect();
    let unknown = |name: &str| ExitError {
        code: USAGE,
        text: format!("there is no command {name}, the commands are {}", names.join(", ")),
    };
    let (command, name) = match command {
        None => (&program, ""),
        Some(name) => (program.find_subcommand(name).ok_or_else(|| unknown(name))?, name),
    };
    let text = page(name).ok_or_else(|| unknown(name))?;
    let mut out = Vec::new();
    render(command.clone(), text, &mut out)
        .map_err(|error| ExitError::os(format!("can't write the manual page ({error})")))?;
    print(tidied(&out).as_bytes())
}

/// The page as one text: each section was written with a preamble of its own, and the list of values that an option may have with
/// line breaks beside blank lines, of which mandoc warns.
fn tidied(page: &[u8]) -> String {
    let text = String::from_utf8_lossy(page);
    let lines: Vec<_> = text.lines().collect();
    let is_preamble = |line: &str| line.starts_with(".ie \\n(.g") || line.starts_with(".el .ds Aq");
    let preamble = lines.iter().take_while(|line| is_preamble(line)).count();
    let is_kept = |at: usize| {
        let beside_blank =
            [at.wrapping_sub(1), at + 1].iter().any(|at| lines.get(*at).is_some_and(|line| line.is_empty()));
        at < preamble || !(is_preamble(lines[at]) || (lines[at] == ".br" && beside_blank))
    };
    (0..lines.len()).filter(|at| is_kept(*at)).map(|at| format!("{}\n", lines[at])).collect()
}

/// Writes the page of a command: name and options by its definition, the rest by `page`.
fn render(command: clap::Command, page: &Page, out: &mut impl Write) -> io::Result<()> {
    let title = command.get_display_name().unwrap_or("tidegate").to_uppercase();
    let synopsis = synopsis(&command);
    let (has_options, has_commands) = (command.get_arguments().next().is_some(), command.has_subcommands());
    let man = Man::new(command)
        .title(title)
        .date(DATE)
        .source(concat!("tidegate ", env!("CARGO_PKG_VERSION")))
        .manual("tidegate manual");
    man.render_title(out)?;
    man.render_name_section(out)?;
    synopsis.to_writer(out)?;
    description(page).to_writer(out)?;
    if has_options {
        man.render_options_section(out)?;
    }
    if has_commands {
        man.render_subcommands_section(out)?;
    }
    let mut rest = Roff::new();
    for (title, entries) in [
        ("EXIT STATUS", page.exits),
        ("ENVIRONMENT", page.environment),
        ("FILES", page.files),
        ("SIGNALS", page.signals),
    ] {
        list(&mut rest, title, entries);
    }
    examples(&mut rest, page.examples);
    rest.control("SH", ["SEE ALSO"]);
    rest.text([roman(page.see.join(", "))]);
    rest.to_writer(out)
}

/// The command with its options and their values.
fn synopsis(command: &clap::Command) -> Roff {
    let mut words = vec![bold(command.get_bin_name().unwrap_or("tidegate"))];
    for argument in
        command.get_arguments().filter(|argument| !matches!(argument.get_id().as_str(), "help" | "version"))
    {
        let (open, close) = if argument.is_required_set() { (" ", "") } else { (" [", "]") };
        words.push(roman(open));
        words.extend(argument.get_long().map(|long| bold(format!("--{long}"))));
        if argument.get_action().takes_values() {
            let space = if argument.is_positional() { "" } else { " " };
            let names = argument.get_value_names().unwrap_or_default().iter().map(ToString::to_string);
            let names = names.collect::<Vec<_>>().join(" ");
            words.extend([roman(space), italic(names)]);
        }
        words.push(roman(close));
    }
    if command.has_subcommands() {
        words.extend([roman(" "), italic("COMMAND"), roman(" [options]")]);
    }
    let mut roff = Roff::new();
    roff.control("SH", ["SYNOPSIS"]);
    roff.text(words);
    roff
}

fn description(page: &Page) -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", ["DESCRIPTION"]);
    for (index, paragraph) in page.text.iter().enumerate() {
        if index > 0 {
            roff.control("PP", []);
        }
        roff.text(marked(paragraph));
    }
    roff
}

/// A section of terms, each with its meaning; nothing where there are none.
fn list(roff: &mut Roff, title: &str, entries: &[(&str, &str)]) {
    if entries.is_empty() {
        return;
    }
    roff.control("SH", [title]);
    for (term, meaning) in entries {
        roff.control("TP", []);
        roff.text([bold(*term)]);
        roff.text(marked(meaning));
    }
}

fn examples(roff: &mut Roff, entries: &[(&str, &str)]) {
    if entries.is_empty() {
        return;
    }
    roff.control("SH", ["EXAMPLES"]);
    for (index, (purpose, command)) in entries.iter().enumerate() {
        if index > 0 {
            roff.control("PP", []);
        }
        roff.text(marked(purpose));
        roff.control("PP", []);
        roff.control("RS", ["4"]);
        roff.control("nf", []);
        roff.text([bold(*command)]);
        roff.control("fi", []);
        roff.control("RE", []);
    }
}

/// A text in which what stands between backticks is bold.
fn marked(text: &str) -> Vec<Inline> {
    let parts = text.split('`').enumerate().filter(|(_, part)| !part.is_empty());
    parts.map(|(index, part)| if index % 2 == 1 { bold(part) } else { roman(part) }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backticks_make_bold_text() {
        assert_eq!(marked("a `b` c"), [roman("a "), bold("b"), roman(" c")]);
        assert_eq!(marked("`b`"), [bold("b")]);
    }

    #[test]
    fn the_preamble_of_each_section_and_idle_line_breaks_are_left_out() {
        let page = b".ie \\n(.g .ds Aq \\(aq\n.el .ds Aq '\n.TH X\n.ie \\n(.g .ds Aq \\(aq\n.el .ds Aq '\n.br\n\n.br\nx\n.br\n";
        assert_eq!(tidied(page), ".ie \\n(.g .ds Aq \\(aq\n.el .ds Aq '\n.TH X\n\nx\n.br\n");
    }

    #[test]
    fn a_page_has_the_sections_that_have_content_in_their_order() {
        let page = Page {
            command: "x",
            text: &["One.", "Two."],
            exits: &[("0", "it is so")],
            examples: &[("Do it:", "tidegate x --y")],
            see: &["tidegate(1)"],
            ..Page::EMPTY
        };
        let mut out = Vec::new();
        let command = clap::Command::new("x").about("Does x").arg(clap::Arg::new("y").long("y"));
        render(command, &page, &mut out).expect("written");
        let text = String::from_utf8(out).expect("UTF-8");
        let sections: Vec<_> = text.lines().filter_map(|line| line.strip_prefix(".SH ")).collect();
        assert_eq!(
            sections,
            ["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "\"EXIT STATUS\"", "EXAMPLES", "\"SEE ALSO\""]
        );
        assert!(text.contains("\\fBtidegate x \\-\\-y\\fR"), "{text}");
    }
}
