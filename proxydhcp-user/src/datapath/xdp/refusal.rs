//! Explains why the kernel refuses a map or the program, and names the remedy.
//!
//! `bpf(2)` answers "operation not permitted" if a capability is missing, and, before Linux 5.11,
//! if the process may not lock enough memory. "Permission denied", with a log, means that the
//! verifier rejects the program, whoever loads it.

use std::io;

use anyhow::anyhow;
use aya::EbpfError;
use aya::maps::MapError;
use aya::programs::{ProgramError, ProgramType};
use aya::sys::{BpfHelper, SyscallError, is_helper_supported};
use nix::errno::Errno;
use nix::sys::utsname::uname;
use rustix::process::{Resource, getrlimit};
use rustix::thread::{CapabilitySet, capabilities};
use tracing::debug;

/// The capabilities that the XDP datapaths need, spelt as in units and manuals.
const RIGHTS: [(CapabilitySet, &str); 3] = [
    (CapabilitySet::BPF, "CAP_BPF"),
    (CapabilitySet::NET_ADMIN, "CAP_NET_ADMIN"),
    (CapabilitySet::PERFMON, "CAP_PERFMON"),
];

/// Whether maps and programs count as locked memory. Linux 5.11 stopped that, and introduced a helper
/// that shows it.
fn charges() -> Result<bool, ProgramError> {
    is_helper_supported(ProgramType::Xdp, BpfHelper::BPF_FUNC_ktime_get_coarse_ns).map(|it| !it)
}

/// The error if the program's maps cannot be created.
pub(super) fn of_object(error: EbpfError) -> anyhow::Error {
    match error {
        EbpfError::MapError(error) => of_map("the XDP program's maps", error),
        error => anyhow::Error::new(error).context("cannot read the XDP program"),
    }
}

/// The error if `map` cannot be created.
pub(super) fn of_map(map: &str, error: MapError) -> anyhow::Error {
    let tried = format!("cannot make {map}");
    match error {
        MapError::CreateError { io_error, .. }
        | MapError::SyscallError(SyscallError { io_error, .. }) => {
            anyhow!(Process::this().explain(&tried, &io_error, ""))
        }
        error => anyhow::Error::new(error).context(tried),
    }
}

/// The error if the program cannot be loaded.
pub(super) fn of_program(error: ProgramError) -> anyhow::Error {
    let ProgramError::LoadError {
        io_error,
        verifier_log,
    } = error
    else {
        return anyhow::Error::new(error).context("the XDP program cannot be loaded");
    };
    let log = verifier_log.to_string();
    debug!("the verifier says: {log}");
    anyhow!(Process::this().explain("cannot load the XDP program", &io_error, &log))
}

/// The circumstances that the kernel's answer depends on, besides the program.
struct Process {
    /// The kernel's release, as `uname -r` prints it.
    release: String,
    /// The capabilities of [`RIGHTS`] that this thread lacks.
    missing: Vec<&'static str>,
    /// The limit on locked memory in bytes, if there is one.
    limit: Option<u64>,
    /// Whether the kernel counts maps and programs as locked memory; unknown if it loads no program
    /// at all.
    charges: Option<bool>,
}

impl Process {
    fn this() -> Self {
        // CAP_SYS_ADMIN includes all of them (Linux 5.8).
        let held = capabilities(None).map_or(CapabilitySet::empty(), |held| held.effective);
        let missing = RIGHTS
            .into_iter()
            .filter(|(right, _)| !held.intersects(*right | CapabilitySet::SYS_ADMIN))
            .map(|(_, name)| name)
            .collect();
        Self {
            release: uname().map_or_else(
                |_| "of an unknown version".to_owned(),
                |name| name.release().to_string_lossy().into_owned(),
            ),
            missing,
            limit: getrlimit(Resource::Memlock).current,
            charges: charges().ok(),
        }
    }

    /// Explains why the kernel answers `error`, with the verifier's `log`, to what was tried.
    fn explain(&self, tried: &str, error: &io::Error, log: &str) -> String {
        let release = &self.release;
        let verdict = last_lines(log);
        let missing = self.missing.join(" and ");
        let forbidden = matches!(errno(error), Some(Errno::EPERM | Errno::EACCES));
        if forbidden && !missing.is_empty() {
            return format!("{tried}: {error}; it takes root, or the missing {missing}");
        }
        if !verdict.is_empty() {
            return format!(
                "{tried}: {error}; the verifier of Linux {release} refuses it: {verdict}. That is a \
                 fault of proxydhcp: please report it, with what `uname -a` and RUST_LOG=debug \
                 show; --path raw serves meanwhile"
            );
        }
        if !forbidden {
            return format!("{tried}: {error} (Linux {release})");
        }
        match (self.limit, self.charges) {
            (Some(limit), Some(true)) => format!(
                "{tried}: {error}; Linux {release} counts it as locked memory, of which there may \
                 be {} KiB: say LimitMEMLOCK=infinity in the systemd unit, or `ulimit -l \
                 unlimited`",
                limit / 1024
            ),
            (Some(limit), None) => format!(
                "{tried}: {error}; bpf(2) is forbidden here by a seccomp filter, a security \
                 module, or a container's user namespace, or, before Linux 5.11, by the limit of \
                 {} KiB of locked memory (`ulimit -l unlimited`)",
                limit / 1024
            ),
            _ => format!(
                "{tried}: {error}, though no capability is missing; bpf(2) is forbidden here by a \
                 seccomp filter, a security module, or a container's user namespace"
            ),
        }
    }
}

fn errno(error: &io::Error) -> Option<Errno> {
    error.raw_os_error().map(Errno::from_raw)
}

/// The verifier's last message, without its statistics: a log is many pages of instructions, and
/// ends with the objection.
fn last_lines(log: &str) -> String {
    const LINES: usize = 3;
    const STATISTICS: [&str; 3] = ["processed ", "verification time ", "stack depth "];
    let lines: Vec<&str> = log
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .filter(|line| !STATISTICS.iter().any(|start| line.starts_with(start)))
        .collect();
    let last = lines.len().saturating_sub(LINES);
    lines.get(last..).unwrap_or_default().join(" | ")
}

#[cfg(test)]
mod tests {
    use aya::EbpfLoader;
    use aya::programs::Xdp;

    use super::*;

    /// A process with all capabilities, on a kernel that does not count BPF as locked memory.
    fn process() -> Process {
        Process {
            release: "6.1.0-57-amd64".to_owned(),
            missing: Vec::new(),
            limit: Some(64 << 10),
            charges: Some(false),
        }
    }

    fn explain(process: &Process, errno: Errno, log: &str) -> String {
        process.explain("cannot try", &io::Error::from(errno), log)
    }

    #[test]
    fn missing_rights_are_named() {
        let process = Process {
            missing: vec!["CAP_BPF", "CAP_PERFMON"],
            ..process()
        };
        let words = "it takes root, or the missing CAP_BPF and CAP_PERFMON";
        assert!(explain(&process, Errno::EPERM, "").ends_with(words));
        // The verifier says this if CAP_PERFMON is missing.
        let log = "R4 pointer comparison prohibited\nprocessed 9 insns";
        assert!(explain(&process, Errno::EACCES, log).ends_with(words));
        // No capability helps against a lack of memory.
        let words = explain(&process, Errno::ENOMEM, "");
        assert!(!words.contains("CAP_BPF"), "{words}");
    }

    #[test]
    fn a_full_limit_of_locked_memory_is_named_where_there_is_one() {
        let charging = Process {
            charges: Some(true),
            ..process()
        };
        let words = explain(&charging, Errno::EPERM, "");
        for part in ["64 KiB", "LimitMEMLOCK=infinity", "ulimit -l unlimited"] {
            assert!(words.contains(part), "{words}");
        }
        let unlimited = Process {
            limit: None,
            ..charging
        };
        for process in [unlimited, process()] {
            let words = explain(&process, Errno::EPERM, "");
            assert!(words.contains("seccomp"), "{words}");
            assert!(!words.contains("ulimit"), "{words}");
        }
        let unknown = Process {
            charges: None,
            ..process()
        };
        let words = explain(&unknown, Errno::EPERM, "");
        for part in ["seccomp", "64 KiB", "ulimit -l unlimited"] {
            assert!(words.contains(part), "{words}");
        }
    }

    #[test]
    fn of_the_verifiers_log_there_are_the_last_lines() {
        let log = "0: R1=ctx R10=fp0\n; at packet.rs:40\n1: (bf) r9 = r8\n\
                   invalid access to packet, off=65558 size=4, R9(id=0,off=65558,r=65530)\n\
                   R9 offset is outside of the packet\nverification time 387576 usec\n\
                   stack depth 240+32\nprocessed 70685 insns (limit 1000000) peak_states 768\n";
        let words = explain(&process(), Errno::EACCES, log);
        assert_eq!(
            words,
            "cannot try: Permission denied (os error 13); the verifier of Linux 6.1.0-57-amd64 \
             refuses it: 1: (bf) r9 = r8 | invalid access to packet, off=65558 size=4, \
             R9(id=0,off=65558,r=65530) | R9 offset is outside of the packet. That is a fault of \
             proxydhcp: please report it, with what `uname -a` and RUST_LOG=debug show; --path raw \
             serves meanwhile"
        );
    }

    /// Asks the verifier of the running kernel, as root.
    #[test]
    fn a_verifiers_refusal_is_told_from_missing_rights() {
        const LOAD_WORD: u8 = 0x61;
        // The object, changed to look for the packet's end (xdp_md's data_end, its second word)
        // past the context's end.
        let mut object = aya::include_bytes_aligned!(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/ebpf/proxydhcp.bpf.o"
        ))
        .to_vec();
        for instruction in object.as_chunks_mut::<8>().0 {
            if let [LOAD_WORD, _, 4, 0, 0, 0, 0, 0] = *instruction {
                instruction[2] = 200;
            }
        }
        let mut bpf = EbpfLoader::new().load(&object).map_err(of_object).unwrap();
        let program: &mut Xdp = bpf.program_mut("answer").unwrap().try_into().unwrap();
        let words = of_program(program.load().unwrap_err()).to_string();
        for part in [
            &format!("the verifier of Linux {}", Process::this().release),
            "invalid bpf_context access off=200 size=4",
            "please report it",
        ] {
            assert!(words.contains(part), "{words}");
        }
    }
}
