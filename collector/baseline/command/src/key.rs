//! Keys of people: made, kept and read.

use crate::{Program, decide};
use anyhow::{Context as _, bail};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::Ed25519KeyPair;
use clap::Args;
use norma_baseline::signature::Signer;
use rustix::fs::{Mode, OFlags};
use std::fmt::Write as _;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// What the file calls its contents, as in RFC 7468.
const TAG: &str = "PRIVATE KEY";
/// The line in front of it that says whose key it is.
const WHO: &str = "Norma signing key of ";
/// A key file is far smaller.
const BYTES_MAX: u64 = 16 << 10;
/// Longest name of a person.
const NAME_MAX: usize = 200;

/// Options of `keygen`.
#[derive(Debug, Args)]
pub struct Keygen {
    /// Whose key it is: the name that decisions will carry.
    #[arg(long = "as", value_name = "NAME")]
    who: String,
    /// File to write the private key to, readable by its owner alone. It must not exist.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// With whose key something is signed.
#[derive(Clone, Debug, Args)]
pub struct Signing {
    /// File of the private key to sign with, as `baseline keygen` makes it (PKCS #8, PEM).
    #[arg(long, env = "NORMA_SIGNING_KEY", value_name = "FILE")]
    key: Option<PathBuf>,
    /// Who signs, instead of the name in the key's file.
    #[arg(long = "as", value_name = "NAME")]
    who: Option<String>,
}

/// A person who signs.
#[derive(Debug)]
pub struct Person {
    /// As others will read it.
    pub name: String,
    /// Their key.
    pub signer: Signer,
}

impl Keygen {
    pub(crate) fn run(&self, program: &Program) -> anyhow::Result<String> {
        let name = checked(&self.who)?;
        let der = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new())
            .ok()
            .context("the system has no randomness to make a key of")?;
        let signer = Signer::of_pkcs8(der.as_ref())?;
        let text = format!("{WHO}{name}\n{}", pem::encode(&pem::Pem::new(TAG, der.as_ref())));
        write_new(&self.out, text.as_bytes())?;
        let public = public_of(&self.out);
        let mut out = String::new();
        // Writing to a String cannot fail.
        let _infallible = write!(
            out,
            "The private key of {name} is in {}. Keep it with them alone.\n\
             Public key: {key}\n\
             Decisions that it signs count where the configuration of agents and of the collector has:\n\n\
             baselines:\n  trusted_keys:\n    - {key}    # {name}\n\n\
             Then: {} baseline approve WORKLOAD ID --key {} --why '…'\n",
            self.out.display(),
            program.name,
            self.out.display(),
            key = signer.key(),
        );
        if let Some(public) = public {
            std::fs::write(&public, format!("{} # {name}\n", signer.key()))
                .with_context(|| format!("cannot write {}", public.display()))?;
            let _infallible = writeln!(out, "The public key is in {} as well.", public.display());
        }
        Ok(out)
    }
}

/// Where the public key goes: beside the private one, unless something is there.
fn public_of(private: &Path) -> Option<PathBuf> {
    let mut name = private.as_os_str().to_owned();
    name.push(".pub");
    let place = PathBuf::from(name);
    (!place.exists()).then_some(place)
}

impl Signing {
    /// Reads the key.
    pub fn person(&self) -> anyhow::Result<Person> {
        let path = self.key.as_deref().context(
            "this has to be signed: name a key with --key FILE or NORMA_SIGNING_KEY, or make one with `baseline keygen`",
        )?;
        let (signer, named) = read(path)?;
        let name = match (&self.who, named) {
            (Some(name), _) => checked(name)?,
            (None, Some(name)) => checked(&name)?,
            (None, None) => {
                let stem = path.file_stem().unwrap_or_default().to_string_lossy();
                checked(&stem)?
            }
        };
        Ok(Person { name, signer })
    }
}

/// A private key, and the name that its file has of its owner.
fn read(path: &Path) -> anyhow::Result<(Signer, Option<String>)> {
    let at = || format!("the key {}", path.display());
    let file = File::open(path).with_context(at)?;
    let metadata = file.metadata().with_context(at)?;
    if !metadata.is_file() {
        bail!("the key {} is not a file", path.display());
    }
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        bail!(
            "the key {} can be read or written by others than its owner (mode {mode:03o}); whoever reads it can decide \
             in its owner's name: chmod 600 {}, and make another key if others had access",
            path.display(),
            path.display()
        );
    }
    let mut text = String::new();
    file.take(BYTES_MAX).read_to_string(&mut text).with_context(at)?;
    let parsed = pem::parse(&text)
        .ok()
        .filter(|parsed| parsed.tag() == TAG)
        .with_context(|| {
            format!(
                "the key {} is not a private key in PEM form (BEGIN {TAG}); `baseline keygen` makes one",
                path.display()
            )
        })?;
    let signer = Signer::of_pkcs8(parsed.contents()).with_context(at)?;
    let name = text
        .lines()
        .find_map(|line| line.strip_prefix(WHO))
        .map(str::to_owned);
    Ok((signer, name))
}

/// A name that fits in a line.
fn checked(name: &str) -> anyhow::Result<String> {
    let name = name.trim();
    if name.is_empty() || name.len() > NAME_MAX || !decide::is_line(name) {
        bail!("{name:?} is no name for a person: it takes 1 to {NAME_MAX} bytes on one line");
    }
    Ok(name.to_owned())
}

fn write_new(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let file = rustix::fs::open(
        path,
        OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW,
        Mode::RUSR | Mode::WUSR,
    )
    .with_context(|| {
        format!(
            "cannot make {}; a key that is there is never overwritten",
            path.display()
        )
    })?;
    let mut file = File::from(file);
    file.write_all(bytes)
        .and_then(|()| file.sync_all())
        .with_context(|| format!("cannot write {}", path.display()))
}
