//! E: network and channels between processes.

use crate::attack::case::Control::{Plain, Private};
use crate::attack::case::Judge::{Outside, Secret};
use crate::attack::case::Severity::{Critical, High, Medium};
use crate::attack::case::{Case, absent, act};
use crate::attack::tune;

/// Proxies, recordings and lists of allowed hosts do not exist here.
const NO_PROXY: &str = "there is no such mode: nothing leaves at all, see E01, E02 and E07";

pub(super) const CASES: &[Case] = &[
    act(
        "E01",
        "none-tcp",
        Critical,
        "a server on the host's loopback is reached by TCP",
        &["tcp", "{tcp}"],
    )
    .judged(Outside),
    act(
        "E02",
        "none-udp",
        Critical,
        "a server on the host's loopback is reached by UDP",
        &["udp", "{udp}"],
    )
    .judged(Outside),
    act(
        "E03",
        "none-dns",
        High,
        "a question for a name reaches a name server",
        &["dns", "{udp}"],
    )
    .judged(Outside),
    act(
        "E04",
        "loopback-private",
        High,
        "with a loopback of its own, the host's is reached",
        &["own-loopback", "{tcp}"],
    )
    .judged(Outside)
    .tuned(tune::loopback),
    act(
        "E05",
        "metadata-ip",
        Critical,
        "there is a way to the address of cloud metadata",
        &["route", "169.254.169.254"],
    )
    .controls(&[Plain, Private(&["address:169.254.169.254"])]),
    act(
        "E06",
        "private-ranges",
        High,
        "there is a way to private addresses",
        &["route", "10.255.255.254", "172.31.255.254", "192.168.255.254"],
    )
    .controls(&[Plain, Private(&["address:10.255.255.254"])]),
    act(
        "E07",
        "proxy-direct",
        High,
        "a proxy of the caller's, with its password, is known inside",
        &["proxy"],
    )
    .judged(Secret),
    absent(
        "E08",
        "proxy-nul-host",
        "a host name with a NUL passes a list of allowed hosts",
        NO_PROXY,
    ),
    absent("E09", "proxy-suffix", "a name that ends like an allowed one", NO_PROXY),
    act(
        "E10",
        "proxy-ip-literal",
        High,
        "the host's loopback by other spellings of its address",
        &["spellings", "{tcp}"],
    )
    .judged(Outside),
    act(
        "E11",
        "dns-rebind",
        High,
        "the host's loopback by a name",
        &["spellings", "{tcp}"],
    )
    .judged(Outside),
    absent(
        "E12",
        "sni-host-mismatch",
        "one host is allowed, another is named inside the connection",
        NO_PROXY,
    ),
    act(
        "E13",
        "empty-allow-list",
        Critical,
        "no list of hosts means every host",
        &["tcp", "{tcp}"],
    )
    .judged(Outside),
    absent(
        "E14",
        "redirect",
        "an allowed host sends on to one that is not",
        NO_PROXY,
    ),
    act(
        "E15",
        "unix-docker",
        Critical,
        "the socket of a container daemon is reached",
        &["unix", "{outside}/docker.sock"],
    )
    .judged(Outside),
    act(
        "E16",
        "unix-agent",
        Critical,
        "the socket of an agent with keys is reached",
        &["unix", "{home}/.gnupg/S.gpg-agent"],
    )
    .judged(Outside),
    act(
        "E17",
        "dbus",
        Critical,
        "a bus of the host's is reached",
        &["unix", "{outside}/bus"],
    )
    .judged(Outside),
    act(
        "E18",
        "x11-wayland",
        Critical,
        "an abstract socket of the host's is reached, as a display has it",
        &["abstract", "{abstract}"],
    )
    .judged(Outside),
    act(
        "E19",
        "ro-bind-socket",
        Critical,
        "a socket in a directory that is shown read-only",
        &["unix", "{outside}/docker.sock"],
    )
    .judged(Outside)
    .tuned(tune::grant_outside)
    .may_refuse(),
    act(
        "E20",
        "abstract-sibling",
        High,
        "an abstract socket of another sandbox is reached",
        &["abstract", "sibling-{token}"],
    )
    .beside(&["abstract-listen", "sibling-{token}"]),
    act(
        "E21",
        "sysv-posix-ipc",
        Medium,
        "shared memory of another sandbox is found",
        &["ipc-find"],
    )
    .beside(&["ipc-hold"]),
    act(
        "E22",
        "netns-config",
        Medium,
        "an interface is configured",
        &["interfaces"],
    )
    .controls(&[Plain, Private(&[])]),
    absent(
        "E23",
        "record-mode",
        "attempts to connect are listed, and some let through",
        NO_PROXY,
    ),
    absent(
        "E24",
        "replay-mode",
        "recorded answers are served with the network off",
        NO_PROXY,
    ),
];
