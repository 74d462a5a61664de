//! Attachments in an S3-compatible bucket: the same content and the same guarantees, and
//! what happens when the other machine fails in the middle.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use phial_testkit::bucket::{ACCESS_KEY_ID, Asked, FakeBucket, Trouble};
use phial_testkit::fixture::BY_TEAM;
use phial_testkit::world::{Server, World};

use crate::attachments::{content, context, path_of, upload};
use crate::clinic::{clinic, findings};

fn world_with(bucket: &FakeBucket) -> World {
    let world = clinic();
    let secret = world.dir().join("bucket.secret");
    fs::write(&secret, "not a secret\n").unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    let toml = format!(
        "[attachments.s3]\nendpoint = \"{}\"\nregion = \"test-1\"\nbucket = \"bucket\"\nprefix = \
         \"phial/one\"\naccess_key_id = \"{ACCESS_KEY_ID}\"\nsecret_access_key_file = \"{}\"\n\
         timeout_s = 2\n",
        bucket.endpoint(),
        secret.display()
    );
    fs::write(world.home().join("phial.toml"), toml).unwrap();
    world
}

fn put(server: &Server, content: &[u8]) -> phial_testkit::world::Answer {
    upload(server, "physician", Some(&context(BY_TEAM)), "a/b", content)
}

/// Above the size of a part, so that it comes in several.
const LARGE: usize = 19 << 20;

#[test]
fn attachments_live_in_a_bucket_too() {
    let bucket = FakeBucket::start();
    let world = world_with(&bucket);
    let server = world.serve();
    let (small, large) = (content(5000), content(LARGE));
    let one = path_of(&put(&server, &small).expect(201));
    let two = path_of(&put(&server, &large).expect(201));
    assert!(server.get("physician", &one).expect(200).body == small);
    assert!(server.get("physician", &two).expect(200).body == large);
    let part = server.request("physician", reqwest::Method::GET, &two);
    let part = phial_testkit::world::send(part.header("range", "bytes=10000000-10000099"));
    assert!(part.expect(206).body == large[10_000_000..10_000_100]);
    assert_eq!(bucket.log().iter().filter(|a| **a == Asked::Part).count(), 3);
    let names = bucket.names();
    assert_eq!(names.len(), 2);
    assert!(names.iter().all(|n| n.starts_with("phial/one/default/")), "{names:?}");
    assert!(!world.home().join("data/default/blobs").exists());
    let _ = server.stop().expect(0);
    assert_eq!(findings(&world, world.home(), &[]), Vec::<String>::new());

    // Someone who holds the bucket.
    let original = bucket.object(&names[0]).unwrap();
    let mut bad = original.clone();
    let last = bad.len() - 1;
    bad[last] ^= 1;
    bucket.put(&names[0], bad);
    assert!(findings(&world, world.home(), &[])[0].contains("was altered"));
    bucket.take(&names[0]);
    assert!(findings(&world, world.home(), &[])[0].contains("is missing"));
    bucket.put(&names[0], original);
    assert_eq!(findings(&world, world.home(), &[]), Vec::<String>::new());

    let _ = world.ok(&["keys", "destroy", "--patient", BY_TEAM.id, "--yes"]);
    assert_eq!(bucket.names(), Vec::<String>::new(), "objects die with the key");
    assert_eq!(findings(&world, world.home(), &[]), Vec::<String>::new());
}

#[test]
fn an_upload_that_fails_in_the_middle_leaves_no_object() {
    let bucket = FakeBucket::start();
    let world = world_with(&bucket);
    let server = world.serve();
    let (small, large) = (content(5000), content(LARGE));
    // Refusals are not tried again; a connection that breaks is, and fails every time.
    for (asked, content) in [
        (Asked::Put, &small),
        (Asked::Begin, &large),
        (Asked::Part, &large),
        (Asked::Complete, &large),
    ] {
        bucket.fail(asked, Trouble::Refused, 1);
        let _ = put(&server, content).expect(503);
        bucket.fail(asked, Trouble::Cut, 50);
        let _ = put(&server, content).expect(503);
        bucket.heal();
        assert_eq!(bucket.names(), Vec::<String>::new(), "{asked:?}");
    }
    // Done, but nobody heard of it: it is not there either once the write has failed.
    for (asked, content) in [(Asked::Put, &small), (Asked::Complete, &large)] {
        bucket.fail(asked, Trouble::DoneThenCut, 50);
        let status = put(&server, content).status;
        bucket.heal();
        assert!(status == 503 || status == 201, "{status}");
        let there = bucket.names().len();
        assert_eq!(there, usize::from(status == 201), "{asked:?}");
        for name in bucket.names() {
            bucket.take(&name);
        }
        assert_eq!(status, 503, "{asked:?}");
    }
    // A connection that breaks once is tried again, and nobody notices.
    bucket.fail(Asked::Put, Trouble::Cut, 1);
    let path = path_of(&put(&server, &small).expect(201));
    bucket.fail(Asked::Get, Trouble::Cut, 1);
    assert!(server.get("physician", &path).expect(200).body == small);
    // A bucket that is away takes the content along, and nothing else.
    bucket.fail(Asked::Head, Trouble::Refused, 50);
    let _ = server.get("physician", &path).expect(503);
    let _ = server.get("physician", &context(BY_TEAM)).expect(200);
    bucket.heal();
    let _ = server.stop().expect(0);
    assert_eq!(findings(&world, world.home(), &[]), Vec::<String>::new());
}

#[test]
fn an_object_that_can_not_be_deleted_now_is_deleted_by_recovery() {
    let bucket = FakeBucket::start();
    let world = world_with(&bucket);
    let server = world.serve();
    bucket.fail(Asked::Put, Trouble::DoneThenCut, 50);
    bucket.fail(Asked::Delete, Trouble::Refused, 50);
    let _ = put(&server, b"content").expect(503);
    assert_eq!(bucket.names().len(), 1, "it is there, and its intent is open");
    bucket.heal();
    let _ = server.kill();
    let _ = world.serve().stop().expect(0);
    assert_eq!(bucket.names(), Vec::<String>::new());
    assert_eq!(findings(&world, world.home(), &[]), Vec::<String>::new());
}

#[test]
fn a_secret_that_others_may_read_stops_the_start() {
    let bucket = FakeBucket::start();
    let world = world_with(&bucket);
    let secret = world.dir().join("bucket.secret");
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o644)).unwrap();
    let ran = world.try_serve().err().expect("it does not start");
    assert!(format!("{}{}", ran.out, ran.err).contains("chmod 600"), "{ran:?}");
}
