//! Text inside HTML.

/// Text as HTML: the five characters with a meaning are replaced, so that it can stand between tags and in
/// a quoted attribute.
///
/// ```
/// assert_eq!(rebit_wire::escape_html("a < 'b' & \"c\""), "a &lt; &#39;b&#39; &amp; &quot;c&quot;");
/// ```
pub fn escape_html(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}
