//! Tests what packagers get: manual pages that man and mandoc read without a warning, and completions that shells accept.
#![cfg(feature = "gateway")]

use std::io::Write;
use std::process::{Command, Output, Stdio};

fn tidegate(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tidegate")).args(arguments).output().expect("the program starts")
}

/// What a successful command printed.
#[track_caller]
fn printed(arguments: &[&str]) -> String {
    let output = tidegate(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// The commands that `tidegate --help` lists.
fn commands() -> Vec<String> {
    let help = printed(&["--help"]);
    let (_, list) = help.split_once("Commands:\n").expect("a list of commands");
    let list = list.lines().take_while(|line| !line.is_empty());
    // a line that goes on from the one before begins with more blanks
    let names = list.filter_map(|line| line.strip_prefix("  ")?.split(' ').next()).map(str::to_owned);
    names.filter(|name| !name.is_empty() && name != "help").collect()
}

/// The words that select the page of the program and of each command.
fn pages() -> Vec<Vec<String>> {
    let of = |command: String| vec!["man".to_owned(), command];
    std::iter::once(vec!["man".to_owned()]).chain(commands().into_iter().map(of)).collect()
}

/// Gives `text` to a command's stdin. `None`, with a line that says so, where the command is missing.
fn through(command: &mut Command, text: &str) -> Option<Output> {
    let spawned = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let Ok(mut child) = spawned else {
        let name = command.get_program().to_string_lossy().into_owned();
        let _ = std::io::stderr().write_fmt(format_args!("SKIPPED manual: the command {name} is missing\n"));
        return None;
    };
    child.stdin.take().expect("a pipe").write_all(text.as_bytes()).expect("it reads");
    Some(child.wait_with_output().expect("it ends"))
}

#[test]
fn every_command_has_a_page_with_all_that_an_operator_looks_for() {
    let commands = commands();
    assert!(
        ["run", "check", "doctor", "man"].iter().all(|name| commands.iter().any(|command| command == name))
    );
    for words in pages() {
        let page = printed(&words.iter().map(String::as_str).collect::<Vec<_>>());
        let title = match words.get(1) {
            Some(command) => format!(".TH TIDEGATE\\-{} 1 ", command.to_uppercase()),
            None => ".TH TIDEGATE 1 ".to_owned(),
        };
        assert!(page.replace("TIDEGATE-", "TIDEGATE\\-").contains(&title), "expected {title} in {page}");
        for section in
            ["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "\"EXIT STATUS\"", "EXAMPLES", "\"SEE ALSO\""]
        {
            assert!(page.contains(&format!("\n.SH {section}\n")), "{words:?} has no {section}");
        }
    }
    for (command, section) in [("run", "SIGNALS"), ("run", "ENVIRONMENT"), ("check", "FILES")] {
        assert!(
            printed(&["man", command]).contains(&format!(".SH {section}\n")),
            "{command} has no {section}"
        );
    }
    let list = printed(&["man"]);
    for command in commands {
        assert!(list.contains(&format!("tidegate\\-{command}(1)")), "the main page does not list {command}");
    }
}

#[test]
fn a_page_names_every_other_page_that_exists_and_none_else() {
    let commands = commands();
    for words in pages() {
        let page = printed(&words.iter().map(String::as_str).collect::<Vec<_>>()).replace("\\-", "-");
        for (at, _) in page.match_indices("tidegate-") {
            let rest = &page[at + "tidegate-".len()..];
            let Some((name, _)) =
                rest.split_once("(1)").filter(|(name, _)| name.chars().all(char::is_alphabetic))
            else {
                continue;
            };
            assert!(commands.iter().any(|command| command == name), "{words:?} refers to tidegate-{name}(1)");
        }
    }
}

#[test]
fn an_unknown_command_has_no_page() {
    let output = tidegate(&["man", "serve"]);
    assert_eq!(output.status.code(), Some(64));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains("there is no command serve, the commands are run, check, doctor"), "{text}");
}

#[test]
fn mandoc_and_groff_have_nothing_to_say_about_any_page() {
    for words in pages() {
        let page = printed(&words.iter().map(String::as_str).collect::<Vec<_>>());
        // long lines are what the library writes, and no reader sees them
        let Some(judged) = through(Command::new("mandoc").args(["-T", "lint", "-W", "warning"]), &page)
        else {
            break;
        };
        let said = String::from_utf8_lossy(&[judged.stdout, judged.stderr].concat()).into_owned();
        assert!(judged.status.success() && said.is_empty(), "{words:?}: {said}");
    }
    for words in pages() {
        let page = printed(&words.iter().map(String::as_str).collect::<Vec<_>>());
        let Some(judged) =
            through(Command::new("groff").args(["-man", "-Tutf8", "-P-cbou", "-ww", "-rLL=80n"]), &page)
        else {
            break;
        };
        let said = String::from_utf8_lossy(&judged.stderr).into_owned();
        assert!(judged.status.success() && said.is_empty(), "{words:?}: {said}");
        let text = String::from_utf8_lossy(&judged.stdout).into_owned();
        assert!(text.contains("SYNOPSIS") && text.lines().count() > 20, "{words:?}: {text}");
    }
}

#[test]
fn the_shells_accept_their_completions() {
    for (shell, command) in
        [("bash", vec!["bash", "-n"]), ("zsh", vec!["zsh", "-n"]), ("fish", vec!["fish", "--no-execute"])]
    {
        let script = printed(&["completions", shell]);
        assert!(script.contains("doctor") && script.contains("--config") || shell == "fish", "{script}");
        if let Some(judged) = through(Command::new(command[0]).args(&command[1..]), &script) {
            let said = String::from_utf8_lossy(&judged.stderr).into_owned();
            assert!(judged.status.success() && said.is_empty(), "{shell}: {said}");
        }
    }
    for shell in ["elvish", "powershell"] {
        assert!(printed(&["completions", shell]).contains("doctor"), "{shell}");
    }
    assert_eq!(tidegate(&["completions", "tcsh"]).status.code(), Some(64));
}

#[test]
fn bash_completes_commands_and_options() {
    let script = printed(&["completions", "bash"]);
    let ask = |words: &str, last: usize| {
        format!(
            "{script}\nCOMP_WORDS=({words}); COMP_CWORD={last}; _tidegate tidegate '' ''; printf '%s\\n' \"${{COMPREPLY[@]}}\"\n"
        )
    };
    for (words, last, expected) in [("tidegate do", 1, "doctor"), ("tidegate check --u", 2, "--user")] {
        let Some(answer) = through(&mut Command::new("bash"), &ask(words, last)) else { return };
        let said = String::from_utf8_lossy(&answer.stdout).into_owned();
        assert!(
            said.lines().any(|line| line == expected),
            "{words}: {said}{}",
            String::from_utf8_lossy(&answer.stderr)
        );
    }
}
