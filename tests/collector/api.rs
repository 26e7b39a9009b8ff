//! What auditors and operators ask of a running collector, and that the collector's administration is on record.

use crate::agent::Agent;
use crate::stage::{LIMIT, Stage};
use anyhow::{Context as _, Result, ensure};
use norma_rig::net::{free_port, is_listening};
use norma_rig::pki::KeyPair;
use norma_rig::program::output;
use norma_rig::{Collector, CollectorSettings, wait_until};
use serde_json::Value;
use std::process::{Command, Output};

struct Office {
    stage: Stage,
    collector: Collector,
    port: u16,
    auditor: KeyPair,
    operator: KeyPair,
}

impl Office {
    fn open(purpose: &str) -> Result<Self> {
        let stage = Stage::new(purpose)?;
        let port = free_port()?;
        let settings = CollectorSettings {
            extra: format!(
                "api: {{listen: \"127.0.0.1:{port}\"}}\nenrolment: {{ca: {}, listen: \"127.0.0.1:{}\"}}\n",
                stage.pki.ca().with_file_name("").display(),
                free_port()?
            ),
            checkpoint_interval: Some("1s".to_owned()),
            ..CollectorSettings::default()
        };
        let collector = stage.collector(None, &settings)?;
        wait_until("the API to listen", LIMIT, || {
            Ok(is_listening(port)?.then_some(()))
        })?;
        Ok(Self {
            auditor: stage.pki.person("auditor", "eve")?,
            operator: stage.pki.person("operator", "olga")?,
            stage,
            collector,
            port,
        })
    }

    fn command(&self, who: &KeyPair, ask: &[&str]) -> Command {
        let mut command = self.stage.programs.collector();
        command.args(["api", "--server-name", "localhost", "--collector"]);
        command.arg(format!("127.0.0.1:{}", self.port));
        command.arg("--ca").arg(self.stage.pki.ca());
        command.arg("--certificate").arg(&who.certificate);
        command.arg("--key").arg(&who.key).args(ask);
        command
    }

    fn asks(&self, who: &KeyPair, ask: &[&str]) -> Result<String> {
        output(&mut self.command(who, ask))
    }

    fn refuses(&self, who: &KeyPair, ask: &[&str], why: &str) -> Result<Output> {
        let answer = self.command(who, ask).output()?;
        let told = String::from_utf8_lossy(&answer.stderr).into_owned();
        ensure!(
            !answer.status.success() && told.contains(why),
            "{why} not in {told}"
        );
        Ok(answer)
    }

    fn administration(&self, act: &str) -> Result<Vec<Value>> {
        let records = self.collector.audit().records_of(&["--kind", "administration"])?;
        let done = records.into_iter().map(|record| record["administration"].clone());
        Ok(done.filter(|done| done["act"] == act).collect())
    }
}

fn lines(text: &str) -> Result<Vec<Value>> {
    text.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_auditor_reads_what_there_is_and_each_request_is_on_record() -> Result<()> {
    let office = Office::open("api-auditor")?;
    for node in ["worker-1", "worker-2"] {
        let mut agent = Agent::of_node(&office.stage.pki, office.collector.port(), node, 3, 90).await?;
        agent.send(agent.events(1, 50)).await?;
        agent.acknowledged(50).await?;
    }
    let eve = &office.auditor;
    let status: Value = serde_json::from_str(&office.asks(eve, &["status", "--output", "json"])?)?;
    ensure!(status["records"].as_u64() > Some(100), "{status}");

    let query = |ask: &[&str]| -> Result<Vec<Value>> {
        lines(&office.asks(eve, &[&["query", "--output", "json"], ask].concat())?)
    };
    ensure!(query(&["--node", "worker-1", "--kind", "exec"])?.len() == 50);
    ensure!(query(&["--kind", "exec"])?.len() == 100);
    ensure!(query(&["--kind", "exec", "--limit", "7"])?.len() == 7);
    // Each third is novel.
    ensure!(query(&["--node", "worker-2", "--kind", "exec", "--alerts"])?.len() == 16);
    ensure!(query(&["--kind", "exec", "--to", "2020-01-01T00:00:00Z"])?.is_empty());
    ensure!(query(&["--kind", "exec", "--namespace", "nowhere"])?.is_empty());
    // The same as who reads the files.
    let (found, read) = (
        query(&["--kind", "exec"])?,
        office.collector.audit().records_of(&["--kind", "exec"])?,
    );
    ensure!(found == read);

    let proof = wait_until("a proof under a checkpoint", LIMIT, || {
        Ok(office.asks(eve, &["prove", "worker-1/0000000000000003/7"]).ok())
    })?;
    let proof = office.stage.scratch.file("7.tlog-proof", &proof)?;
    let mut check = office.stage.programs.collector();
    check.args(["audit", "check-proof"]).arg(&proof).arg("--policy");
    ensure!(output(check.arg(office.collector.policy(&office.stage.scratch)?))?.starts_with("proven"));
    let checkpoint = office.asks(eve, &["checkpoint"])?;
    let checkpoint = office.stage.scratch.file("checkpoint", &checkpoint)?;
    office
        .collector
        .audit()
        .verify_with(&["--expect".as_ref(), checkpoint.as_os_str()])?;
    let gaps: Value = serde_json::from_str(&office.asks(eve, &["gaps"])?)?;
    ensure!(gaps["complete"] == 2, "{gaps}");
    office.refuses(eve, &["prove", "worker-1/0000000000000003/999"], "no such record")?;
    office.refuses(eve, &["prove", "nothing"], "neither an event")?;

    let queries = office.administration("query")?;
    ensure!(queries.len() == 7, "{queries:?}");
    ensure!(
        queries
            .iter()
            .all(|done| done["actor"] == "auditor eve" && done["peer"] == "127.0.0.1")
    );
    ensure!(queries[0].to_string().contains("worker-1"), "{}", queries[0]);
    for act in ["status", "checkpoint", "gaps"] {
        ensure!(office.administration(act)?.len() == 1, "{act}");
    }
    ensure!(
        office
            .administration("proof")?
            .iter()
            .any(|done| done["refused"] != "")
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_role_has_its_own_api_and_who_asks_for_another_is_on_record() -> Result<()> {
    let office = Office::open("api-roles")?;
    let (eve, olga) = (&office.auditor, &office.operator);
    let node = office.stage.pki.node("worker-1", 90)?;
    let token = office.asks(olga, &["token", "worker-9"])?;
    ensure!(token.starts_with("norma-token-1."), "{token}");
    office.asks(olga, &["status"])?;
    office.refuses(olga, &["query"], "only an auditor may")?;
    office.refuses(olga, &["gaps"], "only an auditor may")?;
    office.refuses(olga, &["token", "Not-A-Name"], "is not a node name")?;
    let nonsense = office.stage.scratch.file("nonsense", "nonsense")?;
    office.refuses(
        olga,
        &["decide", nonsense.to_str().context("path")?],
        "no decisions",
    )?;
    office.refuses(eve, &["token", "worker-9"], "only an operator may")?;
    for ask in [&["status"][..], &["query"], &["token", "worker-1"]] {
        office.refuses(&node, ask, "node worker-1 asks for what only an")?;
    }
    wait_until("the refusals in the audit log", LIMIT, || {
        let refused = office.collector.audit().records_of(&["--kind", "refused"])?;
        let told = |who: &str, node: &str| {
            refused.iter().any(|record| {
                let refused = &record["refused"];
                refused["node"] == node && refused["reason"].as_str().is_some_and(|why| why.starts_with(who))
            })
        };
        let all = told("operator olga", "") && told("auditor eve", "") && told("node worker-1", "worker-1");
        Ok(all.then_some(()))
    })?;
    let tokens = office.administration("token")?;
    let by_olga = |refused: bool| {
        let matching = |done: &&Value| done["actor"] == "operator olga" && (done["refused"] != "") == refused;
        tokens.iter().filter(matching).count()
    };
    ensure!(by_olga(false) == 1 && by_olga(true) == 1, "{tokens:?}");
    ensure!(!tokens.iter().any(|done| done.to_string().contains(token.trim())));
    ensure!(office.administration("decisions")?.len() == 1);
    // Nobody of these was told anything of the log.
    ensure!(office.administration("query")?.is_empty());
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_places_and_releases_holds_and_an_auditor_sees_them() -> Result<()> {
    let mut office = Office::open("api-holds")?;
    let (eve, olga) = (&office.auditor, &office.operator);
    fn hold<'a>(ask: &[&'a str]) -> Vec<&'a str> {
        let words = ["--reason", "case 17", "--who", "J. Doe"];
        [&["hold"], ask, &words].concat()
    }
    office.refuses(eve, &hold(&["set", "--everything"]), "only an operator may")?;
    office.refuses(eve, &hold(&["release", "hold-1"]), "only an operator may")?;
    office.refuses(olga, &hold(&["set"]), "say what to hold")?;
    office.refuses(olga, &hold(&["release", "hold-1"]), "there is no hold `hold-1`")?;
    let vague = ["hold", "set", "--everything", "--reason", " ", "--who", "J. Doe"];
    office.refuses(olga, &vague, "say why, and who wants it")?;
    ensure!(office.asks(eve, &["hold", "list"])?.trim() == "no hold is in force");

    let on = ["set", "--namespace", "payments", "--from", "2026-11-01T00:00:00Z"];
    let placed = office.asks(olga, &hold(&on))?;
    let id = placed.split(' ').next().context("no name")?.to_owned();
    ensure!(placed.contains("is placed"), "{placed}");
    let listed = |who: &KeyPair| -> Result<Value> {
        let told = office.asks(who, &["hold", "list", "--output", "json"])?;
        Ok(serde_json::from_str::<Value>(&told)?["holds"].clone())
    };
    let holds = listed(eve)?;
    ensure!(holds == listed(olga)?, "{holds}");
    ensure!(
        holds.as_array().is_some_and(|holds| holds.len() == 1)
            && holds[0]["id"] == id.as_str()
            && holds[0]["on"]["namespace"] == "payments"
            && holds[0]["on"]["everything"] == false
            && holds[0]["who"] == "J. Doe"
            && holds[0]["actor"] == "operator olga",
        "{holds}"
    );
    let told = office.asks(eve, &["hold", "list"])?;
    ensure!(
        told.contains("on namespace payments, from 2026-11-01")
            && told.contains("by J. Doe (operator olga): case 17"),
        "{told}"
    );
    // It is the same hold to who is on the host, and after a restart.
    let local = |ask: &[&str]| {
        let mut command = office.stage.programs.collector();
        command.args(["audit", "hold"]).args(ask).arg("--state");
        output(command.arg(office.collector.state()))
    };
    ensure!(local(&["list"])?.contains(&id));
    office.collector.stop()?;
    office.collector.run(&office.stage.scratch)?;
    wait_until("the API to listen", LIMIT, || {
        Ok(is_listening(office.port)?.then_some(()))
    })?;
    let (eve, olga) = (&office.auditor, &office.operator);
    ensure!(office.asks(eve, &["hold", "list"])?.contains(&id));
    let released = office.asks(olga, &hold(&["release", &id]))?;
    ensure!(released.contains("is released"), "{released}");
    ensure!(office.asks(eve, &["hold", "list"])?.trim() == "no hold is in force");

    let audit = office.collector.audit();
    for (kind, name) in [("hold_placed", "hold_placed"), ("hold_released", "hold_released")] {
        let records = audit.records_of(&["--kind", kind])?;
        let record = &records[0][name];
        ensure!(
            records.len() == 1
                && record["id"] == id.as_str()
                && record["actor"] == "operator olga"
                && record["who"] == "J. Doe"
                && record["reason"] == "case 17",
            "{records:?}"
        );
    }
    let asked = |act: &str| -> Result<Vec<(bool, String)>> {
        let done = office.administration(act)?;
        Ok(done
            .iter()
            .map(|done| {
                (
                    done["refused"] == "",
                    done["actor"].as_str().unwrap_or_default().to_owned(),
                )
            })
            .collect())
    };
    let olga = |done| (done, "operator olga".to_owned());
    // What names nothing is refused before it is sent.
    ensure!(
        asked("hold")? == [olga(false), olga(true)],
        "{:?}",
        asked("hold")?
    );
    ensure!(
        asked("hold_release")? == [olga(false), olga(true)],
        "{:?}",
        asked("hold_release")?
    );
    ensure!(
        asked("holds")?
            .iter()
            .filter(|(_, who)| who == "auditor eve")
            .count()
            == 5
    );
    office.collector.stop()
}

#[test]
fn what_the_collector_is_told_by_its_files_is_on_record() -> Result<()> {
    let mut office = Office::open("administration")?;
    let first = office.administration("configuration")?;
    ensure!(first.len() == 1 && first[0]["actor"] == "collector", "{first:?}");
    ensure!(
        first[0]
            .to_string()
            .contains("no configuration of an earlier start"),
        "{first:?}"
    );
    ensure!(office.administration("log_key")?.len() == 1);

    // A token of root's, a certificate that cannot be read, and one that can.
    let config = office.stage.scratch.join("collector.yaml");
    let mut command = office.stage.programs.collector();
    output(
        command
            .args(["pki", "token", "worker-5", "--config"])
            .arg(&config),
    )?;
    let certificate = office.stage.scratch.join("collector/server.pem");
    let good = std::fs::read(&certificate)?;
    std::fs::write(&certificate, "nonsense")?;
    wait_until("the refused certificate on record", LIMIT, || {
        let done = office.administration("credentials")?;
        Ok(done.iter().any(|done| done["refused"] != "").then_some(()))
    })?;
    std::fs::write(&certificate, good)?;
    wait_until("the certificate and the token on record", LIMIT, || {
        let done = office.administration("credentials")?;
        let taken = done.iter().filter(|done| done["refused"] == "").count();
        let tokens = office.collector.audit().records_of(&["--kind", "token_made"])?;
        let token = tokens.iter().any(|made| made["token_made"]["node"] == "worker-5");
        Ok((taken == 2 && token).then_some(()))
    })?;

    office.collector.stop()?;
    let text = std::fs::read_to_string(&config)?;
    std::fs::write(&config, text + "limits: {max_event_bytes: 8192}\n")?;
    office.collector.run(&office.stage.scratch)?;
    let starts = office.administration("configuration")?;
    let changed = |done: &Value| -> Vec<String> {
        let facts = done["facts"].as_array().into_iter().flatten();
        facts
            .filter(|fact| fact["name"] == "changed")
            .filter_map(|fact| Some(fact["value"].as_str()?.to_owned()))
            .collect()
    };
    ensure!(
        starts.len() == 2 && changed(&starts[1]) == ["limits.max_event_bytes to `8192`, which was not set"],
        "{starts:?}"
    );
    let sha256 = norma_rig::program::sha256_of(&config)?;
    ensure!(starts[1].to_string().contains(&sha256), "{starts:?}");
    let clock = office.collector.audit().records_of(&["--kind", "clock_state"])?;
    ensure!(!clock.is_empty());
    office.collector.stop()
}
