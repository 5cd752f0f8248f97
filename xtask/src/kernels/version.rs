//! The kernels to test on, and the packages of Debian that contain them.

use std::cmp::Reverse;

/// A kernel to test on, under the name that `cargo xtask test kernels` takes.
#[derive(Debug)]
pub(crate) struct Version {
    pub(crate) name: &'static str,
    /// The suites of Debian that have it. Those of security updates are on a separate mirror.
    pub(crate) suites: &'static [&'static str],
    /// Whether Debian no longer supports it, so that the archive may drop it at any time.
    pub(crate) is_past_support: bool,
}

/// The newest kernel that Debian has.
pub(crate) const NEWEST: &str = "newest";

/// From the oldest kernel that the XDP program supports to the newest available.
pub(crate) static VERSIONS: [Version; 5] = [
    Version {
        name: "5.10",
        suites: &["bullseye", "bullseye-security"],
        is_past_support: true,
    },
    Version {
        name: "6.1",
        suites: &["bookworm", "bookworm-security"],
        is_past_support: false,
    },
    Version {
        name: "6.12",
        suites: &["trixie", "trixie-security"],
        is_past_support: false,
    },
    Version {
        name: "6.18",
        suites: &["trixie-backports"],
        is_past_support: false,
    },
    Version {
        name: NEWEST,
        suites: &["trixie-backports"],
        is_past_support: false,
    },
];

/// The packages of one kernel.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Packages {
    /// What `uname -r` prints.
    pub(crate) release: String,
    /// The names of the packages with its image and its modules.
    pub(crate) names: Vec<String>,
}

impl Version {
    /// The packages of the newest build among all available ones, if there is one.
    pub(crate) fn packages(&self, available: &[&str]) -> Option<Packages> {
        let series = numbers(self.name);
        let (_, release, image) = available
            .iter()
            .filter_map(|package| {
                let release = release(package)?;
                let version = numbers(release);
                let is_wanted = self.name == NEWEST || version.starts_with(&series);
                // Of a signed image and the same image unsigned, sites run the signed one.
                let rank = (version, Reverse(package.len()));
                is_wanted.then_some((rank, release, *package))
            })
            .max()?;
        // Since 6.19 the image's package is empty, since 7.2 the lists of modules have one of their own.
        let parts = ["base", "binary", "modules"].map(|part| format!("linux-{part}-{release}"));
        let parts = parts
            .into_iter()
            .filter(|it| available.contains(&it.as_str()));
        let mut names: Vec<String> = parts.collect();
        if names.is_empty() {
            names.push(image.to_owned());
        }
        Some(Packages {
            release: release.to_owned(),
            names,
        })
    }
}

/// The release of the kernel in a package, if it is an ordinary one for servers: not one for clouds
/// only, not a real-time one, and not a name that stands for the newest of a series.
fn release(package: &str) -> Option<&str> {
    let release = package.strip_prefix("linux-image-")?;
    let release = release.strip_suffix("-unsigned").unwrap_or(release);
    let build = release.strip_suffix("-amd64")?;
    let is_plain = build
        .split('-')
        .all(|part| part.starts_with(|c: char| c.is_ascii_digit()));
    (is_plain && numbers(build).len() > 2).then_some(release)
}

/// All numbers in a text: they order 6.12.107+deb13 after 6.12.9+deb13, and distinguish 6.12 from
/// 6.1.
fn numbers(text: &str) -> Vec<u32> {
    text.split(|c: char| !c.is_ascii_digit())
        .filter_map(|digits| digits.parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const AVAILABLE: [&str; 22] = [
        "linux-base",
        "linux-image-6.1-amd64",
        "linux-image-6.1.0-9-amd64",
        "linux-image-6.1.0-45-amd64-unsigned",
        "linux-image-6.1.0-45-amd64",
        "linux-image-6.1.0-46-rt-amd64",
        "linux-image-6.1.0-46-cloud-amd64-unsigned",
        "linux-image-6.1.0-46-amd64-dbg",
        "linux-image-6.1.0-0.deb11.52-amd64",
        "linux-image-6.12.9+deb13-amd64",
        "linux-image-6.12.107+deb13-amd64-unsigned",
        "linux-image-6.12.107+deb13-cloud-amd64",
        "linux-image-7.3.4+deb13-amd64",
        "linux-image-7.3.4+deb13-rt-amd64",
        "linux-base-7.3.4+deb13-amd64",
        "linux-binary-7.3.4+deb13-amd64",
        "linux-binary-unsigned-7.3.4+deb13-amd64",
        "linux-modules-7.3.4+deb13-amd64",
        "linux-modules-7.3.4+deb13-rt-amd64",
        "linux-image-amd64",
        "linux-image-amd64-signed-template",
        "linux-image-7.3.4+deb13-arm64",
    ];

    fn found(name: &str) -> Option<(String, Vec<String>)> {
        let version = VERSIONS.iter().find(|version| version.name == name);
        let packages = version.unwrap().packages(&AVAILABLE)?;
        Some((packages.release, packages.names))
    }

    fn one(release: &str, package: &str) -> (String, Vec<String>) {
        (release.to_owned(), vec![package.to_owned()])
    }

    #[test]
    fn the_newest_build_of_a_series_is_taken() {
        assert_eq!(
            found("6.1"),
            Some(one("6.1.0-45-amd64", "linux-image-6.1.0-45-amd64"))
        );
        assert_eq!(
            found("6.12"),
            Some(one(
                "6.12.107+deb13-amd64",
                "linux-image-6.12.107+deb13-amd64-unsigned"
            ))
        );
        assert_eq!(found("5.10"), None);
    }

    #[test]
    fn a_kernel_in_several_packages_is_all_of_them() {
        let (release, names) = found("newest").unwrap();
        assert_eq!(release, "7.3.4+deb13-amd64");
        assert_eq!(
            names,
            [
                "linux-base-7.3.4+deb13-amd64",
                "linux-binary-7.3.4+deb13-amd64",
                "linux-modules-7.3.4+deb13-amd64"
            ]
        );
    }
}
