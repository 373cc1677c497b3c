//! The operator's repository: where it is, what HEAD is, what a name means.

use super::error::WorkspaceError;
use super::snapshot::Snapshot;
use crate::types::{ObjectId, escape_control};
use git2::{ErrorCode, Oid, RepositoryOpenFlags, StatusOptions};
use rustix::fs::MemfdFlags;
use std::fs::File;
use std::io::Write as _;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};

/// The longest text that is looked up as a revision, in bytes.
const REVISION_MAX: usize = 1024;

/// A repository with a work tree, opened once by its path.
pub struct Repository {
    pub(super) git: git2::Repository,
    work_dir: PathBuf,
    common_dir: PathBuf,
}

/// Where HEAD is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The branch that is checked out, without `refs/heads/`; nothing when HEAD is detached.
    pub branch: Option<String>,
    /// The commit that is checked out.
    pub commit: ObjectId,
}

impl Repository {
    /// Opens the repository that `dir` is in, looking upwards as git does, without regard to the environment.
    ///
    /// # Errors
    /// `Host` when there is none, or it is one that libgit2 cannot read faithfully: bare, of another object or ref format,
    /// a partial clone, or owned by another user.
    pub fn open(dir: &Path) -> Result<Self, WorkspaceError> {
        let dir = dir.canonicalize().map_err(|source| unreadable(dir, source))?;
        std::fs::read_dir(&dir).map_err(|source| unreadable(&dir, source))?;
        // Without FROM_ENV, so that an exported GIT_DIR cannot point us elsewhere.
        let git = git2::Repository::open_ext(&dir, RepositoryOpenFlags::empty(), None::<&Path>)
            .map_err(|source| refusal(&dir, source))?;
        let work_dir = match git.workdir() {
            Some(work_dir) if !git.is_bare() => work_dir.to_owned(),
            _ => return Err(WorkspaceError::Bare { dir }),
        };
        let common_dir = git.commondir().to_owned();
        if is_partial_clone(&git).map_err(|source| unusable(&work_dir, source))? {
            return Err(WorkspaceError::PartialClone { dir: work_dir });
        }
        Ok(Repository {
            git,
            work_dir,
            common_dir,
        })
    }

    /// The same repository once more, for reading and writing with other object stores.
    pub(super) fn another_handle(&self) -> Result<Self, WorkspaceError> {
        Ok(Repository {
            git: git2::Repository::open(self.git.path()).map_err(|source| read("the repository", source))?,
            work_dir: self.work_dir.clone(),
            common_dir: self.common_dir.clone(),
        })
    }

    /// Where HEAD is.
    ///
    /// # Errors
    /// `Host` when there is no commit yet, or HEAD cannot be read.
    pub fn head(&self) -> Result<Head, WorkspaceError> {
        let head = self.git.head().map_err(|source| match source.code() {
            ErrorCode::UnbornBranch | ErrorCode::NotFound => WorkspaceError::NoCommits {
                dir: self.work_dir.clone(),
            },
            _ => read("HEAD", source),
        })?;
        let commit = head
            .peel_to_commit()
            .map_err(|source| read("the commit at HEAD", source))?;
        // A detached HEAD is its own direct reference, and a link to anything but a branch is as good as detached.
        let branch = head.name_bytes().strip_prefix(b"refs/heads/");
        Ok(Head {
            branch: branch.map(|name| String::from_utf8_lossy(name).into_owned()),
            commit: object_id(commit.id()),
        })
    }

    /// The commit that a branch, a tag, an id or another revision leads to. Source: gitrevisions(7).
    ///
    /// # Errors
    /// `Host` when the text cannot be a revision, or names nothing, several objects, or no commit.
    pub fn resolve(&self, rev: &str) -> Result<ObjectId, WorkspaceError> {
        let shown = || escape_control(&rev.chars().take(REVISION_MAX).collect::<String>());
        if rev.is_empty() || rev.len() > REVISION_MAX || rev.starts_with('-') || rev.chars().any(char::is_control) {
            return Err(WorkspaceError::MalformedRevision { rev: shown() });
        }
        let object = self.git.revparse_single(rev).map_err(|source| match source.code() {
            ErrorCode::Ambiguous => WorkspaceError::AmbiguousRevision { rev: shown() },
            ErrorCode::InvalidSpec => WorkspaceError::MalformedRevision { rev: shown() },
            _ => WorkspaceError::NoSuchRevision { rev: shown(), source },
        })?;
        match object.peel_to_commit() {
            Ok(commit) => Ok(object_id(commit.id())),
            Err(_) => Err(WorkspaceError::NotACommit { rev: shown() }),
        }
    }

    /// The commit at the tip of a branch, or nothing when there is no such branch.
    ///
    /// # Errors
    /// `Host` when the branch cannot be read.
    pub fn branch_tip(&self, branch: &str) -> Result<Option<ObjectId>, WorkspaceError> {
        match self.git.find_reference(&format!("refs/heads/{branch}")) {
            Ok(reference) => {
                let commit = reference
                    .peel_to_commit()
                    .map_err(|source| read(branch_text(branch), source))?;
                Ok(Some(object_id(commit.id())))
            }
            // An invalid name is the name of nothing.
            Err(source) if matches!(source.code(), ErrorCode::NotFound | ErrorCode::InvalidSpec) => Ok(None),
            Err(source) => Err(read(branch_text(branch), source)),
        }
    }

    /// Whether tracked files differ from HEAD, in the index or in the work tree. Untracked files do not count.
    ///
    /// Only reads: the index is not refreshed on disk, and no configured program is asked.
    ///
    /// # Errors
    /// `Host` when the index or the work tree cannot be read.
    pub fn is_dirty(&self) -> Result<bool, WorkspaceError> {
        let fail = |source| read("the state of the work tree", source);
        let mut options = StatusOptions::new();
        options
            .include_untracked(false)
            .include_ignored(false)
            .exclude_submodules(true)
            .update_index(false);
        let statuses = self.git.statuses(Some(&mut options)).map_err(fail)?;
        if statuses.is_empty() {
            return Ok(false);
        }
        // libgit2 knows no sparse checkout and reports what was left out of the work tree as deleted.
        let index = self.git.index().map_err(fail)?;
        let skipped = git2::IndexEntryExtendedFlag::SKIP_WORKTREE.bits();
        Ok(statuses.iter().any(|entry| {
            entry.status() != git2::Status::WT_DELETED
                || index
                    .get_path(Path::new(std::ffi::OsStr::from_bytes(entry.path_bytes())), 0)
                    .is_none_or(|entry| entry.flags_extended & skipped == 0)
        }))
    }

    /// The work tree that has this branch checked out, be it the main one or a linked one.
    ///
    /// A branch that is being rebased or bisected counts as checked out, as it does for git.
    ///
    /// # Errors
    /// `Host` when the list of work trees cannot be read.
    pub fn checked_out_in(&self, branch: &str) -> Result<Option<PathBuf>, WorkspaceError> {
        let fail = |path: &Path, source| super::files::io_error("read", path, source);
        let git_dirs = self.common_dir.join("worktrees");
        if holds(&self.common_dir, branch).map_err(|source| fail(&self.common_dir, source))?
            && let Some(work_dir) = self.main_work_dir()
        {
            return Ok(Some(work_dir));
        }
        let linked = match std::fs::read_dir(&git_dirs) {
            Ok(linked) => linked,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(fail(&git_dirs, source)),
        };
        for git_dir in linked {
            let git_dir = git_dir.map_err(|source| fail(&git_dirs, source))?.path();
            if holds(&git_dir, branch).map_err(|source| fail(&git_dir, source))? {
                return Ok(Some(linked_work_dir(&git_dir)));
            }
        }
        Ok(None)
    }

    /// The work tree beside the common directory; a bare repository with linked work trees has none.
    fn main_work_dir(&self) -> Option<PathBuf> {
        if !self.git.is_worktree() {
            return Some(self.work_dir.clone());
        }
        let main = git2::Repository::open(&self.common_dir).ok()?;
        if main.is_bare() {
            return None;
        }
        main.workdir().map(Path::to_owned)
    }

    /// The directory with objects and refs, shared by all work trees.
    pub fn common_dir(&self) -> &Path {
        &self.common_dir
    }

    /// The top of the work tree that the repository was opened through.
    pub fn work_dir(&self) -> &Path {
        &self.work_dir
    }

    /// A view of what a commit contains.
    ///
    /// # Errors
    /// `Host` when the commit or its tree cannot be read.
    pub fn snapshot(&self, commit: ObjectId) -> Result<Snapshot<'_>, WorkspaceError> {
        let found = self
            .git
            .find_commit(oid(commit))
            .map_err(|source| read(format!("commit {commit}"), source))?;
        let tree = found
            .tree()
            .map_err(|source| read(format!("the tree of commit {commit}"), source))?;
        Ok(Snapshot::new(self, commit, tree))
    }
}

use std::os::unix::ffi::OsStrExt as _;

/// A second handle on a repository, through which refs are synced before they are renamed into place.
///
/// Without that a ref can be found empty after a power cut. The switch is a setting, and the operator's configuration is not
/// ours to write, so it is added in memory at the highest priority, from a file that has no name on any disk. A handle of
/// its own, because libgit2 would sync each object one by one as well.
pub(super) struct Durable {
    pub(super) git: git2::Repository,
    /// The settings are read again whenever libgit2 likes.
    _settings: OwnedFd,
}

impl Durable {
    pub(super) fn open(git: &git2::Repository) -> Result<Self, WorkspaceError> {
        let fail = |source| super::files::io_error("create", "a file in memory", source);
        let memory = rustix::fs::memfd_create("factory-git-settings", MemfdFlags::CLOEXEC)
            .map_err(|errno| fail(std::io::Error::from(errno)))?;
        let mut file = File::from(memory);
        file.write_all(b"[core]\n\tfsyncObjectFiles = true\n").map_err(fail)?;
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        let git = git2::Repository::open(git.path()).map_err(|source| read("the repository", source))?;
        git.config()
            .and_then(|mut config| {
                config.add_file(Path::new(&path), git2::ConfigLevel::App, true)?;
                config.get_bool("core.fsyncObjectFiles")
            })
            .map_err(|source| read("the settings", source))?;
        Ok(Durable {
            git,
            _settings: file.into(),
        })
    }
}

/// Git's mark of a partial clone: the extension, or a remote that promises the missing objects.
/// Source: Documentation/technical/partial-clone of git.
fn is_partial_clone(git: &git2::Repository) -> Result<bool, git2::Error> {
    let config = git.config()?.snapshot()?;
    if config.get_bytes("extensions.partialclone").is_ok() {
        return Ok(true);
    }
    let mut promises = false;
    config.entries(Some(r"^remote\..*\.promisor$"))?.for_each(|entry| {
        promises |= entry
            .value()
            .is_ok_and(|value| !matches!(value, "false" | "no" | "off" | "0"))
    })?;
    Ok(promises)
}

fn refusal(dir: &Path, source: git2::Error) -> WorkspaceError {
    if source.code() == ErrorCode::Owner {
        return WorkspaceError::NotOwned { dir: dir.to_owned() };
    }
    // libgit2 does not say which extension it lacks other than in prose.
    match unsupported_format(dir) {
        Some(what) => WorkspaceError::Format {
            dir: dir.to_owned(),
            what,
        },
        None if source.code() == ErrorCode::NotFound && nearest_git_entry(dir).is_none() => {
            WorkspaceError::NotARepository { dir: dir.to_owned() }
        }
        None => unusable(dir, source),
    }
}

/// The object or ref format of the repository at or above `dir`, when it is one that libgit2 cannot read.
fn unsupported_format(dir: &Path) -> Option<String> {
    let git_entry = nearest_git_entry(dir)?;
    let git_dir = if git_entry.is_dir() {
        git_entry
    } else {
        let text = std::fs::read_to_string(&git_entry).ok()?;
        let linked = git_entry.parent()?.join(text.strip_prefix("gitdir: ")?.trim_end());
        match std::fs::read_to_string(linked.join("commondir")) {
            Ok(common) => linked.join(common.trim_end()),
            Err(_) => linked,
        }
    };
    let config = git2::Config::open(&git_dir.join("config")).ok()?;
    [
        ("extensions.objectformat", "sha1", "objects"),
        ("extensions.refstorage", "files", "refs"),
    ]
    .iter()
    .find_map(|(key, supported, what)| {
        let format = config.get_string(key).ok()?;
        (!format.eq_ignore_ascii_case(supported)).then(|| format!("{} {what}", escape_control(&format)))
    })
}

fn nearest_git_entry(dir: &Path) -> Option<PathBuf> {
    dir.ancestors()
        .map(|ancestor| ancestor.join(".git"))
        .find(|entry| entry.symlink_metadata().is_ok())
}

/// Whether the work tree with this git directory has the branch checked out, or is in the middle of rebasing or bisecting
/// it. Source: `branch_checked_out` of git.
fn holds(git_dir: &Path, branch: &str) -> std::io::Result<bool> {
    let full = format!("refs/heads/{branch}");
    let head = git_dir.join("HEAD");
    // Old repositories have a symbolic link.
    if let Ok(target) = std::fs::read_link(&head) {
        return Ok(target == Path::new(&full));
    }
    let candidates = [
        (head, format!("ref: {full}")),
        (git_dir.join("rebase-merge/head-name"), full.clone()),
        (git_dir.join("rebase-apply/head-name"), full),
        (git_dir.join("BISECT_START"), branch.to_owned()),
    ];
    for (path, wanted) in candidates {
        match std::fs::read(&path) {
            Ok(text) if text.trim_ascii() == wanted.as_bytes() => return Ok(true),
            Ok(_) => {}
            Err(error)
                if matches!(
                    error.kind(),
                    std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory
                ) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(false)
}

/// Where a linked work tree is. Its git directory names the `.git` file in it. Source: gitrepository-layout(5).
fn linked_work_dir(git_dir: &Path) -> PathBuf {
    let Ok(text) = std::fs::read(git_dir.join("gitdir")) else {
        return git_dir.to_owned();
    };
    // Relative since git 2.48 where so configured.
    let git_file = git_dir.join(std::ffi::OsStr::from_bytes(text.trim_ascii()));
    git_file.parent().map_or(git_file.clone(), Path::to_owned)
}

fn unreadable(dir: &Path, source: std::io::Error) -> WorkspaceError {
    WorkspaceError::Unreadable {
        dir: dir.to_owned(),
        source,
    }
}

fn unusable(dir: &Path, source: git2::Error) -> WorkspaceError {
    WorkspaceError::Unusable {
        dir: dir.to_owned(),
        source,
    }
}

/// Names what could not be read.
pub(super) fn read(what: impl Into<String>, source: git2::Error) -> WorkspaceError {
    WorkspaceError::Read {
        what: what.into(),
        source,
    }
}

/// The version of the git library that is built in.
pub fn libgit2_version() -> String {
    let (major, minor, patch) = git2::Version::get().libgit2_version();
    format!("{major}.{minor}.{patch}")
}

pub(super) fn branch_text(branch: &str) -> String {
    format!("branch `{}`", escape_control(branch))
}

/// Our id of libgit2's.
pub(super) fn object_id(oid: Oid) -> ObjectId {
    let bytes = oid.as_bytes().try_into();
    ObjectId::from_bytes(bytes.expect("a repository with SHA-1 objects was opened"))
}

/// libgit2's id of ours.
pub(super) fn oid(id: ObjectId) -> Oid {
    Oid::from_bytes(id.as_bytes()).expect("an object id has the 20 bytes of a SHA-1")
}
