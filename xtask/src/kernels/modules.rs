//! Lists kernel modules in the order in which they can be inserted.

use anyhow::{Result, ensure};

/// Reads `modules.dep` and `modules.builtin`. Returns the files of these modules and of all their
/// dependencies, each after its own dependencies. A module built into the kernel has no file.
///
/// # Errors
/// If the kernel has no such module.
pub(crate) fn insertion_order(
    dependencies: &str,
    builtin: &str,
    wanted: &[&str],
) -> Result<Vec<String>> {
    let mut order: Vec<String> = Vec::new();
    for module in wanted {
        let mut lines = dependencies.lines().filter_map(|line| line.split_once(':'));
        let Some((file, needed)) = lines.find(|(file, _)| name(file) == *module) else {
            let is_builtin = builtin.lines().any(|file| name(file) == *module);
            ensure!(is_builtin, "the kernel has no module {module}");
            continue;
        };
        // modules.dep lists dependencies in reverse order of insertion.
        for file in needed.split_whitespace().rev().chain([file]) {
            if !order.iter().any(|before| before == file) {
                order.push(file.to_owned());
            }
        }
    }
    Ok(order)
}

/// The name of a module's file without its folder, `.ko` and the ending of its compression.
pub(crate) fn name(file: &str) -> &str {
    let file = file.rsplit('/').next().unwrap_or(file);
    file.split('.').next().unwrap_or(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEPENDENCIES: &str = "\
kernel/fs/9p/9p.ko.xz: kernel/net/9p/9pnet.ko.xz kernel/fs/netfs/netfs.ko.xz
kernel/net/9p/9pnet.ko.xz:
kernel/fs/netfs/netfs.ko.xz:
kernel/net/9p/9pnet_virtio.ko.xz: kernel/net/9p/9pnet.ko.xz kernel/drivers/virtio/virtio.ko.xz
kernel/drivers/virtio/virtio.ko.xz:
";

    #[test]
    fn each_module_comes_once_and_after_what_it_needs() {
        let order = insertion_order(DEPENDENCIES, "", &["9pnet_virtio", "9p"]).unwrap();
        let names: Vec<&str> = order.iter().map(|file| name(file)).collect();
        assert_eq!(names, ["virtio", "9pnet", "9pnet_virtio", "netfs", "9p"]);
    }

    #[test]
    fn what_is_built_in_has_no_file() {
        let builtin = "kernel/drivers/char/virtio_console.ko\n";
        let wanted = ["virtio_console", "virtio"];
        let order = insertion_order(DEPENDENCIES, builtin, &wanted).unwrap();
        assert_eq!(order, ["kernel/drivers/virtio/virtio.ko.xz"]);
        let missing = insertion_order(DEPENDENCIES, builtin, &["overlay"]);
        assert_eq!(
            missing.unwrap_err().to_string(),
            "the kernel has no module overlay"
        );
    }
}
