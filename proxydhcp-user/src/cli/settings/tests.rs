use std::fs;
use std::path::PathBuf;

use clap::Args;

use super::*;
use crate::cli::serve::ServeArgs;
use crate::cli::{self, Cli, Context};
use crate::tables::policy::Unknown;
use proxydhcp_common::nodes::ARCHITECTURES;

const EXAMPLE: &str = include_str!("../../../../docs/proxydhcp.toml.example");

const KEYS: &str = "the keys are allow-loss, bcd, burst, config, control, control-group, ethers, \
                    fleet-name, fleet-range, fleet-state, hosts, interface, loaders, log-format, metrics, next-server, no-pin, \
                    offer-delay, offers, outlive, path, rate-limit, reply-format, source, source-ca, \
                    source-login, suffix, tftp, tftp-root, unknown, vendor-class, watch, web-config, xdp-mode";

fn serve_flags() -> Command {
    ServeArgs::augment_args(Command::new("serve"))
}

fn write(text: impl AsRef<[u8]>) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("proxydhcp.toml");
    fs::write(&path, text).unwrap();
    (folder, path)
}

/// The arguments of `serve` with a file that contains `text`, these flags and these defaults.
fn serve(text: &str, flags: &[&str], defaults: &[(&str, &str)]) -> ServeArgs {
    let (cli::Command::Serve(args), _) = read(text, flags, defaults) else {
        panic!("no other command was given");
    };
    *args
}

/// What these flags and defaults are read as, with a file that contains `text`.
fn read(text: &str, flags: &[&str], defaults: &[(&str, &str)]) -> (cli::Command, Context) {
    let (_folder, path) = write(text);
    let command = ["proxydhcp", "serve", "--settings", path.to_str().unwrap()];
    Cli::read([&command, flags].concat(), defaults).unwrap()
}

/// What is wrong with a file, and where.
fn fault(text: impl AsRef<[u8]>) -> String {
    let (_folder, path) = write(text);
    let error = SettingsFile::read(Some(&path), &serve_flags()).unwrap_err();
    let path = path.display().to_string();
    let error = error.to_string();
    error.strip_prefix(&path).expect(&error).to_owned()
}

#[test]
fn an_unknown_key_is_told_with_the_known_ones() {
    let cases = [
        (
            "# a\nhsots = \"/etc/hosts\"",
            format!(":2:1: unknown key \"hsots\" (did you mean hosts?); {KEYS}"),
        ),
        (
            "zzz = 1\nhsots = 1",
            format!(":1:1: unknown key \"zzz\"; {KEYS}"),
        ),
        // The flag that names the file and the short form of a flag are not keys.
        (
            "settings = \"/x\"",
            format!(":1:1: unknown key \"settings\"; {KEYS}"),
        ),
        ("i = []", format!(":1:1: unknown key \"i\"; {KEYS}")),
        ("\"\\n\" = 1", format!(":1:1: unknown key \"\\n\"; {KEYS}")),
    ];
    for (text, told) in cases {
        assert_eq!(fault(text), told, "{text}");
    }
}

#[test]
fn a_value_that_is_not_taken_is_told_with_what_is() {
    let cases = [
        (
            "hosts = 3",
            ":1:9: hosts takes text in quotes, and this is an integer",
        ),
        (
            "hosts.a = \"x\"",
            ":1:1: hosts takes text in quotes, and this is a table",
        ),
        (
            "interface = \"eth1\"",
            ":1:13: interface takes a list of texts in quotes, such as [\"a\", \"b\"], \
             and this is a string",
        ),
        (
            "interface = [\n  \"ä\", true]",
            ":2:8: interface takes text in quotes, and this is a boolean",
        ),
        (
            "path = \"fast\"",
            ":1:8: path does not take \"fast\": it is one of auto, kernel, af-xdp, raw",
        ),
        (
            "reply-format = \"PXE\"",
            ":1:16: reply-format does not take \"PXE\": it is one of pxe, xcat",
        ),
        (
            "next-server = \"10.0.0.256\"",
            ":1:15: next-server does not take \"10.0.0.256\": invalid IPv4 address syntax; \
             `proxydhcp serve --help` shows what --next-server takes",
        ),
        (
            "rate-limit = \"10\"",
            ":1:14: rate-limit takes a number, and this is a string",
        ),
        (
            "burst = 0",
            ":1:9: burst does not take \"0\": 0 is not in 1..=10000; \
             `proxydhcp serve --help` shows what --burst takes",
        ),
        (
            "config = \"\"",
            ":1:10: config does not take \"\": \
             `proxydhcp serve --help` shows what --config takes",
        ),
        // The parser's own messages.
        (
            "path = raw",
            ":1:8: string values must be quoted, expected literal string",
        ),
        (
            "hosts \"/etc/hosts\"",
            ":1:7: key with no value, expected `=`",
        ),
        ("hosts = \"a\"\nhosts = \"b\"", ":2:1: duplicate key"),
    ];
    for (text, told) in cases {
        assert_eq!(fault(text), told, "{text}");
    }
    assert_eq!(
        fault(b"# \xc3\xa4\n# \xc3\xa4\xff"),
        ":2:4: this is not text (UTF-8); save the file as such"
    );
}

#[test]
fn a_loader_that_cannot_be_is_told_with_the_remedy() {
    let cases = [
        (
            "\n[loaders]\n7 = \"a\"\nhosts = \"/etc/hosts\"",
            ":4:1: \"hosts\" is not an architecture: [loaders] and [bcd] take the numbers 0 to 47; \
             other keys stand above them",
        ),
        (
            "loaders.48 = \"a\"",
            ":1:9: \"48\" is not an architecture: [loaders] and [bcd] take the numbers 0 to 47; \
             other keys stand above them",
        ),
        (
            "[loaders]\n7 = \"../a.efi\"",
            ":2:5: \"../a.efi\" has a '..'; \
             write its plain path below the WinPE's folder",
        ),
        (
            "[loaders]\n7 = \"/Boot/a.efi\"",
            ":2:5: \"/Boot/a.efi\" is absolute; write its path below the WinPE's folder",
        ),
        (
            "[loaders]\n7 = 7",
            ":2:5: loaders.7 takes text in quotes, and this is an integer",
        ),
        (
            "hosts = \"/h\"\n[loaders]\n7 = \"a\"\n07 = \"b\"",
            ":2:2: architecture 7 is given twice; leave one of the two out",
        ),
        (
            "[loaders]\n1=\"1\"\n2=\"2\"\n3=\"3\"\n4=\"4\"\n5=\"5\"\n6=\"6\"\n8=\"8\"",
            ":1:2: there are 9 different loaders, or BCDs for them, and 8 are the limit; \
             give those that no client needs an empty path, 0 = \"\" say",
        ),
        (
            "loaders = \"Boot/a.efi\"",
            ":1:11: loaders takes lines such as 7 = \"Boot/bootmgfw.efi\" in a table of that name, \
             and this is a string",
        ),
        (
            "[bcd]\n7 = \"\"",
            ":1:2: architecture 7 has no BCD; write its path below the WinPE's folder, such as Boot/BCD",
        ),
        (
            "[bcd]\n7 = \"C:\\\\..\\\\BCD\"",
            ":2:5: \"C:\\\\..\\\\BCD\" has a '..'; write its plain path below the WinPE's folder",
        ),
    ];
    for (text, told) in cases {
        assert_eq!(fault(text), told, "{text}");
    }
}

#[test]
fn the_nodes_come_from_a_file_or_from_a_source() {
    let source = "source = \"etcd://localhost/p\"\n";
    assert!(serve(source, &[], &[]).source.source.is_some());
    // A file on the command line wins over a source in the settings, as any option does.
    let args = serve(source, &["--config", "/x"], &[("config", "/callers")]);
    assert!(args.source.source.is_none() && args.config.config == Path::new("/x"));
    let (_folder, path) = write(format!("{source}config = \"/x\"\n"));
    let read = Cli::read(
        ["proxydhcp", "serve", "--settings", path.to_str().unwrap()],
        &[],
    );
    let error = read.unwrap_err().to_string();
    assert!(error.contains("config and source both say"), "{error}");
    let told = fault("source = \"etcd://10.0.0.2/p\"");
    assert!(told.contains("10.0.0.2 is another host"), "{told}");
}

#[test]
fn a_file_that_is_named_must_be_there_and_be_a_file() {
    let told = |path: &Path| {
        let error = SettingsFile::read(Some(path), &serve_flags()).unwrap_err();
        error.to_string()
    };
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("none.toml");
    let shown = missing.display();
    assert_eq!(
        told(&missing),
        format!("{shown}: no such file; check --settings")
    );
    let shown = folder.path().display();
    assert_eq!(
        told(folder.path()),
        format!("{shown}: not a regular file; name the file itself")
    );
}

#[test]
fn a_flag_wins_over_the_file_and_the_file_over_the_callers_defaults() {
    let defaults = [("unknown", "default"), ("control", "/run/other.sock")];
    let file = "unknown = \"ignore\"\ninterface = [\"a\", \"b\"]\nhosts = \"/file\"";

    let args = serve("", &[], &[]);
    assert_eq!(args.unknown, Unknown::Ignore);
    assert_eq!(
        args.control.socket,
        Path::new("/run/proxydhcp/control.sock")
    );

    let args = serve("", &[], &defaults);
    assert_eq!(args.unknown, Unknown::Default);
    assert_eq!(args.control.socket, Path::new("/run/other.sock"));

    let args = serve(file, &[], &defaults);
    assert_eq!(args.unknown, Unknown::Ignore);
    assert_eq!(args.control.socket, Path::new("/run/other.sock"));
    assert_eq!(args.interfaces, ["a", "b"]);
    assert_eq!(args.names.hosts, Path::new("/file"));

    let args = serve(file, &["--unknown", "default", "-i", "c"], &defaults);
    assert_eq!(args.unknown, Unknown::Default);
    assert_eq!(args.names.hosts, Path::new("/file"));
    // A list replaces the other one.
    assert_eq!(args.interfaces, ["c"]);
    assert_eq!(serve("interface = []", &[], &[]).interfaces, [""; 0]);
}

#[test]
fn loaders_are_for_the_file_alone() {
    let loaders = |text| read(text, &[], &[]).1.loaders;
    assert_eq!(
        loaders("[loaders]\n11 = \"Boot/bootaa64.efi\"\n0 = \"\"").paths(),
        ["Boot/bootmgfw.efi", "Boot/bootaa64.efi"]
    );
    assert_eq!(loaders(""), Loaders::default());
}

#[test]
fn a_flag_without_a_value_takes_true_or_false() {
    let flag = Arg::new("id").long("quick").action(ArgAction::SetTrue);
    let command = Command::new("serve").arg(flag);
    for (text, is) in [("quick = true", true), ("quick = false", false)] {
        let file = SettingsFile::parse(text.as_bytes(), &command).unwrap();
        let matches = file.under(command.clone()).get_matches_from(["serve"]);
        assert_eq!(matches.get_flag("id"), is);
    }
    let (at, fault) = SettingsFile::parse(b"quick = \"yes\"", &command).unwrap_err();
    assert_eq!(
        (at, fault.to_string().as_str()),
        (8, "quick takes true or false, and this is a string")
    );
}

#[test]
fn the_example_has_each_key_with_its_default() {
    let is_setting = |line: &&str| line.starts_with(|first: char| !" #".contains(first));
    let uncommented: Vec<&str> = EXAMPLE
        .lines()
        .map(|line| line.strip_prefix('#').filter(is_setting).unwrap_or(line))
        .collect();
    let text = uncommented.join("\n");
    let file = SettingsFile::parse(text.as_bytes(), &serve_flags()).unwrap();
    let named: Vec<&str> = file.values.keys().map(String::as_str).collect();
    let flags = serve_flags();
    let mut known: Vec<&str> = keys(&flags).filter_map(Arg::get_long).collect();
    known.sort_unstable();
    assert_eq!(named, known);
    let (_, table) = text.split_once("\n[loaders]\n").unwrap();
    let table: Vec<_> = table.lines().take_while(|line| !line.is_empty()).collect();
    let numbers = table.iter().filter_map(|line| line.split(' ').next());
    let indexes = Loaders::default().indexes().to_owned();
    let with_one = (0..ARCHITECTURES).filter(|&at| indexes[at].is_some());
    assert!(numbers.eq(with_one.map(|at| at.to_string())), "{table:?}");
    // Of the BCDs, there is an example.
    assert_eq!(file.loaders.bcds().len(), 3);

    // As it stands it changes nothing, and neither do all its settings, except for the
    // examples.
    let as_is = SettingsFile::parse(EXAMPLE.as_bytes(), &serve_flags()).unwrap();
    assert_eq!(as_is, SettingsFile::default());
    // What `echo >>` adds is a setting of the daemon, and not of the last table.
    let added = format!("{EXAMPLE}interface = [\"eth5\"]\n");
    assert_eq!(serve(&added, &[], &[]).interfaces, ["eth5"]);
    let without = |args: ServeArgs| {
        let mut args = args;
        assert!(args.control.settings.file.take().is_some());
        format!("{args:?}")
    };
    // One of these says where the nodes are.
    let text = text.replace("\nconfig = ", "\n#config = ");
    let mut all = serve(&text, &[], &[]);
    assert!(all.source.source.take().is_some() && all.source.source_login.take().is_some());
    assert!(all.fleet_name.take().is_some() && all.fleet_range.take().is_some());
    assert_eq!(all.interfaces, ["eth1", "eth2"]);
    assert!(all.next_server.is_some());
    assert_eq!(all.names.suffixes, ["-ib0", "-pri"]);
    assert!(all.control_group.is_some());
    assert!(all.metrics.is_some() && all.web_config.is_some());
    assert!(all.names.ethers.take().is_some());
    assert_eq!(all.vendor_classes, ["HW-Client"]);
    all.vendor_classes.clear();
    (all.interfaces, all.names.suffixes) = (Vec::new(), Vec::new());
    (all.next_server, all.control_group) = (None, None);
    (all.metrics, all.web_config) = (None, None);
    assert_eq!(without(all), without(serve("", &[], &[])));
}
