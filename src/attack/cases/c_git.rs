//! C: git and promotion.
//!
//! Where the act plants something in a work tree, the operator's next git command is run in it afterwards, as a person
//! would do who looks at what the command left. A launcher that lets the tree be written has the plant run outside.

use crate::attack::case::Judge::Outside;
use crate::attack::case::Severity::{Critical, High, Low, Medium};
use crate::attack::case::{Case, act, product};
use crate::attack::product;

pub(super) const CASES: &[Case] = &[
    act(
        "C01",
        "gitfile-redirect",
        Critical,
        "`.git` is made to name a repository of the payload's",
        &["git-plant", "gitfile", "{outside}/ran"],
    )
    .judged(Outside)
    .in_git()
    .then("git status"),
    act(
        "C02",
        "hooks-plant",
        Critical,
        "hooks are planted",
        &["git-plant", "hooks", "{outside}/ran"],
    )
    .judged(Outside)
    .in_git()
    .then("git commit --allow-empty --message=x"),
    act(
        "C03",
        "fsmonitor",
        Critical,
        "the configuration names a program that `git status` starts",
        &["git-plant", "fsmonitor", "{outside}/ran"],
    )
    .judged(Outside)
    .in_git()
    .then("git status"),
    act(
        "C04",
        "sshcommand-pager-alias",
        Critical,
        "the configuration names pagers, editors, aliases and more",
        &["git-plant", "pager", "{outside}/ran"],
    )
    .judged(Outside)
    .in_git()
    .then("git st; git commit --allow-empty"),
    act(
        "C05",
        "config-worktree",
        Critical,
        "a second configuration beside the first",
        &["git-plant", "worktree-config", "{outside}/ran"],
    )
    .judged(Outside)
    .in_git()
    .then("git status"),
    act(
        "C06",
        "info-attributes",
        Critical,
        "attributes in the git directory choose a filter",
        &["git-plant", "info-attributes", "{outside}/ran"],
    )
    .judged(Outside)
    .in_git()
    .then("touch file && git add file"),
    act(
        "C07",
        "gitattributes-filter",
        Critical,
        "attributes in the tree choose a filter that the operator configured",
        &["git-plant", "attributes", "{outside}/ran"],
    )
    .judged(Outside)
    .in_git()
    .then("git -c filter.relative.clean=./run.sh add --renormalize ."),
    product(
        "C08",
        "lfs-pointer",
        Medium,
        "a file under large-file storage is swapped for another",
        product::lfs_pointer,
    ),
    act(
        "C09",
        "embedded-bare",
        Critical,
        "a directory is turned into a repository",
        &["git-plant", "embedded", "{outside}/ran"],
    )
    .judged(Outside)
    .in_git()
    .then("cd sub && git status"),
    act(
        "C10",
        "nested-repo",
        Medium,
        "a repository inside of the repository",
        &["git-plant", "nested", "{outside}/ran"],
    )
    .judged(Outside)
    .in_git()
    .then("cd nested && git status"),
    product(
        "C11",
        "submodule-url",
        High,
        "a submodule's address runs a program",
        product::submodules,
    ),
    product(
        "C12",
        "symlink-escape-blob",
        High,
        "a proposal writes through a link that leads out",
        product::through_links,
    ),
    product(
        "C13",
        "dir-symlink-swap",
        Critical,
        "a directory of the export that is a link is written through",
        product::exported_links,
    ),
    product(
        "C14",
        "symlink-then-dir",
        Critical,
        "one run makes a link, the next writes below it",
        product::link_then_directory,
    ),
    product(
        "C15",
        "dotgit-paths",
        Critical,
        "a proposal names git's own files in any spelling",
        product::metadata_proposals,
    ),
    act(
        "C16",
        "alternates",
        High,
        "objects of another store are named",
        &["git-plant", "alternates", "{outside}/ran"],
    )
    .judged(Outside)
    .in_git()
    .watching_the_tree(),
    act(
        "C17",
        "replace-grafts",
        High,
        "history is replaced",
        &["git-plant", "replace", "{outside}/ran"],
    )
    .judged(Outside)
    .in_git()
    .watching_the_tree(),
    act(
        "C18",
        "index-tricks",
        High,
        "the index hides an edit",
        &["git-plant", "index", "{outside}/ran"],
    )
    .judged(Outside)
    .in_git()
    .watching_the_tree(),
    product(
        "C19",
        "verify-then-swap",
        Critical,
        "a process edits after the verdict",
        product::edit_after_verdict,
    ),
    product(
        "C20",
        "touch-tests",
        Critical,
        "an acceptance command edits the tests of the next one",
        product::edited_tests,
    ),
    product(
        "C21",
        "verify-mutates",
        High,
        "the verification changes files, and they are committed",
        product::mutating_verify,
    ),
    product(
        "C22",
        "ref-cas",
        High,
        "the branch moves during the run and the move is lost",
        product::moved_branch,
    ),
    product(
        "C23",
        "concurrent-promote",
        High,
        "two runs promote to one branch, and one is lost",
        product::two_runs,
    ),
    product(
        "C24",
        "crash-mid-promote",
        High,
        "a run killed at any moment leaves half a promotion",
        product::killed_runs,
    ),
    product(
        "C25",
        "fail-no-trace",
        Medium,
        "a run that fails changes the repository",
        product::failed_run,
    ),
    product(
        "C26",
        "large-blob",
        Medium,
        "a proposal larger than the limit is taken",
        product::large_proposal,
    ),
    product(
        "C27",
        "filemode-noise",
        Low,
        "modes that a command set are committed",
        product::file_modes,
    ),
    product(
        "C28",
        "git-env",
        High,
        "variables lead git to another repository",
        product::git_variables,
    ),
];
