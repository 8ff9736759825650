//! Compiles `proto/*.proto` with protox, so that no installed `protoc` is needed.

use prost_types::field_descriptor_proto::Label;
use std::error::Error;
use std::path::PathBuf;

/// Large messages: one is in every request, the others in hardly any answer. Behind a pointer, what holds them moves
/// through queues and futures at a tenth of the size.
const BOXED: [&str; 7] = [
    ".kvrpcpb.Context",
    ".errorpb.Error",
    ".kvrpcpb.KeyError",
    ".kvrpcpb.ExecDetails",
    ".kvrpcpb.ExecDetailsV2",
    ".yadkvpb.StateMessage",
    ".yadkvpb.CheckMessage",
];

fn main() -> Result<(), Box<dyn Error>> {
    let root = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR")?).join("proto");
    let mut files = Vec::new();
    for entry in std::fs::read_dir(&root)? {
        let path = entry?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "proto")
        {
            files.push(path);
        }
    }
    files.sort();
    println!("cargo:rerun-if-changed={}", root.display());
    let descriptors = protox::compile(&files, [&root])?;
    let services = std::env::var_os("CARGO_FEATURE_GRPC").is_some();
    let mut builder = tonic_prost_build::configure();
    for file in &descriptors.file {
        for message in &file.message_type {
            let fields = message.field.iter();
            for field in fields.filter(|field| BOXED.contains(&field.type_name())) {
                if field.label() != Label::Repeated {
                    let path = format!(".{}.{}.{}", file.package(), message.name(), field.name());
                    builder = builder.boxed(path);
                }
            }
        }
    }
    builder
        .build_client(services)
        .build_server(services)
        .build_transport(services)
        .generate_default_stubs(true)
        .codec_path("crate::grpc::SizedCodec")
        .bytes(".")
        .compile_fds(descriptors)?;
    Ok(())
}
