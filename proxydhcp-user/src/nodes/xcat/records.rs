//! The records that follow from xCAT's tables, as `nodeset` should have written them.

use super::Site;
use crate::nodes::cfg::edit::RawRecord;
use crate::winpe::path::Rules;

/// What xCAT's tables ask for.
#[derive(Debug, Default)]
pub(crate) struct Wanted {
    /// The records of the nodes that boot Windows, in xCAT's order.
    pub(crate) records: Vec<RawRecord>,
    /// The names of these nodes.
    pub(crate) names: Vec<String>,
    /// Those whose tables contradict each other, and why. They have no record here.
    pub(crate) faults: Vec<(String, String)>,
    /// Those with `supportproxydhcp=yes`.
    pub(crate) supporting: Vec<String>,
    /// Those with `supportproxydhcp=no`.
    pub(crate) refusing: Vec<String>,
}

/// The node's WinPE, as `winpepath` has it, or nothing because it boots no Windows.
type Boots = Option<String>;

/// The records of the nodes that boot Windows: all of them, or those that the service node `server`
/// serves.
pub(crate) fn wanted(site: &Site, server: Option<&str>, rules: Rules<'_>) -> Wanted {
    let mut wanted = Wanted::default();
    for node in site.nodes() {
        let record = boots(site, node, server).and_then(|path| {
            let record = |path: String| RawRecord::new(node, &path, rules);
            let record = path.map(record).transpose();
            record.map_err(|fault| fault.to_string())
        });
        match record {
            Ok(None) => continue,
            Ok(Some(record)) => {
                wanted.records.push(record);
                wanted.names.push(node.to_owned());
            }
            Err(fault) => {
                wanted.faults.push((node.to_owned(), fault));
                continue;
            }
        }
        match site.attribute(&site.resources, "proxydhcp", node) {
            Ok(None) => {}
            Ok(Some(value)) if is_no(&value) => wanted.refusing.push(node.to_owned()),
            Ok(Some(_)) => wanted.supporting.push(node.to_owned()),
            Err(fault) => wanted.faults.push((node.to_owned(), fault)),
        }
    }
    wanted
}

/// Whether makedhcp takes this value of `noderes.proxydhcp` for a no: it looks for one of these
/// letters anywhere in it.
fn is_no(value: &str) -> bool {
    value.contains(['0', 'n', 'N'])
}

fn boots(site: &Site, node: &str, server: Option<&str>) -> Result<Boots, String> {
    let Some(state) = site.attribute(&site.chain, "currstate", node)? else {
        return Ok(None);
    };
    let is_served = || server.map_or(Ok(true), |server| site.is_served(node, server));
    let mut words = state.split_ascii_whitespace();
    match words.next() {
        Some("install") => {}
        // It has the default WinPE start a shell.
        Some("winshell") if is_served()? => return Ok(Some(String::new())),
        _ => return Ok(None),
    }
    let os = match words.next() {
        Some(os) => os.to_owned(),
        None => site.attribute(&site.types, "os", node)?.unwrap_or_default(),
    };
    let is_windows = ["win", "hyperv", "imagex"]
        .iter()
        .any(|start| os.starts_with(start));
    if !is_windows || !is_served()? {
        return Ok(None);
    }
    winpe(site, node).map(Some)
}

/// The `winpepath` of the node's image, with the slash at its end that `nodeset` adds. Images from
/// before xCAT had definitions of them have the default one.
fn winpe(site: &Site, node: &str) -> Result<String, String> {
    let image = site.attribute(&site.types, "provmethod", node)?;
    let image =
        image.filter(|image| !["install", "netboot", "statelite"].contains(&image.as_str()));
    let Some(image) = image else {
        return Ok(String::new());
    };
    if !site.images.has(&image) {
        return Err(format!(
            "its image {image} (nodetype.provmethod) is not in the table osimage; run nodeset with \
             an image that exists"
        ));
    }
    let path = site.windows.get(&image, "winpepath").unwrap_or_default();
    let slash = if path.is_empty() || path.ends_with('/') {
        ""
    } else {
        "/"
    };
    Ok(format!("{path}{slash}"))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::nodes::xcat::table::Table;

    /// A site with these tables, and others without rows.
    fn site(tables: &[(&str, &str)]) -> Site {
        Site::of(|table, columns| {
            let text = tables.iter().find(|(name, _)| *name == table);
            let empty = format!("#{},disable\n", columns.join(","));
            Table::of(text.map_or(&empty, |(_, text)| text), table, columns)
        })
        .unwrap()
    }

    fn told(site: &Site, server: Option<&str>) -> Vec<String> {
        let wanted = wanted(site, server, Rules::within(Path::new("/tftpboot")));
        let records = wanted.records.iter().map(|record| format!("{record:?}"));
        let faults = wanted.faults.iter();
        let faults = faults.map(|(node, fault)| format!("{node}! {fault}"));
        records.chain(faults).collect()
    }

    const NODES: &str = "#node,groups,disable\n\"n1\",\"win,all\",\n\"n2\",\"all,win\",\n\
        \"n3\",\"all\",\n\"n4\",\"win\",\n\"n5\",\"win\",\n\"n6\",\"win\",\n\"n7\",\"win\",\n";
    const CHAIN: &str = "#node,currstate,disable\n\"n1\",\"install win2k22-x86_64-compute\",\n\
        \"n2\",\"install win2k22-x86_64-compute\",\n\"n3\",\"install rhels9.4-x86_64-compute\",\n\
        \"n4\",\"boot\",\n\"n5\",\"winshell winpe-x86_64-compute\",\n\
        \"n6\",\"install hyperv2012-x86_64-x\",\n";
    const TYPES: &str = "#node,os,provmethod,disable\n\"win\",\"win2k22\",\"img-a\",\n\
        \"n2\",,\"img-b\",\n\"n6\",,\"gone\",\n";
    const IMAGES: &str = "#imagename,disable\n\"img-a\",\n\"img-b\",\n";
    const WINDOWS: &str = "#imagename,winpepath,disable\n\"img-a\",\"winboot/a\",\n";
    const RESOURCES: &str = "#node,servicenode,proxydhcp,disable\n\"win\",\"sn1,sn2\",,\n\
        \"n2\",\"sn2.cluster\",\"no\",\n\"n1\",,\"yes\",\n";
    const TABLES: &[(&str, &str)] = &[
        ("nodelist", NODES),
        ("chain", CHAIN),
        ("nodetype", TYPES),
        ("osimage", IMAGES),
        ("winimage", WINDOWS),
        ("noderes", RESOURCES),
    ];

    #[test]
    fn nodes_that_boot_windows_have_the_winpe_of_their_image() {
        let gone = "n6! its image gone (nodetype.provmethod) is not in the table osimage; run nodeset \
            with an image that exists";
        let site = site(TABLES);
        let all = ["n1 -> winboot/a/", "n2 -> ", "n5 -> ", gone];
        assert_eq!(told(&site, None), all);
        assert_eq!(
            told(&site, Some("sn1")),
            ["n1 -> winboot/a/", "n5 -> ", gone]
        );
        assert_eq!(told(&site, Some("SN2.cluster")), all);
        assert_eq!(
            told(&site, Some("sn2.other")),
            ["n1 -> winboot/a/", "n5 -> ", gone]
        );
        assert!(told(&site, Some("sn3")).is_empty());
        let wanted = wanted(&site, None, Rules::within(Path::new("/tftpboot")));
        assert_eq!(
            (wanted.supporting, wanted.refusing),
            (vec!["n1".into()], vec!["n2".into()])
        );
    }
}
