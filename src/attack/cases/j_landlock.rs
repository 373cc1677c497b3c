//! J: what Landlock covers must be covered without it too.
//!
//! The caller lives under a filter that plays a kernel without Landlock, the lowest rung, so that each case speaks for all
//! rungs below the one that it is about.

use crate::attack::case::Judge::{Outside, Works};
use crate::attack::case::Severity::{Critical, High, Low, Medium};
use crate::attack::case::{Case, Trait, absent, act};
use crate::attack::tune;

const WITHOUT: &[Trait] = &[Trait::NoLandlock];

pub(super) const CASES: &[Case] = &[
    act(
        "J01",
        "abi1-files",
        Critical,
        "files outside are read and written",
        &["create", "{outside}/victim", "{outside}/new"],
    )
    .judged(Outside)
    .from(WITHOUT)
    .tuned(tune::no_landlock),
    act(
        "J02",
        "abi2-refer",
        Medium,
        "renames between directories of the tree have to work",
        &["rename-within"],
    )
    .judged(Works)
    .from(WITHOUT)
    .tuned(tune::no_landlock),
    act(
        "J03",
        "abi3-truncate",
        Critical,
        "a file that is granted for reading is cut",
        &["truncate", "{outside}/granted/file"],
    )
    .judged(Outside)
    .from(WITHOUT)
    .tuned(tune::no_landlock_granted),
    act(
        "J04",
        "abi4-tcp",
        Critical,
        "a server on the host's loopback is reached",
        &["own-loopback", "{tcp}"],
    )
    .judged(Outside)
    .from(WITHOUT)
    .tuned(tune::no_landlock_loopback),
    act(
        "J05",
        "abi5-ioctl",
        High,
        "devices that take commands are opened",
        &["devices", "{pts}"],
    )
    .from(WITHOUT)
    .tuned(tune::no_landlock),
    act(
        "J06",
        "abi6-scopes",
        High,
        "an abstract socket of the host's is reached",
        &["abstract", "{abstract}"],
    )
    .judged(Outside)
    .from(WITHOUT)
    .tuned(tune::no_landlock),
    absent(
        "J07",
        "abi7-audit",
        "a denial is in the kernel's audit log",
        "audit records take nothing from what is denied, and no profile asks for them",
    ),
    absent(
        "J08",
        "abi8-tsync",
        "another thread of the caller stays free",
        "a sandbox begins as a process with one thread, which is all that there is to restrict",
    ),
    act(
        "J09",
        "abi9-unix",
        Critical,
        "a socket by its path is reached",
        &["unix", "{outside}/docker.sock"],
    )
    .judged(Outside)
    .from(WITHOUT)
    .tuned(tune::no_landlock),
    act(
        "J10",
        "abi10-udp",
        Critical,
        "a server on the host's loopback is reached by UDP",
        &["udp", "{udp}"],
    )
    .judged(Outside)
    .from(WITHOUT)
    .tuned(tune::no_landlock),
    act(
        "J11",
        "errata",
        Low,
        "renames work in a tree under an overlay, where an early Landlock was wrong",
        &["rename-within"],
    )
    .judged(Works),
];
