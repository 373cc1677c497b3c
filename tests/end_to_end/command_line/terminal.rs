//! On a terminal, which script(1) provides.

use super::{Ended, Place};
use crate::support::program;

/// What `factory exec` shows on a terminal of its own. The terminal puts a carriage return before each newline.
fn on_a_terminal(place: &Place, flags: &[&str], script: &str) -> String {
    let program = program().display().to_string();
    let fixed = [&program, "exec", "--repo=repository"];
    let words = [&fixed, flags, &["--", "sh", "-c", script]].concat();
    let line = shlex::try_join(words).unwrap();
    let output = place
        .command("script")
        .args(["--quiet", "--return", "--command", &line, "/dev/null"])
        .env("SHELL", "/bin/sh")
        .output()
        .unwrap();
    let ended = Ended::of(output).succeeded();
    ended.text().replace("\r\n", "\n")
}

/// Clears the screen, sets the title, asks the terminal to answer, and hides text by going back.
const HOSTILE: &str = r"printf 'a\033[2J\033]0;title\007\033[6n\302\233b\rc\n'";

#[test]
fn control_sequences_have_no_force_on_a_terminal() {
    let place = Place::new();
    let shown = "a\\u{1b}[2J\\u{1b}]0;title\\u{7}\\u{1b}[6n\\u{9b}b\\rc\n";
    assert_eq!(on_a_terminal(&place, &[], HOSTILE), shown);
    assert_eq!(on_a_terminal(&place, &[], &format!("({HOSTILE}) >&2")), shown);
}

#[test]
fn they_pass_when_asked_for() {
    let place = Place::new();
    let raw = "a\x1b[2J\x1b]0;title\x07\x1b[6n\u{9b}b\rc\n";
    assert_eq!(on_a_terminal(&place, &["--raw"], HOSTILE), raw);
    assert_eq!(on_a_terminal(&place, &["--raw"], &format!("({HOSTILE}) >&2")), raw);
}

#[test]
fn characters_and_lines_stay_as_they_are() {
    let place = Place::new();
    assert_eq!(
        on_a_terminal(&place, &[], r"printf 'gr\303\274n\t\342\202\254\n'"),
        "grün\t€\n"
    );
}

#[test]
fn a_dirty_checkout_is_told_where_somebody_reads_it() {
    let place = Place::new();
    place.write("repository/a.txt", "unfinished\n");
    let commit = place.git(&["rev-parse", "--short=12", "HEAD"]);
    assert_eq!(
        on_a_terminal(&place, &[], "cat a.txt"),
        format!("note: uncommitted changes are not part of the tree; it is that of commit {commit}\nbase\n")
    );
    assert_eq!(on_a_terminal(&place, &["--rev=work"], "cat a.txt"), "base\n");
}

#[test]
fn the_command_has_no_terminal() {
    let place = Place::new();
    let script = "test -t 0 || test -t 1 || test -t 2 || (: < /dev/tty) 2> /dev/null || echo none";
    assert_eq!(on_a_terminal(&place, &[], script), "none\n");
}
