//! What a figure contains, read from its SVG.

use super::*;
use crate::show::Show;
use crate::tensors::from_vec;

/// The texts of a figure, in drawing order.
fn texts(figure: &Figure) -> Vec<String> {
    let parts = figure.svg().split("</text>");
    let text = |part: &str| Some(part.rsplit_once('>')?.1.trim().to_string());
    let mut texts: Vec<String> = parts.filter_map(text).collect();
    // After the last text comes the rest of the picture.
    texts.pop();
    texts
}

/// The points of all polylines, in pixels of the figure.
fn polylines(figure: &Figure) -> Vec<Vec<(f64, f64)>> {
    let parts = figure.svg().split("<polyline").skip(1);
    parts
        .map(|part| {
            let points = part
                .split_once("points=\"")
                .unwrap()
                .1
                .split_once('"')
                .unwrap()
                .0;
            let pair = |p: &str| {
                let (x, y) = p.split_once(',').unwrap();
                (
                    x.parse::<f64>().unwrap() / 4.0,
                    y.parse::<f64>().unwrap() / 4.0,
                )
            };
            points.split_whitespace().map(pair).collect()
        })
        .collect()
}

#[test]
fn lines_have_title_axes_legend_and_marks() {
    let figure = lines("Accuracy & loss")
        .x("epoch")
        .y("accuracy, %")
        .series("LTS", [0, 1, 2], [10.0, 50.0, 90.0])
        .dashed("none <yet>", [0, 2], [20.0f32, 30.0])
        .reference("full precision", 95)
        .figure();
    let texts = texts(&figure);
    let expected = [
        "Accuracy &amp; loss",
        "epoch",
        "accuracy, %",
        "LTS",
        "none &lt;yet&gt;",
        "full precision",
        "20",
        "80",
    ];
    for text in expected {
        assert!(
            texts.iter().any(|t| t == text),
            "{text} is not in {texts:?}"
        );
    }
    assert_eq!(figure.size(), (640, 400));
}

#[test]
fn a_curve_is_drawn_where_its_values_are() {
    let figure = lines("").series("", [0, 1, 2], [0.0, 1.0, 0.5]).figure();
    let curves = polylines(&figure);
    let curve = curves
        .iter()
        .find(|c| c.len() == 3 && c[1].1 < c[0].1)
        .unwrap();
    let [(x0, y0), (x1, y1), (x2, y2)] = curve[..] else {
        panic!("{curve:?}");
    };
    // Equal steps to the right; half the height is half way up (to a quarter of a pixel).
    assert!((x1 - x0 - (x2 - x1)).abs() <= 0.25, "{curve:?}");
    assert!(((y0 + y1) / 2.0 - y2).abs() <= 0.25, "{curve:?}");
}

#[test]
fn values_that_cannot_be_drawn_leave_a_gap() {
    let gap = [1.0, 2.0, f64::NAN, 1.5, 1.0];
    let whole = [1.0, 2.0, 1.0, 1.5, 1.0];
    let curves = |ys: [f64; 5]| polylines(&lines("").series("", 0..5, ys).figure()).len();
    assert_eq!(curves(gap), curves(whole) + 1);
    let log = lines("")
        .series("", 0..3, [1.0, 0.0, -3.0])
        .log_y()
        .figure();
    assert!(!log.svg().contains("NaN") && !log.svg().contains("inf"));
}

#[test]
fn a_long_curve_keeps_its_peaks_and_becomes_small() {
    let mut ys: Vec<f64> = (0..200_000).map(|i| (i as f64 / 3000.0).sin()).collect();
    ys[123_457] = 9.0;
    let points: Vec<(f64, f64)> = ys.iter().enumerate().map(|(i, &y)| (i as f64, y)).collect();
    let thin = thinned(&points, 400);
    assert!(thin.len() <= 1600);
    assert!(thin.contains(&(123_457.0, 9.0)));
    assert!(thin.windows(2).all(|w| w[0].0 < w[1].0));
    assert_eq!(
        (thin[0], thin[thin.len() - 1]),
        (points[0], points[199_999])
    );
    let figure = lines("").series("", 0..200_000, &ys).figure();
    assert!(figure.svg().len() < 60_000, "{}", figure.svg().len());
}

#[test]
fn a_mistake_of_the_caller_is_an_error_that_names_it() {
    let uneven = lines("A").series("LTS", [1, 2], [1.0]).try_figure();
    let message = uneven.unwrap_err().to_string();
    assert!(
        message.contains("LTS") && message.contains("2 x and 1 y"),
        "{message}"
    );
    let band = lines("A")
        .series("", [1, 2], [1, 2])
        .band([0.5], [1.5])
        .try_figure();
    assert!(band.unwrap_err().to_string().contains("around 2 points"));
    assert!(lines("A").band([1], [2]).try_figure().is_err());
    assert!(bars("B", ["a", "b"]).series("s", [1]).try_figure().is_err());
    assert!(heatmap("C", 2, 2, [1, 2, 3]).try_figure().is_err());
    assert!(histogram("D").bins(0).try_figure().is_err());
    assert!(lines("E").size(10, 10).try_figure().is_err());
    let two_channels = from_vec(vec![0.0; 8], (1, 2, 2, 2)).unwrap();
    assert!(images("F").batch(&two_channels).try_figure().is_err());
}

#[test]
fn figures_without_data_are_drawn_too() {
    let figures = [
        lines("").figure(),
        lines("none")
            .series("s", [0.0; 0], [0.0; 0])
            .log_x()
            .log_y()
            .figure(),
        histogram("none").series("s", [0.0; 0]).figure(),
        histogram("one")
            .series("s", [3.0])
            .threshold("t", 3.0)
            .figure(),
        bars("none", [""; 0]).figure(),
        bars("zeros", ["a"]).series("", [0.0]).figure(),
        scatter("none").figure(),
        heatmap("one", 1, 1, [f64::NAN]).figure(),
        images("none").figure(),
        row([]),
    ];
    for figure in figures {
        assert!(!figure.svg().contains("NaN"), "{}", figure.svg());
    }
}

#[test]
fn a_histogram_counts_each_value_once() {
    let figure = histogram("")
        .series("", [0.0, 0.1, 0.9, 1.0, 1.0])
        .bins(2)
        .figure();
    // Outline: foot, 2 of 5 in the lower half, 3 of 5 in the upper half, foot.
    let outline = polylines(&figure)
        .into_iter()
        .find(|l| l.len() == 6)
        .unwrap();
    let height = |i: usize| outline[0].1 - outline[i].1;
    assert!(
        (height(1) / height(3) - 2.0 / 3.0).abs() < 0.01,
        "{outline:?}"
    );
}

#[test]
fn the_ticks_of_a_histogram_stand_on_its_axis_and_are_named_once() {
    let chart = histogram("").series("", [0.0, 1.0]).bins(2);
    let before = polylines(&chart.clone().figure()).len();
    let figure = chart.ticks("levels", [0.25, 0.5, f32::NAN]).figure();
    let lines = polylines(&figure);
    let strokes: Vec<_> = lines
        .iter()
        .filter(|l| l.len() == 2 && l[0].0 == l[1].0)
        .collect();
    // The entry in the legend is a horizontal line.
    assert!(lines.len() >= before + 3 && strokes.len() >= 2, "{lines:?}");
    assert_eq!(figure.svg().matches("levels").count(), 1);
}

#[test]
fn bars_are_as_long_as_their_values() {
    let figure = bars("", ["a", "b"])
        .series("", [2.0, -1.0])
        .values(1)
        .figure();
    let heights: Vec<f64> = figure
        .svg()
        .split("<rect ")
        .filter(|r| r.contains("#0072B2"))
        .map(|r| {
            let height = r.split_once(" height=\"").unwrap().1;
            height.split_once('"').unwrap().0.parse().unwrap()
        })
        .collect();
    assert_eq!(heights.len(), 2);
    assert!((heights[0] / heights[1] - 2.0).abs() < 0.02, "{heights:?}");
    let texts = texts(&figure);
    assert!(
        texts.contains(&"2.0".into()) && texts.contains(&"-1.0".into()),
        "{texts:?}"
    );
}

#[test]
fn figures_side_by_side_keep_their_size() {
    let figure = || lines("A").size(300, 200).figure();
    let both = row([figure(), figure()]);
    assert_eq!(both.size(), (600, 200));
    assert!(both.svg().contains("<svg x=\"300\" y=\"0\""));
    let grid = column([row([figure(), figure()]), figure()]);
    assert_eq!(grid.size(), (600, 400));
    assert_eq!(
        grid.svg().matches("<svg").count(),
        grid.svg().matches("</svg>").count()
    );
}

#[test]
fn a_notebook_shows_no_figure_wider_than_its_page() {
    let panel = || lines("A").size(430, 320).figure();
    let wide = row([panel(), panel(), panel()]);
    assert_eq!(wide.size(), (860, 640), "the third goes on below");
    let shown = |figure: &Figure| {
        let bundle = figure.bundle();
        let svg = bundle["image/svg+xml"].as_str().unwrap().to_string();
        svg.split_once('>').unwrap().0.to_string()
    };
    let root = shown(&wide);
    assert!(root.contains("width=\"690\" height=\"513\""), "{root}");
    assert!(root.contains("viewBox=\"0 0 860 640\""), "{root}");
    assert!(root.contains("max-width:100%;height:auto"), "{root}");
    assert!(shown(&panel()).contains("width=\"430\" height=\"320\""));
    assert!(wide.svg().contains("width=\"860\" height=\"640\""));
}

#[test]
fn a_figure_is_saved_as_svg_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let figure = lines("A").figure();
    let path = folder.path().join("a.svg");
    figure.save(&path).unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), figure.svg());
    assert!(figure.save(folder.path().join("a.png")).is_err());
    // A folder that is not there is made; a file in its place is an error.
    figure.save(folder.path().join("new/folder/b.svg")).unwrap();
    assert!(figure.save(path.join("c.svg")).is_err());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
    // XML has no place for a control character.
    let escaped = lines("A\u{1b}[1m <b>").figure();
    assert!(!escaped.svg().contains('\u{1b}') && escaped.svg().contains('\u{fffd}'));
}

#[test]
fn a_live_figure_holds_every_point_of_every_panel() {
    let mut live = LiveFigure::new("loss").with_panel("accuracy").x("step");
    for step in 0..50 {
        live.push("train", step, 1.0 / (step + 1) as f32);
        live.push_to(1, "test", step, step);
    }
    let figure = live.figure();
    assert_eq!(figure.size(), (800, 300));
    let summary = format!("{figure:?}");
    assert!(
        summary.contains("train: 50 points, from 1.0000 at 0 to 0.0200 at 49"),
        "{summary}"
    );
    assert!(summary.contains("test: 50 points"), "{summary}");
}
