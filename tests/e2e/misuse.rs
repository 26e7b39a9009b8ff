//! Wrong configurations and wrong certificates: named, not survived in silence.

use super::line::LIMIT;
use norma_rig::pki::KeyPair;
use norma_rig::{
    Agent, AgentSettings, Collector, CollectorSettings, Pki, Programs, Scratch, skip, wait_until,
};
use std::process::Output;

fn check(program: &str, config: &str) -> (Output, String) {
    let scratch = Scratch::new("misuse").unwrap();
    let path = scratch.file("config.yaml", config).unwrap();
    let mut command = std::process::Command::new(Programs::find().unwrap().path(program));
    let output = command
        .args(["config", "check", "--config"])
        .arg(&path)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    (output, text)
}

#[test]
fn a_misspelt_key_is_named_with_file_line_and_the_nearest_one() {
    for (program, config, line, wrong, nearest) in [
        (
            "norma-agent",
            "node: n\nstate_dirr: /tmp/x\n",
            2,
            "state_dirr",
            "state_dir",
        ),
        (
            "norma-agent",
            "state_dir: /tmp/x\nlearning:\n  windw: 10m\n",
            3,
            "windw",
            "window",
        ),
        (
            "norma-collector",
            "listten: 127.0.0.1:7443\nstate_dir: /tmp/x\n",
            1,
            "listten",
            "listen",
        ),
    ] {
        let (output, text) = check(program, config);
        assert_eq!(output.status.code(), Some(64), "{program}: {text}");
        assert!(
            text.contains(&format!("config.yaml:{line}:")),
            "{program}: {text}"
        );
        assert!(text.contains(wrong), "{program}: {text}");
        assert!(text.contains(&format!("`{nearest}`")), "{program}: {text}");
    }
}

#[test]
fn every_fault_of_a_policy_is_named() {
    let scratch = Scratch::new("policies").unwrap();
    let policy = "apiVersion: norma.dev/v1alpha1\nkind: Policy\nmetadata: {name: x}\nspec:\n  network:\n    \
                  - deny: [\"10.0.0.0/99\"]\n";
    let path = scratch.file("policy.yaml", policy).unwrap();
    let mut command = Programs::find().unwrap().agent();
    let output = command.args(["policy", "check"]).arg(&path).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(64), "{text}");
    assert!(
        text.contains("policy.yaml:6:") && text.contains("10.0.0.0/99"),
        "{text}"
    );
}

/// Starts an agent whose certificate is no good and gives what it says; it must go on trying.
fn refused(
    purpose: &str,
    reaches_the_collector: bool,
    certificate: impl FnOnce(&Pki, &Scratch, &Programs) -> KeyPair,
) -> String {
    let scratch = Scratch::new(purpose).unwrap();
    let programs = Programs::find().unwrap();
    let pki = Pki::create(&programs, &scratch.folder("pki").unwrap()).unwrap();
    let collector = Collector::start(&scratch, &programs, &pki, None, &CollectorSettings::default()).unwrap();
    let certificate = Some(certificate(&pki, &scratch, &programs));
    let settings = AgentSettings {
        certificate,
        ..AgentSettings::default()
    };
    let mut agent = Agent::start(&scratch, &programs, &pki, Some(&collector), &settings).unwrap();
    let daemon = agent.daemon().unwrap();
    let said = wait_until("the agent to say so twice", LIMIT, || {
        let log = daemon.log();
        let lines: Vec<_> = log
            .lines()
            .filter(|line| line.to_lowercase().contains("certificate"))
            .collect();
        Ok((lines.len() >= 2).then(|| lines.join("\n")))
    })
    .map_err(|error| format!("{error:#}\n{}", daemon.tail()))
    .unwrap();
    assert!(daemon.try_wait().unwrap().is_none(), "the agent gave up");
    if reaches_the_collector {
        // Refusals are counted for a while before they are recorded, so that a stranger cannot fill the log.
        wait_until("the refusal in the audit log", LIMIT, || {
            let records = collector.audit().records()?;
            Ok(records
                .iter()
                .any(|record| record["refused"].is_object())
                .then_some(()))
        })
        .unwrap();
    }
    said
}

/// A certificate that the authority issued and that is no longer valid.
fn expired(pki: &Pki, scratch: &Scratch) -> KeyPair {
    use rcgen::{CertificateParams, Issuer, KeyPair as Key, PKCS_ECDSA_P384_SHA384, SanType};
    let read = |path: &std::path::Path| std::fs::read_to_string(path).unwrap();
    let ca_key = Key::from_pem(&read(&pki.ca().with_file_name("ca-key.pem"))).unwrap();
    let issuer = Issuer::from_ca_cert_pem(&read(&pki.ca()), ca_key).unwrap();
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![SanType::URI("spiffe://norma/node/rig-node".try_into().unwrap())];
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(2020, 12, 31);
    let key = Key::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap();
    let certificate = params.signed_by(&key, &issuer).unwrap();
    KeyPair {
        certificate: scratch.file("expired.pem", &certificate.pem()).unwrap(),
        key: scratch.file("expired-key.pem", &key.serialize_pem()).unwrap(),
    }
}

#[test]
fn an_expired_certificate_is_named_and_tried_again() {
    if !skip::unless_root("an_expired_certificate_is_named_and_tried_again") {
        return;
    }
    let said = refused("expired", false, |pki, scratch, _| expired(pki, scratch));
    assert!(said.to_lowercase().contains("expired"), "{said}");
}

#[test]
fn a_certificate_of_another_authority_is_refused_and_tried_again() {
    if !skip::unless_root("a_certificate_of_another_authority_is_refused_and_tried_again") {
        return;
    }
    refused("foreign", true, |_, scratch, programs| {
        let other = Pki::create(programs, &scratch.folder("other-pki").unwrap()).unwrap();
        other.node("rig-node", 30).unwrap()
    });
}
