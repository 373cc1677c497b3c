use super::inherit::{OPENABLE, covers};
use super::values::{Side, lists, scalars};
use super::*;
use crate::sandbox::policy::{Network, TreeSource};
use crate::sandbox::report::LimitKind;
use crate::types::{Bytes, Problem as _};
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

const NOBODY: Operator<'static> = Operator {
    profiles: None,
    own: &[],
    search_path: "/usr/bin:/bin",
    variable: &|_| None,
};

/// A directory of the operator's profiles.
struct Profiles(tempfile::TempDir);

impl Profiles {
    fn new(files: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(directory.path().join(format!("{name}.toml")), text).unwrap();
        }
        Profiles(directory)
    }

    fn operator(&self) -> Operator<'_> {
        Operator {
            profiles: Some(self.0.path()),
            ..NOBODY
        }
    }

    fn load(&self, name: &str) -> Result<Profile, SandboxError> {
        Profile::load(name, &self.operator())
    }

    /// The reason and the remedy of a refusal.
    #[track_caller]
    fn refusal(&self, name: &str) -> (String, String) {
        match self.load(name).and_then(|profile| profile.resolve(&self.operator())) {
            Err(SandboxError::ProfileInvalid { reason, remedy, .. }) => (reason, remedy.unwrap_or_default()),
            other => panic!("{other:?}"),
        }
    }
}

/// A profile that extends `strict` and says one thing more.
fn child(rest: &str) -> String {
    format!("schema = 1\nname = \"child\"\nextends = [\"strict\"]\n{rest}\n")
}

#[track_caller]
fn refusal(rest: &str) -> (String, String) {
    Profiles::new(&[("child", &child(rest))]).refusal("child")
}

fn built_in_text(name: &str) -> &'static str {
    BUILT_IN.iter().find(|(known, _)| *known == name).unwrap().1
}

// What is built in.

#[test]
fn every_built_in_profile_is_valid_and_needs_no_toolchain_to_parse() {
    for (name, _) in BUILT_IN {
        let profile = Profile::load(name, &NOBODY).unwrap();
        assert!(!profile.summary().is_empty(), "{name}");
        assert!(!profile.expectations().is_empty(), "{name}");
    }
    assert_eq!(load_profile("strict", &NOBODY).unwrap().network, Network::None);
}

#[test]
fn the_built_in_profiles_have_nothing_to_ask_about_but_the_floor_of_the_legacy_one() {
    for (name, _) in BUILT_IN {
        let findings = Profile::load(name, &NOBODY).unwrap().lint(&NOBODY).unwrap();
        // What depends on how large the host is says nothing about the profile.
        let own: Vec<_> = findings
            .iter()
            .map(|finding| finding.rule)
            .filter(|rule| *rule != "more-than-the-host")
            .collect();
        let expected: &[&str] = if name == "legacy-kernel" { &["low-floor"] } else { &[] };
        assert_eq!(own, expected, "{name}");
    }
}

#[test]
fn only_the_legacy_profile_may_do_without_user_namespaces() {
    assert!(!load_profile("legacy-kernel", &NOBODY).unwrap().require.userns);
    let text = built_in_text("legacy-kernel").replace("\"legacy-kernel\"", "\"mine\"");
    let (reason, remedy) = Profiles::new(&[("mine", &text)]).refusal("mine");
    assert!(
        reason.starts_with("line ") && reason.contains("require.userns"),
        "{reason}"
    );
    assert!(remedy.contains("legacy-kernel"), "{remedy}");
}

// Reading.

#[test]
fn a_misspelled_key_is_refused_with_its_line_and_the_nearest_known_one() {
    for (text, line, wrong, nearest) in [
        ("[limits]\nmemroy = \"1GiB\"", 5, "memroy", "memory"),
        ("[limtis]\nmemory = \"1GiB\"", 4, "limtis", "limits"),
        ("[fs]\ntmp = { size = \"1MiB\", indoes = 1 }", 5, "indoes", "inodes"),
        (
            "[fs]\nread = [\n  { path = \"@system\", wyh = \"x\" },\n]",
            6,
            "wyh",
            "why",
        ),
        ("[fs]\nsnapshot = [{ pth = \"/x\" }]", 5, "pth", "path"),
        ("[env]\npass = [{ nmae = \"X\" }]", 5, "nmae", "name"),
        ("[require]\nlandlok_abi = 3", 5, "landlok_abi", "landlock_abi"),
        ("[require]\nlimits = [\"memry\"]", 5, "memry", "memory"),
        ("[tree]\nsorce = \"export\"", 5, "sorce", "source"),
        ("[tree]\nsource = \"exprt\"", 5, "exprt", "export"),
        ("[net]\nmod = \"none\"", 5, "mod", "mode"),
        ("[exec]\nmemfb = true", 5, "memfb", "memfd"),
        ("[[expect]]\ndny = { op = \"mount\" }", 5, "dny", "deny"),
        (
            "[[expect]]\n\ndeny = { op = \"reed\", path = \"/x\" }",
            6,
            "reed",
            "read",
        ),
        ("[[expect]]\ndeny = { op = \"mount\", path = \"/x\" }", 5, "path", ""),
        ("[[expect]]\ndeny = { op = \"read\", pth = \"/x\" }", 5, "pth", "path"),
    ] {
        let (reason, remedy) = refusal(text);
        assert!(reason.starts_with(&format!("line {line}: ")), "{text}: {reason}");
        assert!(reason.contains(wrong), "{text}: {reason}");
        assert!(
            nearest.is_empty() || remedy == format!("did you mean `{nearest}`?"),
            "{text}: {remedy}"
        );
    }
}

#[test]
fn every_wrong_value_is_refused_with_its_line() {
    for (text, line, word) in [
        ("[limits]\nwall = \"10\"", 5, "duration"),
        ("[limits]\nmemory = \"1GB\"", 5, "size"),
        ("[limits]\npids = -1", 5, "-1"),
        ("[require]\nlimits = [\"memory\", \"wall\"]", 5, "control group"),
        ("[require]\nseccomp = false", 5, "require.seccomp"),
        ("[tree]\nprotect = [\"../x\"]", 5, "leaves the repository"),
        ("[fs]\nread = [\"@toolchain.cobol\"]", 5, "@toolchain.cobol"),
        ("[fs]\nsnapshot = [\"@system\"]", 5, "@system"),
        ("[fs]\nread = [\"@system\", \"@system\"]", 5, "twice"),
        ("[fs]\nread = [3]", 5, "a path or bundle"),
        ("[env]\nset = { \"A=B\" = \"x\" }", 5, "A=B"),
        ("[[expect]]\nwhy = \"x\"", 4, "either"),
        ("open = [\"fs.raed\"]", 4, "fs.raed"),
        ("open = [\"tree.protect\"]", 4, "tree.protect"),
        ("schema = 2", 4, "duplicate"),
    ] {
        let (reason, _) = refusal(text);
        assert!(
            reason.starts_with(&format!("line {line}: ")) && reason.contains(word),
            "{text}: {reason}"
        );
    }
    let (reason, _) = Profiles::new(&[("child", "schema = 2\nname = \"child\"")]).refusal("child");
    assert!(reason.contains("schema 2"), "{reason}");
    let (reason, remedy) = Profiles::new(&[("child", "schema = 1\nname = \"other\"")]).refusal("child");
    assert!(
        reason.contains("line 2") && remedy.contains("other.toml"),
        "{reason} {remedy}"
    );
}

#[test]
fn a_profile_without_parents_says_everything() {
    let (reason, remedy) = Profiles::new(&[("child", "schema = 1\nname = \"child\"")]).refusal("child");
    assert!(
        reason.contains("`require.userns` is missing") && remedy.contains("extends"),
        "{reason} {remedy}"
    );
}

#[test]
fn the_operators_profile_goes_before_a_built_in_one_of_its_name() {
    let text = built_in_text("strict").replace("pids = ", "pids = 7 # ");
    let profiles = Profiles::new(&[("strict", &text)]);
    assert_eq!(load_profile("strict", &profiles.operator()).unwrap().limits.pids, 7);
}

#[test]
fn the_operators_profile_may_narrow_the_built_in_one_of_its_name() {
    let text = "schema = 1\nname = \"verify\"\nextends = [\"verify\"]\n[limits]\npids = 7\n";
    let profiles = Profiles::new(&[("verify", text)]);
    let profile = profiles.load("verify").unwrap();
    assert_eq!(profile.resolve(&profiles.operator()).unwrap().policy.limits.pids, 7);
    // The operator's own stands for that name everywhere else.
    let strict = profiles.load("strict").unwrap_err().to_string();
    assert!(strict.contains("wider than its parent `verify`"), "{strict}");
}

#[test]
fn a_name_cannot_lead_out_of_the_directory() {
    let profiles = Profiles::new(&[]);
    for name in ["../x", "/etc/passwd", "", "a/b", "."] {
        let found = load_profile(name, &profiles.operator());
        assert!(matches!(found, Err(SandboxError::NoSuchProfile { .. })), "{name}");
        let (reason, _) = Profiles::new(&[(
            "child",
            &format!("schema = 1\nname = \"child\"\nextends = [\"{name}\"]"),
        )])
        .refusal("child");
        assert!(reason.starts_with("line 3: there is no profile"), "{reason}");
    }
}

#[test]
fn a_circle_of_parents_is_refused() {
    let text = |name: &str, parent: &str| format!("schema = 1\nname = \"{name}\"\nextends = [\"{parent}\"]");
    let profiles = Profiles::new(&[
        ("a", &text("a", "b")),
        ("b", &text("b", "c")),
        ("c", &text("c", "a")),
        ("d", &text("d", "d")),
    ]);
    for name in ["a", "b", "c", "d"] {
        let (reason, remedy) = profiles.refusal(name);
        assert!(reason.contains("extends itself") && !remedy.is_empty(), "{reason}");
    }
}

#[test]
fn loader_variables_are_never_passed() {
    for variable in ["LD_PRELOAD", "BASH_ENV", "GIT_DIR", "SSH_AUTH_SOCK"] {
        let (reason, _) = refusal(&format!("[env]\npass = [\"{variable}\"]"));
        assert!(reason.starts_with("line 5: ") && reason.contains(variable), "{reason}");
    }
}

// Inheritance.

#[test]
fn a_child_that_widens_is_refused_with_both_values_the_line_and_the_remedy() {
    for (text, key, ours, theirs) in [
        ("[require]\nlandlock_abi = 2", "require.landlock_abi", "2", "3"),
        ("[require]\nuserns = false", "require.userns", "false", "true"),
        (
            "[tree]\nsource = \"synthetic-git\"",
            "tree.source",
            "synthetic-git",
            "export",
        ),
        ("[fs]\nread = [\"@system\", \"/opt/x\"]", "fs.read", "/opt/x", "@system"),
        (
            "[fs]\nread = [\"@toolchain.rust\"]",
            "fs.read",
            "@toolchain.rust",
            "@system",
        ),
        (
            "[fs]\nsnapshot = [\"/usr/share\"]",
            "fs.snapshot",
            "/usr/share",
            "nothing",
        ),
        ("[fs]\ntmp = { size = \"1GiB\" }", "fs.tmp.size", "1GiB", "256MiB"),
        ("[exec]\nmemfd = true", "exec.memfd", "true", "false"),
        ("[net]\nmode = \"loopback\"", "net.mode", "loopback", "none"),
        ("[limits]\nwall = \"3m\"", "limits.wall", "3m", "2m"),
        ("[limits]\nmemory = \"2GiB\"", "limits.memory", "2GiB", "1GiB"),
        ("[env]\npass = [\"TERM\"]", "env.pass", "TERM", "nothing"),
    ] {
        let (reason, remedy) = refusal(text);
        let line = 3 + text.lines().count();
        let expected = format!("line {line}: `{key}` = {ours} is wider than its parent `strict`, which has {theirs}");
        assert!(reason.starts_with(&expected), "{reason}");
        assert!(remedy.contains("write ") && remedy.contains("`open`"), "{remedy}");
    }
}

#[test]
fn a_child_has_what_it_says_and_otherwise_what_its_parents_have() {
    let text = child(
        "[fs]\nread = [\"/usr/bin\", \"@system\"]\n[limits]\nsilence = \"10s\"\npids = 3\n[tree]\nprotect = [\"a\"]\n[require]\nlimits = [\"memory\"]\nlandlock_abi = 6\n[env]\nset = { TZ = \"X\" }",
    );
    let profiles = Profiles::new(&[("child", &text)]);
    let policy = load_profile("child", &profiles.operator()).unwrap();
    let strict = load_profile("strict", &NOBODY).unwrap();
    assert_eq!(policy.limits.silence, Some(Duration::from_secs(10)));
    assert_eq!((policy.limits.pids, policy.limits.wall), (3, strict.limits.wall));
    assert_eq!(policy.require.limits, [LimitKind::Memory].into());
    assert_eq!((policy.require.landlock_abi, policy.tree), (6, TreeSource::Export));
    assert_eq!(policy.protect.len(), 1);
    assert_eq!(
        (policy.env["TZ"].as_str(), policy.env["LC_ALL"].as_str()),
        ("X", "C.UTF-8")
    );
    assert_eq!(policy.read.first().unwrap().path, Path::new("/usr/bin"));
}

#[test]
fn two_parents_leave_what_both_grant_and_demand_what_either_does() {
    let left = child("[limits]\npids = 5\n[tree]\nprotect = [\"a\"]\n[fs]\nread = [\"/usr/lib\", \"/usr/bin\"]")
        .replace("\"child\"", "\"left\"");
    let right =
        child("[limits]\nwall = \"9s\"\n[tree]\nprotect = [\"b\"]\n[fs]\nread = [\"/usr/lib/gcc\", \"/usr/bin\"]")
            .replace("\"child\"", "\"right\"");
    let both = "schema = 1\nname = \"both\"\nextends = [\"left\", \"right\"]";
    let profiles = Profiles::new(&[("left", &left), ("right", &right), ("both", both)]);
    let spec = profiles.load("both").unwrap().spec;
    assert_eq!((spec.pids.value, spec.wall.value.0), (5, Duration::from_secs(9)));
    assert_eq!(spec.protect.keys().collect::<Vec<_>>(), ["a", "b"]);
    let mut read: Vec<_> = spec.read.iter().map(|grant| grant.name.as_str()).collect();
    read.sort_unstable();
    assert_eq!(read, ["/usr/bin", "/usr/lib/gcc"]);
}

#[test]
fn what_a_parent_leaves_open_a_child_may_widen_and_its_children_may_not() {
    let text = |name: &str, parent: &str, rest: &str| {
        format!("schema = 1\nname = \"{name}\"\nextends = [\"{parent}\"]\n{rest}")
    };
    let wide = "[limits]\nwall = \"9h\"\n[fs]\nread = [\"@system\", \"/usr\"]\n";
    let profiles = Profiles::new(&[
        ("wide", &text("wide", "build", wide)),
        ("wider", &text("wider", "wide", "[limits]\nwall = \"10h\"")),
        ("opener", &text("opener", "verify", "open = [\"limits.wall\"]")),
        (
            "both",
            "schema = 1\nname = \"both\"\nextends = [\"build\", \"verify\"]\n[limits]\nwall = \"20m\"",
        ),
    ]);
    assert_eq!(
        profiles.load("wide").unwrap().spec.wall.value.0,
        Duration::from_secs(9 * 3600)
    );
    let (reason, _) = profiles.refusal("wider");
    assert!(reason.contains("its parent `wide`"), "{reason}");
    // `build` leaves it open, but `verify` lies in between.
    let (reason, _) = profiles.refusal("opener");
    assert!(reason.contains("`verify` keeps closed"), "{reason}");
    let (reason, _) = profiles.refusal("both");
    assert!(reason.contains("its parent `verify`"), "{reason}");
}

#[test]
fn what_is_denied_stays_expected_in_every_child() {
    let (verify, build) = (
        Profile::load("verify", &NOBODY).unwrap(),
        Profile::load("build", &NOBODY).unwrap(),
    );
    for expectation in build.expectations() {
        let kept = verify.expectations().contains(expectation);
        assert_eq!(kept, expectation.wanted == Wanted::Deny, "{expectation:?}");
    }
}

#[test]
fn a_difference_is_named_from_the_side_of_the_command() {
    let [verify, strict] = ["verify", "strict"].map(|name| Profile::load(name, &NOBODY).unwrap());
    assert_eq!(verify.diff(&verify), []);
    let narrowed = verify.diff(&strict);
    assert!(
        narrowed.iter().all(|difference| difference.change != Change::Widened),
        "{narrowed:?}"
    );
    assert!(
        narrowed
            .iter()
            .any(|difference| difference.key == "fs.read" && difference.from.as_deref() == Some("@toolchain.rust"))
    );
    let widened = strict.diff(&verify);
    assert_eq!(narrowed.len(), widened.len());
    assert!(
        widened.iter().all(|difference| difference.change != Change::Narrowed),
        "{widened:?}"
    );
    // A variable is neither.
    let other = Profiles::new(&[("child", &child("[env]\nset = { TZ = \"UTC/x\", MORE = \"1\" }"))]);
    let changed = strict.diff(&other.load("child").unwrap());
    let shown: Vec<_> = changed
        .iter()
        .map(|one| (one.change, one.from.as_deref(), one.to.as_deref()))
        .collect();
    let (more, zone) = (Some("MORE=1"), Some("TZ=UTC/x"));
    assert_eq!(
        shown,
        [(Change::Changed, None, more), (Change::Changed, Some("TZ=UTC"), zone)]
    );
    // A higher floor takes something away.
    let higher = Profiles::new(&[("child", &child("[require]\nlandlock_abi = 6\nlimits = [\"cpu\"]"))])
        .load("child")
        .unwrap();
    let changes: Vec<_> = strict
        .diff(&higher)
        .iter()
        .map(|difference| (difference.change, difference.key))
        .collect();
    assert_eq!(
        changes,
        [
            (Change::Narrowed, "require.landlock_abi"),
            (Change::Narrowed, "require.limits")
        ]
    );
}

// Grants.

#[test]
fn a_grant_that_may_not_be_shown_is_refused_with_its_line() {
    let home = tempfile::Builder::new().tempdir_in("/var/tmp").unwrap();
    let home = fs::canonicalize(home.path()).unwrap();
    fs::create_dir_all(home.join("tools")).unwrap();
    std::os::unix::fs::symlink("tools", home.join("link")).unwrap();
    let _listener = std::os::unix::net::UnixListener::bind(home.join("tools/socket")).unwrap();
    fs::create_dir_all(home.join("state")).unwrap();
    let own = [home.join("state")];
    let word = |name: &str| home.join(name).display().to_string();
    for (path, reason, remedy) in [
        ("/".to_owned(), "never shown", "grant"),
        ("~".to_owned(), "not expanded", "whole path"),
        ("~/.ssh".to_owned(), "not expanded", "whole path"),
        ("opt/x".to_owned(), "not an absolute path", "from `/` on"),
        ("/opt/../etc".to_owned(), "plain spelling", "`..`"),
        ("/proc".to_owned(), "never shown", "grant"),
        ("/run".to_owned(), "never shown", "grant"),
        ("/run/docker.sock".to_owned(), "never shown", "grant"),
        ("/etc/ssh".to_owned(), "where keys are kept", "beside"),
        (home.display().to_string(), "home directory", "below it"),
        (
            home.parent().unwrap().display().to_string(),
            "home directory",
            "below it",
        ),
        (word(".ssh/config"), "where keys are kept", "beside"),
        (word(".config"), "where keys are kept", "beside"),
        (
            word("state/runs"),
            "where this program keeps its state",
            "nothing to do",
        ),
        (word("absent"), "No such file", "optional = true"),
        (word("link"), "symbolic link", &word("tools")),
        (word("tools"), "the socket", "one by one"),
    ] {
        // From a root: the parent would refuse most of these first.
        let text = built_in_text("legacy-kernel")
            .replace("userns = false ", "userns = true ")
            .replace("legacy-kernel", "mine");
        let text = text.replace("read = [", &format!("read = [\n{{ path = \"{path}\", why = \"x\" }},"));
        let line = 1 + text[..text.find(&format!("path = \"{path}\"")).unwrap()]
            .matches('\n')
            .count();
        let profiles = Profiles::new(&[("mine", &text)]);
        let variable = |name: &str| (name == "HOME").then(|| home.display().to_string());
        let operator = Operator {
            own: &own,
            variable: &variable,
            ..profiles.operator()
        };
        let refused = load_profile("mine", &operator).unwrap_err();
        let shown = refused.to_string();
        assert!(
            shown.contains(&format!("line {line}: ")) && shown.contains(reason),
            "{path}: {shown}"
        );
        assert!(refused.hint().unwrap().contains(remedy), "{path}: {:?}", refused.hint());
    }
}

#[test]
fn an_optional_grant_may_be_absent() {
    let text = child("[fs]\nread = [\"@system\", { path = \"/usr/absent\", why = \"x\", optional = true }]");
    let policy = load_profile("child", &Profiles::new(&[("child", &text)]).operator()).unwrap();
    assert!(
        policy
            .read
            .iter()
            .any(|grant| grant.optional && grant.path == Path::new("/usr/absent"))
    );
}

#[test]
fn a_toolchain_in_an_odd_place_is_left_out_where_it_may_be_missing_and_refused_elsewhere() {
    let home = tempfile::tempdir_in("/var/tmp").unwrap();
    let home = fs::canonicalize(home.path()).unwrap();
    let prefix = home.join(".local");
    for file in ["bin/node", "include/node/node.h"] {
        fs::create_dir_all(prefix.join(file).parent().unwrap()).unwrap();
        fs::write(prefix.join(file), "").unwrap();
    }
    let variable = |name: &str| (name == "HOME").then(|| home.display().to_string());
    let search_path = prefix.join("bin").display().to_string();
    let entry = |optional: bool| format!("{{ path = \"@toolchain.node\", why = \"x\", optional = {optional} }}");
    for optional in [true, false] {
        let text = child(&format!("[fs]\nread = [{}]", entry(optional))).replace("strict", "build");
        let profiles = Profiles::new(&[("child", &text)]);
        let operator = Operator {
            search_path: &search_path,
            variable: &variable,
            ..profiles.operator()
        };
        match Profile::load("child", &operator).unwrap().resolve(&operator) {
            Ok(resolved) if optional => {
                assert!(
                    resolved.left_out[0].reason.contains("`@toolchain.node`"),
                    "{resolved:?}"
                );
                assert!(
                    resolved.policy.read.is_empty() && resolved.granted.is_empty(),
                    "{resolved:?}"
                );
                let findings = Profile::load("child", &operator).unwrap().lint(&operator).unwrap();
                assert_eq!(findings.first().map(|finding| finding.rule), Some("left-out"));
            }
            Err(SandboxError::ProfileInvalid { reason, .. }) if !optional => {
                assert!(reason.starts_with("line 5: `@toolchain.node` stands for"), "{reason}");
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn what_is_read_without_a_reason_is_asked_about() {
    let shared = tempfile::tempdir_in("/var/tmp").unwrap();
    fs::set_permissions(shared.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let text = built_in_text("strict")
        .replace("extends = [\"verify\"]", "extends = [\"build\"]")
        .replace("\"strict\"", "\"mine\"");
    let text = text
        .replace(
            "read = [",
            &format!("read = [\"/usr/share\", \"{}\", ", shared.path().display()),
        )
        .replace("pass = []", "pass = [\"API_TOKEN\"]");
    let profiles = Profiles::new(&[("mine", &text)]);
    let findings = profiles.load("mine").unwrap().lint(&profiles.operator()).unwrap();
    let found: Vec<_> = findings
        .iter()
        .map(|finding| (finding.rule, finding.origin.line))
        .collect();
    let read = 1 + text[..text.find("read = [").unwrap()].matches('\n').count();
    let pass = 1 + text[..text.find("pass = [").unwrap()].matches('\n').count();
    assert_eq!(
        found,
        [
            ("no-reason", read),
            ("no-reason", read),
            ("no-reason", pass),
            ("writable-by-others", read),
            ("passes-secret", pass),
        ]
    );
}

// Properties.

/// What a generated profile says; `None` is not said.
#[derive(Debug, Clone)]
struct Wish {
    open: Vec<&'static str>,
    abi: Option<u32>,
    grouped: Vec<&'static str>,
    source: Option<&'static str>,
    protect: Vec<&'static str>,
    read: Option<Vec<&'static str>>,
    snapshot: Option<Vec<&'static str>>,
    size: Option<u64>,
    memfd: Option<bool>,
    mode: Option<&'static str>,
    wall: Option<u32>,
    silence: Option<u32>,
    memory: Option<u64>,
    pids: Option<u64>,
    pass: Option<Vec<&'static str>>,
}

impl Wish {
    fn text(&self, name: &str, parents: &[&str]) -> String {
        let said = |key: &str, value: Option<String>| value.map_or(String::new(), |value| format!("{key} = {value}\n"));
        let mut text = format!(
            "schema = 1\nname = \"{name}\"\nextends = {parents:?}\nopen = {:?}\n[require]\n",
            self.open
        );
        text += &said("landlock_abi", self.abi.map(|abi| abi.to_string()));
        text += &format!("limits = {:?}\n[tree]\n", self.grouped);
        text += &said("source", self.source.map(|source| format!("{source:?}")));
        text += &format!("protect = {:?}\n[fs]\n", self.protect);
        text += &said("read", self.read.as_ref().map(|read| format!("{read:?}")));
        text += &said(
            "snapshot",
            self.snapshot.as_ref().map(|snapshot| format!("{snapshot:?}")),
        );
        text += &said("tmp.size", self.size.map(|size| format!("\"{size}MiB\"")));
        text += "[exec]\n";
        text += &said("memfd", self.memfd.map(|memfd| memfd.to_string()));
        text += "[net]\n";
        text += &said("mode", self.mode.map(|mode| format!("{mode:?}")));
        text += "[limits]\n";
        text += &said("wall", self.wall.map(|wall| format!("\"{wall}s\"")));
        text += &said("silence", self.silence.map(|silence| format!("\"{silence}s\"")));
        text += &said("memory", self.memory.map(|memory| format!("\"{memory}MiB\"")));
        text += &said("pids", self.pids.map(|pids| pids.to_string()));
        text += "[env]\n";
        text += &said("pass", self.pass.as_ref().map(|pass| format!("{pass:?}")));
        text
    }
}

/// The root of what is generated: it says everything and leaves everything open.
fn root() -> String {
    let text = built_in_text("build").replace("\"build\"", "\"root\"");
    let open = format!("open = {OPENABLE:?}\n");
    let (start, end) = (text.find("open = [").unwrap(), text.find("]\n").unwrap() + 2);
    format!("{}{open}{}", &text[..start], &text[end..])
}

/// `open` is how many keys it leaves open at most, of which the parents refuse most: few make a child that loads.
fn wish(open: usize) -> impl proptest::strategy::Strategy<Value = Wish> {
    use proptest::collection::btree_set;
    // Seldom: a child that says little is one that loads.
    fn of<S: Strategy>(strategy: S) -> impl Strategy<Value = Option<S::Value>> {
        proptest::option::weighted(0.25, strategy)
    }
    use proptest::prelude::*;
    use proptest::sample::select;
    let some = |known: &'static [&'static str], most: usize| {
        btree_set(select(known), 0..=most).prop_map(|set| set.into_iter().collect::<Vec<_>>())
    };
    const READ: &[&str] = &[
        "@system",
        "@toolchain.rust",
        "/usr/lib",
        "/usr/lib/gcc",
        "/opt/a",
        "/opt/a/b",
        "/opt/ab",
    ];
    const CACHES: &[&str] = &["@cache.go", "/opt/a", "/opt/a/b"];
    let lists = (
        some(&OPENABLE, open),
        some(&["cpu", "memory", "pids"], 3),
        some(&["a", "b/c"], 2),
        of(some(READ, 4)),
        of(some(CACHES, 2)),
        of(some(&["TERM", "LANG"], 2)),
    );
    let scalars = (
        of(3u32..8),
        of(select(&["export", "synthetic-git"][..])),
        of(1u64..5),
        of(any::<bool>()),
        of(select(&["none", "loopback"][..])),
        of(1u32..5),
        of(1u32..5),
        of(1u64..5),
        of(1u64..5),
    );
    (lists, scalars).prop_map(
        |(
            (open, grouped, protect, read, snapshot, pass),
            (abi, source, size, memfd, mode, wall, silence, memory, pids),
        )| {
            Wish {
                open,
                abi,
                grouped,
                source,
                protect,
                read,
                snapshot,
                size,
                memfd,
                mode,
                wall,
                silence,
                memory,
                pids,
                pass,
            }
        },
    )
}

/// Keys under which a child grants what a parent does not, computed from the values alone.
fn wider(parent: &Spec, child: &Spec) -> Vec<&'static str> {
    let scalars = scalars(parent).into_iter().zip(scalars(child));
    let mut wider: Vec<_> = scalars
        .filter(|(theirs, ours)| ours.rank > theirs.rank)
        .map(|(theirs, _)| theirs.value.key)
        .collect();
    for (theirs, ours) in lists(parent).into_iter().zip(lists(child)) {
        let uncovered = match theirs.side {
            Side::Grants => ours
                .entries
                .iter()
                .any(|entry| !theirs.entries.iter().any(|theirs| covers(&theirs.value, &entry.value))),
            Side::Demands => theirs
                .entries
                .iter()
                .any(|entry| !ours.entries.iter().any(|ours| ours.value == entry.value)),
        };
        if uncovered {
            wider.push(theirs.key);
        }
    }
    wider
}

#[test]
fn every_grant_of_a_child_that_loads_is_covered_by_each_parent_that_bounds_it() {
    use proptest::test_runner::{Config, TestRunner};
    let (children, grandchildren) = (std::cell::Cell::new(0), std::cell::Cell::new(0));
    let mut runner = TestRunner::new(Config {
        cases: 800,
        failure_persistence: None,
        ..Config::default()
    });
    let wishes = (wish(12), wish(12), wish(1), wish(0), proptest::bool::ANY);
    let tested = runner.run(&wishes, |(left, right, child, grandchild, by_two)| {
        let names: &[&str] = if by_two { &["left", "right"] } else { &["left"] };
        let profiles = Profiles::new(&[
            ("root", &root()),
            ("left", &left.text("left", &["root"])),
            ("right", &right.text("right", &["root"])),
            ("child", &child.text("child", names)),
            ("grandchild", &grandchild.text("grandchild", &["child"])),
        ]);
        let spec = |name: &str| profiles.load(name).map(|profile| profile.spec);
        let parents: Vec<Spec> = names.iter().map(|name| spec(name).unwrap()).collect();
        let Ok(child) = spec("child") else { return Ok(()) };
        children.set(children.get() + 1);
        for parent in &parents {
            for key in wider(parent, &child) {
                proptest::prop_assert!(parent.open.contains(key), "{key} is wider than in {}", parent.name);
            }
        }
        // What an ancestor closes stays closed for all that follow.
        let Ok(grandchild) = spec("grandchild") else {
            return Ok(());
        };
        grandchildren.set(grandchildren.get() + 1);
        for ancestor in parents.iter().chain([&child]) {
            for key in wider(ancestor, &grandchild) {
                proptest::prop_assert!(ancestor.open.contains(key), "{key} is wider than in {}", ancestor.name);
            }
        }
        Ok(())
    });
    tested.unwrap();
    // Else the property would hold of nothing.
    assert!(
        children.get() > 50 && grandchildren.get() > 5,
        "{children:?} {grandchildren:?}"
    );
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig { cases: 400, ..Default::default() })]

    #[test]
    fn no_text_makes_the_parser_panic(text in "\\PC{0,200}") {
        let source = Source { name: "x".to_owned(), label: "x".to_owned(), text };
        let _ = document::parse(&source);
    }

    #[test]
    fn no_mutation_of_a_profile_makes_loading_panic(at in 0usize..3000, with in "[\\[\\]{}=\"'\n#a-z0-9@/.~ ]{0,6}") {
        let mut text = built_in_text("build").replace("\"build\"", "\"x\"");
        let mut at = at.min(text.len());
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        text.insert_str(at, &with);
        let _ = load(Source { name: "x".to_owned(), label: "x".to_owned(), text }, &NOBODY, &mut Vec::new());
    }

    #[test]
    fn a_child_that_is_refused_for_being_wider_is_wider(left in wish(0), child in wish(0)) {
        let mut closed = left;
        closed.open.clear();
        let profiles = Profiles::new(&[
            ("root", &root()),
            ("left", &closed.text("left", &["root"])),
            ("child", &Wish { open: Vec::new(), ..child.clone() }.text("child", &["left"])),
            ("alone", &Wish { open: Vec::new(), ..child }.text("alone", &["root"])),
        ]);
        let (left, alone) = (profiles.load("left").unwrap().spec, profiles.load("alone").unwrap().spec);
        match profiles.load("child") {
            Ok(_) => {}
            Err(SandboxError::ProfileInvalid { reason, .. }) => {
                // The same words below the root: the key that was refused is one that it has wider than the parent.
                let key = reason.split('`').nth(1).unwrap().to_owned();
                proptest::prop_assert!(wider(&left, &alone).contains(&key.as_str()), "{}", reason);
            }
            Err(other) => panic!("{other:?}"),
        }
    }
}

#[test]
fn sizes_are_those_of_the_text() {
    let policy = load_profile("strict", &NOBODY).unwrap();
    assert_eq!(
        (policy.limits.memory, policy.tmp.size),
        (Bytes(1 << 30), Bytes(256 << 20))
    );
    assert_eq!(policy.limits.silence, None);
}
