//! Whole programs on a real kernel, with real git and real servers on loopback.

mod providers;
