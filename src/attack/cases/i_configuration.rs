//! I: configuration and degradation.

use crate::attack::case::Judge::Outside;
use crate::attack::case::Severity::{Critical, High, Low, Medium};
use crate::attack::case::{Case, Trait, absent, act, product};
use crate::attack::product;

pub(super) const CASES: &[Case] = &[
    product(
        "I01",
        "unknown-key",
        High,
        "a misspelled key of a profile is ignored",
        product::unknown_key,
    ),
    product(
        "I02",
        "profile-in-tree",
        Critical,
        "a profile in the tree is read",
        product::profile_in_tree,
    ),
    product(
        "I03",
        "widen-by-child",
        Critical,
        "a profile grants more than the one it extends",
        product::widening_child,
    ),
    absent(
        "I04",
        "allow-beats-deny",
        "a grant goes before a denial",
        "there are no denials to be beaten: what is not granted is not in the view",
    ),
    product(
        "I05",
        "missing-path",
        Medium,
        "a grant that does not exist is passed over",
        product::missing_grant,
    ),
    product(
        "I06",
        "symlinked-grant",
        High,
        "a grant that is a link shows what the link says",
        product::linked_grant,
    ),
    product(
        "I07",
        "grant-root",
        Critical,
        "`/`, the home, `/proc` or `/run` is granted",
        product::broad_grants,
    ),
    act(
        "I08",
        "no-userns",
        Critical,
        "without user namespaces the command runs unconfined",
        &["create", "{outside}/victim", "{outside}/new"],
    )
    .judged(Outside)
    .from(&[Trait::NoUserNamespaces])
    .may_refuse(),
    product(
        "I09",
        "no-landlock-low-abi",
        High,
        "a profile's floor that the kernel does not reach is ignored",
        product::floor,
    ),
    act(
        "I10",
        "no-seccomp",
        High,
        "a kernel that takes no filter runs the command without",
        &["hello"],
    )
    .from(&[Trait::NoSeccomp])
    .may_refuse()
    .ours_only(),
    act(
        "I11",
        "proc-masked",
        High,
        "where /proc cannot be mounted, the host's is shown",
        &["processes"],
    )
    .from(&[Trait::MaskedProc])
    .with_bystander()
    .may_refuse(),
    product(
        "I12",
        "setup-vs-command",
        Medium,
        "a command that was never started looks like one that failed",
        product::setup_or_command,
    ),
    product(
        "I13",
        "agent-opt-out",
        Critical,
        "a flag or a variable turns the sandbox off",
        product::opt_out,
    ),
    act(
        "I14",
        "receipt",
        Critical,
        "a layer that says yes and does nothing goes unnoticed",
        &["hello"],
    )
    .from(&[Trait::FakeLandlock])
    .may_refuse()
    .ours_only(),
    product(
        "I15",
        "fuzz-profile",
        Low,
        "a damaged profile breaks the program",
        product::fuzzed_profiles,
    ),
    absent(
        "I16",
        "fuzz-bpf",
        "a compiled filter differs from its policy",
        "a unit test of `sandbox::init::seccomp` compares the filter with a model of the kernel's interpreter",
    ),
    absent(
        "I17",
        "newer-kernel",
        "a kernel newer than the program confuses it",
        "no filter can play a kernel that knows more; D25 tries the calls of newer ones",
    ),
];
