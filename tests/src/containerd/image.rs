//! An image, made by hand as the OCI image specification has it: one layer, from programs of this machine.

use crate::program::sha256_of;
use crate::scratch::Scratch;
use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};

/// An image in an archive.
#[derive(Clone, Debug)]
pub struct Image {
    name: String,
    digest: String,
    archive: PathBuf,
}

impl Image {
    /// Builds one that runs `command` where it is told nothing else.
    pub fn build(scratch: &Scratch, name: &str, command: &[&str]) -> Result<Self> {
        let plain: String = name
            .chars()
            .map(|letter| {
                if letter.is_ascii_alphanumeric() {
                    letter
                } else {
                    '-'
                }
            })
            .collect();
        let folder = scratch.folder(&format!("image-{plain}"))?;
        let root = folder.join("root");
        crate::root::fill(&root, &[])?;
        let layout = folder.join("layout");
        fs::create_dir_all(layout.join("blobs/sha256")).context("blobs")?;
        let layer = folder.join("layer.tar");
        crate::root::pack(&root, &layer)?;
        let (layer, layer_size) = blob(&layout, &layer)?;
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        let config = json!({
            "architecture": architecture,
            "os": "linux",
            // The name, so that no two images are one to a runtime because they were made within a second.
            "config": {
                "Env": ["PATH=/usr/bin:/bin"], "Cmd": command, "Labels": { "org.opencontainers.image.title": name },
            },
            "rootfs": { "type": "layers", "diff_ids": [layer] },
        });
        let (config, config_size) = document(&layout, &folder, &config)?;
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {
                "mediaType": "application/vnd.oci.image.config.v1+json", "digest": config, "size": config_size,
            },
            "layers": [{
                "mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": layer, "size": layer_size,
            }],
        });
        let (digest, size) = document(&layout, &folder, &manifest)?;
        let index = json!({
            "schemaVersion": 2,
            "manifests": [{
                "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest, "size": size,
                "annotations": { "io.containerd.image.name": name },
            }],
        });
        fs::write(layout.join("index.json"), index.to_string()).context("index.json")?;
        fs::write(
            layout.join("oci-layout"),
            json!({ "imageLayoutVersion": "1.0.0" }).to_string(),
        )
        .context("oci-layout")?;
        let archive = folder.join("image.tar");
        crate::root::pack(&layout, &archive)?;
        Ok(Self {
            name: name.to_owned(),
            digest,
            archive,
        })
    }

    /// Its name and tag.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Digest of its manifest.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// Its name with its digest.
    pub fn digested(&self) -> String {
        let name = self
            .name
            .rsplit_once(':')
            .map_or(self.name.as_str(), |(name, _)| name);
        format!("{name}@{}", self.digest)
    }

    /// The file that a runtime can import.
    pub fn archive(&self) -> &Path {
        &self.archive
    }
}

/// Takes a file into the layout; gives its digest and size.
fn blob(layout: &Path, file: &Path) -> Result<(String, u64)> {
    let sum = sha256_of(file)?;
    let size = fs::metadata(file).context("a blob")?.len();
    fs::rename(file, layout.join("blobs/sha256").join(&sum)).context("a blob")?;
    Ok((format!("sha256:{sum}"), size))
}

fn document(layout: &Path, folder: &Path, value: &Value) -> Result<(String, u64)> {
    let file = folder.join("document.json");
    fs::write(&file, value.to_string()).context("a document")?;
    blob(layout, &file)
}
