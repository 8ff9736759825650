//! The public protocol as `tags.txt` lists it, against the `.proto` files as they compile: every name, number and
//! type, both ways. A number that differs would make every client misread us without an error.
#![allow(clippy::unwrap_used, missing_docs)]

use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorProto,
};
use std::collections::BTreeSet;
use std::path::PathBuf;

/// Our own packages: nobody else speaks them.
const OURS: [&str; 3] = ["yadkvpb", "storagepb", "placementpb"];

/// One line a fact: `message NAME`, `field NAME NUMBER NAME: TYPE`, `enum …`, `value …`, `method …`.
type Facts = BTreeSet<String>;

fn listed() -> Facts {
    let mut facts = Facts::new();
    let mut service = String::new();
    for line in include_str!("../tags.txt").lines() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(name) = line.strip_prefix("service ") {
            service = name.to_owned();
            facts.insert(format!("service {service}"));
        } else if let Some(method) = line.strip_prefix("  ") {
            facts.insert(format!("method {service}/{method}"));
        } else {
            let (kind, line) = match line.strip_prefix("enum ") {
                Some(line) => ("enum", line),
                None => ("message", line),
            };
            let (name, rest) = line.split_once(" {").unwrap();
            facts.insert(format!("{kind} {name}"));
            let rest = rest.strip_suffix('}').unwrap().trim();
            for member in rest.split(" · ").filter(|member| !member.is_empty()) {
                facts.insert(format!("{kind} {name} {member}"));
            }
        }
    }
    facts
}

fn compiled() -> Facts {
    let root = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/proto"));
    let files: Vec<_> = std::fs::read_dir(&root)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    let mut facts = Facts::new();
    for file in protox::compile(&files, [&root]).unwrap().file {
        if !OURS.contains(&file.package()) {
            add_file(&mut facts, &file);
        }
    }
    facts
}

fn add_file(facts: &mut Facts, file: &FileDescriptorProto) {
    let package = file.package();
    assert_eq!(file.syntax(), "proto3", "{package}");
    for message in &file.message_type {
        add_message(facts, package, message);
    }
    for each in &file.enum_type {
        add_enum(facts, package, each);
    }
    for service in &file.service {
        let name = format!("{package}.{}", service.name());
        facts.insert(format!("service {name}"));
        for method in &service.method {
            let stream = |on: bool| if on { "stream " } else { "" };
            facts.insert(format!(
                "method {name}/{}({}{}) -> {}{}",
                method.name(),
                stream(method.client_streaming()),
                &method.input_type()[1..],
                stream(method.server_streaming()),
                &method.output_type()[1..],
            ));
        }
    }
}

fn add_message(facts: &mut Facts, scope: &str, message: &DescriptorProto) {
    let name = format!("{scope}.{}", message.name());
    facts.insert(format!("message {name}"));
    for field in &message.field {
        facts.insert(format!(
            "message {name} {} {}: {}",
            field.number(),
            field.name(),
            field_type(message, field)
        ));
    }
    for nested in &message.nested_type {
        if !nested
            .options
            .as_ref()
            .is_some_and(|options| options.map_entry())
        {
            add_message(facts, &name, nested);
        }
    }
    for each in &message.enum_type {
        add_enum(facts, &name, each);
    }
}

fn add_enum(facts: &mut Facts, scope: &str, each: &EnumDescriptorProto) {
    let name = format!("{scope}.{}", each.name());
    facts.insert(format!("enum {name}"));
    for value in &each.value {
        facts.insert(format!("enum {name} {} {}", value.number(), value.name()));
    }
}

/// The type as the list writes it: `repeated T`, `map<K,V>`, `oneof GROUP: T`.
fn field_type(message: &DescriptorProto, field: &FieldDescriptorProto) -> String {
    if let Some(entry) = message.nested_type.iter().find(|nested| {
        nested
            .options
            .as_ref()
            .is_some_and(|options| options.map_entry())
            && field.type_name().ends_with(&format!(".{}", nested.name()))
    }) {
        return format!("map<{},{}>", plain(&entry.field[0]), plain(&entry.field[1]));
    }
    let plain = plain(field);
    match (field.label(), field.oneof_index) {
        (Label::Repeated, _) => format!("repeated {plain}"),
        (_, Some(group)) => {
            let group = message.oneof_decl[group as usize].name();
            format!("oneof {group}: {plain}")
        }
        _ => plain,
    }
}

fn plain(field: &FieldDescriptorProto) -> String {
    match field.r#type() {
        Type::Message | Type::Enum => field.type_name()[1..].to_owned(),
        other => format!("{other:?}").to_lowercase(),
    }
}

#[test]
fn the_compiled_protocol_is_the_listed_one() {
    let (listed, compiled) = (listed(), compiled());
    assert!(listed.len() > 1000, "the list was not read");
    let missing: Vec<_> = listed.difference(&compiled).collect();
    let extra: Vec<_> = compiled.difference(&listed).collect();
    assert!(
        missing.is_empty() && extra.is_empty(),
        "listed but not compiled: {missing:#?}\ncompiled but not listed: {extra:#?}"
    );
}
