//! Each route, and targets that no route serves.

use super::*;
use crate::proto::refusal::Refusal;

#[test]
fn the_two_step_route_keeps_its_suffix_and_query() {
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
        "/streammanager/whip",
        "/streammanager/whip/endpoint/",
        "/streammanager/whep/session/s",
        "/streammanager/api/whip/endpoint/s",
        "/as",
        "/as/v1/",
        "/as/v1/admin/rtcproxy",
        "/as/v1/auth/login",
        "/as/v1/proxy/forward/?target=http://10.0.0.5/",
        "/as/v1/proxy/forward/live/s",
        "/as/v1/proxy/ws/play/live/s",
        "/as/v1/proxy/ws/live/s",
        "/as/v1/proxy/WHIP/live/s",
        "/as/v2/proxy/whip/live/s",
        "/as/v1/streams/stream/ng1",
        "/as/v1/streams/stream/ng1/stream/live/s",
        "/as/v1/streams/stream/ng1/Publish/live/s",
        "/as/v1/streams/provision/ng1/live/s",
        "/as/v1/conference/live/s",
        "/as/v1/whip/endpoint/s",
        "/AS/v1/proxy/whip/live/s",
        "/whip/endpoint/s",
        "/live/whip/endpoint/",
        "/live/whip/session/s",
        "/live/Whip/endpoint/s",
        "/live/whip/endpoint/s/",
        "/live/whip/resource/s/t",
    ] {
        assert_eq!(route(target), Err(Refusal::NoSuchRoute), "{target}");
    }
}

#[test]
fn a_path_with_two_readings_is_refused() {
    for path in [
        "/streammanager//",
        "//streammanager/",
        "/streammanager/%2e%2e/",
        "/streammanager/.",
        "/streammanager/api/4.0/event/../admin/x",
        "/streammanager/api/4.0/event/live/%2E./x",
        "/streammanager/api/4.0/event/live/%252e%252e/x",
        "/streammanager/api/4.0/event/live/%25252e./x",
        "/streammanager/api/4.0/event/live/a%25252525255cx",
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
        "/as/v1/proxy/ws/publish/live/../admin/s",
        "/as/v1/proxy/ws/publish/live/a%2Fb",
        "/as/v1/proxy/ws/publish/s",
        "/as/v1/proxy/whip/s",
        "/as/v1/proxy/whip/live/",
        "/as/v1/streams/stream/ng1/publish/s",
        "/as/v1/proxy/whip/live/%2e%2e/x",
        "/live/whip/endpoint/a%5Cb",
        "/live/whip/endpoint/a%00",
        "/live//whip/endpoint/s",
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
fn an_event_may_be_stored_if_it_is_placement_only() {
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
fn a_missing_stream_with_a_long_name_is_not_stored() {
    let target = |length: usize| {
        format!("/streammanager/api/4.0/event/live/{}?action=subscribe", "a".repeat(length - "live/".len()))
    };
    assert!(event(&target(256)).keep.missing());
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

#[test]
fn the_one_step_route_has_action_path_and_query() {
    let route = route("/as/v1/proxy/ws/subscribe/live/room1/a%20b!$&'()*+,=:@~?nodeGroup=x?id=s").unwrap();
    let Route::OneStep(route) = route else { panic!("{route:?}") };
    assert_eq!((route.action, route.query), (Action::Subscribe, "nodeGroup=x?id=s"));
    assert_eq!(route.path, StreamPath { app: "live/room1", stream: "a%20b!$&'()*+,=:@~" });
}

#[test]
fn whip_has_three_forms() {
    let whip = |target| match route(target) {
        Ok(Route::Whip(WhipRoute { kind, form, stream, .. })) => (kind, form, stream),
        other => panic!("{target}: {other:?}"),
    };
    let (endpoint, resource) = (Step::Endpoint, Step::Resource);
    assert_eq!(
        whip("/as/v1/proxy/whep/live/room1/s?nodeGroup=ng1"),
        (Kind::Whep, WhipForm::Proxy { app: "live/room1" }, "s")
    );
    assert_eq!(
        whip("/live/room/sub/whip/endpoint/name"),
        (Kind::Whip, WhipForm::Direct { app: "live/room/sub", step: endpoint }, "name")
    );
    assert_eq!(
        whip("/live/whep/resource/s?requestId=r"),
        (Kind::Whep, WhipForm::Direct { app: "live", step: resource }, "s")
    );
    assert_eq!(
        whip("/streammanager/whip/endpoint/s?host=10.0.0.5&app=live"),
        (Kind::Whip, WhipForm::Manager { suffix: "", step: endpoint }, "s")
    );
    assert_eq!(
        whip("/streammanager/room1/whip/resource/s"),
        (Kind::Whip, WhipForm::Manager { suffix: "/room1", step: resource }, "s")
    );
}

#[test]
fn only_a_players_question_to_the_streams_service_may_be_stored() {
    use EventKind::*;
    for (rest, kind, keep) in [
        ("publish/live/s", Other, Keep::Never),
        ("publish/live/s?region=a", Other, Keep::Never),
        ("subscribe/live/s", Subscribe, Keep::Both),
        (
            "subscribe/live/room1/s?subGroup=a&subgroup=a&strict=true&endpoints=2&region=a,b",
            Subscribe,
            Keep::Both,
        ),
        ("subscribe/live/s?subGroup=a&subGroup=b", Subscribe, Keep::Never),
        ("subscribe/live/s?transcode=false", Subscribe, Keep::Never),
        ("subscribe/live/s?restream=true", Subscribe, Keep::Never),
        ("subscribe/live/s?token=x", Subscribe, Keep::Never),
        ("subscribe/live/s?action=subscribe", Subscribe, Keep::Never),
        ("subscribe/live/s?region=undefined", Subscribe, Keep::Never),
    ] {
        let target = format!("/as/v1/streams/stream/ng1/{rest}");
        let event = event(&target);
        assert_eq!((event.kind, event.keep, event.target), (kind, keep, target.as_str()), "{rest}");
    }
    assert_eq!(event("/as/v1/streams/stream/undefined/subscribe/live/s").keep, Keep::Never);
    assert_eq!(event("/as/v1/streams/stream/ng1/subscribe/live/room1/s").name, "live/room1/s");
    let long = format!("/as/v1/streams/stream/ng1/subscribe/live/{}", "s".repeat(300));
    assert_eq!(event(&long).keep, Keep::Found);
    let admin = "/as/v1/streams/stream/ng1/subscribe/live/s?accessToken=x";
    assert_eq!(route(admin), Err(Refusal::AdminParameter));
}

#[test]
fn a_stream_name_has_a_longest_length() {
    let name = |length: usize| route_of(format!("/live/whip/endpoint/{}", "s".repeat(length)));
    assert!(name(545).is_ok());
    assert_eq!(name(546), Err(Refusal::NoSuchRoute));
    let name = |length: usize| route_of(format!("/as/v1/proxy/whip/live/{}", "s".repeat(length)));
    assert!(name(545).is_ok());
    assert_eq!(name(546), Err(Refusal::BadTarget));
}

fn route_of(target: String) -> Result<(), Refusal> {
    route(&target).map(drop)
}
