//! The command line: arguments, rendering, exit codes.
//!
//! - One file per subcommand; each is an argument struct and a function that returns an exit code.
//! - Every exit code but that of a command run by `exec` comes from [`exit`], and every one but zero comes with one
//!   problem: as `error:`, `cause:`, `help:` on standard error, or as JSON on standard output with `--json`.
//! - Text from a model, an order, a repository or a command is escaped before it reaches a terminal.
//!
//! It decides nothing that a user of the library would miss.

mod attack;
mod bounds;
mod check;
mod check_plan;
mod config;
mod cost;
mod doctor;
mod dry_run;
mod exec;
pub mod exit;
mod gc;
mod golden;
mod journal;
mod output;
mod plan;
mod problem;
mod profile;
mod provider;
mod receipt;
mod recover;
mod release;
mod run;
mod schema;
mod show;
mod status;
mod words;

use crate::config::{Environment, Settings};
use crate::run::{Failure, Situation};
use crate::sandbox::Resident;
use clap::error::ErrorKind;
use clap::{Parser, Subcommand};
use std::ffi::OsString;
use std::path::PathBuf;

/// An unattended code factory: a model proposes, a sandbox verifies, only a PASS becomes a commit.
#[derive(Debug, Parser)]
#[command(name = "factory", bin_name = "factory", version, max_term_width = 100)]
#[command(
    after_help = "Exit codes: 0 done, 1 the order failed, 2 a bug, 3 provider, 4 unusable answers, 10 blocked, \
    11 budget, 13 inconclusive, 20 host, 21 sandbox layer missing, 22 repository held by another run, 23 repository refused, 24 recovery needs a person, 64 usage, \
    65 invalid plan or order, 74 I/O, 75 try later, 77 key refused, 78 profile or setting, 129, 130 and 143 interrupted."
)]
struct Arguments {
    /// Settings, instead of those in $XDG_CONFIG_HOME/factory/factory.toml [env: FACTORY_CONFIG].
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Plan(Box<plan::Arguments>),
    Run(Box<run::Arguments>),
    Exec(exec::Arguments),
    Attack(attack::Arguments),
    Config(config::Arguments),
    Check(check::Arguments),
    Profile(profile::Arguments),
    Doctor(doctor::Arguments),
    Status(status::Arguments),
    Show(show::Arguments),
    Cost(cost::Arguments),
    Recover(recover::Arguments),
    Release(release::Arguments),
    Gc(gc::Arguments),
    Golden(golden::Arguments),
    Journal(journal::Arguments),
    Receipt(receipt::Arguments),
    Schema(schema::Arguments),
}

/// Does what the arguments of a process say, the name of the program first, and returns its exit code.
pub fn main(arguments: Vec<OsString>) -> u8 {
    let wants_json = arguments
        .iter()
        .take_while(|argument| *argument != "--")
        .any(|argument| argument == "--json");
    // It comes up while the arguments and the settings are read. Where that is not possible, it is started later.
    let helper = exec::wants_helper(&arguments).then(Resident::fork).flatten();
    let Arguments { config, command } = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => return refuse(&error, wants_json),
    };
    let environment = Environment::read();
    #[cfg(debug_assertions)]
    environment.arm_crash_points();
    // Only for those that look at them: what is wrong with the settings is in nobody else's way.
    let settings = || {
        let read = Settings::read(environment.clone(), config.as_deref());
        read.map_err(|error| Failure::new(&error, Situation::Document))
    };
    let done = match &command {
        Command::Plan(arguments) => plan::plan(arguments, settings()),
        Command::Run(arguments) => run::run(arguments, settings()),
        Command::Config(arguments) => config::config(arguments, &environment, config.as_deref()),
        Command::Exec(arguments) => settings().and_then(|settings| exec::exec(arguments, &settings, helper)),
        Command::Attack(arguments) => settings().and_then(|settings| attack::attack(arguments, &settings)),
        Command::Check(arguments) => check::check(arguments, settings),
        Command::Profile(arguments) => settings().and_then(|settings| profile::profile(arguments, &settings)),
        Command::Doctor(arguments) => settings().and_then(|settings| doctor::doctor(arguments, &settings)),
        Command::Status(arguments) => settings().and_then(|settings| status::status(arguments, &settings)),
        Command::Show(arguments) => settings().and_then(|settings| show::show(arguments, &settings)),
        Command::Cost(arguments) => settings().and_then(|settings| cost::cost(arguments, &settings)),
        Command::Recover(arguments) => settings().and_then(|settings| recover::recover(arguments, &settings)),
        Command::Release(arguments) => settings().and_then(|settings| release::release(arguments, &settings)),
        Command::Gc(arguments) => settings().and_then(|settings| gc::gc(arguments, &settings)),
        Command::Golden(arguments) => golden::golden(arguments, &environment),
        Command::Journal(arguments) => settings().and_then(|settings| journal::journal(arguments, &settings)),
        Command::Receipt(arguments) => receipt::receipt(arguments),
        Command::Schema(arguments) => schema::schema(arguments),
    };
    done.unwrap_or_else(|failure| {
        output::problem(&failure, wants_json);
        exit::code(Some(&failure))
    })
}

/// Shows help, the version, or what is wrong with the command line.
fn refuse(error: &clap::Error, wants_json: bool) -> u8 {
    let wrong = !matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
    if !wrong {
        // That nobody reads the help any more is not worth a word.
        let _ = error.print();
        return exit::Exit::Success.code();
    }
    if wants_json {
        // Clap's text: what is wrong, how it is used, where to read more.
        let text = error.render().to_string();
        let message = text
            .trim_start_matches("error: ")
            .split("\n\n")
            .next()
            .unwrap_or_default();
        let failure = problem::usage(message.trim_end()).with_hint("see `factory help` and `factory help COMMAND`");
        output::problem(&failure, true);
    } else {
        let _ = error.print();
    }
    exit::Exit::Usage.code()
}
