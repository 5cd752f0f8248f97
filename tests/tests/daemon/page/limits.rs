//! What the page costs: bytes, frames, connections.

use super::*;

/// So many nodes, in racks of 50, on addresses from 10.96.0.1 on.
const MANY: u32 = 100_000;
const RACK: u32 = 50;

fn many() -> Result<(Files, Vec<Vec<u8>>)> {
    let files = Files::new()?;
    let address = |n: u32| Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 96, 0, 1)) + n);
    let nodes: Vec<_> = (0..MANY)
        .map(|n| (format!("r{:04}n{:02}", n / RACK, n % RACK), address(n)))
        .collect();
    let hosts = nodes.iter().map(|(name, address)| (*address, name));
    fs::write(
        files.path("hosts"),
        proxydhcp_lab::config::hosts_text(hosts),
    )?;
    let records = nodes.iter().map(|(name, _)| (name.as_str(), "winboot/x/"));
    files.write_raw_config(&proxydhcp_lab::config::cfg_bytes(records)?)?;
    let frames = nodes
        .iter()
        .map(|(_, address)| RequestFrame::edk2(*address, UEFI_X64).bytes());
    Ok((files, frames.collect()))
}

/// Asks over a connection of its own: the head and what follows.
pub(super) fn get(site: &Site, path: &str) -> Result<BufReader<TcpStream>> {
    let mut stream = site.lab.server.run(|| Ok(TcpStream::connect(ADDRESS)?))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {ADDRESS}\r\n\r\n")?;
    Ok(BufReader::new(stream))
}

/// The head of an answer, and its body.
pub(super) fn whole(site: &Site, path: &str) -> Result<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    get(site, path)?.read_to_end(&mut bytes)?;
    let end = bytes
        .windows(4)
        .position(|it| it == b"\r\n\r\n")
        .context("no head")?;
    let body = bytes.split_off(end + 4);
    Ok((String::from_utf8(bytes)?, body))
}

pub(super) fn events(snapshot: &[u8]) -> Result<String> {
    let line = snapshot
        .split(|byte| *byte == b'\n')
        .next()
        .context("no line")?;
    let head: Value = serde_json::from_slice(line)?;
    let position = &head["position"];
    Ok(format!(
        "/storm/events?list={}&known={}",
        position["list"], position["known"]
    ))
}

#[test]
fn a_hundred_thousand_nodes_take_few_bytes_and_little_of_a_frame() -> Result<()> {
    let (files, frames) = many()?;
    let site = Site::start(Datapath::Native, files, &METRICS)?;
    let (_, snapshot) = whole(&site, "/storm")?;
    println!("snapshot of {MANY} silent nodes: {} bytes", snapshot.len());
    let mut browser = Browser::open(&site.lab.server, WIDE)?;
    browser.go(&url())?;
    browser.wait_for(&format!("{} === {MANY}", number_of("silent")))?;

    let reader = get(&site, &events(&snapshot)?)?;
    let (sizes, sent) = thread::scope(|scope| {
        let sizes = scope.spawn(|| sizes(reader));
        let sent = send(&site, &frames, Duration::from_millis(1));
        (sizes.join(), sent)
    });
    sent?;
    let sizes = sizes.ok().context("the reader panicked")??;
    let most = sizes.iter().max().copied().unwrap_or_default();
    println!("{} events, the longest has {most} bytes", sizes.len());
    // There are two a second.
    ensure!(most < 500_000, "{most}");
    browser.wait_for(&format!("{} === {MANY}", number_of("answered")))?;
    let (_, snapshot) = whole(&site, "/storm")?;
    println!(
        "snapshot of {MANY} nodes that have asked: {} bytes",
        snapshot.len()
    );
    ensure!(snapshot.len() < 2_000_000, "{}", snapshot.len());
    println!("{}", browser.eval(&text("cost"))?);
    picture(&mut browser, "many.png")?;

    let mut page = 0;
    let (_, index) = whole(&site, "/")?;
    let listed = browser.eval("performance.getEntriesByType('resource').map(it => new URL(it.name).pathname).filter(it => it.startsWith('/page/'))")?;
    let listed = listed.as_array().context("no files")?.clone();
    ensure!(listed.len() > 5, "{listed:?}");
    for file in &listed {
        page += whole(&site, file.as_str().context("no name")?)?.1.len();
    }
    println!("the page: {} bytes, not compressed", page + index.len());
    ensure!(page + index.len() < 200_000);
    assert_eq!(browser.complaints(), [] as [String; 0]);
    Ok(())
}

/// The lengths of events, until all nodes have been told of.
fn sizes(reader: BufReader<TcpStream>) -> Result<Vec<usize>> {
    let mut sizes = Vec::new();
    let started = Instant::now();
    for line in reader.lines() {
        let line = line?;
        let Some(data) = line.strip_prefix("data: ") else {
            continue;
        };
        sizes.push(line.len());
        let update: Value = serde_json::from_str(data)?;
        let is_whole = update["position"]["node"] == 0 && update["rows"] == "";
        if is_whole && update["totals"]["states"][3] == MANY {
            return Ok(sizes);
        }
        ensure!(
            started.elapsed() < Duration::from_mins(3),
            "{}",
            update["totals"]
        );
    }
    ensure!(false, "the events have ended");
    Ok(sizes)
}

#[test]
fn pages_leave_room_for_others_and_places_come_free() -> Result<()> {
    let mut site = Site::with(Datapath::Raw, &METRICS)?;
    let (_, snapshot) = whole(&site, "/storm")?;
    let path = events(&snapshot)?;
    let status = |reader: &mut BufReader<TcpStream>| -> Result<String> {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        Ok(line.split(' ').nth(1).unwrap_or_default().to_owned())
    };
    let mut open = Vec::new();
    let refused = loop {
        let mut reader = get(&site, &path)?;
        match status(&mut reader)?.as_str() {
            "200" => open.push(reader),
            code => break code.to_owned(),
        }
        ensure!(open.len() < 64, "so many follow");
    };
    assert_eq!((refused.as_str(), open.len()), ("503", 32));
    assert!(whole(&site, "/metrics")?.0.contains(" 200 "));
    site.ask_uefi(NODE_A, "winboot/a/")?;
    // They stay beyond the time that others have for their answers.
    thread::sleep(Duration::from_secs(7));
    for reader in &mut open {
        let started = Instant::now();
        let mut seen = String::new();
        while !seen.contains("\"states\":[2,0,0,1,") {
            seen.clear();
            ensure!(
                reader.read_line(&mut seen)? > 0 && started.elapsed() < PATIENCE,
                "{seen}"
            );
        }
    }
    drop(open);
    let started = Instant::now();
    while status(&mut get(&site, &path)?)? != "200" {
        ensure!(started.elapsed() < PATIENCE, "no place has come free");
        thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

#[test]
fn other_sites_and_wrong_questions_get_nothing() -> Result<()> {
    let site = Site::with(Datapath::Raw, &METRICS)?;
    let ask = |lines: &str| -> Result<String> {
        let mut stream = site.lab.server.run(|| Ok(TcpStream::connect(ADDRESS)?))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        write!(stream, "{lines}\r\n\r\n")?;
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line)?;
        Ok(line)
    };
    let host = format!("Host: {ADDRESS}");
    for (path, more, code) in [
        ("/", "", "200"),
        (
            "/",
            "\r\nSec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate",
            "200",
        ),
        ("/storm", "\r\nSec-Fetch-Site: same-origin", "200"),
        (
            "/storm",
            "\r\nSec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: no-cors",
            "403",
        ),
        (
            "/storm/events?list=1&known=1",
            "\r\nSec-Fetch-Site: same-site",
            "403",
        ),
        ("/storm/events", "", "400"),
        ("/storm/events?list=-1&known=x", "", "400"),
        ("/page/none.js", "", "404"),
    ] {
        let line = ask(&format!("GET {path} HTTP/1.0\r\n{host}{more}"))?;
        ensure!(line.contains(&format!(" {code} ")), "{path} {more}: {line}");
    }
    let line = ask("GET /storm HTTP/1.0\r\nHost: evil.example")?;
    ensure!(line.contains(" 421 "), "{line}");
    let (head, _) = whole(&site, "/")?;
    for header in [
        "content-security-policy: default-src 'none'",
        "x-content-type-options: nosniff",
        "cache-control: no-store",
    ] {
        ensure!(head.contains(header), "{head}");
    }
    Ok(())
}
