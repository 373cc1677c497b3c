//! X: what launchers leak that were measured, and what came up while attacking this one.

use crate::attack::case::Control::Private;
use crate::attack::case::Judge::{Orphans, Outside, Tells, Terminal};
use crate::attack::case::Severity::{Critical, High, Low, Medium};
use crate::attack::case::{Case, Trait, act, product};
use crate::attack::{product, tune};

pub(super) const CASES: &[Case] = &[
    act(
        "X01",
        "boot-id",
        Low,
        "the host's boot id, random ids and entropy",
        &["tell", "/proc/sys/kernel/random/boot_id"],
    ),
    act(
        "X02",
        "kernel-command-line",
        Low,
        "the kernel's command line",
        &["tell", "/proc/cmdline"],
    ),
    act(
        "X03",
        "mount-sources",
        Low,
        "where on the host the tree lies",
        &["tell", "/proc/self/mountinfo", "/proc/self/mounts"],
    )
    .from(&[Trait::Alias])
    .judged(Tells("factory-attack-")),
    act(
        "X04",
        "key-list",
        Medium,
        "the list of keys",
        &["tell", "/proc/keys", "/proc/key-users"],
    ),
    act(
        "X05",
        "hardware-proc",
        Low,
        "the processor and its memory, in /proc",
        &["tell", "/proc/cpuinfo", "/proc/meminfo", "/proc/interrupts"],
    ),
    act(
        "X06",
        "hardware-sys",
        Low,
        "the machine and its devices, in /sys",
        &["tell", "/sys/class/dmi/id", "/sys/devices/system/cpu", "/sys/class/net"],
    ),
    act("X07", "uname-host", Low, "the host's name by uname", &["uname"]).judged(Tells("node={hostname} ")),
    act(
        "X08",
        "kernel-version",
        Low,
        "the kernel's version in /proc",
        &["tell", "/proc/version", "/proc/sys/kernel/osrelease"],
    ),
    act(
        "X09",
        "kernel-files",
        Medium,
        "symbols, modules, memory map of the kernel",
        &["kernel-files"],
    ),
    act(
        "X10",
        "machine-id",
        Medium,
        "the machine's own id",
        &["tell", "/etc/machine-id", "/var/lib/dbus/machine-id"],
    ),
    act("X11", "accounts", Low, "the host's accounts", &["tell", "/etc/passwd"]).judged(Tells("daemon:")),
    act(
        "X12",
        "host-sockets",
        High,
        "sockets of daemons in /run",
        &["run-sockets"],
    ),
    act(
        "X13",
        "first-process",
        Medium,
        "the payload is process 1, so that /proc/1 is its own",
        &["first-process"],
    )
    .controls(&[Private(&["first"])]),
    act(
        "X14",
        "group-kill",
        Medium,
        "the launcher's process group is killed",
        &["kill-group"],
    )
    .judged(Outside)
    .with_bystander(),
    act(
        "X15",
        "terminated-launcher",
        High,
        "the launcher is asked to end, and its command lives on",
        &["ignore-term"],
    )
    .judged(Orphans(15)),
    act(
        "X16",
        "terminal-settings",
        Medium,
        "the settings of the caller's terminal are changed",
        &["terminal-settings"],
    )
    .judged(Outside)
    .from(&[Trait::Terminal]),
    act(
        "X17",
        "terminal-title",
        Medium,
        "a title is asked back, which types it into the shell",
        &["sh", "-c", r"printf 'MARK\033]0;x\007\033[21t\033[6n\033[c'"],
    )
    .raw()
    .by_exec()
    .from(&[Trait::Terminal])
    .judged(Terminal),
    act(
        "X18",
        "control-group-path",
        Low,
        "where in the host's control groups it runs",
        &["tell", "/proc/self/cgroup"],
    )
    .judged(Tells("{cgroup}")),
    act(
        "X19",
        "host-load",
        Low,
        "load, uptime and statistics of the host, in /proc",
        &["tell", "/proc/loadavg", "/proc/uptime", "/proc/stat", "/proc/diskstats"],
    ),
    act(
        "X20",
        "network-list",
        Low,
        "interfaces, routes and sockets of the host",
        &[
            "tell",
            "/proc/net/route",
            "/proc/net/dev",
            "/proc/net/unix",
            "/proc/net/tcp",
        ],
    )
    .judged(Tells("{interface}")),
    act(
        "X21",
        "wrote-to-shared-file",
        Critical,
        "a descriptor of the caller's is written to",
        &["meddle", "/proc/self/fd/7/victim"],
    )
    .judged(Outside),
    act(
        "X22",
        "granted-socket",
        Critical,
        "a socket in a granted directory, bound by a relative path",
        &["unix", "{outside}/served/socket"],
    )
    .judged(Outside)
    .tuned(tune::grant_served)
    .may_refuse(),
    act(
        "X23",
        "fake-filter",
        Critical,
        "a filter that says yes and does nothing goes unnoticed",
        &["hello"],
    )
    .from(&[Trait::FakeSeccomp])
    .may_refuse()
    .ours_only(),
    act(
        "X24",
        "mount-devices",
        Low,
        "the device that the host's root lies on",
        &["tell", "/proc/self/mountinfo", "/proc/self/mounts"],
    )
    .judged(Tells("{device} ")),
    act(
        "X25",
        "uptime",
        Low,
        "how long the host is up and how much memory it has, by sysinfo",
        &["uptime", "{uptime}", "{memory}"],
    ),
    act(
        "X26",
        "kernel-release",
        Low,
        "the kernel's release by uname",
        &["uname"],
    )
    .judged(Tells("release={release} ")),
    act(
        "X27",
        "starve-supervisor",
        Medium,
        "the process that waits for the command is made to starve",
        &["schedule-parent", "{runner}"],
    ),
    act(
        "X28",
        "observe-host",
        Low,
        "the host's use of a file that is granted for reading is watched",
        &["observe", "{outside}/granted/file"],
    )
    .with_bystander()
    .tuned(tune::grant_plain)
    .may_refuse(),
    act(
        "X29",
        "lock-granted-file",
        Medium,
        "a file that is granted for reading is locked against the host",
        &["lock", "{outside}/granted/file"],
    )
    .judged(Outside)
    .with_bystander()
    .heard_about("a lock")
    .tuned(tune::grant_plain)
    .may_refuse(),
    act(
        "X30",
        "pipe-pages",
        Medium,
        "the memory for pipes that a user may have is used up",
        &["pipes"],
    )
    .judged(Outside)
    .with_bystander()
    .heard_about("a pipe")
    .alone(),
    act(
        "X31",
        "socket-memory",
        High,
        "memory of the kernel's is taken by bytes between sockets",
        &["socket-memory", "300"],
    )
    .tuned(tune::little_memory)
    .alone(),
    act(
        "X32",
        "host-sync",
        Low,
        "all that the host has yet to write is written at once",
        &["sync"],
    )
    .judged(Outside)
    .with_bystander()
    .heard_about("a file")
    .also_by_chance()
    .alone(),
    product(
        "X33",
        "run-output",
        High,
        "sequences in a command's output reach the terminal by `run`, `show` or `status`",
        product::output_of_runs,
    ),
    act(
        "X34",
        "supervisor-descriptors",
        High,
        "a descriptor of the first process or the launcher is opened by its link",
        &["descriptors-of-others"],
    ),
    product(
        "X35",
        "hostile-tree",
        Critical,
        "a commit whose tree names git's own files or leads out",
        product::hostile_trees,
    ),
    product(
        "X36",
        "killed-while-locked",
        Medium,
        "a run that was killed while it held the branch keeps the next one from going on",
        product::killed_while_locked,
    ),
    act(
        "X37",
        "device-times",
        Low,
        "the times of a device of the host's are changed",
        &["touch", "/dev/null"],
    ),
];
