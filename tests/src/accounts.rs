//! No packet without an outcome: what a daemon has received is what it has counted.

use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

/// How long packets may be under way: until then, what has come in may have no outcome yet.
const PATIENCE: Duration = Duration::from_mins(1);
/// How often to look.
const INTERVAL: Duration = Duration::from_millis(5);

/// The datapaths of an interface, as `status --json` has them.
const SHARES: [&str; 3] = ["program", "af_xdp", "raw"];

/// Whether the daemon behind this control socket began to count anew, and all that it counts came
/// to it alone: no XDP program of a predecessor was there, nor did packets come while it started.
pub fn begins_anew(binary: &Path, socket: &Path) -> bool {
    let programs = |status: &Value| -> Result<u64> {
        let interfaces = status.get("interfaces").and_then(Value::as_array);
        let interfaces = interfaces.context("no interfaces")?;
        let programs = interfaces.iter().filter_map(|one| one.get("program"));
        programs.map(|program| count(program, "received")).sum()
    };
    status(binary, socket)
        .and_then(|status| programs(&status))
        .is_ok_and(|received| received == 0)
}

/// Waits until every packet to port 4011 that the daemon behind the control socket `socket` has
/// seen has exactly one outcome, on each datapath. Of one that began anew, what the XDP program
/// left has come to the other datapaths, too.
///
/// # Errors
/// When it has not after ten seconds, or there is no status: with the status.
pub fn check(binary: &Path, socket: &Path, anew: bool) -> Result<()> {
    let started = Instant::now();
    loop {
        let status = status(binary, socket)?;
        let Err(error) = balance(&status, anew) else {
            return Ok(());
        };
        if started.elapsed() > PATIENCE {
            return Err(error).with_context(|| format!("not all is counted: {status}"));
        }
        thread::sleep(INTERVAL);
    }
}

fn status(binary: &Path, socket: &Path) -> Result<Value> {
    let output = Command::new(binary)
        .args(["status", "--json", "--control"])
        .arg(socket)
        .stdin(Stdio::null())
        .output()?;
    // 2: not all that should be in service is.
    if !matches!(output.status.code(), Some(0 | 2)) {
        bail!("no status: {output:?}");
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// Whether the counters of each interface agree with themselves and with each other.
fn balance(status: &Value, anew: bool) -> Result<()> {
    let interfaces = status.get("interfaces").and_then(Value::as_array);
    for interface in interfaces.context("no interfaces")? {
        for share in ["counters"].iter().chain(&SHARES) {
            let Some(counters) = interface.get(share).filter(|share| !share.is_null()) else {
                continue;
            };
            let received = count(counters, "received")?;
            let outcomes = outcomes(counters)?;
            ensure!(
                received == outcomes,
                "{share}: received {received}, outcomes {outcomes}"
            );
        }
        let Some(program) = interface.get("program").filter(|_| anew) else {
            continue;
        };
        // Broadcasts are refused, and left to others all the same.
        let broadcasts = program
            .pointer("/refused/broadcast")
            .and_then(Value::as_u64);
        let left = count(program, "handed_up")?
            + count(program, "passed")?
            + broadcasts.unwrap_or_default();
        let mut taken = 0;
        for share in ["af_xdp", "raw"] {
            if let Some(counters) = interface.get(share) {
                taken += count(counters, "received")? + count(counters, "lost")?;
            }
        }
        ensure!(
            left == taken,
            "the XDP program left {left} packets, and {taken} came to the daemon"
        );
    }
    Ok(())
}

/// All outcomes together. What is lost was not received.
fn outcomes(counters: &Value) -> Result<u64> {
    let mut sum = 0;
    for outcome in ["answered", "handed_up", "passed", "limited", "unsent"] {
        sum += count(counters, outcome)?;
    }
    // Only where it has occurred.
    sum += counters.get("expired").and_then(Value::as_u64).unwrap_or(0);
    let refused = counters.get("refused").and_then(Value::as_object);
    for count in refused.context("no refusals")?.values() {
        sum += count.as_u64().context("no number")?;
    }
    Ok(sum)
}

fn count(counters: &Value, name: &str) -> Result<u64> {
    let count = counters.get(name).and_then(Value::as_u64);
    count.with_context(|| format!("no count {name} in {counters}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn share(received: u64, answered: u64, handed_up: u64) -> Value {
        json!({"received": received, "answered": answered, "handed_up": handed_up, "passed": 1, "limited": 0,
               "refused": {"op": 2, "short": 3}, "unsent": 4, "lost": 5})
    }

    #[test]
    fn every_packet_has_one_outcome_on_each_datapath() {
        let check = |interface: Value| balance(&json!({"interfaces": [interface]}), true);
        let raw = share(10 + 7, 7, 0);
        check(json!({"counters": raw, "raw": raw})).unwrap();
        for wrong in [share(10 + 7, 6, 0), share(10 + 6, 7, 0)] {
            check(json!({"counters": raw, "raw": wrong})).unwrap_err();
        }
        // What the program leaves comes to the others, or is lost there.
        let program = share(10 + 7 + 21, 7, 21);
        let all = |program| json!({"counters": raw, "program": program, "raw": raw});
        check(all(program)).unwrap();
        check(all(share(10 + 7 + 22, 7, 22))).unwrap_err();
    }
}
