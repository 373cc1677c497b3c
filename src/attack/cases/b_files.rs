//! B: files.

use crate::attack::case::Control::{Plain, Private, Words};
use crate::attack::case::Judge::{Outside, Secret, Works};
use crate::attack::case::Severity::{Critical, High, Low, Medium};
use crate::attack::case::{Case, Trait, act, product};
use crate::attack::product;

pub(super) const CASES: &[Case] = &[
    act(
        "B01",
        "read-ssh",
        Critical,
        "private keys at home are read",
        &["read", "{home}/.ssh/id_ed25519", "{home}/.ssh/id_rsa"],
    )
    .judged(Secret),
    act(
        "B02",
        "read-cloud-creds",
        Critical,
        "the usual places of credentials at home are read",
        &[
            "read",
            "{home}/.aws/credentials",
            "{home}/.config/gcloud/credentials.db",
            "{home}/.azure/accessTokens.json",
            "{home}/.kube/config",
            "{home}/.docker/config.json",
            "{home}/.netrc",
            "{home}/.npmrc",
            "{home}/.pypirc",
            "{home}/.cargo/credentials.toml",
            "{home}/.git-credentials",
            "{home}/.gnupg/private-keys-v1.d/key",
            "{home}/.local/share/keyrings/login.keyring",
            "{home}/.mozilla/firefox/default/logins.json",
            "{home}/.config/chromium/Default/Login Data",
            "{home}/.bash_history",
        ],
    )
    .judged(Secret),
    act(
        "B03",
        "read-etc-shadow",
        Critical,
        "the host's password hashes and keys are opened",
        &[
            "open-read",
            "/etc/shadow",
            "/etc/gshadow",
            "/etc/sudoers",
            "/etc/ssh/ssh_host_ed25519_key",
        ],
    ),
    act(
        "B04",
        "write-usr",
        Critical,
        "a file is made in the system's directories",
        &["plant-system", "/usr", "/etc", "/usr/local/bin"],
    )
    .controls(&[Private(&["tmpfs:/etc"])]),
    act(
        "B05",
        "remount-rw",
        Critical,
        "a read-only mount is made writable",
        &["remount", "/usr", "/"],
    )
    .controls(&[Private(&[])]),
    act(
        "B06",
        "chmod-outside",
        Critical,
        "mode, owner, time and attributes of a file outside are changed",
        &["meddle", "{outside}/victim"],
    )
    .judged(Outside),
    act(
        "B07",
        "dotdot-escape",
        Critical,
        "up from the root, up from here, out of a root of one's own",
        &["dotdot", "{outside}/secret"],
    )
    .judged(Secret),
    act(
        "B08",
        "proc-root",
        Critical,
        "into the root and the directory of every process",
        &["proc-root", "{outside}/secret"],
    )
    .judged(Secret),
    act(
        "B09",
        "proc-sys-write",
        Critical,
        "the kernel's settings are opened for writing",
        &[
            "open-write",
            "/proc/sys/kernel/core_pattern",
            "/proc/sysrq-trigger",
            "/proc/sys/kernel/modprobe",
            "/proc/sys/net/ipv4/ip_forward",
        ],
    )
    .controls(&[Plain, Private(&[])]),
    act(
        "B10",
        "proc-visibility",
        Medium,
        "a process of the host is seen",
        &["processes"],
    )
    .with_bystander(),
    act(
        "B11",
        "sysfs",
        Low,
        "the host's devices are listed in /sys",
        &["list", "/sys"],
    ),
    act(
        "B12",
        "dev-nodes",
        High,
        "devices that lead to the kernel or the hardware are opened",
        &["devices", "{pts}"],
    ),
    act("B13", "mknod", High, "a device node is made and opened", &["mknod"]).controls(&[Plain, Private(&[])]),
    act(
        "B14",
        "symlink-out",
        Critical,
        "a link in the tree leads to a file outside, which is written through it",
        &["symlink-out", "{outside}/victim"],
    )
    .judged(Outside),
    act(
        "B15",
        "hardlink-out",
        Critical,
        "a file outside gets a second name in the tree",
        &["link-in", "{outside}/victim"],
    )
    .judged(Outside),
    act(
        "B16",
        "hardlink-objects",
        Critical,
        "a file of the tree that shares its bytes with the host is overwritten",
        &["overwrite-shared"],
    )
    .judged(Outside),
    act(
        "B17",
        "bind-alias",
        Critical,
        "a second path to the home, by a bind mount of the host",
        &["read", "{outside}/open/.ssh/id_rsa"],
    )
    .judged(Secret)
    .from(&[Trait::Alias]),
    act(
        "B18",
        "deny-late-path",
        Critical,
        "files at home that did not exist are made",
        &["late-paths", "{home}"],
    )
    .judged(Outside),
    act(
        "B19",
        "ghost-files",
        Medium,
        "a run that does nothing leaves something behind in the tree or outside",
        &["hello"],
    )
    .judged(Outside)
    .controls(&[Words(&["create", "{tree}/ghost"])])
    .watching_the_tree(),
    product(
        "B20",
        "case-variants",
        High,
        "`.git` in other spellings is written to",
        product::metadata_spellings,
    ),
    act(
        "B21",
        "rename-into-protected",
        Critical,
        "a file is renamed, linked or symlinked onto one at home",
        &["rename-onto", "{home}/.bashrc", "{outside}/victim"],
    )
    .judged(Outside),
    act(
        "B22",
        "rename-within-ok",
        Medium,
        "renames and links between directories of the tree have to work",
        &["rename-within"],
    )
    .judged(Works),
    act(
        "B23",
        "exec-memfd",
        Medium,
        "a program in a file without a name is executed",
        &["memfd-exec"],
    ),
    act(
        "B24",
        "exec-tmp",
        Medium,
        "what is written to /tmp is seen in the host's",
        &["tmp-exec"],
    )
    .judged(Outside),
    act(
        "B25",
        "setuid-create",
        High,
        "a set-user-id program appears in the host's tree",
        &["setuid-create"],
    )
    .judged(Outside)
    .watching_the_tree(),
    act(
        "B26",
        "xattr-trusted",
        Medium,
        "extended attributes appear in the host's tree",
        &["xattr"],
    )
    .judged(Outside)
    .watching_the_tree(),
    act(
        "B27",
        "open-by-handle",
        High,
        "a file is opened by its handle, past every directory",
        &["handle", "."],
    )
    .controls(&[Plain, Private(&[])]),
    act("B28", "fuse-mount", High, "a file system is mounted inside", &["mount"]).controls(&[Plain, Private(&[])]),
    act(
        "B29",
        "shm-share",
        Medium,
        "what one sandbox leaves in /dev/shm or /tmp is read in another",
        &["share-read"],
    )
    .judged(Secret)
    .beside(&["share-write", "{secret}"]),
    act(
        "B30",
        "fifo-block",
        Medium,
        "a pipe and a socket appear in the host's tree, to block who opens them",
        &["fifo"],
    )
    .judged(Outside)
    .watching_the_tree(),
    act(
        "B31",
        "sparse-bomb",
        Medium,
        "a file of 10 TiB appears in the host's tree",
        &["sparse"],
    )
    .judged(Outside)
    .watching_the_tree(),
    act(
        "B32",
        "deep-tree",
        Medium,
        "directories deeper than any path appear in the host's tree",
        &["deep"],
    )
    .judged(Outside)
    .watching_the_tree(),
    act(
        "B33",
        "invalid-utf8-names",
        Low,
        "names with control characters appear in the host's tree",
        &["names"],
    )
    .judged(Outside)
    .watching_the_tree(),
    act(
        "B34",
        "immutable-flag",
        Medium,
        "a file is made immutable",
        &["immutable"],
    ),
    act(
        "B35",
        "cleanup-chmod000",
        Medium,
        "the permissions of the host's tree are taken away",
        &["forbid-tree"],
    )
    .judged(Outside)
    .watching_the_tree(),
    act(
        "B36",
        "cleanup-symlink-race",
        High,
        "a process lives on and swaps directories while others clean up",
        &["swap-race"],
    )
    .judged(Outside)
    .watching_the_tree(),
];
