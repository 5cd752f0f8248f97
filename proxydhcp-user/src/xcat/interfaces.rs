//! Which interfaces to serve where the settings name none: those on which xCAT has its DHCP server
//! listen. Attaching the XDP program may reset an interface, and the management node's uplink is
//! not to be touched for nothing.

use std::time::Duration;

use crate::nodes::xcat::interfaces::dhcp_interfaces;
use crate::sys::host_name;
use crate::text::listed;

/// How long xCAT may take to name them: xcatd waits for this daemon to start.
const PATIENCE: Duration = Duration::from_secs(2);

/// The names of the interfaces, and what to log about them. No names stand for all interfaces.
pub(super) fn of_xcat() -> (Vec<String>, String) {
    match dhcp_interfaces(&host_name().unwrap_or_default(), PATIENCE) {
        Ok(names) if names.is_empty() => {
            let told = "all interfaces are served, because xCAT's site.dhcpinterfaces names none for \
                this host";
            (names, told.to_owned())
        }
        Ok(names) => {
            let told = format!(
                "the interfaces of xCAT's site.dhcpinterfaces are served: {}",
                listed(&names)
            );
            (names, told)
        }
        Err(error) => {
            let told = format!(
                "all interfaces are served, because xCAT does not name those of its DHCP server: {error}"
            );
            (Vec::new(), told)
        }
    }
}
