//! Whether a name was given by a person or made by a program: the made ones change with the next build.

/// Words that say how something looks or what state it is in, not what it is.
const LOOKS_AND_STATES: &[&str] = &[
    "active",
    "selected",
    "disabled",
    "enabled",
    "open",
    "closed",
    "hidden",
    "visible",
    "show",
    "shown",
    "hover",
    "focus",
    "focused",
    "checked",
    "current",
    "first",
    "last",
    "odd",
    "even",
    "left",
    "right",
    "center",
    "row",
    "col",
    "column",
    "container",
    "wrapper",
    "inner",
    "outer",
    "clearfix",
    "flex",
    "grid",
    "block",
    "inline",
    "small",
    "large",
    "big",
    "sm",
    "md",
    "lg",
    "xl",
    "xs",
    "btn",
    "button",
    "link",
    "icon",
    "text",
    "bold",
    "white",
    "dark",
    "light",
    "red",
    "blue",
    "green",
    "primary",
    "secondary",
    "success",
    "danger",
    "warning",
    "info",
    "external",
    "internal",
    "reference",
    "collapsed",
    "expanded",
    "loading",
    "loaded",
    "error",
    "valid",
    "invalid",
    "touched",
    "dirty",
    "pristine",
    "nav",
    "item",
];

/// Beginnings of names that frameworks make.
const MADE_BY: &[&str] = &[
    "css-",
    "sc-",
    "jss",
    "ember",
    "react-",
    "mui-",
    "makestyles-",
    "svelte-",
    "ng-",
    "_ng",
    "ext-gen",
    "ext-comp",
    "yui_",
    "gwt-",
    "radix-",
    "headlessui-",
    "chakra-",
    "mantine-",
    "v-",
    "data-v-",
    "auto-",
    "uid-",
    "uuid-",
    "gen-",
    "el-id-",
    "ui-id-",
    "select2-",
    "cke_",
    "mce_",
    "dnn_",
    "ctl00",
    "__",
    ":r",
];

/// How much a name looks like one that a program made, from 0 (a person's word) to 1.
pub fn generated(name: &str) -> f64 {
    let lower = name.to_ascii_lowercase();
    if name.is_empty() || name.starts_with(':') || is_uuid(&lower) {
        return 1.0;
    }
    let pieces: Vec<&str> =
        lower.split(|c: char| !c.is_ascii_alphanumeric()).filter(|piece| !piece.is_empty()).collect();
    let worst = pieces.iter().map(|piece| piece_generated(piece)).fold(0.0, f64::max);
    let digits = lower.bytes().filter(u8::is_ascii_digit).count();
    let share = f64::from(u32::try_from(digits).unwrap_or(u32::MAX))
        / f64::from(u32::try_from(lower.len()).unwrap_or(u32::MAX));
    let made = if MADE_BY.iter().any(|start| lower.starts_with(start)) { 0.8 } else { 0.0 };
    let mixed = if has_mixed_piece(name) { 0.7 } else { 0.0 };
    worst.max(made).max(mixed).max(if digits > 2 { (share * 1.6).min(1.0) } else { 0.0 })
}

/// One piece between hyphens and underscores.
fn piece_generated(piece: &str) -> f64 {
    let digits = piece.bytes().filter(u8::is_ascii_digit).count();
    let letters = piece.len() - digits;
    let is_hex = piece.bytes().all(|byte| byte.is_ascii_hexdigit());
    let vowels = piece.bytes().filter(|byte| b"aeiouy".contains(byte)).count();
    // How often digits and letters take turns: `h1` once, `x7f3k2` often.
    let turns = piece.as_bytes().windows(2).filter(|two| two[0].is_ascii_digit() != two[1].is_ascii_digit()).count();
    match () {
        () if is_hex && piece.len() >= 6 && digits > 0 => 1.0,
        () if digits >= 5 || turns >= 3 => 0.9,
        () if digits > 1 && letters == 0 => 0.35,
        () if letters > 0 && digits > 0 && piece.len() >= 5 && turns >= 2 => 0.7,
        () if letters >= 6 && vowels == 0 => 0.7,
        () if digits == 1 => 0.2,
        () if digits > 0 => 0.35,
        () => 0.0,
    }
}

/// Small and capital letters in an order that no person writes: `bZkQwR`, but not `userName` or `userID`.
fn has_mixed_piece(name: &str) -> bool {
    name.split(|c: char| !c.is_ascii_alphanumeric()).any(|piece| {
        let turns = piece
            .as_bytes()
            .windows(2)
            .filter(|two| two[0].is_ascii_lowercase() && two[1].is_ascii_uppercase())
            .count();
        turns >= 2 && turns * 3 >= piece.len()
    })
}

fn is_uuid(name: &str) -> bool {
    let parts: Vec<usize> = name.split('-').map(str::len).collect();
    parts == [8, 4, 4, 4, 12] && name.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit())
}

/// Whether a class says what an element is: neither made by a program nor a look nor a state.
pub fn is_telling_class(class: &str) -> bool {
    let lower = class.to_ascii_lowercase();
    let mut pieces = lower.split(['-', '_', ':', '/']).filter(|piece| !piece.is_empty());
    class.len() > 2
        && generated(class) < 0.3
        && !pieces.all(|piece| piece.len() < 3 || LOOKS_AND_STATES.contains(&piece))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_people_are_told_from_those_of_programs() {
        for name in [
            "email",
            "sign-in",
            "userName",
            "booking_form",
            "search-box",
            "userID",
            "main",
            "nav-home",
            "departureDate",
        ] {
            assert!(generated(name) < 0.3, "{name}: {}", generated(name));
        }
        for name in [
            "css-1q2w3e",
            "sc-bdVaJa",
            ":r1:",
            "ember1234",
            "a3f9c2b1",
            "3f2504e0-4f89-11d3-9a0c-0305e82c3301",
            "input_8f3a9c",
            "jss42",
            "x7f3k2",
            "Button_root__3xY7a",
            "react-select-2-input",
            "item-10293",
        ] {
            assert!(generated(name) >= 0.3, "{name}: {}", generated(name));
        }
    }

    #[test]
    fn looks_and_states_tell_nothing() {
        assert!(is_telling_class("seat-map") && is_telling_class("checkout") && is_telling_class("btn-checkout"));
        assert!(
            !is_telling_class("active")
                && !is_telling_class("col-md-6")
                && !is_telling_class("btn-lg")
                && !is_telling_class("css-9z8y7x")
        );
    }
}
