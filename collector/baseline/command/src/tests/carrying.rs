//! Bundles and exports.

use super::*;

#[test]
fn a_bundle_is_carried_whole_or_refused() {
    let state = State::new();
    let (key, public) = state.key("alice");
    let bundle = state.file("web.bundle");
    let words = [
        "export", "web", "--format", "bundle", "--key", &key, "--out", &bundle,
    ];
    state.run(&words).unwrap();

    let other = State(tempfile::tempdir().unwrap());
    fs::create_dir(other.baselines()).unwrap();
    let taken = other.keeper(&[public]);
    other.run(&["import", &bundle, "--yes"]).unwrap();
    let Taken::Bundle(subjects) = next(&taken) else {
        panic!()
    };
    assert_eq!(subjects.len(), 2);

    let mut bytes = fs::read(&bundle).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&bundle, &bytes).unwrap();
    let error = other.run(&["import", &bundle, "--yes"]).unwrap_err();
    assert!(error.contains("damaged"), "{error}");
    fs::write(&bundle, &bytes[..100]).unwrap();
    let error = other.run(&["import", &bundle, "--yes"]).unwrap_err();
    assert!(error.contains("cut short"), "{error}");

    let (foreign, _) = state.key("mallory");
    let words = [
        "export", "web", "--format", "bundle", "--key", &foreign, "--out", &bundle,
    ];
    state.run(&words).unwrap();
    let error = other.run(&["import", &bundle, "--yes"]).unwrap_err();
    assert!(error.contains("not trusted"), "{error}");
}

#[test]
fn exports_say_what_they_are_and_a_document_comes_back_as_decisions() {
    let state = State::new();
    let (key, public) = state.key("alice");
    let yaml = state.run(&["export", "web"]).unwrap();
    assert!(
        yaml.contains("kind: Baseline") && yaml.contains("/etc/app.conf"),
        "{yaml}"
    );
    let seccomp = state.run(&["export", "web", "--format", "seccomp"]).unwrap();
    assert!(seccomp.contains("SCMP_ACT"), "{seccomp}");
    let error = state
        .run(&["export", "web", "--format", "network-policy"])
        .unwrap_err();
    assert!(error.contains("--label"), "{error}");
    let policy = state
        .run(&[
            "export",
            "web",
            "--format",
            "network-policy",
            "--label",
            "app=web",
        ])
        .unwrap();
    assert!(
        policy.contains("kind: NetworkPolicy") && policy.contains("namespace: shop"),
        "{policy}"
    );
    for format in ["apparmor", "kubearmor"] {
        let profile = state
            .run(&["export", "web", "--format", format, "--label", "app=web"])
            .unwrap();
        assert!(profile.contains("/etc/app.conf"), "{profile}");
    }

    let place = state.file("web.yaml");
    fs::write(&place, &yaml).unwrap();
    let error = state
        .run(&["import", &place, "--key", &key, "--yes"])
        .unwrap_err();
    assert!(error.contains("--why"), "{error}");
    let taken = state.keeper(&[public]);
    state
        .run(&["import", &place, "--why", "from staging", "--key", &key, "--yes"])
        .unwrap();
    let Taken::Decisions(decisions) = next(&taken) else {
        panic!()
    };
    assert!(decisions.iter().all(|decision| decision.verb == Verb::Approve));
    assert!(
        decisions
            .iter()
            .any(|decision| decision.item == Item::Fact(fact("/etc/app.conf")))
    );
    fs::write(&place, yaml.replace("behaviours:", "behaviors:")).unwrap();
    let error = state
        .run(&["import", &place, "--why", "x", "--key", &key, "--yes"])
        .unwrap_err();
    assert!(
        error.contains("web.yaml") && error.contains("behaviors"),
        "{error}"
    );
}
