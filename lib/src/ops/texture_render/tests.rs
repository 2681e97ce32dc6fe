use dfdx::prelude::{Backward, SumTo, Trace};
use rand::Rng as _;

use super::*;
use crate::ops::{assert_close, cpu, numeric_gradient, wave};
use crate::tensors::{CpuBuffer, from_vec, read, rng};

/// A map of random reads: up to four texels a pixel, some pixels without any.
fn random_map(image: (usize, usize), side: usize, seed: u64) -> TexelMap {
    let mut rng = rng(seed);
    let reads: Vec<Vec<(u16, f32)>> = (0..image.0 * image.1)
        .map(|_| {
            let count = rng.random_range(0..5);
            // Half of the texels only, so that the others are seen nowhere.
            let texel = |rng: &mut crate::Rng| rng.random_range(0..(side * side / 2) as u16);
            (0..count)
                .map(|_| (texel(&mut rng), rng.random_range(0.1..1.0f32)))
                .collect()
        })
        .collect();
    TexelMap::new(image, side, &reads).unwrap()
}

fn buffer(values: &[f32]) -> CpuBuffer {
    crate::ops::buffer(values)
}

#[test]
fn each_pixel_is_the_weighted_sum_of_its_texels() {
    let map = TexelMap::new(
        (2, 2),
        2,
        &[
            vec![(3, 1.0)],
            vec![],
            vec![(0, 0.25), (1, 0.75)],
            vec![(3, 2.0)],
        ],
    )
    .unwrap();
    // Two channels: 1 2 3 4, and 10 20 30 40.
    let texture: Images = from_vec(vec![1., 2., 3., 4., 10., 20., 30., 40.], (1, 2, 2, 2)).unwrap();
    let image = texture_render(texture.leaky_trace(), &[map]);
    assert_eq!(read(&image), [4.0, 0.0, 1.75, 8.0, 40.0, 0.0, 17.5, 80.0]);
    let weights: Images = from_vec(vec![1., 5., 2., 10., 0., 0., 0., 1.], (1, 2, 2, 2)).unwrap();
    let gradient = (image * weights).sum::<(), _>().backward().get(&texture);
    // Texel 3 is read by two pixels, texel 2 by none.
    assert_eq!(read(&gradient), [0.5, 1.5, 0.0, 21.0, 0.0, 0.0, 0.0, 2.0]);
}

#[test]
fn a_map_of_nearest_texels_is_a_product_with_a_sparse_matrix() {
    let (image, side) = ((7, 5), 6);
    let mut rng = rng(3);
    let texels: Vec<Option<u16>> = (0..35)
        .map(|_| rng.random_bool(0.7).then(|| rng.random_range(0..36)))
        .collect();
    let reads: Vec<Vec<(u16, f32)>> = texels
        .iter()
        .map(|t| t.iter().map(|t| (*t, 1.0)).collect())
        .collect();
    let map = TexelMap::new(image, side, &reads).unwrap();
    let texture = wave(3 * 36);
    let x: Images = from_vec(texture.clone(), (1, 3, side, side)).unwrap();
    let found = read(&texture_render(x, &[map]));
    // The matrix in full, a row for each pixel and channel.
    for c in 0..3 {
        for (pixel, texel) in texels.iter().enumerate() {
            let row: Vec<f32> = (0..36).map(|k| f32::from(Some(k) == *texel)).collect();
            let plane = &texture[c * 36..][..36];
            let expected: f32 = row.iter().zip(plane).map(|(r, t)| r * t).sum();
            assert_eq!(found[c * 35 + pixel], expected);
        }
    }
}

#[test]
fn the_gradient_is_the_transpose() {
    for channels in [1, 3, 5] {
        let maps: Vec<TexelMap> = (0..3).map(|k| random_map((23, 11), 16, k)).collect();
        let (n, m) = (3 * 256 * channels, 3 * 253 * channels);
        let (t, g) = (wave(n), wave(n + m)[n..].to_vec());
        let (mut y, mut dt) = (buffer(&vec![0.0; m]), buffer(&vec![0.0; n]));
        cpu()
            .texture_render(&maps, channels, &buffer(&t), &mut y)
            .unwrap();
        cpu()
            .texture_render_grad(&maps, channels, &buffer(&g), &mut dt, false)
            .unwrap();
        let inner = |a: &[f32], b: &[f32]| -> f64 {
            let pairs = a.iter().zip(b);
            pairs.map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
        };
        let (one, two) = (inner(&y, &g), inner(&t, &dt));
        assert!(
            (one - two).abs() <= 1e-6 * one.abs().max(1.0),
            "{one} {two}"
        );
        // And added to what was there.
        let mut twice = buffer(&dt);
        cpu()
            .texture_render_grad(&maps, channels, &buffer(&g), &mut twice, true)
            .unwrap();
        let doubled: Vec<f32> = dt.iter().map(|v| 2.0 * v).collect();
        assert_close(&twice, &doubled, 1e-5);
    }
}

/// Numbers pixel by pixel from numbers plane by plane, and the way back with the two counts exchanged.
fn turned(x: &[f32], channels: usize, pixels: usize) -> Vec<f32> {
    let mut y = vec![0.0; x.len()];
    crate::ops::layout::nchw_to_nhwc(x, channels, pixels, &mut y);
    y
}

#[test]
fn the_order_of_tensors_has_the_same_bits() {
    // More rows than a thread takes at once, and a last piece that is shorter.
    let maps: Vec<TexelMap> = (0..2).map(|k| random_map((70, 40), 64, k)).collect();
    let (texels, pixels) = (4096, 2800);
    for channels in 1..=5 {
        let (t, g) = (wave(2 * texels * channels), wave(2 * pixels * channels));
        let (mut y, mut planes) = (buffer(&vec![0.0; g.len()]), buffer(&vec![9.0; g.len()]));
        let last = buffer(&turned(&t, channels, texels));
        cpu()
            .texture_render(&maps, channels, &last, &mut y)
            .unwrap();
        cpu()
            .texture_render_planes(&maps, channels, &buffer(&t), &mut planes)
            .unwrap();
        assert_eq!(turned(&planes, channels, pixels), **y);
        // Added to what is there.
        let last = buffer(&turned(&g, channels, pixels));
        let mut dt = buffer(&turned(&t, channels, texels));
        cpu()
            .texture_render_grad(&maps, channels, &last, &mut dt, true)
            .unwrap();
        let mut planes = buffer(&t);
        cpu()
            .texture_render_planes_grad(&maps, channels, &buffer(&g), &mut planes)
            .unwrap();
        assert_eq!(turned(&planes, channels, texels), **dt);
    }
}

#[test]
fn gradients_agree_with_finite_differences_and_are_zero_where_nothing_is_seen() {
    let maps = [random_map((6, 5), 4, 1), random_map((6, 5), 4, 2)];
    let values = wave(2 * 3 * 16);
    let loss = |x: Images<crate::Taped>| texture_render(x, &maps).square().sum::<(), _>() * 0.02;
    let at = |v: &[f32]| -> Images { from_vec(v.to_vec(), (2, 3, 4, 4)).unwrap() };
    let numeric = numeric_gradient(&values, 1e-2, |v| read(&loss(at(v).leaky_trace()))[0]);
    let x = at(&values);
    let gradient = read(&loss(x.leaky_trace()).backward().get(&x));
    assert_close(&gradient, &numeric, 2e-3);
    let mut unseen = 0;
    for (i, g) in gradient.iter().enumerate() {
        if !maps[i / 48].seen()[i % 16] {
            assert_eq!(*g, 0.0);
            unseen += 1;
        }
    }
    assert!(unseen >= 2 * 3 * 8);
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    // More rows than a thread takes at once.
    let maps: Vec<TexelMap> = (0..4).map(|k| random_map((64, 40), 64, k)).collect();
    let (t, g) = (wave(4 * 4096 * 3), wave(4 * 2560 * 3));
    let with = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        pool.install(|| {
            let (mut y, mut dt) = (buffer(&vec![0.0; g.len()]), buffer(&vec![0.0; t.len()]));
            cpu().texture_render(&maps, 3, &buffer(&t), &mut y).unwrap();
            cpu()
                .texture_render_grad(&maps, 3, &buffer(&g), &mut dt, false)
                .unwrap();
            let bits = |v: &CpuBuffer| v.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
            let pixels = (bits(&y), bits(&dt));
            cpu()
                .texture_render_planes(&maps, 3, &buffer(&t), &mut y)
                .unwrap();
            cpu()
                .texture_render_planes_grad(&maps, 3, &buffer(&g), &mut dt)
                .unwrap();
            (pixels, bits(&y), bits(&dt))
        })
    };
    assert!(with(1) == with(7));
}

#[test]
fn what_does_not_fit_is_named() {
    let said = |e: Error| e.to_string();
    let map = |image, side| TexelMap::new(image, side, &vec![vec![(0, 1.0)]; image.0 * image.1]);
    let texture = |n, h, w| -> Images { from_vec(vec![0.5; n * h * w], (n, 1, h, w)).unwrap() };
    let (small, large) = (map((2, 2), 2).unwrap(), map((2, 2), 3).unwrap());
    let e = said(try_texture_render(texture(1, 3, 3), std::slice::from_ref(&small)).unwrap_err());
    assert!(
        e.contains("1 textures of 2x2") && e.contains("1 of 3x3"),
        "{e}"
    );
    let e = said(try_texture_render(texture(2, 2, 2), &[small.clone(), large]).unwrap_err());
    assert!(
        e.contains("2x2 texture") && e.contains("3x3 texture"),
        "{e}"
    );
    let e = said(try_texture_render(texture(1, 2, 3), &[small]).unwrap_err());
    assert!(e.contains("2x3"), "{e}");
    let none = read(&texture_render(texture(0, 4, 4), &[]));
    assert!(none.is_empty());
    for (image, side, reads, word) in [
        ((0, 2), 2, vec![], "0x2"),
        ((1, 1), 0, vec![vec![]], "0x0"),
        ((1, 1), 256, vec![vec![]], "256x256"),
        ((1, 2), 2, vec![vec![]], "texels of 2 pixels"),
        ((1, 1), 2, vec![vec![(4, 1.0)]], "texel 4"),
        ((1, 1), 2, vec![vec![(0, f32::NAN)]], "NaN"),
        ((1, 1), 2, vec![vec![(0, 0.1); 5]], "5 texels"),
    ] {
        let e = said(TexelMap::new(image, side, &reads).unwrap_err());
        assert!(e.contains(word), "{e}");
    }
}

#[test]
fn files_hold_a_map_and_damaged_ones_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.texels");
    let nearest = TexelMap::new((1, 3), 2, &[vec![(3, 0.5)], vec![], vec![(0, 1.0)]]).unwrap();
    for map in [nearest.clone(), random_map((9, 4), 8, 5)] {
        map.save(&path).unwrap();
        assert!(TexelMap::load(&path).unwrap() == map);
    }
    nearest.save(&path).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    // Magic, version 1, one texel a pixel, 1x3 pixels, side 2; texels 3, none, 0.
    let head = [
        b"RBTX".as_slice(),
        &[1, 0, 1, 0, 1, 0, 0, 0, 3, 0, 0, 0, 2, 0, 0, 0],
    ]
    .concat();
    assert_eq!(bytes[..20], head);
    assert_eq!(bytes[20..26], [3, 0, 255, 255, 0, 0]);
    assert_eq!(bytes[26..30], 0.5f32.to_le_bytes());
    assert_eq!(bytes[38..], [1, 0, 1]);
    let refused = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        TexelMap::load(&path).unwrap_err().to_string()
    };
    for end in 0..bytes.len() {
        let e = refused(&bytes[..end]);
        assert!(e.contains("a.texels"), "{e}");
    }
    let changed = |at: usize, to: u8| {
        let mut bytes = bytes.clone();
        bytes[at] = to;
        bytes
    };
    for (at, to, word) in [
        (0, b'X', "no texel map"),
        (4, 9, "version 9"),
        (6, 2, "2 texels a pixel"),
        (8, 200, "200x3"),
        (11, 255, "bytes"),
        (16, 0, "0x0"),
        (20, 9, "texel 9"),
        (39, 1, "mask contradicts"),
    ] {
        let e = refused(&changed(at, to));
        assert!(e.contains(word), "{at}: {e}");
    }
}
