//! The software bill of materials, in the form of `CycloneDX` 1.5.

use anyhow::Result;
use serde_json::{Value, json};

use super::crates::Crate;
use super::release::Release;

/// Writes it.
pub(super) fn text(crates: &[Crate], release: &Release) -> Result<String> {
    let components: Vec<_> = crates.iter().map(component).collect();
    let sbom = json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "timestamp": release.format("+%Y-%m-%dT%H:%M:%SZ")?,
            "component": {
                "type": "application",
                "bom-ref": format!("proxydhcp@{}", release.version),
                "name": "proxydhcp",
                "version": release.version,
                "licenses": [{ "expression": "GPL-2.0-or-later" }],
            },
        },
        "components": components,
    });
    Ok(serde_json::to_string_pretty(&sbom)? + "\n")
}

fn component(package: &Crate) -> Value {
    let purl = format!("pkg:cargo/{}@{}", package.name, package.version);
    // Crates of long ago separate alternatives by a slash.
    let licence = package.license.as_deref().map(|it| it.replace('/', " OR "));
    let licences: Vec<_> = licence
        .map(|it| json!({ "expression": it }))
        .into_iter()
        .collect();
    let hash = package.checksum.as_deref();
    let hashes: Vec<_> = hash
        .map(|it| json!({ "alg": "SHA-256", "content": it }))
        .into_iter()
        .collect();
    json!({
        "type": "library",
        "bom-ref": purl,
        "name": package.name,
        "version": package.version,
        "purl": purl,
        "licenses": licences,
        "hashes": hashes,
    })
}
