//! Decisions, and what becomes of them.

use super::*;

#[test]
fn a_decision_is_signed_taken_and_in_force() {
    let state = State::new();
    let (key, public) = state.key("alice");
    let taken = state.keeper(&[public]);
    let code = id("/etc/new");
    let words = [
        "reject",
        "web",
        &code[..8],
        "--why",
        "CHG-1",
        "--key",
        &key,
        "--yes",
    ];
    let said = state.run(&words).unwrap();
    assert!(said.starts_with("In force"), "{said}");
    let Taken::Decisions(decisions) = next(&taken) else {
        panic!()
    };
    assert_eq!(decisions.len(), 1);
    let decision = &decisions[0];
    assert_eq!(
        (&*decision.who, &*decision.why, decision.verb),
        ("alice", "CHG-1", Verb::Reject)
    );
    assert_eq!(decision.item, Item::Fact(fact("/etc/new")));
    assert_eq!(decision.revision, None, "of all revisions");

    // By its text, and later than the one before although both are of the same second.
    let text = fact("/etc/new").to_string();
    state
        .run(&["approve", "web", &text, "--why", "sorry", "--key", &key, "--yes"])
        .unwrap();
    let Taken::Decisions(later) = next(&taken) else {
        panic!()
    };
    assert!(later[0].at > decision.at);
    let show = state.run(&["show", "web"]).unwrap();
    assert!(
        show.contains("by alice") && show.contains("CHG-1") && show.contains("sorry"),
        "{show}"
    );

    // One that was never seen, as JSON.
    let unseen = serde_json::to_string(&fact("/etc/monthly")).unwrap();
    state
        .run(&[
            "approve", "web", &unseen, "--why", "monthly", "--key", &key, "--yes",
        ])
        .unwrap();
    let Taken::Decisions(unseen) = next(&taken) else {
        panic!()
    };
    assert_eq!(unseen[0].item, Item::Fact(fact("/etc/monthly")));

    // The whole delta is of the newest revision, a lock of all of them; forgetting is of each that there is.
    state
        .run(&[
            "approve", "web", "--all", "--why", "CHG-2", "--key", &key, "--yes",
        ])
        .unwrap();
    let Taken::Decisions(all) = next(&taken) else {
        panic!()
    };
    assert_eq!(
        (&all[0].item, all[0].revision.as_deref()),
        (&Item::Whole, Some("sha256:2"))
    );
    state
        .run(&["lock", "web", "--why", "done", "--key", &key, "--yes"])
        .unwrap();
    let Taken::Decisions(lock) = next(&taken) else {
        panic!()
    };
    assert_eq!((lock[0].verb, &lock[0].revision), (Verb::Lock, &None));
    state
        .run(&[
            "forget",
            "web",
            "--all",
            "--revision",
            "sha256:1",
            "--why",
            "x",
            "--key",
            &key,
            "--yes",
        ])
        .unwrap();
    let Taken::Decisions(forget) = next(&taken) else {
        panic!()
    };
    assert_eq!(
        (forget[0].verb, forget[0].revision.as_deref()),
        (Verb::Forget, Some("sha256:1"))
    );
}

#[test]
fn what_a_key_signs_that_nobody_trusts_is_refused_and_kept_with_the_reason() {
    let state = State::new();
    let (_, trusted) = state.key("alice");
    let (foreign, _) = state.key("mallory");
    let taken = state.keeper(&[trusted]);
    let words = [
        "approve", "web", "--all", "--why", "trust me", "--key", &foreign, "--yes",
    ];
    let error = state.run(&words).unwrap_err();
    assert!(
        error.contains("refused it") && error.contains("not trusted"),
        "{error}"
    );
    let Taken::Refused(why, decisions) = next(&taken) else {
        panic!()
    };
    assert!(why.contains("not trusted") && decisions == 1);
    let aside: Vec<_> = fs::read_dir(state.baselines().join("inbox"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.contains("refused"))
        .collect();
    assert_eq!(aside.len(), 2, "{aside:?}");
}

#[test]
fn without_a_program_it_waits_for_one() {
    let state = State::new();
    let (key, public) = state.key("alice");
    let said = state
        .run(&["lock", "web", "--why", "x", "--key", &key, "--yes"])
        .unwrap();
    assert!(said.contains("does not run"), "{said}");
    let Taken::Decisions(decisions) = next(&state.keeper(&[public])) else {
        panic!()
    };
    assert_eq!(decisions[0].verb, Verb::Lock);
}

#[test]
fn nothing_is_decided_without_a_reason_a_key_and_a_yes() {
    let state = State::new();
    let (key, _) = state.key("alice");
    let error = state
        .run(&["lock", "web", "--why", " ", "--key", &key, "--yes"])
        .unwrap_err();
    assert!(error.contains("--why is empty"), "{error}");
    let error = state
        .run(&["lock", "web", "--why", "x\ny", "--key", &key, "--yes"])
        .unwrap_err();
    assert!(error.contains("one line"), "{error}");
    let error = state.run(&["lock", "web", "--key", &key]).unwrap_err();
    assert!(error.contains("--why"), "{error}");

    fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).unwrap();
    let error = state
        .run(&["lock", "web", "--why", "x", "--key", &key, "--yes"])
        .unwrap_err();
    assert!(
        error.contains("mode 640") && error.contains("chmod 600"),
        "{error}"
    );
    let error = state
        .run(&["keygen", "--as", "alice", "--out", &key])
        .unwrap_err();
    assert!(error.contains("never overwritten"), "{error}");
    assert!(
        !state.baselines().join("inbox").exists(),
        "nothing was handed over"
    );
}

#[test]
fn what_is_no_hand_over_is_refused_and_harms_nothing() {
    let state = State::new();
    let (key, public) = state.key("alice");
    let folder = state.baselines().join("inbox");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("1.decisions"), b"garbage").unwrap();
    std::os::unix::fs::symlink("/dev/zero", folder.join("2.bundle")).unwrap();
    let large = fs::File::create(folder.join("3.bundle")).unwrap();
    large.set_len(inbox::BYTES_MAX + 1).unwrap();
    let mut newer = file::to_bytes(&Overlay::new()).unwrap();
    newer[8] = 9;
    fs::write(folder.join("4.decisions"), newer).unwrap();
    fs::write(
        folder.join("5.decisions"),
        file::to_bytes(&Overlay::new()).unwrap(),
    )
    .unwrap();
    let taken = state.keeper(&[public]);
    for expected in [
        "not a baseline file",
        "cannot be read",
        "more than the",
        "version 9",
        "no decision",
    ] {
        let Taken::Refused(why, 0) = next(&taken) else {
            panic!()
        };
        assert!(why.contains(expected), "{why}");
    }
    // And goes on.
    let said = state
        .run(&["lock", "web", "--why", "x", "--key", &key, "--yes"])
        .unwrap();
    assert!(said.starts_with("In force"), "{said}");
}
