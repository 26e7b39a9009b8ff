//! What the collector says of a configuration of its audit log.

#![expect(
    clippy::unwrap_used,
    reason = "a failure in a helper is a failure of the test"
)]

use norma_collector::audit::key::KeySource;
use norma_collector::config::{Config, DEFAULT_CHECKPOINT_INTERVAL, DEFAULT_SEGMENT_AGE};
use norma_tlog::SigningKey;
use norma_tlog::key::Use;
use std::fs;
use std::time::Duration;

const BASE: &str =
    "listen: 127.0.0.1:7443\nstate_dir: state\ntls: {certificate: pem, key: pem, client_ca: pem}\n";

fn is_file(key: &KeySource, end: &str) -> bool {
    matches!(key, KeySource::File(path) if path.ends_with(end))
}

/// Reads a configuration with these lines more, beside a policy file.
fn read(audit: &str, policy: &str) -> Result<Config, String> {
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in [("pem", ""), ("witnesses.policy", policy)] {
        fs::write(folder.path().join(name), content).unwrap();
    }
    let file = folder.path().join("collector.yaml");
    fs::write(&file, format!("{BASE}{audit}")).unwrap();
    let base = format!("{}/", folder.path().display());
    Config::read(&file).map_err(|error| error.to_string().replace(&base, ""))
}

#[test]
fn the_audit_log_has_defaults_and_takes_other_values() {
    let limits = |text: &str| read(text, "").unwrap().events;
    assert_eq!(limits("").max_clock_step, Duration::from_secs(366 * 86400));
    let none = limits("limits: {max_ahead: 5m, max_clock_step: 0s}\n");
    assert_eq!(
        (none.max_ahead.as_secs(), none.max_clock_step.as_secs()),
        (300, 0)
    );
    let config = read("", "").unwrap();
    assert_eq!(config.audit.writer.segment_age, DEFAULT_SEGMENT_AGE);
    assert_eq!(config.audit.checkpoint_interval, DEFAULT_CHECKPOINT_INTERVAL);
    assert!(is_file(&config.audit.key, "state/audit.key") && config.witnesses.is_none());
    let text = "audit: {segment_age: 5m, checkpoint_interval: 1s, key: other.key, origin: logs.example/a}\n";
    let config = read(text, "").unwrap();
    assert_eq!(config.audit.writer.segment_age, Duration::from_secs(300));
    assert_eq!(config.audit.origin.as_deref(), Some("logs.example/a"));
    assert!(is_file(&config.audit.key, "other.key"));
}

#[test]
fn a_key_may_be_in_a_token_which_has_to_be_told_the_name_of_the_log() {
    let key = "pkcs11:token=norma;object=audit?module-path=/lib/p11.so&pin-source=file:/run/pin";
    let config = read(&format!("audit: {{key: \"{key}\", origin: log.example}}\n"), "").unwrap();
    let KeySource::Token { uri, public } = config.audit.key else {
        panic!()
    };
    assert_eq!(uri.object.as_deref(), Some("audit"));
    assert!(public.ends_with("state/audit.key.pub"));
    let refused = read(&format!("audit: {{key: \"{key}\"}}\n"), "").unwrap_err();
    assert!(
        refused.contains("collector.yaml:4:") && refused.contains("`origin`"),
        "{refused}"
    );
    let refused = read("audit: {next_key: \"pkcs11:object=a\"}\n", "").unwrap_err();
    assert!(
        refused.contains("next_key") && refused.contains("module-path"),
        "{refused}"
    );
}

#[test]
fn a_wrong_value_is_named_with_its_place_and_what_to_do() {
    let vkey = SigningKey::generate("w.example")
        .unwrap()
        .0
        .verifier(Use::Witness);
    let without_url = format!("witness w {vkey}\nquorum w\n");
    let with_tls = format!("witness w {vkey} https://w.example:7444\nquorum w\n");
    for (audit, policy, place, what) in [
        ("audit: {segment_age: 1s}\n", "", "4:22", "between 1m and 366d"),
        (
            "limits: {max_clock_step: an hour}\n",
            "",
            "4:26",
            "is not a duration such as",
        ),
        (
            "audit: {checkpoint_interval: 2h}\n",
            "",
            "4:30",
            "between 1s and 1h",
        ),
        (
            "audit: {commit_interval: 2s}\n",
            "",
            "4:26",
            "acknowledgements wait",
        ),
        ("audit: {origin: a b}\n", "", "4:17", "no name of a key"),
        ("audit: {witness_ca: pem}\n", "", "4:21", "`witnesses` is missing"),
        ("audit: {witnesses: nowhere}\n", "", "4:20", "cannot read"),
        (
            "audit: {witnesses: witnesses.policy}\n",
            "quorum none\n",
            "4:20",
            "no `witness` line",
        ),
        (
            "audit: {witnesses: witnesses.policy}\n",
            "witness w\nquorum w\n",
            "4:20",
            "witnesses.policy: line 1",
        ),
        (
            "audit: {witnesses: witnesses.policy}\n",
            &without_url,
            "4:20",
            "has no URL such as",
        ),
        (
            "audit: {witnesses: witnesses.policy}\n",
            &with_tls,
            "4:20",
            "audit.witness_ca",
        ),
    ] {
        let message = read(audit, policy).unwrap_err();
        let place = format!("collector.yaml:{place}: ");
        assert!(
            message.contains(&place) && message.contains(what),
            "{audit}{policy}: {message}"
        );
    }
    let plain = with_tls.replace("https", "http");
    assert!(
        read("audit: {witnesses: witnesses.policy}\n", &plain)
            .unwrap()
            .witnesses
            .is_some()
    );
    assert!(
        read(
            "audit: {witnesses: witnesses.policy, witness_ca: pem}\n",
            &with_tls
        )
        .is_ok()
    );
}

#[test]
fn an_archive_that_could_not_work_is_refused_with_its_line() {
    let store = |change: (&str, &str)| {
        let text = "archive:\n  cluster: east\n  store:\n    endpoint: http://127.0.0.1:9000\n    bucket: audit\n    \
                    credentials: pem\n    retain: 30d\nretention: {after_archive: 1h}\n";
        text.replace(change.0, change.1)
    };
    for (text, place, what) in [
        (store(("east", "East Wing")), "5:12", "not the name of a cluster"),
        (
            store(("http://127.0.0.1:9000", "nowhere")),
            "7:15",
            "not a URL such as",
        ),
        (
            store(("http:", "https:")),
            "7:15",
            "authorities of its certificate in `ca`",
        ),
        (
            store(("bucket: audit", "bucket: a/b")),
            "8:13",
            "not the name of a bucket",
        ),
        (
            store(("credentials: pem", "credentials: nowhere")),
            "9:18",
            "cannot read",
        ),
        (store(("30d", "long")), "10:13", "not a duration"),
        (store(("retain", "retian")), "10:5", "did you mean `retain`?"),
        (
            "retention: {after_archive: 1h}\n".to_owned(),
            "4:28",
            "`archive.store` is missing",
        ),
        ("archive: {}\n".to_owned(), "4:10", "key `cluster` is missing"),
    ] {
        let message = read(&text, "").unwrap_err();
        let place = format!("collector.yaml:{place}: ");
        assert!(
            message.contains(&place) && message.contains(what),
            "{text}: {message}"
        );
    }
    let config = read(&store(("30d", "none")), "").unwrap();
    let store = config.archive.unwrap().store.unwrap();
    assert!(store.retain.is_none() && store.path_style);
    assert!(config.retention.keep.is_none());
}

#[test]
fn encryption_and_fetched_lists_name_what_is_wrong_with_them() {
    let archive = |key: &str| format!("archive: {{cluster: a, encryption: {{key: \"{key}\"}}}}\n");
    for (text, place, what) in [
        (
            archive("nowhere"),
            "4:41",
            "archive.encryption.key: cannot read the key",
        ),
        (archive("pem"), "4:41", "chmod 600"),
        (
            archive("pkcs11:token=a"),
            "4:41",
            "archive.encryption.key: it has no `module-path`",
        ),
        (
            archive("pkcs11:token=a;object=b;type=private?module-path=/m"),
            "4:41",
            "must be `secret-key`: it is what wraps",
        ),
    ] {
        let message = read(&text, "").unwrap_err();
        let place = format!("collector.yaml:{place}: ");
        assert!(
            message.contains(&place) && message.contains(what),
            "{text}: {message}"
        );
    }

    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("pem"), "").unwrap();
    let file = folder.path().join("collector.yaml");
    let tls = |more: &str| {
        let text = BASE.replace("client_ca: pem}", &format!("client_ca: pem, {more}}}"));
        fs::write(&file, text).unwrap();
        Config::read(&file).map_err(|error| error.to_string())
    };
    for (more, what) in [
        ("crl: [\"https://pki.example/a.crl\"]", "over http:// alone"),
        ("crl: [\"ldap://pki.example/a\"]", "neither a file nor a location"),
        ("crl: [a.crl], crl_refresh: 5m", "no list is fetched"),
        (
            "crl: [\"http://pki.example/a.crl\"], crl_refresh: 2d",
            "between 1s and 24h",
        ),
    ] {
        let message = tls(more).unwrap_err();
        assert!(
            message.contains("collector.yaml:3:") && message.contains(what),
            "{more}: {message}"
        );
    }
    let config = tls("crl: [a.crl, \"http://pki.example/a.crl\"]").unwrap();
    assert_eq!((config.tls.crl.files.len(), config.tls.crl.fetched.len()), (2, 1));
}
