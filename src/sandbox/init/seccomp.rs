//! The third lock: system call filters, applied last.
//!
//! - The main filter is an allow-list. A call that it does not know does not exist (`ENOSYS`), so that what a newer
//!   kernel adds is refused; a known but forbidden one answers `EPERM`, as libraries expect of an ordinary user.
//! - Numbers with bit 30 set (x32) are refused by a test of their own, and foreign architectures are killed.
//! - Rules on arguments are a second filter: seccompiler has one action per filter. The kernel takes the strictest.
//! - A slot lives under both already, with the few calls left open that build a sandbox. A third, small filter closes
//!   those in each run; together they answer as one list.
//! - What a call tells of the host, where no namespace holds it, the slot's supervisor answers in the kernel's place. Since
//!   the main filter has a listener, no command can have one and let the kernel answer after all: there is one at most.
//!
//! The main filter is assembled here as a search tree over ranges. The kernel evaluates a filter once for every call
//! number when it is installed, so a list of comparisons costs several times more per sandbox than a tree.

use super::Step;
use crate::sandbox::setup::{LayerFailure, Rung};
use crate::sandbox::sys::unotify;
use nix::errno::Errno;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen as Width, SeccompCmpOp as Op, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, sock_filter,
};
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;

/// The filters of a sandbox, compiled.
#[derive(Debug)]
pub(in crate::sandbox) struct Filters {
    calls: BpfProgram,
    /// Whether the supervisor is asked, where the main filter says so.
    asks: bool,
    arguments: BpfProgram,
    builders: BpfProgram,
    /// Filters that the process was under before.
    outer: u32,
    bare: BpfProgram,
}

/// What the main filter does with a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Allow,
    /// The slot's supervisor answers.
    Ask,
    /// `EPERM`.
    Forbidden,
    /// `ENOSYS`.
    Unknown,
    /// Success, without having been carried out.
    Pretend,
}

impl Verdict {
    /// Source: seccomp(2), "Return values"; the error number is in the low 16 bits.
    const fn action(self) -> u32 {
        match self {
            Verdict::Allow => libc::SECCOMP_RET_ALLOW,
            Verdict::Ask => libc::SECCOMP_RET_USER_NOTIF,
            Verdict::Forbidden => libc::SECCOMP_RET_ERRNO | libc::EPERM as u32,
            Verdict::Unknown => libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32,
            Verdict::Pretend => libc::SECCOMP_RET_ERRNO,
        }
    }
}

impl Filters {
    /// Compiles the filters. `memfd` lets anonymous files be made. `named_sockets` lets sockets of `AF_UNIX` be made one by
    /// one, which can reach any that has a name in the view; pairs of them are always allowed.
    pub(in crate::sandbox) fn compile(memfd: bool, named_sockets: bool) -> Result<Self, LayerFailure> {
        let mut verdicts: BTreeMap<u32, Verdict> = BTreeMap::new();
        verdicts.extend(FORBIDDEN.iter().map(|number| (*number as u32, Verdict::Forbidden)));
        verdicts.extend(ALLOWED.iter().map(|number| (*number as u32, Verdict::Allow)));
        verdicts.extend(PRETENDED.map(|number| (number as u32, Verdict::Pretend)));
        verdicts.extend(ASKED.map(|(number, _)| (number as u32, Verdict::Ask)));
        if memfd {
            verdicts.insert(libc::SYS_memfd_create as u32, Verdict::Allow);
        }
        // In the end as before, but by the filter of the run.
        let builders = BUILDERS.map(|(number, verdict)| (number as u32, verdict));
        verdicts.extend(BUILDERS.map(|(number, _)| (number as u32, Verdict::Allow)));
        let arguments = argument_filter(named_sockets)
            .map_err(|_| Errno::EINVAL)
            .step("compile the argument filter")?;
        Ok(Filters {
            calls: call_filter(&verdicts),
            asks: false,
            arguments,
            builders: builder_filter(&builders),
            outer: 0,
            bare: bare_filter()
                .map_err(|_| Errno::EINVAL)
                .step("compile the filter without namespaces")?,
        })
    }

    /// How many filters a run is under, with those from outside.
    pub(super) fn counted(&self, rung: &Rung) -> u32 {
        let ours = match rung {
            Rung::Namespaces => 3,
            Rung::Bare { .. } => 4,
        };
        self.outer + ours
    }

    /// Counts those from outside, before any of ours is there.
    pub(in crate::sandbox) fn count_outer(&mut self) -> Result<(), LayerFailure> {
        self.outer = super::receipt::filter_count()?;
        Ok(())
    }

    /// Applies all but what a slot itself needs to the process and all that it starts, for good. Answers the descriptor for
    /// who answers the calls that are asked about; nothing where the kernel has none to give, and then they are allowed.
    pub(in crate::sandbox) fn install_on_slot(&mut self, supervised: bool) -> Result<Option<OwnedFd>, LayerFailure> {
        install(&self.arguments, "argument")?;
        // One around us has a listener already, or the kernel knows none. What else is in the way tells the other attempt.
        let listener = supervised.then(|| unotify::install_with_listener(&self.calls));
        if let Some(Ok(listener)) = listener {
            self.asks = true;
            return Ok(Some(listener));
        }
        install(&without_asking(&self.calls), "call").map(|()| None)
    }

    /// The calls that the supervisor answers.
    pub(super) fn answered(&self) -> impl Iterator<Item = &'static str> {
        answered(self.asks)
    }

    /// Applies the rest to the process and all that it starts, for good.
    pub(super) fn install_on_run(&self) -> Result<(), LayerFailure> {
        install(&self.builders, "builder")
    }
}

impl Filters {
    /// Applies everything, and what no namespace bounds besides, to the process and all that it starts, for good.
    pub(super) fn install_without_namespaces(&self) -> Result<(), LayerFailure> {
        install(&self.bare, "namespaceless")?;
        install(&self.builders, "builder")?;
        install(&self.arguments, "argument")?;
        install(&without_asking(&self.calls), "call")
    }
}

fn install(program: &BpfProgram, name: &str) -> Result<(), LayerFailure> {
    seccompiler::apply_filter(program)
        .map_err(|_| Errno::last())
        .step(format!("install the {name} filter"))
}

/// The same filter with a yes in place of each question.
fn without_asking(program: &BpfProgram) -> BpfProgram {
    let mut program = program.clone();
    for step in &mut program {
        if (step.code, step.k) == (RETURN, Verdict::Ask.action()) {
            step.k = Verdict::Allow.action();
        }
    }
    program
}

/// The names of the calls that are asked about.
fn answered(asks: bool) -> impl Iterator<Item = &'static str> {
    ASKED.into_iter().map(|(_, name)| name).filter(move |_| asks)
}

/// Offsets in `struct seccomp_data`. Source: seccomp(2).
const NUMBER: u32 = 0;
const ARCH: u32 = 4;

#[cfg(target_arch = "x86_64")]
const AUDIT_ARCH: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const AUDIT_ARCH: u32 = 0xc000_00b7;

/// The first x32 call number: bit 30. Source: `__X32_SYSCALL_BIT`, `arch/x86/include/uapi/asm/unistd.h`.
#[cfg(target_arch = "x86_64")]
const X32: u32 = 0x4000_0000;

const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
const JUMP_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
const JUMP_AT_LEAST: u16 = (libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K) as u16;
const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;

const fn instruction(code: u16, jt: u8, jf: u8, k: u32) -> sock_filter {
    sock_filter { code, jt, jf, k }
}

/// Architecture, then x32, then the tree.
fn call_filter(verdicts: &BTreeMap<u32, Verdict>) -> BpfProgram {
    let mut program = vec![
        instruction(LOAD, 0, 0, ARCH),
        instruction(JUMP_EQUAL, 1, 0, AUDIT_ARCH),
        instruction(RETURN, 0, 0, libc::SECCOMP_RET_KILL_PROCESS),
        instruction(LOAD, 0, 0, NUMBER),
    ];
    #[cfg(target_arch = "x86_64")]
    program.extend([
        instruction(JUMP_AT_LEAST, 0, 1, X32),
        instruction(RETURN, 0, 0, Verdict::Unknown.action()),
    ]);
    search(&ranges(verdicts), &mut program);
    program
}

/// Refuses the calls listed and allows every other, which the filters below this one have judged already.
fn builder_filter(verdicts: &[(u32, Verdict)]) -> BpfProgram {
    let mut program = vec![instruction(LOAD, 0, 0, NUMBER)];
    for (number, verdict) in verdicts {
        program.push(instruction(JUMP_EQUAL, 0, 1, *number));
        program.push(instruction(RETURN, 0, 0, verdict.action()));
    }
    program.push(instruction(RETURN, 0, 0, Verdict::Allow.action()));
    program
}

/// Where the verdict changes: each range reaches to the start of the next, the last one to the end.
fn ranges(verdicts: &BTreeMap<u32, Verdict>) -> Vec<(u32, Verdict)> {
    let mut ranges = vec![(0, Verdict::Unknown)];
    let mut next = 0;
    let mut change = |at: u32, verdict: Verdict| match ranges.last_mut() {
        Some((_, last)) if *last == verdict => {}
        Some((start, last)) if *start == at => *last = verdict,
        _ => ranges.push((at, verdict)),
    };
    for (number, verdict) in verdicts {
        if *number > next {
            change(next, Verdict::Unknown);
        }
        change(*number, *verdict);
        next = number + 1;
    }
    change(next, Verdict::Unknown);
    ranges
}

/// Appends a binary search over `ranges`, which is never empty.
fn search(ranges: &[(u32, Verdict)], program: &mut BpfProgram) {
    if let [(_, verdict)] = ranges {
        return program.push(instruction(RETURN, 0, 0, verdict.action()));
    }
    let (low, high) = ranges.split_at(ranges.len() / 2);
    let branch = program.len();
    program.push(instruction(JUMP_AT_LEAST, 0, 0, high[0].0));
    search(low, program);
    // Half a tree of n ranges is n - 1 instructions; with some hundred ranges that fits the eight bits of a jump.
    program[branch].jt = u8::try_from(program.len() - branch - 1).expect("half of the ranges fit one jump");
    search(high, program);
}

/// What the filters answer, in numbers.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Summary {
    /// Calls that are allowed, some of them only with certain arguments.
    pub allowed: usize,
    /// Calls that exist and answer `EPERM`.
    pub forbidden: usize,
    /// Calls that answer success and do nothing.
    pub pretended: usize,
    /// Calls that the sandbox answers in the kernel's place, with what tells nothing of the host; they count as allowed.
    pub answered: Vec<&'static str>,
    /// What every other number answers, those of later kernels too.
    pub others: &'static str,
    /// Rules on the arguments of allowed calls, by call.
    pub argument_rules: BTreeMap<String, usize>,
}

/// Counts what the filters answer. `memfd` lets anonymous files be made, `asks` says that this kernel lets a process answer.
pub(in crate::sandbox) fn summary(memfd: bool, asks: bool, rung: &Rung) -> Summary {
    // That the rules can be compiled is a test; nothing is filtered by this count.
    let mut rules = argument_rules(true).unwrap_or_default();
    let bare = match rung {
        Rung::Namespaces => 0,
        Rung::Bare { .. } => {
            for (call, more) in bare_rules().unwrap_or_default() {
                match more.is_empty() {
                    // Refused whatever the arguments.
                    true => drop(rules.remove(&call)),
                    false => rules.entry(call).or_default().extend(more),
                }
            }
            forbidden_bare().count()
        }
    };
    Summary {
        allowed: ALLOWED.iter().count() + ASKED.len() + usize::from(memfd) - bare,
        forbidden: FORBIDDEN.iter().count() + bare,
        pretended: PRETENDED.len(),
        answered: answered(asks && *rung == Rung::Namespaces).collect(),
        others: "ENOSYS",
        argument_rules: rules.iter().map(|(call, rules)| (name(*call), rules.len())).collect(),
    }
}

/// The name of a call that has argument rules.
fn name(call: i64) -> String {
    let name = match call {
        libc::SYS_clone => "clone",
        libc::SYS_ioctl => "ioctl",
        libc::SYS_socket => "socket",
        libc::SYS_socketpair => "socketpair",
        libc::SYS_prlimit64 => "prlimit64",
        libc::SYS_setrlimit => "setrlimit",
        libc::SYS_personality => "personality",
        libc::SYS_prctl => "prctl",
        libc::SYS_fcntl => "fcntl",
        libc::SYS_setpriority => "setpriority",
        libc::SYS_sched_setparam => "sched_setparam",
        libc::SYS_sched_setscheduler => "sched_setscheduler",
        libc::SYS_sched_setattr => "sched_setattr",
        libc::SYS_sched_setaffinity => "sched_setaffinity",
        libc::SYS_utimensat => "utimensat",
        other => return format!("call {other}"),
    };
    name.to_owned()
}

/// Rules on arguments of calls that are allowed otherwise: a match answers `EPERM`.
fn argument_filter(named_sockets: bool) -> Result<BpfProgram, seccompiler::BackendError> {
    let arch: TargetArch = std::env::consts::ARCH.try_into()?;
    let errno = SeccompAction::Errno(libc::EPERM as u32);
    SeccompFilter::new(argument_rules(named_sockets)?, SeccompAction::Allow, errno, arch)?.try_into()
}

/// What a pipe holds that nobody made larger: 16 pages. Source: pipe(7), "Pipe capacity".
const PIPE_BYTES: u64 = 16 * 4096;

fn argument_rules(named_sockets: bool) -> Result<BTreeMap<i64, Vec<SeccompRule>>, seccompiler::BackendError> {
    let test = |argument, width, op, value| SeccompCondition::new(argument, width, op, value);
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    let mut forbid = |call: i64, conditions: Vec<SeccompCondition>| {
        SeccompRule::new(conditions).map(|rule| rules.entry(call).or_default().push(rule))
    };
    for namespace in [
        libc::CLONE_NEWNS,
        libc::CLONE_NEWCGROUP,
        libc::CLONE_NEWUTS,
        libc::CLONE_NEWIPC,
        libc::CLONE_NEWUSER,
        libc::CLONE_NEWPID,
        libc::CLONE_NEWNET,
    ] {
        let bit = namespace as u64;
        forbid(libc::SYS_clone, vec![test(0, Width::Qword, Op::MaskedEq(bit), bit)?])?;
    }
    // As 32 bits: the kernel ignores the upper half of the number, so a rule that compares it can be walked around.
    for number in [libc::TIOCSTI, libc::TIOCLINUX] {
        forbid(libc::SYS_ioctl, vec![test(1, Width::Dword, Op::Eq, number)?])?;
    }
    // Families: only those whose reach a network namespace or the file view bounds.
    let mut family = Vec::new();
    for known in [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6] {
        family.push(test(0, Width::Dword, Op::Ne, known as u64)?);
    }
    forbid(libc::SYS_socket, family)?;
    if !named_sockets {
        forbid(
            libc::SYS_socket,
            vec![test(0, Width::Dword, Op::Eq, libc::AF_UNIX as u64)?],
        )?;
    }
    // A pair exists in one family only, but the kernel makes both sockets, and loads the family, before it says so.
    forbid(
        libc::SYS_socketpair,
        vec![test(0, Width::Dword, Op::Ne, libc::AF_UNIX as u64)?],
    )?;
    // Kinds: all but streams, datagrams and, below, the packets that AF_UNIX has. The low four bits are the kind.
    // Source: socket(2); `SOCK_TYPE_MASK`, `linux/net.h`.
    for kind in (0..16).filter(|kind| ![libc::SOCK_STREAM, libc::SOCK_DGRAM, libc::SOCK_SEQPACKET].contains(kind)) {
        forbid(
            libc::SYS_socket,
            vec![test(1, Width::Dword, Op::MaskedEq(0xf), kind as u64)?],
        )?;
    }
    for family in [libc::AF_INET, libc::AF_INET6] {
        let family = || test(0, Width::Dword, Op::Eq, family as u64);
        forbid(
            libc::SYS_socket,
            vec![
                family()?,
                test(1, Width::Dword, Op::MaskedEq(0xf), libc::SOCK_SEQPACKET as u64)?,
            ],
        )?;
        // Protocols: the default one, TCP and UDP. Another, such as SCTP, is a module that the kernel loads on demand, and
        // multipath TCP is not covered by Landlock's port rules.
        let mut protocol = vec![family()?];
        for known in [libc::IPPROTO_IP, libc::IPPROTO_TCP, libc::IPPROTO_UDP] {
            protocol.push(test(2, Width::Dword, Op::Ne, known as u64)?);
        }
        forbid(libc::SYS_socket, protocol)?;
    }
    // The first process has the command's user id, which is all that the kernel asks for to change its limits: a time
    // limit in the past would end it, and with it the report.
    forbid(libc::SYS_prlimit64, vec![test(0, Width::Dword, Op::Eq, 1)?])?;
    // The same holds for its place in the scheduler: behind everybody else, it would not get to report.
    for call in [
        libc::SYS_sched_setparam,
        libc::SYS_sched_setscheduler,
        libc::SYS_sched_setattr,
        libc::SYS_sched_setaffinity,
    ] {
        forbid(call, vec![test(0, Width::Dword, Op::Eq, 1)?])?;
    }
    // Groups and users besides: the command begins in the first process's group, and has its user.
    forbid(libc::SYS_setpriority, vec![test(1, Width::Dword, Op::Eq, 1)?])?;
    let process = libc::PRIO_PROCESS as u64;
    forbid(libc::SYS_setpriority, vec![test(0, Width::Dword, Op::Ne, process)?])?;
    // What pipes hold is counted for each user of the host, who is the operator where no other user is there. The usual
    // size, and less. Source: pipe(7), "/proc/sys/fs/pipe-user-pages-soft"; fcntl(2), `F_SETPIPE_SZ`.
    forbid(
        libc::SYS_fcntl,
        vec![
            test(1, Width::Dword, Op::Eq, libc::F_SETPIPE_SZ as u64)?,
            test(2, Width::Dword, Op::Gt, PIPE_BYTES)?,
        ],
    )?;
    // A lease makes whoever opens the file otherwise wait. Source: fcntl(2), "Leases".
    forbid(
        libc::SYS_fcntl,
        vec![test(1, Width::Dword, Op::Eq, libc::F_SETLEASE as u64)?],
    )?;
    // A core limit of zero, unlike the one that is set, has the host's core-dump program started.
    // Source: core(5), "Piping core dumps to a program".
    let core = u64::from(libc::RLIMIT_CORE);
    forbid(
        libc::SYS_prlimit64,
        vec![test(1, Width::Dword, Op::Eq, core)?, test(2, Width::Qword, Op::Ne, 0)?],
    )?;
    forbid(libc::SYS_setrlimit, vec![test(0, Width::Dword, Op::Eq, core)?])?;
    // Personas: the plain one and the question which one it is. Others switch off address randomisation or memory
    // protection.
    let plain = [0, u64::from(u32::MAX)];
    let others = plain.map(|persona| test(0, Width::Dword, Op::Ne, persona));
    forbid(libc::SYS_personality, others.into_iter().collect::<Result<_, _>>()?)?;
    for option in [libc::PR_SET_MM, libc::PR_SET_SPECULATION_CTRL] {
        forbid(libc::SYS_prctl, vec![test(0, Width::Dword, Op::Eq, option as u64)?])?;
    }
    Ok(rules)
}

/// What is refused where no namespace bounds it: `EPERM`.
fn bare_filter() -> Result<BpfProgram, seccompiler::BackendError> {
    let arch: TargetArch = std::env::consts::ARCH.try_into()?;
    let errno = SeccompAction::Errno(libc::EPERM as u32);
    SeccompFilter::new(bare_rules()?, SeccompAction::Allow, errno, arch)?.try_into()
}

/// Calls without a rule are refused whatever their arguments.
fn bare_rules() -> Result<BTreeMap<i64, Vec<SeccompRule>>, seccompiler::BackendError> {
    let test = |argument, width, op, value| SeccompCondition::new(argument, width, op, value);
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = forbidden_bare().map(|call| (*call, Vec::new())).collect();
    let mut forbid = |call: i64, conditions: Vec<SeccompCondition>| {
        SeccompRule::new(conditions).map(|rule| rules.entry(call).or_default().push(rule))
    };
    // A pair of datagram sockets can be sent from to any socket file that the user may write to, the host's log for one:
    // the address lies in memory, where no filter sees it. Pairs of the other two kinds take no address.
    for kind in (0..16).filter(|kind| ![libc::SOCK_STREAM, libc::SOCK_SEQPACKET].contains(kind)) {
        forbid(
            libc::SYS_socketpair,
            vec![test(1, Width::Dword, Op::MaskedEq(0xf), kind as u64)?],
        )?;
    }
    // The user's other processes: their limits, priorities and processors could be changed.
    for call in [
        libc::SYS_prlimit64,
        libc::SYS_sched_setparam,
        libc::SYS_sched_setscheduler,
        libc::SYS_sched_setattr,
        libc::SYS_sched_setaffinity,
    ] {
        forbid(call, vec![test(0, Width::Dword, Op::Ne, 0)?])?;
    }
    forbid(libc::SYS_setpriority, vec![test(1, Width::Dword, Op::Ne, 0)?])?;
    forbid(
        libc::SYS_setpriority,
        vec![test(0, Width::Dword, Op::Eq, libc::PRIO_USER as u64)?],
    )?;
    // The times of a file by its name; of one that is open they may be set.
    forbid(libc::SYS_utimensat, vec![test(1, Width::Qword, Op::Ne, 0)?])?;
    Ok(rules)
}

fn forbidden_bare() -> impl Iterator<Item = &'static i64> {
    FORBIDDEN_BARE_EVERYWHERE.iter().chain(FORBIDDEN_BARE_HERE)
}

macro_rules! calls {
    ($($name:ident)+) => { &[$(libc::$name),+] };
}

/// Calls of an ordinary program.
#[rustfmt::skip]
const ALLOWED_EVERYWHERE: &[i64] = calls![
    SYS_read SYS_write SYS_close SYS_fstat SYS_lseek SYS_mmap SYS_mprotect SYS_munmap SYS_brk SYS_rt_sigaction
    SYS_rt_sigprocmask SYS_rt_sigreturn SYS_ioctl SYS_pread64 SYS_pwrite64 SYS_readv SYS_writev SYS_sched_yield
    SYS_mremap SYS_msync SYS_mincore SYS_madvise SYS_dup SYS_nanosleep SYS_getitimer SYS_setitimer SYS_getpid
    SYS_sendfile SYS_socket SYS_connect SYS_accept SYS_sendto SYS_recvfrom SYS_sendmsg SYS_recvmsg SYS_shutdown
    SYS_bind SYS_listen SYS_getsockname SYS_getpeername SYS_socketpair SYS_setsockopt SYS_getsockopt SYS_clone
    SYS_execve SYS_exit SYS_wait4 SYS_kill SYS_fcntl SYS_flock SYS_fsync SYS_fdatasync SYS_truncate
    SYS_ftruncate SYS_getcwd SYS_chdir SYS_fchdir SYS_fchmod SYS_fchown SYS_umask SYS_gettimeofday SYS_getrusage
    SYS_times SYS_getuid SYS_getgid SYS_setuid SYS_setgid SYS_geteuid SYS_getegid SYS_setpgid SYS_getppid
    SYS_setsid SYS_setreuid SYS_setregid SYS_getgroups SYS_setresuid SYS_getresuid SYS_setresgid SYS_getresgid
    SYS_getpgid SYS_setfsuid SYS_setfsgid SYS_getsid SYS_capget SYS_capset SYS_rt_sigpending SYS_rt_sigtimedwait
    SYS_rt_sigqueueinfo SYS_rt_sigsuspend SYS_sigaltstack SYS_personality SYS_statfs SYS_fstatfs SYS_getpriority
    SYS_setpriority SYS_sched_setparam SYS_sched_getparam SYS_sched_setscheduler SYS_sched_getscheduler
    SYS_sched_get_priority_max SYS_sched_get_priority_min SYS_sched_rr_get_interval SYS_sched_setattr
    SYS_sched_getattr SYS_mlock SYS_munlock SYS_mlockall SYS_munlockall SYS_prctl SYS_gettid SYS_readahead
    SYS_setxattr SYS_lsetxattr SYS_fsetxattr SYS_getxattr SYS_lgetxattr SYS_fgetxattr SYS_listxattr SYS_llistxattr
    SYS_flistxattr SYS_removexattr SYS_lremovexattr SYS_fremovexattr SYS_tkill SYS_futex SYS_sched_setaffinity
    SYS_sched_getaffinity SYS_epoll_create1 SYS_getdents64 SYS_set_tid_address SYS_restart_syscall SYS_fadvise64
    SYS_timer_create SYS_timer_settime SYS_timer_gettime SYS_timer_getoverrun SYS_timer_delete SYS_clock_gettime
    SYS_clock_getres SYS_clock_nanosleep SYS_exit_group SYS_epoll_ctl SYS_tgkill SYS_get_mempolicy SYS_waitid
    SYS_ioprio_get SYS_inotify_init1 SYS_inotify_add_watch SYS_inotify_rm_watch SYS_openat SYS_mkdirat SYS_mknodat
    SYS_fchownat SYS_newfstatat SYS_unlinkat SYS_renameat SYS_linkat SYS_symlinkat SYS_readlinkat SYS_fchmodat
    SYS_faccessat SYS_pselect6 SYS_ppoll SYS_set_robust_list SYS_get_robust_list SYS_splice SYS_tee
    SYS_sync_file_range SYS_vmsplice SYS_utimensat SYS_epoll_pwait SYS_signalfd4 SYS_timerfd_create
    SYS_timerfd_settime SYS_timerfd_gettime SYS_eventfd2 SYS_fallocate SYS_accept4 SYS_dup3 SYS_pipe2 SYS_preadv
    SYS_pwritev SYS_rt_tgsigqueueinfo SYS_recvmmsg SYS_prlimit64 SYS_sendmmsg SYS_getcpu SYS_renameat2
    SYS_getrandom SYS_execveat SYS_membarrier SYS_mlock2 SYS_copy_file_range SYS_preadv2 SYS_pwritev2
    SYS_pkey_mprotect SYS_pkey_alloc SYS_pkey_free SYS_statx SYS_rseq SYS_pidfd_send_signal SYS_pidfd_open
    SYS_close_range SYS_openat2 SYS_faccessat2 SYS_epoll_pwait2 SYS_futex_waitv SYS_process_mrelease SYS_fchmodat2
    SYS_mseal SYS_seccomp SYS_landlock_create_ruleset SYS_landlock_add_rule SYS_landlock_restrict_self
    SYS_mq_open SYS_mq_unlink SYS_mq_timedsend SYS_mq_timedreceive SYS_mq_notify SYS_mq_getsetattr
];

/// Older spellings that only x86-64 still has.
#[cfg(target_arch = "x86_64")]
#[rustfmt::skip]
const ALLOWED_HERE: &[i64] = calls![
    SYS_open SYS_stat SYS_lstat SYS_poll SYS_access SYS_pipe SYS_select SYS_dup2 SYS_pause SYS_alarm SYS_fork SYS_vfork
    SYS_getdents SYS_rename SYS_mkdir SYS_rmdir SYS_creat SYS_link SYS_unlink SYS_symlink SYS_readlink SYS_chmod
    SYS_chown SYS_lchown SYS_getrlimit SYS_setrlimit SYS_getpgrp SYS_utime SYS_mknod SYS_arch_prctl SYS_time
    SYS_epoll_create SYS_epoll_wait SYS_utimes SYS_inotify_init SYS_futimesat SYS_signalfd SYS_eventfd
];
#[cfg(not(target_arch = "x86_64"))]
const ALLOWED_HERE: &[i64] = calls![SYS_getrlimit SYS_setrlimit];

/// Calls that exist and are refused, with the answer that an ordinary user would get.
#[rustfmt::skip]
const FORBIDDEN_EVERYWHERE: &[i64] = calls![
    SYS_mount SYS_umount2 SYS_pivot_root SYS_chroot SYS_unshare SYS_setns SYS_open_tree SYS_move_mount SYS_fsopen
    SYS_fsconfig SYS_fsmount SYS_fspick SYS_mount_setattr SYS_ptrace SYS_process_vm_readv SYS_process_vm_writev
    SYS_pidfd_getfd SYS_kcmp SYS_keyctl SYS_add_key SYS_request_key SYS_bpf SYS_perf_event_open SYS_userfaultfd
    SYS_init_module SYS_finit_module SYS_delete_module SYS_kexec_load SYS_reboot SYS_swapon SYS_swapoff SYS_acct
    SYS_settimeofday SYS_clock_settime SYS_clock_adjtime SYS_adjtimex SYS_syslog SYS_sethostname SYS_setdomainname
    SYS_open_by_handle_at SYS_name_to_handle_at SYS_fanotify_init SYS_fanotify_mark SYS_quotactl SYS_vhangup
    SYS_setgroups SYS_shmget SYS_shmat SYS_shmctl SYS_shmdt SYS_semget SYS_semop SYS_semctl SYS_semtimedop SYS_msgget
    SYS_msgsnd SYS_msgrcv SYS_msgctl SYS_process_madvise SYS_mbind SYS_set_mempolicy SYS_migrate_pages SYS_move_pages
    SYS_ioprio_set
];
#[cfg(target_arch = "x86_64")]
#[rustfmt::skip]
const FORBIDDEN_HERE: &[i64] = calls![
    SYS_iopl SYS_ioperm SYS_modify_ldt SYS_kexec_file_load SYS_memfd_secret SYS_uselib SYS_ustat SYS_sysfs
];
#[cfg(not(target_arch = "x86_64"))]
const FORBIDDEN_HERE: &[i64] = &[];

/// Calls that would have the host write out what others wrote, which no namespace bounds. What a command writes lies in
/// memory and goes with it, so that doing nothing is doing it. Source: sync(2).
const PRETENDED: [i64; 2] = [libc::SYS_sync, libc::SYS_syncfs];

/// Calls that tell what no namespace holds: the kernel's release, how long it is up, how much memory there is. The older
/// ones of their kind are of other architectures. Source: uname(2), sysinfo(2).
const ASKED: [(i64, &str); 2] = [(libc::SYS_sysinfo, "sysinfo"), (libc::SYS_uname, "uname")];

/// Calls that are bounded by namespaces alone, refused where there are none: sockets, message queues, watching names. And
/// what Landlock does not look at: modes, owners, times and attributes of any file by its name.
/// Source: landlock(7), "Current limitations".
#[rustfmt::skip]
const FORBIDDEN_BARE_EVERYWHERE: &[i64] = calls![
    SYS_socket SYS_connect SYS_bind SYS_listen SYS_accept SYS_accept4
    SYS_mq_open SYS_mq_unlink SYS_mq_timedsend SYS_mq_timedreceive SYS_mq_notify SYS_mq_getsetattr
    SYS_inotify_add_watch
    SYS_fchmodat SYS_fchmodat2 SYS_fchownat SYS_setxattr SYS_lsetxattr SYS_removexattr SYS_lremovexattr
];
#[cfg(target_arch = "x86_64")]
const FORBIDDEN_BARE_HERE: &[i64] = calls![SYS_chmod SYS_chown SYS_lchown SYS_utime SYS_utimes SYS_futimesat];
#[cfg(not(target_arch = "x86_64"))]
const FORBIDDEN_BARE_HERE: &[i64] = &[];

/// Calls by which a slot and the first process of a run build a sandbox, and what they answer in the finished one.
/// clone3 does not exist there, so that a C library falls back to clone, whose flags a filter can see.
const BUILDERS: [(i64, Verdict); 8] = [
    (libc::SYS_mount, Verdict::Forbidden),
    (libc::SYS_open_tree, Verdict::Forbidden),
    (libc::SYS_move_mount, Verdict::Forbidden),
    (libc::SYS_mount_setattr, Verdict::Forbidden),
    (libc::SYS_setns, Verdict::Forbidden),
    (libc::SYS_chroot, Verdict::Forbidden),
    (libc::SYS_keyctl, Verdict::Forbidden),
    (libc::SYS_clone3, Verdict::Unknown),
];

struct Lists(&'static [i64], &'static [i64]);

impl Lists {
    fn iter(&self) -> impl Iterator<Item = &'static i64> {
        self.0.iter().chain(self.1)
    }
}

const ALLOWED: Lists = Lists(ALLOWED_EVERYWHERE, ALLOWED_HERE);
const FORBIDDEN: Lists = Lists(FORBIDDEN_EVERYWHERE, FORBIDDEN_HERE);

#[cfg(test)]
mod tests {
    use super::*;

    /// A model of the kernel's interpreter for the instructions that `call_filter` uses.
    fn evaluate(program: &[sock_filter], arch: u32, number: u32) -> u32 {
        let (mut at, mut accumulator) = (0, 0);
        loop {
            let step = &program[at];
            at += 1;
            match step.code {
                LOAD => accumulator = if step.k == ARCH { arch } else { number },
                JUMP_EQUAL => at += usize::from(if accumulator == step.k { step.jt } else { step.jf }),
                JUMP_AT_LEAST => at += usize::from(if accumulator >= step.k { step.jt } else { step.jf }),
                RETURN => return step.k,
                other => panic!("unknown instruction {other}"),
            }
        }
    }

    #[test]
    fn the_filter_answers_each_number_as_the_lists_say() {
        let filters = Filters::compile(false, true).unwrap();
        for number in 0..2048 {
            let listed = |lists: &Lists| lists.iter().any(|call| *call == i64::from(number));
            let pretended = PRETENDED.contains(&i64::from(number));
            let asked = ASKED.iter().any(|(call, _)| *call == i64::from(number));
            let wanted = match (listed(&ALLOWED), listed(&FORBIDDEN), pretended, asked) {
                (true, false, false, false) => Verdict::Allow,
                (false, true, false, false) => Verdict::Forbidden,
                (false, false, true, false) => Verdict::Pretend,
                (false, false, false, true) => Verdict::Ask,
                (false, false, false, false) => Verdict::Unknown,
                _ => panic!("call {number} is on two lists"),
            };
            // The kernel runs the newest filter first and takes the strictest answer, the newest of several alike.
            let newest = evaluate(&filters.builders, AUDIT_ARCH, number);
            let answer = match newest == Verdict::Allow.action() {
                true => evaluate(&filters.calls, AUDIT_ARCH, number),
                false => newest,
            };
            assert_eq!(answer, wanted.action(), "call {number}");
        }
    }

    #[test]
    fn without_a_supervisor_the_filter_differs_in_what_is_asked_and_in_nothing_else() {
        let filters = Filters::compile(false, true).unwrap();
        let allowing = without_asking(&filters.calls);
        for number in 0..2048 {
            let asking = evaluate(&filters.calls, AUDIT_ARCH, number);
            let wanted = match asking == Verdict::Ask.action() {
                true => Verdict::Allow.action(),
                false => asking,
            };
            assert_eq!(evaluate(&allowing, AUDIT_ARCH, number), wanted, "call {number}");
        }
        assert_eq!(allowing.len(), filters.calls.len());
    }

    #[test]
    fn numbers_of_other_interfaces_are_refused() {
        let filters = Filters::compile(true, true).unwrap();
        assert_eq!(
            evaluate(&filters.calls, 0x4000_0003, 1),
            libc::SECCOMP_RET_KILL_PROCESS,
            "i386"
        );
        for number in [0x4000_0000, 0x4000_0001, 0x7fff_ffff, u32::MAX] {
            assert_eq!(
                evaluate(&filters.calls, AUDIT_ARCH, number),
                Verdict::Unknown.action(),
                "{number:#x}"
            );
        }
    }

    #[test]
    fn every_call_with_argument_rules_has_a_name_and_is_allowed_otherwise() {
        let summary = summary(false, true, &Rung::Namespaces);
        assert_eq!(summary.answered, ["sysinfo", "uname"]);
        assert!(summary.argument_rules.len() >= 8, "{summary:?}");
        assert!(
            summary.argument_rules.keys().all(|name| !name.starts_with("call ")),
            "{summary:?}"
        );
        for call in argument_rules(true).unwrap().keys() {
            assert!(ALLOWED.iter().any(|allowed| allowed == call), "{call}");
        }
    }

    #[test]
    fn what_is_refused_without_namespaces_is_allowed_otherwise() {
        for call in forbidden_bare() {
            assert!(ALLOWED.iter().any(|allowed| allowed == call), "{call}");
        }
        assert!(bare_filter().is_ok());
        let rung = Rung::Bare { scratch: "/x".into() };
        let (with, without) = (summary(false, true, &Rung::Namespaces), summary(false, true, &rung));
        assert_eq!(with.allowed + with.forbidden, without.allowed + without.forbidden);
        assert!(without.answered.is_empty() && summary(false, false, &Rung::Namespaces).answered.is_empty());
        assert!(!without.argument_rules.contains_key("socket"));
        assert!(without.argument_rules["prlimit64"] > with.argument_rules["prlimit64"]);
        assert!(
            without.argument_rules.keys().all(|name| !name.starts_with("call ")),
            "{without:?}"
        );
    }

    #[test]
    fn anonymous_files_are_a_choice() {
        let verdict = |memfd| {
            evaluate(
                &Filters::compile(memfd, true).unwrap().calls,
                AUDIT_ARCH,
                libc::SYS_memfd_create as u32,
            )
        };
        assert_eq!(verdict(true), Verdict::Allow.action());
        assert_eq!(verdict(false), Verdict::Unknown.action());
    }

    proptest::proptest! {
        #[test]
        fn the_search_tree_equals_its_table(table in proptest::collection::btree_map(0u32..600, 0u8..4, 0..200)) {
            let table: BTreeMap<u32, Verdict> = table
                .into_iter()
                .map(|(number, verdict)| (number, [Verdict::Allow, Verdict::Forbidden, Verdict::Unknown, Verdict::Ask][usize::from(verdict)]))
                .collect();
            let program = call_filter(&table);
            for number in 0..700 {
                let wanted = table.get(&number).copied().unwrap_or(Verdict::Unknown);
                proptest::prop_assert_eq!(evaluate(&program, AUDIT_ARCH, number), wanted.action());
            }
        }
    }
}
