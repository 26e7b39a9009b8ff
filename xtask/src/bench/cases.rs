//! What is measured, and the bounds. A new kind of event is a line here and a mode of `norma-load`.

/// Where the load runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In a container: what it does is delivered.
    Container,
    /// On the host, which is muted: hooks run, and opens are not delivered.
    Host,
}

/// One operation in one place.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// Mode of `norma-load`.
    pub mode: &'static str,
    /// Where.
    pub place: Place,
    /// What one operation is.
    pub what: &'static str,
    /// Most processor time that it may cost to be watched, in nanoseconds for each operation.
    pub bound: Option<f64>,
    /// Names of the capabilities in `norma-agent doctor` that see it.
    pub capabilities: &'static [&'static str],
    /// How many times as long as others it is measured: what varies more needs more.
    pub weight: usize,
}

impl Case {
    /// The mode, with a mark where it is the muted variant.
    pub fn name(&self) -> String {
        match self.place {
            Place::Container => self.mode.to_owned(),
            Place::Host => format!("{}, muted", self.mode),
        }
    }
}

/// Everything.
pub const CASES: &[Case] = &[
    inside("null", "getppid", Some(8.0), &[]),
    inside("stat", "stat of /etc/hostname", Some(10.0), &[]),
    inside("read", "read of one byte of /dev/zero", None, &[]),
    inside(
        "open",
        "open + close of /etc/hostname, known",
        Some(150.0),
        &["open"],
    ),
    inside(
        "open-nameless",
        "the same of a file without a name, delivered",
        Some(400.0),
        &["open"],
    ),
    inside("open-write", "open for writing + close", None, &["open"]),
    inside("create", "create + close + unlink", None, &["open", "unlink"]),
    inside("rename", "rename", None, &["rename"]),
    inside("link", "link + unlink", None, &["link", "unlink"]),
    inside("chmod", "chmod", None, &["chmod"]),
    inside("map-code", "mmap of a file as code + munmap", None, &["mmap"]),
    inside(
        "tcp",
        "connect + accept + close of both ends",
        Some(600.0),
        &["connect", "accept"],
    ),
    inside(
        "tcp-known",
        "the same with a known peer, counted",
        Some(600.0),
        &["connect", "accept"],
    ),
    inside("udp", "socket + sendto + recv + close", None, &["udp"]),
    inside("udp-send", "sendto + recv, same socket", None, &["udp"]),
    inside("unix", "connect + accept + close, Unix socket", None, &["unix"]),
    inside("thread", "a thread, started and joined", None, &["fork", "exit"]),
    Case {
        weight: 3,
        ..inside(
            "spawn",
            "fork + exec + exit + wait, static",
            Some(8_000.0),
            &["exec", "fork", "exit"],
        )
    },
    inside("mixed", "201 operations as of a server", None, &[]),
    outside("null", "getppid", Some(8.0)),
    outside("open", "open + close of /etc/hostname", None),
    outside("tcp", "connect + accept + close of both ends", None),
    outside("spawn", "fork + exec + exit + wait, static", None),
];

const fn inside(
    mode: &'static str,
    what: &'static str,
    bound: Option<f64>,
    capabilities: &'static [&'static str],
) -> Case {
    Case {
        mode,
        place: Place::Container,
        what,
        bound,
        capabilities,
        weight: 1,
    }
}

const fn outside(mode: &'static str, what: &'static str, bound: Option<f64>) -> Case {
    Case {
        mode,
        place: Place::Host,
        what,
        bound,
        capabilities: &[],
        weight: 1,
    }
}
