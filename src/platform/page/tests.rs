use super::*;

fn page(html: &str) -> Page {
    Page::parse(Url::parse("http://site.test/a/").unwrap(), html, &Limits::default()).unwrap()
}

fn refused(html: &str, limits: &Limits) -> String {
    Page::parse(Url::parse("http://site.test/").unwrap(), html, limits).err().unwrap().class
}

fn first<'a>(page: &'a Page, css: &str) -> ElementRef<'a> {
    page.select(&selector(css).unwrap()).next().unwrap()
}

#[test]
fn what_is_no_html_is_refused() {
    for text in ["", "  \n", "{\"a\": 1}", "[1, 2]", "just words, 1 < 2", "<?xml version='1.0'?><a/>", "\0\0<p>"] {
        assert_eq!(refused(text, &Limits::default()), "not_html", "{text:?}");
    }
    assert!(Page::parse(Url::parse("http://a/").unwrap(), "[<p>a fragment</p>", &Limits::default()).is_ok());
}

#[test]
fn hostile_pages_end_within_bounds() {
    // Size has to stop them, on a slow machine too.
    let limits = Limits { analysis: Duration::from_mins(5), ..Limits::default() };
    assert_eq!(refused(&"<div>".repeat(1_000_000), &limits), "page_too_large");
    assert_eq!(refused(&"<i></i>".repeat(1_000_000), &limits), "page_too_large");
    assert_eq!(refused(&"x<p>".repeat(8 << 20), &limits), "page_too_large");
    // What is open when a paragraph ends is opened again in the next.
    let open = (0..400).map(|at| format!("<b id={at}>")).collect::<Vec<_>>().concat();
    assert_eq!(refused(&format!("<p>{open}{}", "</p><p>x".repeat(100_000)), &limits), "page_too_large");
}

#[test]
fn a_page_that_takes_too_long_is_given_up() {
    let attributes = (0..200_000).map(|at| format!("a{at} ")).collect::<Vec<_>>().concat();
    let limits = Limits { analysis: Duration::from_millis(1), ..Limits::default() };
    assert_eq!(refused(&format!("<p {attributes}>"), &limits), "dom_analysis_timeout");
}

#[test]
fn hidden_text_is_not_read() {
    let page = page(
        "<title>T</title><p>Two <b>bold</b>ly</p><script>no</script><p hidden>no</p><div style='color:red; DISPLAY : none'>\
         <p>no</p></div><ul><li>one</li><li>two</li></ul><template><p>no</p></template><noscript>yes</noscript>",
    );
    assert_eq!(visible_text(&page.dom.root_element()), "Two boldly one two yes");
    assert_eq!(page.title(), "T");
    assert_eq!(excerpt(&page, 5), "Two b…");
    assert!(!is_visible(&first(&page, "div > p")));
}

#[test]
fn names_come_from_labels_aria_text_and_pictures() {
    let page = page(
        "<label for=e>E-mail <i>*</i></label><input id=e><label>Name <input id=n></label><input id=p placeholder=Phone>\
         <button id=b aria-label='Close it'>x</button><span id=s>Send</span><button id=c aria-labelledby=s></button>\
         <a id=l href=/><img src=i alt=Home></a><input id=i type=submit><a id=t href=/> to  the <b>shop</b></a>",
    );
    let names = ["e", "n", "p", "b", "c", "l", "i", "t"];
    let expected = ["E-mail *", "Name", "Phone", "Close it", "Send", "Home", "Submit", "to the shop"];
    for (id, name) in names.into_iter().zip(expected) {
        assert_eq!(accessible_name(&page, &page.by_id(id).unwrap()), name, "{id}");
    }
    assert_eq!(label_of(&page, &page.by_id("e").unwrap()), "E-mail *");
}

#[test]
fn interactive_elements_are_what_people_can_act_on() {
    let page = page(
        "<a href=/x>x</a><a>no</a><input><input type=hidden><button>b</button><select></select><textarea></textarea>\
         <div role=button>d</div><div role=note>no</div><p tabindex=0>t</p><p tabindex=-1>no</p><p onclick=go()>o</p>\
         <button hidden>no</button>",
    );
    let names: Vec<&str> = page.interactive().iter().map(|element| element.value().name()).collect();
    assert_eq!(names, ["a", "input", "button", "select", "textarea", "div", "p", "p"]);
    assert_eq!(role_of(&page.interactive()[0]), "link");
}

#[test]
fn a_base_moves_relative_links() {
    assert_eq!(page("<p>").base().as_str(), "http://site.test/a/");
    assert_eq!(page("<base href='../b/'><p>").base().as_str(), "http://site.test/b/");
}
