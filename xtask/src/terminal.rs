//! What a person sees: steps, progress of long commands, headings.

use std::io::{IsTerminal as _, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How often a line of progress appears where the output is not a terminal.
const QUIET_INTERVAL: Duration = Duration::from_secs(20);

static STDOUT_IS_DATA: AtomicBool = AtomicBool::new(false);

/// From now on progress goes to standard error: what is on standard output is for programs.
pub fn keep_stdout_for_data() {
    STDOUT_IS_DATA.store(true, Ordering::Relaxed);
}

fn say(line: &str) {
    if STDOUT_IS_DATA.load(Ordering::Relaxed) {
        eprintln!("{line}");
    } else {
        println!("{line}");
    }
}

/// Bold on a terminal, plain elsewhere.
pub fn bold(text: &str) -> String {
    if colours() {
        format!("\x1b[1m{text}\x1b[0m")
    } else {
        text.to_owned()
    }
}

/// Red on a terminal, plain elsewhere.
pub fn red(text: &str) -> String {
    if colours() {
        format!("\x1b[31m{text}\x1b[0m")
    } else {
        text.to_owned()
    }
}

/// Green on a terminal, plain elsewhere.
pub fn green(text: &str) -> String {
    if colours() {
        format!("\x1b[32m{text}\x1b[0m")
    } else {
        text.to_owned()
    }
}

fn colours() -> bool {
    std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none()
}

/// A heading between the parts of a command's output.
pub fn heading(text: &str) {
    println!("\n{}", bold(&format!("== {text}")));
}

/// Minutes and seconds.
pub fn clock(elapsed: Duration) -> String {
    format!("{}:{:02}", elapsed.as_secs() / 60, elapsed.as_secs() % 60)
}

/// Progress of one long command: rewritten in place on a terminal, a line now and then elsewhere.
pub struct Progress {
    what: String,
    started: Instant,
    last_line: Option<Instant>,
    in_place: bool,
}

impl Progress {
    /// Announces `what` and starts its clock.
    pub fn start(what: &str) -> Self {
        say(&format!("   {what} ..."));
        Self {
            what: what.to_owned(),
            started: Instant::now(),
            last_line: None,
            in_place: std::io::stderr().is_terminal(),
        }
    }

    /// Shows that the work goes on, with what it is doing right now.
    pub fn tick(&mut self, detail: &str) {
        let elapsed = self.started.elapsed();
        if self.in_place {
            let detail: String = detail.chars().take(70).collect();
            eprint!("\r\x1b[K   {} {detail}", clock(elapsed));
            if std::io::stderr().flush().is_err() {
                self.in_place = false;
            }
        } else if self.last_line.map_or(elapsed, |at| at.elapsed()) >= QUIET_INTERVAL {
            self.last_line = Some(Instant::now());
            say(&format!("   {} {detail}", clock(elapsed)));
        }
    }

    /// Ends the line in place and says how long it took.
    pub fn finish(self, outcome: &str) {
        if self.in_place {
            eprint!("\r\x1b[K");
        }
        say(&format!(
            "   {}: {outcome} after {}",
            self.what,
            clock(self.started.elapsed())
        ));
    }
}
