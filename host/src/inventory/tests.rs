//! The rules as tables: what runs, what is asked, what comes of it.

use proto::ctl::{ScaleComponentCommand, UpdateComponentCommand};
use proto::event::Event;

use super::*;

fn id(text: &str) -> ComponentId {
    ComponentId::new(text).expect("an id")
}

fn marks(text: &str) -> Annotations {
    text.split(' ')
        .filter(|text| !text.is_empty())
        .map(|key| (key.to_owned(), String::new()))
        .collect()
}

/// `image*count annotation config`, e.g. `v1*4 a c1`.
fn component(text: &str) -> Component {
    let mut parts = text.split(' ');
    let (image, count) = parts
        .next()
        .and_then(|part| part.split_once('*'))
        .expect("image*count");
    Component {
        image_ref: image.into(),
        max_instances: count.parse().expect("a number"),
        annotations: marks(parts.next().unwrap_or_default()),
        config: parts
            .map(|name| ConfigName::new(name).expect("a name"))
            .collect(),
        limits: None,
        claims: None,
    }
}

fn scale(text: &str, allow_update: bool) -> Command {
    let component = component(text);
    Command::Scale(ScaleComponentCommand {
        component_ref: component.image_ref,
        component_id: id("web"),
        count: component.max_instances,
        annotations: Some(component.annotations),
        component_limits: None,
        host_id: String::new(),
        config: component.config,
        allow_update,
        fence: None,
    })
}

fn running(text: &str) -> Inventory {
    let mut inventory = Inventory::new(HostId::new("NHOST").expect("an id"));
    if !text.is_empty() {
        inventory.apply(Command::Started {
            id: id("web"),
            component: component(text),
        });
    }
    inventory
}

fn short(component: &Component) -> String {
    let marks: Vec<_> = component.annotations.keys().map(String::as_str).collect();
    format!(
        "{}*{} {}",
        component.image_ref,
        component.max_instances,
        marks.join("+")
    )
}

fn show(effects: &[Effect]) -> String {
    let one = |effect: &Effect| match effect {
        Effect::Publish(Event::ComponentScaled(event)) => {
            let marks: Vec<_> = event.annotations.keys().map(String::as_str).collect();
            format!(
                "scaled {}*{} {}",
                event.image_ref,
                event.max_instances,
                marks.join("+")
            )
        }
        Effect::Publish(Event::ComponentScaleFailed(event)) => {
            let marks: Vec<_> = event.annotations.keys().map(String::as_str).collect();
            format!(
                "failed {}*{} {}: {}",
                event.image_ref,
                event.max_instances,
                marks.join("+"),
                event.error
            )
        }
        Effect::Publish(Event::ProviderStarted(event)) => format!("started {}", event.image_ref),
        Effect::Publish(Event::ProviderStartFailed(event)) => {
            format!("failed {}: {}", event.provider_ref, event.error)
        }
        Effect::Publish(Event::ProviderStopped(event)) => format!("stopped {}", event.reason),
        Effect::Publish(other) => format!("{other:?}"),
        Effect::Start { component, .. } => format!("start {}", short(component)),
        Effect::Resize { component, .. } => format!("resize {}", short(component)),
        Effect::Stop(_) => "stop".into(),
        Effect::StartProvider { provider, .. } => format!("start {}", provider.image_ref),
        Effect::StopProvider(_) => "shut down".into(),
    };
    effects
        .iter()
        .map(|effect| one(effect).trim_end().to_owned())
        .collect::<Vec<_>>()
        .join(" | ")
}

/// Carries out starts and resizes as if they went well.
fn settle(inventory: &mut Inventory, command: Command) -> String {
    let mut said = Vec::new();
    let effects = inventory.apply(command);
    said.push(show(&effects));
    for effect in effects {
        match effect {
            Effect::Start { id, component } => {
                said.push(show(&inventory.apply(Command::Started { id, component })))
            }
            Effect::Resize { id, component } => {
                said.push(show(&inventory.apply(Command::Resized { id, component })))
            }
            _ => {}
        }
    }
    said.join(" > ")
}

#[test]
fn scaling_follows_the_protocol() {
    for (case, before, asked, expected, after) in [
        (
            "nothing runs, none wanted",
            "",
            "v1*0 a",
            "scaled v1*0 a",
            "",
        ),
        (
            "first start is announced twice",
            "",
            "v1*4 a",
            "start v1*4 a > scaled v1*4 a | scaled v1*4 a",
            "v1*4 a",
        ),
        (
            "stop tells stored marks and reference",
            "v1*4 a",
            "v2*0 b",
            "stop | scaled v1*0 a",
            "",
        ),
        (
            "same again only tells",
            "v1*4 a",
            "v1*4 a",
            "scaled v1*4 a",
            "v1*4 a",
        ),
        (
            "other marks alone change nothing",
            "v1*4 a",
            "v1*4 b",
            "scaled v1*4 a",
            "v1*4 a",
        ),
        (
            "another count shows the marks of before",
            "v1*4 a",
            "v1*2 b",
            "resize v1*2 b > scaled v1*2 a",
            "v1*2 b",
        ),
        (
            "other configs resize",
            "v1*4 a",
            "v1*4 a c1",
            "resize v1*4 a > scaled v1*4 a",
            "v1*4 a",
        ),
        (
            "another image keeps the image",
            "v1*4 a",
            "v2*2 b",
            "resize v1*2 b > scaled v1*2 a",
            "v1*2 b",
        ),
        (
            "another image, same count, changes nothing",
            "v1*4 a",
            "v2*4 b",
            "scaled v1*4 a",
            "v1*4 a",
        ),
    ] {
        let mut inventory = running(before);
        assert_eq!(
            settle(&mut inventory, scale(asked, false)),
            expected,
            "{case}"
        );
        let now = inventory
            .component(&id("web"))
            .map(short)
            .unwrap_or_default();
        assert_eq!(now, after, "{case}");
    }
}

#[test]
fn an_allowed_update_changes_the_image() {
    let mut inventory = running("v1*4 a");
    assert_eq!(
        settle(&mut inventory, scale("v2*2 b", true)),
        "start v2*2 b > scaled v2*2 b"
    );
}

#[test]
fn scale_replies_name_both_references() {
    let reply = |before: &str, asked: &str, allow: bool| {
        let Command::Scale(request) = scale(asked, allow) else {
            panic!("a scale request")
        };
        let reply = running(before).scale_reply(&request);
        assert!(reply.success);
        reply.message
    };
    assert_eq!(reply("", "v1*1", false), "");
    assert_eq!(reply("v1*1", "v1*9", false), "");
    assert!(reply("v1*1", "v2*1", false).contains("v1 != v2. The component will be scaled but"));
    assert!(reply("v1*1", "v2*1", true).contains("v1 != v2. The component will be scaled, and"));
}

#[test]
fn updates_start_the_new_code_before_the_old_ends() {
    let request = |image: &str| UpdateComponentCommand {
        component_id: id("web"),
        host_id: String::new(),
        new_component_ref: image.into(),
        annotations: Some(marks("b")),
        fence: None,
    };
    assert_eq!(
        running("").update_reply(&request("v2")).message,
        "component web not found"
    );
    assert!(!running("").update_reply(&request("v2")).success);
    assert_eq!(
        running("v1*1").update_reply(&request("v1")).message,
        "component web already updated to v1"
    );
    let mut inventory = running("v1*3 a");
    assert_eq!(
        inventory.update_reply(&request("v2")).message,
        "component web updating from v1 to v2"
    );
    assert_eq!(
        settle(&mut inventory, Command::Update(request("v2"))),
        "start v2*3 b > scaled v2*3 b"
    );
    assert_eq!(settle(&mut inventory, Command::Update(request("v2"))), "");
}

#[test]
fn a_failed_start_leaves_what_runs() {
    let mut inventory = running("v1*3 a");
    let failed = Command::Failed {
        id: id("web"),
        component: component("v2*3 b"),
        error: "no such image".into(),
    };
    assert_eq!(
        show(&inventory.apply(failed)),
        "failed v2*3 b: no such image"
    );
    assert_eq!(
        inventory.component(&id("web")).map(short).as_deref(),
        Some("v1*3 a")
    );
}

#[test]
fn a_provider_starts_once() {
    let request = StartProviderCommand {
        provider_id: id("kv"),
        provider_ref: "file:///kv.par".into(),
        host_id: String::new(),
        config: Vec::new(),
        annotations: None,
        fence: None,
    };
    let mut inventory = running("");
    assert!(inventory.start_provider(&request).success);
    let second = inventory.start_provider(&request);
    assert_eq!(
        (second.success, second.message.as_str()),
        (false, "provider with that ID is already running")
    );
    let effects = inventory.apply(Command::StartProvider(request.clone()));
    assert_eq!(show(&effects), "start file:///kv.par");
    let Some(Effect::StartProvider {
        id: provider_id,
        provider,
    }) = effects.into_iter().next()
    else {
        panic!()
    };
    let started = Command::ProviderStarted {
        id: provider_id,
        provider,
    };
    assert_eq!(
        show(&inventory.apply(started)),
        "started /kv.par",
        "events show no scheme"
    );
    assert_eq!(
        show(&inventory.apply(Command::StopProvider(id("kv")))),
        "shut down | stopped stop"
    );
    assert_eq!(show(&inventory.apply(Command::StopProvider(id("kv")))), "");
    assert!(inventory.start_provider(&request).success);
    let failed = Command::ProviderFailed {
        id: id("kv"),
        image_ref: "file:///kv.par".into(),
        error: "no archive".into(),
    };
    assert_eq!(
        show(&inventory.apply(failed)),
        "failed file:///kv.par: no archive"
    );
    assert!(
        inventory.start_provider(&request).success,
        "a failed start can be tried again"
    );
}

#[test]
fn commands_of_an_earlier_term_are_refused() {
    let mut inventory = running("");
    let fence = |term| {
        Some(Fence {
            controller: "w".into(),
            term,
        })
    };
    assert!(inventory.admit(fence(7).as_ref()).is_ok());
    assert!(
        inventory.admit(None).is_ok(),
        "a person's command has no term"
    );
    assert!(inventory.admit(fence(7).as_ref()).is_ok());
    let refused = inventory.admit(fence(6).as_ref()).expect_err("refused");
    assert!(
        refused.to_string().contains("term 6") && refused.to_string().contains("term 7"),
        "{refused}"
    );
}
