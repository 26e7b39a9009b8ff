//! What is deployed is what was tested: the manifests' configurations and capabilities, with the real programs.

use norma_rig::{Pki, Programs, Scratch, skip};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy")
}

fn read(path: &str) -> String {
    std::fs::read_to_string(deploy().join(path)).unwrap()
}

#[test]
fn the_shipped_configurations_are_valid() {
    let scratch = Scratch::new("deploy").unwrap();
    let programs = Programs::find().unwrap();
    let pki = Pki::create(&programs, &scratch.folder("pki").unwrap()).unwrap();
    let (server, node) = (pki.server("server").unwrap(), pki.node("worker-1", 30).unwrap());
    let file = |path: &Path| path.display().to_string();
    // Paths of the containers, and where this test has the same.
    let places = [
        ("/etc/norma-ca/ca.pem", file(&pki.ca())),
        ("/etc/norma-tls/server.pem", file(&server.certificate)),
        ("/etc/norma-tls/server-key.pem", file(&server.key)),
        ("/etc/norma-agent/node.pem", file(&node.certificate)),
        ("/etc/norma-agent/node-key.pem", file(&node.key)),
        (
            "/etc/norma-policies",
            file(&deploy().join("kubernetes/config/policies")),
        ),
        ("/var/lib/norma-", file(&scratch.join("state-"))),
    ];
    for program in ["agent", "collector"] {
        let config = places.iter().fold(
            read(&format!("kubernetes/config/{program}.yaml")),
            |text, (shipped, here)| text.replace(shipped, here),
        );
        let path = scratch.file(&format!("{program}.yaml"), &config).unwrap();
        let mut command = Command::new(programs.path(&format!("norma-{program}")));
        let output = command
            .args(["config", "check", "--config"])
            .arg(path)
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{program}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

#[test]
fn every_path_of_a_shipped_configuration_is_mounted() {
    for (config, manifest) in [
        ("kubernetes/config/agent.yaml", "kubernetes/agent.yaml"),
        ("kubernetes/config/collector.yaml", "kubernetes/collector.yaml"),
    ] {
        let (config, manifest) = (read(config), read(manifest));
        let lines = config.lines().filter(|line| !line.trim_start().starts_with('#'));
        let paths = lines
            .flat_map(|line| line.split([' ', '[', ']', '"']))
            .filter(|word| word.starts_with('/'));
        for path in paths {
            let mounted = Path::new(path).ancestors().any(|folder| {
                manifest.contains(&format!("mountPath: {}}}", folder.display()))
                    || manifest.contains(&format!("mountPath: {},", folder.display()))
            });
            assert!(mounted, "{path} is in no volume");
        }
    }
}

#[test]
fn the_capabilities_of_the_manifest_are_documented_and_enough() {
    let manifest = read("kubernetes/agent.yaml");
    let list = manifest
        .lines()
        .find_map(|line| line.trim().strip_prefix("add: ["))
        .unwrap();
    let capabilities: Vec<&str> = list.trim_end_matches(']').split(", ").collect();
    let documented: Vec<String> = read("README.md")
        .lines()
        .filter_map(|line| Some(line.strip_prefix("| ")?.split(' ').next()?.to_owned()))
        .filter(|word| {
            word.chars()
                .all(|letter| letter.is_ascii_uppercase() || letter == '_')
                && !word.is_empty()
        })
        .collect();
    assert_eq!(capabilities, documented, "the manifest and deploy/README.md");
    assert!(!manifest.contains("privileged: true"));
    if !skip::unless_root("the_capabilities_of_the_manifest_are_documented_and_enough") {
        return;
    }
    let bounding: String = capabilities
        .iter()
        .map(|name| format!(",+{}", name.to_lowercase()))
        .collect();
    let doctor = Programs::find().unwrap().path("norma-agent");
    let mut limited = Command::new("setpriv");
    limited
        .arg(format!("--bounding-set=-all{bounding}"))
        .args(["--inh-caps=-all", "--"])
        .arg(&doctor);
    assert_eq!(
        tiers(&mut limited),
        tiers(&mut Command::new(&doctor)),
        "with {capabilities:?} only, and with all"
    );
}

/// The tier of each capability, as doctor tells.
fn tiers(agent: &mut Command) -> BTreeMap<String, Value> {
    let output = agent.args(["doctor", "--output", "json"]).output().unwrap();
    let report: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    let capabilities = report["capabilities"].as_array().unwrap();
    capabilities
        .iter()
        .map(|capability| {
            let name = capability["name"].as_str().unwrap().to_owned();
            (name, capability["tier"].clone())
        })
        .collect()
}
