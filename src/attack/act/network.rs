//! Acts on networks and on channels between processes.

use super::{Acts, Done, Refused, any, but_token, call, number, refused, token, word};
use crate::attack::sys::{self, Arg};
use nix::errno::Errno;
use std::fs;
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, ToSocketAddrs as _, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr as UnixAddress, UnixListener, UnixStream};
use std::time::Duration;

pub(super) const ACTS: Acts = &[
    ("tcp", |words| tcp(&format!("127.0.0.1:{}", word(words, 0)?))),
    ("udp", |words| udp(&format!("127.0.0.1:{}", word(words, 0)?))),
    ("dns", |words| dns(word(words, 0)?)),
    ("spellings", spellings),
    ("route", |words| {
        any(but_token(words), |address| {
            // Connecting a datagram socket sends nothing; it tells whether there is a way.
            let socket = UdpSocket::bind("0.0.0.0:0")?;
            socket.connect((address.as_str(), 80))?;
            Ok(format!("find a way to {address}"))
        })
    }),
    ("own-loopback", own_loopback),
    ("unix", |words| {
        any(but_token(words), |path| {
            UnixStream::connect(path)?.write_all(b"hello")?;
            Ok(format!("connect to {path}"))
        })
    }),
    ("abstract", |words| {
        UnixStream::connect_addr(&UnixAddress::from_abstract_name(word(words, 0)?)?)?;
        Ok("connect to an abstract socket".to_owned())
    }),
    ("abstract-listen", |words| {
        let listener = UnixListener::bind_addr(&UnixAddress::from_abstract_name(word(words, 0)?)?);
        hold(listener)
    }),
    ("run-sockets", run_sockets),
    ("ipc-hold", ipc_hold),
    ("ipc-find", ipc_find),
    ("interfaces", interfaces),
    ("proxy", |words| {
        let proxy = std::env::var("https_proxy").map_err(|_| Refused::from(Errno::ENOENT))?;
        let _ = token(words);
        Ok(proxy)
    }),
    ("socket-input", socket_input),
];

const PATIENCE: Duration = Duration::from_secs(2);

fn tcp(address: &str) -> Done {
    let address: SocketAddr = address.parse().map_err(|_| Refused::from(Errno::EINVAL))?;
    TcpStream::connect_timeout(&address, PATIENCE)?.write_all(b"hello")?;
    Ok(format!("connect to {address}"))
}

fn udp(address: &str) -> Done {
    UdpSocket::bind("0.0.0.0:0")?.send_to(b"hello", address)?;
    Ok(format!("send to {address}"))
}

/// A question for a name, as a resolver sends it, to a server on loopback.
fn dns(port: &str) -> Done {
    let mut query = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in ["secret", "invalid"] {
        query.push(label.len() as u8);
        query.extend(label.bytes());
    }
    query.extend([0, 0, 1, 0, 1]);
    UdpSocket::bind("0.0.0.0:0")?.send_to(&query, format!("127.0.0.1:{port}"))?;
    Ok("ask a name server".to_owned())
}

/// The host's loopback by other names: IPv4 in IPv6, any address, a name.
fn spellings(words: &[String]) -> Done {
    let port = number(words, 0)? as u16;
    let mapped = SocketAddr::from((Ipv4Addr::LOCALHOST.to_ipv6_mapped(), port));
    let mut addresses = vec![
        mapped,
        SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)),
        SocketAddr::from(([127, 9, 9, 9], port)),
    ];
    addresses.push(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)));
    addresses.extend(("localhost", port).to_socket_addrs().into_iter().flatten());
    any(addresses, |address| tcp(&address.to_string()))
}

/// A server and a client of the payload's own must work; the host's server must stay out of reach.
fn own_loopback(words: &[String]) -> Done {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    TcpStream::connect_timeout(&listener.local_addr()?, PATIENCE)?;
    listener.accept()?;
    let _ = tcp(&format!("127.0.0.1:{}", word(words, 0)?));
    Ok("talk to itself".to_owned())
}

/// Sockets of daemons wherever they are usually found.
fn run_sockets(_: &[String]) -> Done {
    let mut pending = vec!["/run".into(), "/var/run".into(), "/tmp/.X11-unix".into()];
    let (mut seen, mut found) = (0, Vec::new());
    while let Some(directory) = pending.pop() {
        let directory: std::path::PathBuf = directory;
        for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
            seen += 1;
            let Ok(kind) = entry.file_type() else { continue };
            use std::os::unix::fs::FileTypeExt as _;
            if kind.is_socket() {
                found.push(entry.path());
            } else if kind.is_dir() && seen < 2000 {
                pending.push(entry.path());
            }
        }
    }
    // Seen is enough: who listens there is not ours to talk to.
    match found.first() {
        Some(path) => Ok(format!(
            "find {} sockets of daemons, such as {}",
            found.len(),
            path.display()
        )),
        None => refused(Errno::ENOENT, "no sockets"),
    }
}

/// Says that it holds what it made, and holds it for a while.
fn hold<T>(made: io::Result<T>) -> Done {
    let made = made?;
    println!("did hold");
    io::stdout().flush()?;
    super::nap(2500);
    drop(made);
    Ok("hold it".to_owned())
}

/// The key of shared memory and queues that two sandboxes agree on.
fn ipc_key(words: &[String]) -> i64 {
    let digits = token(words).trim_start_matches("trial-").get(..7).unwrap_or("7");
    i64::from_str_radix(digits, 16).unwrap_or(7) + 1
}

fn ipc_hold(words: &[String]) -> Done {
    let key = ipc_key(words);
    // IPC_CREAT | IPC_EXCL, readable by all.
    let memory = call(libc::SYS_shmget, &[key, 4096, 0o3666])?;
    let queue = call(libc::SYS_msgget, &[key, 0o3666]);
    let held = hold(Ok(()));
    // IPC_RMID is 0.
    let _ = sys::syscall(libc::SYS_shmctl, &mut [Arg::Int(memory), Arg::Int(0), Arg::Null]);
    if let Ok(queue) = queue {
        let _ = sys::syscall(libc::SYS_msgctl, &mut [Arg::Int(queue), Arg::Int(0), Arg::Null]);
    }
    held
}

/// Finds what another made, and removes it, so that nothing stays behind when that one was killed.
fn ipc_find(words: &[String]) -> Done {
    let key = ipc_key(words);
    any(["shared memory", "a queue"], |what| {
        let (get, control) = match what {
            "a queue" => (call(libc::SYS_msgget, &[key, 0]), libc::SYS_msgctl),
            _ => (call(libc::SYS_shmget, &[key, 0, 0]), libc::SYS_shmctl),
        };
        let id = get?;
        let _ = sys::syscall(control, &mut [Arg::Int(id), Arg::Int(0), Arg::Null]);
        Ok(format!("find {what} of another"))
    })
}

/// `struct ifreq` for the loopback interface. Source: netdevice(7).
fn request() -> [u8; 40] {
    let mut request = [0; 40];
    request[..2].copy_from_slice(b"lo");
    request
}

fn ioctl(socket: &UdpSocket, number: i64, request: &mut [u8]) -> Result<i64, Errno> {
    let mut words = [
        Arg::Int(i64::from(socket.as_raw_fd())),
        Arg::Int(number),
        Arg::Bytes(request),
    ];
    sys::syscall(libc::SYS_ioctl, &mut words)
}

/// Sets the flags of the loopback interface to what they are: the right is asked for, and nothing changes.
fn interfaces(_: &[String]) -> Done {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    let mut request = request();
    ioctl(&socket, 0x8913, &mut request)?;
    ioctl(&socket, 0x8914, &mut request)?;
    Ok("configure an interface".to_owned())
}

/// Gives the loopback interface of this network namespace an address and brings it up.
pub(crate) fn give_address(address: &str) -> io::Result<()> {
    let address: Ipv4Addr = address
        .parse()
        .map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    let mut request = request();
    request[16] = libc::AF_INET as u8;
    request[20..24].copy_from_slice(&address.octets());
    ioctl(&socket, 0x8916, &mut request)?;
    let mut request = self::request();
    ioctl(&socket, 0x8913, &mut request)?;
    request[16] |= 1;
    ioctl(&socket, 0x8914, &mut request)?;
    Ok(())
}

/// A descriptor that waits on standard input, when that is a socket.
fn socket_input(_: &[String]) -> Done {
    use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
    let mut byte = [0];
    let mut buffers = [io::IoSliceMut::new(&mut byte)];
    let mut space = nix::cmsg_space!([std::os::fd::RawFd; 2]);
    let message = recvmsg::<()>(0, &mut buffers, Some(&mut space), MsgFlags::MSG_DONTWAIT)?;
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(descriptors) = control
            && let Some(fd) = descriptors.first()
        {
            return Ok(fs::read_to_string(format!("/proc/self/fd/{fd}"))?);
        }
    }
    refused(Errno::ENOENT, "no descriptor came")
}
