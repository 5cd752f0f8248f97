//! The modes in which an XDP program is tried on an interface, and why others are not.

use anyhow::{Result, ensure};

use crate::api::status::{Better, Fallback};
use crate::datapath::xdp::Duty;
use crate::sys::interface::{AttachMode, Interface, Kind};

/// How the XDP program should be attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttachOptions {
    /// What the program does.
    pub duty: Duty,
    /// The mode in which it is attached; `None` leaves the choice to the daemon.
    pub mode: Option<AttachMode>,
    /// Whether the raw datapath serves if the program does not attach. Otherwise that is an error.
    pub or_raw: bool,
}

/// The modes to try.
pub(crate) struct Modes {
    /// The modes, best first.
    pub(crate) tried: &'static [AttachMode],
    /// Why native mode is not among them, if the choice was free.
    pub(crate) fallback: Option<Fallback>,
}

impl Modes {
    /// The modes for `interface`, whose program drivers would run on `carriers`.
    ///
    /// # Errors
    ///
    /// If the requested mode or datapath would answer nothing.
    pub(crate) fn of(
        options: AttachOptions,
        interface: &Interface,
        carriers: &[Interface],
    ) -> Result<Self> {
        let redirects_members = options.duty == Duty::Redirect && interface.kind == Kind::Bond;
        ensure!(
            !(redirects_members && options.mode == Some(AttachMode::Native)),
            "{} is a bond: in native mode its requests come in by the queues of its members, where an \
             AF_XDP socket of the bond gets none; use --xdp-mode generic, or --path kernel",
            interface.name
        );
        let tried: &[AttachMode] = match options.mode {
            Some(AttachMode::Native) => &[AttachMode::Native],
            Some(AttachMode::Generic) => &[AttachMode::Generic],
            None if redirects_members => {
                return Ok(Self::generic(
                    "an AF_XDP socket of a bond gets no requests that its members' drivers take"
                        .to_owned(),
                    Some("--path kernel"),
                ));
            }
            None => match veth(carriers) {
                Some(veth) => {
                    return Ok(Self::generic(
                        format!(
                            "{} is a veth, whose other end takes the replies of a native program only \
                             if it has an XDP program itself",
                            veth.name
                        ),
                        Some("--xdp-mode native, where it has one"),
                    ));
                }
                None => &[AttachMode::Native, AttachMode::Generic],
            },
        };
        Ok(Self {
            tried,
            fallback: None,
        })
    }

    fn generic(why: String, remedy: Option<&str>) -> Self {
        Self {
            tried: &[AttachMode::Generic],
            fallback: Some(Fallback {
                instead_of: Better::Native,
                why,
                remedy: remedy.map(str::to_owned),
            }),
        }
    }
}

/// A veth among the interfaces whose drivers run the program. Its other end drops what a native
/// program sends back, unless it has an XDP program itself, which cannot be seen from this end.
pub(crate) fn veth(carriers: &[Interface]) -> Option<&Interface> {
    carriers.iter().find(|carrier| carrier.kind == Kind::Veth)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::interface::tests::interface;

    const BOTH: &[AttachMode] = &[AttachMode::Native, AttachMode::Generic];
    const GENERIC: &[AttachMode] = &[AttachMode::Generic];

    fn of(duty: Duty, mode: Option<AttachMode>, kind: Kind, carrier: Kind) -> Result<Modes> {
        let it = |kind| Interface {
            kind,
            ..interface(2, "it0", None)
        };
        let options = AttachOptions {
            duty,
            mode,
            or_raw: false,
        };
        Modes::of(options, &it(kind), &[it(carrier)])
    }

    #[test]
    fn native_is_left_out_where_its_replies_would_be_lost() {
        use Duty::{Answer, Redirect};
        use Kind::{Bond, Other, Veth};
        for (duty, kind, carrier, expected) in [
            (Answer, Other, Other, BOTH),
            (Answer, Veth, Veth, GENERIC),
            (Answer, Bond, Other, BOTH),
            (Answer, Bond, Veth, GENERIC),
            (Redirect, Other, Other, BOTH),
            (Redirect, Bond, Other, GENERIC),
        ] {
            let modes = of(duty, None, kind, carrier).unwrap();
            assert_eq!(modes.tried, expected, "{duty:?} on {kind:?} on {carrier:?}");
            assert_eq!(modes.fallback.is_some(), expected == GENERIC);
        }
    }

    #[test]
    fn what_is_asked_for_is_tried_alone() {
        for mode in BOTH {
            let modes = of(Duty::Answer, Some(*mode), Kind::Veth, Kind::Veth).unwrap();
            assert_eq!((modes.tried, modes.fallback), (&[*mode][..], None));
        }
        // Modes that would answer nothing are refused.
        let native = Some(AttachMode::Native);
        assert!(of(Duty::Redirect, native, Kind::Bond, Kind::Other).is_err());
        assert!(of(Duty::Answer, native, Kind::Bond, Kind::Other).is_ok());
    }
}
