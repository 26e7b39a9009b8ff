//! `cargo xtask vm`: the agent and its tests on other kernels, in virtual machines.
//!
//! ```text
//! cargo xtask vm                              every kernel: doctor, the kernel tests, and a table
//! cargo xtask vm 6.12 5.10+lsm                these (`--list` names them all)
//! cargo xtask vm 6.12 --test kernel -- open   the fast inner loop: tests whose name contains `open`, in view
//! cargo xtask vm 6.12 --run 'norma-agent doctor'
//! cargo xtask vm 6.12 --shell                 a shell in the guest (`exit` ends it)
//! cargo xtask vm 6.12 --arch aarch64          the agent on another architecture sees a program start
//! cargo xtask vm --write-docs                 every kernel, and the tables in docs/kernels.md
//! cargo xtask vm --doctor --write-docs        the same with what the tests came to when they last ran
//! ```
//!
//! Kernels are Debian's, of several releases, taken with the machine's own apt configuration but without
//! installing anything. The guest's disk is a small Debian of the machine's own release, so that what was built
//! here runs there; each start has a fresh copy of it. The checkout is at its own path in the guest, with the
//! built programs. Everything that was downloaded is kept in `target/vm/cache` and used again without a
//! network, until `--update`.
//!
//! What a run leaves is in `target/vm/KERNEL` (`KERNEL.2` and so on for runs at the same time): `doctor.json`, each test's output, `verifier.txt`,
//! `console.txt`, `dmesg.txt`, `result.json`. In the guest that folder is `/run/job`, and can be written to.

mod cache;
mod cross;
mod debian;
mod initramfs;
mod kernels;
mod machine;
mod package;
mod programs;
mod report;
mod slot;
mod suite;
mod userland;

use crate::build;
use crate::setup::{self, Purpose};
use crate::terminal::{Progress, bold, clock, green, heading, red};
use anyhow::{Context as _, Result, bail};
use cache::Cache;
use debian::Architecture;
use kernels::{KERNELS, Kernel};
use machine::{Acceleration, Machine, Terminal};
use package::KernelPackage;
use programs::GuestPrograms;
use report::Column;
use slot::Slot;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;
use suite::{Outcome, Suite};
use userland::Userland;

/// Minutes after which a guest that counts instructions is ended: it is slower than any other.
const COUNTING_MINUTES: u64 = 40;

/// Arguments of `cargo xtask vm`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Kernels; all where none is named.
    #[arg(value_name = "KERNEL")]
    kernels: Vec<String>,
    /// List the kernels.
    #[arg(long)]
    list: bool,
    /// Run this test program, `kernel` or `e2e`, instead of the kernel's usual ones; can be given again.
    #[arg(long, value_name = "NAME", conflicts_with = "arch", value_parser = clap::builder::PossibleValuesParser::new(programs::TESTS))]
    test: Vec<String>,
    /// Run this command line of bash instead, with the programs on its search path.
    #[arg(long, value_name = "COMMAND", conflicts_with_all = ["test", "shell"])]
    run: Option<String>,
    /// Start a shell instead.
    #[arg(long, conflicts_with = "test")]
    shell: bool,
    /// Ask doctor alone, which takes a minute; what the tests came to stays what it was.
    #[arg(long, conflicts_with_all = ["test", "run", "shell", "arch"])]
    doctor: bool,
    /// Write the tables of docs/kernels.md from the last run of each kernel.
    #[arg(long, conflicts_with = "arch")]
    write_docs: bool,
    /// Download kernels and programs again.
    #[arg(long)]
    update: bool,
    /// Architecture of the kernels, `x86_64` or `aarch64`; for another than this machine's the agent alone is
    /// built, and shown to see a program start.
    #[arg(long, value_name = "NAME")]
    arch: Option<String>,
    /// How the guest's processor is made; the fastest that works here where not given.
    #[arg(long, value_enum)]
    acceleration: Option<Acceleration>,
    /// More of the kernel's command line.
    #[arg(
        long,
        value_name = "PARAMETERS",
        allow_hyphen_values = true,
        default_value = ""
    )]
    append: String,
    /// One more argument of qemu; can be given again.
    #[arg(long, value_name = "ARGUMENT", allow_hyphen_values = true)]
    qemu: Vec<OsString>,
    /// Minutes after which a guest is ended.
    #[arg(long, default_value_t = 40)]
    limit: u64,
    /// Take the programs and tests that were built for a guest before.
    #[arg(long)]
    no_build: bool,
    /// Do not look for what is missing on the machine.
    #[arg(long)]
    no_setup: bool,
    /// Arguments of the test programs, such as a part of a test's name.
    #[arg(last = true)]
    arguments: Vec<String>,
}

/// `cargo xtask vm`.
pub fn main(arguments: &Arguments) -> Result<()> {
    if arguments.list {
        for kernel in KERNELS {
            println!("{:<10}{}", kernel.name, kernel.why);
        }
        return Ok(());
    }
    let kernels = kernels::named(&arguments.kernels)?;
    if !arguments.no_setup {
        setup::ensure(Purpose::All)?;
    }
    let lab = Lab::open(&kernels, arguments)?;
    let single = arguments.run.is_some() || arguments.shell;
    if single {
        let [kernel] = kernels.as_slice() else {
            bail!("name one kernel to run a command or a shell on it");
        };
        return lab.job(kernel, arguments, &mut |line| {
            if let Some(line) = line {
                println!("{line}");
            }
        });
    }
    let mut failed = Vec::new();
    for kernel in &kernels {
        match lab.check(kernel, arguments) {
            Ok(true) => {}
            Ok(false) => failed.push(kernel.name),
            Err(Trouble::Failed(error)) => {
                println!("{}", red(&format!("FAILED: {}: {error:#}", kernel.name)));
                failed.push(kernel.name);
            }
            Err(Trouble::NotHere(error)) => {
                println!("skipped: {}: {error:#}", kernel.name);
                // What was asked for by name and is not to be had is a failure.
                if !arguments.kernels.is_empty() {
                    failed.push(kernel.name);
                }
            }
        }
        norma_rig::interrupt::check()?;
    }
    if is_whole(arguments) {
        heading("Kernels");
        let columns = kernels.iter();
        let columns = columns.filter_map(|kernel| Column::read(kernel, &lab.folder(kernel)));
        report::print(&columns.collect::<Vec<_>>());
    }
    if arguments.write_docs {
        report::write(&lab.target.join("vm"))?;
    }
    match failed.is_empty() {
        true => Ok(()),
        false => bail!("failed on: {}", failed.join(", ")),
    }
}

/// Runs a command line of bash on a kernel, on a processor that takes a nanosecond for each instruction.
///
/// `line` is called with each line that it prints, and with `None` every now and then.
pub fn count_instructions(
    kernel: &str,
    command: &str,
    build: bool,
    line: &mut dyn FnMut(Option<&str>),
) -> Result<()> {
    let arguments = Arguments {
        kernels: vec![kernel.to_owned()],
        list: false,
        test: Vec::new(),
        run: Some(command.to_owned()),
        shell: false,
        doctor: false,
        write_docs: false,
        update: false,
        arch: None,
        acceleration: Some(Acceleration::Icount),
        append: String::new(),
        qemu: Vec::new(),
        limit: COUNTING_MINUTES,
        no_build: !build,
        no_setup: false,
        arguments: Vec::new(),
    };
    setup::ensure(Purpose::All)?;
    let kernels = kernels::named(&arguments.kernels)?;
    let [kernel] = kernels.as_slice() else {
        bail!("one kernel is wanted");
    };
    Lab::open(&kernels, &arguments)?.job(kernel, &arguments, line)
}

/// Why a kernel has no outcome.
enum Trouble {
    /// The kernel or the guest's programs are not to be had.
    NotHere(anyhow::Error),
    /// Anything else.
    Failed(anyhow::Error),
}

impl From<anyhow::Error> for Trouble {
    fn from(error: anyhow::Error) -> Self {
        Self::Failed(error)
    }
}

/// What all guests of a run have in common.
struct Lab {
    target: PathBuf,
    architecture: Architecture,
    acceleration: Acceleration,
    cache: Cache,
    programs: GuestPrograms,
}

impl Lab {
    fn open(kernels: &[&Kernel], arguments: &Arguments) -> Result<Self> {
        let architecture = Architecture::named(arguments.arch.as_deref())?;
        let target = build::target_folder()?;
        let cache = Cache::open(&target, architecture, arguments.update)?;
        let programs = if arguments.no_build {
            GuestPrograms::built(&target, architecture)
        } else if !architecture.is_of_this_machine() {
            GuestPrograms::cross(&target, architecture, &cache)?
        } else {
            GuestPrograms::build(&target, &tests(kernels, arguments))?
        };
        Ok(Self {
            architecture,
            acceleration: arguments
                .acceleration
                .unwrap_or_else(|| Acceleration::of_this_machine(architecture)),
            cache,
            programs,
            target,
        })
    }

    fn name(&self, kernel: &Kernel) -> String {
        match self.architecture.is_of_this_machine() {
            true => kernel.name.to_owned(),
            false => format!("{}-{}", kernel.name, self.architecture.kernel()),
        }
    }

    fn folder(&self, kernel: &Kernel) -> PathBuf {
        self.target.join("vm").join(self.name(kernel))
    }

    fn slot(&self, kernel: &Kernel) -> Result<Slot> {
        Slot::take(&self.target.join("vm"), &self.name(kernel))
    }

    /// A command or a shell; `line` is called with what it prints.
    fn job(&self, kernel: &Kernel, arguments: &Arguments, line: &mut dyn FnMut(Option<&str>)) -> Result<()> {
        let slot = self.slot(kernel)?;
        let (machine, _) = self
            .machine(kernel, &slot, arguments)
            .map_err(|trouble| match trouble {
                Trouble::NotHere(error) | Trouble::Failed(error) => error,
            })?;
        let terminal = if arguments.shell {
            Terminal::Shell
        } else {
            Terminal::Output
        };
        let job = format!(
            "{}{}\n",
            suite::environment(&self.programs, self.acceleration),
            arguments.run.as_deref().unwrap_or_default()
        );
        let folder = slot.folder();
        let ended = machine.run(folder, &job, limit(arguments), terminal, line)?;
        match ended.status {
            Some(0) => Ok(()),
            Some(status) => bail!("exit status {status} in the guest"),
            None => bail!("{}; see {}", ended.why, folder.join("console.txt").display()),
        }
    }

    /// Runs the kernel's tests; whether all is well.
    fn check(&self, kernel: &'static Kernel, arguments: &Arguments) -> Result<bool, Trouble> {
        heading(&format!("Kernel {}", kernel.name));
        let slot = self.slot(kernel)?;
        let (machine, version) = self.machine(kernel, &slot, arguments)?;
        let suite = self.suite(kernel, arguments);
        let folder = slot.folder();
        forget(folder)?;
        let in_view = !arguments.test.is_empty();
        let mut progress = Progress::start(&format!("{version}: {suite}"));
        let mut last = "booting".to_owned();
        let ended = machine.run(
            folder,
            &suite.job(&self.programs, self.acceleration),
            limit(arguments),
            Terminal::Output,
            &mut |line| match line {
                Some(line) if in_view => println!("{line}"),
                Some(line) => line.clone_into(&mut last),
                None if in_view => {}
                None => progress.tick(&last),
            },
        )?;
        let outcome = Outcome::read(&suite, folder, &ended)?;
        progress.finish(if outcome.is_good() { "passed" } else { "failed" });
        if let Some(booted) = ended.booted {
            println!("   booted in {}, {} in all", clock(booted), clock(ended.took));
        }
        show(&outcome);
        println!("   more in {}", folder.display());
        if is_whole(arguments) {
            let path = self.folder(kernel).join("result.json");
            let mut result = outcome.json();
            result["version"] = version.into();
            if arguments.doctor {
                let last = fs::read_to_string(&path).unwrap_or_default();
                let last: serde_json::Value = serde_json::from_str(&last).unwrap_or_default();
                result["tests"] = last["tests"].clone();
            }
            fs::write(path, format!("{result:#}\n")).context("cannot write result.json")?;
        }
        Ok(outcome.is_good())
    }

    fn suite(&self, kernel: &Kernel, arguments: &Arguments) -> Suite {
        let own = self.architecture.is_of_this_machine();
        Suite {
            doctor: is_whole(arguments),
            smoke: !own,
            tests: if own {
                tests(&[kernel], arguments)
            } else {
                Vec::new()
            },
            arguments: arguments.arguments.clone(),
            limit: limit(arguments),
        }
    }

    fn machine(
        &self,
        kernel: &Kernel,
        slot: &Slot,
        arguments: &Arguments,
    ) -> Result<(Machine, String), Trouble> {
        let package = KernelPackage::get(kernel, self.architecture, &self.cache).map_err(Trouble::NotHere)?;
        let userland = Userland::get(self.architecture, &self.cache).map_err(Trouble::NotHere)?;
        let folder = slot.folder();
        let initramfs = folder.join("initramfs.cpio");
        initramfs::write(&initramfs, &package, &userland.busybox)?;
        let machine = Machine {
            architecture: self.architecture,
            acceleration: self.acceleration,
            kernel: package.image()?,
            modules: package.modules(),
            initramfs,
            disk: userland.disk,
            shares: self.programs.shares(&folder.join("programs"))?,
            parameters: format!("{} {}", kernel.parameters, arguments.append),
            qemu: arguments.qemu.clone(),
            processors: 2,
            memory: 2048,
        };
        Ok((machine, package.version))
    }
}

/// Test programs of these kernels.
fn tests(kernels: &[&Kernel], arguments: &Arguments) -> Vec<String> {
    if arguments.run.is_some() || arguments.shell || arguments.doctor {
        return Vec::new();
    }
    if !arguments.test.is_empty() {
        return arguments.test.clone();
    }
    let usual: &[&str] = match kernels.iter().any(|kernel| kernel.end_to_end) {
        true => programs::TESTS,
        false => &["kernel"],
    };
    usual.iter().map(|test| (*test).to_owned()).collect()
}

/// A part of the tests says nothing about the kernel.
fn is_whole(arguments: &Arguments) -> bool {
    arguments.test.is_empty() && arguments.arguments.is_empty()
}

fn limit(arguments: &Arguments) -> Duration {
    Duration::from_secs(60 * arguments.limit)
}

/// Removes what an earlier run has left, so that nothing of it is taken for this one's.
fn forget(folder: &Path) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        let stale = path
            .extension()
            .is_some_and(|it| it == "txt" || it == "status" || it == "json");
        if stale && path.file_name().is_some_and(|name| name != "result.json") {
            fs::remove_file(&path).with_context(|| path.display().to_string())?;
        }
    }
    Ok(())
}

fn show(outcome: &Outcome) {
    for test in &outcome.tests {
        let text = format!("{}: {}", test.name, test.count);
        println!(
            "   {}",
            if test.count.failed() > 0 {
                red(&text)
            } else {
                green(&text)
            }
        );
        for skipped in test.count.skips() {
            println!("   skipped: {skipped}");
        }
        for failure in &test.failures {
            println!("   {}", red(&format!("FAILED: {failure}")));
        }
    }
    for problem in &outcome.problems {
        println!("   {}", bold(problem));
    }
}
