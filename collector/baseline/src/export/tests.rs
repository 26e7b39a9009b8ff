use super::*;
use crate::estimate::{Criteria, Settled};
use crate::fact::{ArgumentShape, Peer, PeerClass, Protocol};
use crate::norm::Inputs;
use crate::overlay::{Overlay, Subject, Verb};
use crate::pattern::Unprotected;
use crate::signature::Signer;
use crate::testing::seen_by;
use crate::time::Timestamp;
use document::{Document, DocumentError};

fn norm_of(facts: Vec<Fact>, overlay: &Overlay) -> Norm {
    let sessions = (0..30_u64).map(|number| {
        let name = format!(
            "/tmp/sess-{:016x}",
            (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)
        );
        (file(&name, Access::Create), [1, 1])
    });
    let facts = facts.into_iter().map(|fact| (fact, [90, 25]));
    Inputs {
        subject: &Subject {
            workload: "shop/deployment/web/app".into(),
            revision: "sha256:1".into(),
        },
        evidence: &seen_by("n", 1, facts.chain(sessions)),
        predecessor: None,
        overlay,
        settled: &Settled::default(),
        replicas: 3,
        criteria: &Criteria::default(),
        protection: &Unprotected,
        facts_max: 1_000,
    }
    .compile()
}

fn norm() -> Norm {
    norm_of(facts(), &Overlay::new())
}

fn file(path: &str, access: Access) -> Fact {
    Fact::File {
        exe: "/bin/x".into(),
        path: path.into(),
        access,
    }
}

fn connect(peer: Peer, port: u16) -> Fact {
    Fact::Connect {
        exe: "/bin/x".into(),
        peer,
        protocol: Protocol::Tcp,
        port,
    }
}

fn facts() -> Vec<Fact> {
    vec![
        Fact::Exec {
            parent: "/bin/x".into(),
            exe: "/bin/gzip".into(),
            script: None,
            arguments: ArgumentShape::of(["-c"]),
        },
        file("/etc/app.conf", Access::Read),
        file("/srv/a\"b,{c}\n# evil", Access::Write),
        connect(Peer::Workload("shop/statefulset/db/db".into()), 5432),
        connect(Peer::Domain("api.example.com".into()), 443),
        connect(Peer::Address("192.0.2.7".parse().unwrap()), 8443),
        connect(Peer::Workload("gone".into()), 80),
        Fact::Accept {
            exe: "/bin/x".into(),
            protocol: Protocol::Tcp,
            port: 8080,
            peer: PeerClass::Workload,
        },
        Fact::Dns {
            exe: "/bin/x".into(),
            name: "api.example.com".into(),
        },
        Fact::Capability {
            exe: "/bin/x".into(),
            capability: "CAP_NET_BIND_SERVICE".into(),
        },
        Fact::Privilege {
            exe: "/bin/x".into(),
            operation: "ptrace.attach".into(),
            object: "/bin/y".into(),
        },
        Fact::Library {
            exe: "/bin/x".into(),
            path: "/usr/lib/libssl.so.3".into(),
        },
    ]
}

fn target() -> Target {
    Target {
        name: "web".to_owned(),
        namespace: "shop".to_owned(),
        labels: BTreeMap::from([("app".to_owned(), "web".to_owned())]),
    }
}

#[test]
fn our_own_document_is_read_as_it_is_written() {
    let norm = norm();
    let document = Document::of(&norm);
    let text = document.to_yaml(&norm).unwrap();
    assert!(text.contains("apiVersion: norma.dev/v1alpha1"), "{text}");
    assert!(text.contains("sess-<hex:16>"), "{text}");
    assert_eq!(Document::from_yaml(&text).unwrap(), document);

    let misspelt = text.replace("behaviours:", "behaviors:");
    assert!(matches!(
        Document::from_yaml(&misspelt),
        Err(DocumentError::Yaml(_))
    ));
    let newer = text.replace("v1alpha1", "v2");
    let error = Document::from_yaml(&newer).unwrap_err().to_string();
    assert!(error.contains("apiVersion norma.dev/v2"), "{error}");
}

#[test]
fn what_is_imported_is_expected_because_somebody_says_so() {
    let document = Document::of(&norm());
    let signer = Signer::of_seed(&[1; 32]).unwrap();
    let decisions: Vec<_> = document
        .decisions("ada", Timestamp::from_unix(2_000_000), "from the test cluster")
        .map(|decision| decision.sign(&signer).unwrap())
        .collect();
    assert!(
        decisions
            .iter()
            .all(|signed| signed.decision().verb == Verb::Approve)
    );
    let elsewhere = norm_of(Vec::new(), &Overlay::from(decisions));
    let expected: std::collections::BTreeSet<Fact> = elsewhere.expected().collect();
    for fact in facts() {
        assert!(expected.contains(&fact), "{fact}");
    }
}

#[test]
fn a_network_policy_says_what_it_cannot_express() {
    let pods = |workload: &str| {
        (workload == "shop/statefulset/db/db").then(|| {
            (
                "data".to_owned(),
                BTreeMap::from([("app".to_owned(), "db".to_owned())]),
            )
        })
    };
    let text = network_policy::network_policy(&norm(), &target(), &pods).unwrap();
    assert!(text.contains("# NOT EXPRESSED, as its labels are not known: /bin/x connects to gone tcp/80."));
    assert!(
        text.contains("# WIDER than observed, any address on that port: /bin/x connects to api.example.com")
    );
    let policy: serde_json::Value = serde_saphyr::from_str(&text).unwrap();
    let spec = &policy["spec"];
    assert_eq!(spec["ingress"][0]["ports"][0]["port"], 8080);
    let egress = spec["egress"].as_array().unwrap();
    let db = egress
        .iter()
        .find(|rule| rule["ports"][0]["port"] == 5432)
        .unwrap();
    assert_eq!(db["to"][0]["podSelector"]["matchLabels"]["app"], "db");
    assert!(
        egress
            .iter()
            .any(|rule| rule["to"][0]["ipBlock"]["cidr"] == "192.0.2.7/32")
    );
    assert_eq!(spec["policyTypes"], serde_json::json!(["Ingress", "Egress"]));

    let everyone = Target {
        labels: BTreeMap::new(),
        ..target()
    };
    assert!(network_policy::network_policy(&norm(), &everyone, &pods).is_err());
}

#[test]
fn a_name_cannot_write_rules_of_its_own() {
    let profile = apparmor::apparmor(&norm(), "web\n}");
    assert!(profile.contains("profile web-- flags"), "{profile}");
    assert!(profile.contains(r#"  "/srv/a?b\,\{c\}?# evil" w,"#), "{profile}");
    assert!(profile.contains("  \"/bin/gzip\" mrix,"), "{profile}");
    assert!(
        profile.contains("  \"/tmp/sess-????????????????\" w,"),
        "{profile}"
    );
    assert!(profile.contains("  capability net_bind_service,"), "{profile}");
    assert!(
        profile.contains("# NOT EXPRESSED: /bin/x does ptrace.attach /bin/y."),
        "{profile}"
    );
    assert!(!profile.contains("\n# evil"), "{profile}");
}

#[test]
fn a_container_keeps_the_capabilities_that_it_used() {
    let text = security_context::security_context(&norm()).unwrap();
    assert!(
        text.contains("# capability: NOT COMPLETE: no agent was able to see it"),
        "{text}"
    );
    assert!(text.contains("# NET_BIND_SERVICE is used by /bin/x."), "{text}");
    let context: serde_json::Value = serde_saphyr::from_str(&text).unwrap();
    assert_eq!(
        context["securityContext"]["capabilities"],
        serde_json::json!({ "drop": ["ALL"], "add": ["NET_BIND_SERVICE"] })
    );
}

#[test]
fn kubearmor_has_the_same() {
    let text = kubearmor::kubearmor(&norm(), &target()).unwrap();
    let policy: serde_json::Value = serde_saphyr::from_str(&text).unwrap();
    let spec = &policy["spec"];
    assert_eq!(spec["process"]["matchPaths"][0]["path"], "/bin/gzip");
    let files = spec["file"]["matchPaths"].as_array().unwrap();
    assert!(
        files
            .iter()
            .any(|file| file["path"] == "/etc/app.conf" && file["readOnly"] == true)
    );
    assert!(files.iter().any(|file| file["path"] == "/srv/a\"b,{c}\n# evil"));
    assert_eq!(
        spec["file"]["matchPatterns"][0]["pattern"],
        "/tmp/sess-????????????????"
    );
}

#[test]
fn seccomp_denies_what_was_never_seen_and_claims_no_more() {
    let text = seccomp::seccomp(&norm()).unwrap();
    let profile: serde_json::Value = serde_json::from_str(&text).unwrap();
    let denied: Vec<&str> = profile["syscalls"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|entry| entry["names"].as_array().unwrap())
        .filter_map(|name| name.as_str())
        .collect();
    assert!(
        denied.contains(&"mount") && !denied.contains(&"ptrace"),
        "{denied:?}"
    );
    assert_eq!(profile["defaultAction"], "SCMP_ACT_ALLOW");
    assert!(text.contains("no system calls were recorded"));
}

#[test]
fn what_is_not_complete_says_so() {
    let young = Inputs {
        subject: &Subject {
            workload: "w".into(),
            revision: "1".into(),
        },
        evidence: &crate::evidence::Evidence::new(),
        predecessor: None,
        overlay: &Overlay::new(),
        settled: &Settled::default(),
        replicas: 1,
        criteria: &Criteria::default(),
        protection: &Unprotected,
        facts_max: 1_000,
    }
    .compile();
    assert!(
        apparmor::apparmor(&young, "w").contains("NOT COMPLETE: enforcing this will break the workload.")
    );
}
