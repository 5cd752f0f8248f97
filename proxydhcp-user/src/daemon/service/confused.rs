//! Names the nodes that clients are confused with each other by.

use proxydhcp_common::nodes::Hardware;

use crate::api::status::ConfusedClient;
use crate::datapath::Shared;
use crate::names::forward::Names;
use crate::names::reverse::LookedUp;
use crate::tables::table::Table;

/// The clients that are two nodes, with the names of both in this table.
pub(super) fn clients(
    shared: &Shared,
    table: &Table,
    names: &Names,
    looked_up: &LookedUp,
) -> Vec<ConfusedClient> {
    let clients = shared.confused.all().into_iter();
    clients
        .map(|client| {
            let identity = client.identity;
            let address = identity.address.into();
            let mac = identity.mac.map(Hardware::Mac);
            let uuid = identity.uuid.map(Hardware::Uuid);
            let known = [mac, uuid]
                .into_iter()
                .flatten()
                .find_map(|sent| table.sent_by(sent));
            let traced = table.trace(address, names, looked_up);
            ConfusedClient {
                address,
                address_of: traced.map(|traced| traced.name.to_owned()),
                hardware: known.map(|known| known.id.to_string()),
                hardware_of: known.map(|known| known.name.to_owned()),
                requests: client.requests,
                ago: client.last.elapsed().as_secs(),
            }
        })
        .collect()
}
