//! The S3 client against a real server: SeaweedFS, one process, on loopback. `VMOBS_SEAWEEDFS`
//! names its program; without it the tests say that they were skipped.

#![expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use obs_remote::{Credentials, S3Settings, S3Store};
use obs_testkit::{Program, blob_store_contract, free_port, wait_until};
use obs_types::{BlobError, BlobStore};

const PATIENCE: Duration = Duration::from_secs(90);
const SECRET: &str = "not-to-be-seen-anywhere";

fn credentials(dir: &Path, secret: &str) -> Credentials {
    let path = dir.join(format!("credentials-{}", secret.len()));
    std::fs::write(&path, format!("AWS_ACCESS_KEY_ID=tester\nAWS_SECRET_ACCESS_KEY={secret}\n"))
        .unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
    Credentials::from_file(&path).unwrap()
}

fn settings(endpoint: &str, prefix: &str, credentials: Credentials) -> S3Settings {
    S3Settings {
        bucket: "vmobs".to_owned(),
        prefix: prefix.to_owned(),
        endpoint: Some(endpoint.to_owned()),
        region: "us-east-1".to_owned(),
        credentials,
    }
}

/// A server with one bucket and one user; `None` where the program is not there.
fn seaweedfs(dir: &Path) -> Option<(Program, String)> {
    let weed = std::env::var_os("VMOBS_SEAWEEDFS")?;
    let users = format!(
        r#"{{"identities": [{{"name": "tester", "actions": ["Admin", "Read", "Write", "List"],
            "credentials": [{{"accessKey": "tester", "secretKey": "{SECRET}"}}]}}]}}"#
    );
    let users_file = dir.join("users.json");
    std::fs::write(&users_file, users).unwrap();
    let data = dir.join("weed");
    std::fs::create_dir_all(&data).unwrap();
    let mut arguments = vec![
        "server".to_owned(),
        "-s3".to_owned(),
        "-ip=127.0.0.1".to_owned(),
        "-ip.bind=127.0.0.1".to_owned(),
        "-master.telemetry=false".to_owned(),
        "-volume.max=8".to_owned(),
        "-volume.minFreeSpace=1".to_owned(),
        "-s3.port.iceberg=0".to_owned(),
        "-s3.iam=false".to_owned(),
        format!("-dir={}", data.display()),
        format!("-s3.config={}", users_file.display()),
    ];
    let port = free_port().unwrap();
    for name in ["master.port", "volume.port", "filer.port", "s3.port"] {
        let own = if name == "s3.port" { port } else { free_port().unwrap() };
        arguments.push(format!("-{name}={own}"));
        arguments.push(format!("-{name}.grpc={}", free_port().unwrap()));
    }
    let mut program = Program::start(weed, &arguments, &dir.join("weed.log")).unwrap();
    let endpoint = format!("http://127.0.0.1:{port}");
    let store = S3Store::new(settings(&endpoint, "ready", credentials(dir, SECRET))).unwrap();
    let ready = wait_until(PATIENCE, || {
        if let Some(status) = program.ended().unwrap() {
            panic!("SeaweedFS ended with {status}:\n{}", program.output_tail());
        }
        // The bucket is made by the first object.
        store
            .put_new("ready", b"x")
            .or_else(|e| match e {
                BlobError::Exists { .. } => Ok(()),
                e => Err(e),
            })
            .ok()
    });
    assert!(ready.is_some(), "SeaweedFS is not ready:\n{}", program.output_tail());
    Some((program, endpoint))
}

#[test]
fn a_real_server_keeps_what_every_store_promises() {
    let dir = tempfile::tempdir().unwrap();
    let Some((mut program, endpoint)) = seaweedfs(dir.path()) else {
        println!("skipped: VMOBS_SEAWEEDFS names no SeaweedFS");
        return;
    };
    let good = credentials(dir.path(), SECRET);
    for prefix in ["", "a/b"] {
        let mut s = settings(&endpoint, prefix, good.clone());
        if prefix.is_empty() {
            s.bucket = "whole".to_owned();
        }
        let store = S3Store::new(s).unwrap();
        // Makes the bucket.
        store.put_new("first", b"").unwrap();
        store.delete("first").unwrap();
        blob_store_contract(&store);
    }
    let store = S3Store::new(settings(&endpoint, "a/b", good)).unwrap();
    assert_eq!(store.address(), "s3://vmobs/a/b");

    let wrong = credentials(dir.path(), "wrong");
    let stranger = S3Store::new(settings(&endpoint, "a/b", wrong)).unwrap();
    let refused = stranger.put_new("x", b"x").unwrap_err();
    assert!(matches!(refused, BlobError::Refused { .. }), "{refused}");
    for text in [refused.to_string(), format!("{refused:?} {stranger:?} {store:?}")] {
        assert!(!text.contains(SECRET) && !text.contains("wrong"), "{text}");
    }

    program.kill().unwrap();
    let away = store.get("x").unwrap_err();
    assert!(away.retry(), "{away}");
    assert!(!format!("{away}").contains(SECRET), "{away}");
}

#[test]
fn addresses() {
    let split = |a: &str| S3Store::split_address(a);
    assert_eq!(split("s3://b/c/d/"), Some(("b".to_owned(), "c/d".to_owned())));
    assert_eq!(split("s3://b"), Some(("b".to_owned(), String::new())));
    assert_eq!([split("s3://"), split("file:///x")], [None, None]);
}
