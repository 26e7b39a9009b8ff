//! Memory that becomes executable.

use crate::deed::area::Area;
use crate::deed::sys::memory::map;
use crate::deed::technique::{ANONYMOUS_CODE, MAPPED_CODE};
use crate::deed::truth::{FileTruth, Truth};
use crate::deed::{Deed, deed, sys};
use anyhow::Result;
use libc::{MAP_ANONYMOUS, MAP_PRIVATE, MAP_SHARED, PROT_EXEC, PROT_READ, PROT_WRITE};
use std::fs::{File, OpenOptions};
use std::os::fd::AsFd as _;
use std::os::unix::fs::FileExt as _;

const PAGE: usize = 4096;

pub const ALL: &[Deed] = &[
    deed(
        "memory-mprotect",
        "process.exec-memory",
        ANONYMOUS_CODE,
        "anonymous memory is written and then made executable",
        |_| {
            let mut memory = map(PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, None)?;
            memory.fill(b"\xc3");
            memory.protect(PROT_READ | PROT_EXEC)?;
            Ok(code(memory.address(), PROT_READ | PROT_EXEC))
        },
    ),
    deed(
        "memory-rwx",
        "process.exec-memory",
        ANONYMOUS_CODE,
        "anonymous memory is mapped writable and executable at once",
        |_| {
            let protection = PROT_READ | PROT_WRITE | PROT_EXEC;
            let memory = map(PAGE, protection, MAP_PRIVATE | MAP_ANONYMOUS, None)?;
            Ok(code(memory.address(), protection))
        },
    ),
    deed(
        "memory-written-file",
        "process.exec-memory",
        ANONYMOUS_CODE,
        "a private mapping of a file is written and then made executable",
        |area| {
            let file = File::open(area.file("file")?)?;
            let mut memory = map(PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, Some(file.as_fd()))?;
            memory.fill(b"\xc3");
            memory.protect(PROT_READ | PROT_EXEC)?;
            Ok(code(memory.address(), PROT_READ | PROT_EXEC))
        },
    ),
    deed(
        "map-exec-memfd",
        "file.map-exec",
        MAPPED_CODE,
        "a memfd is mapped for execution",
        memfd,
    ),
    deed(
        "map-exec",
        "file.map-exec",
        MAPPED_CODE,
        "a file is mapped for execution, as dlopen does",
        |area| {
            let path = area.file("library.so")?;
            let file = File::open(&path)?;
            let _memory = map(PAGE, PROT_READ | PROT_EXEC, MAP_PRIVATE, Some(file.as_fd()))?;
            Ok(Truth::here().path(FileTruth::of(&file, "")?))
        },
    ),
    deed(
        "map-exec-mprotect",
        "file.map-exec",
        MAPPED_CODE,
        "a file is mapped for reading, and that is made executable",
        |area| {
            let path = area.file("library.so")?;
            let file = File::open(&path)?;
            let memory = map(PAGE, PROT_READ, MAP_PRIVATE, Some(file.as_fd()))?;
            memory.protect(PROT_READ | PROT_EXEC)?;
            Ok(Truth::here().path(FileTruth::of(&file, "")?))
        },
    ),
    deed(
        "map-write",
        "file.map-write",
        "",
        "a file is mapped shared and writable",
        |area| {
            let path = area.file("file")?;
            let file = OpenOptions::new().read(true).write(true).open(&path)?;
            let _memory = map(PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, Some(file.as_fd()))?;
            Ok(Truth::here().path(FileTruth::of(&file, "")?))
        },
    ),
];

fn code(address: u64, protection: i32) -> Truth {
    Truth::here()
        .fact("address", address)
        .fact("length", PAGE)
        .fact("protection", protection)
}

fn memfd(_: &Area) -> Result<Truth> {
    let file = File::from(sys::file::memfd_create(c"innocent", libc::MFD_CLOEXEC)?);
    file.write_all_at(b"\xc3", 0)?;
    let _memory = map(PAGE, PROT_READ | PROT_EXEC, MAP_PRIVATE, Some(file.as_fd()))?;
    Ok(Truth::here().path(FileTruth::of(&file, "")?))
}
