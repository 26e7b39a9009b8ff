//! Compiles the protobuf contract without `protoc`.

use std::error::Error;

/// Enum fields, which prost keeps as open `i32`; they are shown by name.
const ENUM_FIELDS: &[(&str, &str)] = &[
    ("norma.v1.Event.kind", "kind"),
    ("norma.v1.Container.identity", "identity"),
    ("norma.v1.Verdict.kind", "verdict"),
    ("norma.v1.Verdict.severity", "severity"),
    ("norma.v1.Response.action", "action"),
    ("norma.v1.Response.result", "result"),
    ("norma.v1.Loss.cause", "cause"),
    ("norma.v1.Rejection.reason", "rejection"),
    ("norma.audit.v1.Rejected.reason", "rejection"),
    ("norma.audit.v1.Administration.act", "administration"),
];

/// Bytes that are shown in hex.
const HASH_FIELDS: &[&str] = &[
    "norma.v1.Process.id",
    "norma.v1.Ancestor.id",
    "norma.v1.Target.id",
    "norma.audit.v1.FileHeader.previous_hash",
    "norma.audit.v1.Rejected.sha256",
    "norma.audit.v1.Recovered.sha256",
    "norma.v1.BatchHead.previous",
    "norma.v1.BatchHead.digest",
    "norma.v1.SignedHead.signature",
    "norma.v1.SignedHead.key",
    "norma.v1.SignedHandover.signature",
    "norma.v1.SignedHandover.key",
    "norma.v1.Handover.head",
    "norma.audit.v1.NodeKey.key",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(["norma.proto", "audit.proto", "api.proto"], ["proto"])?;
    let mut builder = tonic_prost_build::configure()
        .bytes("norma.v1.Batch.events")
        .bytes("norma.v1.Process.id")
        .bytes("norma.v1.Ancestor.id")
        .bytes("norma.v1.Target.id")
        .bytes("norma.audit.v1.Record.event")
        .message_attribute(".", "#[derive(serde::Serialize)]")
        .enum_attribute("norma.v1.Event.detail", "#[derive(serde::Serialize)]")
        .enum_attribute("norma.v1.Event.detail", "#[serde(rename_all = \"snake_case\")]")
        .field_attribute("norma.v1.Event.detail", "#[serde(flatten)]")
        .enum_attribute("norma.v1.ToAgent.message", "#[derive(serde::Serialize)]")
        .enum_attribute("norma.v1.ToCollector.message", "#[derive(serde::Serialize)]")
        .enum_attribute("norma.audit.v1.Record.body", "#[derive(serde::Serialize)]")
        .enum_attribute(
            "norma.audit.v1.Record.body",
            "#[serde(rename_all = \"snake_case\")]",
        )
        .field_attribute("norma.audit.v1.Record.body", "#[serde(flatten)]")
        .field_attribute(
            "norma.audit.v1.Record.body.event",
            "#[serde(serialize_with = \"crate::json::event\")]",
        )
        .field_attribute(
            "norma.v1.SignedHead.head",
            "#[serde(serialize_with = \"crate::json::batch_head\")]",
        )
        .field_attribute(
            "norma.v1.SignedHandover.handover",
            "#[serde(serialize_with = \"crate::json::handover\")]",
        )
        .field_attribute(
            "norma.audit.v1.NodeKey.chain",
            "#[serde(serialize_with = \"crate::json::hex_list\")]",
        )
        .message_attribute("norma.v1.Batch", "#[serde(into = \"crate::json::BatchSize\")]");
    for field in HASH_FIELDS {
        builder = builder.field_attribute(field, "#[serde(serialize_with = \"crate::json::hex\")]");
    }
    for (field, name) in ENUM_FIELDS {
        builder = builder.field_attribute(
            field,
            format!("#[serde(serialize_with = \"crate::json::{name}\")]"),
        );
    }
    builder.compile_fds(descriptors)?;
    Ok(())
}
