//! Alerts that go out by mail: over TLS alone, again until they arrive, once, and without
//! anything of a patient.

use std::os::unix::fs::PermissionsExt;

use phial_testkit::fixture::{UNTIED, needles};
use phial_testkit::smtp::Sink;
use phial_testkit::world::{Server, World, fhir, send};
use reqwest::Method;
use serde_json::json;

use crate::clinic::{clinic, pause};

/// A clinic whose home has certificates, and a mail server that uses them.
fn with_mail(starttls: bool) -> (World, Sink) {
    let world = clinic();
    let _ = world.serve().stop();
    let tls = world.home().join("tls");
    let sink = Sink::start(&tls.join("server.pem"), &tls.join("server.key"), starttls);
    let password = world.home().join("mail.password");
    std::fs::write(&password, "s3same open\n").unwrap();
    std::fs::set_permissions(&password, std::fs::Permissions::from_mode(0o600)).unwrap();
    let kind = if starttls { "starttls" } else { "implicit" };
    let config = world.home().join("phial.toml");
    let mut text = std::fs::read_to_string(&config).unwrap_or_default();
    text.push_str(&format!(
        "\n[mail]\nserver = \"{}\"\ntls = \"{kind}\"\nca = \"tls/ca.pem\"\n\
         from = \"phial@clinic.example\"\nto = [\"petra@clinic.example\", \"second@clinic.example\"]\n\
         user = \"phial\"\npassword_file = \"mail.password\"\n",
        sink.address()
    ));
    std::fs::write(&config, text).unwrap();
    (world, sink)
}

fn break_glass(server: &Server) {
    let body = json!({"resourceType": "Parameters", "parameter": [
        {"name": "reason", "valueCode": "emergency-treatment"},
        {"name": "text", "valueString": "found unconscious in the hall"}]});
    let path = format!("Patient/{}/$break-glass", UNTIED.id);
    let _ = send(fhir(server.request("physician", Method::POST, &path), &body)).expect(200);
}

#[test]
fn an_alert_is_mailed_over_tls_and_names_no_patient() {
    for starttls in [false, true] {
        let (world, sink) = with_mail(starttls);
        let server = world.serve();
        break_glass(&server);
        while sink.mails().is_empty() {
            pause();
        }
        let mail = sink.mails().remove(0);
        assert!(mail.contains("Subject: Phial: an alert (break-glass)"), "{mail}");
        assert!(mail.contains("ana has broken the glass"));
        for needle in
            needles().iter().map(String::as_str).chain(["unconscious", "emergency-treatment"])
        {
            assert!(!mail.contains(needle), "{needle}");
        }
        let commands = sink.commands();
        for said in [
            "MAIL FROM:<phial@clinic.example>",
            "RCPT TO:<petra@clinic.example>",
            "RCPT TO:<second@clinic.example>",
        ] {
            assert!(commands.iter().any(|c| c == said), "{said}: {commands:?}");
        }
        assert_eq!(commands.iter().any(|c| c == "STARTTLS"), starttls);
        while world.ok(&["alert", "list", "--as", "petra"])[0]["mailed"].is_null() {
            pause();
        }
        assert_eq!(sink.mails().len(), 1);
    }
}

#[test]
fn an_alert_that_was_not_taken_is_sent_again_also_after_a_restart_and_then_no_more() {
    let (world, sink) = with_mail(false);
    sink.refuse(true);
    let server = world.serve();
    break_glass(&server);
    while sink.calls() < 2 {
        pause();
    }
    let _ = server.stop();
    assert!(sink.mails().is_empty());
    sink.refuse(false);
    let server = world.serve();
    while world.ok(&["alert", "list", "--as", "petra"])[0]["mailed"].is_null() {
        pause();
    }
    let _ = server.stop();
    let server = world.serve();
    break_glass(&server);
    while sink.mails().len() < 2 {
        pause();
    }
    let _ = server.stop();
    assert_eq!(sink.mails().len(), 2, "each alert once");
}

#[test]
fn a_mail_server_that_the_ca_does_not_vouch_for_is_told_nothing() {
    let (world, sink) = with_mail(false);
    // Another home's CA.
    let other = clinic();
    let _ = other.serve().stop();
    let strange = other.home().join("tls/ca.pem");
    std::fs::copy(strange, world.home().join("strange.pem")).unwrap();
    let config = world.home().join("phial.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text.replace("tls/ca.pem", "strange.pem")).unwrap();
    let server = world.serve();
    break_glass(&server);
    while sink.calls() < 2 {
        pause();
    }
    let _ = server.stop();
    assert!(sink.commands().is_empty() && sink.mails().is_empty());
}
