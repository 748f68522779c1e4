use super::*;
use proptest::prelude::*;

const EMPTY_COMPONENT: [u8; 8] = [0, b'a', b's', b'm', 0x0d, 0, 1, 0];
const EMPTY_MODULE: [u8; 8] = [0, b'a', b's', b'm', 1, 0, 0, 0];

fn component_claims(issued_at: u64) -> Claims<Component> {
    let about = Component {
        name: Some("web".into()),
        ver: Some("0.3.0".into()),
        rev: Some(3),
        tags: Some(vec!["a".into()]),
        ..Component::default()
    };
    let subject = KeyPair::new_module().public_key();
    Claims::new(subject, issued_at, about)
}

#[test]
fn a_token_reads_back_and_names_its_issuer() {
    let issuer = crate::nkey::new_account();
    let claims = component_claims(1_700_000_000);
    let token = claims.encode(&issuer).unwrap();
    let found = Claims::<Component>::decode(&token).unwrap();
    assert_eq!(found.issuer, issuer.public_key());
    assert_eq!(found.metadata, claims.metadata);
    assert_eq!(found.revision, Some(3));
}

#[test]
fn a_token_changed_anywhere_is_refused() {
    let issuer = crate::nkey::new_account();
    let token = component_claims(1).encode(&issuer).unwrap();
    for at in (0..token.len()).step_by(7) {
        let mut bytes = token.clone().into_bytes();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(bytes).unwrap();
        assert!(Claims::<Component>::decode(&changed).is_err(), "byte {at}");
    }
    for broken in ["", ".", "..", "a.b.c", &token[..token.len() - 40]] {
        assert!(Claims::<Component>::decode(broken).is_err(), "{broken:?}");
    }
}

#[test]
fn a_token_has_its_time() {
    let mut claims = component_claims(0);
    assert!(claims.check_time(5).is_ok());
    claims.not_before = Some(10);
    claims.expires = Some(20);
    assert!(matches!(claims.check_time(9), Err(ClaimsError::NotYet(10))));
    assert!(claims.check_time(10).is_ok());
    assert!(matches!(
        claims.check_time(20),
        Err(ClaimsError::Expired(20))
    ));
}

#[test]
fn a_signed_component_is_known_and_a_changed_one_refused() {
    let issuer = crate::nkey::new_account();
    let mut wasm = EMPTY_COMPONENT.to_vec();
    wasm.extend([0, 4, 3, b'a', b'b', b'c']);
    assert_eq!(read_component(&wasm, 0).unwrap(), None);
    let signed = sign_component(&wasm, component_claims(0), &issuer).unwrap();
    let found = read_component(&signed, 0).unwrap().unwrap();
    assert_eq!(found.claims.issuer, issuer.public_key());
    assert_eq!(strip(&signed).unwrap(), wasm);
    let again = sign_component(&signed, component_claims(0), &issuer).unwrap();
    assert_eq!(
        strip(&again).unwrap(),
        wasm,
        "signing anew replaces the token"
    );
    let mut changed = signed;
    changed[13] = b'x';
    assert!(matches!(
        read_component(&changed, 0),
        Err(ClaimsError::Hash)
    ));
}

#[test]
fn tokens_of_inner_modules_do_not_count() {
    let inner = embed(&EMPTY_MODULE, "inner").unwrap();
    let mut wasm = EMPTY_COMPONENT.to_vec();
    wasm.extend([1, u8::try_from(inner.len()).unwrap()]);
    wasm.extend(&inner);
    assert_eq!(extract(&wasm).unwrap(), None);
    let mut bare = EMPTY_COMPONENT.to_vec();
    bare.extend([1, 8]);
    bare.extend(EMPTY_MODULE);
    assert_eq!(strip(&wasm).unwrap(), bare);
}

#[test]
fn provider_claims_have_their_recorded_form() {
    crate::test::golden::<Claims<Provider>>(
        r#"{"jti":"x","iat":1,"iss":"A","sub":"V","wascap":{"name":"kv","vendor":"acme","rev":1,"ver":"0.4.1",
            "target_hashes":{"x86_64-linux":"00FF"}},"wascap_revision":3}"#,
    );
    crate::test::golden::<Claims<Host>>(
        r#"{"jti":"x","iat":1,"iss":"A","sub":"N","wascap":{"name":"black-ladybug-2424","labels":{"self_signed":"true"}},
            "wascap_revision":3}"#,
    );
    crate::test::golden::<Claims<Component>>(
        r#"{"jti":"x","iat":1,"iss":"A","sub":"M","exp":9,"nbf":2,
            "wascap":{"name":"web","hash":"00","tags":["a"],"rev":1,"ver":"1","prov":false},"wascap_revision":3}"#,
    );
}

#[test]
fn a_provider_without_name_still_gives_an_event_every_text() {
    let claims = Claims::new("V1", 0, Provider::default());
    let shown = serde_json::to_value(claims.for_event()).unwrap();
    assert_eq!(
        shown,
        serde_json::json!({"issuer":"","tags":null,"name":"","version":"",
            "not_before_human":"never","expires_human":"never"})
    );
}

#[test]
fn a_negative_revision_does_not_make_an_event_unreadable() {
    let mut claims = component_claims(0);
    claims.metadata.as_mut().unwrap().rev = Some(-1);
    assert_eq!(claims.for_event().revision, Some(0));
}

proptest! {
    #[test]
    fn no_bytes_make_the_section_walker_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut wasm = EMPTY_COMPONENT.to_vec();
        wasm.extend(bytes);
        let _ = (extract(&wasm), strip(&wasm));
    }

    #[test]
    fn stripping_undoes_embedding(name in "[a-z]{1,5}", body in prop::collection::vec(any::<u8>(), 0..240)) {
        let mut wasm = EMPTY_COMPONENT.to_vec();
        let mut content = vec![u8::try_from(name.len()).unwrap()];
        content.extend(name.bytes());
        content.extend(body);
        prop_assume!(name != "jwt");
        let length = u8::try_from(content.len()).unwrap();
        let mut padded = wasm.clone();
        wasm.push(0);
        wasm.extend(if length < 0x80 { vec![length] } else { vec![length, 1] });
        wasm.extend(&content);
        padded.extend([0, length & 0x7f | 0x80, length >> 7]);
        padded.extend(&content);
        prop_assert_eq!(strip(&padded).unwrap(), wasm.clone());
        let signed = embed(&wasm, "token").unwrap();
        prop_assert_eq!(extract(&signed).unwrap(), Some("token".to_owned()));
        prop_assert_eq!(strip(&signed).unwrap(), wasm);
    }
}
