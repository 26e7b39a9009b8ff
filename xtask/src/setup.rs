//! `cargo xtask setup`: what building, testing and the demo need, checked for and installed.
//!
//! Debian and Ubuntu packages are installed where this runs as root. Elsewhere nothing is touched: what
//! is missing is printed with the commands that mend it.

mod compiler;
mod distribution;
mod requirement;

use crate::run;
use crate::terminal::{bold, heading};
use anyhow::{Context as _, Result, bail};
use distribution::Distribution;
use requirement::{REQUIREMENTS, Requirement};
use std::collections::BTreeSet;
use std::io::{BufRead as _, IsTerminal as _};
use std::process::Command;
use std::time::Instant;

/// Arguments of `cargo xtask setup`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Only say what is missing; exit with 1 if anything is.
    #[arg(long)]
    check: bool,
    /// Do not ask before installing.
    #[arg(long)]
    yes: bool,
    /// Only what building needs, as for an image.
    #[arg(long)]
    build_only: bool,
}

/// What the set-up is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Purpose {
    /// Building alone.
    Build,
    /// Building and the demo.
    Demo,
    /// What the evaluation needs, besides building and the demo.
    Eval,
    /// Everything, the tests included.
    All,
}

/// `cargo xtask setup`.
pub fn main(arguments: &Arguments) -> Result<()> {
    let purpose = if arguments.build_only {
        Purpose::Build
    } else {
        Purpose::All
    };
    let missing = Missing::find(purpose);
    if missing.is_nothing() {
        println!("nothing is missing");
        return Ok(());
    }
    if arguments.check {
        missing.print();
        bail!("something is missing; `cargo xtask setup` installs it");
    }
    missing.install(arguments.yes, purpose)
}

/// Sets up for another command: silent where nothing is missing.
pub fn ensure(purpose: Purpose) -> Result<()> {
    let missing = Missing::find(purpose);
    if missing.is_nothing() {
        Ok(())
    } else {
        missing.install(false, purpose)
    }
}

struct Missing {
    requirements: Vec<&'static Requirement>,
    compiler: compiler::State,
    distribution: Distribution,
}

impl Missing {
    fn find(purpose: Purpose) -> Self {
        let compiler = compiler::State::find();
        let requirements = REQUIREMENTS
            .iter()
            .filter(|requirement| requirement.needed_for <= purpose && !(requirement.present)())
            .collect();
        Self {
            requirements,
            compiler,
            distribution: Distribution::of_this_machine(),
        }
    }

    fn is_nothing(&self) -> bool {
        self.requirements.is_empty() && self.compiler.is_ready()
    }

    fn packages(&self) -> Vec<&'static str> {
        let listed = self
            .requirements
            .iter()
            .flat_map(|it| self.distribution.packages(it))
            .copied();
        let compiler = if self.distribution.can_install() {
            self.compiler.packages()
        } else {
            Vec::new()
        };
        listed
            .chain(compiler)
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect()
    }

    fn print(&self) {
        println!("{}", bold("missing:"));
        for requirement in &self.requirements {
            println!("  {}: {}", requirement.name, requirement.why);
        }
        if let Some(line) = self.compiler.explain() {
            println!("  {line}");
        }
    }

    fn install(&self, yes: bool, purpose: Purpose) -> Result<()> {
        heading("Setting up what is missing");
        self.print();
        let packages = self.packages();
        if !self.distribution.can_install() || !rustix::process::geteuid().is_root() {
            return self.refuse(&packages);
        }
        println!("{}", bold("will be installed:"));
        if !packages.is_empty() {
            println!("  packages, about 2 minutes: {}", packages.join(" "));
        }
        if self.compiler.needs_linker_build() {
            println!("  {}, built from source, about 2 minutes", compiler::LINKER);
        }
        if !yes && !confirmed()? {
            bail!("nothing was installed");
        }
        let started = Instant::now();
        if !packages.is_empty() {
            install_packages(&packages)?;
        }
        compiler::State::find().install_linker()?;
        let after = Self::find(purpose);
        if !after.is_nothing() {
            after.print();
            bail!("the above is still missing after the installation");
        }
        println!("   set up in {}", crate::terminal::clock(started.elapsed()));
        Ok(())
    }

    fn refuse(&self, packages: &[&str]) -> Result<()> {
        let root = rustix::process::geteuid().is_root();
        println!("{}", bold("to mend it, run these commands and start again:"));
        for line in self.distribution.instructions(packages) {
            println!("  {line}");
        }
        for line in self.compiler.instructions(self.distribution) {
            println!("  {line}");
        }
        if self.distribution.can_install() && !root {
            bail!("not root, so nothing was installed");
        }
        bail!(
            "this is {}, for which packages are not installed automatically",
            self.distribution.name()
        )
    }
}

/// Asks on a terminal; elsewhere the command itself was the answer.
fn confirmed() -> Result<bool> {
    if !std::io::stdin().is_terminal() {
        return Ok(true);
    }
    println!("continue? [Y/n]");
    let mut answer = String::new();
    std::io::stdin()
        .lock()
        .read_line(&mut answer)
        .context("cannot read the answer")?;
    Ok(!answer.trim().to_ascii_lowercase().starts_with('n'))
}

fn install_packages(packages: &[&str]) -> Result<()> {
    let apt = || {
        let mut command = Command::new("apt-get");
        command
            .env("DEBIAN_FRONTEND", "noninteractive")
            .args(["-q", "-y"]);
        command
    };
    run::with_progress("refreshing the package lists", apt().arg("update"))?;
    // A package that starts a service would listen outside what the tests own.
    let policy = NoServices::put()?;
    let mut install = apt();
    install
        .args(["install", "--no-install-recommends"])
        .args(packages);
    let outcome = run::with_progress(&format!("installing {} packages", packages.len()), &mut install);
    policy.remove()?;
    outcome
}

/// Debian's policy hook, put in place for the time of an installation unless the machine has one.
struct NoServices {
    ours: bool,
}

impl NoServices {
    const PATH: &str = "/usr/sbin/policy-rc.d";

    fn put() -> Result<Self> {
        use std::os::unix::fs::OpenOptionsExt as _;
        let opened = std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o755)
            .open(Self::PATH);
        match opened {
            Ok(mut file) => {
                std::io::Write::write_all(&mut file, b"#!/bin/sh\nexit 101\n").context(Self::PATH)?;
                Ok(Self { ours: true })
            }
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(Self { ours: false }),
            Err(error) => Err(error).context(Self::PATH),
        }
    }

    fn remove(self) -> Result<()> {
        if self.ours {
            std::fs::remove_file(Self::PATH).context(Self::PATH)?;
        }
        Ok(())
    }
}
