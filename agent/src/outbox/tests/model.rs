//! The spool against a model of it, through crashes, lost power, damage on the disk and a full disk.

use super::*;
use norma_wire::Detail;
use std::collections::BTreeMap;

const BOUNDED: Limits = Limits {
    max_bytes: 24 << 10,
    ..LIMITS
};

/// What the spool was given and what it gave.
#[derive(Default)]
pub struct Model {
    /// Events that it took, by sequence, until a loss of power took them before they were durable.
    pub taken: BTreeMap<u64, String>,
    /// Events that it refused.
    pub refused: u64,
    /// What was read out of it, and so may be with a collector.
    pub sent: BTreeMap<u64, String>,
    /// Ranges of sequences that its losses name.
    admitted: Vec<(u64, u64)>,
    /// Events that its losses count as refused.
    written_off: u64,
}

impl Model {
    /// Takes an event that was read into account.
    pub fn read(&mut self, event: &Event) -> Result<(), String> {
        let sequence = event.id.as_ref().unwrap().sequence;
        let text = match &event.detail {
            Some(Detail::Open(open)) => open.path.clone(),
            Some(Detail::Loss(loss)) => {
                let counted: u64 = loss.counts.iter().map(|count| count.count).sum();
                self.loss(loss, counted, sequence);
                format!(
                    "loss {} {} {} {counted}",
                    loss.cause, loss.first_sequence, loss.last_sequence
                )
            }
            other => return Err(format!("{other:?} was never appended")),
        };
        self.take_sent(sequence, &text)
    }

    fn loss(&mut self, loss: &Loss, counted: u64, sequence: u64) {
        if self.sent.contains_key(&sequence) {
            return;
        }
        if loss.last_sequence > 0 {
            self.admitted.push((loss.first_sequence, loss.last_sequence));
        } else {
            self.written_off += counted;
        }
    }

    /// A sequence is never given to another event once it may have been sent, and no event changes.
    fn take_sent(&mut self, sequence: u64, text: &str) -> Result<(), String> {
        if let Some(taken) = self.taken.get(&sequence)
            && *taken != text
        {
            return Err(format!(
                "{sequence} was taken as `{taken}` and is given as `{text}`"
            ));
        }
        match self.sent.insert(sequence, text.to_owned()) {
            Some(before) if before != text => {
                Err(format!("{sequence} was sent as `{before}` and again as `{text}`"))
            }
            _ => Ok(()),
        }
    }

    /// Reads what is durable, of which `part` is sent and, where asked, acknowledged.
    pub fn deliver(&mut self, outbox: &Outbox, part: f64, acknowledge: bool) -> Result<(), String> {
        let events = read_all(&mut outbox.reader());
        if !sequences(&events).is_sorted_by(|one, other| one < other) {
            return Err("what is read does not ascend".to_owned());
        }
        let some = (events.len() as f64 * part) as usize;
        for event in &events[..some] {
            self.read(event)?;
            if acknowledge {
                outbox.reader().acknowledge(event.id.as_ref().unwrap().sequence);
            }
        }
        Ok(())
    }

    /// What a segment states of losses may be read by nobody any more: nobody else knows of them.
    fn forget(&mut self, path: &Path) {
        for item in Scanner::open(path).unwrap() {
            match item {
                Item::Mark { mark, .. } => self.admitted.push((mark.first, mark.last)),
                Item::Record { record, .. } => {
                    if let Some(Detail::Loss(loss)) = Event::decode(&record.event[..]).unwrap().detail {
                        self.admitted.push((loss.first_sequence, loss.last_sequence));
                    }
                }
                Item::Damaged { .. } | Item::Torn { .. } => {}
            }
        }
    }

    /// What is neither sent nor admitted.
    pub fn unaccounted(&self) -> Vec<u64> {
        let is_admitted = |sequence: u64| {
            self.admitted
                .iter()
                .any(|(first, last)| (*first..=*last).contains(&sequence))
        };
        let lost = self.taken.keys().copied();
        lost.filter(|sequence| !self.sent.contains_key(sequence) && !is_admitted(*sequence))
            .collect()
    }

    /// Refusals that no loss counts.
    pub fn uncounted(&self) -> u64 {
        self.refused.saturating_sub(self.written_off)
    }

    fn append(&mut self, outbox: &mut Outbox, path: String, alert: bool) {
        let mut event = event(&path, alert);
        if outbox.append(&mut event) {
            self.taken.insert(event.id.unwrap().sequence, path);
        } else {
            self.refused += 1;
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Append {
        count: u32,
        alerts: bool,
    },
    Sync,
    Deliver {
        part: f64,
        acknowledge: bool,
    },
    Tick,
    Kill,
    LosePower {
        how: Wreck,
        from: f64,
    },
    Damage {
        segment: f64,
        at: f64,
        how: Wreck,
    },
    /// The segments are as an older agent writes them.
    Upgrade,
    Fill,
    Free,
}

/// What becomes of bytes.
#[derive(Clone, Copy, Debug)]
enum Wreck {
    /// The file ends there.
    Cut,
    /// From there on it has zeros.
    Zeros,
    /// A block of it has zeros.
    Hole,
    /// One bit is another.
    Flip,
}

fn wreck() -> impl Strategy<Value = Wreck> {
    prop_oneof![
        Just(Wreck::Cut),
        Just(Wreck::Zeros),
        Just(Wreck::Hole),
        Just(Wreck::Flip)
    ]
}

fn usual() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (1..120u32, any::<bool>()).prop_map(|(count, alerts)| Step::Append { count, alerts }),
        2 => Just(Step::Sync),
        2 => (0.0..1.0f64, any::<bool>()).prop_map(|(part, acknowledge)| Step::Deliver { part, acknowledge }),
        3 => Just(Step::Tick),
        1 => Just(Step::Kill),
    ]
}

fn wrecked() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => usual(),
        3 => (wreck(), 0.0..1.0f64).prop_map(|(how, from)| Step::LosePower { how, from }),
        1 => (0.0..1.0f64, 0.0..1.0f64, wreck())
            .prop_map(|(segment, at, how)| Step::Damage { segment, at, how }),
        // In its first bytes, which are few.
        1 => (0.0..1.0f64, 0.0..0.02f64, wreck())
            .prop_map(|(segment, at, how)| Step::Damage { segment, at, how }),
        1 => Just(Step::Upgrade),
    ]
}

fn crowded() -> impl Strategy<Value = Step> {
    prop_oneof![8 => usual(), 2 => Just(Step::Fill), 2 => Just(Step::Free)]
}

/// Where the frames of a segment up to a sequence end; 0 where it has none of these.
fn end_of(path: &Path, through: u64) -> u64 {
    let Ok(scanner) = Scanner::open(path) else {
        return 0;
    };
    let mut length = 0;
    for item in scanner {
        match item {
            Item::Record { record, end } if record.sequence <= through => length = end,
            Item::Mark { end, .. } => length = end,
            _ => {}
        }
    }
    length
}

/// Where frames can begin.
fn starts(path: &Path) -> Vec<u64> {
    let header = match is_older(path) {
        true => segment::UNCHECKED_LEN,
        false => segment::HEADER_LEN,
    };
    let ends = Scanner::open(path).unwrap().filter_map(|item| match item {
        Item::Record { end, .. } | Item::Mark { end, .. } => Some(end),
        _ => None,
    });
    std::iter::once(header as u64).chain(ends).collect()
}

fn is_older(path: &Path) -> bool {
    std::fs::read(path).unwrap()[8..12] == 2u32.to_le_bytes()
}

/// Gives a segment the header of version 2.
pub fn make_older(path: &Path) {
    let mut bytes = std::fs::read(path).unwrap();
    if !is_older(path) {
        bytes[8..12].copy_from_slice(&2u32.to_le_bytes());
        bytes.drain(segment::UNCHECKED_LEN..segment::HEADER_LEN);
        std::fs::write(path, bytes).unwrap();
    }
}

fn ruin(path: &Path, at: u64, how: Wreck) {
    let mut bytes = std::fs::read(path).unwrap();
    let at = usize::try_from(at).unwrap().min(bytes.len());
    match how {
        Wreck::Cut => bytes.truncate(at),
        Wreck::Zeros => bytes[at..].fill(0),
        Wreck::Hole => {
            let end = bytes.len().min(at + 512);
            bytes[at..end].fill(0);
        }
        Wreck::Flip => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 0x20;
            }
        }
    }
    std::fs::write(path, bytes).unwrap();
}

struct Run<'a> {
    directory: &'a Path,
    limits: Limits,
    /// Fills the disk, where the spool has one of its own.
    filler: Option<PathBuf>,
    model: Model,
    count: u32,
}

impl Run<'_> {
    fn all(&mut self, steps: Vec<Step>) -> Result<(), TestCaseError> {
        let (mut outbox, _) = open(self.directory, self.limits);
        for step in steps {
            outbox = self.step(outbox, step).map_err(TestCaseError::fail)?;
        }
        if let Some(filler) = &self.filler {
            std::fs::remove_file(filler).ok();
        }
        for _ in 0..3 {
            outbox.tick();
            outbox.close();
            self.model
                .deliver(&outbox, 1.0, false)
                .map_err(TestCaseError::fail)?;
        }
        prop_assert_eq!(self.model.unaccounted(), Vec::<u64>::new());
        prop_assert_eq!(self.model.uncounted(), 0);
        Ok(())
    }

    fn step(&mut self, mut outbox: Outbox, step: Step) -> Result<Outbox, String> {
        match step {
            Step::Append { count, alerts } => {
                for _ in 0..count {
                    self.count += 1;
                    let path = format!("/some/path/that/is/not/short/{}", self.count);
                    self.model.append(&mut outbox, path, alerts);
                }
            }
            Step::Sync => outbox.close(),
            Step::Deliver { part, acknowledge } => {
                self.model.deliver(&outbox, part, acknowledge)?;
                if acknowledge {
                    // As the pipeline does all the time. Damage that is met, acknowledged past and forgotten by lost power
                    // before that is told by the gap alone that the collector records.
                    outbox.tick();
                    outbox.close();
                }
            }
            Step::Tick => outbox.tick(),
            Step::Kill => {
                drop(outbox);
                return Ok(open(self.directory, self.limits).0);
            }
            Step::LosePower { how, from } => return Ok(self.lose_power(outbox, how, from)),
            Step::Damage { segment, at, how } => return Ok(self.damage(outbox, segment, at, how)),
            Step::Upgrade => {
                let (epoch, next) = (outbox.epoch(), outbox.next_sequence());
                let paths: Vec<PathBuf> = outbox.shared.index().iter().map(|it| it.path.clone()).collect();
                drop(outbox);
                paths.iter().for_each(|path| make_older(path));
                let (outbox, repairs) = open(self.directory, self.limits);
                let after = (outbox.epoch(), outbox.next_sequence(), &repairs[..]);
                // Without a segment it is a new spool each time.
                if !paths.is_empty() && after != (epoch, next, &[]) {
                    return Err(format!("an upgrade made {repairs:?} necessary"));
                }
                return Ok(outbox);
            }
            Step::Fill => {
                if let Some(filler) = &self.filler {
                    use std::io::Write as _;
                    let mut file = File::create(filler).map_err(|error| error.to_string())?;
                    for chunk in [64 << 10, 4096, 1] {
                        while file.write_all(&vec![0; chunk]).is_ok() {}
                    }
                }
            }
            Step::Free => {
                if let Some(filler) = &self.filler {
                    std::fs::remove_file(filler).ok();
                }
            }
        }
        Ok(outbox)
    }

    /// What was not durable is there in part, or not at all.
    fn lose_power(&mut self, outbox: Outbox, how: Wreck, from: f64) -> Outbox {
        let durable = outbox.reader().durable();
        let newest = outbox.shared.index().back().map(|segment| segment.path.clone());
        drop(outbox);
        if let Some(path) = newest {
            let length = std::fs::metadata(&path).unwrap().len();
            let safe = end_of(&path, durable);
            let at = safe + ((length - safe) as f64 * from) as u64;
            if at < length {
                ruin(&path, at, how);
            }
        }
        let (outbox, _) = open(self.directory, self.limits);
        let next = outbox.next_sequence();
        assert!(next > durable, "{durable} was durable, and {next} is next");
        self.model.taken.retain(|sequence, _| *sequence < next);
        outbox
    }

    /// Something of a closed segment is not what was written.
    fn damage(&mut self, outbox: Outbox, segment: f64, at: f64, how: Wreck) -> Outbox {
        let epoch = outbox.epoch();
        let paths: Vec<PathBuf> = outbox.shared.index().iter().map(|it| it.path.clone()).collect();
        drop(outbox);
        // The end of the newest tells the next sequence, which a collector would know better.
        let closed = &paths[..paths.len().saturating_sub(1)];
        if let Some(path) = closed.get((closed.len() as f64 * segment) as usize) {
            let length = std::fs::metadata(path).unwrap().len();
            let at = (length as f64 * at) as u64;
            // Who cuts a file between two frames leaves no trace in it: the collector sees the gap.
            if !(matches!(how, Wreck::Cut) && starts(path).contains(&at)) {
                self.model.forget(path);
                ruin(path, at, how);
            }
        }
        let (outbox, _) = open(self.directory, self.limits);
        // Without a segment it is a new spool each time.
        let kept = paths.is_empty() || outbox.epoch() == epoch;
        assert!(kept, "damage of one segment changed the epoch");
        outbox
    }
}

/// As many cases as these, or as `PROPTEST_CASES` says.
fn cases(usual: u32) -> ProptestConfig {
    let mut config = ProptestConfig::default();
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = usual;
    }
    config
}

proptest! {
    #![proptest_config(cases(48))]

    /// Whatever happens to process, power and disk: what was durable is delivered as it was taken or admitted as lost,
    /// in order, and no sequence that may have been sent is given to another event.
    #[test]
    fn through_lost_power_and_damage_every_durable_event_is_delivered_or_admitted(
        steps in proptest::collection::vec(wrecked(), 1..60)
    ) {
        let dir = tempfile::tempdir().unwrap();
        let mut run = Run {
            directory: dir.path(),
            limits: BOUNDED,
            filler: None,
            model: Model::default(),
            count: 0,
        };
        run.all(steps)?;
    }
}

#[test]
fn on_a_disk_that_fills_up_and_empties_every_event_is_delivered_admitted_or_counted() {
    const NAME: &str = "on_a_disk_that_fills_up_and_empties_every_event_is_delivered_admitted_or_counted";
    if !norma_rig::skip::unless_root(NAME) {
        return;
    }
    let scratch = norma_rig::Scratch::new("outbox-model").unwrap();
    let disk = scratch.small_disk("spool", 1 << 20).unwrap();
    let number = std::cell::Cell::new(0);
    let config = ProptestConfig {
        failure_persistence: None,
        ..cases(24)
    };
    proptest!(config, |(steps in proptest::collection::vec(crowded(), 1..60))| {
        number.set(number.get() + 1);
        let directory = disk.join(number.get().to_string());
        std::fs::create_dir(&directory).unwrap();
        let mut run = Run {
            directory: &directory,
            limits: Limits { max_bytes: 1 << 30, segment_bytes: 16 << 10, ..LIMITS },
            filler: Some(disk.join("filler")),
            model: Model::default(),
            count: 0,
        };
        let done = run.all(steps);
        std::fs::remove_file(disk.join("filler")).ok();
        std::fs::remove_dir_all(&directory).unwrap();
        done?;
    });
}
