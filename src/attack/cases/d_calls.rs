//! D: system calls and the kernel's surface.

use crate::attack::case::Control::{Plain, Private};
use crate::attack::case::Judge::{Secret, Works};
use crate::attack::case::Severity::{Critical, High, Low, Medium};
use crate::attack::case::{Case, Control, Trait, act};

const EITHER: &[Control] = &[Plain, Private(&[])];

pub(super) const CASES: &[Case] = &[
    act(
        "D01",
        "x32",
        High,
        "a call by an x32 number passes a filter of numbers",
        &["x32"],
    ),
    act(
        "D02",
        "int80",
        High,
        "a call through the entry of 32-bit programs passes a filter",
        &["int80"],
    ),
    act(
        "D03",
        "ia32-binary",
        High,
        "a program for the i386 runs",
        &["ia32-binary"],
    ),
    act(
        "D04",
        "io-uring",
        High,
        "a ring does work that no filter sees",
        &["io-uring"],
    ),
    act(
        "D05",
        "clone3-ns",
        High,
        "clone3 makes a namespace, whose flags no filter can read",
        &["clone3-ns"],
    ),
    act(
        "D06",
        "unshare-user",
        High,
        "a further user namespace is made",
        &["unshare-user"],
    ),
    act(
        "D07",
        "setns",
        High,
        "a namespace of another process is joined",
        &["setns"],
    )
    .controls(EITHER),
    act(
        "D08",
        "mount-api-new",
        Critical,
        "the newer calls for mounts, which older lists do not name",
        &["mount-api"],
    )
    .controls(EITHER),
    act("D09", "bpf", High, "a program or map of the kernel's is made", &["bpf"]).controls(EITHER),
    act("D10", "perf", Medium, "performance counters are opened", &["perf"]).controls(EITHER),
    act(
        "D11",
        "userfaultfd",
        Medium,
        "page faults are handled by the payload",
        &["userfaultfd"],
    ),
    act(
        "D12",
        "keyring",
        Critical,
        "a key in the caller's session keyring is read",
        &["keyring"],
    )
    .judged(Secret)
    .from(&[Trait::Keyring]),
    act(
        "D13",
        "af-alg",
        Medium,
        "a socket to the kernel's cryptography",
        &["socket", "38,5,0"],
    ),
    act(
        "D14",
        "vsock",
        High,
        "a socket to the virtual machine's host",
        &["socket", "40,1,0"],
    ),
    act(
        "D15",
        "netlink",
        High,
        "sockets to the kernel's network, audit and device events",
        &["socket", "16,3,12", "16,3,6", "16,3,9", "16,3,15", "16,3,0"],
    ),
    act(
        "D16",
        "packet-raw",
        High,
        "raw packets and rare families",
        &[
            "socket", "17,3,768", "2,3,1", "44,3,0", "39,5,1", "30,5,0", "33,2,2", "43,1,0", "21,5,0", "24,5,0",
        ],
    )
    .controls(EITHER),
    act(
        "D17",
        "mptcp",
        Medium,
        "multipath TCP, which port rules do not cover",
        &["socket", "2,1,262"],
    ),
    act("D18", "ptrace-self", Low, "a child is traced", &["ptrace-own"]),
    act(
        "D19",
        "process-vm",
        High,
        "the memory of the first process or the launcher is written",
        &["process-vm"],
    ),
    act(
        "D20",
        "pidfd-getfd",
        High,
        "a descriptor of the first process or the launcher is taken",
        &["pidfd-getfd"],
    ),
    act(
        "D21",
        "personality",
        Low,
        "a persona without address randomisation and memory protection",
        &["personality"],
    ),
    act(
        "D22",
        "module-kexec",
        Critical,
        "modules, another kernel, a restart, swap",
        &["modules"],
    )
    .controls(EITHER),
    act("D23", "clock", High, "the host's clock is set", &["clock"]).controls(EITHER),
    act("D24", "syslog", Medium, "the kernel's log is read", &["syslog"]),
    act(
        "D25",
        "new-syscalls",
        High,
        "calls that are newer than the filter",
        &["new-calls"],
    ),
    act(
        "D26",
        "seccomp-own",
        Low,
        "a filter of the payload's own has to work, and weakens nothing",
        &["own-filter"],
    )
    .judged(Works),
    act(
        "D27",
        "landlock-own",
        Low,
        "a Landlock layer of the payload's own has to work",
        &["own-landlock"],
    )
    .judged(Works),
    act(
        "D28",
        "prctl-abuse",
        Low,
        "the process's own memory map is rewritten",
        &["prctl"],
    ),
    act(
        "D29",
        "modify-ldt-iopl",
        Medium,
        "calls of old processors: descriptor tables, ports",
        &["legacy"],
    ),
    act(
        "D30",
        "fanotify",
        Medium,
        "whole file systems are watched",
        &["fanotify"],
    ),
    act(
        "D31",
        "quotactl-acct",
        Medium,
        "calls for the administrator of the host",
        &["admin"],
    ),
    act(
        "D32",
        "memfd-secret",
        Low,
        "memory that no meter sees",
        &["secret-memory"],
    ),
    act(
        "D33",
        "binfmt",
        Critical,
        "an interpreter for the host's programs is registered",
        &["open-write", "/proc/sys/fs/binfmt_misc/register"],
    )
    .controls(&[Plain, Private(&["binfmt:/proc/sys/fs/binfmt_misc"])]),
    act(
        "D34",
        "release-agent",
        Critical,
        "a program that the host runs when a control group empties",
        &[
            "open-write",
            "/sys/fs/cgroup/memory/notify_on_release",
            "/sys/fs/cgroup/memory/release_agent",
            "/sys/fs/cgroup/unified/cgroup.procs",
            "/sys/fs/cgroup/cgroup.procs",
        ],
    ),
    act(
        "D35",
        "speculative",
        Low,
        "a mitigation of the processor is switched off",
        &["speculation"],
    ),
];
