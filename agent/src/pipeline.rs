//! From ring to outbox, on one thread.
//!
//! [`Pipeline::run`] reads the ring every [`CADENCE`], takes each record through decode, identity, judge
//! and respond, and appends what is worth an event of its own to the outbox. What says nothing new is
//! counted and leaves as a roll-up, so that silence always means that nothing happened.

mod counts;
mod losses;
mod pending;
mod source;
mod status;

pub use counts::KindTotals;
pub use source::Source;

use crate::clock::WallClock;
use crate::decode;
use crate::event::{self, Hashes, ProcessNames};
use crate::hash::Answer;
use crate::identity::{Identified, Identity, Place, Placed};
use crate::judge::baseline::{Completed, Summary};
use crate::judge::{Judge, News, SensitiveFiles};
use crate::observation::{BootTime, CgroupId, Observation};
use crate::outbox::{Outbox, named};
use crate::posture::Posture;
use crate::respond::{self, Enforcement, Known, Recognised};
use crate::ship::Standing;
use crate::telemetry::StatusFile;
use counts::{KernelCounts, Lost, Rollups};
use norma_baseline_command::audit;
use norma_baseline_command::inbox::Delivery;
use norma_baseline_command::words::FieldState;
use norma_wire::pb::{self, Kind};
use norma_wire::{Detail, Event, describe};
use pending::PendingEvents;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// How often the ring is read; the kernel side wakes the agent earlier when the ring fills.
const CADENCE: Duration = Duration::from_millis(10);
/// How soon a loss is admitted.
const LOSS_CHECK: Duration = Duration::from_millis(100);
/// How often learning, counters, clock and status are looked after.
const TICK: Duration = Duration::from_secs(1);
/// How often what was only counted is reported.
const ROLLUP: Duration = Duration::from_secs(60);

/// How long judging events took.
pub type JudgeTimes = norma_metrics::Histogram;

/// Somebody who is shown each event.
pub type Listener = Box<dyn FnMut(&Event) + Send>;

/// What the pipeline works with; each is built and checked before it starts.
pub struct Parts {
    /// Reads the ring.
    pub sensor: Box<dyn Source>,
    /// Knows who acts.
    pub identity: Identity,
    /// Knows what is normal.
    pub judge: Judge,
    /// Finds out which inodes the sensitive files are.
    pub sensitive: Box<dyn SensitiveFiles>,
    /// Looks up the hashes of what is executed, where they are wanted.
    pub hashes: Option<Hashes>,
    /// Knows how containers should be set up.
    pub posture: Posture,
    /// Names processes for the whole cluster.
    pub names: ProcessNames,
    /// Steers the kernel side; `None` where that is a trace.
    pub enforcement: Option<Enforcement>,
    /// What the kernel side recognises.
    pub known: Known,
    /// Takes the events; `None` where there is no collector to send them to.
    pub outbox: Option<Outbox>,
    /// Is shown each event.
    pub listener: Option<Listener>,
    /// What the collector has of this spool.
    pub standing: watch::Receiver<Standing>,
    /// Where telemetry goes.
    pub status: StatusFile,
    /// Report what the host itself does.
    pub host_events: bool,
    /// What people hand over for baselines.
    pub inbox: Receiver<Delivery>,
    /// What shipping has to say.
    pub notices: Receiver<Event>,
}

/// The thread's state.
pub struct Pipeline {
    parts: Parts,
    clock: WallClock,
    clock_told: Option<pb::ClockState>,
    kernel: KernelCounts,
    rollups: Rollups,
    pending: PendingEvents,
    undecodable: u64,
    delivered: u64,
    alerts: u64,
    last_tick: BootTime,
    last_loss_check: BootTime,
    looked_at_losses: BootTime,
    /// Was lost, and is to be reported.
    unreported: Vec<Lost>,
    last_rollup: BootTime,
    /// How long judging takes, where somebody wants to know.
    judging: Option<Arc<JudgeTimes>>,
}

impl Pipeline {
    /// A pipeline of these parts.
    pub fn new(parts: Parts) -> Self {
        let now = parts.sensor.now();
        Self {
            clock: WallClock::new(parts.sensor.wall_offset_ns()),
            parts,
            clock_told: None,
            kernel: KernelCounts::default(),
            rollups: Rollups::default(),
            pending: PendingEvents::default(),
            undecodable: 0,
            delivered: 0,
            alerts: 0,
            last_tick: now,
            last_loss_check: now,
            looked_at_losses: BootTime(0),
            unreported: Vec::new(),
            last_rollup: now,
            judging: None,
        }
    }

    /// Has it measured how long judging takes.
    pub fn time_judging(&mut self, times: Arc<JudgeTimes>) {
        self.judging = Some(times);
    }

    /// Appends an event about the agent itself.
    pub fn announce(&mut self, event: Event) {
        self.store(event);
    }

    /// How far baselines are.
    pub fn survey(&mut self) -> Vec<Summary> {
        self.parts.judge.baselines().summaries()
    }

    /// Works until `stop` is set, then empties the ring once more and brings the outbox to stable storage.
    ///
    /// # Errors
    /// The ring cannot be read any more; the agent is blind and must end.
    pub fn run(&mut self, stop: &AtomicBool) -> std::io::Result<()> {
        let placed = self.parts.identity.take_placed();
        self.steer(&placed);
        self.say_what_is_known(&placed);
        self.tell_clock();
        let mut ready = Vec::new();
        self.begin(&mut ready)?;
        while !stop.load(Ordering::Acquire) {
            self.round(CADENCE, &mut ready)?;
        }
        self.round(Duration::ZERO, &mut ready)?;
        if let Some(hashes) = self.parts.hashes.take() {
            self.tell(hashes.close());
        }
        self.report_losses();
        let now = self.parts.sensor.now();
        let recognised = self.parts.known.take_all(&mut self.parts.judge, now);
        self.count_recognised(recognised, now);
        self.report_rollups(now);
        self.parts.judge.close();
        self.store(event::own(
            Kind::Lifecycle,
            Detail::Lifecycle(pb::Lifecycle {
                state: "stopping".to_owned(),
                agent_version: env!("CARGO_PKG_VERSION").to_owned(),
                ..pb::Lifecycle::default()
            }),
        ));
        if let Some(outbox) = &mut self.parts.outbox {
            outbox.close();
        }
        self.write_status();
        Ok(())
    }

    /// Takes the sockets that were there before, and then what the kernel side has seen until they were
    /// counted, which may be of the same ones.
    fn begin(&mut self, ready: &mut Vec<Identified>) -> std::io::Result<()> {
        let stock = self.parts.identity.existing_sockets();
        let mut reported = Vec::new();
        self.take(Duration::ZERO, &mut |_, observation| reported.push(observation))?;
        let identity = &mut self.parts.identity;
        for observation in Identity::without_reported(stock, &reported) {
            identity.identify(observation, ready);
        }
        for observation in reported {
            identity.identify(observation, ready);
        }
        Ok(())
    }

    /// Gives what is in the ring to `each`.
    fn take(
        &mut self,
        timeout: Duration,
        each: &mut dyn FnMut(&mut Identity, Observation),
    ) -> std::io::Result<()> {
        let identity = &mut self.parts.identity;
        let (mut undecodable, mut delivered) = (0, 0);
        self.parts.sensor.poll(timeout, &mut |record| {
            delivered += 1;
            match decode::decode(record) {
                Ok(observation) => each(identity, observation),
                Err(error) => {
                    undecodable += 1;
                    tracing::error!(%error, "a record of the kernel side did not decode");
                }
            }
        })?;
        self.undecodable += undecodable;
        self.delivered += delivered;
        Ok(())
    }

    fn round(&mut self, timeout: Duration, ready: &mut Vec<Identified>) -> std::io::Result<()> {
        self.take(timeout, &mut |identity, observation| {
            identity.identify(observation, ready);
        })?;
        self.look_at_losses();
        self.settle_doubts(ready)?;
        self.follow_clock();
        let now = self.parts.sensor.now();
        let identity = &mut self.parts.identity;
        identity.tick(now, ready);
        let placed = identity.take_placed();
        self.steer(&placed);
        // Before what a container does first is judged.
        self.exchange(now);
        for identified in ready.drain(..) {
            self.handle(&identified);
        }
        // After what went out before it was known.
        self.say_what_is_known(&placed);
        for found in self.parts.identity.take_found() {
            self.say(event::found(&found));
        }
        if let Some(hashes) = &mut self.parts.hashes {
            let answers = hashes.answers();
            self.tell(answers);
        }
        self.take_what_is_handed_over();
        // Only now: what a container did last is judged before it is forgotten.
        for placed in &placed {
            if let Placed::Gone(cgroup) = placed {
                self.report_losses();
                self.forget(*cgroup);
            }
        }
        if now.0 >= self.last_loss_check.0 + LOSS_CHECK.as_nanos() as u64 {
            self.last_loss_check = now;
            self.report_losses();
        }
        if now.0 >= self.last_tick.0 + TICK.as_nanos() as u64 {
            self.last_tick = now;
            self.tick(now);
        }
        if let Some(outbox) = &mut self.parts.outbox {
            outbox.sync_soon();
        }
        Ok(())
    }

    fn steer(&mut self, placed: &[Placed]) {
        if let Some(enforcement) = &mut self.parts.enforcement {
            enforcement.follow(placed);
        }
        self.parts.known.follow(placed);
    }

    fn handle(&mut self, identified: &Identified) {
        if matches!(identified.place, Place::Host) && !self.parts.host_events {
            return;
        }
        let Some(kind) = event::kind(&identified.observation.act) else {
            return;
        };
        let began = self.judging.as_ref().map(|_| Instant::now());
        let judgement = self.parts.judge.judge(identified);
        if let (Some(times), Some(began)) = (&self.judging, began) {
            times.add(began.elapsed());
        }
        let response = respond::respond(identified, judgement.response.as_ref());
        if let (Some(fact), Place::Workload(container)) = (&judgement.recognisable, &identified.place) {
            let Parts { known, judge, .. } = &mut self.parts;
            known.learn(container, &identified.observation, fact, judge);
        }
        if judgement.news != News::Yes && response.is_none() && judgement.sensitive.is_none() {
            let incident = judgement.incident.as_ref();
            let repeated = incident.filter(|_| judgement.news == News::RepeatedAlert);
            let repeated = repeated.map(|incident| (judgement.code(), incident.id.as_ref()));
            self.rollups.count(identified, kind, repeated);
            return;
        }
        let Some(mut event) = event::from_observation(identified, &self.clock) else {
            return;
        };
        event.responses.extend(response);
        if let Some(name) = &judgement.sensitive {
            event::mark_sensitive(&mut event, name);
        }
        if let Some(hashes) = &mut self.parts.hashes {
            event::mark_hashes(&mut event, identified, hashes);
        }
        let alert = judgement.is_alert();
        event::mark_peer(&mut event, &judgement.peer);
        if judgement.of_probe {
            event::mark_probe(&mut event);
        }
        event.verdict = Some(judgement.verdict);
        if let Some(incident) = judgement.incident {
            event::mark_incident(&mut event, incident, &self.clock);
        }
        if alert {
            self.alerts += 1;
            tracing::warn!(target: "norma::alert", "{}", describe::sentence(&event));
        }
        self.store(event);
    }

    /// Tells the fleet and is told by it.
    fn exchange(&mut self, now: BootTime) {
        let exchanged = self.parts.judge.exchange(now);
        for completed in exchanged.completed {
            self.say_complete(&completed);
        }
        for taken in exchanged.taken {
            for decision in &taken.new {
                self.say_decided(audit::decision(decision, audit::Source::Collector, None));
            }
            for (decision, error) in &taken.refused {
                let why = error.to_string();
                self.say_decided(audit::decision(decision, audit::Source::Collector, Some(&why)));
            }
        }
    }

    /// Completes what was sent as pending, and says once what the runtime tells of a container.
    fn say_what_is_known(&mut self, placed: &[Placed]) {
        for placed in placed {
            if let Placed::Container(cgroup, container) = placed
                && let Some(pending) = self.pending.resolve(*cgroup, container)
            {
                self.store(event::identity_resolved(container, pending));
            }
        }
    }

    /// Reports hashes that were pending.
    fn tell(&mut self, answers: Vec<Answer<Box<event::Question>>>) {
        for answer in answers {
            let event = event::file_hash(answer, &self.clock);
            self.store(event);
        }
    }

    /// Takes decisions and bundles that people hand over, and says what became of each.
    fn take_what_is_handed_over(&mut self) {
        while let Ok(delivery) = self.parts.inbox.try_recv() {
            for decision in self.parts.judge.take_delivery(delivery) {
                self.say_decided(decision);
            }
        }
    }

    fn say_decided(&mut self, decision: pb::BaselineDecision) {
        self.say(event::own(
            Kind::BaselineDecision,
            Detail::BaselineDecision(decision),
        ));
    }

    /// Stores an event about Norma itself, and logs it.
    fn say(&mut self, event: Event) {
        if norma_wire::id::is_alert(&event) {
            self.alerts += 1;
            tracing::warn!(target: "norma::alert", "{}", describe::sentence(&event));
        } else {
            tracing::info!("{}", describe::sentence(&event));
        }
        self.store(event);
    }

    /// Reports how far the clock can be trusted, where that is news.
    fn tell_clock(&mut self) {
        let Some(state) = self.parts.sensor.clock_state() else {
            return;
        };
        if self
            .clock_told
            .as_ref()
            .is_none_or(|told| norma_clock::is_news(told, &state))
        {
            self.clock_told = Some(state.clone());
            self.say(event::own(Kind::ClockState, Detail::ClockState(state)));
        }
    }

    /// Follows the wall clock. With each round: what is told by a clock that was set back meanwhile would come from the
    /// future, which collectors refuse.
    fn follow_clock(&mut self) {
        if let Some(step_ns) = self.clock.observe(self.parts.sensor.wall_offset_ns()) {
            tracing::warn!(seconds = step_ns as f64 / 1e9, "the wall clock was set");
            self.store(event::own(
                Kind::ClockStep,
                Detail::ClockStep(pb::ClockStep { step_ns }),
            ));
        }
    }

    fn tick(&mut self, now: BootTime) {
        self.tell_clock();
        while let Ok(event) = self.parts.notices.try_recv() {
            self.say(event);
        }
        let running = self.parts.identity.containers();
        for event in self.parts.posture.look(&running) {
            if norma_wire::id::is_alert(&event) {
                self.alerts += 1;
                tracing::warn!(target: "norma::alert", "{}", describe::sentence(&event));
            }
            self.store(event);
        }
        self.parts.judge.watch_files(self.parts.sensitive.found());
        self.parts.sensitive.order(
            running
                .iter()
                .filter(|container| container.init_pid != 0)
                .map(|container| (container.cgroup, container.init_pid))
                .collect(),
        );
        for completed in self.parts.judge.tick(&running, now, self.clock) {
            self.say_complete(&completed);
        }
        if let Some(delta) = self.parts.judge.baselines().take_release() {
            tracing::info!(workload = %delta.subject, "a release delta is to be decided on");
            self.store(event::release(&delta));
        }
        self.parts.identity.expire(now);
        let recognised = self.parts.known.tick(&mut self.parts.judge, now);
        self.count_recognised(recognised, now);
        if now.0 >= self.last_rollup.0 + ROLLUP.as_nanos() as u64 {
            self.report_rollups(now);
        }
        if let Some(outbox) = &mut self.parts.outbox {
            if self.parts.standing.has_changed().unwrap_or(false) {
                let standing = *self.parts.standing.borrow_and_update();
                if let Some(what) = unexpected(outbox, standing) {
                    tracing::error!("{what}");
                    outbox.append(&mut event::own(
                        Kind::Recovery,
                        Detail::Recovery(pb::Recovery {
                            what,
                            bytes_dropped: 0,
                        }),
                    ));
                }
            }
            outbox.note_kernel_losses(self.kernel.lost());
            outbox.tick();
        }
        self.write_status();
    }

    fn say_complete(&mut self, completed: &Completed) {
        tracing::info!(
            workload = completed.workload.0,
            facts = completed.facts.values().sum::<u64>(),
            "baseline complete: from here on novelty is an alert"
        );
        let facts: BTreeMap<String, u64> = completed
            .facts
            .iter()
            .map(|(kind, count)| ((*kind).to_owned(), *count))
            .collect();
        self.store(event::own(
            Kind::BaselineReady,
            Detail::BaselineReady(pb::BaselineReady {
                workload: completed.workload.0.clone(),
                facts: named(&facts),
                learned_for_ns: completed.learned_for.as_nanos() as u64,
                fields: completed.fields.iter().map(FieldState::to_pb).collect(),
                revision: completed.revision.to_string(),
            }),
        ));
    }

    fn count_recognised(&mut self, recognised: impl IntoIterator<Item = Recognised>, now: BootTime) {
        for recognised in recognised {
            self.rollups.count_recognised(&recognised, now);
        }
    }

    fn report_rollups(&mut self, now: BootTime) {
        self.last_rollup = now;
        for event in self.rollups.take(now, &self.clock) {
            self.store(event);
        }
    }

    fn forget(&mut self, cgroup: CgroupId) {
        let now = self.parts.sensor.now();
        let recognised = self.parts.known.forget(cgroup);
        self.count_recognised(recognised, now);
        for event in self.rollups.take_one(cgroup, now, &self.clock) {
            self.store(event);
        }
        self.pending.forget(cgroup);
        self.parts.judge.forget(cgroup);
        if let Some(hashes) = &mut self.parts.hashes {
            hashes.forget(cgroup);
        }
        self.kernel.forget(cgroup);
        self.parts.sensor.forget_losses(cgroup);
    }

    fn store(&mut self, mut event: Event) {
        self.parts.names.fill(&mut event);
        self.pending.count(&event);
        if let Some(listener) = &mut self.parts.listener {
            listener(&event);
        }
        if let Some(outbox) = &mut self.parts.outbox {
            outbox.append(&mut event);
        }
    }
}

/// What is to be said of a collector that does not hold what this node expects; sequences go on after what it has.
fn unexpected(outbox: &mut Outbox, standing: Standing) -> Option<String> {
    match standing {
        Standing::Foreign(holds) => outbox.give_anew(holds).map(|given| {
            format!(
                "the collector holds events up to {holds} that are not those of this outbox: it was set back to an earlier \
                 state, or is a copy; {given} events that were not delivered have new places after that"
            )
        }),
        Standing::Behind {
            holds,
            acknowledged,
        } => Some(format!(
            "the collector holds events up to {holds}, but had acknowledged them up to {acknowledged}: it was set back \
             to an earlier state, and what is not in this outbox any more is lost there"
        )),
        Standing::AsExpected => None,
    }
}
