//! Words that mean the same: what people call things on pages, without any model.

use std::collections::BTreeSet;

/// Words of one meaning, the first stands for all. Only what user interfaces say; ordinary language has more.
const SYNONYMS: &[&[&str]] = &[
    &["login", "signin", "logon", "signon", "authenticate"],
    &["logout", "signout", "logoff", "signoff"],
    &["register", "signup", "join", "enroll", "enrol", "subscribe"],
    &["buy", "purchase", "order", "checkout", "pay", "payment"],
    &["book", "reserve", "booking", "reservation"],
    &[
        "submit", "send", "apply", "go", "proceed", "continue", "next", "confirm", "ok", "accept", "agree", "finish",
        "done",
    ],
    &["cancel", "abort", "dismiss", "decline", "reject"],
    &["close", "hide", "collapse"],
    &["open", "show", "expand", "view", "display", "see"],
    &["delete", "remove", "erase", "trash", "discard", "clear"],
    &["edit", "change", "modify", "update", "rename"],
    &["save", "store", "keep", "persist"],
    &["add", "create", "new", "insert", "plus"],
    &["search", "find", "lookup", "query", "filter", "q"],
    &["back", "previous", "prev", "return"],
    &["more", "details", "detail", "info", "about", "information", "read"],
    &["settings", "preferences", "options", "config", "configuration", "setup"],
    &["account", "profile", "user", "username", "me", "member"],
    &["email", "mail"],
    &["password", "pass", "passwd", "pwd", "passphrase", "secret"],
    &["phone", "tel", "telephone", "mobile", "cell"],
    &["postcode", "zip", "zipcode", "postal"],
    &["country", "nation", "region"],
    &["city", "town", "locality"],
    &["address", "street", "addr"],
    &["date", "day", "when", "calendar"],
    &["from", "origin", "departure", "depart", "outbound", "start", "begin"],
    &["to", "destination", "arrival", "arrive", "inbound", "end", "until"],
    &["quantity", "qty", "amount", "count", "number", "num"],
    &["seat", "place", "chair"],
    &["ticket", "pass", "admission"],
    &["passenger", "traveller", "traveler", "guest", "visitor", "person"],
    &["cart", "basket", "bag"],
    &["price", "cost", "fare", "total"],
    &["card", "creditcard", "cc"],
    &["name", "fullname"],
    &["firstname", "givenname", "forename", "fname"],
    &["lastname", "familyname", "surname", "lname"],
    &["message", "comment", "note", "remark", "feedback"],
    &["help", "support", "faq"],
    &["home", "start", "index", "main"],
    &["contents", "toc", "overview", "outline"],
    &["download", "export", "get"],
    &["upload", "import", "attach"],
    &["copy", "duplicate", "clone"],
    &["language", "lang", "locale"],
    &["yes", "on", "enable"],
    &["no", "off", "disable"],
    &["menu", "navigation", "nav"],
    &["picture", "image", "photo", "img", "avatar"],
    &["first", "begin"],
    &["last", "final"],
];

/// Two words that are written as one elsewhere.
const PAIRS: &[(&str, &str, &str)] = &[
    ("log", "in", "login"),
    ("sign", "in", "login"),
    ("log", "out", "logout"),
    ("sign", "out", "logout"),
    ("sign", "up", "register"),
    ("check", "out", "checkout"),
    ("e", "mail", "email"),
    ("first", "name", "firstname"),
    ("given", "name", "firstname"),
    ("last", "name", "lastname"),
    ("family", "name", "lastname"),
    ("user", "name", "account"),
    ("zip", "code", "postcode"),
    ("postal", "code", "postcode"),
    ("post", "code", "postcode"),
    ("pass", "word", "password"),
    ("credit", "card", "card"),
    ("look", "up", "search"),
];

/// Words that tell nothing apart.
const EMPTY: &[&str] = &[
    "the",
    "a",
    "an",
    "of",
    "and",
    "or",
    "for",
    "your",
    "my",
    "our",
    "this",
    "that",
    "is",
    "are",
    "please",
    "here",
    "click",
    "btn",
    "button",
    "link",
    "input",
    "field",
    "text",
    "txt",
    "box",
    "el",
    "id",
    "form",
    "label",
    "item",
    "icon",
    "wrapper",
    "container",
    "row",
    "col",
    "div",
    "span",
    "lbl",
    "ctl",
    "ctrl",
    "http",
    "https",
    "www",
    "html",
    "htm",
    "php",
    "js",
];

/// The words of a text or a name, small and without endings: `userNames` gives `user`, `name`.
pub(super) fn words(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut word = String::new();
    let mut before = ' ';
    for c in text.chars() {
        let starts_new = before.is_lowercase() && c.is_uppercase() || before.is_alphabetic() && c.is_ascii_digit();
        if (!c.is_alphanumeric() || starts_new) && !word.is_empty() {
            found.push(stemmed(&std::mem::take(&mut word)));
        }
        if c.is_alphanumeric() {
            word.extend(c.to_lowercase());
        }
        before = c;
    }
    if !word.is_empty() {
        found.push(stemmed(&word));
    }
    found
}

/// Endings that change with grammar and not with meaning.
fn stemmed(word: &str) -> String {
    let keep = |ending: &str| word.strip_suffix(ending).filter(|stem| stem.len() >= 4 && stem.is_ascii());
    if word.ends_with("ss") || word.ends_with("us") || word.ends_with("is") {
        return word.to_owned();
    }
    match keep("ies") {
        Some(stem) => format!("{stem}y"),
        None => word.strip_suffix('s').filter(|stem| stem.len() >= 3 && stem.is_ascii()).unwrap_or(word).to_owned(),
    }
}

/// What the words of a text mean: one word for each meaning.
pub(super) fn meanings(text: &str) -> BTreeSet<String> {
    let words = words(text);
    let mut found = BTreeSet::new();
    let mut at = 0;
    while at < words.len() {
        let pair =
            words.get(at + 1).and_then(|next| PAIRS.iter().find(|(one, two, _)| *one == words[at] && two == next));
        let word = pair.map_or(words[at].as_str(), |(_, _, whole)| whole);
        at += if pair.is_some() { 2 } else { 1 };
        if !EMPTY.contains(&word) {
            found.insert(meaning(word).to_owned());
        }
    }
    found
}

/// The word that stands for all of its meaning.
fn meaning(word: &str) -> &str {
    let same = SYNONYMS.iter().find(|group| group.contains(&word));
    same.map_or(word, |group| group[0])
}

/// What a control is for, after its kind, its `autocomplete` and its name: one of a few families.
pub(super) fn purpose(kind: &str, autocomplete: &str, names: &str) -> Option<&'static str> {
    const FAMILIES: &[(&str, &[&str])] = &[
        ("password", &["password", "current-password", "new-password"]),
        ("email", &["email"]),
        ("phone", &["tel", "phone", "tel-national"]),
        ("search", &["search"]),
        ("postcode", &["postal-code", "postcode"]),
        ("country", &["country", "country-name"]),
        ("city", &["address-level2", "city"]),
        ("street", &["street-address", "address-line1", "address"]),
        ("firstname", &["given-name", "firstname"]),
        ("lastname", &["family-name", "lastname"]),
        ("name", &["name"]),
        ("card", &["cc-number", "card"]),
        ("date", &["date", "bday", "datetime-local", "month", "week"]),
        ("account", &["username", "account"]),
        ("quantity", &["number", "quantity"]),
    ];
    let known = |word: &str| FAMILIES.iter().find(|(_, words)| words.contains(&word)).map(|(family, _)| *family);
    let said = autocomplete.split_ascii_whitespace().next_back().and_then(known);
    let by_kind =
        || if matches!(kind, "password" | "email" | "tel" | "search" | "date" | "number") { known(kind) } else { None };
    said.or_else(by_kind).or_else(|| meanings(names).iter().find_map(|word| known(word)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_means_the_same_is_the_same() {
        for (one, other) in [
            ("Log in", "signin"),
            ("Sign-in", "loginButton"),
            ("Book now", "Reserve now"),
            ("E-mail address", "email_addr"),
            ("Find", "searchBox"),
            ("Categories", "category"),
            ("ZIP code", "postcode"),
        ] {
            assert_eq!(meanings(one), meanings(other), "{one:?} and {other:?}");
        }
        assert!(meanings("Cancel").is_disjoint(&meanings("Save")));
        assert_eq!(words("userNames2FA"), ["user", "name", "2fa"]);
    }

    #[test]
    fn controls_have_a_purpose() {
        assert_eq!(purpose("text", "section-a billing postal-code", ""), Some("postcode"));
        assert_eq!(purpose("email", "", "x"), Some("email"));
        assert_eq!(purpose("text", "", "Your telephone"), Some("phone"));
        assert_eq!(purpose("text", "", "anything"), None);
    }
}
