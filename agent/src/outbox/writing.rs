//! How events come into the segments, and what was acknowledged out of them.

use super::bound::{self, Written};
use super::segment::{Record, SegmentFile};
use super::{Outbox, PendingLoss, Segment, keeps, named, remove, sync};
use norma_wire::Event;
use norma_wire::pb::{EventId, Loss, LossCause};
use prost::Message as _;
use std::io;

impl Outbox {
    /// Closes the segment that is being written, on stable storage.
    pub(super) fn end_segment(&mut self) -> io::Result<()> {
        if let Some(current) = &self.current {
            current.sync()?;
            sync::advance(&self.shared, self.next - 1);
            self.current = None;
        }
        Ok(())
    }

    /// Stores an event; for one that is `worth_room`, room is made on a full disk.
    pub(super) fn store(&mut self, event: &mut Event, worth_room: bool) -> bool {
        let sequence = self.next;
        event.id = Some(EventId {
            node: self.node.clone(),
            epoch: self.shared.epoch,
            sequence,
        });
        let record = Record {
            sequence,
            kind: event.kind,
            keep: keeps(event),
            event: serde_bytes::ByteBuf::from(event.encode_to_vec()),
        };
        let written = match self.write(&record) {
            // Room that acknowledgements have made since the last look may be enough.
            Err(_) if self.release() => self.write(&record),
            Err(error) if worth_room && bound::is_full(&error) && self.make_room() => self.write(&record),
            other => other,
        };
        match written {
            Ok(()) => {
                self.ages.note(sequence, i128::from(event.boot_ns));
                self.next += 1;
                true
            }
            Err(error) => {
                if self.ledger.total() == 0 {
                    tracing::error!(%error, "cannot write the outbox; events are counted as lost until it can be written again");
                }
                event.id = None;
                self.ledger.count(event.kind);
                false
            }
        }
    }

    fn write(&mut self, record: &Record) -> io::Result<()> {
        if self
            .current
            .as_ref()
            .is_some_and(|current| current.bytes() >= self.limits.segment_bytes)
        {
            self.end_segment()?;
            self.keep_bound();
        }
        let current = match &mut self.current {
            Some(current) => current,
            None => {
                let path = self.directory.join(format!("{:020}.spool", record.sequence));
                let file = SegmentFile::create(&path, self.shared.epoch, record.sequence)?;
                let segment = Segment::new(path, record.sequence, file.bytes());
                let mut index = self.shared.index();
                // A crash can leave a segment without a record, whose file this one has replaced.
                index.retain(|it| it.first != segment.first);
                index.push_back(segment);
                drop(index);
                self.opened = Written::now();
                self.current.insert(file)
            }
        };
        current.append(record)?;
        let bytes = current.bytes();
        if let Some(segment) = self.shared.index().back_mut() {
            segment.last = record.sequence;
            segment.bytes = bytes;
            segment.written = Written::now();
        }
        Ok(())
    }

    /// Stores what must be admitted, as long as it can be stored.
    pub(super) fn report_losses(&mut self) {
        let damage = std::mem::take(&mut self.shared.damage().pending);
        self.losses
            .extend(damage.into_iter().map(|loss| PendingLoss { loss, of: None }));
        // Storing one may drop events, which adds another.
        while let Some(PendingLoss { loss, of }) = self.losses.pop() {
            let sequence = self.next;
            if !self.write_loss(loss.clone()) {
                self.losses.push(PendingLoss { loss, of });
                return;
            }
            let mut index = self.shared.index();
            if let Some(segment) = index.iter_mut().find(|segment| Some(segment.first) == of) {
                segment.loss_at = segment.loss_at.max(Some(sequence));
            }
        }
        if let Some(counts) = self.ledger.due() {
            let loss = Loss {
                cause: LossCause::OutboxWrite as i32,
                counts: named(&counts),
                ..Loss::default()
            };
            if self.write_loss(loss) {
                tracing::warn!(
                    events = counts.values().sum::<u64>(),
                    "the outbox can be written again; lost events were reported"
                );
                self.ledger.reported();
            }
        }
    }

    /// Stores an event of loss, which stays to be reported where that fails.
    fn write_loss(&mut self, loss: Loss) -> bool {
        let mut event = crate::event::loss(loss);
        let stored = self.store(&mut event, false);
        if !stored {
            self.ledger.uncount(event.kind);
        }
        stored
    }

    /// Removes what was acknowledged; whether that made room. The newest segment stays: it tells the epoch
    /// and the next sequence after a restart.
    pub(super) fn release(&mut self) -> bool {
        let acked = self.acked();
        let done: Vec<Segment> = {
            let mut index = self.shared.index();
            let mut done = Vec::new();
            while index.len() > 1 && index.front().is_some_and(|segment| segment.last <= acked) {
                done.extend(index.pop_front());
            }
            done
        };
        for segment in &done {
            remove(&segment.path);
        }
        if acked != self.acked_on_disk {
            self.save_acked();
        }
        !done.is_empty()
    }

    pub(super) fn save_acked(&mut self) {
        let acked = self.acked();
        let temporary = self.directory.join("acked.tmp");
        let written = std::fs::write(&temporary, acked.to_string())
            .and_then(|()| std::fs::rename(&temporary, self.directory.join("acked")));
        match written {
            Ok(()) => self.acked_on_disk = acked,
            // The collector says at the next connection what it has.
            Err(error) => tracing::debug!(%error, "cannot note what was acknowledged"),
        }
    }
}
