//! `proxydhcp status`, for people and for programs.

use anyhow::Result;
use proxydhcp_lab::site::{Datapath, NODE_A, NODE_B, STRANGER, Site};
use serde_json::{Value, json};

#[test]
fn status_tells_programs_all_there_is() -> Result<()> {
    for datapath in Datapath::ALL {
        let mut site = Site::usual(datapath)?;
        site.ask_uefi(NODE_A, "winboot/a/")?;
        site.ask_bios(NODE_B, "winboot/b/")?;
        site.stays_silent_to(STRANGER)?;
        let status = site.status()?;
        assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
        assert_eq!(status["pid"], site.daemon.pid());
        assert_eq!(status["generation"], 1);
        assert_eq!(
            (&status["nodes"], &status["records"]),
            (&json!(3), &json!(3))
        );
        let config = site.files.path("proxydhcp.cfg");
        assert_eq!(status["config"], config.display().to_string());
        assert_eq!(status["rejected"], Value::Null);
        for problems in ["refused", "unresolved", "warnings"] {
            assert_eq!(status[problems], json!([]), "{problems}");
        }
        let interface = &status["interfaces"][0];
        let mode = match datapath {
            Datapath::Native => json!("native"),
            Datapath::Generic | Datapath::AfXdp => json!("generic"),
            Datapath::Raw => Value::Null,
        };
        assert_eq!(interface["name"], "px0");
        assert_eq!(interface["datapath"], datapath.name());
        assert_eq!(interface["mode"], mode);
        let counters = &interface["counters"];
        assert_eq!(counters["answered"], 2, "{status}");
        assert_eq!(counters["refused"], json!({"unknown-client": 1}));
        assert_eq!(
            (&counters["unsent"], &counters["lost"]),
            (&json!(0), &json!(0))
        );
        // The share of the datapath under test has the answers.
        let share = match datapath {
            Datapath::Native | Datapath::Generic => "program",
            Datapath::AfXdp => "af_xdp",
            Datapath::Raw => "raw",
        };
        assert_eq!(interface[share]["answered"], 2, "{status}");

        let uptime = |status: &Value| status["uptime"].as_f64().unwrap_or(-1.0);
        assert!(uptime(&status) > 0.0, "{status}");
        assert!(uptime(&site.status()?) > uptime(&status), "{status}");
    }
    Ok(())
}

#[test]
fn status_tells_people_the_same_in_a_few_lines() -> Result<()> {
    let mut site = Site::usual(Datapath::Generic)?;
    site.ask_uefi(NODE_A, "winboot/a/")?;
    site.stays_silent_to(STRANGER)?;
    let status = site.command(&["status"])?;
    assert_eq!(status.code, Some(0), "{status:?}");
    let lines: Vec<&str> = status.stdout.lines().collect();
    let config = site.files.path("proxydhcp.cfg");
    let [pid, config] = [site.daemon.pid().to_string(), config.display().to_string()];
    assert!(
        lines[0].starts_with(&format!(
            "proxydhcp {}, pid {pid}, up ",
            env!("CARGO_PKG_VERSION")
        )),
        "{status:?}"
    );
    assert!(
        lines[0].ends_with(&format!("generation 1: 3 nodes from 3 records of {config}")),
        "{status:?}"
    );
    let px0 = "px0: kernel (generic), received 2, answered 1; refused: unknown-client 1";
    assert_eq!(lines[1..], [px0]);
    Ok(())
}

#[test]
fn the_exit_code_says_whether_all_is_in_service() -> Result<()> {
    let code = |site: &Site| -> Result<_> {
        let ended = site.command(&["status", "--quiet"])?;
        assert_eq!((&*ended.stdout, &*ended.stderr), ("", ""));
        let codes =
            [&["status"][..], &["status", "--json"]].map(|args| Ok(site.command(args)?.code));
        for other in codes {
            assert_eq!(ended.code, other.map_err(|error: anyhow::Error| error)?);
        }
        Ok(ended.code)
    };
    let site = Site::usual(Datapath::Raw)?;
    assert_eq!(code(&site)?, Some(0));
    site.files.write_raw_config(b"half a record")?;
    assert_eq!(site.command(&["reload"])?.code, Some(1));
    assert_eq!(code(&site)?, Some(2));
    site.files
        .write_config(&[("a", "winboot/a/"), ("b", "winboot/b/"), ("default", "")])?;
    assert_eq!(site.command(&["reload"])?.code, Some(0));
    assert_eq!(code(&site)?, Some(0));

    let site = Site::with(Datapath::Raw, &["-i", "px7"])?;
    assert_eq!(code(&site)?, Some(2));
    let log = site.daemon.log();
    assert!(log.contains("px7: there is no such interface yet"), "{log}");
    Ok(())
}
