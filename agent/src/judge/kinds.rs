//! Kinds of findings: one table, from which verdicts are worded, weighed and documented.
//!
//! docs/findings.md is this table in words; a test holds the two together, and `norma-agent findings` prints it.

use norma_wire::pb::{Severity, Verdict};
use std::fmt::Write as _;

/// Under what circumstances an act of a kind is a finding. What a policy allows or a person approved never is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Holds {
    /// Where it is novel to a baseline that is ready.
    Novel,
    /// Also where acts of its field never stop being new, so that novelty says nothing.
    OpenField,
    /// Where it is novel, and while the workload is learned where its program was watched for as long as it takes to
    /// say that it does nothing of the kind.
    Unprecedented,
    /// As [`Self::OpenField`], and the first time that a workload does it while it is learned, once its container has
    /// started up: what decides over the next start or the next login does not become normal without being said.
    FirstSeen,
    /// Always: also while the workload is learned, and however often it was done before. It is never learned.
    Always,
}

impl Holds {
    /// In words that follow "a finding".
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Novel => "where it is new to a baseline that is ready",
            Self::OpenField => {
                "where it is new to a baseline that is ready, or the field never stops bringing what is new"
            }
            Self::Unprecedented => {
                "where it is new to a baseline that is ready; while the workload is learned (but for the start-up of its \
                 containers), where the program that started it was seen in three long sampling units, twelve hours, \
                 without starting one, and is none whose purpose that is"
            }
            Self::FirstSeen => {
                "where it is new to the baseline, also while the workload is learned (but for the start-up of its \
                 containers), or the field never stops bringing what is new"
            }
            Self::Always => "always, also while the workload is learned; it is never learned",
        }
    }
}

/// What is known of a kind of finding.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Stable name.
    pub code: &'static str,
    /// What was done.
    pub what: &'static str,
    /// What it weighs by itself, 0 to 100: how much an intruder would have gained by it.
    pub weight: u32,
    /// It is at least of high severity, however usual it looks.
    pub grave: bool,
    /// When it is a finding.
    pub holds: Holds,
    /// Identifiers of controls and techniques.
    pub controls: &'static [&'static str],
    /// Why it matters.
    pub why: &'static str,
    /// What to look at next.
    pub next: &'static str,
}

macro_rules! kinds {
    ($($name:ident $code:literal $what:literal $weight:literal $grave:ident $holds:ident
        [$($control:literal),*] $why:literal $next:literal;)*) => {
        /// A kind of finding; [`FindingKind::row`] has what is known of it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum FindingKind {
            $(#[doc = $what] $name,)*
        }

        impl FindingKind {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// What is known of it.
            #[must_use]
            pub const fn row(self) -> &'static Row {
                match self {
                    $(Self::$name => &Row {
                        code: $code,
                        what: $what,
                        weight: $weight,
                        grave: kinds!(@$grave),
                        holds: Holds::$holds,
                        controls: &["NIST 800-53 SI-4", $($control),*],
                        why: $why,
                        next: $next,
                    },)*
                }
            }
        }
    };
    (@grave) => { true };
    (@mild) => { false };
}

kinds! {
    Fileless "drift.fileless-execution" "A program was executed that has no file: from memory (memfd), or deleted"
        95 grave Always ["NIST 800-53 CM-7(5)", "NIST 800-53 SI-16", "MITRE ATT&CK T1620"]
        "a program without a file leaves nothing to examine, which is why intruders run theirs so"
        "the process's memory and descriptors while it still runs (/proc/PID/exe, /proc/PID/fd), and what started it";
    NotInImage "drift.executable-not-in-image" "A program or script was executed that was made or changed in the running container"
        85 grave Always ["NIST 800-53 CM-7(5)", "NIST 800-53 SI-7", "NIST 800-53 CM-14", "MITRE ATT&CK T1105", "MITRE ATT&CK T1554"]
        "what the image did not ship was brought in by somebody: a dropped tool, or a changed program"
        "which process wrote the file and from where it got it: the incident's earlier writes and connections; compare the file with the image's";
    OnTmpfs "drift.executable-in-memory-filesystem" "A program or script was executed from a filesystem in memory, such as /dev/shm"
        85 grave Always ["NIST 800-53 CM-7(5)", "NIST 800-53 SI-7", "MITRE ATT&CK T1105", "MITRE ATT&CK T1027"]
        "such files are gone with the container, and are writable where all else may be read-only"
        "which process wrote the file, and its content while the container still runs";
    OnVolume "drift.executable-on-volume" "A program or script was executed from a mounted volume"
        60 mild OpenField ["NIST 800-53 CM-7(5)", "NIST 800-53 SI-7", "MITRE ATT&CK T1105"]
        "nobody vouched for what lies on a volume: it did not come with the image, and others may write there"
        "what is mounted there and who else can write it; approve it if the workload is meant to run it";
    EscapeTool "drift.escape-tool" "A program was started whose only purpose is to enter the namespaces of others (nsenter)"
        90 grave Always ["NIST 800-53 AC-6", "NIST 800-53 SC-39", "MITRE ATT&CK T1611"]
        "from within a container, such a program is the step out of it"
        "whether the container has the privileges for it to succeed, and what the program did next on the node";
    RuntimeSocket "drift.container-runtime-socket" "The socket of a container runtime was reached for"
        95 grave Always ["NIST 800-53 AC-6", "NIST 800-53 SC-39", "MITRE ATT&CK T1611", "MITRE ATT&CK T1609"]
        "whoever speaks to the runtime can start a container that owns the node"
        "the runtime's log for containers made since, and why the socket is mounted into this container";
    EscapeFile "drift.kernel-escape-file" "A file was written by which the kernel starts programs outside of containers"
        95 grave Always ["NIST 800-53 SC-39", "NIST 800-53 CM-5", "MITRE ATT&CK T1611"]
        "core_pattern, release_agent and the like make the kernel run a program as root on the node"
        "the file's content now, on the node, and processes that the kernel started since";
    HostMount "drift.host-mount" "A device or a control group hierarchy was mounted within the container"
        90 grave Always ["NIST 800-53 AC-6", "NIST 800-53 SC-39", "MITRE ATT&CK T1611"]
        "mounting a disk of the node, or control groups, is how files of the node are reached from a container"
        "what was mounted and what was read and written below it since";
    KernelCode "drift.kernel-code" "A kernel module or another kernel was loaded"
        95 grave Always ["NIST 800-53 CM-7", "NIST 800-53 SC-39", "MITRE ATT&CK T1547.006", "MITRE ATT&CK T1611"]
        "code in the kernel can do everything on the node, and hide it"
        "lsmod and the kernel's log on the node; do not trust what the node itself tells";
    RawDevice "drift.raw-device" "A disk, the memory or the ports of the machine were opened or made as a device"
        90 grave Always ["NIST 800-53 AC-6", "NIST 800-53 SC-39", "MITRE ATT&CK T1611", "MITRE ATT&CK T1006"]
        "a raw device holds the node's files and secrets past every permission"
        "which device it was and what was read or written; why the container may use it";
    SessionReadsCredentials "drift.credentials-read-in-session" "A session opened from outside read credentials or keys"
        85 grave Always ["NIST 800-53 AC-6", "NIST 800-53 IA-5", "MITRE ATT&CK T1552.001", "MITRE ATT&CK T1609"]
        "whoever may enter a container is not thereby meant to have its keys"
        "who opened the session: the API server's audit log for pods/exec at this time; then change what was read";
    ReadsCredentials "drift.credentials-read" "A file with credentials or keys was read that was not read before"
        85 grave OpenField ["NIST 800-53 AC-6", "NIST 800-53 IA-5", "MITRE ATT&CK T1552.001", "MITRE ATT&CK T1003.008"]
        "the file holds credentials or keys, which are what an intruder looks for to get further"
        "where the reading process sent data since, and who uses the credentials now; change them if in doubt";
    ProbesCredentials "drift.credentials-probed" "Opening a file with credentials or keys was tried and failed"
        60 mild OpenField ["NIST 800-53 AC-6", "MITRE ATT&CK T1552.001", "MITRE ATT&CK T1083"]
        "nobody reaches by chance for a key that is not his"
        "what else the same process looked for";
    MetadataService "drift.cloud-metadata-service" "The cloud's metadata service was asked"
        85 grave FirstSeen ["NIST 800-53 AC-6", "NIST 800-53 SC-7(5)", "MITRE ATT&CK T1552.005"]
        "it hands out the node's own credentials to whoever asks"
        "the cloud's audit log for use of the node's role from elsewhere; block the address for pods";
    Persistence "drift.persistence" "A file was changed that decides what is started, or who may log in"
        85 grave FirstSeen ["NIST 800-53 SI-7", "NIST 800-53 CM-5", "MITRE ATT&CK T1053.003", "MITRE ATT&CK T1098.004", "MITRE ATT&CK T1546.004"]
        "schedules, start-up scripts, accounts and authorized keys are how an intruder comes back"
        "the file's content, and remove what was added; then how the process came to run";
    WritesBinary "drift.binary-changed" "A file was changed where programs lie"
        80 grave FirstSeen ["NIST 800-53 SI-7", "NIST 800-53 CM-14", "MITRE ATT&CK T1554", "MITRE ATT&CK T1036.005"]
        "what lies there is what runs next time"
        "compare the file with the image's, and look for starts of it since";
    WritesLibrary "drift.library-changed" "A file was changed where libraries or the loader's settings lie"
        80 grave FirstSeen ["NIST 800-53 SI-7", "NIST 800-53 CM-14", "MITRE ATT&CK T1574.006"]
        "a library runs within every program that loads it"
        "compare the file with the image's, and look for programs started since";
    KernelSetting "drift.kernel-setting" "A setting of the kernel was changed"
        80 grave FirstSeen ["NIST 800-53 CM-5", "NIST 800-53 CM-6", "MITRE ATT&CK T1562"]
        "settings of the kernel hold for the whole node"
        "which setting it was, its value now, and set it back";
    SetUid "drift.setuid-file" "A file was given the right to run as another user, or with capabilities"
        85 grave FirstSeen ["NIST 800-53 AC-6(9)", "NIST 800-53 SI-7", "MITRE ATT&CK T1548.001"]
        "whoever starts it later has those rights: a way back to root"
        "which file it is, who started it since, and take the right away";
    WritesConfiguration "drift.configuration-changed" "A file was changed where configuration lies"
        65 mild Novel ["NIST 800-53 SI-7", "NIST 800-53 CM-5", "MITRE ATT&CK T1565.001"]
        "configuration decides what programs do and whom they trust"
        "what changed in the file, and whether a rollout explains it";
    RemovesTraces "drift.traces-removed" "A log or a shell's history was removed, cut or made to lead nowhere"
        65 mild OpenField ["NIST 800-53 AU-9", "MITRE ATT&CK T1070.002", "MITRE ATT&CK T1070.003"]
        "who removes traces had some to remove"
        "this incident's other findings, and the copies of the log elsewhere";
    NewShell "drift.shell-or-interpreter" "A shell or an interpreter was started by a program that did not start it before"
        85 mild Unprecedented ["NIST 800-53 CM-7(5)", "MITRE ATT&CK T1059.004", "MITRE ATT&CK T1059.006", "MITRE ATT&CK T1190"]
        "a service that suddenly starts a shell is the classic sign that somebody else gives it orders"
        "the command line, the requests that the service took at this time, and what the shell started";
    PackageManager "drift.package-manager" "A package manager was started"
        75 mild Novel ["NIST 800-53 CM-11", "NIST 800-53 CM-7(5)", "MITRE ATT&CK T1105"]
        "a running container is not installed into: programs come with its image"
        "what was installed, by whom, and rebuild the image if it was meant";
    UnknownExecutable "drift.unknown-executable" "A program was started that the workload did not run before"
        80 mild Novel ["NIST 800-53 CM-7(5)", "MITRE ATT&CK T1059"]
        "a program that the workload never needed is the usual first sign of an intrusion"
        "the command line and what started it, then what it read, wrote and connected to";
    UnknownParent "drift.unknown-parent" "A known program was started by one that did not start it before"
        55 mild Novel ["NIST 800-53 CM-7(5)", "MITRE ATT&CK T1059"]
        "the program is known here, but not started by this one: an intruder often drives a container's own tools"
        "the command line, and what made the parent start it";
    NewScript "drift.new-script" "An interpreter that is known here ran a script, or took a command line, that it did not before"
        50 mild Novel ["NIST 800-53 CM-7(5)", "MITRE ATT&CK T1059"]
        "an interpreter does whatever its script says, so that a known one can do anything"
        "the command line and the script's content";
    NewCommandLine "drift.new-command-line" "A program was started as before, but with other kinds of arguments"
        25 mild Novel ["NIST 800-53 CM-7(5)", "MITRE ATT&CK T1059"]
        "the same program with other arguments can do something else"
        "the command line, against those that were usual";
    SessionProgram "drift.session-program" "Somebody had the container runtime start a program in the running container"
        60 mild Novel ["NIST 800-53 AC-6", "NIST 800-53 AC-17", "MITRE ATT&CK T1609"]
        "the program did not come from the workload itself: somebody entered the container"
        "who opened the session: the API server's audit log for pods/exec at this time, and what the session did";
    NewLibrary "drift.new-library" "Code was mapped from a file that was not mapped before"
        55 mild Novel ["NIST 800-53 SI-7", "MITRE ATT&CK T1574.006"]
        "code that the program did not load before runs with its rights"
        "where the file comes from and who wrote it";
    ReadsAtStart "drift.start-up-read" "A program that is new here read what every program reads when it starts"
        4 mild Novel ["NIST 800-53 AC-6", "MITRE ATT&CK T1005"]
        "the new program was reported as such; that it loads its libraries adds nothing"
        "the finding about the program itself";
    NewReader "drift.new-reader" "A file was read by a program that did not read it before, or is new here itself"
        35 mild Novel ["NIST 800-53 AC-6", "MITRE ATT&CK T1005"]
        "reading what was never needed can be the search for secrets or for a way on"
        "what the file holds, and what else the program read";
    NewRead "drift.new-read" "A file was read that nothing in the workload read before"
        50 mild Novel ["NIST 800-53 AC-6", "MITRE ATT&CK T1005"]
        "reading what was never needed can be the search for secrets or for a way on"
        "what the file holds, and what else the program read";
    NewWrite "drift.new-write" "A file was made or written that was not before"
        50 mild Novel ["NIST 800-53 SI-7", "MITRE ATT&CK T1565.001"]
        "writing where nothing was written before can plant a program or change data"
        "the file's content, and whether it is executed later";
    NewDelete "drift.new-removal" "A file was removed that was not before"
        40 mild Novel ["NIST 800-53 SI-7", "MITRE ATT&CK T1070.004", "MITRE ATT&CK T1485"]
        "removing files can hide something or do damage"
        "what was removed, and by what";
    NewAttribute "drift.new-attribute" "Mode, owner or attributes of a file were changed as they were not before"
        40 mild Novel ["NIST 800-53 SI-7", "MITRE ATT&CK T1222.002"]
        "changed permissions open a file to others or make it executable"
        "the file's mode and owner now";
    Probing "drift.probing" "Opening a file was tried and failed as it did not before"
        30 mild Novel ["NIST 800-53 AC-6", "MITRE ATT&CK T1083"]
        "refused opens show what somebody looks for"
        "what else the same process looked for";
    Burst "drift.burst" "Far more new names came in an hour than ever were to be expected"
        70 mild OpenField ["NIST 800-53 SI-4(4)", "MITRE ATT&CK T1486", "MITRE ATT&CK T1083"]
        "mass changes and mass searches show by their number, where no single name is remarkable"
        "which program makes them and below which directory or domain; look at some of the files";
    NewPeer "drift.new-peer" "A peer was connected to that was not before"
        75 mild Novel ["NIST 800-53 SC-7(5)", "MITRE ATT&CK T1071", "MITRE ATT&CK T1041"]
        "a new peer can be a command channel, the way out for data, or the next victim"
        "who the peer is, how much was sent, and what made the program connect";
    NewDomain "drift.new-domain" "A peer was connected to under a name that was not before"
        70 mild Novel ["NIST 800-53 SC-7(5)", "MITRE ATT&CK T1071", "MITRE ATT&CK T1567"]
        "a new peer can be a command channel, the way out for data, or the next victim"
        "who owns the name and since when, and how much was sent";
    NewPort "drift.new-port" "A known peer was connected to on another port"
        60 mild Novel ["NIST 800-53 SC-7(5)", "MITRE ATT&CK T1571", "MITRE ATT&CK T1046"]
        "another port is another service of the peer, or the search for one"
        "what listens there, and whether more ports were tried";
    NewClient "drift.new-client" "A known peer was connected to by a program that did not before"
        55 mild Novel ["NIST 800-53 SC-7(5)", "MITRE ATT&CK T1071"]
        "an intruder goes where the workload may go, with tools of his own"
        "what started the program, and what it sent";
    NewListener "drift.new-listener" "A port was listened on that was not before"
        75 mild Novel ["NIST 800-53 SC-7", "NIST 800-53 CM-7", "MITRE ATT&CK T1571", "MITRE ATT&CK T1205"]
        "a new listening port can be a back door"
        "what listens, and who has connected to it";
    NewInboundClass "drift.new-inbound-class" "A connection was accepted from a kind of peer that none came from before"
        50 mild Novel ["NIST 800-53 SC-7", "MITRE ATT&CK T1133", "MITRE ATT&CK T1021"]
        "a service that only the cluster used should not suddenly be used from elsewhere"
        "how the port became reachable: services, host ports, load balancers";
    NewName "drift.new-dns-name" "A name was asked for that was not before"
        35 mild Novel ["NIST 800-53 SC-7", "NIST 800-53 SC-20", "MITRE ATT&CK T1071.004"]
        "a name that was not asked for before leads to a new peer, or carries data out by itself"
        "who owns the name, and whether the program connected to it";
    EncodedName "drift.dns-encoded-name" "A name was asked for that looks made by a machine: long, and of high entropy"
        70 mild Novel ["NIST 800-53 SC-7", "MITRE ATT&CK T1568.002", "MITRE ATT&CK T1071.004"]
        "domains of malware are computed, and data that leaves by DNS is encoded: both look like this"
        "the other names below the same domain, and who owns it";
    DnsTunnel "drift.dns-tunnel" "Very many distinct names were asked for below one registered domain"
        90 grave Always ["NIST 800-53 SC-7", "NIST 800-53 SC-7(10)", "MITRE ATT&CK T1048.003", "MITRE ATT&CK T1572", "MITRE ATT&CK T1071.004"]
        "each new name carries data to whoever owns the domain, past every rule for connections"
        "who owns the domain, which program asks, and block the domain at the resolver";
    RawSocket "drift.raw-socket" "A socket was made that sees or sends packets past the rules for connections"
        70 mild OpenField ["NIST 800-53 SC-7", "MITRE ATT&CK T1040"]
        "such sockets see or send packets past the rules for connections, or steer the kernel's network"
        "what the program is, and drop CAP_NET_RAW if the workload does not need it";
    RouteSocket "drift.netlink-route" "The network's configuration was asked for"
        20 mild Novel ["NIST 800-53 SC-7", "MITRE ATT&CK T1016"]
        "such sockets read the network's configuration and, with the right to do so, change it"
        "what else the program did: resolvers do this too";
    LocalSocket "drift.local-socket" "A socket of this machine was connected to, bound or listened on that was not before"
        45 mild Novel ["NIST 800-53 SC-7", "MITRE ATT&CK T1559"]
        "a new way in or out of the container"
        "who is at the other end of the socket";
    Tracing "drift.process-access" "Another process was traced, or its memory read or written"
        75 mild OpenField ["NIST 800-53 SI-16", "NIST 800-53 AC-6", "MITRE ATT&CK T1055", "MITRE ATT&CK T1003.007"]
        "code or data of a running process is changed or read past its file: secrets, or another's program"
        "which process it was, and what that holds";
    ExecutableMemory "drift.executable-memory" "Memory that no file backs, or that was written, became executable"
        65 mild Novel ["NIST 800-53 SI-16", "MITRE ATT&CK T1620", "MITRE ATT&CK T1055"]
        "code that came from nowhere runs in a program: a just-in-time compiler does this, and so does an exploit"
        "whether the program has such a compiler, and what it did next";
    Namespaces "drift.namespace" "A process entered or made namespaces"
        80 grave OpenField ["NIST 800-53 SC-39", "NIST 800-53 AC-6", "MITRE ATT&CK T1611"]
        "leaving the container's namespaces is a step out of it"
        "which namespaces, and where the process is now (/proc/PID/ns)";
    Mounts "drift.mount" "Mounts were changed within the container"
        80 grave OpenField ["NIST 800-53 AC-6", "NIST 800-53 SC-39", "MITRE ATT&CK T1611"]
        "changing what is mounted is how files of the host come into a container, or a container's are hidden"
        "what was mounted where, and what was opened below it";
    ControlGroup "drift.control-group" "A process was moved to another control group"
        75 grave OpenField ["NIST 800-53 SC-39", "NIST 800-53 SC-6", "MITRE ATT&CK T1611"]
        "another control group has other limits, and makes a process look like another container's"
        "which group it was, and what the process did there";
    GainsPrivilege "drift.privilege-gain" "A process became root, or another user with more rights"
        80 mild OpenField ["NIST 800-53 AC-6(9)", "MITRE ATT&CK T1548", "MITRE ATT&CK T1068"]
        "the process has rights that it was not started with"
        "by which program (setuid, sudo) it came to them, and what it did since";
    Privilege "drift.privilege" "A process changed its users, groups or capabilities"
        55 mild Novel ["NIST 800-53 AC-6(9)", "MITRE ATT&CK T1548"]
        "the process takes other rights than it was started with"
        "what the rights are now";
    NewCapability "drift.new-capability" "A program used a capability that it did not use before"
        65 mild Novel ["NIST 800-53 AC-6", "NIST 800-53 AC-6(9)", "NIST 800-53 CM-7", "MITRE ATT&CK T1548", "MITRE ATT&CK T1611"]
        "a part of root's power is exercised that the program never needed: what is taken over, or steps out of its container, shows by it"
        "what the program did at this time and for what it needed the capability; take it from the container if nothing does (`baseline export --format security-context`)";
    Restricts "drift.privilege-given-up" "A process restricted itself"
        4 mild Novel ["NIST 800-53 AC-6", "MITRE ATT&CK T1548"]
        "giving up rights is what good programs do; it only shows that a program does something new"
        "nothing by itself";
    Bpf "drift.bpf" "A BPF program was loaded or attached"
        85 grave OpenField ["NIST 800-53 CM-7", "NIST 800-53 SI-4", "MITRE ATT&CK T1611", "MITRE ATT&CK T1014"]
        "BPF programs see, change and hide what happens on the whole node"
        "bpftool prog list on the node";
    KernelFacility "drift.kernel-facility" "A facility of the kernel was used that few programs need"
        65 mild Novel ["NIST 800-53 CM-7", "MITRE ATT&CK T1068"]
        "keys, io_uring, performance events and the like are where the kernel was most often broken"
        "whether the program is known to use it; a seccomp profile can refuse it";
    Signals "drift.signal" "A signal was sent as none was before"
        50 mild Novel ["NIST 800-53 AC-6", "MITRE ATT&CK T1489"]
        "signals can stop what watches or protects"
        "which process it was sent to, and whether that still runs";
    Renames "drift.process-renamed" "A process changed its own name"
        25 mild Novel ["NIST 800-53 SI-4", "MITRE ATT&CK T1036.005"]
        "a process that changes its name may want to look like another"
        "its executable, which it cannot change";
    ExecFailed "drift.exec-failed" "Starting a program was tried and failed"
        25 mild Novel ["NIST 800-53 CM-7(5)", "MITRE ATT&CK T1059"]
        "trying programs that are not there is how an intruder finds out what there is"
        "what else the same process tried";
    Other "drift.other" "Something was done that was not done before"
        40 mild Novel ["MITRE ATT&CK T1565.001"]
        "it is not part of what the workload does"
        "the event's details";
}

impl FindingKind {
    /// Stable name.
    #[must_use]
    pub const fn code(self) -> &'static str {
        self.row().code
    }

    /// The kind of a verdict's first reason; `None` for one of a policy.
    #[must_use]
    pub fn of_verdict(verdict: &Verdict) -> Option<Self> {
        let reason = verdict.reasons.first()?;
        Self::ALL.iter().copied().find(|kind| kind.code() == reason.code)
    }

    /// Severity of a score, which never is below what the kind calls for.
    #[must_use]
    pub const fn severity(self, score: u32) -> Severity {
        match score {
            90.. => Severity::Critical,
            70.. => Severity::High,
            _ if self.row().grave => Severity::High,
            45.. => Severity::Medium,
            20.. => Severity::Low,
            _ => Severity::Info,
        }
    }
}

/// The table as a document.
#[must_use]
pub fn markdown() -> String {
    let mut text = HEAD.to_owned();
    for kind in FindingKind::ALL {
        let row = kind.row();
        let floor = if row.grave { ", at least high" } else { "" };
        let least = kind.severity(row.weight.saturating_sub(super::weigh::SWING));
        let most = kind.severity((row.weight + super::weigh::SWING).min(100));
        // Writing to a String cannot fail.
        let _infallible = write!(
            text,
            "\n## {}\n\n{}.\n\n- A finding {}.\n- Weight {}{floor}; severity {}.\n- Why it matters: {}.\n- Look at next: {}.\n- {}\n",
            row.code,
            row.what,
            row.holds.words(),
            row.weight,
            span(least, most),
            row.why,
            row.next,
            row.controls.join(", "),
        );
    }
    text
}

fn span(least: Severity, most: Severity) -> String {
    let name = |severity: Severity| norma_wire::json::name::<Severity>(severity.into());
    if least == most {
        name(least)
    } else {
        format!("{} to {}", name(least), name(most))
    }
}

const HEAD: &str = "\
<!-- Printed by `norma-agent findings --output markdown`; a test fails where the two differ. -->
# Findings

Every kind of finding that the agent makes by itself, by the code that its events carry in `verdict.reasons[].code`.
Findings of declared policy have the codes `policy.exec`, `policy.open`, `policy.connect`, `policy.listen` and
`policy.act`; findings about how a container is set up begin with `posture.`. What a policy allows, or a person
approved, is no finding; neither is what a probe does (`session.probe`: a command that the runtime starts in the
container at a regular distance, with the same acts each time, none of them of a kind that is at least high).

## How the score comes about

A kind has a weight, 0 to 100: how much an intruder would have gained by such an act. How unusual the act is for this
workload is the sum S of four terms, in powers of ten, each of which the event shows with its reason
(`verdict.terms`): how few new behaviours were to be expected (`novelty`), how few workloads of the node do it
(`fleet`), how few replicas do it (`replicas`), and where the program comes from (`image`).

    score = weight + 15 × clamp((S − 2) / 2, −1, 1), from 0 to 100

S = 2, one in a hundred, leaves the weight as it is. The terms move the score by 15 points at most, since they are
estimates that somebody who floods the baseline can push; the weight cannot be moved. Critical from 90 on, high from
70, medium from 45, low from 20, below that information, which is no alert. Kinds that are at least high stay so
whatever the terms say.

What a new revision of a workload that had been learned does differently in its first hours (`learning.release_after`)
is reported as one release delta. Until then, kinds of less than weight 70 that are not grave are events of severity
information; all others, and whatever a session does, are findings as ever.
";

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_kind_has_a_code_of_its_own_a_technique_and_a_control() {
        let mut codes = HashSet::new();
        for kind in FindingKind::ALL {
            let row = kind.row();
            assert!(codes.insert(row.code), "{} twice", row.code);
            assert!(row.code.starts_with("drift."), "{}", row.code);
            for family in ["NIST 800-53 ", "MITRE ATT&CK T"] {
                let named = row.controls.iter().any(|control| control.starts_with(family));
                assert!(named, "{} has no {family}", row.code);
            }
            for text in [row.what, row.why, row.next] {
                assert!(!text.is_empty() && !text.ends_with('.'), "{}: {text}", row.code);
            }
        }
    }

    #[test]
    fn what_always_holds_or_is_grave_is_never_below_high() {
        for kind in FindingKind::ALL {
            let row = kind.row();
            if row.holds == Holds::Always {
                assert!(row.grave, "{}", row.code);
            }
            if row.grave {
                assert!(kind.severity(0) >= Severity::High, "{}", row.code);
            }
        }
    }

    #[test]
    fn the_document_is_the_table() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/findings.md");
        let written = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            written == markdown(),
            "docs/findings.md is not what `norma-agent findings --output markdown` prints; print it anew"
        );
    }
}
