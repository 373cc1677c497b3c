//! Checks of profiles, grants and switches.

use super::{exec_json, factory, finding, git_in, place, run::tokenless, start, useless, wrote};
use crate::attack::case::Tune;
use crate::attack::score::{Finding, Verdict};
use crate::attack::{AttackError, Ground, tune};
use crate::sandbox::{Command, Operator, Outcome, Policy, ReadGrant, SandboxError, load_profile};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

const STRICT: &str = include_str!("../../../sandbox-profiles/strict.toml");

/// Loads `name` from a directory with this one file besides those built in.
fn load(directory: &Path, name: &str, text: &str) -> Result<Result<Policy, SandboxError>, AttackError> {
    let file = directory.join(format!("{name}.toml"));
    fs::write(&file, text).map_err(wrote(&file))?;
    let operator = Operator {
        profiles: Some(directory),
        search_path: "/usr/bin:/bin",
        variable: &|_| None,
        own: &[],
    };
    Ok(load_profile(name, &operator))
}

fn directory(ground: &Ground) -> Result<PathBuf, AttackError> {
    let directory = place(ground)?.join("profiles");
    fs::create_dir_all(&directory).map_err(wrote(&directory))?;
    Ok(directory)
}

pub(in crate::attack) fn unknown_key(ground: &Ground) -> Result<Finding, AttackError> {
    let directory = directory(ground)?;
    if load(&directory, "strict", STRICT)?.is_err() {
        return useless("the profile itself is refused");
    }
    let mut wrong = Vec::new();
    for (known, misspelled) in [
        ("memory =", "memroy ="),
        ("[limits]", "[limit]"),
        ("landlock_abi", "landlock-abi"),
        ("mode =", "mode_ ="),
    ] {
        if load(&directory, "strict", &STRICT.replacen(known, misspelled, 1))?.is_ok() {
            wrong.push(format!("`{misspelled}` is ignored"));
        }
    }
    finding(wrong, "every misspelled key is refused")
}

pub(in crate::attack) fn profile_in_tree(ground: &Ground) -> Result<Finding, AttackError> {
    let place = place(ground)?;
    let repository = place.join("repository");
    let planted = STRICT
        .replace("set = { LC_ALL", "set = { PLANTED = \"yes\", LC_ALL")
        .replace("name = \"strict\"", "name = \"verify\"");
    for file in [
        "sandbox-profiles/verify.toml",
        ".factory/profiles/verify.toml",
        ".config/factory/profiles/verify.toml",
        "verify.toml",
        "factory/profiles/verify.toml",
    ] {
        let file = repository.join(file);
        let parent = file.parent().unwrap_or(&repository);
        fs::create_dir_all(parent).map_err(wrote(parent))?;
        fs::write(&file, &planted).map_err(wrote(&file))?;
    }
    git_in(&place, &repository, &["init", "--quiet", "."])?;
    git_in(&place, &repository, &["add", "--all"])?;
    git_in(&place, &repository, &["commit", "--quiet", "--message=base"])?;
    let by_operator = load(&repository.join("sandbox-profiles"), "verify", &planted)?;
    if !by_operator.is_ok_and(|policy| policy.env.contains_key("PLANTED")) {
        return useless("the planted profile is no profile");
    }
    // From within the tree as well, in case something is looked for beside the working directory.
    let mut command = factory(ground, ground.scratch.path());
    let output = command
        .args(["exec", "--", "sh", "-c", "echo [$PLANTED]"])
        .current_dir(&repository)
        .output()
        .map_err(start)?;
    let text = String::from_utf8_lossy(&output.stdout);
    if !text.contains('[') {
        return useless(String::from_utf8_lossy(&output.stderr));
    }
    finding(
        text.contains("yes")
            .then(|| "a profile of the tree was used".to_owned())
            .into_iter()
            .collect(),
        "profiles come from the operator alone",
    )
}

pub(in crate::attack) fn widening_child(ground: &Ground) -> Result<Finding, AttackError> {
    let directory = directory(ground)?;
    let child = |rest: &str| format!("schema = 1\nname = \"child\"\nextends = [\"strict\"]\n{rest}");
    if let Err(error) = load(&directory, "child", &child("[limits]\npids = 5\n"))? {
        return Ok(Finding::new(
            Verdict::Skipped,
            format!("no profile extends another: {error}"),
        ));
    }
    let mut wrong = Vec::new();
    for widening in [
        "[net]\nmode = \"loopback\"\n",
        "[limits]\nmemory = \"64GiB\"\n",
        "[limits]\npids = 100000\n",
        "[exec]\nmemfd = true\n",
        "[fs]\nread = [\"/var\"]\n",
        "[require]\nlandlock_abi = 0\n",
    ] {
        if load(&directory, "child", &child(widening))?.is_ok() {
            wrong.push(format!("a child may say {}", widening.replace('\n', " ")));
        }
    }
    finding(wrong, "a child only narrows")
}

/// Runs `true` under the policy with one more grant.
fn with_grant(
    ground: &Ground,
    path: &Path,
    optional: bool,
    argv: &[&str],
) -> Result<Result<Outcome, SandboxError>, AttackError> {
    let mut policy = ground.policy.clone();
    policy.read.push(ReadGrant {
        path: path.to_owned(),
        optional,
    });
    tokenless(ground, policy, &Command::new(argv.iter().copied()))
}

pub(in crate::attack) fn missing_grant(ground: &Ground) -> Result<Finding, AttackError> {
    let missing = place(ground)?.join("missing");
    if !matches!(
        with_grant(ground, &missing, true, &["true"])?,
        Ok(Outcome::Exit { code: 0 })
    ) {
        return useless("an optional grant that is missing is no reason to refuse");
    }
    finding(
        with_grant(ground, &missing, false, &["true"])?
            .is_ok()
            .then(|| "passed over".to_owned())
            .into_iter()
            .collect(),
        "refused",
    )
}

pub(in crate::attack) fn linked_grant(ground: &Ground) -> Result<Finding, AttackError> {
    let place = place(ground)?;
    let (real, link) = (place.join("real"), place.join("link"));
    fs::create_dir(&real).map_err(wrote(&real))?;
    fs::write(real.join("file"), "x").map_err(wrote(&real))?;
    symlink(&real, &link).map_err(wrote(&link))?;
    let read = |path: &Path| path.join("file").display().to_string();
    if !matches!(
        with_grant(ground, &real, false, &["cat", &read(&real)])?,
        Ok(Outcome::Exit { code: 0 })
    ) {
        return useless("a plain directory is refused");
    }
    // Either the grant is refused, or it stays the name of a link and shows nothing behind it that was not granted.
    let shown = matches!(
        with_grant(ground, &link, false, &["cat", &read(&link)])?,
        Ok(Outcome::Exit { code: 0 })
    );
    finding(
        shown
            .then(|| "what the link leads to is shown".to_owned())
            .into_iter()
            .collect(),
        "a link grants nothing",
    )
}

pub(in crate::attack) fn broad_grants(ground: &Ground) -> Result<Finding, AttackError> {
    let plain = place(ground)?.join("outside");
    if !matches!(
        with_grant(ground, &plain, false, &["true"])?,
        Ok(Outcome::Exit { code: 0 })
    ) {
        return useless("a narrow grant is refused");
    }
    let home = nix::unistd::User::from_uid(nix::unistd::getuid())
        .ok()
        .flatten()
        .map(|user| user.dir);
    let mut wrong = Vec::new();
    for path in ["/", "/proc", "/run", "/sys", "/dev", "/etc", "/home", "/var", "/tmp"]
        .map(PathBuf::from)
        .into_iter()
        .chain(home)
    {
        // A host without it, or one that the caller cannot open, says nothing.
        if fs::read_dir(&path).is_ok() && with_grant(ground, &path, false, &["true"])?.is_ok() {
            wrong.push(format!("`{}` is granted", path.display()));
        }
    }
    finding(wrong, "all are refused")
}

pub(in crate::attack) fn floor(ground: &Ground) -> Result<Finding, AttackError> {
    let lowest: Tune = tune::no_landlock;
    let with = |abi: u32| {
        let mut policy = ground.policy.clone();
        lowest(&mut policy, Path::new("/"));
        policy.require.landlock_abi = abi;
        tokenless(ground, policy, &Command::new(["true"]))
    };
    if !matches!(with(0)?, Ok(Outcome::Exit { code: 0 })) {
        return useless("the lowest floor is refused");
    }
    finding(
        with(99)?
            .is_ok()
            .then(|| "a floor of ABI 99 is ignored".to_owned())
            .into_iter()
            .collect(),
        "refused below the floor",
    )
}

pub(in crate::attack) fn opt_out(ground: &Ground) -> Result<Finding, AttackError> {
    let repository = ground.repository()?;
    let secret = place(ground)?.join("outside/secret");
    fs::write(&secret, "precious-secret").map_err(wrote(&secret))?;
    let path = secret.display().to_string();
    let plain = std::process::Command::new("cat").arg(&path).output().map_err(start)?;
    if plain.stdout != b"precious-secret" {
        return useless("the secret cannot be read outside");
    }
    let (document, _) = exec_json(ground, repository, &["true"])?;
    if document["outcome"]["code"] != 0 {
        return useless("the command line does not run anything");
    }
    let mut wrong = Vec::new();
    for flag in [
        "--no-sandbox",
        "--unsafe",
        "--dangerously-skip-sandbox",
        "--sandbox=off",
        "--profile=none",
        "--profile=/dev/null",
        "--privileged",
    ] {
        let mut command = factory(ground, ground.scratch.path());
        let output = command
            .args(["exec", flag, "--repo"])
            .arg(repository)
            .args(["--", "cat", &path])
            .output()
            .map_err(start)?;
        if output.status.success() {
            wrong.push(format!("{flag} is taken"));
        }
    }
    let mut command = factory(ground, ground.scratch.path());
    for name in [
        "FACTORY_SANDBOX",
        "FACTORY_NO_SANDBOX",
        "FACTORY_UNSAFE",
        "NO_SANDBOX",
        "FACTORY_PROFILE",
        "FACTORY_DISABLE",
    ] {
        command.env(name, "off");
    }
    let output = command
        .args(["exec", "--repo"])
        .arg(repository)
        .args(["--", "cat", &path])
        .output()
        .map_err(start)?;
    if output.stdout == b"precious-secret" {
        wrong.push("a variable turns it off".to_owned());
    }
    finding(wrong, "no flag and no variable turns it off")
}

/// Damages a profile in many ways: each is refused or taken, and none is a panic.
pub(in crate::attack) fn fuzzed_profiles(ground: &Ground) -> Result<Finding, AttackError> {
    let directory = directory(ground)?;
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = move |below: usize| {
        // xorshift64: the same damage on every host.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    };
    let (mut refused, mut wrong) = (0, Vec::new());
    for _ in 0..400 {
        let mut bytes = STRICT.as_bytes().to_vec();
        for _ in 0..=next(6) {
            let at = next(bytes.len());
            match next(3) {
                0 => bytes[at] = next(128) as u8,
                1 => drop(bytes.remove(at)),
                _ => bytes.insert(at, b"\"[]{}=,.#\n0"[next(11)]),
            }
        }
        let text = String::from_utf8_lossy(&bytes).into_owned();
        match std::panic::catch_unwind(|| load(&directory, "strict", &text)) {
            Ok(loaded) => refused += u32::from(loaded?.is_err()),
            Err(_) => wrong.push(format!("a panic: {}", crate::types::truncate(&text, 200))),
        }
    }
    if refused == 0 {
        return useless("no damage was noticed");
    }
    finding(
        wrong,
        &format!("{refused} of 400 damaged profiles were refused, the others still meant something"),
    )
}
