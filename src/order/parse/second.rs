//! Version 2 of the schema: what an object with `schema_version` 2 has to say, and what it must not say at once.

use super::super::json::{Document, Pointer, Want, quote};
use super::super::{
    Baseline, Condition, Golden, Kind, MAX_CONTEXT_FILES, OrderBudget, Rename, Resources, Tool, Version, VersionNumber,
    WorkOrder,
};
use super::command::{self, argv, duration};
use super::lists::{
    Keys, list, needed_text, number, optional, parsed, paths, refuse_doubles, refuse_unknown, text, word,
};
use super::{
    ALLOWED_FILES, CONDITION, CONDITIONS, CONTEXT_FILES, FORBIDDEN, ID, INTENT, KIND, NOTES, PATH, SENTENCE, TITLE,
    read_path, read_switch,
};
use crate::types::{Bytes, NanoUsd, RepoPath, Sha256, fold_name};
use serde_json::{Map, Value};
use std::collections::HashSet;

/// How long an id may be, in characters.
pub(in crate::order) const MAX_ID: usize = 64;
/// How long a title or another line may be, in bytes.
pub(in crate::order) const MAX_LINE_BYTES: usize = 500;
/// How long the intent or the notes may be, in bytes.
pub(in crate::order) const MAX_TEXT_BYTES: usize = 64 << 10;
/// How many paths a list may have.
pub(in crate::order) const MAX_PATHS: usize = 500;
/// How many commands may judge.
pub(in crate::order) const MAX_COMMANDS: usize = 50;
/// How many of anything else a list may have.
pub(in crate::order) const MAX_ITEMS: usize = 100;
/// The most processes or tokens that can be asked for.
pub(in crate::order) const MAX_NUMBER: u64 = 1 << 40;

pub(in crate::order) const KEYS: Keys = Keys {
    of: "an order of version 2",
    known: &[
        "schema_version",
        "id",
        "title",
        "kind",
        "intent",
        "requirements",
        "depends_on",
        "preconditions",
        "postconditions",
        "allowed_files",
        "allowed_deletes",
        "allowed_renames",
        "executable_files",
        "protected_files",
        "forbidden_paths",
        "forbidden",
        "acceptance",
        "golden",
        "tools",
        "resources",
        "budget",
        "context_files",
        "notes",
        "verify_exempt",
        "provenance",
    ],
};
pub(in crate::order) const RENAME_KEYS: Keys = Keys {
    of: "a rename",
    known: &["from", "to"],
};
pub(in crate::order) const GOLDEN_KEYS: Keys = Keys {
    of: "a golden suite",
    known: &["name", "sha256"],
};
pub(in crate::order) const TOOL_KEYS: Keys = Keys {
    of: "a tool",
    known: &["name", "argv", "min_version"],
};
pub(in crate::order) const RESOURCES_KEYS: Keys = Keys {
    of: "`resources`",
    known: &["wall", "cpu", "memory", "pids", "file_size", "output"],
};
pub(in crate::order) const BUDGET_KEYS: Keys = Keys {
    of: "`budget`",
    known: &["usd", "tokens"],
};

const WORK: Want = Want {
    what: "the kind of the work",
    example: "\"kind\": \"modify\"",
};
const DEPENDS_ON: Want = Want {
    what: "a list of ids of orders, possibly empty",
    example: "\"depends_on\": [\"WO-01\"]",
};
const REQUIREMENTS: Want = Want {
    what: "a list of names of requirements",
    example: "\"requirements\": [\"R-3\"]",
};
const DELETES: Want = Want {
    what: "a list of paths",
    example: "\"allowed_deletes\": [\"src/old.py\"]",
};
const RENAMES: Want = Want {
    what: "a list of renames",
    example: "\"allowed_renames\": [{\"from\": \"a.py\", \"to\": \"b.py\"}]",
};
const RENAME: Want = Want {
    what: "a rename (an object)",
    example: "{\"from\": \"a.py\", \"to\": \"b.py\"}",
};
const EXECUTABLES: Want = Want {
    what: "a list of paths",
    example: "\"executable_files\": [\"bin/run.sh\"]",
};
const PROTECTED: Want = Want {
    what: "a list of paths",
    example: "\"protected_files\": [\"tests/test_api.py\"]",
};
const FORBIDDEN_PATHS: Want = Want {
    what: "a list of paths",
    example: "\"forbidden_paths\": [\"vendor\"]",
};
const ACCEPTANCE: Want = Want {
    what: "a list of commands",
    example: "\"acceptance\": [{\"argv\": [\"pytest\", \"-q\"]}]",
};
const GOLDEN: Want = Want {
    what: "a list of golden suites",
    example: "\"golden\": [{\"name\": \"api\", \"sha256\": \"9f86d081…\"}]",
};
const SUITE: Want = Want {
    what: "a golden suite (an object)",
    example: "{\"name\": \"api\", \"sha256\": \"9f86d081…\"}",
};
const SUITE_NAME: Want = Want {
    what: "the name of a golden suite",
    example: "\"name\": \"api\"",
};
const TOOLS: Want = Want {
    what: "a list of tools",
    example: "\"tools\": [{\"name\": \"python\", \"min_version\": \"3.10\"}]",
};
const TOOL: Want = Want {
    what: "a tool (an object)",
    example: "{\"name\": \"python\", \"min_version\": \"3.10\"}",
};
const TOOL_NAME: Want = Want {
    what: "the name of a program",
    example: "\"name\": \"python\"",
};
const MIN_VERSION: Want = Want {
    what: "a version (a text)",
    example: "\"min_version\": \"3.10\"",
};
const RESOURCES: Want = Want {
    what: "an object of limits",
    example: "\"resources\": {\"wall\": \"2m\", \"memory\": \"512MiB\"}",
};
const TIME: Want = Want {
    what: "a duration",
    example: "\"wall\": \"2m\"",
};
const SIZE: Want = Want {
    what: "a size",
    example: "\"memory\": \"512MiB\"",
};
const NUMBER: Want = Want {
    what: "a whole number",
    example: "\"pids\": 64",
};
const BUDGET: Want = Want {
    what: "an object with `usd`, `tokens` or both",
    example: "\"budget\": {\"usd\": \"0.50\"}",
};
const USD: Want = Want {
    what: "an amount of dollars (a text)",
    example: "\"usd\": \"0.50\"",
};
const TOKENS: Want = Want {
    what: "a whole number",
    example: "\"tokens\": 200000",
};
const ORDER_ID: Want = Want {
    what: "the id of an order",
    example: "\"WO-01\"",
};
const DIGEST: Want = Want {
    what: "a SHA-256 digest",
    example: "\"sha256\": \"9f86d081…\" with 64 digits",
};

/// Reads an order of version 2.
pub(super) fn read(document: &mut Document<'_>, at: &Pointer, object: &Map<String, Value>) -> Option<WorkOrder> {
    refuse_unknown(document, at, object, &KEYS);
    // Each field is read before any is asked for, so that all defects are found.
    let id = document
        .member(at, object, "id", ID)
        .and_then(|(at, value)| order_id(document, &at, value, ID));
    let title = needed_text(document, at, object, ("title", TITLE, MAX_LINE_BYTES));
    let kind = document.member(at, object, "kind", WORK).and_then(|(at, value)| {
        let words = Kind::ALL.map(|kind| (kind.as_str(), kind));
        word(document, &at, value, (WORK, &words))
    });
    let intent = needed_text(document, at, object, ("intent", INTENT, MAX_TEXT_BYTES));
    let requirements = sentences(document, at, object, ("requirements", REQUIREMENTS));
    let depends_on = depends_on(document, at, object);
    let preconditions = conditions(document, at, object, "preconditions");
    let postconditions = conditions(document, at, object, "postconditions");
    let allowed_files = paths(document, at, object, ("allowed_files", ALLOWED_FILES, MAX_PATHS));
    let allowed_deletes = paths(document, at, object, ("allowed_deletes", DELETES, MAX_PATHS));
    let allowed_renames = renames(document, at, object);
    let executable_files = paths(document, at, object, ("executable_files", EXECUTABLES, MAX_PATHS));
    let protected_files = paths(document, at, object, ("protected_files", PROTECTED, MAX_PATHS));
    let forbidden_paths = paths(document, at, object, ("forbidden_paths", FORBIDDEN_PATHS, MAX_PATHS));
    let forbidden = sentences(document, at, object, ("forbidden", FORBIDDEN));
    let acceptance = acceptance(document, at, object, kind);
    let golden = golden(document, at, object);
    let tools = list(document, at, object, ("tools", TOOLS, MAX_ITEMS), tool);
    let resources = optional(document, at, object, "resources", resources);
    let budget = optional(document, at, object, "budget", budget);
    let context_files = paths(
        document,
        at,
        object,
        ("context_files", CONTEXT_FILES, MAX_CONTEXT_FILES),
    );
    let notes = match object.get("notes") {
        None | Some(Value::Null) => Some(None),
        Some(value) => text(document, &at.key("notes"), value, (NOTES, MAX_TEXT_BYTES)).map(Some),
    };
    let verify_exempt = read_switch(document, at, object, "verify_exempt");
    let order = WorkOrder {
        version: Version::V2,
        id: id?,
        title: title?,
        kind: Some(kind?),
        intent: intent?,
        requirements: requirements?,
        depends_on: Some(depends_on?),
        preconditions: preconditions?,
        postconditions: postconditions?,
        allowed_files: allowed_files?,
        allowed_deletes: allowed_deletes?,
        allowed_renames: allowed_renames?,
        executable_files: executable_files?,
        protected_files: protected_files?,
        forbidden_paths: forbidden_paths?,
        forbidden: forbidden?,
        acceptance_commands: acceptance?,
        golden: golden?,
        tools: tools?,
        resources: resources?.unwrap_or_default(),
        budget: budget?.unwrap_or_default(),
        context_files: context_files?,
        notes: notes?,
        verify_exempt: verify_exempt?,
        provenance: object.get("provenance").cloned(),
    };
    refuse_contradictions(document, at, &order);
    Some(order)
}

/// Whether a text can be the id of an order or the name of a suite, which is a name of a file as well.
pub fn is_plain_id(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let starts = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    starts && text.len() <= MAX_ID && text.bytes().all(is_plain)
}

fn order_id(document: &mut Document<'_>, at: &Pointer, value: &Value, want: Want) -> Option<String> {
    let id = document.as_text(at, value, want)?;
    if is_plain_id(id) {
        return Some(id.to_owned());
    }
    let wanted = "letters, digits, `-`, `_` and `.`, beginning with a letter or a digit";
    document.add(
        at,
        format!("{} is no id of an order: at most {MAX_ID} {wanted}", quote(id)),
    );
    None
}

fn sentences(
    document: &mut Document<'_>,
    at: &Pointer,
    object: &Map<String, Value>,
    (key, want): (&str, Want),
) -> Option<Vec<String>> {
    list(document, at, object, (key, want, MAX_ITEMS), |document, at, value| {
        text(document, at, value, (SENTENCE, MAX_LINE_BYTES * 4))
    })
}

/// The orders that come before. Written out also when there are none: that nothing comes before is said, not forgotten.
fn depends_on(document: &mut Document<'_>, at: &Pointer, object: &Map<String, Value>) -> Option<Vec<String>> {
    document.member(at, object, "depends_on", DEPENDS_ON)?;
    let wanted = ("depends_on", DEPENDS_ON, MAX_ITEMS);
    let ids = list(document, at, object, wanted, |document, at, value| {
        order_id(document, at, value, ORDER_ID)
    })?;
    refuse_doubles(document, &at.key("depends_on"), &ids)?;
    Some(ids)
}

fn conditions(
    document: &mut Document<'_>,
    at: &Pointer,
    object: &Map<String, Value>,
    key: &str,
) -> Option<Vec<Condition>> {
    list(document, at, object, (key, CONDITIONS, MAX_ITEMS), condition)
}

fn condition(document: &mut Document<'_>, at: &Pointer, value: &Value) -> Option<Condition> {
    let object = document.object(at, value, CONDITION)?;
    let (kind_at, kind) = document.text(at, object, "kind", KIND)?;
    let known: &[&str] = match kind {
        "file_exists" | "file_absent" => &["kind", "path"],
        "file_sha256" => &["kind", "path", "sha256"],
        "order_done" => &["kind", "order"],
        "tool" => &["kind", "name"],
        other => {
            let kinds = "`file_exists`, `file_absent`, `file_sha256`, `order_done` or `tool`";
            document.add(
                &kind_at,
                format!("{} is not a kind of condition; it is {kinds}", quote(other)),
            );
            return None;
        }
    };
    for key in object.keys().filter(|key| !known.contains(&key.as_str())) {
        document.add(
            &at.key(key),
            format!(
                "a condition `{kind}` has no such key; there are `{}`",
                known.join("`, `")
            ),
        );
    }
    let path = |document: &mut Document<'_>| {
        let (at, value) = document.member(at, object, "path", PATH)?;
        read_path(document, &at, value)
    };
    match kind {
        "file_exists" => path(document).map(|path| Condition::FileExists { path }),
        "file_absent" => path(document).map(|path| Condition::FileAbsent { path }),
        "file_sha256" => {
            let path = path(document);
            let (at, value) = document.member(at, object, "sha256", DIGEST)?;
            let sha256 = parsed(document, &at, value, DIGEST, str::parse::<Sha256>)?;
            path.map(|path| Condition::FileSha256 { path, sha256 })
        }
        "order_done" => {
            let (at, value) = document.member(at, object, "order", ORDER_ID)?;
            order_id(document, &at, value, ORDER_ID).map(|order| Condition::OrderDone { order })
        }
        _ => tool_name(document, at, object).map(|name| Condition::Tool { name }),
    }
}

fn tool_name(document: &mut Document<'_>, at: &Pointer, object: &Map<String, Value>) -> Option<String> {
    let name = needed_text(document, at, object, ("name", TOOL_NAME, MAX_LINE_BYTES))?;
    if name.contains('/') || name.contains(char::is_whitespace) {
        let text = format!(
            "{} is no name of a program: it is looked up, so it has no slash and no blanks",
            quote(&name)
        );
        document.add(&at.key("name"), text);
        return None;
    }
    Some(name)
}

fn suite_name(document: &mut Document<'_>, at: &Pointer, value: &Value) -> Option<String> {
    let name = document.as_text(at, value, SUITE_NAME)?;
    if is_plain_id(name) {
        return Some(name.to_owned());
    }
    let text = format!(
        "{} is no name of a suite, which is that of a directory: at most {MAX_ID} letters, digits, `-`, `_` and `.`, beginning \
         with a letter or a digit",
        quote(name)
    );
    document.add(at, text);
    None
}

/// The suites that judge: each named once, by a name that is that of a directory.
fn golden(document: &mut Document<'_>, at: &Pointer, object: &Map<String, Value>) -> Option<Vec<Golden>> {
    let wanted = ("golden", GOLDEN, MAX_ITEMS);
    let suites = list(document, at, object, wanted, |document, at, value| {
        let object = document.object(at, value, SUITE)?;
        refuse_unknown(document, at, object, &GOLDEN_KEYS);
        let name = document
            .member(at, object, "name", SUITE_NAME)
            .and_then(|(at, value)| suite_name(document, &at, value));
        let (at, value) = document.member(at, object, "sha256", DIGEST)?;
        let sha256 = parsed(document, &at, value, DIGEST, str::parse::<Sha256>)?;
        name.map(|name| Golden { name, sha256 })
    })?;
    let names: Vec<_> = suites.iter().map(|suite| suite.name.to_ascii_lowercase()).collect();
    refuse_doubles(document, &at.key("golden"), &names)?;
    Some(suites)
}

fn tool(document: &mut Document<'_>, at: &Pointer, value: &Value) -> Option<Tool> {
    let object = document.object(at, value, TOOL)?;
    refuse_unknown(document, at, object, &TOOL_KEYS);
    let name = tool_name(document, at, object);
    let words = match object.contains_key("argv") {
        true => argv(document, at, object).map(Some),
        false => Some(None),
    };
    let min_version = optional(document, at, object, "min_version", |document, at, value| {
        parsed(document, at, value, MIN_VERSION, |text| {
            VersionNumber::parse(text)
                .ok_or_else(|| format!("{} is no version: write numbers and points, as in 3.10", quote(text)))
        })
    });
    let (name, words) = (name?, words?);
    let argv = words.unwrap_or_else(|| vec![name.clone(), "--version".to_owned()]);
    if argv[0] != name {
        let text = format!("the command begins with {}, not with the tool's name", quote(&argv[0]));
        document.add(&at.key("argv"), text);
        return None;
    }
    Some(Tool {
        name,
        argv,
        min_version: min_version?,
    })
}

fn renames(document: &mut Document<'_>, at: &Pointer, object: &Map<String, Value>) -> Option<Vec<Rename>> {
    let renames = list(
        document,
        at,
        object,
        ("allowed_renames", RENAMES, MAX_PATHS),
        |document, at, value| {
            let object = document.object(at, value, RENAME)?;
            refuse_unknown(document, at, object, &RENAME_KEYS);
            let mut path = |key: &str| {
                let (at, value) = document.member(at, object, key, PATH)?;
                read_path(document, &at, value)
            };
            let (from, to) = (path("from"), path("to"));
            Some(Rename { from: from?, to: to? })
        },
    )?;
    refuse_doubles(document, &at.key("allowed_renames"), &renames)?;
    Some(renames)
}

fn acceptance(
    document: &mut Document<'_>,
    at: &Pointer,
    object: &Map<String, Value>,
    kind: Option<Kind>,
) -> Option<Vec<super::AcceptanceCommand>> {
    document.member(at, object, "acceptance", ACCEPTANCE)?;
    let wanted = ("acceptance", ACCEPTANCE, MAX_COMMANDS);
    let commands = list(document, at, object, wanted, |document, at, value| {
        command::read(document, at, value, kind)
    })?;
    if commands.is_empty() {
        let text = format!(
            "the list is empty; at least one command has to judge the result, as in {}",
            ACCEPTANCE.example
        );
        document.add(&at.key("acceptance"), text);
        return None;
    }
    Some(commands)
}

fn resources(document: &mut Document<'_>, at: &Pointer, value: &Value) -> Option<Resources> {
    let object = document.object(at, value, RESOURCES)?;
    refuse_unknown(document, at, object, &RESOURCES_KEYS);
    let mut time = |key: &str| {
        optional(document, at, object, key, |document, at, value| {
            duration(document, at, value, TIME)
        })
    };
    let (wall, cpu) = (time("wall"), time("cpu"));
    let mut size = |key: &str| {
        optional(document, at, object, key, |document, at, value| {
            let size = parsed(document, at, value, SIZE, str::parse::<Bytes>)?;
            if size.0 == 0 {
                document.add(at, "nothing at all is too little".to_owned());
                return None;
            }
            Some(size)
        })
    };
    let (memory, file_size, output) = (size("memory"), size("file_size"), size("output"));
    let pids = optional(document, at, object, "pids", |document, at, value| {
        number(document, at, value, (NUMBER, 1, MAX_NUMBER))
    });
    Some(Resources {
        wall: wall?,
        cpu: cpu?,
        memory: memory?,
        pids: pids?,
        file_size: file_size?,
        output: output?,
    })
}

fn budget(document: &mut Document<'_>, at: &Pointer, value: &Value) -> Option<OrderBudget> {
    let object = document.object(at, value, BUDGET)?;
    refuse_unknown(document, at, object, &BUDGET_KEYS);
    if object.is_empty() {
        document.add_wrong(at, value, BUDGET);
        return None;
    }
    let usd = optional(document, at, object, "usd", |document, at, value| {
        parsed(document, at, value, USD, str::parse::<NanoUsd>)
    });
    let tokens = optional(document, at, object, "tokens", |document, at, value| {
        number(document, at, value, (TOKENS, 1, MAX_NUMBER))
    });
    Some(OrderBudget {
        usd: usd?,
        tokens: tokens?,
    })
}

/// What cannot be meant, because two parts of the order exclude each other.
fn refuse_contradictions(document: &mut Document<'_>, at: &Pointer, order: &WorkOrder) {
    if order.allowed_files.is_empty() && order.allowed_deletes.is_empty() && order.allowed_renames.is_empty() {
        let lists = "`allowed_files`, `allowed_deletes` and `allowed_renames`";
        let text = format!("{lists} are all empty, so no answer could be right; name a file");
        document.add(&at.key("allowed_files"), text);
    }
    refuse_operations(document, at, order);
    refuse_forbidden(document, at, order);
    refuse_conditions(document, at, order);
    let depends_on = order.depends_on.as_deref().unwrap_or_default();
    if let Some(index) = depends_on.iter().position(|id| *id == order.id) {
        let text = "an order cannot come after itself".to_owned();
        document.add(&at.key("depends_on").index(index), text);
    }
    let shows_work = |baseline| baseline == Baseline::Fail;
    let mut baselines = order.acceptance_commands.iter().map(|command| command.expect_baseline);
    if !order.kind.is_some_and(Kind::may_be_green_before) && !baselines.any(shows_work) {
        let why = "no command has to fail before the work is done, so none would show that it was done";
        let text = format!("{why}; leave `expect_baseline` out of one, or write \"fail\"");
        document.add(&at.key("acceptance"), text);
    }
}

fn refuse_operations(document: &mut Document<'_>, at: &Pointer, order: &WorkOrder) {
    let deletes = at.key("allowed_deletes");
    for (index, path) in order.allowed_deletes.iter().enumerate() {
        if order.allowed_files.contains(path) {
            let text = "the order may write this file as well; decide which".to_owned();
            document.add(&deletes.index(index), text);
        }
    }
    refuse_nested(document, at, order);
    let sources: HashSet<_> = order.allowed_renames.iter().map(|rename| &rename.from).collect();
    let (mut from, mut to) = (HashSet::new(), HashSet::new());
    for (index, rename) in order.allowed_renames.iter().enumerate() {
        let complaint = if rename.from == rename.to {
            "a file keeps its name by not being renamed"
        } else if folded(&rename.from) == folded(&rename.to) {
            "some file systems take the two names for one; give the file another name"
        } else if sources.contains(&rename.to) {
            "the file of the new name is renamed itself, and an order changes each file once; use two orders"
        } else if order.allowed_deletes.contains(&rename.to) {
            "the order may delete the file of the new name; write the file instead"
        } else if !from.insert(&rename.from) {
            "the file is renamed already; it can get one name"
        } else if !to.insert(&rename.to) {
            "another file gets this name already"
        } else {
            continue;
        };
        document.add(&at.key("allowed_renames").index(index), complaint.to_owned());
    }
    let may_be = |path: &RepoPath| order.allowed_files.contains(path) || to.contains(path);
    let stray = order.executable_files.iter().position(|path| !may_be(path));
    if let Some(index) = stray {
        let text = "the order may neither write this file nor give a file this name".to_owned();
        document.add(&at.key("executable_files").index(index), text);
    }
}

fn folded(path: &RepoPath) -> String {
    fold_name(path.as_str())
}

/// Refuses files that are written or deleted in what the order writes as a file.
fn refuse_nested(document: &mut Document<'_>, at: &Pointer, order: &WorkOrder) {
    let written = order.allowed_files.iter().enumerate();
    let written = written.map(|(index, path)| (path, true, at.key("allowed_files").index(index)));
    let deleted = order.allowed_deletes.iter().enumerate();
    let deleted = deleted.map(|(index, path)| (path, false, at.key("allowed_deletes").index(index)));
    let all = written.chain(deleted);
    // With the separator as the smallest character, what is below a path follows it immediately.
    let mut all: Vec<_> = all
        .map(|(path, is_made, at)| (folded(path).replace('/', "\0"), path, is_made, at))
        .collect();
    all.sort_by(|one, other| one.0.cmp(&other.0));
    let mut file: Option<(&str, &RepoPath)> = None;
    for (key, path, is_made, at) in &all {
        let is_below = |above: &str| key.strip_prefix(above).is_some_and(|rest| rest.starts_with('\0'));
        match file.filter(|(above, _)| is_below(above)) {
            Some((_, above)) => {
                let text = format!(
                    "{} lies in {}, which the order makes a file",
                    quote(path.as_str()),
                    quote(above.as_str())
                );
                document.add(at, text);
            }
            None if *is_made => file = Some((key, path)),
            None => {}
        }
    }
}

/// Paths that are allowed and forbidden at once.
fn refuse_forbidden(document: &mut Document<'_>, at: &Pointer, order: &WorkOrder) {
    let listed = [
        ("allowed_files", &order.allowed_files),
        ("allowed_deletes", &order.allowed_deletes),
    ];
    let listed = listed.into_iter().flat_map(|(key, paths)| {
        let places = paths.iter().enumerate();
        places.map(move |(index, path)| (at.key(key).index(index), path))
    });
    let renamed = order.allowed_renames.iter().enumerate().flat_map(|(index, rename)| {
        let at = at.key("allowed_renames").index(index);
        [(at.key("from"), &rename.from), (at.key("to"), &rename.to)]
    });
    let forbidden: Vec<_> = listed.chain(renamed).filter(|(_, path)| order.forbids(path)).collect();
    for (at, path) in forbidden {
        let lists = "`protected_files` or `forbidden_paths`";
        document.add(
            &at,
            format!("{} is allowed here and forbidden by {lists}", quote(path.as_str())),
        );
    }
}

fn refuse_conditions(document: &mut Document<'_>, at: &Pointer, order: &WorkOrder) {
    let may_go = |path: &RepoPath| {
        let renamed = order.allowed_renames.iter().any(|rename| rename.from == *path);
        order.allowed_deletes.contains(path) || renamed
    };
    for (index, condition) in order.postconditions.iter().enumerate() {
        let complaint = match condition {
            Condition::FileAbsent { path } if !may_go(path) => {
                "the order may neither delete this file nor rename it, so it cannot see to that"
            }
            Condition::OrderDone { .. } | Condition::Tool { .. } => {
                "no proposal can see to that; make it a precondition"
            }
            Condition::FileAbsent { .. } | Condition::FileExists { .. } | Condition::FileSha256 { .. } => continue,
        };
        document.add(&at.key("postconditions").index(index), complaint.to_owned());
    }
}
