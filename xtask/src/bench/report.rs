//! The results, for people and for programs.

use super::cases::Case;
use super::cost::{Cost, Pairs};
use super::delivery::Records;
use super::flood::Flood;
use super::machine::Machine;
use super::rates::{Rate, number};
use super::user_space::{self, UserSpace};
use crate::terminal::bold;
use serde_json::{Value, json};

/// Everything that was measured.
pub struct Report {
    /// On what.
    pub machine: Machine,
    /// Who ran where, and where the spool was.
    pub conditions: Vec<String>,
    /// What `norma-agent doctor` says.
    pub doctor: Value,
    /// What was measured.
    pub cases: Vec<&'static Case>,
    /// Records for each operation, by case.
    pub records: Vec<Records>,
    /// Pairs with and without the agent.
    pub pairs: Pairs,
    /// The agent at several rates.
    pub rates: Vec<Rate>,
    /// The flood.
    pub flood: Option<Flood>,
    /// The agent's work on a record, or why it was not measured.
    pub user_space: Option<Result<(Vec<UserSpace>, Value), String>>,
    /// Another program's pairs.
    pub peer: Option<(&'static str, Pairs)>,
}

impl Report {
    /// How the kernel side sees a case, as `norma-agent doctor` says it.
    fn tier(&self, case: &Case) -> String {
        let capabilities = self.doctor["capabilities"].as_array();
        let mut tiers: Vec<String> = Vec::new();
        for capability in capabilities.into_iter().flatten() {
            let ours = capability["name"]
                .as_str()
                .is_some_and(|name| case.capabilities.contains(&name));
            if ours {
                let tier = capability["tier"].as_str().unwrap_or("not seen").to_owned();
                if !tiers.contains(&tier) {
                    tiers.push(tier);
                }
            }
        }
        tiers.join(", ")
    }

    fn costs(&self) -> impl Iterator<Item = (usize, &'static Case, Cost)> {
        self.cases
            .iter()
            .enumerate()
            .filter_map(|(index, case)| Some((index, *case, self.pairs.cost(index)?)))
    }

    /// Prints it.
    pub fn print(&self) {
        println!();
        self.machine.print();
        for line in &self.conditions {
            println!("{line}");
        }
        self.print_costs();
        if let Some((name, pairs)) = &self.peer {
            self.print_peer(name, pairs);
        }
        self.print_rates();
        if let Some(flood) = &self.flood {
            print_flood(flood);
        }
        match &self.user_space {
            Some(Ok((rows, _))) => print_user_space(rows),
            Some(Err(why)) => println!("\nuser space: not measured: {why}"),
            None => {}
        }
    }

    fn print_costs(&self) {
        println!(
            "\n{}",
            bold("Processor time of the watched program, nanoseconds per operation")
        );
        println!(
            "{:<12} {:>9} {:>8} {:>19} {:>17} {:>7} {:<9} {:<28} tier",
            "mode",
            "without",
            "added",
            "(min to max)",
            "A/A (min to max)",
            "bound",
            "",
            "events per operation"
        );
        for (index, case, cost) in self.costs() {
            println!(
                "{:<12} {:>9.0} {:>8} {:>19} {:>17} {:>7} {:<9} {:<28} {}",
                case.name(),
                cost.base.median,
                signed(cost.added.median),
                range(cost.added.least, cost.added.most),
                cost.noise
                    .as_ref()
                    .map(|noise| range(noise.least, noise.most))
                    .unwrap_or_default(),
                case.bound.map(|bound| format!("{bound:.0}")).unwrap_or_default(),
                verdict(cost.added.median, case.bound),
                self.records.get(index).map(records).unwrap_or_default(),
                self.tier(case),
            );
        }
        println!(
            "{} pairs; added: median of the pairs' differences; A/A: differences of neighbouring phases without \
             the agent; events: records that the kernel side made",
            self.pairs.without.len()
        );
        if self.pairs.disturbed > 0 {
            println!(
                "{} phases were taken although another program held kernel programs",
                self.pairs.disturbed
            );
        }
        for case in &self.cases {
            println!("  {:<12} {}", case.name(), case.what);
        }
    }

    fn print_peer(&self, name: &str, pairs: &Pairs) {
        println!("\n{}", bold(&format!("The same with {name}")));
        for (index, case) in self.cases.iter().enumerate() {
            if let Some(cost) = pairs.cost(index) {
                println!(
                    "{:<12} {:>9.0} {:>8} {:>19}",
                    case.name(),
                    cost.base.median,
                    signed(cost.added.median),
                    range(cost.added.least, cost.added.most),
                );
            }
        }
    }

    fn print_rates(&self) {
        if self.rates.is_empty() {
            return;
        }
        println!("\n{}", bold("The agent itself"));
        println!(
            "{:<24} {:>10} {:>8} {:>10} {:>11} {:>9}",
            "operations in a second", "records/s", "lost", "processor", "ns/record", "memory"
        );
        for rate in &self.rates {
            let wanted = format!("{} {}", number(rate.wanted), rate.mode);
            let each = match rate.wanted {
                Some(0) => String::new(),
                _ => format!("{:.0}", rate.each_ns),
            };
            println!(
                "{wanted:<24} {:>10.0} {:>8} {:>9.1}% {each:>11} {:>5} MiB",
                rate.records,
                rate.lost,
                rate.share * 100.0,
                rate.resident >> 20
            );
        }
        println!("ns/record: all of the agent's threads, shipping included");
    }

    /// For programs.
    pub fn json(&self) -> Value {
        let cases: Vec<Value> = self
            .costs()
            .map(|(index, case, cost)| {
                let mut value = cost_json(case, &cost);
                value["tier"] = json!(self.tier(case));
                value["events_per_operation"] = json!(self.records.get(index));
                value["held"] = json!(case.bound.map(|bound| cost.added.median <= bound));
                value
            })
            .collect();
        let peer = self.peer.as_ref().map(|(name, pairs)| {
            let costs: Vec<Value> = (self.cases.iter().enumerate())
                .filter_map(|(index, case)| Some(cost_json(case, &pairs.cost(index)?)))
                .collect();
            json!({ "name": name, "cases": costs })
        });
        json!({
            "machine": self.machine.json(),
            "conditions": self.conditions,
            "doctor": self.doctor,
            "pairs": self.pairs.without.len(),
            "disturbed_phases": self.pairs.disturbed,
            "cases": cases,
            "agent": self.rates.iter().map(Rate::json).collect::<Vec<_>>(),
            "flood": self.flood.as_ref().map(Flood::json),
            "user_space": self.user_space.as_ref().map(|measured| match measured {
                Ok((_, value)) => json!({ "bound_ns": user_space::BOUND, "records": value }),
                Err(why) => json!({ "not_measured": why }),
            }),
            "peer": peer,
        })
    }
}

fn cost_json(case: &Case, cost: &Cost) -> Value {
    json!({
        "mode": case.mode, "muted": case.place == super::cases::Place::Host, "operation": case.what,
        "bound_ns": case.bound, "without_ns": cost.base.json(), "added_ns": cost.added.json(),
        "noise_ns": cost.noise.as_ref().map(super::statistics::Spread::json),
    })
}

fn print_flood(flood: &Flood) {
    println!("\n{}", bold("Flood"));
    println!(
        "{} opens in {:.2} s from two threads, nothing pinned, default sizes: {} delivered, {} lost ({:.1} %), {} recognised",
        flood.done,
        flood.wall.as_secs_f64(),
        flood.delivered,
        flood.lost,
        flood.lost as f64 / flood.done as f64 * 100.0,
        flood.recognised
    );
    let sum = flood.sum();
    println!(
        "in all {sum}: {}; the agent has read {} of what was delivered; the collector was told of {} \
         lost records",
        match sum.cmp(&flood.done) {
            std::cmp::Ordering::Equal => "exactly what was done".to_owned(),
            std::cmp::Ordering::Less => format!("{} ARE MISSING", flood.done - sum),
            std::cmp::Ordering::Greater => format!(
                "{} more than was done: other containers ran, or something is counted twice",
                sum - flood.done
            ),
        },
        if flood.all_read { "all" } else { "NOT ALL" },
        flood.told,
    );
}

fn print_user_space(rows: &[UserSpace]) {
    println!(
        "\n{}",
        bold("The agent's work on a record, nanoseconds of one thread")
    );
    println!(
        "{:<14} {:>8} {:>7} {:>8} {:>14} {:>15} {:>7} {:<9} {:>11}",
        "records", "recorded", "bytes", "decode", "and identify", "(min to max)", "bound", "", "and judge"
    );
    for row in rows {
        let (identify, least, most) = row.identify;
        println!(
            "{:<14} {:>8} {:>7.0} {:>8.0} {identify:>14.0} {:>15} {:>7.0} {:<9} {:>11.0}",
            row.records,
            row.count,
            row.bytes,
            row.decode,
            range(least, most),
            user_space::BOUND,
            verdict(identify, Some(user_space::BOUND)),
            row.judge,
        );
    }
}

/// With its sign, as exact as it is worth.
pub fn signed(value: f64) -> String {
    if value.abs() < 100.0 {
        format!("{value:+.1}")
    } else {
        format!("{value:+.0}")
    }
}

/// From the least to the most.
pub fn range(least: f64, most: f64) -> String {
    format!("({} to {})", signed(least), signed(most))
}

/// Whether a bound is held, where there is one.
pub fn verdict(value: f64, bound: Option<f64>) -> &'static str {
    match bound {
        Some(bound) if value <= bound => "held",
        Some(_) => "NOT HELD",
        None => "",
    }
}

fn records(records: &Records) -> String {
    match records.is_empty() {
        true => "none".to_owned(),
        false => records
            .iter()
            .map(|(kind, each)| format!("{each:.2} {kind}"))
            .collect::<Vec<_>>()
            .join(", "),
    }
}
