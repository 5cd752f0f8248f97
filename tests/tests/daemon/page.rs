//! The page that shows the storm, in a real browser.
#![allow(clippy::indexing_slicing, reason = "what JSON lacks is null")]

use std::env;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use proxydhcp_lab::architecture::UEFI_X64;
use proxydhcp_lab::browser::Browser;
use proxydhcp_lab::packet::FrameSender;
use proxydhcp_lab::site::{Datapath, Files, NODE_A, Site};
use proxydhcp_lab::{CLIENT_INTERFACE, RequestFrame};
use serde_json::Value;

use crate::cluster::Cluster;

mod limits;
mod watched;

const PATIENCE: Duration = Duration::from_secs(30);
const ADDRESS: &str = "127.0.0.1:9941";
const METRICS: [&str; 2] = ["--metrics", ADDRESS];
const WIDE: (u32, u32) = (1280, 900);
const PHONE: (u32, u32) = (390, 844);
/// Frames at a time, with a pause behind them: no more than a ring holds.
const BATCH: usize = 100;

fn url() -> String {
    format!("http://{ADDRESS}/")
}

fn send(site: &Site, frames: &[Vec<u8>], pause: Duration) -> Result<()> {
    let sender = FrameSender::open(&site.lab.client, CLIENT_INTERFACE)?;
    for batch in frames.chunks(BATCH) {
        let mut sent = 0;
        while let Some(rest) = batch.get(sent..).filter(|rest| !rest.is_empty()) {
            sent += sender.send_batch(rest)?;
        }
        thread::sleep(pause);
    }
    Ok(())
}

/// Keeps a picture of the page, if the folder for them is named.
fn picture(browser: &mut Browser, name: &str) -> Result<()> {
    let Some(folder) = env::var_os("PROXYDHCP_PICTURES") else {
        return Ok(());
    };
    browser.screenshot(&PathBuf::from(folder).join(name))
}

/// The number of nodes in a state, as an expression of the page.
fn number_of(state: &str) -> String {
    format!(
        "Number([...document.querySelectorAll('#legend button')].find(it => \
         it.children[1].textContent === '{state}')?.children[2].textContent.replaceAll(',', ''))"
    )
}

fn text(id: &str) -> String {
    format!("document.getElementById('{id}').innerText")
}

/// How many of the page's cells have the colour of a state: one pixel of each is looked at.
fn cells_of(browser: &mut Browser, state: &str) -> Result<u64> {
    let count = browser.eval(&format!(
        "(() => {{
            const canvas = document.getElementById('cells');
            const context = canvas.getContext('2d');
            const {{ data }} = context.getImageData(0, 0, canvas.width, canvas.height);
            const probe = document.createElement('canvas').getContext('2d');
            probe.fillStyle = getComputedStyle(document.documentElement).getPropertyValue('--{state}');
            probe.fillRect(0, 0, 1, 1);
            const [red, green, blue] = probe.getImageData(0, 0, 1, 1).data;
            let count = 0;
            for (let at = 0; at < data.length; at += 4) {{
                if (data[at] === red && data[at + 1] === green && data[at + 2] === blue && data[at + 3] === 255) count++;
            }}
            return count;
        }})()"
    ))?;
    count.as_u64().context("no count")
}

#[test]
fn a_storm_is_seen_to_fill_and_the_silent_are_named() -> Result<()> {
    const NODES: u16 = 10_000;
    let cluster = Cluster::new(NODES);
    let files = Files::new()?;
    cluster.write_hosts(&files)?;
    cluster.write_config(&files, "winboot/x/")?;
    let site = Site::start(Datapath::Native, files, &METRICS)?;
    let mut browser = Browser::open(&site.lab.server, WIDE)?;
    browser.go(&url())?;
    browser.wait_for(&format!("{} === {NODES}", number_of("silent")))?;
    ensure!(cells_of(&mut browser, "answered")? == 0);
    let all = cells_of(&mut browser, "silent")?;
    ensure!(all >= 4 * u64::from(NODES), "{all} pixels");

    let is_silent = |node: usize| [17, 4711, 9999].contains(&node);
    let requests = cluster.requests();
    let frames = requests.iter().enumerate();
    let frames: Vec<_> = frames
        .filter(|(node, _)| !is_silent(*node))
        .map(|(_, (frame, _))| frame.bytes())
        .collect();
    let (half, rest) = frames.split_at(frames.len() / 2);
    send(&site, half, Duration::from_millis(20))?;
    browser.wait_for(&format!("{} === {}", number_of("answered"), half.len()))?;
    let filled = cells_of(&mut browser, "answered")?;
    ensure!(
        (all * 2 / 5..=all * 3 / 5).contains(&filled),
        "{filled} of {all} pixels"
    );
    picture(&mut browser, "half.png")?;
    send(&site, rest, Duration::from_millis(20))?;
    browser.wait_for(&format!("{} === {}", number_of("answered"), frames.len()))?;
    browser.wait_for(&format!(
        "{}.split('\\n').join() === 'n17,n4711,n9999'",
        text("silent")
    ))?;
    browser.wait_for(&format!("{} === 'live'", text("connection")))?;
    let numbers = browser.eval(&text("numbers"))?;
    ensure!(
        numbers.as_str().is_some_and(|it| it.contains("9,997")),
        "{numbers}"
    );
    picture(&mut browser, "storm.png")?;

    // By the keyboard alone: the search, the node that it finds, and its neighbour.
    browser.press("/")?;
    "n4711"
        .chars()
        .try_for_each(|char| browser.press(&char.to_string()))?;
    browser.wait_for(&format!("{} === '1 found'", text("found")))?;
    browser.press("Enter")?;
    browser.wait_for(&format!("{}.startsWith('n4711\\n')", text("node")))?;
    ensure!(
        browser
            .eval(&text("node"))?
            .as_str()
            .is_some_and(|it| it.contains("silent"))
    );
    browser.press("ArrowRight")?;
    browser.wait_for(&format!("{}.startsWith('n4712\\n')", text("node")))?;
    let node = browser.eval(&text("node"))?;
    for told in ["answered", "10.77.22.104", "winboot/x/", "UEFI x64"] {
        ensure!(
            node.as_str().is_some_and(|it| it.contains(told)),
            "{told}: {node}"
        );
    }

    // On a phone, and in the dark: nothing is wider than the screen.
    browser.resize(PHONE, true)?;
    browser.prefer("dark")?;
    browser.wait_for("document.documentElement.scrollWidth <= 390")?;
    browser.wait_for("getComputedStyle(document.body).backgroundColor === 'rgb(16, 20, 24)'")?;
    picture(&mut browser, "phone.png")?;
    assert_eq!(browser.complaints(), [] as [String; 0]);
    Ok(())
}

#[test]
fn hostile_names_are_nothing_but_text() -> Result<()> {
    let files = Files::new()?;
    let name = "<img/src=x/onerror=document.title=1>";
    let path = "winboot/<svg/onload=document.title=2>/";
    files.write_config(&[(name, path), ("a", "winboot/a/")])?;
    files.write_hosts(&[("10.77.1.2", name), ("10.77.1.1", "a")])?;
    let mut site = Site::start(Datapath::Raw, files, &METRICS)?;
    let mut browser = Browser::open(&site.lab.server, WIDE)?;
    browser.go(&url())?;
    browser.wait_for(&format!("{} === 2", number_of("silent")))?;
    site.ask_uefi(NODE_A, "winboot/a/")?;
    browser.wait_for(&format!("{} === {}", text("silent"), Value::from(name)))?;
    browser.eval("document.querySelector('#silent button').click()")?;
    browser.wait_for(&format!("{}.includes({})", text("node"), Value::from(path)))?;
    let made =
        browser.eval("document.querySelectorAll('img, svg, iframe, script:not([src])').length")?;
    assert_eq!(made, 0);
    assert_eq!(browser.eval("document.title")?, "proxydhcp");
    // Even if a script let some markup in, it would not run.
    let blocked = browser.eval("(() => { try { document.body.innerHTML = '<b>'; return 'let in'; } catch { return 'kept out'; } })()")?;
    assert_eq!(blocked, "kept out");
    Ok(())
}

/// The page of a daemon that is started anew shows the new one's nodes, and a reload's.
#[test]
fn the_page_follows_reloads_and_restarts() -> Result<()> {
    let mut site = Site::with(Datapath::Raw, &METRICS)?;
    let mut browser = Browser::open(&site.lab.server, WIDE)?;
    browser.go(&url())?;
    browser.wait_for(&format!("{} === 3", number_of("silent")))?;
    site.files
        .write_config(&[("a", "winboot/a/"), ("b", "winboot/b")])?;
    assert_eq!(site.command(&["reload"])?.code, Some(0));
    browser.wait_for(&format!("{} === 2", number_of("silent")))?;
    site.daemon.stop()?;
    browser.wait_for(&format!("{} !== 'live'", text("connection")))?;
    site.files.write_config(&[("a", "winboot/a/")])?;
    let args = proxydhcp_lab::site::serve_args(Datapath::Raw, &site.files, &METRICS);
    site.daemon = proxydhcp_lab::Daemon::start(&site.lab.server, &proxydhcp_lab::binary()?, &args)?;
    browser.wait_for(&format!(
        "{} === 1 && {} === 'live'",
        number_of("silent"),
        text("connection")
    ))
}
