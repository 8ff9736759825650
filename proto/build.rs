//! Compiles `proto/*.proto` with protox, so that no installed `protoc` is needed.

use std::error::Error;
use std::path::PathBuf;

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
    // Both are large, one is in every request, the other in hardly any answer: behind a pointer, messages move
    // through queues and futures at a tenth of the size.
    let mut builder = tonic_prost_build::configure().boxed("region_error");
    for file in &descriptors.file {
        for message in &file.message_type {
            for field in &message.field {
                if field.type_name() == ".kvrpcpb.Context" {
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
