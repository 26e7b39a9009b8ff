//! A virtual machine: boots a kernel, runs a job in it, and gives what the job printed and its exit status.

use super::debian::Architecture;
use anyhow::{Context as _, Result, bail};
use norma_rig::interrupt;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How often the guest is looked at.
const INTERVAL: Duration = Duration::from_millis(100);
/// A guest that has not reached its job by then does not boot.
const BOOT_LIMIT: Duration = Duration::from_secs(180);
/// A kernel patches its own code while it boots, which emulated processors now and then run half-patched ("Oops:
/// int3"). So often a guest is started that dies before anything of ours runs.
const BOOT_ATTEMPTS: u32 = 3;

/// How the guest's processor is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Acceleration {
    /// By the machine's own processor.
    Kvm,
    /// By emulation.
    Tcg,
    /// By emulation of one processor on which each instruction takes a nanosecond, so that times repeat.
    Icount,
}

impl Acceleration {
    /// The fastest that works here.
    ///
    /// The device alone proves nothing: it is also there where a hypervisor around this machine emulates it.
    pub fn of_this_machine(architecture: Architecture) -> Self {
        let own = architecture.is_of_this_machine();
        let flags = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let capable = flags
            .lines()
            .filter(|line| line.starts_with("flags"))
            .any(|line| line.split(' ').any(|flag| flag == "vmx" || flag == "svm"));
        let open = File::options().read(true).write(true).open("/dev/kvm").is_ok();
        if own && capable && open {
            Self::Kvm
        } else {
            Self::Tcg
        }
    }
}

/// A folder of this machine in the guest, besides the one of the job.
#[derive(Clone, Debug)]
pub struct Share {
    /// The folder here.
    pub here: PathBuf,
    /// Its place in the guest.
    pub there: PathBuf,
}

/// What boots, and with what.
#[derive(Debug)]
pub struct Machine {
    /// Architecture of the guest.
    pub architecture: Architecture,
    /// How its processor is made.
    pub acceleration: Acceleration,
    /// The kernel's image.
    pub kernel: PathBuf,
    /// The kernel's modules.
    pub modules: PathBuf,
    /// The initramfs.
    pub initramfs: PathBuf,
    /// The disk; changes to it are dropped.
    pub disk: PathBuf,
    /// Folders that the guest can read.
    pub shares: Vec<Share>,
    /// More of the kernel's command line.
    pub parameters: String,
    /// More arguments of qemu, after its own.
    pub qemu: Vec<OsString>,
    /// Processors.
    pub processors: u32,
    /// Memory in MiB.
    pub memory: u32,
}

/// What came of a job.
#[derive(Clone, Debug)]
pub struct Ended {
    /// Exit status of the job; `None` where the guest ended, or was ended, before it.
    pub status: Option<i32>,
    /// Why there is no status.
    pub why: String,
    /// From start to end.
    pub took: Duration,
    /// From the start until the job began.
    pub booted: Option<Duration>,
}

/// How a job talks to the outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Terminal {
    /// What it prints is passed on.
    Output,
    /// It is a shell on this terminal.
    Shell,
}

impl Machine {
    /// Boots, runs `job` (lines for bash) and waits for its end; `line` is called with what it prints.
    ///
    /// `folder` is shared with the guest as /run/job, and holds the logs afterwards.
    pub fn run(
        &self,
        folder: &Path,
        job: &str,
        limit: Duration,
        terminal: Terminal,
        line: &mut dyn FnMut(Option<&str>),
    ) -> Result<Ended> {
        for attempt in 1..BOOT_ATTEMPTS {
            let ended = self.attempt(folder, job, limit, terminal, line)?;
            if ended.booted.is_some() || self.acceleration == Acceleration::Kvm || terminal == Terminal::Shell
            {
                return Ok(ended);
            }
            let kept = folder.join(format!("console.{attempt}.txt"));
            fs::rename(folder.join("console.txt"), &kept).context("cannot keep the console's log")?;
            line(Some(&format!(
                "the kernel did not come up ({}; see {}); starting it again",
                ended.why,
                kept.display()
            )));
        }
        self.attempt(folder, job, limit, terminal, line)
    }

    fn attempt(
        &self,
        folder: &Path,
        job: &str,
        limit: Duration,
        terminal: Terminal,
        line: &mut dyn FnMut(Option<&str>),
    ) -> Result<Ended> {
        let file = |name: &str| folder.join(name);
        for name in [
            "started",
            "ended",
            "shell",
            "output.txt",
            "console.txt",
            "dmesg.txt",
        ] {
            remove(&file(name))?;
        }
        fs::write(file("job.sh"), format!("{}{job}", self.mounts())).context("cannot write the job")?;
        if terminal == Terminal::Shell {
            fs::write(file("shell"), "").context("cannot mark the job as a shell")?;
        }
        let started = Instant::now();
        let mut guest = Guest(self.command(folder, terminal).spawn().with_context(|| {
            format!(
                "cannot start {}; `cargo xtask setup` installs it",
                self.architecture.qemu()
            )
        })?);
        let mut output = Tail::new(file("output.txt"));
        let mut booted = None;
        let why = loop {
            let over = guest.0.try_wait().context("cannot wait for qemu")?;
            if booted.is_none() && file("started").exists() {
                booted = Some(started.elapsed());
            }
            output.lines(over.is_some(), &mut |text| line(Some(text)));
            line(None);
            interrupt::check().map_err(|error| anyhow::anyhow!("{error}"))?;
            if let Some(status) = over {
                break format!("the guest ended by itself ({status})");
            }
            if booted.is_none() && started.elapsed() > BOOT_LIMIT {
                break format!("it did not boot within {} s", BOOT_LIMIT.as_secs());
            }
            if terminal == Terminal::Output && started.elapsed() > limit {
                break format!("it was not over within {} s", limit.as_secs());
            }
            std::thread::sleep(INTERVAL);
        };
        drop(guest);
        let status = fs::read_to_string(file("ended")).ok();
        let status = status.and_then(|text| text.split(' ').next()?.parse().ok());
        Ok(Ended {
            status,
            why,
            took: started.elapsed(),
            booted,
        })
    }

    /// Parameters for what a real processor does at no cost and an emulated one at a high one.
    ///
    /// The three features of x86 say that copying by one instruction is fast: bytes one by one, emulated. Without
    /// them the verifier takes two thirds of the time.
    fn shortcuts(&self) -> &'static str {
        match (self.acceleration, self.architecture) {
            (Acceleration::Tcg | Acceleration::Icount, Architecture::Amd64) => "clearcpuid=112,297,580",
            _ => "",
        }
    }

    fn processors(&self) -> u32 {
        match self.acceleration {
            Acceleration::Icount => 1,
            _ => self.processors,
        }
    }

    fn mounts(&self) -> String {
        let rows = self.shares.iter().enumerate();
        rows.map(|(number, share)| {
            // Nothing here changes while the guest runs.
            format!("share share{number} {} ro,cache=loose\n", quoted(&share.there))
        })
        .collect()
    }

    fn command(&self, folder: &Path, terminal: Terminal) -> Command {
        let mut command = Command::new(self.architecture.qemu());
        let kvm = self.acceleration == Acceleration::Kvm;
        command
            .args([
                "-nodefaults",
                "-display",
                "none",
                "-no-reboot",
                "-monitor",
                "none",
            ])
            .args(["-machine", self.architecture.machine()])
            // Page tables of five levels cost an emulated processor a level, and nothing here needs them.
            .args(match (kvm, self.architecture) {
                (true, _) => ["-cpu", "host"],
                (false, Architecture::Amd64) => ["-cpu", "max,la57=off"],
                (false, Architecture::Arm64) => ["-cpu", "max,pauth-impdef=on"],
            })
            .args(match self.acceleration {
                Acceleration::Kvm => ["-accel", "kvm"].as_slice(),
                Acceleration::Tcg => &["-accel", "tcg,thread=multi"],
                Acceleration::Icount => &["-accel", "tcg,thread=single", "-icount", "shift=0,sleep=off"],
            })
            .args([
                "-smp",
                &self.processors().to_string(),
                "-m",
                &self.memory.to_string(),
            ])
            .arg("-kernel")
            .arg(&self.kernel)
            .arg("-initrd")
            .arg(&self.initramfs)
            .arg("-drive")
            .arg(option("format=raw,if=virtio,snapshot=on,file=", &self.disk, ""))
            .args(["-device", "virtio-rng-pci", "-device", "virtio-serial-pci"])
            .args(["-device", "virtserialport,chardev=output,name=output", "-chardev"])
            .arg(option("file,id=output,path=", &folder.join("output.txt"), ""));
        match terminal {
            Terminal::Output => command
                .arg("-serial")
                .arg(option("file:", &folder.join("console.txt"), ""))
                .stdin(Stdio::null()),
            Terminal::Shell => command.args([
                "-chardev",
                "stdio,id=console,signal=off",
                "-serial",
                "chardev:console",
            ]),
        };
        let shares = self.shares.iter().enumerate();
        let mut folders: Vec<_> = shares
            .map(|(number, share)| (share.here.as_path(), format!("share{number}"), true))
            .collect();
        folders.push((folder, "job".to_owned(), false));
        folders.push((&self.modules, "modules".to_owned(), true));
        for (here, tag, read_only) in folders {
            let read_only = if read_only { "on" } else { "off" };
            let rest = format!(",mount_tag={tag},security_model=none,multidevs=remap,readonly={read_only}");
            command.arg("-virtfs").arg(option("local,path=", here, &rest));
        }
        let parameters = [
            &format!("console={}", self.architecture.console()),
            "loglevel=4 panic=-1 random.trust_cpu=on",
            // An emulated processor on a busy machine stands still for longer than a real one ever would.
            "rcupdate.rcu_cpu_stall_timeout=300 nowatchdog",
            self.shortcuts(),
            &self.parameters,
        ];
        command.arg("-append").arg(parameters.join(" "));
        command.args(&self.qemu);
        command
    }
}

/// qemu's options are lists with commas, which a path doubles.
fn option(before: &str, path: &Path, after: &str) -> OsString {
    format!("{before}{}{after}", path.display().to_string().replace(',', ",,")).into()
}

/// A path as a word for the shell.
pub fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', r"'\''"))
}

/// qemu, which ends with its owner.
struct Guest(Child);

impl Drop for Guest {
    fn drop(&mut self) {
        // Where it has ended already, there is nothing to kill.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// What is appended to a file, by line.
struct Tail {
    path: PathBuf,
    read: u64,
    rest: Vec<u8>,
}

impl Tail {
    fn new(path: PathBuf) -> Self {
        Self {
            path,
            read: 0,
            rest: Vec::new(),
        }
    }

    fn lines(&mut self, all: bool, line: &mut dyn FnMut(&str)) {
        let mut new = Vec::new();
        let read = File::open(&self.path).and_then(|mut file| {
            file.seek(SeekFrom::Start(self.read))?;
            file.read_to_end(&mut new)
        });
        // The file comes with the guest's first output.
        self.read += read.unwrap_or(0) as u64;
        self.rest.append(&mut new);
        while let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
            let bytes: Vec<u8> = self.rest.drain(..=end).collect();
            line(String::from_utf8_lossy(&bytes[..end]).trim_end_matches('\r'));
        }
        if all && !self.rest.is_empty() {
            line(&String::from_utf8_lossy(&std::mem::take(&mut self.rest)));
        }
    }
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            bail!("cannot remove {}: {error}", path.display())
        }
        _ => Ok(()),
    }
}
