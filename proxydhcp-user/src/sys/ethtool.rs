//! What a driver reports about its interface through the `SIOCETHTOOL` ioctl. This is the only way
//! to its statistics: ethtool's netlink family has those that all drivers share, not each driver's
//! own.
//!
//! Safety: in each call the kernel reads and writes one buffer, which outlives the call. Commands
//! of a fixed length get a buffer of that length. The two whose length the driver decides
//! ([`GET_STRINGS`] and [`GET_STATISTICS`]) write as many entries as the driver has at that moment,
//! whatever length is requested (Linux before 7.0). So they get room for [`ROOM`] entries, and are
//! not called if the driver has more than half as many: only a change of the number of queues
//! between two calls can add entries.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::ptr;

use rustix::net::netdevice::index_to_name;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use zerocopy::IntoBytes;

// From `linux/ethtool.h`.
const GET_DRIVER_INFO: u32 = 0x03;
const GET_RINGS: u32 = 0x10;
const GET_STRINGS: u32 = 0x1b;
const GET_STATISTICS: u32 = 0x1d;
const GET_CHANNELS: u32 = 0x3c;
/// The set of strings that names the statistics.
const OF_STATISTICS: u32 = 1;
/// The length of a name, in bytes.
const NAME: usize = 32;

/// The number of statistics that there is room for. Drivers with a hundred queues have some 20,000.
const ROOM: usize = 1 << 16;

/// A value that can be set, with its maximum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The current value.
    pub now: u32,
    /// The maximum.
    pub most: u32,
}

/// The queues of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queues {
    /// The number of those that receive.
    pub receive: u32,
    /// The number of those that transmit.
    pub transmit: u32,
}

impl Queues {
    /// From a `struct ethtool_channels`: the last word counts the channels that do both.
    fn of(channels: [u32; 9]) -> Self {
        let [_, _, _, _, _, receive, transmit, _, both] = channels;
        Self {
            receive: receive.saturating_add(both),
            transmit: transmit.saturating_add(both),
        }
    }
}

/// The driver of an interface.
pub struct Driver {
    socket: OwnedFd,
    name: String,
}

impl Driver {
    /// The driver of the interface with this number.
    ///
    /// # Errors
    ///
    /// If there is no such interface, or no socket can be opened.
    pub fn of(interface: u32) -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC;
        let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, flags, None)?;
        let name = index_to_name(&socket, interface)?;
        Ok(Self { socket, name })
    }

    /// The driver's name.
    ///
    /// # Errors
    ///
    /// If the driver does not report it.
    pub fn name(&self) -> io::Result<String> {
        let info = self.info()?;
        Ok(text(info.get(1..9).unwrap_or_default().as_bytes()))
    }

    /// The driver's statistics with their names, in its order.
    ///
    /// # Errors
    ///
    /// If the driver has none, has more than fit into the buffer, or changes them while they are
    /// read.
    pub fn statistics(&self) -> io::Result<Vec<(String, u64)>> {
        // The second of the last five words.
        let count = self.info()?.get(45).map_or(0, |&count| count as usize);
        if count == 0 || count > ROOM / 2 {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let told = u32::try_from(count).map_err(io::Error::other)?;

        // `struct ethtool_gstrings`
        let mut names = vec![0_u32; 3 + ROOM * NAME / size_of::<u32>()];
        if let [_, set, len, ..] = &mut names[..] {
            (*set, *len) = (OF_STATISTICS, told);
        }
        self.call(GET_STRINGS, &mut names)?;
        let named = names.get(2).copied();
        let names = names.get(3..).unwrap_or_default().as_bytes();

        // `struct ethtool_stats`: two words, then numbers of twice their length.
        let mut values = vec![0_u32; 2 + ROOM * 2];
        if let [_, len, ..] = &mut values[..] {
            *len = told;
        }
        self.call(GET_STATISTICS, &mut values)?;
        if named != Some(told) || values.get(1) != Some(&told) {
            return Err(io::Error::other(
                "the statistics change while they are read",
            ));
        }
        let values = values.get(2..).unwrap_or_default().as_bytes();
        let (values, _) = values.as_chunks::<8>();
        let values = values.iter().map(|&value| u64::from_ne_bytes(value));
        Ok(names
            .chunks(NAME)
            .map(text)
            .zip(values)
            .take(count)
            .collect())
    }

    /// The number of frames that each of its transmit rings holds.
    ///
    /// # Errors
    ///
    /// If the driver does not report it.
    pub fn transmit_ring(&self) -> io::Result<Setting> {
        // `struct ethtool_ringparam`
        let mut rings = [0; 9];
        self.call(GET_RINGS, &mut rings)?;
        let [_, _, _, _, most, _, _, _, now] = rings;
        Ok(Setting { now, most })
    }

    /// The number of its channels that both receive and transmit.
    ///
    /// # Errors
    ///
    /// If the driver does not report it.
    pub fn channels(&self) -> io::Result<Setting> {
        let [_, _, _, _, most, _, _, _, now] = self.channel_counts()?;
        Ok(Setting { now, most })
    }

    /// The numbers of its queues.
    ///
    /// # Errors
    ///
    /// If the driver does not report them.
    pub fn queues(&self) -> io::Result<Queues> {
        self.channel_counts().map(Queues::of)
    }

    /// `struct ethtool_channels`
    fn channel_counts(&self) -> io::Result<[u32; 9]> {
        let mut channels = [0; 9];
        self.call(GET_CHANNELS, &mut channels)?;
        Ok(channels)
    }

    /// `struct ethtool_drvinfo`: a word, five texts of 32 bytes, twelve bytes in reserve, five words.
    fn info(&self) -> io::Result<[u32; 49]> {
        let mut info = [0; 49];
        self.call(GET_DRIVER_INFO, &mut info)?;
        Ok(info)
    }

    /// Passes `buffer`, whose first word is the command, to the driver, which fills it.
    fn call(&self, command: u32, buffer: &mut [u32]) -> io::Result<()> {
        if let Some(first) = buffer.first_mut() {
            *first = command;
        }
        // SAFETY: an `ifreq` is integers and a pointer; zeros are valid.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        for (to, from) in request.ifr_name.iter_mut().zip(self.name.as_bytes()) {
            *to = from.cast_signed();
        }
        request.ifr_ifru.ifru_data = ptr::from_mut(buffer).cast();
        // SAFETY: see the module.
        let outcome =
            unsafe { libc::ioctl(self.socket.as_raw_fd(), libc::SIOCETHTOOL, &raw mut request) };
        if outcome < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }
}

/// The text before the first zero.
fn text(name: &[u8]) -> String {
    let text = name.split(|&byte| byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(text).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_that_do_both_are_counted() {
        let queues = |receive, transmit| Queues { receive, transmit };
        // As veth and `virtio_net` report them.
        assert_eq!(
            Queues::of([GET_CHANNELS, 8, 8, 0, 0, 3, 2, 0, 0]),
            queues(3, 2)
        );
        assert_eq!(
            Queues::of([GET_CHANNELS, 0, 0, 0, 4, 0, 0, 0, 4]),
            queues(4, 4)
        );
        // As a driver with both kinds does.
        assert_eq!(
            Queues::of([GET_CHANNELS, 9, 9, 1, 9, 1, 0, 1, 8]),
            queues(9, 8)
        );
    }

    #[test]
    fn an_interface_that_is_not_there_is_an_error() {
        assert!(Driver::of(u32::MAX).is_err());
    }

    #[test]
    fn names_end_with_a_zero() {
        assert_eq!(text(b"rx_queue_0_drops\0\0"), "rx_queue_0_drops");
        assert_eq!(text(b"     xdp tx\0old"), "xdp tx");
        assert_eq!(text(&[b'x'; NAME]).len(), NAME);
        assert_eq!(text(b""), "");
    }
}
