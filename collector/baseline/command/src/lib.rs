//! What people do with baselines: `norma-agent baseline …` and `norma-collector baseline …`.
//!
//! Both programs have the same commands, each on the baselines of its own state directory. What is shown is read
//! from there, whether or not the program runs ([`shelf`]). What is changed is signed by a person, and handed to
//! the program through a directory ([`inbox`]): it alone writes baselines, and it believes nobody but the keys
//! that its configuration names.

mod ask;
pub mod audit;
pub mod carry;
mod decide;
mod diff;
mod export;
pub mod inbox;
mod key;
mod list;
mod pick;
pub mod shelf;
mod show;
#[cfg(test)]
mod tests;
pub mod words;

use clap::{Args, Subcommand, ValueEnum};
use shelf::{Shelf, ShelfError};
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// The program whose baselines they are.
#[derive(Clone, Copy, Debug)]
pub struct Program {
    /// As it is started, such as `norma-agent`.
    pub name: &'static str,
    /// Its state directory where the command line names none.
    pub state_dir: &'static str,
    /// Reads the directory of baselines, changing nothing.
    pub read: fn(&Path) -> Result<Shelf, ShelfError>,
}

/// Name of the directory of baselines below a state directory.
pub const DIRECTORY: &str = "baselines";

/// `baseline …`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List all baselines: how far each is, what it knows, and what is still to be expected.
    List(list::Options),
    /// Show one baseline: every behaviour with its standing, the estimates, and what people decided.
    Show(show::Options),
    /// Tell what a revision does differently from the one before, in words that fit a change request.
    Diff(diff::Options),
    /// Say that behaviours are normal, or with --all the whole release delta. Signed, and an audit event.
    Approve(decide::Items),
    /// Say that behaviours are not normal, however often they happen. Signed, and an audit event.
    Reject(decide::Items),
    /// End learning now: what is not known is novel from here on. Signed, and an audit event.
    Lock(decide::Whole),
    /// Go on learning until the estimates say that it is enough. Signed, and an audit event.
    Unlock(decide::Whole),
    /// Learn behaviours, or with --all the whole baseline, anew. Signed, and an audit event.
    Forget(decide::Items),
    /// Write a baseline in another form: YAML, seccomp, NetworkPolicy, AppArmor, KubeArmor, or a signed bundle.
    Export(export::Options),
    /// Take over a signed bundle, or as decisions of your own what a YAML document says.
    Import(carry::Import),
    /// Make a key to sign decisions and bundles with.
    Keygen(key::Keygen),
}

/// Where the baselines lie.
#[derive(Clone, Debug, Args)]
pub struct Place {
    /// State directory of the program.
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
}

/// Form of a command's output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    #[default]
    Human,
    /// For programs: one JSON document.
    Json,
}

impl Command {
    /// Does it.
    ///
    /// # Errors
    /// What kept it from being done, in words for the one who asked.
    pub fn run(&self, program: &Program) -> anyhow::Result<()> {
        say(&self.answer(program)?)
    }

    fn answer(&self, program: &Program) -> anyhow::Result<String> {
        match self {
            Self::List(options) => options.run(program),
            Self::Show(options) => options.run(program),
            Self::Diff(options) => options.run(program),
            Self::Approve(items) => items.run(program, decide::approve()),
            Self::Reject(items) => items.run(program, decide::reject()),
            Self::Lock(whole) => whole.run(program, decide::lock()),
            Self::Unlock(whole) => whole.run(program, decide::unlock()),
            Self::Forget(items) => items.run(program, decide::forget()),
            Self::Export(options) => options.run(program),
            Self::Import(import) => import.run(program),
            Self::Keygen(keygen) => keygen.run(program),
        }
    }
}

impl Place {
    fn directory(&self, program: &Program) -> PathBuf {
        self.state_dir
            .as_deref()
            .unwrap_or(Path::new(program.state_dir))
            .join(DIRECTORY)
    }

    /// Reads what is there, as new as a running program knows it. Files that cannot be read are told of on
    /// standard error.
    fn read(&self, program: &Program) -> anyhow::Result<Shelf> {
        let directory = self.directory(program);
        inbox::have_written(&directory);
        let shelf = (program.read)(&directory)?;
        for fault in &shelf.faults {
            eprintln!("{}: {fault}", program.name);
        }
        Ok(shelf)
    }
}

/// Writes to standard output; a reader that went away ends the program quietly.
fn say(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => std::process::exit(0),
        other => Ok(other?),
    }
}

/// A document for programs, with the end of its line.
fn json<T: serde::Serialize>(document: &T) -> anyhow::Result<String> {
    Ok(serde_json::to_string_pretty(document)? + "\n")
}
