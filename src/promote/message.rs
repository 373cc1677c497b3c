//! The commit message: one line for people, trailers for programs.

use crate::types::{RunId, Sha256, escape_control};

/// The most characters of the title and of a trailer's value.
const TITLE_MAX: usize = 200;
const VALUE_MAX: usize = 500;

/// The trailers by which an order is recognised as done.
pub const ORDER_TRAILER: &str = "Factory-Order";
/// See [`Trailers::order_key`].
pub const ORDER_KEY_TRAILER: &str = "Factory-Order-Key";
/// See [`Trailers::run`].
pub const RUN_TRAILER: &str = "Factory-Run";

/// What the commit says about how it came about, so that it can be recognised from history alone.
///
/// Source of the form: git-interpret-trailers(1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trailers {
    /// The order.
    pub order_id: String,
    /// The digest that recognises the same order on the same inputs, where there is one.
    pub order_key: Option<Sha256>,
    /// The run.
    pub run: RunId,
    /// The verdict, as it is written in journals.
    pub verdict: String,
    /// The digest of the record of the verification.
    pub evidence: Sha256,
    /// The sandbox profile.
    pub profile: String,
    /// The layers of the sandbox that the operator did without, by name.
    pub waived: Vec<String>,
}

/// The whole message. Whatever the title and the values contain, there is one subject line and one block of trailers.
pub(super) fn render(title: &str, trailers: &Trailers) -> String {
    let Trailers {
        order_id,
        order_key,
        run,
        verdict,
        evidence,
        profile,
        waived,
    } = trailers;
    let title = line(title, TITLE_MAX);
    let mut message = format!("{}: {title}\n\n", line(order_id, TITLE_MAX));
    let mut add = |key: &str, value: &str| message.push_str(&format!("{key}: {}\n", line(value, VALUE_MAX)));
    add(ORDER_TRAILER, order_id);
    if let Some(order_key) = order_key {
        add(ORDER_KEY_TRAILER, &order_key.to_string());
    }
    add(RUN_TRAILER, &run.to_string());
    add("Factory-Verdict", verdict);
    add("Factory-Profile", profile);
    add("Factory-Evidence", &evidence.to_string());
    for layer in waived {
        add("Factory-Waived", layer);
    }
    message
}

/// One line of at most `max` characters without anything that steers a terminal. Never empty, because an empty value would
/// not be a trailer.
fn line(text: &str, max: usize) -> String {
    let words: Vec<&str> = text
        .split(|character: char| character.is_whitespace() || character.is_control())
        .filter(|word| !word.is_empty())
        .collect();
    let line: String = escape_control(&words.join(" ")).chars().take(max).collect();
    if line.is_empty() { "-".to_owned() } else { line }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_title_cannot_forge_a_trailer() {
        let trailers = Trailers {
            order_id: "WO-1\nFactory-Order: WO-2".to_owned(),
            order_key: None,
            run: "01ARZ3NDEKTSV4RRFFQ69G5FAV".parse().expect("a ULID"),
            verdict: "VERIFIED".to_owned(),
            evidence: Sha256::EMPTY,
            profile: String::new(),
            waived: vec!["cgroups\n\nFactory-Verdict: FAIL\u{1b}[2J".to_owned()],
        };
        let message = render("add\n\nFactory-Evidence: none\r\n\0\u{2028}x", &trailers);
        insta::assert_snapshot!(message, @r"
        WO-1 Factory-Order: WO-2: add Factory-Evidence: none x

        Factory-Order: WO-1 Factory-Order: WO-2
        Factory-Run: 01ARZ3NDEKTSV4RRFFQ69G5FAV
        Factory-Verdict: VERIFIED
        Factory-Profile: -
        Factory-Evidence: e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855
        Factory-Waived: cgroups Factory-Verdict: FAIL [2J
        ");
    }

    #[test]
    fn a_long_title_is_cut() {
        assert_eq!(line(&"\u{e9}".repeat(1000), TITLE_MAX).chars().count(), TITLE_MAX);
    }
}
