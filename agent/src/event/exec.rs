//! Programs that are executed and processes that end.

use super::operation;
use crate::observation::{Exec, Executable, Exit, Name, Origin};
use norma_wire::pb;
use norma_wire::text::printable;

pub fn detail(exec: &Exec, in_container: bool) -> pb::Exec {
    let Executable {
        path,
        file,
        mtime_ns,
        ctime_ns,
        ..
    } = &exec.program;
    pb::Exec {
        filename: printable(&exec.filename),
        path_truncated: path.truncated,
        path_disconnected: path.disconnected,
        file_deleted: path.deleted,
        argv_truncated: exec.argv_truncated,
        inode: file.inode,
        dev: file.dev,
        origin: origin(&exec.program, in_container),
        mtime_ns: *mtime_ns,
        ctime_ns: *ctime_ns,
        is_script: exec.is_script,
        script: exec.script.as_ref().map(|script| pb::Script {
            path: Some(operation::path(&Name::Walked(script.path.clone()))),
            inode: script.file.inode,
            dev: script.file.dev,
            origin: origin(script, in_container),
            mtime_ns: script.mtime_ns,
            ctime_ns: script.ctime_ns,
            hash: None,
        }),
        environment: exec.environment.iter().map(|name| printable(name)).collect(),
        environment_truncated: exec.environment_truncated,
        hash: None,
    }
}

fn origin(file: &Executable, in_container: bool) -> String {
    match file.origin(in_container) {
        Origin::Unknown(why) => format!("unknown: {why}"),
        known => known.name().to_owned(),
    }
}

pub fn exit(exit: &Exit, duration_ns: u64) -> pb::Exit {
    let signal = exit.status & 0x7f;
    let (user_ns, system_ns) = split(exit);
    pb::Exit {
        code: (signal == 0).then_some((exit.status >> 8) & 0xff),
        signal: (signal != 0).then_some(signal),
        core_dumped: exit.status & 0x80 != 0,
        duration_ns,
        user_ns,
        system_ns,
        max_rss_bytes: exit.max_rss_pages.saturating_mul(procfs::page_size()),
    }
}

/// The time on a processor by where it was spent. The sum is exact; ticks of the clock only sample the parts,
/// so they give the proportion, which is how the kernel itself answers getrusage(2).
fn split(exit: &Exit) -> (u64, u64) {
    let total = exit.runtime_ns;
    match (exit.user_ns, exit.system_ns) {
        (_, 0) => (total, 0),
        (0, _) => (0, total),
        (user, system) => {
            let sampled = u128::from(user) + u128::from(system);
            // Not more than the total, which fits.
            let system = (u128::from(total) * u128::from(system) / sampled) as u64;
            (total - system, system)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(status: u32) -> pb::Exit {
        let exit = Exit {
            status,
            ..Exit::default()
        };
        super::exit(&exit, 1)
    }

    #[test]
    fn a_wait_status_is_a_code_or_a_signal() {
        assert_eq!((ended(3 << 8).code, ended(3 << 8).signal), (Some(3), None));
        let killed = ended(9 | 0x80);
        assert_eq!(
            (killed.code, killed.signal, killed.core_dumped),
            (None, Some(9), true)
        );
    }

    #[test]
    fn time_is_split_in_the_proportion_of_the_ticks() {
        let spent = |runtime_ns, user_ns, system_ns| {
            split(&Exit {
                runtime_ns,
                user_ns,
                system_ns,
                ..Exit::default()
            })
        };
        assert_eq!(spent(1_000, 0, 0), (1_000, 0));
        assert_eq!(spent(1_000, 0, 4), (0, 1_000));
        assert_eq!(spent(1_000, 3, 1), (750, 250));
        assert_eq!(
            spent(u64::MAX, u64::MAX, u64::MAX),
            (u64::MAX / 2 + 1, u64::MAX / 2)
        );
    }
}
