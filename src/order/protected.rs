//! Paths that no order changes without the operator's word: what they hold runs without being called.
//!
//! - A build server, an editor, a shell or git starts what such a file says, outside of every sandbox and with somebody's
//!   rights, as soon as the branch is pushed, opened or entered. A verdict on the code says nothing about that.
//! - Names are compared without regard to case, as some file systems do.

use crate::types::RepoPath;

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
const FILES: [(&str, &str); 26] = [
    (".gitmodules", "git, for submodules"),
    (".envrc", "a shell that enters the directory"),
    (".mise.toml", "a shell that enters the directory"),
    ("mise.toml", "a shell that enters the directory"),
    (".pre-commit-config.yaml", "git, as hooks"),
    (".pre-commit-config.yml", "git, as hooks"),
    ("lefthook.yml", "git, as hooks"),
    ("lefthook.yaml", "git, as hooks"),
    (".lefthook.yml", "git, as hooks"),
    (".gitlab-ci.yml", "a build server"),
    (".travis.yml", "a build server"),
    (".drone.yml", "a build server"),
    (".cirrus.yml", "a build server"),
    (".appveyor.yml", "a build server"),
    ("appveyor.yml", "a build server"),
    ("azure-pipelines.yml", "a build server"),
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

/// Who runs what the path holds without being asked to; nothing when nobody does.
pub fn runs_unasked(path: &RepoPath) -> Option<&'static str> {
    let path = path.as_str().to_lowercase();
    let name = path.rsplit('/').next().unwrap_or(&path);
    if let Some((_, who)) = FILES.iter().find(|(file, _)| *file == name) {
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
        ] {
            assert_eq!(of(path), None, "{path}");
        }
    }
}
