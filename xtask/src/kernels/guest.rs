//! A virtual machine with one of the kernels and the host's files, which runs scripts.
//!
//! Files that it writes stay in its memory; only its output leaves it.

use std::fmt;
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use proxydhcp_lab::debian::ensure_installed;
use proxydhcp_lab::{Daemon, Namespace};
use tempfile::{NamedTempFile, TempDir};

use super::fetch::Kernel;

/// How long an emulated machine may take to boot. It takes a minute on a busy host.
const BOOT_PATIENCE: Duration = Duration::from_mins(5);
/// How long a machine with hardware virtualization may take to boot. It takes seconds, or does not
/// work.
const KVM_PATIENCE: Duration = Duration::from_secs(20);
/// How long the emulator may take to create its socket.
const SOCKET_PATIENCE: Duration = Duration::from_secs(30);
/// The line that the guest's first process prints once it listens.
const UP: &str = "guest: up";
/// The number of console lines that are shown if a guest fails.
const LAST_LINES: usize = 40;

/// What runs the guest's instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Accelerator {
    /// The processor itself.
    Kvm,
    /// The emulator, on any machine.
    Tcg,
}

impl Accelerator {
    fn arguments(self) -> [&'static str; 4] {
        match self {
            Self::Kvm => ["-accel", "kvm", "-cpu", "host"],
            // With a thread for each processor, QEMU 7.2 mishandles code that the kernel patches in
            // itself.
            Self::Tcg => ["-accel", "tcg,thread=single", "-cpu", "max"],
        }
    }

    fn patience(self) -> Duration {
        match self {
            Self::Kvm => KVM_PATIENCE,
            Self::Tcg => BOOT_PATIENCE,
        }
    }
}

impl fmt::Display for Accelerator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kvm => "KVM",
            Self::Tcg => "emulated (TCG)",
        })
    }
}

/// The parts of a guest.
pub(crate) struct Machine<'a> {
    pub(crate) kernel: &'a Kernel,
    pub(crate) initramfs: NamedTempFile,
    /// The namespace with the other ends of its network cards.
    pub(crate) namespace: &'a Namespace,
    /// More arguments for the emulator.
    pub(crate) devices: Vec<String>,
}

impl Machine<'_> {
    /// Switches the guest on. If the processor's own virtualization does not work, so that a guest
    /// does not boot, this guest and all later ones are emulated.
    ///
    /// # Errors
    /// If the guest does not boot; the error shows its console.
    pub(crate) fn boot(&self, accelerator: &Mutex<Accelerator>) -> Result<Guest> {
        ensure_installed("qemu-system-x86_64", "qemu-system-x86")?;
        // Another guest waits until it is known whether KVM works.
        let mut accelerator = accelerator.lock().map_err(|error| anyhow!("{error}"))?;
        if *accelerator == Accelerator::Kvm {
            if Path::new("/dev/kvm").exists()
                && let Ok(guest) = self.boot_by(Accelerator::Kvm)
            {
                return Ok(guest);
            }
            println!("KVM does not work here: guests are emulated");
            *accelerator = Accelerator::Tcg;
        }
        drop(accelerator);
        self.boot_by(Accelerator::Tcg)
    }

    fn boot_by(&self, accelerator: Accelerator) -> Result<Guest> {
        let started = Instant::now();
        let folder = TempDir::new()?;
        let socket = folder.path().join("port");
        let mut emulator = Daemon::spawn(self.namespace, self.command(accelerator, &socket))?;
        let commands = connect(&socket, &mut emulator)?;
        let mut guest = Guest {
            emulator,
            replies: BufReader::new(commands.try_clone()?),
            commands,
            boot: Duration::ZERO,
            scripts: 0,
            _folder: folder,
        };
        guest
            .read_until(UP, accelerator.patience())
            .context("the guest does not boot")?;
        guest.boot = started.elapsed();
        Ok(guest)
    }

    fn command(&self, accelerator: Accelerator, socket: &Path) -> Command {
        let mut command = Command::new("qemu-system-x86_64");
        command.args(["-machine", "q35,graphics=off", "-smp", "2", "-m", "3072"]);
        command.args(accelerator.arguments());
        command.args(["-nodefaults", "-no-user-config", "-no-reboot"]);
        command.args(["-display", "none", "-serial", "stdio"]);
        command.arg("-kernel").arg(self.kernel.image());
        command.arg("-initrd").arg(self.initramfs.path());
        command.args(["-append", "console=ttyS0 quiet panic=-1 mitigations=off"]);
        command.args([
            "-virtfs",
            "local,path=/,mount_tag=host,security_model=none,readonly=on,multidevs=remap",
        ]);
        let socket = socket.display();
        command.args(["-device", "virtio-serial-pci", "-chardev"]);
        command.arg(format!("socket,id=port,server=on,wait=off,path={socket}"));
        command.args(["-device", "virtserialport,chardev=port,name=port"]);
        command.args(&self.devices);
        command
    }
}

/// A running guest. Dropping it switches it off; it does not outlive this process.
pub(crate) struct Guest {
    /// The emulator, whose output is the guest's serial console.
    emulator: Daemon,
    commands: UnixStream,
    replies: BufReader<UnixStream>,
    /// How long it took until the guest listened.
    pub(crate) boot: Duration,
    scripts: u32,
    _folder: TempDir,
}

/// The result of a script.
pub(crate) struct Ended {
    pub(crate) code: i32,
    /// The script's whole output.
    pub(crate) output: String,
}

impl Guest {
    /// Runs a shell script as root, in the working directory of this process.
    ///
    /// # Errors
    /// If the guest ends, or the script does not end within `patience`; the error shows the
    /// script's output and the guest's console.
    pub(crate) fn run(&mut self, script: &str, patience: Duration) -> Result<Ended> {
        self.scripts += 1;
        let mark = format!("guest: script {} ended", self.scripts);
        // Background processes of the script must not read the next script.
        let line = format!("(\n{script}\n) </dev/null\nprintf '\\n{mark} %d\\n' $?\n");
        self.commands.write_all(line.as_bytes())?;
        let (mut output, end) = self.read_until(&mark, patience)?;
        // Removes the line break before the mark.
        output.pop();
        let code = end
            .trim()
            .parse()
            .context("the guest's shell is confused")?;
        Ok(Ended { code, output })
    }

    /// Runs a script that must succeed, and returns its output.
    ///
    /// # Errors
    /// If the script fails or does not end within `patience`, or the guest ends.
    pub(crate) fn must(&mut self, script: &str, patience: Duration) -> Result<String> {
        let Ended { code, output } = self.run(script, patience)?;
        ensure!(
            code == 0,
            "in the guest, {script:?} ended with {code}:\n{output}"
        );
        Ok(output)
    }

    /// Returns the output before a line that begins with `mark`, and the rest of that line.
    fn read_until(&mut self, mark: &str, patience: Duration) -> Result<(String, String)> {
        let deadline = Instant::now() + patience;
        let (mut output, mut line) = (String::new(), Vec::new());
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let wait = left.max(Duration::from_millis(1));
            self.commands.set_read_timeout(Some(wait))?;
            let ended = match self.replies.read_until(b'\n', &mut line) {
                Ok(0) => "the guest has ended".to_owned(),
                Ok(_) if line.ends_with(b"\n") => {
                    let text = String::from_utf8_lossy(&line).into_owned();
                    line.clear();
                    if let Some(rest) = text.strip_prefix(mark) {
                        return Ok((output, rest.to_owned()));
                    }
                    output.push_str(&text);
                    continue;
                }
                Ok(_) => continue,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    format!("it has not ended within {patience:?}")
                }
                Err(error) => error.to_string(),
            };
            output.push_str(&String::from_utf8_lossy(&line));
            bail!("{ended}; it has printed:\n{output}\n{}", self.console());
        }
    }

    /// The last lines of the guest's console.
    pub(crate) fn console(&self) -> String {
        let log = self.emulator.log();
        let lines: Vec<&str> = log.lines().collect();
        let last = lines.split_at(lines.len().saturating_sub(LAST_LINES)).1;
        format!("the guest's console:\n{}", last.join("\n"))
    }
}

/// Connects to the port before the guest opens it; otherwise the guest would consider it closed.
fn connect(socket: &Path, emulator: &mut Daemon) -> Result<UnixStream> {
    let started = Instant::now();
    loop {
        match UnixStream::connect(socket) {
            Ok(stream) => return Ok(stream),
            Err(_) if started.elapsed() < SOCKET_PATIENCE => {}
            Err(error) => return Err(error).context("the emulator has no socket"),
        }
        if let Ok(status) = emulator.wait(Duration::ZERO) {
            bail!("the emulator ended with {status}: {}", emulator.log());
        }
        thread::sleep(Duration::from_millis(10));
    }
}
