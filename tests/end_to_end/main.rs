//! Everything that starts a process, a server or a sandbox: one module for each subject.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod answers;
mod arrows;
mod attack;
mod command_line;
mod conformance;
mod corpus;
mod crash;
mod dialects;
mod doctor;
mod doctor_provider;
mod dry_run;
mod embedding;
mod endurance;
mod git;
mod interrupt;
mod legacy;
mod limits;
mod mischief;
mod planning;
mod profiles;
mod providers;
mod safety;
mod sandbox;
mod sandbox_hostile;
mod schemas;
mod support;
mod toolchains;
mod waivers;
