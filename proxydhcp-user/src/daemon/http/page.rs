//! The files of the page, which are part of the program. They have nothing from elsewhere.

/// What a browser may do with the page: run its scripts and talk to this server.
pub(super) const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
    img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
    require-trusted-types-for 'script'; trusted-types 'none'";

/// A file of the page.
#[derive(Clone, Copy, Debug)]
pub(super) struct File {
    /// The path that it is asked for by.
    path: &'static str,
    pub(super) content: &'static str,
}

macro_rules! script {
    ($name:literal) => {
        File {
            path: concat!("/page/", $name),
            content: include_str!(concat!("page/", $name)),
        }
    };
}

const FILES: [File; 12] = [
    File {
        path: "/",
        content: include_str!("page/index.html"),
    },
    script!("style.css"),
    script!("main.js"),
    script!("decode.js"),
    script!("nodes.js"),
    script!("stream.js"),
    script!("layout.js"),
    script!("cells.js"),
    script!("frames.js"),
    script!("panels.js"),
    script!("chart.js"),
    script!("keys.js"),
];

impl File {
    /// The file with this path, if there is one.
    pub(super) fn find(path: &str) -> Option<Self> {
        FILES.into_iter().find(|file| file.path == path)
    }

    /// Its type, for the header `Content-Type`.
    pub(super) fn content_type(self) -> &'static str {
        match self.path.rsplit_once('.') {
            Some((_, "js")) => "text/javascript; charset=utf-8",
            Some((_, "css")) => "text/css; charset=utf-8",
            _ => "text/html; charset=utf-8",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_nothing_from_elsewhere_and_no_markup_in_scripts() {
        let foreign = [
            "http://",
            "https://",
            "innerHTML",
            "insertAdjacent",
            "document.write",
            "eval(",
        ];
        for file in FILES {
            for text in foreign {
                assert!(!file.content.contains(text), "{}: {text}", file.path);
            }
        }
        let index = File::find("/").unwrap().content;
        for inline in [
            "<script>", "<style", " style=", "onclick=", "onload=", "onerror=",
        ] {
            assert!(!index.contains(inline), "{inline}");
        }
    }

    #[test]
    fn each_import_of_a_script_is_there() {
        for file in FILES {
            for line in file
                .content
                .lines()
                .filter(|line| line.starts_with("import "))
            {
                let name = line.split('"').nth(1).unwrap().trim_start_matches("./");
                assert!(File::find(&format!("/page/{name}")).is_some(), "{line}");
            }
        }
    }
}
