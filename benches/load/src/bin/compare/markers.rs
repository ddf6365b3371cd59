//! Parts of a text that a program writes, between markers.

/// The text with what stands between the markers of a name replaced.
pub(crate) fn replace(text: &str, name: &str, content: &str) -> Result<String, String> {
    let (start, end) = (format!("<!-- compare {name} -->\n"), format!("<!-- /compare {name} -->"));
    let missing = |marker: &str| format!("the line `{}` is missing", marker.trim_end());
    let (before, rest) = text.split_once(&start).ok_or_else(|| missing(&start))?;
    let (_, after) = rest.split_once(&end).ok_or_else(|| missing(&end))?;
    Ok(format!("{before}{start}{}\n{end}{after}", content.trim_end()))
}

#[test]
fn only_what_is_between_the_markers_changes() {
    let text =
        "a\n<!-- compare x -->\nold\n<!-- /compare x -->\nb\n<!-- compare y -->\n<!-- /compare y -->\n";
    let new = replace(text, "x", "new\n").expect("it has markers");
    assert_eq!(new, text.replace("old", "new"));
    assert_eq!(replace(&new, "x", "old"), Ok(text.to_owned()));
    assert!(replace(text, "y", "1").is_ok_and(|new| new.contains("y -->\n1\n<!--")));
    assert!(replace(text, "z", "").is_err_and(|error| error.contains("<!-- compare z -->")));
    assert!(replace("<!-- compare z -->\n", "z", "").is_err_and(|error| error.contains("/compare z")));
}
