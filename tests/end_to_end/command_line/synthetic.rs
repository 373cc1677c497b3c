//! `tree.source = "synthetic-git"`: what a command learns from git inside, and what the real repository notices of it.

use super::Place;
use crate::support::has;
use crate::support::place::{answer, order};
use serde_json::json;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// A place whose repository has more to tell than its tree: a second commit, a tag, a remote, a hook and settings.
fn place() -> Place {
    let place = Place::new();
    place.write("repository/odd \u{e9} name", "1\n");
    std::os::unix::fs::symlink("a.txt", place.path("repository/link")).unwrap();
    place.git(&["add", "--all"]);
    place.git(&["commit", "--quiet", "--message=the operator's words"]);
    place.git(&["tag", "v1"]);
    place.git(&["remote", "add", "origin", "ssh://remote.invalid/secret"]);
    place.git(&["config", "user.name", "the operator"]);
    place.write("repository/.git/hooks/pre-commit", "exit 1\n");
    place.profile("git", "source = \"export\"", "source = \"synthetic-git\"");
    place
}

fn has_git() -> bool {
    has(
        "git",
        Path::new("/usr/bin/git").exists() || Path::new("/usr/local/bin/git").exists(),
    )
}

/// What a script prints in the profile; it has to succeed.
#[track_caller]
fn prints(place: &Place, script: &str) -> String {
    let ended = place.exec(&["--profile=git", "--", "sh", "-e", "-c", script]);
    assert_eq!(
        (ended.code, ended.stderr.as_str()),
        (Some(0), ""),
        "{script}: {ended:#?}"
    );
    String::from_utf8(ended.stdout).unwrap()
}

#[test]
fn a_command_finds_a_clean_repository_of_one_commit_and_nothing_of_the_operators() {
    let place = place();
    if !has_git() {
        return;
    }
    // The control: without it there is no repository at all. `diff-index` first: it looks at sizes and times alone.
    let plain = place.exec(&["--", "git", "status"]);
    assert_eq!(plain.code, Some(128), "{plain:#?}");
    let told = place.untouched_by(|| {
        prints(
            &place,
            "git diff-index HEAD; git status --porcelain; git rev-list --all --count",
        )
    });
    assert_eq!(told, "1\n");
    // Once more, from the cache.
    assert_eq!(
        prints(&place, "git status --porcelain; git ls-files -z | tr '\\0' '\\n'"),
        "a.txt\nlink\nodd \u{e9} name\nscripts/verify.sh\n"
    );
    assert_eq!(
        prints(
            &place,
            "git symbolic-ref HEAD; git tag; git remote; git for-each-ref | wc -l"
        ),
        "refs/heads/main\n1\n"
    );
    assert_eq!(
        prints(&place, "git log --format='%an %s %ct'"),
        "factory the tree under test 946684800\n"
    );
    assert_eq!(
        prints(&place, "git rev-parse HEAD^{tree}").trim(),
        place.git(&["rev-parse", "HEAD^{tree}"])
    );
    prints(&place, "git fsck --strict --no-dangling 2>&1");
    prints(
        &place,
        "for name in $(git config --list --name-only); do case $name in core.*) ;; *) exit 1 ;; esac; done",
    );
    prints(&place, "! grep -r -e operator -e remote.invalid .git");
    let described = place.exec(&["--profile=git", "--", "git", "describe"]);
    assert_eq!(described.code, Some(128), "{described:#?}");
    assert!(described.stderr.contains("No names found"), "{described:#?}");
}

#[test]
fn a_change_inside_is_noticed_by_git_and_by_nobody_outside() {
    let place = place();
    if !has_git() {
        return;
    }
    prints(&place, "true");
    // That a tree was used is noted in the time of its marker.
    let layers = || {
        let mut found = place.snapshot("home/.cache/factory/trees");
        found.retain(|path, _| path.extension().is_none_or(|extension| extension != "ok"));
        found
    };
    let cache = layers();
    let script = "echo changed > a.txt; test \"$(git status --porcelain)\" = ' M a.txt'
        mkdir .git/hooks; printf '#!/bin/sh\\ntouch ran\\n' > .git/hooks/post-commit; chmod +x .git/hooks/post-commit
        git -c user.name=a -c user.email=a@b commit --quiet --all --message=inside; test -e ran
        git tag inside; git gc --quiet; git config core.hooksPath /src; git rev-list --all --count";
    assert_eq!(place.untouched_by(|| prints(&place, script)), "2\n");
    assert!(layers() == cache, "the shared layers were changed");
    assert_eq!(
        prints(&place, "git rev-list --all --count; test ! -e .git/hooks; cat a.txt"),
        "1\nbase\n"
    );
}

#[test]
fn objects_are_copied_and_not_linked() {
    let place = place();
    prints(&place, "true");
    let files = |name: &str| {
        let found = place.snapshot(name).into_keys();
        let objects = found.filter(|path| path.to_string_lossy().contains("/objects/") && path.is_file());
        objects.map(|path| path.metadata().unwrap()).collect::<Vec<_>>()
    };
    let (theirs, ours) = (files("repository/.git"), files("home/.cache/factory/trees"));
    assert!(!theirs.is_empty() && !ours.is_empty());
    assert!(ours.iter().all(|copy| copy.nlink() == 1));
    let same = |a: &std::fs::Metadata, b: &std::fs::Metadata| (a.dev(), a.ino()) == (b.dev(), b.ino());
    assert!(!ours.iter().any(|copy| theirs.iter().any(|object| same(copy, object))));
    let borrowed = place
        .snapshot("home/.cache/factory/trees")
        .into_keys()
        .any(|path| path.ends_with("alternates"));
    assert!(!borrowed);
}

#[test]
fn a_candidate_is_the_one_commit_while_it_is_verified() {
    let place = place();
    if !has_git() {
        return;
    }
    let check = "test -z \"$(git status --porcelain)\" && test \"$(git rev-list --all --count)\" = 1 &&
        git ls-files --error-unmatch a.txt sub/new.txt && git show HEAD:sub/new.txt && git fsck --strict --no-dangling";
    let run = |name: &str, check: &str| {
        let mut order = order();
        order["id"] = json!(name);
        order["allowed_files"] = json!(["sub/new.txt"]);
        order["postconditions"] = json!([]);
        order["acceptance_commands"] = json!([format!("sh -c '{check}'")]);
        place.write("order.json", order.to_string());
        place.run(&["--profile=git", "--max-attempts=1", "order.json"])
    };
    place.write("answers/1.json", answer("sub/new.txt", "hello\n"));
    // A candidate that is rejected reaches the operator's objects no more than its commands do.
    let rejected = place.untouched_by(|| run("WO-01", "! git cat-file -e HEAD:sub/new.txt"));
    assert_eq!(rejected.code, Some(1), "{rejected:#?}");
    let passed = run("WO-02", check);
    assert_eq!(passed.code, Some(0), "{passed:#?}");
}
