//! What must not be reached.

use crate::support::{Ground, has, policy};
use factory::sandbox::{Network, Policy, ReadGrant, SandboxError};
use std::io::ErrorKind;
use std::net::{TcpListener, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::time::Duration;

fn networks() -> [Policy; 2] {
    [Network::None, Network::Loopback].map(|network| Policy { network, ..policy() })
}

#[test]
fn a_tcp_listener_on_the_hosts_loopback_cannot_be_reached() {
    let ground = Ground::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    for (policy, errors) in networks()
        .iter()
        .zip([["EACCES", "ENETUNREACH"], ["ECONNREFUSED", "ECONNREFUSED"]])
    {
        let act = ground.inside(policy, &["tcp", "127.0.0.1", &port]);
        assert!(act.errno().is_some_and(|errno| errors.contains(&errno)), "{act:?}");
        assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
    }
    assert!(ground.outside(&["tcp", "127.0.0.1", &port]).succeeded());
    listener.accept().unwrap();
}

#[test]
fn no_datagram_reaches_the_hosts_loopback() {
    let ground = Ground::new();
    let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
    receiver.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let port = receiver.local_addr().unwrap().port().to_string();
    let mut buffer = [0; 16];
    for policy in networks() {
        let act = ground.inside(&policy, &["udp", "127.0.0.1", &port]);
        // On a loopback of its own it may send: nobody is there to hear it.
        match policy.network {
            Network::None => assert_eq!(act.errno(), Some("ENETUNREACH"), "{act:?}"),
            Network::Loopback => assert!(act.succeeded(), "{act:?}"),
        }
        // The whole process may be stopped meanwhile, which interrupts a call that has a timeout: signal(7).
        let heard = std::iter::repeat_with(|| receiver.recv(&mut buffer).map_err(|error| error.kind()))
            .find(|heard| *heard != Err(ErrorKind::Interrupted));
        assert_eq!(heard, Some(Err(ErrorKind::WouldBlock)));
    }
    assert!(ground.outside(&["udp", "127.0.0.1", &port]).succeeded());
    assert_eq!(receiver.recv(&mut buffer).unwrap(), 5);
}

#[test]
fn a_private_loopback_serves_the_command_and_nobody_else() {
    let ground = Ground::new();
    let [none, loopback] = networks();
    assert!(ground.outside(&["tcp-self"]).succeeded());
    assert!(ground.inside(&loopback, &["tcp-self"]).succeeded());
    let act = ground.inside(&none, &["tcp-self"]);
    assert!(matches!(act.errno(), Some("EACCES" | "ENETUNREACH")), "{act:?}");
    let interfaces = ground.inside(&loopback, &["tcp", "192.0.2.1", "80"]);
    assert_eq!(interfaces.errno(), Some("ENETUNREACH"), "{interfaces:?}");
}

#[test]
fn an_abstract_socket_of_the_host_cannot_be_reached() {
    let ground = Ground::new();
    let name = crate::support::unique("factory-test");
    let listener = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    listener.set_nonblocking(true).unwrap();
    let word = format!("@{name}");
    for policy in networks() {
        let act = ground.inside(&policy, &["unix", &word]);
        assert!(matches!(act.errno(), Some("ECONNREFUSED" | "EPERM")), "{act:?}");
        assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
    }
    assert!(ground.outside(&["unix", &word]).succeeded());
    listener.accept().unwrap();
}

#[test]
fn a_socket_file_of_the_host_cannot_be_reached() {
    let ground = Ground::new();
    let listener = listener(&ground, "s");
    ground.only_outside(&["unix", &ground.word("s")], &["ENOENT"]);
    listener.accept().unwrap();
    assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
    // Sockets of the host's services live here.
    let seen = ground.prints(&policy(), "ls -A /run | wc -l; ls -d /var/run 2>&1 | wc -l");
    assert!(seen.starts_with('0'), "{seen}");
}

#[test]
fn a_socket_file_in_the_tree_cannot_be_reached() {
    let ground = Ground::new();
    let listener = listener(&ground, "tree/s");
    // The tree is a file system of its own, in which the file is another one than that of the listener.
    ground.refused_inside(&["unix", "/src/s"], &["ECONNREFUSED", "ENOENT"]);
    assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
    assert!(ground.outside(&["unix", &ground.word("tree/s")]).succeeded());
    listener.accept().unwrap();
}

#[test]
fn a_socket_file_cannot_be_granted() {
    let ground = Ground::new();
    let _listener = listener(&ground, "s");
    let mut policy = policy();
    policy.read.push(ReadGrant {
        path: ground.path("s"),
        optional: true,
    });
    let refused = ground.try_run(&policy, &factory::sandbox::Command::new(["true"]));
    assert!(matches!(refused, Err(SandboxError::Grant { .. })), "{refused:?}");
}

/// A listener on a socket file that everybody may connect to.
fn listener(ground: &Ground, name: &str) -> UnixListener {
    let listener = UnixListener::bind(ground.path(name)).unwrap();
    std::fs::set_permissions(ground.path(name), std::fs::Permissions::from_mode(0o777)).unwrap();
    listener.set_nonblocking(true).unwrap();
    listener
}

#[test]
fn only_the_usual_socket_families_exist() {
    let ground = Ground::new();
    // netlink, vsock, bluetooth-free: families that any user may open outside. Multipath TCP is a protocol.
    for (feature, words) in [
        ("netlink", ["16", "3", "0"]),
        ("vsock", ["40", "1", "0"]),
        ("mptcp", ["2", "1", "262"]),
    ] {
        let words = ["socket", words[0], words[1], words[2]];
        if has(feature, ground.outside(&words).succeeded()) {
            ground.refused_inside(&words, &["EPERM"]);
        }
    }
    for words in [
        ["socket", "2", "3", "1"],
        ["socket", "17", "3", "0"],
        ["socket", "10", "3", "58"],
    ] {
        let control = ground.outside_as_root("true", &words);
        assert!(control.succeeded(), "{words:?}: {control:?}");
        ground.refused_inside(&words, &["EPERM"]);
    }
    for family in ["1", "2", "10"] {
        assert!(ground.inside(&policy(), &["socket", family, "1", "0"]).succeeded());
    }
}
