//! The program as people and scripts meet it: what it prints, what it returns, and that it leaves nothing behind.

mod bad_input;
mod contention;
mod disks;
mod documents;
mod ended;
mod exec;
mod faults;
mod gc;
mod interrupted;
mod kernel;
mod money;
mod odd;
mod place;
mod receipts;
mod records;
mod recovery;
mod reports;
mod satisfied;
mod synthetic;
mod terminal;

use ended::Ended;
use place::Place;
