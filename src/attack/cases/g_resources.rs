//! G: resources. Limits are lowered to what a test can reach; that they hold is the same for all numbers.

use crate::attack::case::Judge::{Ends, Output, Streams};
use crate::attack::case::Severity::{High, Low, Medium};
use crate::attack::case::{Case, Control, act, product};
use crate::attack::{product, tune};

pub(super) const CASES: &[Case] = &[
    act(
        "G01",
        "mem-cgroup",
        High,
        "one process takes twice the memory that is allowed",
        &["hog", "300"],
    )
    .tuned(tune::little_memory)
    .alone(),
    act(
        "G02",
        "mem-no-cgroup",
        High,
        "six processes together take more than is allowed to all",
        &["hog-many", "6", "60"],
    )
    .tuned(tune::little_memory)
    .alone(),
    act(
        "G03",
        "mem-tmpfs",
        High,
        "files in memory take more than is allowed",
        &["fill", "96"],
    )
    .tuned(tune::small_tmp)
    .alone(),
    product(
        "G04",
        "mem-swap",
        Medium,
        "swap takes what memory may not",
        product::swap,
    ),
    act(
        "G05",
        "cpu-time",
        Medium,
        "four processes together compute longer than is allowed to all",
        &["spin-many", "4", "1200"],
    )
    .tuned(tune::little_cpu)
    .alone(),
    act(
        "G06",
        "wall",
        Medium,
        "a command takes longer than is allowed",
        &["sleep", "60"],
    )
    .judged(Ends(6))
    .tuned(tune::short_wall),
    act(
        "G07",
        "idle-output",
        Low,
        "a command is silent for longer than is allowed",
        &["sleep", "60"],
    )
    .judged(Ends(6))
    .tuned(tune::short_silence),
    act(
        "G08",
        "file-size",
        Medium,
        "a file grows beyond what is allowed",
        &["one-file", "64"],
    )
    .tuned(tune::small_files),
    act(
        "G09",
        "disk-total",
        Medium,
        "many small files together take more than is allowed",
        &["many-files", "96", "1048576"],
    )
    .tuned(tune::small_tmp),
    act(
        "G10",
        "inodes",
        Medium,
        "more files are made than are allowed",
        &["many-files", "3000", "0"],
    )
    .tuned(tune::few_inodes),
    act(
        "G11",
        "open-files",
        Low,
        "more files are open than are allowed",
        &["open-files", "900"],
    )
    .tuned(tune::few_files),
    act(
        "G12",
        "output-flood",
        Medium,
        "64 MiB of lines come out",
        &["flood", "64", "lines"],
    )
    .judged(Output(4 << 20))
    .tuned(tune::little_output),
    act(
        "G13",
        "output-no-newline",
        Medium,
        "64 MiB in one line come out",
        &["flood", "64", "one"],
    )
    .judged(Output(4 << 20))
    .tuned(tune::little_output),
    act(
        "G14",
        "output-slow",
        Low,
        "output arrives while the command runs",
        &["drip"],
    )
    .judged(Streams)
    .controls(&[Control::Words(&["sleep", "1"])]),
    act(
        "G15",
        "stack-core",
        High,
        "a crash leaves a core file or starts a core program of the host",
        &["core"],
    ),
    act(
        "G16",
        "nice-rt",
        Medium,
        "real-time scheduling, priority, locked memory",
        &["realtime"],
    ),
    act(
        "G17",
        "limit-race",
        Medium,
        "a process leaves its control group",
        &["move-cgroup"],
    ),
    product(
        "G18",
        "limit-unavailable",
        Medium,
        "a limit that this host cannot keep is promised",
        product::limits_promised,
    ),
];
