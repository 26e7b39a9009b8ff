//! What the load generator can do. A new mode is a line in [`MODES`] and a function.

use crate::kernel;
use anyhow::{Context as _, Result};
use norma_rig::nothing;
use rustix::fs::{CWD, Mode as Permissions, OFlags};
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Does something so many times.
pub type Operation = dyn FnMut(u64) -> Result<()> + Send;

/// Where the load works.
#[derive(Clone, Debug)]
pub struct Site {
    /// For files that it makes.
    pub folder: PathBuf,
    /// For the program that it runs.
    pub programs: PathBuf,
    /// Where the mode `connect` finds somebody.
    pub port: u16,
}

/// One kind of operation.
pub struct Mode {
    /// As it is ordered.
    pub name: &'static str,
    /// Operations between two looks at the clock: a millisecond's worth or so.
    pub batch: u64,
    prepare: fn(&Site) -> Result<Box<Operation>>,
}

impl Mode {
    /// By its name.
    pub fn find(name: &str) -> Result<&'static Self> {
        MODES
            .iter()
            .find(|mode| mode.name == name)
            .with_context(|| format!("there is no mode `{name}`"))
    }

    /// Makes what it needs.
    pub fn prepare(&self, site: &Site) -> Result<Box<Operation>> {
        (self.prepare)(site).with_context(|| self.name)
    }
}

/// Port of the listener whose connections a baseline can know, and how many there are to choose from.
const KNOWN_PORT: u16 = 7_077;
const KNOWN_PORTS: u16 = 16;

const MODES: &[Mode] = &[
    mode("null", 4096, null),
    mode("stat", 2048, stat),
    mode("read", 4096, read),
    mode("open", 512, open),
    mode("open-nameless", 512, open_nameless),
    mode("open-write", 512, open_write),
    mode("create", 64, create),
    mode("novel", 16, novel),
    mode("rename", 128, rename),
    mode("link", 128, link),
    mode("chmod", 512, chmod),
    mode("map-code", 512, map_code),
    mode("connect", 16, connect),
    mode("tcp", 64, tcp),
    mode("tcp-known", 64, tcp_known),
    mode("listen", 16, listen),
    mode("udp", 128, udp),
    mode("udp-send", 256, udp_send),
    mode("unix", 128, unix),
    mode("thread", 16, thread),
    mode("exec", 8, exec),
    mode("spawn", 8, spawn),
    mode("mixed", 1, mixed),
];

const fn mode(name: &'static str, batch: u64, prepare: fn(&Site) -> Result<Box<Operation>>) -> Mode {
    Mode { name, batch, prepare }
}

/// An operation that is the same each time. The loop is part of what is compiled for each `act`, so that
/// an operation of some nanoseconds has no call around it.
fn each(mut act: impl FnMut() -> Result<()> + Send + 'static) -> Result<Box<Operation>> {
    Ok(Box::new(move |count| {
        for _ in 0..count {
            act()?;
        }
        Ok(())
    }))
}

/// The cheapest call: what it costs to be watched at all.
///
/// Through the C library, as programs do it: what runs in the kernel makes the processor forget where the
/// functions around a call return to, which alone is tens of nanoseconds. Were the call compiled into the
/// loop or not as the compiler likes, no two builds could be compared.
fn null(_: &Site) -> Result<Box<Operation>> {
    each(|| {
        std::hint::black_box(std::os::unix::process::parent_id());
        Ok(())
    })
}

fn stat(_: &Site) -> Result<Box<Operation>> {
    each(|| Ok(rustix::fs::stat(c"/etc/hostname").map(drop)?))
}

/// One byte of a device that has no work with it.
fn read(_: &Site) -> Result<Box<Operation>> {
    let zero = File::open("/dev/zero")?;
    each(move || Ok(rustix::io::read(&zero, &mut [0u8; 1]).map(drop)?))
}

fn open(_: &Site) -> Result<Box<Operation>> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    each(move || Ok(rustix::fs::open(c"/etc/hostname", flags, Permissions::empty()).map(drop)?))
}

/// Of a file that has no name any more: nobody can know it by one, so that each open is reported.
fn open_nameless(site: &Site) -> Result<Box<Operation>> {
    let path = made(site, "nameless")?;
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let file = rustix::fs::open(&path, flags, Permissions::empty())?;
    rustix::fs::unlink(&path)?;
    let path = terminated(Path::new(&format!("/proc/self/fd/{}", file.as_raw_fd())))?;
    each(move || {
        // Captured, so that it stays open.
        let _nameless = &file;
        Ok(rustix::fs::open(&path, flags, Permissions::empty()).map(drop)?)
    })
}

fn open_write(site: &Site) -> Result<Box<Operation>> {
    let path = made(site, "written")?;
    each(move || Ok(rustix::fs::open(&path, OFlags::RDWR | OFlags::CLOEXEC, Permissions::empty()).map(drop)?))
}

/// Made, closed and removed.
fn create(site: &Site) -> Result<Box<Operation>> {
    let path = terminated(&site.folder.join("created"))?;
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
    each(move || {
        drop(rustix::fs::open(&path, flags, Permissions::RUSR)?);
        Ok(rustix::fs::unlink(&path)?)
    })
}

/// The same with a new name each time: nothing of it is ever known to a baseline.
fn novel(site: &Site) -> Result<Box<Operation>> {
    let (folder, mut number) = (site.folder.clone(), 0u64);
    each(move || {
        number += 1;
        let path = folder.join(format!("novel-{number}"));
        File::create(&path).context("create")?;
        fs::remove_file(&path).context("remove")
    })
}

/// There and back by turns: one rename for each operation.
fn rename(site: &Site) -> Result<Box<Operation>> {
    let (mut from, mut to) = (
        made(site, "renamed-a")?,
        terminated(&site.folder.join("renamed-b"))?,
    );
    each(move || {
        rustix::fs::renameat(CWD, &from, CWD, &to)?;
        std::mem::swap(&mut from, &mut to);
        Ok(())
    })
}

/// A second name, made and removed.
fn link(site: &Site) -> Result<Box<Operation>> {
    let (from, to) = (made(site, "linked")?, terminated(&site.folder.join("link"))?);
    each(move || {
        rustix::fs::link(&from, &to)?;
        Ok(rustix::fs::unlink(&to)?)
    })
}

fn chmod(site: &Site) -> Result<Box<Operation>> {
    let path = made(site, "moded")?;
    each(move || Ok(rustix::fs::chmod(&path, Permissions::RUSR | Permissions::WUSR)?))
}

fn map_code(_: &Site) -> Result<Box<Operation>> {
    let own = File::open(std::env::current_exe()?)?;
    each(move || kernel::map_code(&own))
}

/// To somebody else, who closes at once.
fn connect(site: &Site) -> Result<Box<Operation>> {
    let port = site.port;
    each(move || {
        TcpStream::connect((Ipv4Addr::LOCALHOST, port))
            .map(drop)
            .context("connect")
    })
}

/// Connect, accept and close of both ends by one thread: on the loopback interface the handshake is over
/// before connect(2) returns.
///
/// The client lingers for no time, so it ends with a reset and leaves no TIME_WAIT behind: otherwise the
/// search for a free port would get longer with each operation.
fn tcp(_: &Site) -> Result<Box<Operation>> {
    connections(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?)
}

/// The same port each time, which a baseline can know; the next one where somebody has it.
fn tcp_known(_: &Site) -> Result<Box<Operation>> {
    let port = SocketAddr::from((Ipv4Addr::LOCALHOST, KNOWN_PORT));
    let ports: Vec<SocketAddr> = (0..KNOWN_PORTS)
        .map(|further| SocketAddr::new(port.ip(), port.port() + further))
        .collect();
    connections(TcpListener::bind(ports.as_slice())?)
}

fn connections(listener: TcpListener) -> Result<Box<Operation>> {
    let address = listener.local_addr()?;
    each(move || {
        let client = rustix::net::socket_with(
            AddressFamily::INET,
            SocketType::STREAM,
            SocketFlags::CLOEXEC,
            None,
        )?;
        rustix::net::sockopt::set_socket_linger(&client, Some(Duration::ZERO))?;
        rustix::net::connect(&client, &address)?;
        let server = rustix::net::accept_with(&listener, SocketFlags::CLOEXEC)?;
        drop(client);
        drop(server);
        Ok(())
    })
}

fn listen(_: &Site) -> Result<Box<Operation>> {
    each(|| {
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .map(drop)
            .context("listen")
    })
}

/// As a resolver asks: a socket for one datagram.
fn udp(_: &Site) -> Result<Box<Operation>> {
    let (receiver, address) = receiver()?;
    each(move || {
        let socket =
            rustix::net::socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
        rustix::net::sendto(&socket, b"x", rustix::net::SendFlags::empty(), &address)?;
        Ok(receiver.recv(&mut [0; 8]).map(drop)?)
    })
}

/// One datagram after the other from the same socket.
fn udp_send(_: &Site) -> Result<Box<Operation>> {
    let (receiver, address) = receiver()?;
    let sender = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    each(move || {
        sender.send_to(b"x", address)?;
        Ok(receiver.recv(&mut [0; 8]).map(drop)?)
    })
}

fn receiver() -> Result<(UdpSocket, SocketAddr)> {
    let receiver = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = receiver.local_addr()?;
    Ok((receiver, address))
}

/// Connect, accept and close of a Unix socket with a path.
fn unix(site: &Site) -> Result<Box<Operation>> {
    let path = site.folder.join("socket");
    if path.exists() {
        fs::remove_file(&path)?;
    }
    let listener = std::os::unix::net::UnixListener::bind(&path)?;
    let address = rustix::net::SocketAddrUnix::new(&path)?;
    each(move || {
        let client = rustix::net::socket_with(
            AddressFamily::UNIX,
            SocketType::STREAM,
            SocketFlags::CLOEXEC,
            None,
        )?;
        rustix::net::connect(&client, &address)?;
        Ok(rustix::net::accept_with(&listener, SocketFlags::CLOEXEC).map(drop)?)
    })
}

/// A thread is no event, but the hooks on fork and exit run for it.
fn thread(_: &Site) -> Result<Box<Operation>> {
    each(|| {
        std::thread::Builder::new()
            .spawn(|| ())?
            .join()
            .map_err(|_| anyhow::anyhow!("the thread panicked"))
    })
}

/// This program, which is linked dynamically, as most are.
fn exec(_: &Site) -> Result<Box<Operation>> {
    let own = std::env::current_exe().context("own path")?;
    each(move || {
        Command::new(&own).arg("nothing").status().context("exec")?;
        Ok(())
    })
}

/// Fork, exec, exit and wait of the smallest program. The standard library uses posix_spawn(3), which does
/// not copy this process.
fn spawn(site: &Site) -> Result<Box<Operation>> {
    let program = nothing::program(&site.programs)?;
    each(move || {
        Command::new(&program).status().context("exec")?;
        Ok(())
    })
}

/// As a server might: many small calls, some files, now and then a connection, seldom a program. One
/// operation is the whole lot of [`MIXED_CALLS`].
fn mixed(site: &Site) -> Result<Box<Operation>> {
    let mut parts = Vec::new();
    for (name, count) in MIXED {
        parts.push((Mode::find(name)?.prepare(site)?, *count));
    }
    Ok(Box::new(move |times| {
        for _ in 0..times {
            for (operation, count) in &mut parts {
                operation(*count)?;
            }
        }
        Ok(())
    }))
}

const MIXED: &[(&str, u64)] = &[
    ("read", 120),
    ("null", 20),
    ("stat", 30),
    ("open", 24),
    ("tcp", 4),
    ("udp-send", 1),
    ("spawn", 1),
];

/// A file in the site's folder.
fn made(site: &Site, name: &str) -> Result<std::ffi::CString> {
    let path = site.folder.join(name);
    File::create(&path)?.write_all(b"x")?;
    // Read once, so that the first operation is no different from the rest.
    File::open(&path)?.read_exact(&mut [0])?;
    terminated(&path)
}

fn terminated(path: &Path) -> Result<std::ffi::CString> {
    use std::os::unix::ffi::OsStrExt as _;
    Ok(std::ffi::CString::new(path.as_os_str().as_bytes())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mode_works_again_and_again() {
        let folder = tempfile::tempdir().unwrap();
        let peer = norma_rig::net::Peer::start().unwrap();
        let site = Site {
            folder: folder.path().to_owned(),
            programs: folder.path().to_owned(),
            port: peer.port(),
        };
        // `exec` runs this program with an argument, and here this program is the test.
        for mode in MODES.iter().filter(|mode| mode.name != "exec") {
            for _ in 0..2 {
                let mut operation = mode.prepare(&site).unwrap();
                operation(3).unwrap();
                operation(2).unwrap();
            }
        }
    }
}
