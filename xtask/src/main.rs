//! Every chore of the project as a command: `cargo xtask COMMAND`.
//!
//! One file per command. Commands that start real containers, receivers and programs do it through the
//! test rig (`norma_rig`), so the demo shows exactly what the tests check.

mod bench;
mod build;
mod demo;
mod eval;
mod fips;
mod fuzz;
mod run;
mod setup;
mod terminal;
mod test;
mod tidy;
mod vm;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Chores of the Norma repository.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Install what building, testing and the demo need; does nothing where nothing is missing.
    Setup(setup::Arguments),
    /// Watch a real container drift and its alerts arrive in a real SIEM receiver.
    Demo(demo::Arguments),
    /// Set up, build and run every check and test.
    Test(test::Arguments),
    /// Run the kernel and end-to-end tests on other kernels, in virtual machines.
    Vm(vm::Arguments),
    /// Measure what watching costs the watched program, and the agent itself.
    Bench(bench::Arguments),
    /// Measure what is found and what is found wrongly: real programs, real clients, and attacks on them.
    Eval(eval::Arguments),
    /// Build agent and collector with the validated (FIPS) form of the cryptographic library, and check what they refuse.
    Fips(fips::Arguments),
    /// Run the fuzz targets on the stable compiler.
    Fuzz(fuzz::Arguments),
    /// Print the table of file sizes and the files that are too long.
    Tidy(tidy::Arguments),
}

fn main() -> ExitCode {
    norma_rig::interrupt::watch();
    let outcome = match Arguments::parse().command {
        Command::Setup(arguments) => setup::main(&arguments),
        Command::Demo(arguments) => demo::main(&arguments),
        Command::Test(arguments) => test::main(&arguments),
        Command::Vm(arguments) => vm::main(&arguments),
        Command::Bench(arguments) => bench::main(&arguments),
        Command::Eval(arguments) => eval::main(&arguments),
        Command::Fips(arguments) => fips::main(&arguments),
        Command::Fuzz(arguments) => fuzz::main(&arguments),
        Command::Tidy(arguments) => tidy::main(&arguments),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nerror: {error:#}");
            ExitCode::FAILURE
        }
    }
}
