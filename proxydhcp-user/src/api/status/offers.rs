//! What has become of DISCOVERs.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Counters;

/// What has become of the DISCOVERs of network boots on an interface: `received`, which are `answered`
/// by an offer, `limited` or `refused`, as requests are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfferStatus {
    /// The DISCOVERs of PXE clients.
    #[serde(flatten)]
    pub counters: Counters,
    /// DISCOVERs of clients that boot by HTTP, which get no offer.
    pub http: u64,
    /// DISCOVERs of iPXE on machines without a record, which get no offer.
    pub ipxe: u64,
}

impl fmt::Display for OfferStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "offers: {}", self.counters)?;
        for (kind, count) in [("HTTP", self.http), ("iPXE", self.ipxe)] {
            if count > 0 {
                write!(f, "; {kind} {count}")?;
            }
        }
        Ok(())
    }
}
