//! SHA-256 of what is executed, on request.
//!
//! The kernel's record of an exec names the file by device, inode and times. Its content is read later, on a
//! thread of its own: a file system can answer as slowly as it likes, and the pipeline never waits. An exec whose
//! hash is remembered has it at once; any other says that it is pending, and exactly one answer follows for each.
//!
//! What is hashed is the file that the record means, or nothing: the file that was opened must have the same
//! device, inode and times, before and after it was read. So it does not matter through which name it was
//! reached (the process's own, or a path below its root, which its container may change), or whether the process
//! id means another process by then. Only what the process still runs may have been touched, as by deleting it:
//! nobody can write to that.
//!
//! A hash is remembered only where those times prove that the content is still the same: a kernel that keeps the
//! times itself, a file that was not changed in the moment before the exec (times are as coarse as the clock's
//! ticks), and no script, which unlike a program may be open for writing while it runs. What was remembered is of
//! one control group, so that no container can prepare an answer for another.

mod file;

use crate::observation::{CgroupId, Executable, FileId, ProcessKey};
use file::{Found, Reader};
use lru::LruCache;
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::num::NonZeroUsize;
use std::sync::mpsc::{Receiver, Sender, SyncSender, TrySendError, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Hashes that are remembered: the programs of some hundred containers.
const REMEMBERED: NonZeroUsize = NonZeroUsize::MIN.saturating_add(8_191);
/// Files that wait to be read.
const QUEUE: usize = 256;
/// Execs that wait for an answer; each keeps what its answer needs to be told.
const WAITING_MAX: usize = 1_024;
/// Time from the exec to the answer.
const LIMIT: Duration = Duration::from_secs(60);
/// How much longer a thread may take before it counts as stuck in a file system that does not answer.
const GRACE: Duration = Duration::from_secs(5);
/// Threads that may be stuck before nothing is read any more.
const THREADS_MAX: usize = 4;
/// Longer than the tick of any kernel's clock, by which times of files are taken.
const TICK_NS: u64 = 20_000_000;

/// FUSE, whose server is a program like any other: it can answer differently each time.
const FUSE: u32 = 0x6573_5546;
/// File systems of which the kernel alone keeps content and times.
const LOCAL: [u32; 10] = [
    0x0000_ef53, // ext2 to ext4
    0x5846_5342, // xfs
    0x9123_683e, // btrfs
    0x2fc1_2fc1, // zfs
    0xf2f5_2010, // f2fs
    0x0102_1994, // tmpfs
    0x8584_58f6, // ramfs
    0x794c_7630, // overlayfs
    0x7371_7368, // squashfs
    0xe0f5_e1e2, // erofs
];

/// SHA-256 of a file's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sum(pub [u8; 32]);

impl fmt::Display for Sum {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        norma_wire::text::Hex(&self.0).fmt(out)
    }
}

/// What can be said of a hash when the exec is reported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hash {
    /// It was remembered.
    Known(Sum),
    /// An answer follows.
    Pending,
    /// There will be none.
    Unavailable(Unavailable),
}

/// Why there is no hash. The words begin with a stable name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    /// Neither the process nor a name leads to the file any more.
    #[error("gone: the process had ended, and the file was not found by its name")]
    Gone,
    /// The file is another, or has other content, than the one that was executed.
    #[error("changed: the file was changed or replaced after it was executed")]
    Changed,
    /// The file that was opened cannot be compared with the one that was executed.
    #[error("ambiguous: the kernel does not tell whether the file is the one that was executed")]
    Ambiguous,
    /// It is larger than the configuration allows.
    #[error("too large: {size} bytes, and max_bytes is {max}")]
    TooLarge {
        /// Size of the file in bytes.
        size: u64,
        /// The bound in bytes.
        max: u64,
    },
    /// It is no regular file.
    #[error("not regular: it is no regular file")]
    NotRegular,
    /// The file system is a program's.
    #[error("fuse: a program answers for the file system, so that its content proves nothing")]
    Fuse,
    /// Too many wait already.
    #[error("queue full: too many files are waiting to be read")]
    QueueFull,
    /// It took too long.
    #[error("slow: it was not read within {} seconds", LIMIT.as_secs())]
    Slow,
    /// The agent ends.
    #[error("stopped: the agent ended first")]
    Stopped,
    /// It cannot be read.
    #[error("unreadable: {0}")]
    Unreadable(String),
}

/// What the configuration asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HashConfig {
    /// Largest file that is read, in bytes.
    pub max_bytes: u64,
}

/// The part that a file has in an exec.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The process runs it.
    Program,
    /// An interpreter runs it.
    Script,
}

/// By whom a file was executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asker {
    /// The process.
    pub process: ProcessKey,
    /// Its control group.
    pub cgroup: CgroupId,
    /// A process that sees the same files, and lives longer: the first of the container.
    pub root_pid: Option<u32>,
    /// When, nanoseconds since 1970.
    pub wall_ns: u64,
}

/// A file with this content: the content is only changed with the times.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Stamp {
    file: FileId,
    mtime_ns: u64,
    ctime_ns: u64,
}

/// A file to be read, and the ways to it.
#[derive(Clone, Debug)]
struct Order {
    number: u64,
    stamp: Stamp,
    role: Role,
    process: ProcessKey,
    root_pid: Option<u32>,
    /// Its path from the root of the mount namespace, where it has one.
    path: Option<Arc<[u8]>>,
    deadline: Instant,
}

/// What a thread says.
enum Word {
    Began(usize, u64),
    Ended(usize, u64, Result<Found, Unavailable>),
}

/// An exec that waits.
struct Waiter<T> {
    asker: Asker,
    path: Option<Arc<[u8]>>,
    tag: T,
}

/// All execs that wait for one file.
struct Pending<T> {
    order: Order,
    remember: bool,
    waiters: VecDeque<Waiter<T>>,
}

/// What came of a pending hash.
#[derive(Debug)]
pub struct Answer<T> {
    /// What was given with the question.
    pub tag: T,
    /// The hash, or why there is none.
    pub result: Result<Sum, Unavailable>,
}

/// The stage. `T` is what an answer needs to be told.
pub struct Hasher<T> {
    config: HashConfig,
    remembered: LruCache<(CgroupId, Stamp), Sum>,
    pending: HashMap<u64, Pending<T>>,
    by_file: HashMap<(CgroupId, Stamp, bool), u64>,
    waiting: usize,
    next: u64,
    answers: Vec<Answer<T>>,
    orders: SyncSender<Order>,
    taken: Arc<Mutex<Receiver<Order>>>,
    words: Receiver<Word>,
    speak: Sender<Word>,
    /// What each thread works on, and until when it may.
    threads: Vec<Option<(u64, Instant)>>,
}

impl<T> Hasher<T> {
    /// Starts the thread; it ends when the hasher is dropped.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn start(config: HashConfig) -> std::io::Result<Self> {
        let (orders, taken) = sync_channel(QUEUE);
        let (speak, words) = channel();
        let mut this = Self {
            config,
            remembered: LruCache::new(REMEMBERED),
            pending: HashMap::new(),
            by_file: HashMap::new(),
            waiting: 0,
            next: 0,
            answers: Vec::new(),
            orders,
            taken: Arc::new(Mutex::new(taken)),
            words,
            speak,
            threads: Vec::new(),
        };
        this.add_thread()?;
        Ok(this)
    }

    /// The hash of an executed file. Where it is pending, [`Self::answers`] gives `tag` back with the answer.
    pub fn ask(&mut self, file: &Executable, role: Role, asker: Asker, tag: impl FnOnce() -> T) -> Hash {
        if file.magic == FUSE {
            return Hash::Unavailable(Unavailable::Fuse);
        }
        let stamp = Stamp {
            file: file.file,
            mtime_ns: file.mtime_ns,
            ctime_ns: file.ctime_ns,
        };
        let settled = asker.wall_ns > stamp.ctime_ns.saturating_add(TICK_NS);
        let remember = settled && role == Role::Program && LOCAL.contains(&file.magic);
        if remember && let Some(sum) = self.remembered.get(&(asker.cgroup, stamp)) {
            return Hash::Known(*sum);
        }
        if self.waiting >= WAITING_MAX {
            return Hash::Unavailable(Unavailable::QueueFull);
        }
        let path = &file.path;
        let named = !(path.truncated || path.disconnected || path.deleted) && path.bytes.starts_with(b"/");
        let waiter = |tag| Waiter {
            asker,
            path: named.then(|| Arc::from(path.bytes.as_slice())),
            tag,
        };
        // What is not settled may be different content for each of those that ask.
        let key = (asker.cgroup, stamp, role == Role::Program);
        if remember
            && let Some(pending) = self
                .by_file
                .get(&key)
                .and_then(|number| self.pending.get_mut(number))
        {
            pending.waiters.push_back(waiter(tag()));
            self.waiting += 1;
            return Hash::Pending;
        }
        let waiter = waiter(tag());
        let order = Order {
            number: self.next,
            stamp,
            role,
            process: asker.process,
            root_pid: asker.root_pid,
            path: waiter.path.clone(),
            deadline: Instant::now() + LIMIT,
        };
        match self.orders.try_send(order.clone()) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                return Hash::Unavailable(Unavailable::QueueFull);
            }
        }
        self.next += 1;
        if remember {
            self.by_file.insert(key, order.number);
        }
        self.waiting += 1;
        let pending = Pending {
            remember,
            waiters: VecDeque::from([waiter]),
            order,
        };
        self.pending.insert(pending.order.number, pending);
        Hash::Pending
    }

    /// What was found out since the last call; to be called every few milliseconds.
    pub fn answers(&mut self) -> Vec<Answer<T>> {
        while let Ok(word) = self.words.try_recv() {
            match word {
                Word::Began(thread, number) => {
                    let until = Instant::now() + LIMIT + GRACE;
                    self.threads[thread] = Some((number, until));
                }
                Word::Ended(thread, number, result) => {
                    self.threads[thread] = None;
                    self.settle(number, result);
                }
            }
        }
        if !self.pending.is_empty() {
            self.give_up_on_slow_ones();
        }
        std::mem::take(&mut self.answers)
    }

    /// Forgets what was remembered of a control group that is gone.
    pub fn forget(&mut self, cgroup: CgroupId) {
        let stale: Vec<_> = self
            .remembered
            .iter()
            .map(|(key, _)| *key)
            .filter(|(of, _)| *of == cgroup)
            .collect();
        for key in stale {
            self.remembered.pop(&key);
        }
    }

    /// The last answers: what is not there yet will not come.
    pub fn close(mut self) -> Vec<Answer<T>> {
        let mut answers = self.answers();
        for (_, pending) in self.pending.drain() {
            answers.extend(pending.waiters.into_iter().map(|waiter| Answer {
                tag: waiter.tag,
                result: Err(Unavailable::Stopped),
            }));
        }
        answers
    }

    fn settle(&mut self, number: u64, result: Result<Found, Unavailable>) {
        // Nobody waits any more for what was given up.
        let Some(mut pending) = self.remove(number) else {
            return;
        };
        match result {
            Ok(Found { sum, untouched }) => {
                if pending.remember
                    && untouched
                    && let Some(first) = pending.waiters.front()
                {
                    self.remembered
                        .put((first.asker.cgroup, pending.order.stamp), sum);
                }
                self.answer_all(pending, &Ok(sum));
            }
            // The process of another may still be there, and lead to the file.
            Err(Unavailable::Gone | Unavailable::Changed) if pending.waiters.len() > 1 => {
                if let (Some(first), Err(why)) = (pending.waiters.pop_front(), result) {
                    self.waiting -= 1;
                    self.answers.push(Answer {
                        tag: first.tag,
                        result: Err(why),
                    });
                }
                self.order_again(pending);
            }
            Err(why) => self.answer_all(pending, &Err(why)),
        }
    }

    fn order_again(&mut self, mut pending: Pending<T>) {
        let Some(next) = pending.waiters.front() else {
            return;
        };
        let order = Order {
            number: self.next,
            process: next.asker.process,
            root_pid: next.asker.root_pid,
            path: next.path.clone(),
            ..pending.order
        };
        if self.orders.try_send(order.clone()).is_err() {
            self.answer_all(pending, &Err(Unavailable::QueueFull));
            return;
        }
        self.next += 1;
        let key = (next.asker.cgroup, order.stamp, order.role == Role::Program);
        self.by_file.insert(key, order.number);
        pending.order = order;
        self.pending.insert(pending.order.number, pending);
    }

    fn answer_all(&mut self, pending: Pending<T>, result: &Result<Sum, Unavailable>) {
        self.waiting -= pending.waiters.len();
        self.answers
            .extend(pending.waiters.into_iter().map(|waiter| Answer {
                tag: waiter.tag,
                result: result.clone(),
            }));
    }

    fn remove(&mut self, number: u64) -> Option<Pending<T>> {
        let pending = self.pending.remove(&number)?;
        if let Some(first) = pending.waiters.front() {
            let Order { stamp, role, .. } = pending.order;
            let key = (first.asker.cgroup, stamp, role == Role::Program);
            if self.by_file.get(&key) == Some(&number) {
                self.by_file.remove(&key);
            }
        }
        Some(pending)
    }

    fn give_up_on_slow_ones(&mut self) {
        let now = Instant::now();
        let late: Vec<u64> = self
            .pending
            .values()
            .filter(|pending| pending.order.deadline <= now)
            .map(|pending| pending.order.number)
            .collect();
        for number in late {
            if let Some(pending) = self.remove(number) {
                self.answer_all(pending, &Err(Unavailable::Slow));
            }
        }
        let stuck = |thread: &Option<(u64, Instant)>| thread.is_some_and(|(_, until)| until <= now);
        if self.threads.iter().all(stuck) && self.threads.len() < THREADS_MAX {
            tracing::warn!(
                "a file system does not answer; files of executed programs are read by another thread"
            );
            if let Err(error) = self.add_thread() {
                tracing::error!(%error, "no further thread can be started");
            }
        }
    }

    fn add_thread(&mut self) -> std::io::Result<()> {
        let number = self.threads.len();
        let reader = Reader::new(self.config.max_bytes);
        let (taken, speak) = (Arc::clone(&self.taken), self.speak.clone());
        std::thread::Builder::new()
            .name(format!("hash-{number}"))
            .spawn(move || {
                while let Some(order) = next(&taken) {
                    let began = speak.send(Word::Began(number, order.number));
                    let result = reader.sum(&order);
                    if began.is_err() || speak.send(Word::Ended(number, order.number, result)).is_err() {
                        break;
                    }
                }
            })?;
        self.threads.push(None);
        Ok(())
    }
}

/// The next order; `None` when there will be none.
fn next(taken: &Mutex<Receiver<Order>>) -> Option<Order> {
    taken.lock().unwrap_or_else(PoisonError::into_inner).recv().ok()
}

#[cfg(test)]
mod tests;
