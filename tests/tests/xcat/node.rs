//! A management node: network, files and processes of its own, for the paths that xCAT and its
//! daemon agree on are fixed.

use std::fs::{self, Permissions};
use std::net::{Ipv4Addr, UdpSocket};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use proxydhcp_lab::config::{cfg_bytes, hosts_text};
use proxydhcp_lab::{Daemon, Lab, RequestFrame, Tap, accounts, binary, debian};
use serde_json::Value;
use tempfile::TempDir;

/// Far longer than anything here takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(15);

/// The first process of the node: it hides the machine's files behind the node's, and takes in
/// orphans. Mounts and processes go with it.
const INIT: &str = r#"
mount --bind "$1/var-lib" /var/lib
mount --bind "$1/hosts" /etc/hosts
mount --bind "$1/opt" /opt
for device in null zero full random urandom; do
    touch "$1/dev/$device"
    mount --bind "/dev/$device" "$1/dev/$device"
done
mount --rbind "$1/dev" /dev
mount --bind "$1/run" /run
echo ready
sleep infinity &
wait
"#;

/// Reads the pid file and sends the process the first argument, as xCAT does it; then starts the
/// other arguments, if there are any, at once.
const KILL: &str = r#"
open(my $file, "<", "/var/run/xcat/proxydhcp-xcat.pid") or die "no pid file";
my $pid = <$file>;
kill(shift, $pid) or die "no process $pid";
exec(@ARGV) if @ARGV;
"#;

/// The node. Dropping it ends all its processes.
pub(crate) struct Node {
    pub(crate) lab: Lab,
    folder: TempDir,
    init: Daemon,
    /// The program that xCAT starts.
    pub(crate) program: PathBuf,
}

impl Node {
    /// A node with the names `a` for 10.77.1.1 and `b` for 10.77.1.2, and no `proxydhcp.cfg` yet.
    pub(crate) fn new() -> Result<Self> {
        for (program, package) in [
            ("ps", "procps"),
            ("perl", "perl-base"),
            ("nsenter", "util-linux"),
            ("unshare", "util-linux"),
        ] {
            debian::ensure_installed(program, package)?;
        }
        let lab = Lab::new()?;
        let folder = TempDir::new()?;
        for name in ["var-lib/xcat", "run", "dev", "opt/xcat/sbin"] {
            fs::create_dir_all(folder.path().join(name))?;
        }
        // Daemons that give root up look into it.
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755))?;
        let hosts = [([10, 77, 1, 1], "a.cluster a"), ([10, 77, 1, 2], "b")];
        let hosts = hosts.map(|(address, names)| (Ipv4Addr::from(address), names));
        fs::write(folder.path().join("hosts"), hosts_text(hosts))?;
        symlink(
            binary()?,
            folder.path().join("opt/xcat/sbin/proxydhcp-xcat"),
        )?;
        let mut init = Command::new("unshare");
        init.args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc"])
            .args(["sh", "-euc", INIT, "sh"])
            .arg(folder.path());
        let init = Daemon::start_command(&lab.server, init)?;
        Ok(Self {
            lab,
            folder,
            init,
            program: PathBuf::from("/opt/xcat/sbin/proxydhcp-xcat"),
        })
    }

    /// Starts a management node with these records.
    pub(crate) fn with(records: &[(&str, &str)]) -> Result<Self> {
        let node = Self::new()?;
        fs::write(node.config(), cfg_bytes(records.iter().copied())?)?;
        Ok(node)
    }

    /// The node's file or folder of this name, as it is seen from outside: `run`, `dev`, `opt`,
    /// `hosts` and `var-lib` are where the node has `/run`, `/dev`, `/opt`, `/etc/hosts` and
    /// `/var/lib`.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.path("var-lib/xcat/proxydhcp.cfg")
    }

    pub(crate) fn pid_file(&self) -> PathBuf {
        self.path("run/xcat/proxydhcp-xcat.pid")
    }

    /// A command on the node.
    pub(crate) fn command(&self, program: impl AsRef<Path>, args: &[&str]) -> Command {
        let of_init = |name| format!("/proc/{}/ns/{name}", self.init.pid());
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--mount={}", of_init("mnt")))
            .arg(format!("--pid={}", of_init("pid_for_children")))
            .arg("--")
            .arg(program.as_ref())
            .args(args);
        command
    }

    /// Runs a command to the end of all that holds its output.
    pub(crate) fn run(&self, program: impl AsRef<Path>, args: &[&str]) -> Result<Output> {
        self.lab.server.output(self.command(program, args))
    }

    /// Starts a command that goes on; what it prints is nobody's business.
    pub(crate) fn spawn(&self, program: impl AsRef<Path>, args: &[&str]) -> Result<()> {
        let mut command = self.command(program, args);
        command.stdin(Stdio::null());
        self.lab.server.spawn(command)?;
        Ok(())
    }

    /// Runs a command that must succeed, and returns what it prints.
    pub(crate) fn succeed(&self, program: impl AsRef<Path>, args: &[&str]) -> Result<String> {
        let output = self.run(program, args)?;
        ensure!(output.status.success(), "{args:?}: {output:?}");
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Starts the daemon as xCAT does: with `-d`, and the command's end says that it serves.
    pub(crate) fn start(&self, flags: &[&str]) -> Result<()> {
        let output = self.run(&self.program, flags)?;
        ensure!(output.status.success(), "{flags:?}: {output:?}");
        ensure!(
            output.stdout.is_empty() && output.stderr.is_empty(),
            "{output:?}"
        );
        Ok(())
    }

    /// Sends the process that the pid file names a signal, as xCAT does.
    pub(crate) fn kill(&self, signal: u8) -> Result<()> {
        self.succeed("perl", &["-e", KILL, &signal.to_string()])?;
        Ok(())
    }

    /// Has the daemon end and starts the next while it does.
    pub(crate) fn replace(&self, signal: u8) -> Result<()> {
        let program = self.program.display().to_string();
        self.succeed("perl", &["-e", KILL, &signal.to_string(), &program, "-d"])?;
        Ok(())
    }

    /// What xCAT's `nodeset` does: writes the whole file over the old one, and has it reloaded.
    pub(crate) fn nodeset(&self, records: &[(&str, &str)]) -> Result<()> {
        fs::write(self.config(), cfg_bytes(records.iter().copied())?)?;
        self.kill(10)
    }

    /// The processes that `ps` finds by the daemon's name.
    pub(crate) fn processes(&self) -> Result<Vec<u32>> {
        let output = self.run("ps", &["-C", "proxydhcp-xcat", "-o", "pid="])?;
        let text = String::from_utf8(output.stdout)?;
        text.split_whitespace()
            .map(|pid| Ok(pid.parse()?))
            .collect()
    }

    /// The one process there is, which the pid file names, too.
    pub(crate) fn pid(&self) -> Result<u32> {
        let processes = self.processes()?;
        let [pid] = processes[..] else {
            bail!("not one process: {processes:?}");
        };
        let file = fs::read_to_string(self.pid_file()).context("no pid file")?;
        ensure!(file == pid.to_string(), "process {pid}, pid file {file:?}");
        Ok(pid)
    }

    pub(crate) fn status(&self) -> Result<Value> {
        let output = self.run(binary()?, &["status", "--json"])?;
        // 2: it runs, but not everything is in service.
        ensure!(matches!(output.status.code(), Some(0 | 2)), "{output:?}");
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    pub(crate) fn generation(&self) -> Result<u64> {
        let status = self.status()?;
        let number = status.get("generation").and_then(Value::as_u64);
        number.context("no number")
    }

    /// Waits for a reload to come into service. As the files are watched, too, one change may make two
    /// reloads.
    pub(crate) fn await_generation(&self, number: u64) -> Result<()> {
        wait_until("the reload", || {
            let before = self.generation()?;
            thread::sleep(Duration::from_millis(300));
            let status = self.status()?;
            let is_at_rest = status.get("reloading").is_none() && self.generation()? == before;
            Ok(before >= number && is_at_rest)
        })
    }

    /// Whether nobody has the daemon's port.
    pub(crate) fn port_is_free(&self) -> Result<bool> {
        let bound = || Ok(UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 4011)).is_ok());
        self.lab.server.run(bound)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let socket = self.path("run/proxydhcp/control.sock");
        let is_heard = !thread::panicking() && UnixStream::connect(&socket).is_ok();
        let accounts = is_heard.then(|| accounts::check(&binary()?, &socket, false));
        // All others end with it, before their files go. It takes no other signal to heart.
        let _ = self.init.crash();
        assert!(!matches!(accounts, Some(Err(_))), "{accounts:?}");
    }
}

/// Asks until there is an answer, as firmware does: the name of an unknown client's address is looked
/// up first.
pub(crate) fn insist(tap: &mut Tap, request: &RequestFrame) -> Result<Vec<u8>> {
    let started = Instant::now();
    loop {
        match tap.ask(request) {
            Ok(reply) => return Ok(reply),
            Err(error) => ensure!(started.elapsed() < PATIENCE, "{error:#}"),
        }
    }
}

/// Waits for what must come sooner or later.
pub(crate) fn wait_until(what: &str, mut is: impl FnMut() -> Result<bool>) -> Result<()> {
    let started = Instant::now();
    while !is()? {
        ensure!(started.elapsed() < PATIENCE, "still waiting for {what}");
        thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}
