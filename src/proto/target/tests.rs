//! Routes, one by one, and what is none.

use super::*;

#[test]
fn the_two_step_route() {
    let two_step = |suffix, query| Ok(Route::TwoStep { suffix, query });
    assert_eq!(route("/streammanager?id=s"), two_step("", "id=s"));
    assert_eq!(route("/streammanager/??id=s"), two_step("/", "?id=s"));
    assert_eq!(route("/streammanager/room1/?id=s?x"), two_step("/room1/", "id=s?x"));
    assert_eq!(route("/streammanager/apis"), two_step("/apis", ""));
}

#[test]
fn nothing_else_is_served() {
    for target in [
        "/",
        "/streammanagers/",
        "/StreamManager/",
        "/streammanager/api",
        "/streammanager/api/",
        "/streammanager/api/4.0/admin/proxy/clients?accessToken=x",
        "/streammanager/api/4.0/admin/event/meta/live/s",
        "/streammanager/api/4.0/media/live/mediafiles",
        "/streammanager/api/4.0/file/live/s.m3u8",
        "/streammanager/api/5.0/event/live/s",
        "/streammanager/api/4.0/Event/live/s",
        "/streammanager/api/4.0/%65vent/live/s",
        "/streammanager/api/4.0/event",
        "/streammanager/api/4.0/event/",
        "/streammanager/api/4.0/event/live",
        "/streammanager/api/4.0/event/live/",
        "/streammanager/whip/endpoint/s",
        "/as/v1/proxy/ws/publish/live/s?id=s",
        "/as/v1/admin/rtcproxy",
        "/live/whep/endpoint/s",
    ] {
        assert_eq!(route(target), Err(Refusal::NoSuchRoute), "{target}");
    }
}

#[test]
fn a_path_with_two_readings_is_no_path() {
    for path in [
        "/streammanager//",
        "//streammanager/",
        "/streammanager/%2e%2e/",
        "/streammanager/.",
        "/streammanager/api/4.0/event/../admin/x",
        "/streammanager/api/4.0/event/live/%2E./x",
        "/streammanager/api/4.0/event/live/%252e%252e/x",
        "/streammanager/api/4.0/event/live;jsessionid=1/x",
        "/streammanager/api/4.0/event/live%3Bx/x",
        "/streammanager/api/4.0/event/live%2fx",
        "/streammanager/api/4.0/event/live/a%252Fx",
        "/streammanager/api/4.0/event/live/a%5cx",
        "/streammanager/api/4.0/event/live/a\\x",
        "/streammanager/api/4.0/event/live/a%00",
        "/streammanager/api/4.0/event/live/a%0d%0a",
        "/streammanager/api/4.0/event/live/100%",
        "/streammanager/api/4.0/event/live/%zz",
        "/streammanager/api/4.0/event/live/%c0%ae%c0%ae/x",
        "/streammanager/api/4.0/event/live/a#b",
        "streammanager/",
        "",
    ] {
        assert_eq!(route(path), Err(Refusal::BadTarget), "{path}");
    }
}

fn event(rest: &str) -> Event<'_> {
    match route(rest) {
        Ok(Route::Event(event)) => event,
        other => panic!("{rest}: {other:?}"),
    }
}

#[test]
fn events_and_what_may_be_kept_of_them() {
    use EventKind::*;
    for (rest, kind, keep) in [
        ("live/s?action=broadcast", Broadcast, Keep::Both),
        ("live/room1/a%20b&c?action=subscribe", Subscribe, Keep::Both),
        ("live/s?action=subscribe&region=us-east-1&strict=true&endpoints=2", Subscribe, Keep::Both),
        ("live/s?action=broadcast&transcode=false", Broadcast, Keep::Both),
        ("live/s?action=broadcast&transcode=true", Broadcast, Keep::Never),
        ("live/s?action=broadcast&restream=1", Broadcast, Keep::Never),
        ("live/s?action=broadcast&region=a&region=b", Broadcast, Keep::Never),
        ("live/s?action=subscribe&region=undefined", Subscribe, Keep::Never),
        ("live/s?action=subscribe&username=u&password=p", Subscribe, Keep::Never),
        ("live/s?action=subscribe&token=t", Subscribe, Keep::Never),
        ("live/s?action=subscribe&foo=bar", Subscribe, Keep::Never),
        ("live/s?action=subscribe&Region=a", Subscribe, Keep::Never),
        ("live/s?action=subscribe&x", Subscribe, Keep::Never),
        ("live/s?action=subscribe&action=subscribe", Other, Keep::Never),
        ("live/s?Action=subscribe", Other, Keep::Never),
        ("live/s", Other, Keep::Never),
        ("live/room/join", Other, Keep::Never),
        ("list", List, Keep::Both),
        ("list/stats", List, Keep::Both),
        ("live/s/stats", List, Keep::Both),
        ("list?foo=bar", List, Keep::Never),
        ("list?action=subscribe", Other, Keep::Never),
        ("live/stats?action=subscribe", Subscribe, Keep::Both),
    ] {
        let target = format!("/streammanager/api/3.1/event/{rest}");
        let event = event(&target);
        assert_eq!((event.kind, event.keep), (kind, keep), "{rest}");
        assert_eq!(event.target, target);
    }
    let target = "/streammanager/api/1.0/event/live/room1/s?action=subscribe";
    assert_eq!((event(target).name, event(target).stream), ("live/room1/s", "s"));
}

#[test]
fn a_long_name_leaves_nothing_missing() {
    let target = |length: usize| {
        format!("/streammanager/api/4.0/event/live/{}?action=subscribe", "a".repeat(length - "live/".len()))
    };
    assert!(event(&target(256)).missing_keepable());
    assert_eq!(event(&target(257)).keep, Keep::Found);
}

#[test]
fn an_admin_token_is_refused_in_any_disguise() {
    for key in
        ["accessToken", "accesstoken", "ACCESSTOKEN", "acces%73Token", "?accessToken", "%3FaccessToken"]
    {
        let target = format!("/streammanager/api/4.0/event/live/s?action=subscribe&{key}=x");
        assert_eq!(route(&target), Err(Refusal::AdminParameter), "{key}");
    }
}
