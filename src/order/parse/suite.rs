//! `suite.json`: the commands of a golden suite, which are those of an order but for what only an order has to say.

use super::super::AcceptanceCommand;
use super::super::json::{Defects, Document, Pointer, Want};
use super::MAX_ORDER_BYTES;
use super::command;
use super::lists::{Keys, list, refuse_unknown};
use super::second::MAX_COMMANDS;
use crate::order::{Baseline, Visibility};
use serde_json::Value;

const SUITE: Want = Want {
    what: "a golden suite (an object)",
    example: "{\"schema_version\": 1, \"commands\": [{\"argv\": [\"pytest\", \"-q\", \"/golden/api\"]}]}",
};
const VERSION: Want = Want {
    what: "a version that is known here",
    example: "\"schema_version\": 1",
};
const COMMANDS: Want = Want {
    what: "a list of commands",
    example: "\"commands\": [{\"argv\": [\"pytest\", \"-q\", \"/golden/api\"]}]",
};
const KEYS: Keys = Keys {
    of: "a golden suite",
    known: &["schema_version", "commands"],
};
/// What is decided for all suites: the base is not judged by them, and the model is told nothing of them.
const DECIDED: [&str; 2] = ["expect_baseline", "visibility"];

/// Reads the commands of a golden suite from its `suite.json`.
///
/// # Errors
/// Everything that is wrong at once.
pub fn parse_suite(bytes: &[u8]) -> Result<Vec<AcceptanceCommand>, Defects> {
    let mut document = Document::read_bytes(bytes, MAX_ORDER_BYTES)?;
    let root = document.take_root();
    let commands = read(&mut document, &root);
    document.finish(commands)
}

fn read(document: &mut Document<'_>, root: &Value) -> Option<Vec<AcceptanceCommand>> {
    let at = &Pointer::root();
    let object = document.object(at, root, SUITE)?;
    refuse_unknown(document, at, object, &KEYS);
    let (version_at, version) = document.member(at, object, "schema_version", VERSION)?;
    if *version != 1 {
        document.add_wrong(&version_at, version, VERSION);
        return None;
    }
    document.member(at, object, "commands", COMMANDS)?;
    let wanted = ("commands", COMMANDS, MAX_COMMANDS);
    let commands = list(document, at, object, wanted, |document, at, value| {
        for key in DECIDED.iter().filter(|key| value.get(key).is_some()) {
            let text = format!(
                "a command of a golden suite has no `{key}`: the base is not judged by it, and the model is told nothing of it"
            );
            document.add(&at.key(key), text);
        }
        command::read(document, at, value, None)
    })?;
    if commands.is_empty() {
        let text = format!(
            "the list is empty, so nothing would be judged; name a command, as in {}",
            COMMANDS.example
        );
        document.add(&at.key("commands"), text);
        return None;
    }
    let hidden = commands.into_iter().map(|command| AcceptanceCommand {
        expect_baseline: Baseline::Any,
        visibility: Visibility::None,
        ..command
    });
    Some(hidden.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn parsed(value: &Value) -> Result<Vec<AcceptanceCommand>, String> {
        parse_suite(value.to_string().as_bytes()).map_err(|error| error.to_string())
    }

    #[test]
    fn the_commands_of_a_suite_are_hidden_whatever_else_they_say() {
        let suite =
            json!({"schema_version": 1, "commands": [{"argv": ["a", "b c"], "expect": {"exit": 3}, "runs": 2}]});
        let [command] = &parsed(&suite).unwrap()[..] else {
            panic!("one command");
        };
        assert_eq!(command.argv, ["a", "b c"]);
        assert_eq!((command.expect.exit, command.runs), (3, 2));
        assert_eq!(
            (command.visibility, command.expect_baseline),
            (Visibility::None, Baseline::Any)
        );
    }

    #[test]
    fn the_suite_of_the_documents_is_one() {
        let page = include_str!("../../../docs/golden.md");
        let suite = page
            .split("```json suite\n")
            .nth(1)
            .and_then(|rest| rest.split("```").next());
        assert_eq!(
            parse_suite(suite.expect("an example").as_bytes()).expect("valid").len(),
            2
        );
    }

    #[test]
    fn what_is_no_suite_is_refused_with_the_place() {
        for (suite, complaint) in [
            (json!([]), "a golden suite (an object)"),
            (json!({"commands": [{"argv": ["a"]}]}), "schema_version"),
            (json!({"schema_version": 2, "commands": []}), "\"schema_version\": 1"),
            (json!({"schema_version": 1, "commands": []}), "the list is empty"),
            (
                json!({"schema_version": 1, "comands": [], "commands": [{"argv": ["a"]}]}),
                "`commands` is the nearest",
            ),
            (
                json!({"schema_version": 1, "commands": [{"argv": ["a"], "visibility": "full"}]}),
                "no `visibility`",
            ),
            (
                json!({"schema_version": 1, "commands": [{"argv": ["a"], "expect_baseline": "any"}]}),
                "no `expect_baseline`",
            ),
            (
                json!({"schema_version": 1, "commands": [{"argv": []}]}),
                "no program is named",
            ),
        ] {
            let error = parsed(&suite).unwrap_err();
            assert!(error.contains(complaint), "{complaint}: {error}");
        }
    }
}
