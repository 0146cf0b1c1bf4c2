use super::super::patterns::Pattern;

fn matches(pattern: &str, name: &str) -> bool {
    Pattern::new(pattern)
        .expect("a good expression")
        .matches(name)
}

#[test]
fn the_whole_name_must_match() {
    assert!(matches("a|ab", "ab"));
    assert!(matches("foo.*", "foo.bar-1_x"));
    assert!(!matches("foo", "foobar") && !matches("foo", "xfoo"));
    assert!(matches("(?i)FOO", "foo"));
    assert!(matches(r"\w+-\d{2}", "orders-17") && !matches(r"\w+-\d{2}", "orders-1"));
    assert!(matches(r"\pL+", "abc") && matches("[[:alpha:]]+", "abc"));
    assert!(matches("", "") && !matches("", "a"));
}

#[test]
fn quoted_text_stands_for_itself() {
    assert!(matches(r"\Qa.b\E.*", "a.b.c") && !matches(r"\Qa.b\E.*", "axb"));
    assert!(matches(r"x\Q.+", "x.+"), "up to the end");
    assert!(
        matches(r"\\Q", r"\Q"),
        "an escaped backslash quotes nothing"
    );
    assert!(matches(r"\Q\E\Qa\E", "a"));
    assert!(Pattern::new(r"\Qa\E\").is_err());
}

#[test]
fn what_is_wrong_is_told() {
    let wrong = |pattern: &str| Pattern::new(pattern).expect_err("a bad expression");
    assert_eq!(wrong("("), "unclosed group");
    assert_eq!(wrong("[a"), "unclosed character class");
    assert_eq!(wrong("a)(b"), "unopened group");
    assert!(wrong("*").contains("repetition"));
    assert!(wrong(r"(a)\1").contains("backreference"));
    assert!(wrong("(?=a)").contains("look-around"));
    assert_eq!(wrong(&"a".repeat(9_000)), "it is too large");
    assert_eq!(wrong("(a{1000}){1000}"), "it is too large");
    for unfinished in ["a\\", "(?i", "(?:a", "a{2,1}", "a)(?:b", ")", "[[:alpha:]"] {
        assert!(Pattern::new(unfinished).is_err(), "{unfinished}");
    }
}

#[test]
fn flags_are_those_of_re2() {
    assert!(matches("(?i:FOO)(?-i)bar", "foobar") && matches("(?P<u>a)(?sU).*", "ab"));
    for unknown in ["(?u)a", "(?iu:a)", "a(?-u)", "(?x) a", "(?R)a", r"\\(?u)"] {
        assert!(Pattern::new(unknown).is_err(), "{unknown}");
    }
    // A bracket that may be there, and a letter.
    assert!(matches(r"\(?u", "(u") && matches(r"\(?u", "u"));
}

/// Neither compiling nor matching can be made to take long.
#[test]
fn expressions_meant_to_hurt_do_not() {
    for pattern in [
        "(((a{1000}){1000}){1000}){1000}",
        &"(".repeat(30_000),
        r"(\pL{1000}){1000}",
        &r"[\pL&&a-z]".repeat(20),
    ] {
        assert!(Pattern::new(pattern).is_err());
    }
    assert!(
        Pattern::new(&"a?".repeat(2_000)).is_ok_and(|pattern| pattern.matches(&"a".repeat(249)))
    );
    assert!(!matches("(a*)*b", &"a".repeat(249)));
    assert!(Pattern::new(&"a|".repeat(2_000)).is_ok_and(|pattern| pattern.matches("a")));
}

/// A thousand states for each letter of a name take their time.
#[test]
fn large_expressions_are_matched_with_few_names_at_one_stretch() {
    let per_step = |text: &str| Pattern::new(text).expect("it is sound").matches_per_step;
    assert_eq!(per_step("orders-.*"), per_step("orders-.*|(?i)[^a-z]{20}"));
    assert!(per_step("(?:.?[a-z]?){800}[0-9]") < per_step("orders-.*") / 4);
}
