//! A key in a token, and the thread that speaks to it.
//!
//! The token may be slow, or be gone, and then nothing waits longer than [`PATIENCE`] for it. One that failed is opened
//! anew for the next question.

use super::session::{Open, TokenFault, Use};
use super::uri::Pkcs11Uri;
use norma_tlog::key::KeyError;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError, channel};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// For an answer. Longer, and acknowledgements would begin to wait.
const PATIENCE: Duration = Duration::from_secs(5);
/// For the first answer, at the start.
const PATIENCE_AT_START: Duration = Duration::from_secs(30);

/// A key in a token.
pub struct InToken<K: Use> {
    uri: Pkcs11Uri,
    identity: K::Identity,
    speaker: Speaker<K>,
    /// The answer that was not waited for.
    late: Mutex<Option<Receiver<Answered<K>>>>,
}

/// The thread that speaks to the token. When it is dropped the thread has ended, and with it the library's work: a process
/// that exits under a library that is at work can crash.
struct Speaker<K: Use> {
    /// `None` while it is dropped.
    work: Option<Sender<Job<K>>>,
    thread: Option<JoinHandle<()>>,
    /// Says nothing but that the thread is at its end.
    ended: Mutex<Receiver<()>>,
}

type Answered<K> = Result<<K as Use>::Answer, TokenFault>;

struct Job<K: Use> {
    ask: K::Ask,
    answer: Sender<Answered<K>>,
}

/// A token that does not do its work.
#[derive(Debug, thiserror::Error)]
#[error("{uri}: {fault}")]
pub struct TokenError {
    uri: String,
    fault: Box<Why>,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum Why {
    #[error(transparent)]
    Fault(#[from] TokenFault),
    #[error("the token does not answer; it was waited for {} s", .0.as_secs())]
    Slow(Duration),
    #[error("the token still has not answered what it was asked before")]
    Stuck,
    #[error("what speaks to the token ended; the collector has to be started again")]
    Ended,
    #[error(
        "a token keeps no name of a log with the key: say which, as `audit.origin` or `--origin`, such as `logs.example.org/norma`"
    )]
    NoOrigin,
    #[error(transparent)]
    Origin(KeyError),
    #[error("cannot start what speaks to the token: {0}")]
    Thread(std::io::Error),
}

impl<K: Use> InToken<K> {
    /// Opens the key.
    pub fn open(uri: &Pkcs11Uri) -> Result<Self, TokenError> {
        let failed = |why: Why| told(uri, why);
        let (opened, first) = channel();
        let inner = uri.clone();
        let speaker = Speaker::start(move |jobs| {
            let open = match Open::<K>::begin(&inner) {
                Ok(open) => open,
                Err(fault) => return drop(opened.send(Err(fault))),
            };
            let identity = open.identity().clone();
            if opened.send(Ok(identity.clone())).is_ok() {
                serve(&inner, &identity, open, jobs);
            }
        })
        .map_err(|error| failed(Why::Thread(error)))?;
        let identity = match first.recv_timeout(PATIENCE_AT_START) {
            Ok(identity) => identity.map_err(|fault| failed(fault.into()))?,
            Err(RecvTimeoutError::Timeout) => return Err(failed(Why::Slow(PATIENCE_AT_START))),
            Err(RecvTimeoutError::Disconnected) => return Err(failed(Why::Ended)),
        };
        Ok(Self {
            uri: uri.clone(),
            identity,
            speaker,
            late: Mutex::default(),
        })
    }

    /// Where it is.
    pub fn uri(&self) -> &Pkcs11Uri {
        &self.uri
    }

    /// Tells it from others.
    pub fn identity(&self) -> &K::Identity {
        &self.identity
    }

    /// Has it do its work.
    pub fn ask(&self, ask: K::Ask) -> Result<K::Answer, TokenError> {
        let failed = |why: Why| told(&self.uri, why);
        let mut late = self.late.lock().unwrap_or_else(PoisonError::into_inner);
        if late
            .as_ref()
            .is_some_and(|late| matches!(late.try_recv(), Err(TryRecvError::Empty)))
        {
            return Err(failed(Why::Stuck));
        }
        *late = None;
        let (answer, answered) = channel();
        let sent = self
            .speaker
            .work
            .as_ref()
            .map(|work| work.send(Job { ask, answer }));
        if !matches!(sent, Some(Ok(()))) {
            return Err(failed(Why::Ended));
        }
        match answered.recv_timeout(PATIENCE) {
            Ok(answered) => answered.map_err(|fault| failed(fault.into())),
            Err(RecvTimeoutError::Timeout) => {
                *late = Some(answered);
                Err(failed(Why::Slow(PATIENCE)))
            }
            Err(RecvTimeoutError::Disconnected) => Err(failed(Why::Ended)),
        }
    }
}

impl<K: Use> Speaker<K> {
    fn start(speak: impl FnOnce(&Receiver<Job<K>>) + Send + 'static) -> std::io::Result<Self> {
        let (work, jobs) = channel();
        let (at_end, ended) = channel();
        let thread = std::thread::Builder::new()
            .name("audit-token".to_owned())
            .spawn(move || {
                speak(&jobs);
                drop::<Sender<()>>(at_end);
            })?;
        Ok(Self {
            work: Some(work),
            thread: Some(thread),
            ended: Mutex::new(ended),
        })
    }
}

impl<K: Use> Drop for Speaker<K> {
    fn drop(&mut self) {
        self.work = None;
        let ended = self.ended.get_mut().unwrap_or_else(PoisonError::into_inner);
        let is_over = matches!(ended.recv_timeout(PATIENCE), Err(RecvTimeoutError::Disconnected));
        if is_over && let Some(thread) = self.thread.take() {
            // It has nothing to say but a panic, which was told.
            drop(thread.join());
        }
    }
}

pub(super) fn told(uri: &Pkcs11Uri, why: Why) -> TokenError {
    TokenError {
        uri: uri.to_string(),
        fault: Box::new(why),
    }
}

/// What there is of the token between two questions.
enum State<K> {
    Open(Box<Open<K>>),
    Away,
    /// It refused the PIN.
    Refused(TokenFault),
}

fn serve<K: Use>(uri: &Pkcs11Uri, identity: &K::Identity, first: Open<K>, jobs: &Receiver<Job<K>>) {
    let mut state = State::Open(Box::new(first));
    while let Ok(job) = jobs.recv() {
        let (answered, next) = answer(uri, identity, state, &job.ask);
        state = next;
        // Nobody waits any more for what comes too late.
        drop(job.answer.send(answered));
    }
}

fn answer<K: Use>(
    uri: &Pkcs11Uri,
    identity: &K::Identity,
    state: State<K>,
    ask: &K::Ask,
) -> (Answered<K>, State<K>) {
    let anew = match state {
        State::Open(open) => match open.answer(ask) {
            Ok(answer) => return (Ok(answer), State::Open(open)),
            Err(fault) => {
                tracing::warn!(key = %uri, %fault, "the token did not answer; trying again in a new session");
                open.again(uri)
            }
        },
        State::Away => Open::begin(uri),
        State::Refused(fault) => return (Err(fault.again()), State::Refused(fault)),
    };
    let answered = anew.and_then(|open| {
        if open.identity() != identity {
            return Err(TokenFault::OtherKey(K::OTHER));
        }
        let answer = open.answer(ask)?;
        tracing::info!(key = %uri, "the token answers again");
        Ok((answer, open))
    });
    match answered {
        Ok((answer, open)) => (Ok(answer), State::Open(Box::new(open))),
        Err(fault) if fault.is_final() => (Err(fault.again()), State::Refused(fault)),
        Err(fault) => (Err(fault), State::Away),
    }
}
