//! xCAT's tables as `tabdump` prints them: of 2,000 nodes with 4 images, in 3 pools of service
//! nodes.

use std::fmt::Write as _;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use proxydhcp_lab::config::cfg_bytes;
use proxydhcp_lab::site::Files;

const NODES: usize = 2000;

/// Prints the tables of the folder in which it lies.
const TABDUMP: &str = r#"#!/bin/sh
table="${0%/*}/$1.csv"
[ -e "$table" ] || { echo "Error: No such table: $1" >&2; exit 1; }
exec cat "$table"
"#;

/// Puts a `tabdump` into a folder, whose files are the tables that it prints.
pub(crate) fn install(folder: &Path) -> Result<()> {
    let program = folder.join("tabdump");
    fs::write(&program, TABDUMP)?;
    Ok(fs::set_permissions(program, Permissions::from_mode(0o755))?)
}

/// The table, and its columns in the order of xCAT's schema.
const COLUMNS: [(&str, &str); 9] = [
    (
        "nodelist",
        "node,groups,status,statustime,appstatus,appstatustime,primarysn,hidden,updatestatus,\
         updatestatustime,zonename,comments,disable",
    ),
    (
        "noderes",
        "node,servicenode,netboot,tftpserver,tftpdir,nfsserver,monserver,nfsdir,installnic,\
         primarynic,discoverynics,cmdinterface,xcatmaster,current_osimage,next_osimage,nimserver,\
         routenames,nameservers,proxydhcp,syslog,comments,disable",
    ),
    (
        "nodetype",
        "node,os,arch,profile,provmethod,supportedarchs,nodetype,comments,disable",
    ),
    (
        "chain",
        "node,currstate,currchain,chain,ondiscover,comments,disable",
    ),
    (
        "osimage",
        "imagename,groups,profile,imagetype,description,provmethod,rootfstype,nfsrootopts,\
         osdistroname,osupdatename,cfmdir,osname,osvers,osarch,synclists,postscripts,\
         postbootscripts,serverrole,isdeletable,kitcomponents,environvar,comments,disable",
    ),
    (
        "winimage",
        "imagename,template,installto,partitionfile,winpepath,comments,disable",
    ),
    (
        "hosts",
        "node,ip,hostnames,otherinterfaces,comments,disable",
    ),
    ("mac", "node,interface,mac,comments,disable"),
    ("site", "key,value,comments,disable"),
];

/// The values that a row has, with their columns.
type Row = Vec<(&'static str, String)>;

/// The files of the daemon, and a folder with the tables and a `tabdump` that prints them.
pub(crate) struct Tables {
    pub(crate) files: Files,
}

/// A node of the tables.
#[derive(Clone, Copy)]
pub(crate) struct Node(pub(crate) usize);

impl Node {
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        (1..=NODES).map(Self)
    }

    pub(crate) fn name(self) -> String {
        format!("n{:04}", self.0)
    }

    /// One of three, with two service nodes each.
    pub(crate) fn pool(self) -> usize {
        self.0 % 3
    }

    /// What `nodeset` should have written for it, if it boots Windows.
    pub(crate) fn winpe(self) -> Option<&'static str> {
        let winpe = match self.0 % 4 {
            0 => "winboot/a/",
            1 => "winboot/b, \"new\"/",
            2 => "",
            _ => return None,
        };
        // Each tenth is installed.
        (!self.0.is_multiple_of(10)).then_some(winpe)
    }

    fn image(self) -> &'static str {
        match self.0 % 4 {
            0 => "win-a",
            1 => "win-b",
            2 => "win-default",
            _ => "rhels9",
        }
    }

    fn state(self) -> &'static str {
        match (self.0 % 10, self.winpe()) {
            (0, _) => "boot",
            (_, Some(_)) => "install win2k22-x86_64-compute",
            (_, None) => "install rhels9.4-x86_64-compute",
        }
    }

    pub(crate) fn address(self) -> String {
        format!("10.77.{}.{}", self.0 / 250, self.0 % 250 + 1)
    }
}

impl Tables {
    /// The tables, and no `proxydhcp.cfg` yet.
    pub(crate) fn new() -> Result<Self> {
        let tables = Self {
            files: Files::new()?,
        };
        fs::create_dir(tables.files.path("xcat"))?;
        install(&tables.files.path("xcat"))?;
        for (table, rows) in rows() {
            tables.write(table, &rows)?;
        }
        Ok(tables)
    }

    pub(crate) fn table(&self, name: &str) -> PathBuf {
        self.files.path(&format!("xcat/{name}.csv"))
    }

    /// Writes a table whose rows have these values in these columns, as xCAT quotes them.
    fn write(&self, table: &str, rows: &[Row]) -> Result<()> {
        let of_table = COLUMNS.iter().find(|(name, _)| *name == table);
        let (_, columns) = of_table.context("no such table")?;
        let mut text = format!("#{columns}\n");
        for row in rows {
            let values: Vec<String> = columns
                .split(',')
                .map(|column| {
                    let value = row.iter().find(|(name, _)| *name == column);
                    value.map_or_else(String::new, |(_, value)| {
                        format!("\"{}\"", value.replace('"', "\"\""))
                    })
                })
                .collect();
            writeln!(text, "{}", values.join(","))?;
        }
        Ok(fs::write(self.table(table), text)?)
    }
}

/// The records of these nodes, as `nodeset` writes them.
pub(crate) fn records(nodes: impl Iterator<Item = Node>) -> Result<Vec<u8>> {
    cfg_bytes(nodes.filter_map(|node| Some((node.name(), node.winpe()?))))
}

fn rows() -> Vec<(&'static str, Vec<Row>)> {
    let of_nodes = |row: fn(Node) -> Row| {
        let rows = Node::all().map(|node| {
            let mut row = row(node);
            row.insert(0, ("node", node.name()));
            row
        });
        rows.collect::<Vec<_>>()
    };
    let row = |values: &[(&'static str, &str)]| -> Row {
        let values = values.iter();
        values
            .map(|(name, value)| (*name, (*value).to_owned()))
            .collect()
    };
    let nodes = of_nodes(|node| {
        let groups = format!("pool{},compute,all", node.pool());
        vec![
            ("groups", groups),
            ("comments", "rack 7, \"left\"\nupper".into()),
        ]
    });
    let pools = (0..3).map(|pool| {
        let servers = format!("sn{pool}a,sn{pool}b");
        vec![
            ("node", format!("pool{pool}")),
            ("servicenode", servers),
            ("netboot", "xnba".into()),
        ]
    });
    let mut resources: Vec<_> = pools.collect();
    resources.push(row(&[
        ("node", "n0001"),
        ("proxydhcp", "no"),
        ("comments", "old, \"ROM\""),
    ]));
    // Most boot what their group has.
    let types = of_nodes(|node| {
        let image = (node.image() != "win-a").then(|| ("provmethod", node.image().to_owned()));
        image.into_iter().collect()
    });
    let group = row(&[
        ("node", "compute"),
        ("provmethod", "win-a"),
        ("arch", "x86_64"),
    ]);
    let types = types.into_iter().chain([group]).collect();
    let images =
        ["win-a", "win-b", "win-default", "rhels9"].map(|name| row(&[("imagename", name)]));
    let windows = [("win-a", "winboot/a"), ("win-b", "winboot/b, \"new\"/")];
    let windows = windows.map(|(name, path)| row(&[("imagename", name), ("winpepath", path)]));
    let hosts = row(&[
        ("node", "all"),
        ("ip", "|n0*(\\d+)|10.77.($1/250).($1%250+1)|"),
        (
            "otherinterfaces",
            "|n0*(\\d+)|-ib0:10.78.($1/250).($1%250+1)|",
        ),
    ]);
    let macs = of_nodes(|node| {
        vec![(
            "mac",
            format!("0a:00:00:00:{:02x}:{:02x}", node.0 / 256, node.0 % 256),
        )]
    });
    vec![
        ("nodelist", nodes),
        ("noderes", resources),
        ("nodetype", types),
        (
            "chain",
            of_nodes(|node| vec![("currstate", node.state().into())]),
        ),
        ("osimage", images.to_vec()),
        ("winimage", windows.to_vec()),
        ("hosts", vec![hosts]),
        ("mac", macs),
        (
            "site",
            vec![row(&[("key", "master"), ("value", "10.77.0.1")])],
        ),
    ]
}
