//! An unattended code factory: a model proposes, a sandbox verifies, only a PASS becomes a commit.
//!
//! ```text
//! spec ─plan─▶ work order ─propose─▶ change set ─workspace─▶ candidate ─verify─▶ verdict ─promote─▶ branch
//!                   └──────── every arrow: journal the intent, act, journal the fact ────────┘
//!                               journal ─fold─▶ recovery · ledger · metrics · progress
//! ```
//!
//! Arrows go right. The single arrow back, a rejected verdict that becomes the reason in the next prompt, is drawn in
//! [`run`] and nowhere else. Modules are listed in layers: a module uses those above it and never one below; a test
//! reads the `use` lines and names the offending arrow.

pub mod types;

pub mod durable;

pub mod change;
pub mod order;

pub mod journal;
pub mod llm;
pub mod sandbox;
pub mod workspace;

pub mod plan;
pub mod promote;
pub mod propose;
pub mod verify;

pub mod run;

pub mod attack;

pub mod config;

pub mod doctor;

pub mod cli;
