//! Interfaces that stand on others.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use rtnetlink::packet_route::link::{BondMode, IpVlanMode};
use rtnetlink::{LinkBond, LinkIpVlan, LinkMessageBuilder, LinkTeam, LinkUnspec, LinkVlan};

use crate::debian::ensure_installed;
use crate::link::{index_of, make_macvlan, netlink, set_down, set_up, wait_until_up};
use crate::{Namespace, bridge};

/// A kind of interface that stands on another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upper {
    /// The other is a port of it.
    Bridge,
    /// The other is the active one of its members.
    Bond,
    /// The other is its only member.
    Team,
    /// It has the other's frames with the tag [`VLAN`].
    Vlan,
    /// It has the other's frames to its own hardware address.
    MacVlan,
    /// It has the other's frames to its own IP address.
    IpVlan,
}

/// The number of the VLAN.
pub const VLAN: u16 = 7;

impl Upper {
    /// Makes one by this name that stands on `lower`, and brings it up.
    ///
    /// # Errors
    /// When the kernel refuses, or has no such interfaces.
    pub fn make(self, namespace: &Namespace, lower: &str, name: &str) -> Result<()> {
        match self {
            Self::Bridge => bridge::make(namespace, name)?,
            Self::Bond | Self::Team | Self::Vlan | Self::IpVlan => {
                self.add(namespace, lower, name)?;
            }
            Self::MacVlan => make_macvlan(namespace, lower, name, MAC)?,
        }
        match self {
            Self::Bridge => bridge::add_port(namespace, name, lower)?,
            Self::Bond => add_member(namespace, name, lower)?,
            Self::Team => {
                // Until then it transmits nothing.
                set_team_mode(namespace, name)?;
                add_member(namespace, name, lower)?;
            }
            Self::Vlan | Self::MacVlan | Self::IpVlan => {}
        }
        set_up(namespace, name)?;
        match self {
            // They take their time to find that a member works.
            Self::Bond | Self::Team => wait_until_up(namespace, name),
            _ => Ok(()),
        }
    }

    /// The hardware address of one that stands on an interface with this one.
    pub fn mac(self, lower: [u8; 6]) -> [u8; 6] {
        if self == Self::MacVlan { MAC } else { lower }
    }

    fn add(self, namespace: &Namespace, lower: &str, name: &str) -> Result<()> {
        netlink(namespace, async |handle| {
            let lower = index_of(&handle, lower).await?;
            let link = match self {
                Self::Bond => LinkBond::new(name)
                    .mode(BondMode::ActiveBackup)
                    .miimon(10)
                    .build(),
                Self::Team => LinkTeam::new(name).build(),
                Self::IpVlan => LinkIpVlan::new(name, lower, IpVlanMode::L2).build(),
                _ => LinkVlan::new(name, lower, VLAN).build(),
            };
            let added = handle.link().add(link).execute().await;
            added.with_context(|| format!("cannot make {name}, a {self:?}"))
        })
    }
}

/// That of a macvlan.
const MAC: [u8; 6] = [0x02, 0, 0, 0, 9, 0x01];

/// Makes `member` one of the interfaces that `whole` is made of. A bond takes those that are down alone.
///
/// # Errors
/// When there is no such interface, or the kernel refuses.
pub fn add_member(namespace: &Namespace, whole: &str, member: &str) -> Result<()> {
    set_down(namespace, member)?;
    netlink(namespace, async |handle| {
        let link = LinkMessageBuilder::<LinkUnspec>::new()
            .index(index_of(&handle, member).await?)
            .controller(index_of(&handle, whole).await?)
            .build();
        let set = handle.link().set(link).execute().await;
        set.with_context(|| format!("cannot make {member} a member of {whole}"))
    })?;
    set_up(namespace, member)
}

/// Gives an interface one more name.
///
/// # Errors
/// When there is no such interface, or the kernel refuses.
pub fn add_altname(namespace: &Namespace, interface: &str, altname: &str) -> Result<()> {
    netlink(namespace, async |handle| {
        let index = index_of(&handle, interface).await?;
        let link = handle.link();
        let added = link.property_add(index).alt_ifname(&[altname]).execute();
        added
            .await
            .with_context(|| format!("cannot call {interface} {altname}"))
    })
}

fn set_team_mode(namespace: &Namespace, team: &str) -> Result<()> {
    ensure_installed("teamnl", "libteam-utils")?;
    let mut command = Command::new("teamnl");
    command.args([team, "setoption", "mode", "roundrobin"]);
    let output = namespace.output(command)?;
    ensure!(output.status.success(), "{output:?}");
    Ok(())
}
