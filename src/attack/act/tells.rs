//! Acts that ask for what tells about the host: who it is, what it runs, where things lie on it.
//!
//! What is found is answered; the judge knows what must not be in it.

use super::{Acts, Done, any, but_token, refused};
use crate::attack::sys::{self, Arg};
use nix::errno::Errno;
use std::fs;

pub(super) const ACTS: Acts = &[
    ("tell", tell),
    ("uname", |_| {
        let names = nix::sys::utsname::uname()?;
        Ok(format!(
            "node={} release={} version={}",
            names.nodename().display(),
            names.release().display(),
            names.version().display()
        ))
    }),
    ("kernel-files", |_| {
        any(
            [
                "/proc/kallsyms",
                "/proc/modules",
                "/proc/kcore",
                "/proc/version",
                "/proc/iomem",
                "/proc/config.gz",
                "/proc/interrupts",
            ],
            |path| {
                let file = fs::File::open(path)?;
                use std::io::Read as _;
                let mut byte = [0];
                if (&file).read(&mut byte)? == 0 {
                    refused(Errno::ENODATA, path)
                } else {
                    Ok(format!("read {path}"))
                }
            },
        )
    }),
    ("processes", |_| {
        // The bystander's words, which no launcher has among its own in this order.
        let entries = fs::read_dir("/proc")?.flatten();
        let found = entries
            .filter(|entry| {
                entry
                    .file_name()
                    .to_string_lossy()
                    .bytes()
                    .all(|byte| byte.is_ascii_digit())
            })
            .any(|entry| {
                fs::read_to_string(entry.path().join("cmdline")).is_ok_and(|line| line.contains("stand-by\0bystander"))
            });
        if found {
            Ok("see a process of the host".to_owned())
        } else {
            refused(Errno::ESRCH, "only its own")
        }
    }),
    ("uptime", uptime),
];

/// How long the host is up and how much memory it has, told by what both were before: seconds and bytes.
fn uptime(words: &[String]) -> Done {
    let [seconds, bytes, ..] = but_token(words) else {
        return refused(Errno::EINVAL, "what to look for");
    };
    let mut info = [0_u8; 4096];
    sys::syscall(libc::SYS_sysinfo, &mut [Arg::Bytes(&mut info)])?;
    let word = |number: usize| {
        let bytes = info[number * 8..][..8].try_into().unwrap_or_default();
        u64::from_ne_bytes(bytes)
    };
    let (up, memory) = (word(0), word(4));
    let found = format!("sysinfo: up {up} s, {memory} bytes of memory");
    // Time only goes on, and what is younger than the host is up for less.
    let tells = seconds.parse().is_ok_and(|before: u64| up >= before) || memory.to_string() == *bytes;
    if tells {
        Ok(found)
    } else {
        refused(Errno::ENODATA, found)
    }
}

/// The beginning of every file or the names in every directory that can be read.
fn tell(words: &[String]) -> Done {
    any(but_token(words), |path| {
        let text = if fs::metadata(path)?.is_dir() {
            let names: Vec<_> = fs::read_dir(path)?
                .flatten()
                .take(50)
                .map(|entry| entry.file_name().display().to_string())
                .collect();
            names.join(" ")
        } else {
            String::from_utf8_lossy(&fs::read(path)?).chars().take(3000).collect()
        };
        if text.trim().is_empty() {
            refused(Errno::ENODATA, path.as_str())
        } else {
            Ok(format!("{path}: {text}"))
        }
    })
}
