use url::Url;

use super::{parse, select};
use crate::platform::locators::survey::Survey;
use crate::platform::page::{Limits, Page};

const PAGE: &str = "<body><nav id=n><ul><li><a href=/a>One</a></li><li><a href=/b>  Two \n words</a></li></ul></nav>\
    <label for=e>E-mail</label><input id=e><label>Yes <input type=checkbox id=y></label>\
    <p>it's \"odd\"</p><ul id=u><li>1<li>2<li>3</ul></body>";

fn found(expression: &str) -> Vec<String> {
    let page = Page::parse(Url::parse("http://site.test/").unwrap(), PAGE, &Limits::default()).unwrap();
    let survey = Survey::of(&page);
    let elements = select(&survey, &parse(expression).unwrap()).unwrap();
    let written = |at: usize| {
        let element = survey.at(at);
        format!("{}{}", element.tag(), element.attribute("id").or(element.attribute("href")).unwrap_or(""))
    };
    elements.into_iter().map(written).collect()
}

#[test]
fn expressions_of_locators_select_what_they_say() {
    let cases: &[(&str, &[&str])] = &[
        ("//a[normalize-space()=\"Two words\"]", &["a/b"]),
        ("/html/body/nav/ul/li[2]/a", &["a/b"]),
        ("//*[@id='n']//a[1]", &["a/a", "a/b"]),
        ("(//a)[2]", &["a/b"]),
        ("(//a)[last()]", &["a/b"]),
        ("//input[@id=//label[normalize-space()=\"E-mail\"]/@for]", &["inpute"]),
        ("//label[normalize-space()='Yes']//input", &["inputy"]),
        ("//p[normalize-space()=concat(\"it's \", '\"odd\"')]", &["p"]),
        ("//ul[@id='u']/li[position()>1][1]", &["li"]),
        ("//a[contains(@href, 'b') and not(starts-with(., 'O'))]/..", &["li"]),
        ("//input[@type='checkbox' or @type=\"radio\"]", &["inputy"]),
        ("//a[text()='One']/ancestor::nav", &["navn"]),
        ("//nav/following-sibling::*[2]", &["inpute"]),
        ("//ul[count(li)=3]", &["ulu"]),
        ("//*[self::nav]", &["navn"]),
        ("//h9", &[]),
    ];
    for (expression, expected) in cases {
        assert_eq!(found(expression), *expected, "{expression}");
    }
}

#[test]
fn what_is_not_known_is_refused_by_name() {
    for (expression, said) in [
        ("//a[", "the name of an element"),
        ("//a[id('x')]", "a function that is known here"),
        ("//a['x", "a string that ends"),
        ("//a]", "the end"),
        ("//preceding::a", "an axis or a test"),
        ("//a[contains(.)]", "contains() with 2 to 2 arguments"),
    ] {
        let error = parse(expression).unwrap_err();
        assert!(error.contains(said), "{expression}: {error}");
    }
    assert!(parse(&format!("//a{}", "[not(".repeat(5_000))).is_err());
}
