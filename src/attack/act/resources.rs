//! Acts that take more than their share. Each is bounded to what an idle desk computer can spare.

use super::{Acts, Done, Refused, any, call, nap, number, refused, token, wait_for, word};
use crate::attack::sys::{self, Arg};
use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

pub(super) const ACTS: Acts = &[
    ("forks", forks),
    ("hog", |words| {
        let held = hog(number(words, 0)?.min(512));
        Ok(format!("hold {} MiB", held.len()))
    }),
    ("hog-many", hog_many),
    ("fill", fill),
    ("many-files", many_files),
    ("one-file", one_file),
    ("open-files", open_files),
    ("spin-many", spin_many),
    ("flood", flood),
    ("drip", drip),
    ("core", core),
    ("realtime", realtime),
    ("pipes", pipes),
    ("socket-memory", socket_memory),
    ("sync", |_| {
        call(libc::SYS_sync, &[])?;
        nap(500);
        Ok("have everything on the host written out".to_owned())
    }),
];

const MIB: usize = 1 << 20;

/// Starts so many processes at once, which sleep for a second.
fn forks(words: &[String]) -> Done {
    let (most, mut children) = (number(words, 0)?.min(400), Vec::new());
    let mut failed = None;
    for _ in 0..most {
        match sys::fork() {
            Ok(None) => {
                nap(700);
                std::process::exit(0);
            }
            Ok(Some(child)) => children.push(child),
            Err(errno) => {
                failed = Some(errno);
                break;
            }
        }
    }
    let made = children.len();
    for child in children {
        wait_for(child)?;
    }
    match failed {
        None => Ok(format!("start {made} processes at once")),
        Some(errno) => refused(errno, format!("after {made}")),
    }
}

/// Private memory, each page touched with bytes that do not compress.
fn hog(mebibytes: i64) -> Vec<Vec<u8>> {
    (0..mebibytes)
        .map(|number| {
            let mut block = vec![0_u8; MIB];
            for page in block.chunks_mut(4096) {
                page[0] = (number % 251) as u8 + 1;
            }
            block
        })
        .collect()
}

fn hog_many(words: &[String]) -> Done {
    let (count, each) = (number(words, 0)?.min(8), number(words, 1)?.min(96));
    let mut children = Vec::new();
    for _ in 0..count {
        match sys::fork()? {
            None => {
                let held = hog(each);
                nap(1200);
                std::process::exit(i32::from(held.len() as i64 != each));
            }
            Some(child) => children.push(child),
        }
    }
    let refusals = refusals_among(children);
    match refusals {
        0 => Ok(format!("hold {} MiB together", count * each)),
        _ => refused(Errno::ENOMEM, format!("{refusals} of {count} were refused")),
    }
}

/// Fills each private place up to so many mebibytes, then frees it.
fn fill(words: &[String]) -> Done {
    let most = number(words, 0)?.min(128) as usize;
    any(["/dev/shm", "/tmp"], |place| {
        let path = Path::new(place).join(token(words));
        let block = vec![b'x'; MIB];
        let mut file = File::create(&path)?;
        let written = (0..most).try_for_each(|_| file.write_all(&block));
        let _ = fs::remove_file(&path);
        written?;
        Ok(format!("fill {place} with {most} MiB"))
    })
}

/// Many files of a size each: one limit is on their number, another on their sum.
fn many_files(words: &[String]) -> Done {
    let (count, size) = (number(words, 0)?.min(4000), number(words, 1)?.min(1 << 20) as usize);
    let block = vec![b'x'; size];
    fs::create_dir("many")?;
    let mut made = 0;
    let result = (0..count).try_for_each(|number| {
        fs::write(format!("many/{number}"), &block)?;
        made += 1;
        Ok::<(), std::io::Error>(())
    });
    let _ = fs::remove_dir_all("many");
    match result {
        Ok(()) => Ok(format!("write {count} files")),
        Err(error) => refused(Refused::from(error).errno, format!("after {made}")),
    }
}

fn one_file(words: &[String]) -> Done {
    let mut file = File::create("large")?;
    let block = vec![b'x'; MIB];
    let most = number(words, 0)?.min(128);
    let result = (0..most).try_for_each(|_| file.write_all(&block));
    let _ = fs::remove_file("large");
    result?;
    Ok(format!("write a file of {most} MiB"))
}

fn open_files(words: &[String]) -> Done {
    let most = number(words, 0)?.min(5000);
    // As far as the process may raise the limit itself.
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
    for made in 0..most {
        if let Err(errno) = call(libc::SYS_dup, &[0]) {
            return refused(errno, format!("after {made}"));
        }
    }
    Ok(format!("open {most} files"))
}

/// Processes that each compute for so many milliseconds of processor time.
fn spin_many(words: &[String]) -> Done {
    let (count, milliseconds) = (number(words, 0)?.min(8), number(words, 1)?.min(3000));
    let mut children = Vec::new();
    for _ in 0..count {
        match sys::fork()? {
            None => {
                let started = Instant::now();
                while cpu_time() < Duration::from_millis(milliseconds as u64)
                    && started.elapsed() < Duration::from_secs(15)
                {
                    std::hint::black_box(started);
                }
                std::process::exit(0);
            }
            Some(child) => children.push(child),
        }
    }
    let refusals = refusals_among(children);
    match refusals {
        0 => Ok(format!("compute for {} ms together", count * milliseconds)),
        _ => refused(Errno::EINTR, format!("{refusals} of {count} were ended")),
    }
}

/// Waits for all and counts those that did not end well.
fn refusals_among(children: Vec<i32>) -> usize {
    let codes = children.into_iter().filter_map(|child| wait_for(child).ok());
    codes.filter(|code| *code != 0).count()
}

/// User and system time of this process.
fn cpu_time() -> Duration {
    use nix::sys::resource::{UsageWho, getrusage};
    let duration = |time: nix::sys::time::TimeVal| Duration::new(time.tv_sec() as u64, time.tv_usec() as u32 * 1000);
    let usage = getrusage(UsageWho::RUSAGE_SELF);
    usage.map_or(Duration::ZERO, |usage| {
        duration(usage.user_time()) + duration(usage.system_time())
    })
}

/// So many mebibytes of output, in lines or without.
fn flood(words: &[String]) -> Done {
    let filler = if word(words, 1)? == "lines" { b"y\n" } else { b"yy" };
    let block = filler.repeat(MIB / 2);
    let mut stdout = std::io::stdout().lock();
    for _ in 0..number(words, 0)?.min(64) {
        stdout.write_all(&block)?;
    }
    stdout.flush()?;
    std::process::exit(0)
}

/// A byte now and then.
fn drip(_: &[String]) -> Done {
    let mut stdout = std::io::stdout().lock();
    for _ in 0..8 {
        stdout.write_all(b".")?;
        stdout.flush()?;
        nap(200);
    }
    Ok("drip".to_owned())
}

/// A child that aborts, with its limit on core files raised as far as it goes.
fn core(_: &[String]) -> Done {
    use nix::sys::wait::{WaitStatus, waitpid};
    let child = match sys::fork()? {
        None => {
            if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_CORE) {
                let _ = setrlimit(Resource::RLIMIT_CORE, hard, hard);
            }
            // A limit of zero has a core program of the host started where there is one.
            let _ = sys::syscall(
                libc::SYS_prlimit64,
                &mut [Arg::Int(0), Arg::Int(4), Arg::Null, Arg::Null],
            );
            let _ = call(libc::SYS_prctl, &[4, 1, 0, 0, 0]);
            std::process::abort()
        }
        Some(child) => child,
    };
    match waitpid(nix::unistd::Pid::from_raw(child), None)? {
        WaitStatus::Signaled(_, _, true) => Ok("dump core".to_owned()),
        other => refused(Errno::EPERM, format!("{other:?}")),
    }
}

fn realtime(_: &[String]) -> Done {
    // `struct sched_param` with priority 1.
    let priority = [1_u8, 0, 0, 0];
    any(["SCHED_FIFO", "nice", "ionice", "mlockall"], |what| {
        match what {
            "SCHED_FIFO" => sys::syscall(
                libc::SYS_sched_setscheduler,
                &mut [Arg::Int(0), Arg::Int(1), Arg::Read(&priority)],
            )?,
            "nice" => call(libc::SYS_setpriority, &[0, 0, -10])?,
            // IOPRIO_WHO_PROCESS, the real-time class.
            "ionice" => call(libc::SYS_ioprio_set, &[1, 0, 1 << 13])?,
            _ => call(libc::SYS_mlockall, &[3])?,
        };
        Ok(what.to_owned())
    })
}

/// As many pipes as a user may have before new ones become small, held for a while. Large ones first, and when no further
/// pipe may be made larger, some more of the usual size.
fn pipes(_: &[String]) -> Done {
    use nix::fcntl::{FcntlArg, fcntl};
    let (mut held, mut refusal) = (Vec::new(), None);
    while held.len() < 200 {
        let (reader, writer) = std::io::pipe()?;
        if refusal.is_none() {
            refusal = fcntl(&reader, FcntlArg::F_SETPIPE_SZ(1 << 20)).err();
        }
        held.push((reader, writer));
    }
    nap(1000);
    let errno = refusal.unwrap_or(Errno::EPERM);
    refused(
        errno,
        format!("{} pipes were made, and nobody else's are smaller", held.len()),
    )
}

/// Bytes on their way between sockets, which are memory of the kernel and in no process's share.
fn socket_memory(words: &[String]) -> Done {
    use std::os::unix::net::UnixStream;
    let most = number(words, 0)?.min(400) << 20;
    let (mut held, mut sent) = (Vec::new(), 0);
    let block = vec![b'x'; 64 << 10];
    let mut failed = None;
    while sent < most && failed.is_none() {
        match UnixStream::pair() {
            Ok((mut near, far)) => {
                near.set_nonblocking(true)?;
                while let Ok(length) = near.write(&block) {
                    sent += length as i64;
                }
                held.push((near, far));
            }
            Err(error) => failed = Some(Refused::from(error)),
        }
    }
    // Long enough for whoever looks now and then.
    nap(1200);
    match failed {
        None => Ok(format!("hold {} MiB in {} pairs of sockets", sent >> 20, held.len())),
        Some(failed) => refused(failed.errno, format!("after {} MiB", sent >> 20)),
    }
}
