//! The oracle of routes.

use crate::oracles::reference;
use crate::proto::red5::route::{self, EventKind, Keep, Route, StreamPath, WhipForm};

/// Asserts that the parts of a route put together are the target that came, that its path has one reading, and that answers
/// are stored only for questions about placement. Input: the target.
pub fn target(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(route) = route::route(text) else { return };
    let (path, query) = text.split_once('?').unwrap_or((text, ""));
    assert!(text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#'));
    for segment in reference::path_segments(path).expect("an admitted path has one reading only") {
        assert!(!matches!(segment.as_slice(), b"." | b".."));
    }
    match route {
        Route::TwoStep { suffix, query: given } => {
            assert_eq!(format!("/streammanager{suffix}"), path);
            assert_eq!(given, query);
            assert!(suffix != "/api" && !suffix.starts_with("/api/"));
        }
        Route::Event(event) if path.starts_with("/as/") => {
            let segments: Vec<&str> = path.split('/').collect();
            assert_eq!(segments[..5], ["", "as", "v1", "streams", "stream"]);
            assert_eq!((event.target, event.name), (text, segments[7..].join("/").as_str()));
            assert!(event.name.contains('/') && event.name.ends_with(event.stream));
            let subscribe = segments[6] == "subscribe";
            assert!(
                subscribe == (event.kind == EventKind::Subscribe) && (subscribe || segments[6] == "publish")
            );
            assert_eq!(event.keep.found(), subscribe && reference::streams_may_be_kept(segments[5], query));
        }
        Route::OneStep(route) => {
            let StreamPath { app, stream } = route.path;
            assert_eq!(format!("/as/v1/proxy/ws/{}/{app}/{stream}", route.action.word()), path);
            assert_eq!(route.query, query);
            assert!(!app.is_empty() && !stream.is_empty() && !stream.contains('/'));
        }
        Route::Whip(route) => {
            let (kind, stream) = (route.kind.word(), route.stream);
            let whole = match route.form {
                WhipForm::Proxy { app } => format!("/as/v1/proxy/{kind}/{app}/{stream}"),
                WhipForm::Direct { app, step } => format!("/{app}/{kind}/{}/{stream}", step.word()),
                WhipForm::Manager { suffix, step } => {
                    format!("/streammanager{suffix}/{kind}/{}/{stream}", step.word())
                }
            };
            assert_eq!((whole.as_str(), route.query), (path, query));
            assert!(!stream.is_empty() && !stream.contains('/'));
            let first = path.split('/').nth(1).unwrap_or_default();
            assert_eq!(first == "as", matches!(route.form, WhipForm::Proxy { .. }));
            assert_eq!(first == "streammanager", matches!(route.form, WhipForm::Manager { .. }));
        }
        Route::Event(event) => {
            let segments: Vec<&str> = path.split('/').collect();
            assert_eq!(segments[..3], ["", "streammanager", "api"]);
            assert!(["1.0", "2.0", "3.0", "3.1", "4.0"].contains(&segments[3]) && segments[4] == "event");
            assert_eq!((event.target, event.name), (text, segments[5..].join("/").as_str()));
            assert_eq!(event.keep.found(), reference::may_be_kept(event.kind, query), "{text}");
            assert!(event.kind != EventKind::Other || event.keep == Keep::Never);
            assert!(event.keep.found() || !event.keep.missing());
        }
    }
}
