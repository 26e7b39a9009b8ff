//! The table of what the kernel side recognises.
//!
//! Both sides write to the same memory: the agent which identities stand there, the kernel side how often it
//! recognised each. Counts are never set back, so that none is lost when an entry changes hands; whoever reads
//! them remembers what it has read.

use super::SensorError;
use super::shared::{Shared, no_map, take};
use crate::observation::ActId;
use aya::Ebpf;
use aya::maps::{HashMap, Map, MapData};
use norma_abi::{KNOWN_WAYS, KnownBucket, Traffic, known_buckets};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use std::os::fd::AsFd as _;
use std::ptr::{NonNull, null_mut};
use std::sync::atomic::{AtomicU64, Ordering};

/// BPF_ANY: insert or replace.
const ANY: u64 = 0;
/// A table of fewer buckets would not fill a page.
const BUCKETS_MIN: u32 = 64;
/// Part of the entries, in percent, that can be taken without trouble to find a free one.
const FILL: u64 = 60;

/// An entry of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct KnownPlace(u32);

/// The table; there is one, for whichever thread steers.
pub struct KnownTable {
    buckets: NonNull<KnownBucket>,
    mask: u32,
    /// What became of connections, by identity.
    traffic: HashMap<MapData, u64, Shared<Traffic>>,
    /// Keeps the memory.
    _map: MapData,
}

// SAFETY: the memory belongs to the value and is only used through it, as atomics.
unsafe impl Send for KnownTable {}

/// Buckets of a table that has room for so many behaviours, a power of two.
pub(super) fn buckets_for(behaviours: u32) -> u32 {
    let entries = u64::from(behaviours) * 100 / FILL;
    let buckets = (entries / KNOWN_WAYS as u64).max(u64::from(BUCKETS_MIN));
    u32::try_from(buckets.next_power_of_two()).unwrap_or(1 << 31)
}

impl KnownTable {
    pub(super) fn take(ebpf: &mut Ebpf) -> Result<Self, SensorError> {
        let Some(Map::Array(map)) = ebpf.take_map("KNOWN") else {
            return Err(no_map("KNOWN"));
        };
        let count = map.info().map_err(SensorError::Counters)?.max_entries();
        let bytes = count as usize * size_of::<KnownBucket>();
        let fd = map.fd().as_fd();
        // SAFETY: a new mapping, nobody else's memory; the kernel refuses a length that is not the map's.
        let memory = unsafe {
            mmap(
                null_mut(),
                bytes,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED,
                fd,
                0,
            )
        };
        let memory = memory.map_err(|error| SensorError::Load {
            reason: format!("map KNOWN cannot be shared: {error}"),
        })?;
        let buckets = NonNull::new(memory.cast()).ok_or_else(|| SensorError::Load {
            reason: "map KNOWN was shared at address 0".to_owned(),
        })?;
        Ok(Self {
            buckets,
            mask: count - 1,
            traffic: take(ebpf, "KNOWN_TRAFFIC")?,
            _map: map,
        })
    }

    /// Has an identity recognised from now on; `None` where its two buckets are full. One that stands there
    /// already stays where it is.
    pub fn enter(&mut self, id: ActId) -> Option<KnownPlace> {
        if let Some(place) = self.find(id) {
            return Some(place);
        }
        // The emptier one, so that both fill alike.
        let place = known_buckets(id.0.get(), self.mask)
            .into_iter()
            .map(|bucket| {
                let mut free =
                    places(bucket).filter(|place| self.identity(*place).load(Ordering::Relaxed) == 0);
                (free.next(), free.count())
            })
            .max_by_key(|(first, more)| (first.is_some(), *more))
            .and_then(|(first, _)| first)?;
        self.identity(place).store(id.0.get(), Ordering::Release);
        Some(place)
    }

    /// The same for a connection, whose end is counted from now on, too.
    pub fn enter_connection(&mut self, id: ActId) -> Option<KnownPlace> {
        let nothing = Shared(Traffic::default());
        // First, so that the end of each that is recognised finds it.
        self.traffic.insert(id.0.get(), nothing, ANY).ok()?;
        let place = self.enter(id);
        if place.is_none() {
            self.forget_traffic(id);
        }
        place
    }

    /// Has nothing recognised by this entry any more, which is a connection's. The end of those that still go on is
    /// reported; gives what became of the others.
    pub fn clear_connection(&mut self, id: ActId, place: KnownPlace) -> Traffic {
        self.clear(place);
        let traffic = self.traffic(id);
        self.forget_traffic(id);
        traffic
    }

    /// What became of the connections that were recognised by this identity, since it was entered.
    #[must_use]
    pub fn traffic(&self, id: ActId) -> Traffic {
        self.traffic
            .get(&id.0.get(), ANY)
            .map_or_else(|_| Traffic::default(), |Shared(traffic)| traffic)
    }

    fn forget_traffic(&mut self, id: ActId) {
        // One that is not there is no error.
        let _gone = self.traffic.remove(&id.0.get());
    }

    /// Where an identity stands.
    #[must_use]
    pub fn find(&self, id: ActId) -> Option<KnownPlace> {
        known_buckets(id.0.get(), self.mask)
            .into_iter()
            .flat_map(places)
            .find(|place| self.identity(*place).load(Ordering::Relaxed) == id.0.get())
    }

    /// Has nothing recognised by this entry any more. Acts that are being recognised at this moment are still
    /// counted in it.
    pub fn clear(&mut self, place: KnownPlace) {
        self.identity(place).store(0, Ordering::Release);
    }

    /// How often the kernel side recognised what stood in this entry, since it started.
    #[must_use]
    pub fn count(&self, place: KnownPlace) -> u64 {
        self.word(place, 1).load(Ordering::Relaxed)
    }

    /// How many identities there is room for.
    #[must_use]
    pub fn entries(&self) -> usize {
        (self.mask as usize + 1) * KNOWN_WAYS
    }

    fn identity(&self, place: KnownPlace) -> &AtomicU64 {
        self.word(place, 0)
    }

    /// A word of an entry: its identity or its count.
    fn word(&self, KnownPlace(place): KnownPlace, which: usize) -> &AtomicU64 {
        let (bucket, way) = (place as usize / KNOWN_WAYS, place as usize % KNOWN_WAYS);
        let at = (bucket & self.mask as usize) * size_of::<KnownBucket>() / 8 + which * KNOWN_WAYS + way;
        // SAFETY: within the mapping by the mask; a bucket is identities and then counts, aligned words that both
        // sides only touch whole; the reference does not outlive the mapping.
        unsafe { AtomicU64::from_ptr(self.buckets.as_ptr().cast::<u64>().add(at)) }
    }
}

impl Drop for KnownTable {
    fn drop(&mut self) {
        let bytes = (self.mask as usize + 1) * size_of::<KnownBucket>();
        // SAFETY: made by `take`, and no reference to it is left.
        if let Err(error) = unsafe { munmap(self.buckets.as_ptr().cast(), bytes) } {
            tracing::warn!(%error, "the table of what is known stays mapped");
        }
    }
}

/// The entries of a bucket.
fn places(bucket: u32) -> impl Iterator<Item = KnownPlace> {
    let first = bucket * KNOWN_WAYS as u32;
    (first..first + KNOWN_WAYS as u32).map(KnownPlace)
}

#[cfg(test)]
mod tests {
    use super::*;
    use norma_abi::siphash;
    use std::hash::{DefaultHasher, Hasher as _};

    #[test]
    fn a_table_has_room_and_is_a_power_of_two() {
        assert_eq!(buckets_for(0), BUCKETS_MIN);
        assert_eq!(buckets_for(300_000), 1 << 17);
        for behaviours in [1, 1000, 65_536, 1_000_000] {
            let buckets = buckets_for(behaviours);
            assert!(buckets.is_power_of_two());
            assert!(u64::from(buckets) * KNOWN_WAYS as u64 * FILL >= u64::from(behaviours) * 100);
        }
    }

    #[test]
    fn the_hash_is_siphash() {
        // What the standard library hashes with is SipHash-1-3 with a key of zeros.
        for seed in 0..64_u64 {
            let word = |at: usize| {
                (at as u64 + 1)
                    .wrapping_mul(seed)
                    .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            };
            let mut hasher = DefaultHasher::new();
            for at in 0..norma_abi::IDENTITY_WORDS {
                hasher.write(&word(at).to_le_bytes());
            }
            assert_eq!(
                siphash::<{ norma_abi::IDENTITY_WORDS }>([0, 0], word),
                hasher.finish()
            );
        }
    }
}
