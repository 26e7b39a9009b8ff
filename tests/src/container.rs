//! A real container: runc, a control group of its own, a root of real programs.

mod bundle;

use crate::ledger::{delete_container, note_container, note_mount, note_process};
use crate::scratch::Scratch;
use crate::wait::wait_until;
use crate::{cgroup, root};
use anyhow::{Context as _, Result, bail};
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

/// Where a workload reads its orders, inside the container.
pub const ORDERS: &str = "/run/orders";

/// A workload that does the same things again and again, and whatever it is ordered to do in between.
///
/// Orders come through a pipe that is open from the start, so that giving one is not itself a new
/// behaviour: what follows is done by the workload's own shell, as it is after a break-in. What of an order was read
/// when the time to wait for one ends is its beginning.
pub fn steady_workload(port: u16) -> String {
    format!(
        "exec 3<>{ORDERS}\n\
         part=\n\
         while :; do\n\
           cat /etc/hostname /etc/app.conf\n\
           (exec 4<>/dev/tcp/127.0.0.1/{port})\n\
           if read -r -t 0.2 -u 3 more; then order=$part$more; part=; eval \"$order\"; else part=$part$more; fi\n\
         done\n"
    )
}

/// What a container runs.
#[derive(Clone, Debug, Default)]
pub struct ContainerSpec {
    /// Short name; the container's id is made from it.
    pub name: String,
    /// Arguments of the first process; the program first.
    pub argv: Vec<String>,
    /// Programs of the host that it gets in /usr/bin, besides the usual ones.
    pub programs: Vec<PathBuf>,
    /// Annotations, such as the image's name.
    pub annotations: Vec<(String, String)>,
    /// It has a network namespace of its own, with a loopback interface, instead of the host's.
    pub own_network: bool,
    /// Its PATH, if not the usual programs' folders.
    pub path: Option<String>,
    /// Folders of its image, what lies above first: its root is an overlay of them. Without any, its root is filled
    /// with programs of this machine.
    pub image: Vec<PathBuf>,
    /// Folders of the host that it has, with where it has them.
    pub volumes: Vec<(PathBuf, String)>,
}

impl ContainerSpec {
    /// A container that runs a bash script.
    pub fn script(name: &str, script: &str) -> Self {
        Self {
            name: name.to_owned(),
            argv: vec!["/bin/bash".to_owned(), "-c".to_owned(), script.to_owned()],
            ..Self::default()
        }
    }
}

/// A running container. Dropping it ends it and removes its control group.
#[derive(Debug)]
pub struct Container {
    id: String,
    bundle: PathBuf,
    init: u32,
    /// Open for as long as the container is there: a pipe forgets its content with its last user.
    orders: fs::File,
}

impl Container {
    /// Starts one.
    pub fn start(scratch: &Scratch, spec: &ContainerSpec) -> Result<Self> {
        let id = scratch.unique(&spec.name);
        let bundle = scratch.folder(&format!("container-{}", spec.name))?;
        let rootfs = bundle.join("rootfs");
        if spec.image.is_empty() {
            root::fill(&rootfs, &spec.programs)?;
        } else {
            overlay(scratch, &bundle, &spec.image)?;
        }
        let orders = make_pipe(&rootfs.join(ORDERS.trim_start_matches('/')))?;
        let config = bundle::config(&id, spec);
        fs::write(bundle.join("config.json"), config.to_string()).context("cannot write config.json")?;
        note_container(scratch.path(), &id)?;
        let output_file = fs::File::create(bundle.join("output")).context("cannot make the output file")?;
        let log = bundle.join("runc.log");
        let status = Command::new("runc")
            .arg("--log")
            .arg(&log)
            .args(["run", "--detach", "--pid-file"])
            .arg(bundle.join("pid"))
            .arg("--bundle")
            .arg(&bundle)
            .arg(&id)
            .stdin(Stdio::null())
            .stdout(output_file.try_clone().context("cannot share the output file")?)
            .stderr(output_file)
            .status()
            .context("cannot start runc")?;
        if !status.success() {
            delete_container(&id);
            bail!(
                "runc could not start {id}: {}",
                fs::read_to_string(&log).unwrap_or_default()
            );
        }
        let init = fs::read_to_string(bundle.join("pid"))
            .context("no pid file")?
            .trim()
            .parse()
            .context("pid file")?;
        note_process(scratch.path(), init)?;
        Ok(Self {
            id,
            bundle,
            init,
            orders,
        })
    }

    /// Its id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Process id of its first process, on the host.
    pub fn init(&self) -> u32 {
        self.init
    }

    /// Path of its control group.
    pub fn cgroup_path(&self) -> String {
        cgroup::path_of(&self.id)
    }

    /// Id of its control group.
    pub fn cgroup_id(&self) -> Result<u64> {
        cgroup::id_of(&self.cgroup_path())
    }

    /// A path of the container, as the host sees it.
    pub fn host_path(&self, path: &str) -> PathBuf {
        self.bundle.join("rootfs").join(path.trim_start_matches('/'))
    }

    /// What its first process and its children have printed.
    pub fn output(&self) -> String {
        let bytes = fs::read(self.bundle.join("output")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Gives the workload's shell a line to run; see [`steady_workload`].
    pub fn order(&self, line: &str) -> Result<()> {
        (&self.orders)
            .write_all(format!("{line}\n").as_bytes())
            .context("cannot write an order")
    }

    /// Gives an order and waits until the shell has finished it; gives its exit status.
    pub fn order_and_wait(&self, line: &str, limit: Duration) -> Result<i32> {
        let before = self.output().len();
        self.order(&format!("{line}; echo \"ordered: $?\""))?;
        wait_until(&format!("the container to finish `{line}`"), limit, || {
            let output = self.output();
            let status = output
                .get(before..)
                .unwrap_or_default()
                .lines()
                .find_map(|line| line.strip_prefix("ordered: "));
            Ok(status.and_then(|status| status.parse().ok()))
        })
        .with_context(|| format!("the container's output ends with: {}", tail(&self.output())))
    }

    /// Runs another program in it, as `kubectl exec` does.
    pub fn exec(&self, argv: &[&str]) -> Result<Output> {
        Command::new("runc")
            .arg("exec")
            .arg(&self.id)
            .args(argv)
            .stdin(Stdio::null())
            .output()
            .context("cannot start runc")
    }

    /// Whether its first process is there.
    pub fn is_running(&self) -> bool {
        Path::new(&format!("/proc/{}/root/etc", self.init)).exists()
    }

    /// Waits until its first process has ended.
    pub fn wait(&self, limit: Duration) -> Result<()> {
        wait_until("the container to end", limit, || {
            Ok((!self.is_running()).then_some(()))
        })
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        delete_container(&self.id);
    }
}

/// Mounts the root of a container over the folders of its image.
fn overlay(scratch: &Scratch, bundle: &Path, image: &[PathBuf]) -> Result<()> {
    let place = |name: &str| -> Result<PathBuf> {
        let path = bundle.join(name);
        fs::create_dir_all(&path).with_context(|| path.display().to_string())?;
        Ok(path)
    };
    let (root, upper, work) = (place("rootfs")?, place("upper")?, place("work")?);
    let lower: Vec<String> = image.iter().map(|folder| folder.display().to_string()).collect();
    note_mount(scratch.path(), &root)?;
    let options = format!(
        "lowerdir={},upperdir={},workdir={}",
        lower.join(":"),
        upper.display(),
        work.display()
    );
    let options = std::ffi::CString::new(options).context("mount options")?;
    rustix::mount::mount(
        "overlay",
        &root,
        "overlay",
        rustix::mount::MountFlags::empty(),
        options.as_c_str(),
    )
    .context("cannot mount an overlay")
}

fn make_pipe(path: &Path) -> Result<fs::File> {
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    mknodat(CWD, path, FileType::Fifo, Mode::from_raw_mode(0o622), 0)
        .context("cannot make the pipe for orders")?;
    fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .context("cannot open the pipe for orders")
}

fn tail(text: &str) -> String {
    let skip = text.chars().count().saturating_sub(600);
    text.chars().skip(skip).collect()
}
