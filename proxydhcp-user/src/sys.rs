//! The operating system: files, programs, interfaces, ports, privileges, memory, xCAT.

pub(crate) mod activation;
pub(crate) mod clock;
pub(crate) mod descriptors;
pub mod ethtool;
pub mod file;
pub(crate) mod heap;
pub mod interface;
pub mod journal;
pub(crate) mod new_folder;
pub(crate) mod output;
pub(crate) mod packet_filter;
pub(crate) mod packet_socket;
pub mod port_holder;
pub mod privileges;
pub(crate) mod random;
pub(crate) mod replace;
pub mod text_file;
pub(crate) mod tool;
pub mod trusted;
pub(crate) mod work;
pub(crate) mod xcat;

/// The name of this host.
///
/// # Errors
/// If the system does not say it.
pub(crate) fn host_name() -> anyhow::Result<String> {
    let name = nix::sys::utsname::uname()?.nodename().to_owned();
    let name = name.into_string();
    name.map_err(|_| anyhow::anyhow!("this host's name is no text"))
}
