//! Paths that no order changes without the operator's word: what they hold runs without being called.
//!
//! - A build server, an editor, a shell or git starts what such a file says, outside of every sandbox and with somebody's
//!   rights, as soon as the branch is pushed, opened or entered. A verdict on the code says nothing about that.
//! - Names are compared as the file systems do that take the most for one: without regard to case and spelling.

use crate::types::{RepoPath, fold_name};

/// Directories, by the path that they end with, and who runs what lies in them.
const DIRECTORIES: [(&str, &str); 14] = [
    (".github/workflows", "a build server"),
    (".github/actions", "a build server"),
    (".gitea/workflows", "a build server"),
    (".forgejo/workflows", "a build server"),
    (".circleci", "a build server"),
    (".buildkite", "a build server"),
    (".woodpecker", "a build server"),
    (".husky", "git, as hooks"),
    (".githooks", "git, as hooks"),
    (".vscode", "an editor"),
    (".idea", "an editor"),
    (".zed", "an editor"),
    (".devcontainer", "an editor"),
    (".cargo", "cargo, also when an editor calls it"),
];

/// Files, by name in any directory, and who runs what they say.
const FILES: [(&str, &str); 30] = [
    (".gitmodules", "git, for submodules"),
    (".envrc", "a shell that enters the directory"),
    (".mise.toml", "a shell that enters the directory"),
    (".mise.local.toml", "a shell that enters the directory"),
    ("mise.toml", "a shell that enters the directory"),
    ("mise.local.toml", "a shell that enters the directory"),
    (".pre-commit-config.yaml", "git, as hooks"),
    (".pre-commit-config.yml", "git, as hooks"),
    (".gitlab-ci.yml", "a build server"),
    (".travis.yml", "a build server"),
    (".drone.yml", "a build server"),
    (".cirrus.yml", "a build server"),
    (".appveyor.yml", "a build server"),
    ("appveyor.yml", "a build server"),
    (".woodpecker.yml", "a build server"),
    (".woodpecker.yaml", "a build server"),
    ("azure-pipelines.yml", "a build server"),
    ("azure-pipelines.yaml", "a build server"),
    ("buildkite.yml", "a build server"),
    ("buildkite.yaml", "a build server"),
    ("bitbucket-pipelines.yml", "a build server"),
    ("jenkinsfile", "a build server"),
    (".devcontainer.json", "an editor"),
    (".dir-locals.el", "an editor"),
    (".exrc", "an editor"),
    (".nvim.lua", "an editor"),
    (".vimrc", "an editor"),
    (".gdbinit", "a debugger"),
    (".lldbinit", "a debugger"),
    (".yarnrc.yml", "yarn"),
];

/// Files that mean nothing without their directory, by the path that they end with, and who runs what they say.
const PLACES: [(&str, &str); 6] = [
    (".mise/config.toml", "a shell that enters the directory"),
    (".mise/config.local.toml", "a shell that enters the directory"),
    ("mise/config.toml", "a shell that enters the directory"),
    ("mise/config.local.toml", "a shell that enters the directory"),
    (".config/mise.toml", "a shell that enters the directory"),
    (".helix/languages.toml", "an editor"),
];

/// Who runs what the path holds without being asked to; nothing when nobody does.
pub fn runs_unasked(path: &RepoPath) -> Option<&'static str> {
    let path = fold_name(path.as_str());
    let name = path.rsplit('/').next().unwrap_or(&path);
    if let Some((_, who)) = FILES.iter().find(|(file, _)| *file == name) {
        return Some(who);
    }
    if is_lefthook(name) {
        return Some("git, as hooks");
    }
    let is_there = |place: &str| {
        path.strip_suffix(place)
            .is_some_and(|before| before.is_empty() || before.ends_with('/'))
    };
    if let Some((_, who)) = PLACES.iter().find(|(place, _)| is_there(place)) {
        return Some(who);
    }
    let within = |directory: &str| {
        let mut places = path.match_indices(directory);
        places.any(|(at, _)| {
            let starts = at == 0 || path[..at].ends_with('/');
            starts && path[at + directory.len()..].starts_with('/')
        })
    };
    let found = DIRECTORIES.iter().find(|(directory, _)| within(directory));
    found.map(|(_, who)| *who)
}

/// Whether it is a file of Lefthook, which takes `lefthook.yml` and its like in four formats, hidden or not, and beside each
/// one that is local. Source: Lefthook's documentation, "Configuration".
fn is_lefthook(name: &str) -> bool {
    let visible = name.strip_prefix('.').unwrap_or(name);
    let Some((stem, format)) = visible.split_once('.') else {
        return false;
    };
    ["lefthook", "lefthook-local"].contains(&stem) && ["yml", "yaml", "toml", "json", "jsonc"].contains(&format)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(path: &str) -> Option<&'static str> {
        runs_unasked(&RepoPath::parse(path).unwrap())
    }

    #[test]
    fn what_runs_by_itself_is_known_at_any_depth_and_in_any_case() {
        for path in [
            ".gitmodules",
            ".GitModules",
            ".envrc",
            "sub/.envrc",
            ".github/workflows/ci.yml",
            "a/.GITHUB/Workflows/x/y",
            ".vscode/tasks.json",
            "Jenkinsfile",
            ".husky/pre-commit",
            ".v\u{17f}code/tasks.json",
            ".hus\u{212a}y/pre-commit",
            ".woodpecker.yml",
            ".woodpecker/build.yaml",
            "mise.local.toml",
            ".mise.local.toml",
            "a/.mise/config.toml",
            ".config/mise/config.toml",
            ".config/mise.toml",
            "lefthook.toml",
            ".lefthook.json",
            "lefthook-local.yml",
            ".lefthook-local.yaml",
            "azure-pipelines.yaml",
            "buildkite.yml",
            ".helix/languages.toml",
        ] {
            assert!(of(path).is_some(), "{path}");
        }
    }

    #[test]
    fn what_only_looks_like_it_is_free() {
        for path in [
            ".github/CODEOWNERS",
            "x.envrc",
            ".envrc.example",
            "my.vscode/x",
            ".vscodes/x",
            "docs/jenkinsfile.md",
            ".gitignore",
            "husky/pre-commit",
            "lefthook.rs",
            "promise/config.toml",
            "languages.toml",
        ] {
            assert_eq!(of(path), None, "{path}");
        }
    }
}
