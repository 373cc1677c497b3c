//! Empties every capability set and locks the bits that could refill one.

use super::Step;
use crate::sandbox::setup::LayerFailure;
use crate::sandbox::sys;
use caps::CapSet;
use nix::errno::Errno;

/// All secure bits and all their locks but `KEEP_CAPS` itself: root inside means nothing, for good.
/// Source: `linux/securebits.h`.
const SECUREBITS: libc::c_ulong = (1 << 0) | (1 << 1) | (1 << 2) | (1 << 3) | (1 << 5) | (1 << 6) | (1 << 7);

/// Drops the bounding, ambient, inheritable, permitted and effective sets, in that order: lowering the bounding set and
/// setting the secure bits need `CAP_SETPCAP` in the effective one.
pub(super) fn drop_all() -> Result<(), LayerFailure> {
    lock()?;
    empty()
}

/// Makes sure that what is dropped cannot be had again.
pub(super) fn lock() -> Result<(), LayerFailure> {
    clear(CapSet::Bounding)?;
    sys::set_securebits(SECUREBITS).step("lock the secure bits")
}

/// Drops all but the bounding set.
pub(super) fn empty() -> Result<(), LayerFailure> {
    [
        CapSet::Ambient,
        CapSet::Inheritable,
        CapSet::Effective,
        CapSet::Permitted,
    ]
    .into_iter()
    .try_for_each(clear)
}

fn clear(set: CapSet) -> Result<(), LayerFailure> {
    // The crate keeps the cause as text only.
    caps::clear(None, set)
        .map_err(|_| Errno::EPERM)
        .step(format!("empty the {set:?} capability set"))
}
