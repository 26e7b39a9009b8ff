//! The file of a trace.
//!
//! [`Reader`] reads any bytes without trusting them: memory is bounded by [`FRAME_MAX`] and the window of the
//! compression, and what is cut is told apart from what is damaged.

use super::{End, Frame, Start};
use std::fs::File;
use std::io::{self, BufReader, Read, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use zstd::stream::read::Decoder;
use zstd::stream::write::Encoder;

const MAGIC: [u8; 8] = *b"NORMATRC";
const VERSION: u32 = 1;
/// Longest frame: a list of all processes of a large node, many times over.
pub const FRAME_MAX: usize = 16 << 20;
/// Exponent of the window of the compression: 8 MiB.
const WINDOW_LOG: u32 = 23;

/// How hard is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effort {
    /// What is watched must not wait for it.
    Quick,
    /// The file is to be kept, or sent.
    Small,
}

impl Effort {
    const fn level(self) -> i32 {
        match self {
            Self::Quick => 3,
            Self::Small => 19,
        }
    }
}

/// Why a trace cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// The operating system's answer.
    #[error("{0}")]
    Io(io::Error),
    /// It does not begin as a trace does.
    #[error("this is no trace: `norma-agent run --record` writes them")]
    Foreign,
    /// Of a later agent.
    #[error(
        "the trace has version {0}, this agent reads version {VERSION}: use the agent that wrote it, or a later one"
    )]
    Version(u32),
    /// The records are of another kernel contract.
    #[error(
        "the records are of version {found} of the kernel contract, this agent knows {known}: \
         replay them with agent {agent}, or record anew"
    )]
    Contract {
        /// Of the records.
        found: u16,
        /// Of this agent.
        known: u16,
        /// Version of the agent that recorded.
        agent: String,
    },
    /// The file ends before the trace does.
    #[error("the trace is cut off")]
    Cut,
    /// It cannot be understood from here on.
    #[error("the trace is damaged after {frames} frames: {reason}")]
    Damaged {
        /// Frames before.
        frames: u64,
        /// What is wrong.
        reason: String,
    },
}

/// Writes a trace.
pub struct Writer {
    encoder: Encoder<'static, File>,
    records: u64,
}

impl Writer {
    /// Begins one in a new file; another file of this name is replaced.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn create(path: &Path, start: Start, effort: Effort) -> io::Result<Self> {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = File::options()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)?;
        file.write_all(&MAGIC)?;
        file.write_all(&VERSION.to_le_bytes())?;
        let mut encoder = Encoder::new(file, effort.level())?;
        encoder.window_log(WINDOW_LOG)?;
        encoder.include_checksum(true)?;
        let mut this = Self { encoder, records: 0 };
        this.write(&Frame::Start(start))?;
        Ok(this)
    }

    /// Appends a frame.
    ///
    /// # Errors
    /// The file cannot be written, or the frame is longer than a reader takes.
    pub fn write(&mut self, frame: &Frame) -> io::Result<()> {
        let bytes = rmp_serde::to_vec(frame).map_err(io::Error::other)?;
        let length = u32::try_from(bytes.len())
            .ok()
            .filter(|length| *length as usize <= FRAME_MAX)
            .ok_or_else(|| io::Error::other(format!("a frame of {} bytes is too long", bytes.len())))?;
        self.records += u64::from(matches!(frame, Frame::Record(_)));
        self.encoder.write_all(&length.to_le_bytes())?;
        self.encoder.write_all(&bytes)
    }

    /// Gives what was written to the file, so that it is there if the agent ends at once; gives the file's size.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn flush(&mut self) -> io::Result<u64> {
        self.encoder.flush()?;
        Ok(self.encoder.get_ref().metadata()?.len())
    }

    /// Ends the trace; gives the number of records in it.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn finish(mut self, full: bool) -> io::Result<u64> {
        let records = self.records;
        self.write(&Frame::End(End { records, full }))?;
        self.encoder.finish()?.sync_all()?;
        Ok(records)
    }
}

/// Reads a trace, frame by frame.
pub struct Reader<R: Read> {
    decoder: Decoder<'static, BufReader<R>>,
    frames: u64,
    ended: bool,
}

impl Reader<File> {
    /// Opens a file; gives whose trace it is.
    ///
    /// # Errors
    /// It cannot be read, or is no trace of a version that is known.
    pub fn open(path: &Path) -> Result<(Self, Start), TraceError> {
        Self::new(File::open(path).map_err(TraceError::Io)?)
    }
}

impl<R: Read> Reader<R> {
    /// Begins to read; gives whose trace it is.
    ///
    /// # Errors
    /// It cannot be read, or is no trace of a version that is known.
    pub fn new(mut source: R) -> Result<(Self, Start), TraceError> {
        let mut header = [0; MAGIC.len() + 4];
        let (magic, version) = match source.read_exact(&mut header) {
            Ok(()) => header.split_at(MAGIC.len()),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Err(TraceError::Foreign),
            Err(error) => return Err(TraceError::Io(error)),
        };
        if magic != MAGIC {
            return Err(TraceError::Foreign);
        }
        let version = version
            .iter()
            .rev()
            .fold(0, |number, byte| number << 8 | u32::from(*byte));
        if version != VERSION {
            return Err(TraceError::Version(version));
        }
        let mut decoder = Decoder::new(source).map_err(TraceError::Io)?;
        decoder.window_log_max(WINDOW_LOG).map_err(TraceError::Io)?;
        let mut this = Self {
            decoder,
            frames: 0,
            ended: false,
        };
        match this.read()? {
            Some(Frame::Start(start)) if start.abi != norma_abi::ABI_VERSION => Err(TraceError::Contract {
                found: start.abi,
                known: norma_abi::ABI_VERSION,
                agent: start.agent_version,
            }),
            Some(Frame::Start(start)) => Ok((this, start)),
            _ => Err(this.damaged("it does not say whose it is")),
        }
    }

    /// The next frame; `None` after the last one.
    ///
    /// # Errors
    /// The trace is cut off or damaged here; nothing that follows can be read.
    pub fn read(&mut self) -> Result<Option<Frame>, TraceError> {
        if self.ended {
            return Ok(None);
        }
        let mut length = [0; 4];
        self.fill(&mut length)?;
        let length = u32::from_le_bytes(length) as usize;
        if length > FRAME_MAX {
            return Err(self.damaged(&format!("a frame of {length} bytes is too long")));
        }
        let mut bytes = Vec::new();
        let taken = (&mut self.decoder).take(length as u64).read_to_end(&mut bytes);
        match taken {
            Ok(taken) if taken == length => {}
            Ok(_) => return Err(TraceError::Cut),
            Err(error) => return Err(self.failed(&error)),
        }
        let frame: Frame = rmp_serde::from_slice(&bytes).map_err(|error| self.damaged(&error.to_string()))?;
        self.frames += 1;
        if matches!(frame, Frame::End(_)) {
            self.ended = true;
            // Reading on to the end has the checksum looked at.
            match self.decoder.read(&mut [0]) {
                Ok(0) => {}
                Ok(_) => return Err(self.damaged("something follows its end")),
                Err(error) => return Err(self.failed(&error)),
            }
        }
        Ok(Some(frame))
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), TraceError> {
        match self.decoder.read_exact(bytes) {
            Ok(()) => Ok(()),
            Err(error) => Err(self.failed(&error)),
        }
    }

    fn failed(&self, error: &io::Error) -> TraceError {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => TraceError::Cut,
            _ => self.damaged(&error.to_string()),
        }
    }

    fn damaged(&self, reason: &str) -> TraceError {
        TraceError::Damaged {
            frames: self.frames,
            reason: reason.to_owned(),
        }
    }
}
