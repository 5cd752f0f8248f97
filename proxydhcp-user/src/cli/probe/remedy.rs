//! What to do about a file that does not come by TFTP: the server is asked again, for the same file by
//! names that other servers would understand.

use crate::tftp::client::{Failure, Wanted};

/// What to do about the failure.
pub(super) fn remedy(wanted: &Wanted<'_>, failure: &Failure) -> String {
    let server = wanted.server;
    match failure {
        Failure::Refused { code, message } => refused(wanted, *code, message),
        Failure::Silent => format!(
            "is a TFTP server running on {server} (`proxydhcp serve --tftp` is one), and does it serve \
             this network? A firewall must let UDP port 69 in, and the answers out, which come from \
             another port; or give another server with --next-server"
        ),
        Failure::NobodyListens => format!(
            "start a TFTP server on {server} (`proxydhcp serve --tftp` is one), or give another \
             server with --next-server"
        ),
        Failure::CutOff(_) | Failure::Slow(_) => format!(
            "look at the log of the TFTP server on {server}, and for losses on the way: an MTU \
             smaller than 1500 bytes, a duplex mismatch, an overloaded link"
        ),
        Failure::Nonsense(_) => {
            format!("another TFTP server on {server}: this one keeps to no RFC")
        }
        Failure::Socket(_) => format!("look at the route to {server}: `ip route get {server}`"),
    }
}

fn refused(wanted: &Wanted<'_>, code: u16, message: &str) -> String {
    let Wanted { file, server, .. } = *wanted;
    let plain = file.replace('\\', "/");
    let plain = plain.trim_start_matches('/');
    let is_there = |name: &str| {
        name != file
            && Wanted {
                file: name,
                kept: 0,
                enough: 0,
                ..*wanted
            }
            .fetch()
            .is_ok()
    };
    if is_there(plain) || is_there(&format!("/{plain}")) {
        return format!(
            "the server has {plain}, but does not know it by backslashes, which Windows' boot \
             manager writes: start tftpd-hpa with `--map-file FILE` and the line `rg \\\\ /` in it, \
             atftpd with `--pcre FILE` and lines as in docs/tftp.md; dnsmasq and `proxydhcp serve \
             --tftp` take them as they are"
        );
    }
    let lower = plain.to_ascii_lowercase();
    if is_there(&lower) {
        return format!(
            "the server has {lower}, in lower case, and asks for letters as on the disk: rename it to \
             {plain}, or, if all files are in lower case, use dnsmasq's `tftp-lowercase`; \
             `proxydhcp serve --tftp` takes any letter case"
        );
    }
    let message = message.to_ascii_lowercase();
    let is_denied = ["permission", "access", "denied"]
        .iter()
        .any(|word| message.contains(word));
    if code == 2 || is_denied {
        return format!(
            "let everybody read the file and enter its folders, on {server}: `chmod a+r {plain}` and \
             `chmod a+x` for each folder on the way, below the TFTP root; with dnsmasq's `tftp-secure`, \
             the file must belong to dnsmasq's user; a link must not lead out of the root"
        );
    }
    format!(
        "put {plain} below the TFTP root of {server}, with these very letters (`proxydhcp winpe check` \
         there names what is missing), or give another server with --next-server"
    )
}
