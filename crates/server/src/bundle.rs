//! The official client bundle, served from a folder that the operator names.

use std::fs;
use std::io;
use std::path::Path;

use bytes::Bytes;
use http::Response;
use http::header::HeaderMap;

use crate::reply::{self, File};
use crate::settings;

/// The files of the bundle that were there at the start. They are held in memory, so a request cannot name any other file.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bundle {
    files: Vec<(&'static str, File)>,
    is_configured: bool,
}

/// The names that clients ask for, as the official server serves them.
const NAMES: [&str; 8] = [
    "socket.io.js",
    "socket.io.js.map",
    "socket.io.min.js",
    "socket.io.min.js.map",
    "socket.io.esm.min.js",
    "socket.io.esm.min.js.map",
    "socket.io.msgpack.min.js",
    "socket.io.msgpack.min.js.map",
];

/// Largest file that is taken into memory; the official ones are below a tenth of it.
const FILE_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// Why a folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BundleError {
    #[error(
        "no file of the client bundle is there: expected socket.io.js, socket.io.min.js or socket.io.esm.min.js"
    )]
    Empty,
    #[error("cannot read {name}: {error}")]
    Read {
        name: &'static str,
        error: io::Error,
    },
    #[error("{name} is larger than {FILE_BYTES_MAX} bytes")]
    TooLarge { name: &'static str },
}

impl Bundle {
    /// Reads the bundle from a folder.
    pub(crate) fn read(folder: &Path) -> Result<Self, BundleError> {
        let mut files = Vec::new();
        for name in NAMES {
            let path = folder.join(name);
            let size = match fs::metadata(&path) {
                Ok(metadata) => metadata.len(),
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(BundleError::Read { name, error }),
            };
            if size > FILE_BYTES_MAX {
                return Err(BundleError::TooLarge { name });
            }
            let body = fs::read(&path).map_err(|error| BundleError::Read { name, error })?;
            let content_type = if name.ends_with(".map") {
                reply::JSON
            } else {
                "text/javascript; charset=utf-8"
            };
            files.push((name, File::new(content_type, body)));
        }
        if files.is_empty() {
            Err(BundleError::Empty)
        } else {
            Ok(Self {
                files,
                is_configured: true,
            })
        }
    }

    /// The answer for a file name below the Socket.IO path, or nothing when it is not a name of the bundle.
    pub(crate) fn answer(&self, name: &str, request: &HeaderMap) -> Option<Response<Bytes>> {
        let name = NAMES.iter().find(|known| **known == name)?;
        if let Some((_, file)) = self.files.iter().find(|(present, _)| present == name) {
            return Some(file.answer(request));
        }
        let text = if self.is_configured {
            format!(
                "{name} is not in the folder of {}\n",
                settings::CLIENT_DIR.variable
            )
        } else {
            format!(
                "The client bundle is not served here: {} (or {}) names the folder with {name}, such as \
                 node_modules/socket.io-client/dist\n",
                settings::CLIENT_DIR.variable,
                settings::CLIENT_DIR.flag
            )
        };
        Some(reply::not_found(text))
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;
    use http::header::CONTENT_TYPE;

    use super::*;

    fn folder(name: &str) -> std::path::PathBuf {
        let folder =
            std::env::temp_dir().join(format!("synapse-bundle-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    #[test]
    fn files_of_the_bundle_are_served_and_no_others() {
        let folder = folder("served");
        fs::write(folder.join("socket.io.js"), "js").unwrap();
        fs::write(folder.join("socket.io.js.map"), "{}").unwrap();
        fs::write(folder.join("secret.txt"), "secret").unwrap();
        let bundle = Bundle::read(&folder).unwrap();
        fs::remove_dir_all(&folder).unwrap();

        let get = |name: &str| bundle.answer(name, &HeaderMap::new());
        let js = get("socket.io.js").unwrap();
        assert_eq!(
            (js.status(), js.body().as_ref()),
            (StatusCode::OK, &b"js"[..])
        );
        assert_eq!(js.headers()[CONTENT_TYPE], "text/javascript; charset=utf-8");
        assert_eq!(
            get("socket.io.js.map").unwrap().headers()[CONTENT_TYPE],
            reply::JSON
        );
        assert_eq!(
            get("socket.io.min.js").unwrap().status(),
            StatusCode::NOT_FOUND
        );
        for name in [
            "secret.txt",
            "../secret.txt",
            "",
            "socket.io.js/../secret.txt",
            "%2e%2e/secret.txt",
        ] {
            assert!(get(name).is_none(), "{name}");
        }
    }

    #[test]
    fn without_a_folder_the_answer_names_the_setting() {
        let answer = Bundle::default()
            .answer("socket.io.min.js", &HeaderMap::new())
            .unwrap();
        assert_eq!(answer.status(), StatusCode::NOT_FOUND);
        assert!(
            std::str::from_utf8(answer.body())
                .unwrap()
                .contains("SYNAPSE_CLIENT_DIR")
        );
    }

    #[test]
    fn a_folder_without_the_bundle_is_refused() {
        let folder = folder("empty");
        assert!(matches!(Bundle::read(&folder), Err(BundleError::Empty)));
        fs::remove_dir_all(&folder).unwrap();
        assert!(matches!(Bundle::read(&folder), Err(BundleError::Empty)));
    }
}
