//! Figures in a terminal: by its own graphics protocol where it has one, else as coloured half blocks.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use icy_sixel::SixelImage;
use resvg::tiny_skia::{Pixmap, Transform};
use resvg::usvg::fontdb::Database;
use resvg::usvg::{Options, Tree};

use crate::output::Bundle;

/// How this terminal shows pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// The kitty graphics protocol.
    Kitty,
    /// iTerm2's inline images.
    Iterm,
    /// DEC sixels.
    Sixel,
    /// Two pixels a character, in 24-bit colours.
    Blocks,
    /// No pictures.
    Text,
}

/// The protocol of this terminal, as its environment tells; `REBIT_FIGURES` (`kitty`, `iterm`, `sixel`,
/// `blocks`, `text`) overrules it.
pub fn protocol() -> Protocol {
    protocol_from(|name| std::env::var(name).unwrap_or_default())
}

fn protocol_from(env: impl Fn(&str) -> String) -> Protocol {
    match env("REBIT_FIGURES").as_str() {
        "kitty" => return Protocol::Kitty,
        "iterm" => return Protocol::Iterm,
        "sixel" => return Protocol::Sixel,
        "blocks" => return Protocol::Blocks,
        "text" => return Protocol::Text,
        _ => {}
    }
    let (term, program) = (env("TERM"), env("TERM_PROGRAM"));
    // tmux and screen do not pass graphics on.
    if !env("TMUX").is_empty() || term.starts_with("screen") {
        return Protocol::Blocks;
    }
    if term.contains("kitty") || term.contains("ghostty") || !env("KITTY_WINDOW_ID").is_empty() {
        Protocol::Kitty
    } else if ["iTerm.app", "WezTerm", "vscode", "mintty"].contains(&program.as_str()) {
        Protocol::Iterm
    } else if ["foot", "mlterm", "yaft"]
        .iter()
        .any(|name| term.starts_with(name))
        || term.contains("sixel")
    {
        Protocol::Sixel
    } else if term == "dumb" || term.is_empty() {
        Protocol::Text
    } else {
        Protocol::Blocks
    }
}

/// The picture in a bundle (PNG or SVG) as text for the terminal, `columns` wide at most; `None` without
/// a picture or a way to show it.
pub fn draw(bundle: &Bundle, protocol: Protocol, columns: usize) -> Option<String> {
    if protocol == Protocol::Text {
        return None;
    }
    let picture = picture(bundle)?;
    Some(match protocol {
        Protocol::Kitty => kitty(&picture.encode_png().ok()?),
        Protocol::Iterm => iterm(&picture.encode_png().ok()?),
        Protocol::Sixel => sixel(&picture)?,
        Protocol::Blocks | Protocol::Text => blocks(&picture, columns.clamp(8, 100)),
    })
}

fn picture(bundle: &Bundle) -> Option<Pixmap> {
    let text = |mime: &str| bundle.get(mime)?.as_str();
    if let Some(png) = text("image/png") {
        let bytes: String = png.split_whitespace().collect();
        return Pixmap::decode_png(&STANDARD.decode(bytes).ok()?).ok();
    }
    let svg = text("image/svg+xml").or_else(|| inline_svg(text("text/html")?))?;
    rasterise(svg)
}

/// An SVG that stands in HTML.
fn inline_svg(html: &str) -> Option<&str> {
    let start = html.find("<svg")?;
    let end = html.rfind("</svg>")? + "</svg>".len();
    html.get(start..end)
}

fn rasterise(svg: &str) -> Option<Pixmap> {
    let mut options = Options::default();
    let fonts = options.fontdb_mut();
    fonts.load_system_fonts();
    // The generic families point to fonts that a Linux machine rarely has.
    if let Some(family) = common_family(fonts) {
        fonts.set_sans_serif_family(family.clone());
        fonts.set_serif_family(family.clone());
        options.font_family = family;
    }
    let tree = Tree::from_str(svg, &options).ok()?;
    let size = tree.size().to_int_size();
    let mut picture = Pixmap::new(size.width(), size.height())?;
    picture.fill(resvg::tiny_skia::Color::WHITE);
    resvg::render(&tree, Transform::identity(), &mut picture.as_mut());
    Some(picture)
}

/// A family for all text: a well-known one that is installed, else any.
fn common_family(fonts: &Database) -> Option<String> {
    let installed = |name: &str| {
        let mut families = fonts.faces().flat_map(|face| &face.families);
        families.any(|(family, _)| family == name)
    };
    let known = [
        "DejaVu Sans",
        "Liberation Sans",
        "Noto Sans",
        "Arial",
        "Helvetica",
    ];
    let any = || Some(fonts.faces().next()?.families.first()?.0.clone());
    match known.into_iter().find(|name| installed(name)) {
        Some(name) => Some(name.to_string()),
        None => any(),
    }
}

/// In pieces of 4096 characters, as the protocol demands.
fn kitty(png: &[u8]) -> String {
    let data = STANDARD.encode(png);
    let mut out = String::new();
    let mut rest = data.as_str();
    let mut control = "a=T,f=100,";
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(rest.len().min(4096));
        let more = u8::from(!after.is_empty());
        out.push_str(&format!("\x1b_G{control}m={more};{piece}\x1b\\"));
        (rest, control) = (after, "");
    }
    out.push('\n');
    out
}

fn iterm(png: &[u8]) -> String {
    let data = STANDARD.encode(png);
    let size = png.len();
    format!("\x1b]1337;File=inline=1;size={size};preserveAspectRatio=1:{data}\x07\n")
}

/// Red, green and blue over white.
fn pixel(picture: &Pixmap, x: u32, y: u32) -> [u8; 3] {
    match picture.pixel(x, y) {
        Some(p) => {
            let white = 255 - p.alpha();
            [p.red() + white, p.green() + white, p.blue() + white]
        }
        None => [255; 3],
    }
}

fn sixel(picture: &Pixmap) -> Option<String> {
    let (width, height) = (picture.width(), picture.height());
    let places = (0..height).flat_map(|y| (0..width).map(move |x| (x, y)));
    let rgba = places
        .map(|(x, y)| pixel(picture, x, y))
        .flat_map(|[r, g, b]| [r, g, b, 255])
        .collect();
    let image = SixelImage::try_from_rgba(rgba, width as usize, height as usize).ok()?;
    Some(image.encode().ok()? + "\n")
}

/// The upper half of a character cell in its foreground, the lower in its background colour.
fn blocks(picture: &Pixmap, columns: usize) -> String {
    let (width, height) = (picture.width() as usize, picture.height() as usize);
    let columns = columns.min(width);
    let rows = (height * columns / width.max(1)).max(2);
    // The mean of the pixels behind half a cell.
    let mean = |column: usize, row: usize| {
        let span = |i: usize, parts: usize, size: usize| {
            let start = i * size / parts;
            start..((i + 1) * size / parts).clamp(start + 1, size.max(start + 1))
        };
        let mut sum = [0u32; 3];
        let mut count = 0;
        for y in span(row.min(rows - 1), rows, height) {
            for x in span(column, columns, width) {
                let colour = pixel(picture, x as u32, y as u32);
                for (s, v) in sum.iter_mut().zip(colour) {
                    *s += u32::from(v);
                }
                count += 1;
            }
        }
        sum.map(|s| s / count.max(1))
    };
    let mut out = String::new();
    for row in (0..rows).step_by(2) {
        for column in 0..columns {
            let [r, g, b] = mean(column, row);
            let [r2, g2, b2] = mean(column, row + 1);
            out.push_str(&format!("\x1b[38;2;{r};{g};{b}m\x1b[48;2;{r2};{g2};{b2}m▀"));
        }
        out.push_str("\x1b[0m\n");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const SVG: &str = "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"24\" height=\"12\">\
                       <rect width=\"24\" height=\"12\" fill=\"#ff0000\"/></svg>";

    fn bundle(mime: &str, text: &str) -> Bundle {
        Bundle::from([(mime.to_string(), text.into())])
    }

    #[test]
    fn a_red_figure_is_red_in_every_protocol() {
        let figure = bundle("image/svg+xml", SVG);
        let blocks = draw(&figure, Protocol::Blocks, 12).unwrap();
        assert_eq!(blocks.lines().count(), 3);
        assert_eq!(blocks.matches('▀').count(), 36);
        assert!(blocks.contains("38;2;255;0;0m\x1b[48;2;255;0;0m"));
        let sixel = draw(&figure, Protocol::Sixel, 12).unwrap();
        let shown = SixelImage::decode(sixel.trim_end().as_bytes()).unwrap();
        assert_eq!((shown.width, shown.height), (24, 12));
        assert!(shown.pixels.chunks(4).all(|p| p == [255, 0, 0, 255]));
        let kitty = draw(&figure, Protocol::Kitty, 12).unwrap();
        assert!(kitty.starts_with("\x1b_Ga=T,f=100,m=0;iVBOR"));
        assert!(
            draw(&figure, Protocol::Iterm, 12)
                .unwrap()
                .contains("inline=1")
        );
        assert!(draw(&figure, Protocol::Text, 12).is_none());
    }

    #[test]
    fn png_and_svg_in_html_are_found_and_nonsense_is_not() {
        let png = rasterise(SVG).unwrap().encode_png().unwrap();
        let png = bundle("image/png", &STANDARD.encode(png));
        assert_eq!(
            draw(&png, Protocol::Blocks, 12),
            draw(
                &bundle("text/html", &format!("<div>{SVG}</div>")),
                Protocol::Blocks,
                12
            )
        );
        assert!(draw(&bundle("image/png", "AAAA"), Protocol::Blocks, 12).is_none());
        assert!(draw(&bundle("text/html", "<b>x</b>"), Protocol::Blocks, 12).is_none());
    }

    #[test]
    fn the_environment_tells_the_protocol() {
        let with = |name: &'static str, value: &'static str| {
            protocol_from(move |asked| match asked == name {
                true => value.to_string(),
                false => String::new(),
            })
        };
        assert_eq!(with("TERM", "xterm-kitty"), Protocol::Kitty);
        assert_eq!(with("TERM_PROGRAM", "iTerm.app"), Protocol::Iterm);
        assert_eq!(with("TERM", "foot"), Protocol::Sixel);
        assert_eq!(with("TERM", "xterm-256color"), Protocol::Blocks);
        assert_eq!(with("TERM", "dumb"), Protocol::Text);
        assert_eq!(with("REBIT_FIGURES", "sixel"), Protocol::Sixel);
    }
}
