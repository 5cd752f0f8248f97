//! Metrics for other hosts: TLS and logins.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use proxydhcp_lab::site::{Datapath, Files, Site, serve_args};
use proxydhcp_lab::{Ended, Lab, binary, debian};

use super::{check, get, run};

/// The files of a site whose metrics are for others: with a certificate and a login.
fn web_config(files: &Files) -> Result<PathBuf> {
    debian::ensure_installed("openssl", "openssl")?;
    debian::ensure_installed("htpasswd", "apache2-utils")?;
    let [key, cert, config] = ["key.pem", "cert.pem", "web.yml"].map(|name| files.path(name));
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
        ])
        .args([
            "-subj",
            "/CN=head",
            "-addext",
            "subjectAltName=IP:10.77.0.1",
            "-days",
            "2",
        ])
        .arg("-keyout")
        .arg(&key)
        .arg("-out")
        .arg(&cert)
        .output()?;
    ensure!(made.status.success(), "{made:?}");
    let hash = Command::new("htpasswd")
        .args(["-nbB", "prom", "secret"])
        .output()?;
    let hash = String::from_utf8(hash.stdout)?;
    let (_, hash) = hash.trim().split_once(':').context("no hash")?;
    fs::write(
        &config,
        format!(
            "tls_server_config:\n  cert_file: cert.pem\n  key_file: key.pem\nbasic_auth_users:\n  prom: {hash}\n"
        ),
    )?;
    Ok(config)
}

const PUBLIC: &str = "10.77.0.1:9941";

#[test]
fn other_hosts_need_tls_and_a_login() -> Result<()> {
    let files = Files::usual()?;
    let config = web_config(&files)?.display().to_string();
    let cert = files.path("cert.pem").display().to_string();
    files.write_settings(&format!(
        "metrics = \"{PUBLIC}\"\nweb-config = \"{config}\"\n"
    ))?;
    let site = Site::start(Datapath::Raw, files, &[])?;
    let url = |path: &str| format!("https://{PUBLIC}{path}");
    let get = |args: &[&str]| get(&site, &[&["--cacert", &cert], args].concat());
    assert_eq!(get(&[&url("/healthz")])?.0, "200");
    for path in ["/metrics", "/readyz", "/"] {
        assert_eq!(get(&[&url(path)])?.0, "401", "{path}");
        assert_eq!(
            get(&["--user", "prom:wrong", &url(path)])?.0,
            "401",
            "{path}"
        );
        assert_eq!(
            get(&["--user", "prom:secret", &url(path)])?.0,
            "200",
            "{path}"
        );
    }
    let (_, metrics) = get(&["--user", "prom:secret", &url("/metrics")])?;
    check(&metrics)?;
    let plain = run(
        &site,
        "curl",
        "curl",
        &["--silent", &format!("http://{PUBLIC}/metrics")],
    )?;
    ensure!(plain.code != Some(0), "{plain:?}");
    Ok(())
}

/// How `serve` and `serve --check` end, which must agree.
fn ends(files: &Files, more: &[&str]) -> Result<(Option<i32>, String)> {
    let lab = Lab::new()?;
    let end = |more: &[&str]| -> Result<Ended> {
        let mut command = Command::new(binary()?);
        command.args(serve_args(Datapath::Raw, files, more));
        Ok(lab.server.output(command)?.into())
    };
    let [serves, checks] = [end(more)?, end(&[more, &["--check"]].concat())?];
    assert_eq!((serves.code, &serves.stderr), (checks.code, &checks.stderr));
    Ok((serves.code, serves.stderr))
}

#[test]
fn an_address_that_others_get_to_needs_a_web_config_that_keeps_them_out() -> Result<()> {
    let files = Files::usual()?;
    for address in ["0.0.0.0:9941", "[::]:9941", PUBLIC] {
        let (code, why) = ends(&files, &["--metrics", address])?;
        ensure!(
            code == Some(64) && why.contains("name a web-config"),
            "{code:?} {why}"
        );
    }
    let config = web_config(&files)?;
    let with = |address: &str| {
        ends(
            &files,
            &[
                "--metrics",
                address,
                "--web-config",
                &config.display().to_string(),
            ],
        )
    };
    let right = fs::read_to_string(&config)?;
    for (content, told) in [
        (
            String::new(),
            "neither tls_server_config nor basic_auth_users",
        ),
        (right.replace("cert_file", "cert_fil"), "cert_fil"),
        (right.replace("cert.pem", "key.pem"), "no certificate"),
        (right.replace(" key.pem", " no.pem"), "no.pem"),
        (right.replace("prom: $2", "prom: $9"), "htpasswd -nB prom"),
        ("basic_auth_users: [".to_owned(), "web.yml: "),
    ] {
        fs::write(&config, &content)?;
        let (code, why) = with(PUBLIC)?;
        ensure!(
            code == Some(78) && why.contains(told),
            "{content}: {code:?} {why}"
        );
    }
    Ok(())
}
