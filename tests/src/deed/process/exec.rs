//! Ways to execute a program.

use crate::deed::area::{Area, mount, text, tmpfs};
use crate::deed::sys::process::fork;
use crate::deed::sys::{Errno, Sys, Vector};
use crate::deed::technique::{
    BIND_MOUNT, CHROOT, COMM_FORGING, COMPAT, DELETED, GARBAGE_NAMES, HARD_LINK, LD_SO, LONG_PATH, MEMFD,
    PROC_ROOT, RELATIVE, SCRIPT, SYMLINK, THREAD_EXEC, VOLUME,
};
use crate::deed::truth::{FileTruth, Truth, written};
use crate::deed::{Deed, deed, lacking, sys};
use anyhow::{Context as _, Result, ensure};
use std::ffi::{CString, OsStr};
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

pub const ALL: &[Deed] = &[
    deed("exec", "exec", "", "execve(2) by its real path", |area| {
        let program = area.program("bin")?;
        by_name(&program, &program)
    }),
    deed("exec-relative", "exec", RELATIVE, "by a relative path", |area| {
        let program = area.program("bin")?;
        area.sub("other")?;
        std::env::set_current_dir(area.path("other"))?;
        by_name(&program, "../other/.././bin/nothing")
    }),
    deed(
        "exec-symlink",
        "exec",
        SYMLINK,
        "through a symbolic link",
        |area| {
            let program = area.program("bin")?;
            symlink(&program, area.path("innocent"))?;
            by_name(&program, area.path("innocent"))
        },
    ),
    deed(
        "exec-hard-link",
        "exec",
        HARD_LINK,
        "by another hard link",
        |area| {
            let link = area.path("innocent");
            fs::hard_link(area.program("bin")?, &link)?;
            by_name(&link, &link)
        },
    ),
    deed(
        "exec-proc-root",
        "exec",
        PROC_ROOT,
        "through /proc/self/root",
        |area| {
            let program = area.program("bin")?;
            by_name(&program, format!("/proc/self/root{}", program.display()))
        },
    ),
    deed(
        "exec-bind-mount",
        "exec",
        BIND_MOUNT,
        "through a bind mount of its folder",
        |area| {
            area.program("bin")?;
            crate::deed::area::own_mounts()?;
            mount(Some(&area.path("bin")), area.sub("bound")?, None, libc::MS_BIND)?;
            let program = area.path("bound/nothing");
            by_name(&program, &program)
        },
    ),
    deed(
        "exec-chroot",
        "exec",
        CHROOT,
        "from a changed root directory",
        |area| {
            let program = area.program("root")?;
            let root = text(area.path("root"))?;
            run(
                Truth::here().path(FileTruth::at(&program, "/nothing")),
                arguments(&["/nothing"])?,
                |argv, envp| {
                    sys::file::chroot(&root)?;
                    sys::process::execve(c"/nothing", argv, envp)
                },
            )
        },
    ),
    deed(
        "exec-at",
        "exec",
        RELATIVE,
        "execveat(2) from a directory descriptor",
        |area| {
            let program = area.program("bin")?;
            let folder = File::open(area.path("bin"))?;
            run(
                Truth::here().path(FileTruth::at(&program, "nothing")),
                arguments(&["nothing"])?,
                |argv, envp| sys::process::execveat(folder.as_fd(), c"nothing", argv, envp, 0),
            )
        },
    ),
    deed(
        "exec-descriptor",
        "exec",
        "",
        "execveat(2) of an open file",
        |area| {
            let program = area.program("bin")?;
            let file = OwnedFd::from(File::open(&program)?);
            by_descriptor(FileTruth::of(&file, "")?, &file)
        },
    ),
    deed(
        "exec-proc-fd",
        "exec",
        PROC_ROOT,
        "through /proc/self/fd",
        |area| {
            let program = area.program("bin")?;
            let file = File::open(&program)?;
            by_name(&program, format!("/proc/self/fd/{}", file.as_raw_fd()))
        },
    ),
    deed("exec-memfd", "exec", MEMFD, "from anonymous memory", memfd),
    deed(
        "exec-deleted",
        "exec",
        DELETED,
        "from a file without a name",
        |area| {
            let program = area.program("bin")?;
            let file = OwnedFd::from(File::open(&program)?);
            fs::remove_file(&program)?;
            by_descriptor(FileTruth::of(&file, "")?, &file)
        },
    ),
    deed(
        "exec-script",
        "exec",
        SCRIPT,
        "a script with an interpreter",
        script,
    ),
    deed(
        "exec-script-nested",
        "exec",
        SCRIPT,
        "a script whose interpreter is a script",
        nested_script,
    ),
    deed(
        "exec-ld-so",
        "file.map-exec",
        LD_SO,
        "by the dynamic linker",
        ld_so,
    ),
    deed("exec-tmpfs", "exec", VOLUME, "from a tmpfs", |area| {
        tmpfs(area, "tmpfs")?;
        let program = area.program("tmpfs")?;
        by_name(&program, &program)
    }),
    deed("exec-shm", "exec", VOLUME, "from shared memory", |_| {
        let area = Area::make(Path::new("/dev/shm"))
            .map_err(|error| lacking(format!("no shared memory: {error:#}")))?;
        let program = area.program("bin")?;
        let truth = by_name(&program, &program);
        area.remove()?;
        truth
    }),
    deed(
        "exec-long-arguments",
        "exec",
        LONG_PATH,
        "with 64 KiB of arguments",
        |area| {
            let program = area.program("bin")?;
            let long = "a".repeat(64 << 10);
            let argv = arguments(&["nothing", &long, "end"])?;
            let file = FileTruth::at(&program, &program);
            let path = text(&program)?;
            run(Truth::here().path(file), argv, |argv, envp| {
                sys::process::execve(&path, argv, envp)
            })
        },
    ),
    deed(
        "exec-long-path",
        "exec",
        LONG_PATH,
        "by a path of 3,000 bytes",
        |area| {
            let folder = (0..12).fold(PathBuf::from("deep"), |path, _| path.join("d".repeat(240)));
            let program = area.program(&folder.display().to_string())?;
            by_name(&program, &program)
        },
    ),
    deed(
        "exec-garbage-name",
        "exec",
        GARBAGE_NAMES,
        "by a name with a newline, an escape sequence and invalid UTF-8",
        |area| {
            let program = area.path(OsStr::from_bytes(b"new\nline \x1b[2J\xff\xfe"));
            fs::rename(area.program("bin")?, &program)?;
            by_name(&program, &program)
        },
    ),
    deed(
        "exec-forged-argv0",
        "exec",
        COMM_FORGING,
        "with another program's argv[0]",
        |area| {
            let program = area.program("bin")?;
            let path = text(&program)?;
            let truth = Truth::here().path(FileTruth::at(&program, &program));
            run(truth, arguments(&["/usr/sbin/sshd", "-D"])?, |argv, envp| {
                sys::process::execve(&path, argv, envp)
            })
        },
    ),
    deed("exec-no-arguments", "exec", "", "with an empty argv", |area| {
        let program = area.program("bin")?;
        let path = text(&program)?;
        run(
            Truth::here().path(FileTruth::at(&program, &program)),
            Vec::new(),
            |argv, envp| sys::process::execve(&path, argv, envp),
        )
    }),
    deed(
        "exec-thread",
        "exec",
        THREAD_EXEC,
        "by a thread that is not the first of its process",
        |area| {
            let program = area.program("bin")?;
            let path = text(&program)?;
            let truth = Truth::here().path(FileTruth::at(&program, &program));
            run(truth, arguments(&["nothing"])?, |argv, envp| {
                std::thread::scope(|scope| {
                    let exec = scope.spawn(|| sys::process::execve(&path, argv, envp));
                    exec.join().unwrap_or(Err(Errno::EFAULT))
                })
            })
        },
    ),
    deed(
        "exec-failed-enoent",
        "process.exec-failed",
        "",
        "a file that is not there",
        |area| {
            let missing = area.path("missing");
            by_name(&missing, &missing)
        },
    ),
    deed(
        "exec-failed-compat",
        "process.exec-failed",
        COMPAT,
        "a file that is not there, by the 32-bit interface",
        |area| {
            sys::compat::usable().context("the 32-bit interface of this kernel")?;
            let missing = area.path("missing");
            let name = text(&missing)?;
            let truth = Truth::here().path(FileTruth::at(&missing, &missing));
            run(truth, Vec::new(), |_, _| sys::compat::execve(&name))
        },
    ),
    deed(
        "exec-failed-eacces",
        "process.exec-failed",
        "",
        "a file that is no program",
        |area| {
            let file = area.file("file")?;
            by_name(&file, &file)
        },
    ),
    deed(
        "exec-failed-enoexec",
        "process.exec-failed",
        "",
        "a program of no known format",
        |area| {
            let file = area.file("file")?;
            fs::set_permissions(&file, fs::Permissions::from_mode(0o755))?;
            by_name(&file, &file)
        },
    ),
];

fn arguments(words: &[&str]) -> Result<Vec<CString>> {
    words
        .iter()
        .map(|word| CString::new(*word).context("an argument with NUL"))
        .collect()
}

/// Executes the program of that real path, by the given name.
fn by_name(real: &Path, given: impl AsRef<Path>) -> Result<Truth> {
    let name = text(&given)?;
    let truth = Truth::here().path(FileTruth::at(real, given));
    run(truth, arguments(&["nothing", "with", ""])?, |argv, envp| {
        sys::process::execve(&name, argv, envp)
    })
}

fn by_descriptor(truth: FileTruth, file: &OwnedFd) -> Result<Truth> {
    run(
        Truth::here().path(truth),
        arguments(&["nothing"])?,
        |argv, envp| sys::process::execveat(file.as_fd(), c"", argv, envp, libc::AT_EMPTY_PATH),
    )
}

/// Has a child execute a program, which ends well at once, and adds to the truth who it was, what came of it
/// and the arguments.
fn run(
    mut truth: Truth,
    argv: Vec<CString>,
    exec: impl FnOnce(&Vector, &Vector) -> Sys<()>,
) -> Result<Truth> {
    let words: Vec<String> = argv.iter().map(|word| written(word.to_bytes())).collect();
    let (argv, envp) = (Vector::new(argv), Vector::new(arguments(&["NORMA_DEED=1"])?));
    // Closed by a successful exec; a failed one is told.
    let (mut reader, mut writer) = std::io::pipe()?;
    let child = fork(|| {
        let errno = exec(&argv, &envp).err().unwrap_or(Errno::UnknownErrno) as i32;
        writer.write_all(&errno.to_ne_bytes()).map_or(2, |()| 1)
    })?;
    drop(writer);
    let mut told = Vec::new();
    reader.read_to_end(&mut told)?;
    (truth.pid, truth.tid) = (child.pid(), child.pid());
    let status = child.wait()?;
    truth = truth.fact("argv", words);
    match <[u8; 4]>::try_from(told.as_slice()) {
        Ok(errno) => {
            let errno = Errno::from_raw(i32::from_ne_bytes(errno));
            Ok(truth.result::<()>(&Err(errno)))
        }
        Err(_) => {
            ensure!(status.success(), "the program ended with {status}");
            Ok(truth)
        }
    }
}

fn memfd(area: &Area) -> Result<Truth> {
    let image = fs::read(area.program("bin")?)?;
    let memory = sys::file::memfd_create(c"innocent", libc::MFD_CLOEXEC)?;
    let mut file = File::from(memory);
    file.write_all(&image)?;
    let memory = OwnedFd::from(file);
    by_descriptor(FileTruth::of(&memory, "")?, &memory)
}

fn executable(path: &Path, content: &[u8]) -> Result<()> {
    fs::write(path, content)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).context("chmod")
}

fn script(area: &Area) -> Result<Truth> {
    let interpreter = area.program("bin")?;
    let script = area.path("script");
    executable(&script, format!("#!{} -x\n", interpreter.display()).as_bytes())?;
    scripted(&interpreter, &script)
}

/// A script at `script` that ends at this interpreter.
fn scripted(interpreter: &Path, script: &Path) -> Result<Truth> {
    let truth = by_name(interpreter, script)?;
    Ok(truth
        .other(FileTruth::at(script, script))
        .fact("script", written(script.as_os_str().as_bytes())))
}

fn nested_script(area: &Area) -> Result<Truth> {
    let interpreter = area.program("bin")?;
    let (inner, outer) = (area.path("inner"), area.path("outer"));
    executable(&inner, format!("#!{}\n", interpreter.display()).as_bytes())?;
    executable(&outer, format!("#!{}\n", inner.display()).as_bytes())?;
    scripted(&interpreter, &outer)
}

/// The linker maps the program; that it is the linker that is executed says nothing of the program.
fn ld_so(area: &Area) -> Result<Truth> {
    let linker = ["/lib64/ld-linux-x86-64.so.2", "/lib/ld-linux-aarch64.so.1"]
        .iter()
        .find_map(|path| fs::canonicalize(path).ok())
        .ok_or_else(|| lacking("there is no dynamic linker here"))?;
    let shipped = fs::canonicalize("/bin/true").map_err(|_| lacking("there is no /bin/true here"))?;
    let program = area.path("dynamic");
    fs::copy(&shipped, &program).context("copying /bin/true")?;
    let path = text(&linker)?;
    let argv = arguments(&["ld.so", &program.display().to_string()])?;
    let truth = Truth::here()
        .path(FileTruth::at(&program, &program))
        .fact("linker", written(linker.as_os_str().as_bytes()));
    let truth = run(truth, argv, |argv, envp| sys::process::execve(&path, argv, envp));
    // What the linker does with a static program, or one for another machine, is its own affair.
    truth.map_err(|error| lacking(format!("the linker does not run a copy of /bin/true: {error:#}")))
}
