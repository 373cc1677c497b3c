//! Everything that starts a process, needs a server, or looks at the project from outside: one module per subject.

mod arrows;
mod conformance;
