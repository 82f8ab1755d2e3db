//! Secrets in configurations: invalid ones, which are refused with a reason, and valid ones, which are shown and served.

use super::markers::Channel;
use super::scene::{EVENT, Scene, look_at_operator_views};
use crate::harness::{Reply, Request};
use std::process::Command;

/// Invalid configurations with a secret in each: `check`, `run` and a reload report the mistake without the secret.
pub fn wrong_configurations(scene: &mut Scene) {
    let folder = scene.takeover.bed.workspace.file("");
    let good = std::fs::read_to_string(folder.join("tidegate.toml")).unwrap();
    let key = scene.mark("a private key", &[]);
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{key}{key}{key}\n-----END PRIVATE KEY-----\n");
    std::fs::write(folder.join("wrong.pem"), &pem).unwrap();
    std::fs::write(folder.join("half.pem"), pem.replace("END", "ENDE")).unwrap();
    let lines = scene.mark("a file of two lines", &[]);
    std::fs::write(folder.join("two-lines"), format!("Bearer {lines}\n{lines}\n")).unwrap();
    let secret = "SECRET";
    let manager = |entry: &str| good.replace("[stream_manager]\n", &format!("[stream_manager]\n{entry}\n"));
    let without: String = good
        .lines()
        .filter(|line| !line.starts_with("authorization"))
        .map(|line| format!("{line}\n"))
        .collect();
    let instead =
        |entry: String| without.replace("[stream_manager]\n", &format!("[stream_manager]\n{entry}\n"));
    let url = scene.takeover.bed.workspace.manager();
    let collector = scene.takeover.bed.workspace.collector();
    let wrong = [
        instead(format!("authorization = \"Bearer {secret}\\u0007\"")),
        instead(format!("authorization = [\"Bearer {secret}\"]")),
        instead(format!("authorization = {{ bearer = \"{secret}\" }}")),
        instead(format!("authorization = {{ bearer = [\"{secret}\"] }}")),
        instead(format!("authorization = \"Bearer {secret}")),
        instead(format!("authorization = Bearer {secret}")),
        instead(format!("authorization = '{secret}' '{secret}'")),
        instead(format!("authorisation = \"Bearer {secret}\"")),
        instead(format!("password = \"{secret}\"")),
        instead(format!("authorization = \"file:{}\"", folder.join("two-lines").display())),
        instead("authorization = \"env:TIDEGATE_TEST_NOWHERE\"".to_owned()),
        manager(&format!("authorization = \"Bearer {secret}\"")),
        good.replace(&format!("http://{url}"), &format!("http://user:{secret}@{url}")),
        good.replace(&format!("http://{url}"), &format!("http://{url}/?token={secret}")),
        good.replace(&format!("\"http://{url}\""), &format!("[\"http://user:{secret}@{url}\"]")),
        good.replace("[stream_manager]", &format!("[[stream_manager]]\nauthorization = \"{secret}\"")),
        format!(
            "stream_manager = [{{ authorization = \"{secret}\" }}]\n{}",
            good.replace("[stream_manager]", "[x]")
        ),
        good.replace("[admin]\n", &format!("[admin]\ntoken = \"{secret}\"\n")),
        good.replace("[admin]\n", &format!("[admin]\ntoken = [\"{secret}\"]\n")),
        good.replace(
            "[admin]\n",
            &format!("[admin]\ntoken = \"file:{}\"\n", folder.join("two-lines").display()),
        ),
        good.replace(&format!("http://{collector}"), &format!("http://user:{secret}@{collector}")),
        good.replace(&format!("\"http://{collector}\""), &format!("[\"http://{collector}?key={secret}\"]")),
        good.replace("headers = \"file:", &format!("headers = \"x-api-key={secret},file:")),
        good.replace("ecdsa.key.pem", "wrong.pem"),
        good.replace("ecdsa.key.pem", "half.pem"),
        good.replace("ecdsa.chain.pem", "wrong.pem"),
        manager(&format!("ca = \"{}\"", folder.join("wrong.pem").display())),
    ];
    let file = folder.join("wrong.toml");
    for (n, text) in wrong.into_iter().enumerate() {
        assert_ne!(text, good, "a change");
        let secret = scene.mark(format!("invalid configuration {n}"), &[]);
        let text = text.replace("SECRET", &secret);
        std::fs::write(&file, &text).unwrap();
        for words in [&["check"][..], &["check", "--effective"], &["run"], &["doctor"]] {
            let output = Command::new(env!("CARGO_BIN_EXE_tidegate"))
                .args(words)
                .arg("--config")
                .arg(&file)
                .output()
                .unwrap();
            assert!(!output.status.success() || words == ["doctor"], "{words:?} of {text}");
            scene.markers.record(Channel::Commands, [output.stdout, output.stderr].concat());
        }
        std::fs::write(folder.join("tidegate.toml"), &text).unwrap();
        let (code, output) = scene.takeover.bed.gateway.reload();
        assert_ne!(code, Some(0), "{output}");
        scene.markers.record(Channel::Commands, output);
    }
    std::fs::write(folder.join("tidegate.toml"), &good).unwrap();
}

/// Valid configurations are shown for every source of their secret; then this process and its successor serve them.
pub fn good_configurations(scene: &mut Scene) {
    let from_file = scene.mark("authorization, from a file", &[Channel::Manager]);
    let file = scene.takeover.bed.workspace.file("secret");
    std::fs::write(&file, format!("Basic {from_file}\n")).unwrap();
    // the secret is in the file, as it is served already
    show(scene, &from_file);
    for (n, authorization) in
        ["env:TIDEGATE_TEST_SECRET".to_owned(), format!("file:{}", file.display())].into_iter().enumerate()
    {
        scene.takeover.configure(|config| config.set("stream_manager.authorization", authorization));
        assert_eq!(scene.takeover.bed.gateway.reload().0, Some(0));
        show(scene, &from_file);
        scene.takeover.bed.manager.answer(&format!("/again{n}"), Reply::node(scene.takeover.bed.ip(1)));
        scene.exchange(&Request::get(&format!("{EVENT}/again{n}?action=subscribe")), 200);
    }
    scene.takeover.upgrade();
    scene.exchange(&Request::get(&format!("{EVENT}/after?action=subscribe")), 200);
    look_at_operator_views(scene);
}

/// What the commands print about the present configuration, with this secret in their environment.
fn show(scene: &mut Scene, secret: &str) {
    for words in [&["check"][..], &["check", "--effective"], &["doctor"]] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
        command.args(words).arg("--config").arg(scene.takeover.bed.workspace.file("tidegate.toml"));
        let output = command.env("TIDEGATE_TEST_SECRET", secret).output().unwrap();
        assert!(output.status.success() || words == ["doctor"], "{output:?}");
        scene.markers.record(Channel::Commands, [output.stdout, output.stderr].concat());
    }
}
