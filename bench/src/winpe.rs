//! A WinPE of a large medium with many drivers: the time that making it takes, and the memory.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use proxydhcp_lab::medium::{AMD64, Medium, filled};

use crate::machine::field;
use crate::plan::{Observer, Plan, Progress, tell};
use crate::results::WinpeCreation;

/// What the image has beside the files of every stand-in, in bytes. It does not compress.
const IMAGE: usize = 300 << 20;
const DRIVERS: usize = 50;
/// The size of a network driver, in bytes.
const DRIVER: usize = 410 << 10;
/// How often the memory is looked at.
const INTERVAL: Duration = Duration::from_millis(5);

/// Makes the medium and the drivers, and a WinPE of them.
pub(crate) fn creation(plan: &Plan, observer: &mut Observer) -> Result<WinpeCreation> {
    tell(observer, Progress::Step("a WinPE"))?;
    let folder = plan.folder.join("winpe");
    let (drivers, root) = (folder.join("drivers"), folder.join("root"));
    fs::create_dir_all(&root)?;
    write_drivers(&drivers)?;
    tell(observer, Progress::Detail("its medium"))?;
    let noise = filled(b"MZ", IMAGE);
    let medium = Medium::with(&folder, AMD64, &[("Windows/System32/large.dll", &noise)])?;
    let image = fs::metadata(medium.path("sources/boot.wim"))?.len();
    let iso = medium.udf()?;
    tell(observer, Progress::Detail("winpe create"))?;
    let mut command = Command::new(&plan.binary);
    command.args(["winpe", "create", "a", "--from"]).arg(iso);
    command.arg("--drivers").arg(drivers);
    command.arg("--tftp-root").arg(&root);
    let (seconds, memory) = run(command, &folder.join("log"))?;
    let made = fs::metadata(root.join("winboot/a/Boot/WinPE_64.wim"))?.len();
    // The image of Windows' setup is left out, and some bytes are in several files.
    let least = image + (DRIVERS * DRIVER) as u64 * 9 / 10;
    ensure!(
        made > least,
        "an image of {made} bytes has no room for the drivers"
    );
    fs::remove_dir_all(folder)?;
    Ok(WinpeCreation {
        image,
        drivers: DRIVERS,
        seconds,
        memory,
    })
}

fn write_drivers(folder: &Path) -> Result<()> {
    for number in 0..DRIVERS {
        let folder = folder.join(format!("net{number}"));
        fs::create_dir_all(&folder)?;
        fs::write(folder.join("net.inf"), "[Version]\r\nClass=Net\r\n")?;
        let start = format!("MZ{number}");
        fs::write(folder.join("net.sys"), filled(start.as_bytes(), DRIVER))?;
    }
    Ok(())
}

/// Runs a command to its end, and returns the seconds that it took and the greatest memory of it and of
/// all that it started, in bytes.
fn run(mut command: Command, log: &Path) -> Result<(f64, u64)> {
    let output = fs::File::create(log)?;
    command.stdin(Stdio::null()).process_group(0);
    command.stderr(output.try_clone()?).stdout(output);
    let start = Instant::now();
    let mut child = command.spawn().context("cannot start the command")?;
    let mut most = 0;
    let status = loop {
        most = most.max(resident(child.id())?);
        if let Some(status) = child.try_wait()? {
            break status;
        }
        std::thread::sleep(INTERVAL);
    };
    let took = start.elapsed().as_secs_f64();
    let said = fs::read_to_string(log)?;
    ensure!(status.success(), "{command:?} has failed: {said}");
    Ok((took, most))
}

/// The resident sets of a process group together, in bytes. Pages that processes share count for each.
fn resident(group: u32) -> Result<u64> {
    let mut sum = 0;
    for entry in fs::read_dir("/proc")? {
        // A process may have ended meanwhile.
        let read = |file| fs::read_to_string(entry.as_ref().ok()?.path().join(file)).ok();
        let of_group = |stat: String| {
            // After the name, which is in parentheses and may have any character: state, parent, group.
            let (_, rest) = stat.rsplit_once(')')?;
            rest.split_whitespace().nth(2)?.parse::<u32>().ok()
        };
        if read("stat").and_then(of_group) == Some(group) {
            let status = read("status").unwrap_or_default();
            sum += field::<u64>(&status, "VmRSS:").unwrap_or_default() * 1024;
        }
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_command_starts_counts_for_it() {
        let log = tempfile::NamedTempFile::new().unwrap();
        let memory_of = |text: &str| {
            let mut command = Command::new("sh");
            command.args(["-c", text]);
            run(command, log.path()).unwrap().1
        };
        let one = memory_of("sleep 0.1; true");
        let many = memory_of("for i in 1 2 3 4 5 6 7 8; do sleep 1 & done; wait");
        assert!(one > 0 && many > 2 * one, "{one} {many}");
    }
}
