//! What scrapers are told.

use super::line::{LIMIT, Line};
use norma_rig::net::{free_port, scrape};
use norma_rig::python::Python;
use norma_rig::{AgentSettings, Collector, CollectorSettings, Pki, Programs, Scratch, skip, wait_until};
use std::collections::BTreeSet;
use std::io::Write as _;
use std::process::Stdio;
use std::time::Duration;

fn listen(port: u16) -> String {
    format!("metrics:\n  listen: 127.0.0.1:{port}\n")
}

/// A reader that is not ours; `None` where there is none, after saying so.
fn python(test: &str) -> Option<Python> {
    Python::for_metrics(&Programs::find().unwrap())
        .inspect_err(|error| skip::skipped(test, &format!("{error:#}")))
        .ok()
}

/// Names of the samples, as that reader finds them.
fn names(python: &Python, page: &str) -> BTreeSet<String> {
    let mut check = python
        .program("python")
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/e2e/metrics_check.py"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    check.stdin.take().unwrap().write_all(page.as_bytes()).unwrap();
    let output = check.wait_with_output().unwrap();
    assert!(output.status.success(), "{page}");
    String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(str::to_owned)
        .collect()
}

fn has(page: &str, beginning: &str) -> bool {
    page.lines().any(|line| line.starts_with(beginning))
}

#[test]
fn both_programs_tell_scrapers_how_they_are() {
    if !skip::unless_root("both_programs_tell_scrapers_how_they_are") {
        return;
    }
    let Some(python) = python("both_programs_tell_scrapers_how_they_are") else {
        return;
    };
    let port = free_port().unwrap();
    let settings = AgentSettings {
        learning: Duration::from_secs(3),
        extra: listen(port),
        ..AgentSettings::default()
    };
    let mut line = Line::start("metrics", &settings);
    line.learn();
    let page = wait_until("metrics of the baseline", LIMIT, || {
        let page = scrape(port).unwrap();
        let ready = page.lines().any(|sample| {
            sample.starts_with("norma_agent_field_state{")
                && sample.contains(line.container.id())
                && sample.contains("state=\"ready\"")
        });
        Ok((ready && has(&page, "norma_agent_connected 1")).then_some(page))
    })
    .unwrap();
    assert!(
        has(&page, "norma_agent_coverage{capability=\"exec\",tier="),
        "{page}"
    );
    assert!(
        has(&page, "norma_agent_acknowledge_seconds_count ")
            && !has(&page, "norma_agent_acknowledge_seconds_count 0"),
        "what the collector stored was not timed: {page}"
    );
    assert!(
        has(&page, "norma_agent_kernel_records_total{kind=\"open\"} "),
        "{page}"
    );
    let found = names(&python, &page);
    for name in [
        "norma_agent_judge_seconds_bucket",
        "norma_agent_outbox_bytes",
        "norma_agent_outbox_oldest_seconds",
        "norma_agent_ring_fill_bytes",
        "process_cpu_seconds_total",
    ] {
        assert!(found.contains(name), "{name} is not among {found:?}");
    }
    let of = |name: &str| {
        let page = scrape(port).unwrap();
        let mut samples = page.lines().filter_map(|sample| sample.split_once(' '));
        let found = samples.find(|(sample, _)| *sample == name);
        let found = found.unwrap_or_else(|| panic!("{name} is not in {page}"));
        found.1.parse::<f64>().unwrap()
    };
    // Programs are started all the time, and have the reserved ring.
    wait_until("records in the ring", LIMIT, || {
        Ok((of("norma_agent_ring_fill_bytes{ring=\"reserved\"}") > 0.0).then_some(()))
    })
    .unwrap();
    for ring in ["0", "reserved"] {
        let [fill, size] =
            ["fill", "size"].map(|of_it| of(&format!("norma_agent_ring_{of_it}_bytes{{ring=\"{ring}\"}}")));
        assert!(size >= 4096.0 && fill < size / 2.0, "{ring}: {fill} of {size}");
    }
    // What waits grows old, and is found again as old as it is.
    let oldest = || of("norma_agent_outbox_oldest_seconds");
    wait_until("all to be acknowledged", LIMIT, || {
        Ok((oldest() < 2.0).then_some(()))
    })
    .unwrap();
    line.collector.stop().unwrap();
    let older = |than: f64| {
        wait_until("events to wait", LIMIT, || Ok((oldest() > than).then_some(()))).unwrap();
    };
    older(4.0);
    line.agent.stop().unwrap();
    line.agent.run(&line.scratch).unwrap();
    assert!(oldest() > 4.0, "{}", oldest());
    line.collector.run(&line.scratch).unwrap();
    wait_until("all to be acknowledged", LIMIT, || {
        Ok((oldest() < 2.0).then_some(()))
    })
    .unwrap();
}

#[test]
fn the_collector_tells_scrapers_how_it_is() {
    let Some(python) = python("the_collector_tells_scrapers_how_it_is") else {
        return;
    };
    let port = free_port().unwrap();
    let (scratch, programs) = (
        Scratch::new("collector-metrics").unwrap(),
        Programs::find().unwrap(),
    );
    let pki = Pki::create(&programs, &scratch.folder("pki").unwrap()).unwrap();
    let settings = CollectorSettings {
        extra: listen(port),
        ..CollectorSettings::default()
    };
    let _collector = Collector::start(&scratch, &programs, &pki, None, &settings).unwrap();
    let page = scrape(port).unwrap();
    let found = names(&python, &page);
    for name in [
        "norma_collector_log_records",
        "norma_collector_disk_used_percent",
        "norma_collector_events_total",
        "norma_collector_rejected_total",
        "norma_collector_store_seconds_count",
    ] {
        assert!(found.contains(name), "{name} is not among {found:?}");
    }
}
