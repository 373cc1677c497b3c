//! The program as people and scripts meet it: what it prints, what it returns, and that it leaves nothing behind.

mod bad_input;
mod config;
mod contention;
mod disks;
mod documents;
mod exec;
mod exposure;
mod faults;
mod gc;
mod golden;
mod interrupted;
mod kernel;
mod money;
mod odd;
mod parking;
mod receipts;
mod records;
mod recovery;
mod regression;
mod reports;
mod satisfied;
mod second;
mod servers;
mod synthetic;
mod terminal;

use crate::support::{Ended, Place};
