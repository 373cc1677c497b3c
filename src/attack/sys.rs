//! The system calls of the payload: one generic wrapper, `fork(2)` and the two entries of other ABIs.
//!
//! - An attack has to make calls that no safe wrapper makes, with arguments that no safe wrapper lets through. So the
//!   wrapper takes a number and arguments, and the file that holds an act says what they mean.
//! - Bounded: a pointer argument is a buffer of ours that lives through the call, or an address that maps nothing; calls
//!   that change this process's own address space are refused, so what Rust believes of its memory stays true.
//! - Only the payload, a process with one thread that does one act and ends, calls these functions.
#![expect(
    unsafe_code,
    reason = "attacks make system calls for which a safe wrapper would defeat the purpose"
)]

use nix::errno::Errno;

/// An argument of a system call.
pub(super) enum Arg<'a> {
    /// A number: a flag, a descriptor, a process.
    Int(i64),
    /// The address of a buffer, which the kernel may write to as far as it reaches.
    Bytes(&'a mut [u8]),
    /// Bytes that the kernel only reads, as a path that ends with a zero.
    Read(&'a [u8]),
    /// No address.
    Null,
}

/// Calls that move or unmap memory of the calling process: never made.
const OWN_MEMORY: [i64; 6] = [
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_mprotect,
    libc::SYS_brk,
    libc::SYS_madvise,
];

/// Makes a system call and answers its result.
///
/// The caller sees to it that a buffer is as long as the call takes it to be; one of a page or more suits all that are
/// made here. An x32 number is masked before it is compared with the calls that are refused.
pub(super) fn syscall(number: i64, arguments: &mut [Arg<'_>]) -> Result<i64, Errno> {
    if OWN_MEMORY.contains(&(number & 0x3fff_ffff)) || arguments.len() > 6 {
        return Err(Errno::EINVAL);
    }
    let mut words = [0 as libc::c_long; 6];
    for (word, argument) in words.iter_mut().zip(arguments) {
        *word = match argument {
            Arg::Int(value) => *value as libc::c_long,
            Arg::Bytes(bytes) => bytes.as_mut_ptr() as libc::c_long,
            Arg::Read(bytes) => bytes.as_ptr() as libc::c_long,
            Arg::Null => 0,
        };
    }
    let [a, b, c, d, e, f] = words;
    // SAFETY: every address among the words is that of a buffer that outlives the call, which our callers make as long as
    // the call needs; calls that would change the address space are refused above.
    let result = unsafe { libc::syscall(number as libc::c_long, a, b, c, d, e, f) };
    Errno::result(result)
}

/// The address of a buffer, for a structure that holds it.
pub(super) fn address(bytes: &[u8]) -> u64 {
    bytes.as_ptr() as u64
}

/// Makes a copy of this process; the copy gets nothing.
pub(super) fn fork() -> Result<Option<i32>, Errno> {
    // SAFETY: the payload has one thread, so the copy may do all that the original may.
    match Errno::result(unsafe { libc::fork() })? {
        0 => Ok(None),
        child => Ok(Some(child)),
    }
}

/// Asks for the process id through the entry of 32-bit programs. Source: `arch/x86/entry/entry_64_compat.S`.
#[cfg(target_arch = "x86_64")]
pub(super) fn getpid_by_int80() -> i64 {
    let answer: i64;
    // SAFETY: the interrupt takes a call number in eax, here that of getpid, which reads and writes no memory; the kernel
    // keeps all registers but rax, and may clear r8 to r11.
    unsafe {
        std::arch::asm!("int 0x80", inlateout("rax") 20_i64 => answer, out("r8") _, out("r9") _, out("r10") _, out("r11") _);
    }
    answer
}
