//! Killed at any time, `factory run` leaves the branch old or new, and the next start of the same order carries on by itself.

mod matrix;
mod provider;
mod quarantine;
mod scenario;
mod soak;
mod trial;

use scenario::Scenario;
use trial::Trial;
