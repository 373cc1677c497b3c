//! Hostile acts: each succeeds without the sandbox and comes to nothing in it.
//!
//! - The control is the same program with the same arguments. An act that would hurt, or that needs root, has its
//!   control in private namespaces; every loop is bounded.
//! - A refusal is pinned to its error, and what must not have changed is looked at from outside.

mod calls;
mod exhaustion;
mod files;
mod network;
mod processes;
mod secrets;
