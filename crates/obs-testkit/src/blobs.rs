//! What every object store must do, asked of a real one.

use obs_types::{BlobError, BlobStore};

/// Puts, reads, lists and deletes under a prefix of its own; panics where the store differs from
/// what [`BlobStore`] promises. Leaves nothing behind.
pub fn blob_store_contract(store: &dyn BlobStore) {
    let name = "contract/deep/one";
    let bytes: Vec<u8> = (0..70_000_u32).map(|i| (i % 251) as u8).collect();
    assert!(matches!(store.get(name), Err(BlobError::NotFound { .. })));
    assert!(matches!(store.len(name), Err(BlobError::NotFound { .. })));
    assert_eq!(store.list("contract").expect("an empty folder is listed"), []);
    store.put_new(name, &bytes).expect("a new object is taken");
    for other in [&b"other"[..], &bytes] {
        let again = store.put_new(name, other);
        assert!(matches!(again, Err(BlobError::Exists { .. })), "nothing is replaced: {again:?}");
    }
    assert_eq!(store.get(name).expect("it is there"), bytes);
    assert_eq!(store.len(name).expect("it is there"), bytes.len() as u64);
    for (offset, len) in [(0, 1), (65_530, 100), (69_999, 1), (0, 70_000), (5, 0)] {
        let part = store.get_range(name, offset as u64, len).expect("a part of it");
        assert_eq!(Some(part.as_slice()), bytes.get(offset..offset + len));
    }
    assert!(store.get_range(name, 69_999, 2).is_err(), "behind its end");
    store.put_new("contract/empty", b"").expect("an empty object");
    assert_eq!(store.get("contract/empty").expect("it is there"), b"");
    store.put_new("contract-other", b"x").expect("another folder");
    let listed = store.list("contract").expect("a listing");
    let names: Vec<(&str, u64)> = listed.iter().map(|e| (e.name.as_str(), e.bytes)).collect();
    assert_eq!(names, [(name, 70_000), ("contract/empty", 0)]);
    for bad in ["", "/a", "a/../b", "a//b", "a/"] {
        let refused = store.put_new(bad, b"x");
        assert!(matches!(refused, Err(BlobError::BadName { .. })), "{bad:?}: {refused:?}");
    }
    for name in [name, "contract/empty", "contract-other", "contract/never-there"] {
        store.delete(name).expect("deleting");
    }
    assert_eq!(store.list("").expect("a listing"), []);
    // One of many writers wins, and all read its bytes.
    let won: usize = std::thread::scope(|scope| {
        let race = |i: u8| move || store.put_new("contract/race", &[i; 100]).is_ok();
        let all: Vec<_> = (0..8).map(|i| scope.spawn(race(i))).collect();
        all.into_iter().map(|t| usize::from(t.join().unwrap_or(false))).sum()
    });
    assert!(won >= 1, "nobody won");
    let bytes = store.get("contract/race").expect("one of them is there");
    assert!(bytes.len() == 100 && bytes.iter().all(|b| Some(b) == bytes.first()), "torn");
    store.delete("contract/race").expect("deleting");
}
