//! `proxydhcp winpe check` shows who has signed the loaders.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use proxydhcp_lab::binary;
use proxydhcp_lab::debian::{ensure_installed, unpacked};
use proxydhcp_lab::site::Files;
use serde_json::Value;

/// What Microsoft has signed for Debian, twice.
const SHIM: &str = "usr/lib/shim/shimx64.efi.signed";

fn run(folder: &Path, program: &str, arguments: &[&str]) -> Result<()> {
    let mut command = Command::new(program);
    let output = command.args(arguments).current_dir(folder).output();
    let output = output.with_context(|| format!("cannot start {program}"))?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program} {arguments:?}: {stderr}");
    Ok(())
}

/// A key and a certificate of its own, in `NAME.key` and `NAME.pem`.
fn certificate(folder: &Path, name: &str) -> Result<()> {
    let (key, pem) = (format!("{name}.key"), format!("{name}.pem"));
    let subject = format!("/O=Site/CN=CA of {name}");
    let new = [
        "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30",
    ];
    let rest = ["-keyout", &key, "-out", &pem, "-subj", &subject];
    run(folder, "openssl", &[&new[..], &rest[..]].concat())
}

/// The signers' CAs of the loader, and the line about it.
fn checked(files: &Files, program: &str) -> Result<(Vec<String>, String)> {
    let loader = "tftp/winboot/a/Boot/bootmgfw.efi";
    fs::copy(files.path(program), files.path(loader))?;
    let root = files.path("tftp").display().to_string();
    let check = |more: &[&str]| -> Result<String> {
        let mut command = Command::new(binary()?);
        command.args(["winpe", "check", "a", "--tftp-root", &root]);
        let output = command.args(more).output()?;
        Ok(String::from_utf8(output.stdout)?)
    };
    let json: Value = serde_json::from_str(&check(&["--json"])?)?;
    let signatures = json
        .pointer("/0/loaders/0/signatures")
        .and_then(Value::as_array);
    let signatures = signatures.with_context(|| format!("no signatures: {json}"))?;
    let cas = signatures.iter().map(|of| {
        of.get("ca")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    });
    let text = check(&[])?;
    let line = text
        .lines()
        .find(|line| line.contains("bootmgfw.efi: ") && line.contains("start"));
    Ok((
        cas.collect(),
        line.with_context(|| text.clone())?.to_owned(),
    ))
}

#[test]
fn the_signers_of_a_loader_are_told_and_where_it_starts() -> Result<()> {
    ensure_installed("sbsign", "sbsigntool")?;
    ensure_installed("openssl", "openssl")?;
    let files = Files::new()?;
    let folder = files.path("");
    fs::create_dir_all(files.path("tftp/winboot/a/Boot"))?;
    unpacked(SHIM, "shim-signed", &folder)?;
    for name in ["one", "two"] {
        certificate(&folder, name)?;
    }
    let sign = |name: &str, from: &str, to: &str| {
        let (key, pem) = (format!("{name}.key"), format!("{name}.pem"));
        let arguments = ["--key", &key, "--cert", &pem, "--output", to, from];
        run(&folder, "sbsign", &arguments)
    };
    let attach = |arguments: &[&str]| run(&folder, "sbattach", arguments);
    // From the shim with both signatures: each alone, none, and others.
    for (name, without) in [("old.efi", 2), ("new.efi", 1)] {
        fs::copy(files.path(SHIM), files.path(name))?;
        attach(&[
            "--detach",
            "signature",
            "--signum",
            &without.to_string(),
            "--remove",
            name,
        ])?;
    }
    fs::copy(files.path("old.efi"), files.path("none.efi"))?;
    attach(&["--remove", "none.efi"])?;
    sign("one", "none.efi", "one.efi")?;
    sign("two", "one.efi", "both.efi")?;

    let (old, new) = (
        "Microsoft Corporation UEFI CA 2011",
        "Microsoft UEFI CA 2023",
    );
    let cases: [(&str, &[&str], &str); 6] = [
        (SHIM, &[old, new], "trusts a CA of 2011 or of 2023"),
        (
            "old.efi",
            &[old],
            "trusts the CA of 2011, not where that is revoked",
        ),
        (
            "new.efi",
            &[new],
            "only on firmware that trusts the CA of 2023",
        ),
        (
            "none.efi",
            &[],
            "not signed: it starts only where Secure Boot is off",
        ),
        (
            "one.efi",
            &["CA of one"],
            "only on firmware to which this CA was added",
        ),
        (
            "both.efi",
            &["CA of one", "CA of two"],
            "signed by CA of one (until 20",
        ),
    ];
    for (program, expected, part) in cases {
        let (cas, line) = checked(&files, program)?;
        assert_eq!(cas, expected, "{program}");
        assert!(line.contains(part), "{program}: {line}");
    }
    let (_, line) = checked(&files, "old.efi")?;
    assert!(line.contains("UEFI CA 2011 (until 2026-06-27)"), "{line}");

    // A table that is cut off is no signature.
    let signed = fs::read(files.path("one.efi"))?;
    fs::write(files.path("cut.efi"), &signed[..signed.len() - 100])?;
    let error = checked(&files, "cut.efi").unwrap_err().to_string();
    assert!(error.contains("no signatures"), "{error}");
    Ok(())
}
