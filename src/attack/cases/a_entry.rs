//! A: what a process is born with.

use crate::attack::case::Control::{Plain, Private};
use crate::attack::case::Judge::Secret;
use crate::attack::case::Severity::{Critical, High, Low, Medium};
use crate::attack::case::{Case, Trait, act, product};
use crate::attack::product;

pub(super) const CASES: &[Case] = &[
    act(
        "A01",
        "fd-leak-dir",
        High,
        "a directory that the caller left open is still open inside",
        &["descriptors"],
    ),
    product(
        "A02",
        "fd-leak-cwd",
        High,
        "a working directory given as a path into /proc or out of the tree",
        product::working_directory,
    ),
    act(
        "A03",
        "fd-high-number",
        High,
        "a file left open at a number far above the others",
        &["descriptors"],
    ),
    act(
        "A04",
        "fd-passing-in",
        High,
        "standard input is a socket on which a descriptor waits",
        &["socket-input"],
    )
    .judged(Secret)
    .from(&[Trait::SocketInput]),
    act(
        "A05",
        "env-secrets",
        Critical,
        "tokens in the caller's environment",
        &["environment"],
    )
    .judged(Secret),
    act(
        "A06",
        "env-loader",
        Critical,
        "variables that steer loaders, interpreters and git",
        &["environment"],
    )
    .judged(Secret)
    .from(&[Trait::Loader]),
    product(
        "A07",
        "env-huge",
        Low,
        "three megabytes of environment",
        product::huge_environment,
    ),
    act(
        "A08",
        "tty-tiocsti",
        Critical,
        "input is put into the caller's terminal",
        &["tiocsti"],
    )
    .from(&[Trait::Terminal]),
    act(
        "A09",
        "tty-tioclinux",
        High,
        "the console is asked to paste",
        &["tioclinux"],
    )
    .from(&[Trait::Terminal]),
    act(
        "A10",
        "tty-ioctl-high-bits",
        Critical,
        "the same as A08 with the upper half of the number set",
        &["tiocsti-wide"],
    )
    .from(&[Trait::Terminal]),
    act(
        "A11",
        "tty-setsid-steal",
        High,
        "an inherited terminal is made the controlling one",
        &["terminal-steal"],
    )
    .from(&[Trait::FreeTerminal]),
    act(
        "A12",
        "stdin-eof",
        Low,
        "a read of standard input waits for a person",
        &["input-end"],
    )
    .from(&[Trait::SilentInput]),
    act(
        "A13",
        "uid-map",
        High,
        "an id inside is the host's root, or all ids are themselves",
        &["uid-map"],
    ),
    act(
        "A14",
        "suppl-groups",
        High,
        "a file that only a supplementary group of the caller may read",
        &["read", "{outside}/group"],
    )
    .judged(Secret)
    .from(&[Trait::Groups]),
    act(
        "A15",
        "caps-zero",
        High,
        "a capability is left in any set",
        &["capabilities"],
    ),
    act(
        "A16",
        "nnp-setuid",
        Critical,
        "a set-user-id program gets its owner's rights",
        &["setuid-program"],
    ),
    act(
        "A17",
        "securebits",
        Medium,
        "secure bits are cleared, an ambient capability is raised",
        &["securebits"],
    )
    .controls(&[Plain, Private(&[])]),
    act(
        "A18",
        "dumpable",
        High,
        "the memory of another sandbox's process is read",
        &["others-memory"],
    )
    .judged(Secret)
    .with_bystander(),
    act(
        "A19",
        "umask-inherit",
        Low,
        "a permissive umask of the caller's applies inside",
        &["umask"],
    ),
    act(
        "A20",
        "signals-inherit",
        Low,
        "signals that the caller ignores or blocks stay so",
        &["signals"],
    ),
];
