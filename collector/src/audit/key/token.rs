//! A log's key that never leaves a token.
//!
//! One thread of its own speaks to the token: it may be slow, or be gone, and then nothing waits longer than
//! [`PATIENCE`] for it. A token that failed is opened anew for the next signature.

use super::session::{Open, TokenFault};
use super::uri::Pkcs11Uri;
use norma_tlog::key::{KeyError, Use};
use norma_tlog::note::SignatureLine;
use norma_tlog::{PublicKey, VerifierKey};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError, channel};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// For a signature. Longer, and acknowledgements would begin to wait.
const PATIENCE: Duration = Duration::from_secs(5);
/// For the first answer, at the start.
const PATIENCE_AT_START: Duration = Duration::from_secs(30);

/// A key in a token.
pub struct TokenKey {
    uri: Pkcs11Uri,
    verifier: VerifierKey,
    speaker: Speaker,
    /// The answer that was not waited for.
    late: Mutex<Option<Receiver<Signed>>>,
}

/// The thread that speaks to the token. When it is dropped the thread has ended, and with it the library's work: a process
/// that exits under a library that is at work can crash.
struct Speaker {
    /// `None` while it is dropped.
    work: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
    /// Says nothing but that the thread is at its end.
    ended: Mutex<Receiver<()>>,
}

type Signed = Result<Vec<u8>, TokenFault>;

struct Job {
    text: String,
    answer: Sender<Signed>,
}

/// A token that does not sign.
#[derive(Debug, thiserror::Error)]
#[error("{uri}: {fault}")]
pub struct TokenError {
    uri: String,
    fault: Box<Why>,
}

#[derive(Debug, thiserror::Error)]
enum Why {
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

impl TokenKey {
    /// Opens the key, which is to sign for the log `origin`.
    pub fn open(uri: &Pkcs11Uri, origin: Option<&str>) -> Result<Self, TokenError> {
        let failed = |why: Why| told(uri, why);
        let origin = origin.ok_or_else(|| failed(Why::NoOrigin))?;
        let (opened, first) = channel();
        let inner = uri.clone();
        let speaker = Speaker::start(move |jobs| {
            let open = match Open::begin(&inner) {
                Ok(open) => open,
                Err(fault) => return drop(opened.send(Err(fault))),
            };
            let public = open.public().clone();
            if opened.send(Ok(public.clone())).is_ok() {
                serve(&inner, &public, open, jobs);
            }
        })
        .map_err(|error| failed(Why::Thread(error)))?;
        let public = match first.recv_timeout(PATIENCE_AT_START) {
            Ok(public) => public.map_err(|fault| failed(fault.into()))?,
            Err(RecvTimeoutError::Timeout) => return Err(failed(Why::Slow(PATIENCE_AT_START))),
            Err(RecvTimeoutError::Disconnected) => return Err(failed(Why::Ended)),
        };
        Ok(Self {
            verifier: VerifierKey::new(origin, Use::Log, public)
                .map_err(|error| failed(Why::Origin(error)))?,
            uri: uri.clone(),
            speaker,
            late: Mutex::default(),
        })
    }

    /// What others verify with.
    pub fn verifier(&self) -> &VerifierKey {
        &self.verifier
    }

    /// Signs the text of a note.
    pub fn sign(&self, text: &str) -> Result<SignatureLine, TokenError> {
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
        let text = text.to_owned();
        let sent = self
            .speaker
            .work
            .as_ref()
            .map(|work| work.send(Job { text, answer }));
        if !matches!(sent, Some(Ok(()))) {
            return Err(failed(Why::Ended));
        }
        match answered.recv_timeout(PATIENCE) {
            Ok(signed) => Ok(SignatureLine {
                name: self.verifier.name().to_owned(),
                id: self.verifier.id(),
                signature: signed.map_err(|fault| failed(fault.into()))?,
            }),
            Err(RecvTimeoutError::Timeout) => {
                *late = Some(answered);
                Err(failed(Why::Slow(PATIENCE)))
            }
            Err(RecvTimeoutError::Disconnected) => Err(failed(Why::Ended)),
        }
    }
}

impl Speaker {
    fn start(speak: impl FnOnce(&Receiver<Job>) + Send + 'static) -> std::io::Result<Self> {
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

impl Drop for Speaker {
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

impl std::fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TokenKey({}, {})", self.uri, self.verifier)
    }
}

fn told(uri: &Pkcs11Uri, why: Why) -> TokenError {
    TokenError {
        uri: uri.to_string(),
        fault: Box::new(why),
    }
}

/// What there is of the token between two signatures.
enum State {
    Open(Box<Open>),
    Away,
    /// It refused the PIN.
    Refused(TokenFault),
}

fn serve(uri: &Pkcs11Uri, public: &PublicKey, first: Open, jobs: &Receiver<Job>) {
    let mut state = State::Open(Box::new(first));
    while let Ok(job) = jobs.recv() {
        let (signed, next) = sign(uri, public, state, &job.text);
        state = next;
        // Nobody waits any more for what comes too late.
        drop(job.answer.send(signed));
    }
}

fn sign(uri: &Pkcs11Uri, public: &PublicKey, state: State, text: &str) -> (Signed, State) {
    let anew = match state {
        State::Open(open) => match open.sign(text) {
            Ok(signature) => return (Ok(signature), State::Open(open)),
            Err(fault) => {
                tracing::warn!(key = %uri, %fault, "the token did not sign; trying again in a new session");
                open.again(uri)
            }
        },
        State::Away => Open::begin(uri),
        State::Refused(fault) => return (Err(fault.again()), State::Refused(fault)),
    };
    let signed = anew.and_then(|open| {
        if open.public() != public {
            return Err(TokenFault::OtherKey);
        }
        let signature = open.sign(text)?;
        tracing::info!(key = %uri, "the token signs again");
        Ok((signature, open))
    });
    match signed {
        Ok((signature, open)) => (Ok(signature), State::Open(Box::new(open))),
        Err(fault) if fault.is_final() => (Err(fault.again()), State::Refused(fault)),
        Err(fault) => (Err(fault), State::Away),
    }
}
