//! Medians and their table.

use super::measure::{AgentSample, MODES, Pair, Sample};
use serde_json::{Value, json};

struct Row {
    mode: &'static str,
    rate_without: f64,
    rate_with: f64,
    cpu_without: f64,
    cpu_with: f64,
    /// CPU per operation with the agent / without, of each pair: median, least, most.
    ratio: (f64, f64, f64),
    agent: AgentSample,
}

fn rows(pairs: &[Pair]) -> Vec<Row> {
    let row = |(index, mode): (usize, &&'static str)| {
        let of = |which: fn(&Pair) -> &Vec<Sample>, what: fn(&Sample) -> f64| {
            median(
                pairs
                    .iter()
                    .filter_map(|pair| which(pair).get(index))
                    .map(what)
                    .collect(),
            )
        };
        let ratios: Vec<f64> = pairs
            .iter()
            .filter_map(|pair| Some(pair.with.get(index)?.cpu_ns / pair.without.get(index)?.cpu_ns))
            .collect();
        let least = ratios.iter().copied().fold(f64::INFINITY, f64::min);
        let most = ratios.iter().copied().fold(0.0, f64::max);
        let agents: Vec<AgentSample> = pairs
            .iter()
            .filter_map(|pair| pair.with.get(index)?.agent)
            .collect();
        let agent = |what: fn(&AgentSample) -> f64| median(agents.iter().map(what).collect());
        Row {
            mode,
            rate_without: of(|pair| &pair.without, |sample| sample.rate),
            rate_with: of(|pair| &pair.with, |sample| sample.rate),
            cpu_without: of(|pair| &pair.without, |sample| sample.cpu_ns),
            cpu_with: of(|pair| &pair.with, |sample| sample.cpu_ns),
            ratio: (median(ratios), least, most),
            agent: AgentSample {
                events: agent(|sample| sample.events),
                lost: agents.iter().map(|sample| sample.lost).sum(),
                cpu: agent(|sample| sample.cpu),
                resident: agents.iter().map(|sample| sample.resident).max().unwrap_or(0),
            },
        }
    };
    MODES.iter().enumerate().map(row).collect()
}

/// Prints the table.
pub fn human(pairs: &[Pair]) {
    println!(
        "\n{:<8} {:>11} {:>11} {:>10} {:>10} {:>6} {:>13} {:>10} {:>7} {:>6} {:>8}",
        "mode",
        "ops/s",
        "watched",
        "CPU ns/op",
        "watched",
        "ratio",
        "(min-max)",
        "events/s",
        "lost",
        "agent",
        "RSS"
    );
    for row in rows(pairs) {
        let (ratio, least, most) = row.ratio;
        println!(
            "{:<8} {:>11.0} {:>11.0} {:>10.0} {:>10.0} {ratio:>6.2} {:>13} {:>10.0} {:>7} {:>5.0}% {:>4} MiB",
            row.mode,
            row.rate_without,
            row.rate_with,
            row.cpu_without,
            row.cpu_with,
            format!("({least:.2}-{most:.2})"),
            row.agent.events,
            row.agent.lost,
            row.agent.cpu * 100.0,
            row.agent.resident >> 20
        );
    }
    println!(
        "\n{} pair(s); medians; ratio: CPU time of the container per operation, watched / unwatched;",
        pairs.len()
    );
    println!(
        "agent: share of one processor while the load ran; lost: records the kernel could not deliver, all pairs"
    );
}

/// The same for programs.
pub fn json(pairs: &[Pair]) -> Value {
    let rows: Vec<Value> = rows(pairs)
        .iter()
        .map(|row| {
            json!({
                "mode": row.mode,
                "ops_per_second": { "without": row.rate_without, "with": row.rate_with },
                "cpu_ns_per_op": { "without": row.cpu_without, "with": row.cpu_with },
                "ratio": { "median": row.ratio.0, "min": row.ratio.1, "max": row.ratio.2 },
                "agent": {
                    "events_per_second": row.agent.events, "lost": row.agent.lost,
                    "cpu": row.agent.cpu, "resident_bytes": row.agent.resident,
                },
            })
        })
        .collect();
    json!({ "pairs": pairs.len(), "modes": rows })
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        count if count % 2 == 1 => values[count / 2],
        count => f64::midpoint(values[count / 2 - 1], values[count / 2]),
    }
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
    }
}
