//! The full judgement, for the requests that the fast path hands up: IP options, two VLAN tags,
//! frames sent to a group, any number of options and pads, options in parts (RFC 3396) or in
//! `file` and `sname` (option overload, RFC 2132, section 9.3), lists of architectures, and PXE's
//! boot items.
//!
//! It runs only in user space, so it may search as far as necessary.

use crate::activity::Outcome;
use crate::checksum::Sum;
use crate::frame::{Frame, Slice};
use crate::headers::{self, BOOTP_LEN, Datagram, IP_LEN, IpUdp, Packet};
use crate::judge::{Answer, Asker, Tables, charge, decide, identify, own};
use crate::nodes::{Conflict, Lines, Nodes};
use crate::options::{Facts, INFORM, PXE_CLIENT, REQUEST, arch_digits, code};
use crate::reply::{self, Fault};
use crate::source::Source;
use crate::template::{Loader, UUID_LEN};
use crate::vendor_class::VendorClass;
use crate::verdict::{Reason, Stop};
use crate::wire::{Address, Ethernet, Ipv4};

pub mod offer;

/// PXE's boot item, sub-option 71 of option 43 (PXE 2.1, section 2.2.1): the boot server type and
/// layer that the client asks for, and expects back.
type BootItem = [u8; 4];

/// The answer to a request on the slow path.
#[derive(Clone, Copy, Debug)]
pub struct SlowPathAnswer<'t> {
    answer: Answer<'t>,
    boot_item: Option<BootItem>,
    /// The class to answer to, if it is not `PXEClient`.
    class: Option<&'t VendorClass>,
}

/// Judges a frame that [`crate::judge::judge`] has left to the [`Stop::SlowPath`].
///
/// The frame is normalised first: IP options are cut out, and a group address as destination is
/// replaced by `mac`, the address of the interface it came in by, so that the reply can come from
/// it. `vouched` means that the sender is on this machine, and the UDP checksum is not filled in
/// yet.
///
/// # Errors
///
/// The verdict, if the frame is not answered; never [`Stop::SlowPath`].
pub fn judge<'t, T: Tables>(
    frame: &mut Slice<'_>,
    packet: &Packet,
    tables: &'t T,
    mac: [u8; 6],
    vouched: bool,
) -> Result<SlowPathAnswer<'t>, Stop> {
    let nodes = own(packet, tables)?;
    let from = frame.header::<Ethernet>(0).map(|it| it.source);
    let entry = nodes.entry(packet.source);
    let judged = judge_client(frame, packet, tables, &nodes, mac, vouched, entry);
    if let Err(stop) = judged
        && let Some(outcome) = Outcome::of(stop)
    {
        let asker = Asker {
            address: packet.source,
            mac: from.unwrap_or_default(),
            node: nodes.number(entry),
        };
        tables.note(asker, outcome, None);
    }
    judged
}

/// Judges the frame, for whose sender's address `entry` is stored.
fn judge_client<'t, T: Tables>(
    frame: &mut Slice<'_>,
    packet: &Packet,
    tables: &'t T,
    nodes: &Nodes<'_, T::Lines>,
    mac: [u8; 6],
    vouched: bool,
    entry: u32,
) -> Result<SlowPathAnswer<'t>, Stop> {
    let packet = make_plain(frame, *packet, mac)?;
    let datagram = headers::admit(frame, &packet)?;
    let gathered = Gathered::from(frame, &datagram)?;
    let boot_item = gathered.vendor.boot_item().filter(|_| nodes.echoes());
    let (facts, class) = gathered.facts(nodes, tables.vendor_classes())?;
    let uuid = match &facts.uuid {
        Some([0, uuid @ ..]) => Some(uuid),
        _ => None,
    };
    let client = identify(frame, &datagram, uuid, entry, nodes)
        .map_err(|Conflict| Stop::Refuse(Reason::Identity))?;
    let answer = decide(datagram, facts, client, nodes, tables).map_err(|stop| match stop {
        // The look-up happens away from the packets' path, so for now the client is unknown.
        Stop::SlowPath => Stop::Refuse(Reason::Unknown),
        stop => stop,
    })?;
    if !vouched && !headers::is_udp_checksum_right(frame, &answer.datagram) {
        return Err(Stop::Refuse(Reason::Checksum));
    }
    charge(tables.bucket(&Source::of(frame, &packet))?, nodes, tables)?;
    Ok(SlowPathAnswer {
        answer,
        boot_item,
        class,
    })
}

/// Readdresses a request that was broadcast to this host's address `server`, as if it had been sent there.
/// One that is malformed stays as it is.
#[must_use]
pub fn readdress(frame: &mut Slice<'_>, packet: &Packet, server: Address) -> Packet {
    if packet.ip_len != IP_LEN {
        return *packet;
    }
    let Ok(datagram) = headers::admit(frame, packet) else {
        return *packet;
    };
    let is_right = headers::is_udp_checksum_right(frame, &datagram);
    let Some(IpUdp { ip, udp }) = frame.header_mut(packet.ip) else {
        return *packet;
    };
    ip.destination = server;
    ip.checksum = [0, 0];
    ip.checksum = ip.sum().field();
    if is_right {
        // It has been checked; none is allowed.
        udp.checksum = [0, 0];
    }
    Packet {
        destination: server,
        ..*packet
    }
}

/// What the sender of a request that [`judge`] has judged is known by: its address, the MAC address in
/// `chaddr`, and its UUID. The frame has been normalised.
pub fn identity(frame: &Slice<'_>, packet: &Packet) -> Option<Identity> {
    let packet = Packet {
        ip_len: IP_LEN,
        to_group: false,
        ..*packet
    };
    let datagram = headers::admit(frame, &packet).ok()?;
    let gathered = Gathered::from(frame, &datagram).ok()?;
    let (mac, uuid) = identity_of(frame, &datagram, &gathered);
    Some(Identity {
        address: datagram.client,
        mac,
        uuid,
    })
}

/// The MAC address in `chaddr`, and the UUID.
fn identity_of(
    frame: &Slice<'_>,
    datagram: &Datagram,
    gathered: &Gathered,
) -> (Option<[u8; 6]>, Option<[u8; 16]>) {
    let uuid = match gathered.uuid.bytes {
        [0, bytes @ ..] if gathered.uuid.len == UUID_LEN => Some(bytes),
        _ => None,
    };
    (headers::mac(frame, datagram), uuid)
}

/// What the sender of a request is known by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The packet's source address.
    pub address: Address,
    /// The Ethernet address in `chaddr`.
    pub mac: Option<[u8; 6]>,
    /// The UUID of option 97.
    pub uuid: Option<[u8; 16]>,
}

impl SlowPathAnswer<'_> {
    /// The answer, without what is added to it.
    #[must_use]
    pub const fn plain(&self) -> &Answer<'_> {
        &self.answer
    }
}

/// Turns the frame into the reply.
///
/// # Errors
///
/// If the frame cannot grow, or is too short: see [`Fault`].
pub fn write(frame: &mut Slice<'_>, answer: &SlowPathAnswer<'_>) -> Result<(), Fault> {
    reply::write(frame, &answer.answer)?;
    let datagram = &answer.answer.datagram;
    if let Some(class) = answer.class {
        rename(frame, datagram, class.name())?;
    }
    match answer.boot_item {
        Some(item) => echo(frame, datagram, item),
        None => Ok(()),
    }
}

/// Cuts out IP options, and replaces a group address as destination by that of this host.
fn make_plain(frame: &mut Slice<'_>, mut packet: Packet, mac: [u8; 6]) -> Result<Packet, Stop> {
    const LENGTH: Stop = Stop::Refuse(Reason::Length);
    if packet.to_group {
        frame.header_mut::<Ethernet>(0).ok_or(LENGTH)?.destination = mac;
        packet.to_group = false;
    }
    let surplus = packet.ip_len.saturating_sub(IP_LEN);
    if surplus == 0 {
        return Ok(packet);
    }
    let (ip, len) = (packet.ip, frame.len());
    let sum = frame.add(Sum::default(), ip, packet.ip_len);
    if !sum.ok_or(LENGTH)?.is_right() {
        return Err(Stop::Refuse(Reason::Checksum));
    }
    frame
        .all_mut()
        .copy_within(ip + packet.ip_len..len, ip + IP_LEN);
    frame.resize(len - surplus).map_err(|_| LENGTH)?;

    let header = frame.header_mut::<Ipv4>(ip).ok_or(LENGTH)?;
    let surplus = u16::try_from(surplus).map_err(|_| LENGTH)?;
    let total_len = header.total_len.get().checked_sub(surplus).ok_or(LENGTH)?;
    header.version_ihl = 0x45;
    header.total_len = total_len.into();
    header.checksum = [0, 0];
    header.checksum = header.sum().field();
    packet.ip_len = IP_LEN;
    Ok(packet)
}

/// An option's value, assembled from its parts (RFC 3396): its first `N` bytes.
#[derive(Clone, Copy)]
struct Value<const N: usize> {
    bytes: [u8; N],
    len: usize,
}

impl<const N: usize> Default for Value<N> {
    fn default() -> Self {
        Self {
            bytes: [0; N],
            len: 0,
        }
    }
}

impl<const N: usize> Value<N> {
    fn add(&mut self, part: &[u8]) {
        let room = self.bytes.get_mut(self.len..).unwrap_or_default();
        for (to, from) in room.iter_mut().zip(part) {
            *to = *from;
        }
        self.len += part.len();
    }

    fn get(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or(&self.bytes)
    }
}

impl Value<512> {
    /// The value of sub-option 71. Sub-options have the same form as options (PXE 2.1, section
    /// 2.2.1); a malformed list contains no boot item.
    fn boot_item(&self) -> Option<BootItem> {
        const BOOT_ITEM: u8 = 71;
        let mut item = None;
        for option in Walk(self.get()) {
            if let (BOOT_ITEM, value) = option.ok()? {
                item = value.try_into().ok();
            }
        }
        item
    }
}

/// Iterates over options or sub-options and yields code and value of each, or an error if one runs
/// past the end.
struct Walk<'b>(&'b [u8]);

impl<'b> Iterator for Walk<'b> {
    type Item = Result<(u8, &'b [u8]), Stop>;

    fn next(&mut self) -> Option<Self::Item> {
        while let Some((&code::PAD, rest)) = self.0.split_first() {
            self.0 = rest;
        }
        let (&tag, rest) = self.0.split_first()?;
        if tag == code::END {
            return None;
        }
        let option = rest
            .split_first()
            .and_then(|(&len, rest)| rest.split_at_checked(usize::from(len)));
        let Some((value, rest)) = option else {
            self.0 = &[];
            return Some(Err(Stop::Refuse(Reason::Options)));
        };
        self.0 = rest;
        Some(Ok((tag, value)))
    }
}

/// The relevant options, from all the places that contain options.
#[derive(Default)]
struct Gathered {
    message_type: Value<1>,
    vendor_class: Value<{ VendorClass::LONGEST + 11 }>,
    architectures: Value<32>,
    uuid: Value<UUID_LEN>,
    overload: Value<1>,
    vendor: Value<512>,
    user_class: Value<4>,
}

impl Gathered {
    /// Reads the options field, and then `file` and `sname` if option 52 says that they carry more,
    /// in this order (RFC 3396, section 5).
    fn from(frame: &Slice<'_>, datagram: &Datagram) -> Result<Self, Stop> {
        let bootp = frame
            .bytes(datagram.bootp(), datagram.bootp_len)
            .unwrap_or_default();
        let mut gathered = Self::default();
        gathered.read(bootp.get(BOOTP_LEN..))?;
        let overload = gathered.overload.get().first().copied().unwrap_or(0);
        if overload & 1 != 0 {
            gathered.read(bootp.get(108..236))?;
        }
        if overload & 2 != 0 {
            gathered.read(bootp.get(44..108))?;
        }
        Ok(gathered)
    }

    fn read(&mut self, options: Option<&[u8]>) -> Result<(), Stop> {
        for option in Walk(options.unwrap_or_default()) {
            let (tag, value) = option?;
            match tag {
                code::MESSAGE_TYPE => self.message_type.add(value),
                code::VENDOR_CLASS => self.vendor_class.add(value),
                code::ARCHITECTURE => self.architectures.add(value),
                code::UUID => self.uuid.add(value),
                code::OVERLOAD => self.overload.add(value),
                code::VENDOR => self.vendor.add(value),
                code::USER_CLASS => self.user_class.add(value),
                _ => {}
            }
        }
        Ok(())
    }

    /// The facts, and the client's vendor class if that is one of `others`.
    fn facts<'c, L: Lines + ?Sized>(
        &self,
        nodes: &Nodes<'_, L>,
        others: &'c [VendorClass],
    ) -> Result<(Facts, Option<&'c VendorClass>), Stop> {
        if self.message_type.len != 1 || !matches!(self.message_type.get(), [REQUEST | INFORM]) {
            return Err(Stop::Refuse(Reason::MessageType));
        }
        let class = self.vendor_class.get();
        let (details, other) = match class.strip_prefix(&PXE_CLIENT) {
            Some(details) => (details, None),
            None => others
                .iter()
                .find_map(|other| Some((class.strip_prefix(other.name())?, Some(other))))
                .ok_or(Stop::Refuse(Reason::VendorClass))?,
        };
        let digits = details.first_chunk().and_then(arch_digits);
        let (architecture, loader) = self
            .loader(nodes, digits)
            .ok_or(Stop::Refuse(Reason::Architecture))?;
        let facts = Facts {
            architecture,
            loader,
            uuid: (self.uuid.len == UUID_LEN).then_some(self.uuid.bytes),
        };
        Ok((facts, other))
    }

    /// The loader of a PXE client that names its architecture in option 93.
    fn pxe_loader<L: Lines + ?Sized>(&self, nodes: &Nodes<'_, L>) -> Option<(u8, Loader)> {
        let details = self.vendor_class.get().strip_prefix(&PXE_CLIENT)?;
        let digits = details.first_chunk().and_then(arch_digits);
        (self.architectures.len > 0).then(|| self.loader(nodes, digits))?
    }

    /// The first architecture that has a loader counts. An option 93 of odd or zero length counts
    /// as absent; then the digits in the vendor class decide. They also tell that the bytes of option
    /// 93 are swapped, as some firmware sends them.
    fn loader<L: Lines + ?Sized>(
        &self,
        nodes: &Nodes<'_, L>,
        digits: Option<u16>,
    ) -> Option<(u8, Loader)> {
        let loader = |number: u16| {
            let [_, low] = number.to_be_bytes();
            Some((low, nodes.loader(number)?))
        };
        let list = &self.architectures;
        if list.len == 0 || !list.len.is_multiple_of(2) {
            return loader(digits?);
        }
        let (numbers, _) = list.get().as_chunks::<2>();
        numbers
            .iter()
            .find_map(|number| loader(u16::from_be_bytes(*number)))
            .or_else(|| {
                let swapped = numbers.iter().map(|number| u16::from_le_bytes(*number));
                let digits = digits?;
                swapped
                    .into_iter()
                    .find(|&number| number == digits)
                    .and_then(loader)
            })
    }
}

/// Gives the finished reply another vendor class (option 60), if it has one.
fn rename(frame: &mut Slice<'_>, datagram: &Datagram, class: &[u8]) -> Result<(), Fault> {
    const SPOILT: Fault = Fault::Spoilt;
    let Some(at) = option(frame.all(), datagram.options(), code::VENDOR_CLASS) else {
        // The layout of xCAT's replies has none.
        return Ok(());
    };
    let old = frame.len();
    let before = at + 2;
    let after = before + PXE_CLIENT.len();
    frame.resize(old + class.len().saturating_sub(PXE_CLIENT.len()))?;
    let len = frame.len();
    let bytes = frame.all_mut();
    let behind = before + class.len();
    bytes.copy_within(after..old, behind);
    bytes
        .get_mut(behind + old - after..len)
        .ok_or(SPOILT)?
        .fill(0);
    bytes
        .get_mut(before..behind)
        .ok_or(SPOILT)?
        .copy_from_slice(class);
    *bytes.get_mut(at + 1).ok_or(SPOILT)? = u8::try_from(class.len()).map_err(|_| SPOILT)?;
    mend_sums(frame, datagram)
}

/// Writes the lengths and checksums of a reply that has been changed.
fn mend_sums(frame: &mut Slice<'_>, datagram: &Datagram) -> Result<(), Fault> {
    let bootp_len = frame.len() - datagram.bootp();
    let bootp = frame
        .add(Sum::default(), datagram.bootp(), bootp_len)
        .ok_or(Fault::Spoilt)?;
    reply::write_ip_udp(frame, datagram, bootp_len, bootp).ok_or(Fault::Spoilt)
}

/// Inserts option 43 with the boot item into a finished reply, before its end option.
fn echo(frame: &mut Slice<'_>, datagram: &Datagram, [a, b, c, d]: BootItem) -> Result<(), Fault> {
    let end = option(frame.all(), datagram.options(), code::END).ok_or(Fault::Spoilt)?;
    let option = [code::VENDOR, 6, 71, 4, a, b, c, d, code::END];
    let old = frame.len();
    frame.resize(old.max(end + option.len()))?;
    if let Some(added) = frame.all_mut().get_mut(old..) {
        added.fill(0);
    }
    *frame.at_mut(end).ok_or(Fault::Spoilt)? = option;
    mend_sums(frame, datagram)
}

/// The offset of an option of a reply, which has no pads before its end.
fn option(frame: &[u8], mut at: usize, wanted: u8) -> Option<usize> {
    loop {
        match *frame.get(at)? {
            tag if tag == wanted => return Some(at),
            code::END => return None,
            _ => at += 2 + usize::from(*frame.get(at + 1)?),
        }
    }
}
