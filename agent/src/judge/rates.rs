//! How many names come in an hour: far more than were to be expected, or very many below one domain.

use super::fact::Fact;
use crate::observation::{BootTime, CgroupId};
use foldhash::{HashMap, HashMapExt as _, HashSet};
use norma_baseline::fact::{Field, registered_domain};
use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3600);
/// Fewer new names in an hour are no burst, however few were to be expected.
const BURST: u64 = 200;
/// So many times what is to be expected is a burst.
const BURST_FACTOR: f64 = 20.0;
/// Distinct names below one domain in an hour that are a tunnel; one that looks made by a machine counts twice.
const TUNNEL: u64 = 100;
/// Most domains of a container that are counted at one time; above it the counting begins anew.
const DOMAINS_MAX: usize = 4_096;
/// Names of one domain that are told apart.
const NAMES_MAX: usize = 20_000;
/// Length and entropy (bits for each letter) of a label from which it looks made by a machine.
const LABEL_MIN: usize = 20;
const ENTROPY_MIN: f64 = 3.3;
/// The same for the label that was registered: people choose shorter names, and so do the makers of malware.
const REGISTERED_MIN: usize = 14;

/// The counts of all containers.
pub(super) struct Rates {
    fields: HashMap<(CgroupId, Field), Hour>,
    domains: HashMap<CgroupId, HashMap<String, Domain>>,
    hashing: RandomState,
}

#[derive(Clone, Copy)]
struct Hour {
    since: BootTime,
    count: u64,
}

struct Domain {
    since: BootTime,
    names: HashSet<u64>,
    weight: u64,
}

impl Default for Rates {
    fn default() -> Self {
        Self {
            fields: HashMap::new(),
            domains: HashMap::new(),
            hashing: RandomState::new(),
        }
    }
}

impl Rates {
    /// Counts a new name of a field that never stops bringing new ones, of which `per_day` are to be expected in a
    /// day. Gives the count of this hour where it is a burst, and again with each tenfold.
    pub fn count(&mut self, cgroup: CgroupId, field: Field, per_day: f64, at: BootTime) -> Option<u64> {
        let hour = self
            .fields
            .entry((cgroup, field))
            .or_insert(Hour { since: at, count: 0 });
        if is_over(hour.since, at) {
            *hour = Hour { since: at, count: 0 };
        }
        hour.count += 1;
        let usual = (per_day / 24.0 * BURST_FACTOR).min(1e15) as u64;
        is_step(hour.count, usual.max(BURST)).then_some(hour.count)
    }

    /// The domain below which so many names were asked for that further ones are not to be learned.
    pub fn is_tunnel(&self, cgroup: CgroupId, fact: &Fact) -> bool {
        domain_of(fact).is_some_and(|domain| {
            let known = self.domains.get(&cgroup).and_then(|domains| domains.get(domain));
            known.is_some_and(|known| known.weight >= TUNNEL)
        })
    }

    /// Counts a name that is not part of what is expected; where its field is not ready (`is_novel` is false), one
    /// that looks made by a machine only. Gives domain and distinct names where they make a tunnel, and again with
    /// each tenfold.
    pub fn ask(
        &mut self,
        cgroup: CgroupId,
        fact: &Fact,
        is_novel: bool,
        at: BootTime,
    ) -> Option<(String, usize)> {
        let domain = domain_of(fact)?;
        let name = name_of(fact)?;
        let encoded = looks_made(name);
        if !encoded && !is_novel {
            return None;
        }
        let domains = self.domains.entry(cgroup).or_default();
        if domains.len() >= DOMAINS_MAX && !domains.contains_key(domain) {
            domains.clear();
        }
        let known = domains
            .entry(domain.to_owned())
            .or_insert_with(|| Domain::new(at));
        if is_over(known.since, at) {
            *known = Domain::new(at);
        }
        if known.names.len() >= NAMES_MAX || !known.names.insert(self.hashing.hash_one(name)) {
            return None;
        }
        let before = known.weight;
        known.weight += if encoded { 2 } else { 1 };
        let reaches = |mark: u64| before < mark && known.weight >= mark;
        let sign = [TUNNEL, 10 * TUNNEL, 100 * TUNNEL].into_iter().any(reaches);
        sign.then(|| (domain.to_owned(), known.names.len()))
    }

    /// Forgets a container that is gone.
    pub fn forget(&mut self, cgroup: CgroupId) {
        self.fields.retain(|(of, _), _| *of != cgroup);
        self.domains.remove(&cgroup);
    }
}

impl Domain {
    fn new(since: BootTime) -> Self {
        Self {
            since,
            names: HashSet::default(),
            weight: 0,
        }
    }
}

fn name_of(fact: &Fact) -> Option<&str> {
    match fact {
        Fact::Act {
            operation, object, ..
        } if operation.as_ref() == "dns.query" => Some(object.as_ref()),
        _ => None,
    }
}

fn domain_of(fact: &Fact) -> Option<&str> {
    name_of(fact).and_then(registered_domain)
}

/// Whether a name has a label that looks made by a machine. Names within a cluster are nobody's to make up.
pub(super) fn looks_made(name: &str) -> bool {
    let Some(domain) = registered_domain(name) else {
        return false;
    };
    let below = name.strip_suffix(domain).unwrap_or_default();
    let is_made = |label: &str, least: usize| label.len() >= least && entropy(label) >= ENTROPY_MIN;
    let registered = domain.split('.').next().unwrap_or_default();
    below.split('.').any(|label| is_made(label, LABEL_MIN))
        || (is_made(registered, REGISTERED_MIN) && !is_pronounceable(registered))
}

/// Bits for each letter, by how often each comes.
fn entropy(label: &str) -> f64 {
    let mut counts = [0u32; 256];
    for byte in label.bytes() {
        counts[usize::from(byte)] += 1;
    }
    let length = label.len() as f64;
    counts
        .iter()
        .filter(|count| **count > 0)
        .map(|count| f64::from(*count) / length)
        .map(|share| -share * share.log2())
        .sum()
}

/// Words have a vowel in four letters at least, and few digits.
fn is_pronounceable(label: &str) -> bool {
    let vowels = label.bytes().filter(|byte| b"aeiouy".contains(byte)).count();
    let digits = label.bytes().filter(u8::is_ascii_digit).count();
    vowels * 4 >= label.len() && digits * 4 <= label.len()
}

fn is_over(since: BootTime, now: BootTime) -> bool {
    now.0 >= since.0.saturating_add(HOUR.as_nanos() as u64)
}

/// The first count over a limit, and each tenfold of that.
fn is_step(count: u64, limit: u64) -> bool {
    let mut step = limit.saturating_add(1);
    while step < count {
        step = step.saturating_mul(10);
    }
    step == count
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: CgroupId = CgroupId(1);

    fn query(name: &str) -> Fact {
        Fact::Act {
            exe: "/bin/x".into(),
            operation: "dns.query".into(),
            object: name.into(),
        }
    }

    /// A label as a tunnel makes them: base 32 of a counter, spread.
    fn chunk(number: u64) -> String {
        let mut value = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (0..32)
            .map(|_| {
                value = value.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                char::from(b"abcdefghijklmnopqrstuvwxyz234567"[(value >> 59) as usize])
            })
            .collect()
    }

    #[test]
    fn names_that_machines_make_are_told_from_those_that_people_choose() {
        assert!(looks_made(&format!("{}.evil.test", chunk(7))));
        assert!(looks_made("xkqzvwjhtrpbnm4d7f.com"));
        for name in [
            "www.example.com",
            "d111111abcdef8.cloudfront.net",
            "registry-1.docker.io",
            "internationalization.example.com",
            "stackoverflowcareers.com",
            "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.example.com",
            "6f1c2a9b8d7e4f3a5b6c7d8e9f0a1b2c.shop.svc.cluster.local",
        ] {
            assert!(!looks_made(name), "{name}");
        }
    }

    #[test]
    fn a_tunnel_is_found_while_learning_too_and_by_its_domain() {
        let mut rates = Rates::default();
        let signs: Vec<usize> = (0..1_000)
            .filter_map(|number| {
                let fact = query(&format!("{}.evil.test", chunk(number)));
                rates.ask(ONE, &fact, false, BootTime(1)).map(|(domain, names)| {
                    assert_eq!(domain, "evil.test");
                    names
                })
            })
            .collect();
        assert_eq!(signs, [50, 500]);
        assert!(rates.is_tunnel(ONE, &query("x.evil.test")));
        assert!(!rates.is_tunnel(ONE, &query("x.good.test")));
        assert!(!rates.is_tunnel(CgroupId(2), &query("x.evil.test")));
    }

    #[test]
    fn the_same_names_again_are_no_tunnel_and_neither_are_plain_ones_while_learning() {
        let mut rates = Rates::default();
        for number in 0..10_000 {
            let again = query(&format!("{}.good.test", chunk(number % 40)));
            assert_eq!(rates.ask(ONE, &again, true, BootTime(1)), None);
            let plain = query(&format!("host-{number}.good.test"));
            assert_eq!(rates.ask(ONE, &plain, false, BootTime(1)), None);
        }
    }

    #[test]
    fn a_burst_is_measured_against_what_was_to_be_expected() {
        let signs = |per_day: f64| -> Vec<u64> {
            let mut rates = Rates::default();
            (0..5_000)
                .filter_map(|_| rates.count(ONE, Field::File, per_day, BootTime(1)))
                .collect()
        };
        assert_eq!(signs(10.0), [201, 2_010]);
        assert_eq!(signs(24.0 * 100.0), [2_001]);
        assert_eq!(signs(24.0 * 1_000.0), [0u64; 0]);
        let mut rates = Rates::default();
        let calm = (0..1_000u64).all(|number| {
            let at = BootTime(number * 30_000_000_000);
            rates.count(ONE, Field::File, 10.0, at).is_none()
        });
        assert!(calm, "120 an hour");
    }
}
