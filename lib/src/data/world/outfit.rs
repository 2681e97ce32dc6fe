//! What a person of capsules looks like.

use rand::Rng as _;
use rand::seq::IndexedRandom;

use super::capsules::{ATLAS, HAND, Part, SIDE};
use super::stream::{Use, stream};
use super::texture::Texture;
use crate::tensors::Rng;

type Colour = [f32; 3];

/// How the cloth of the trunk is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pattern {
    Plain,
    Stripes,
    Upright,
    TwoTone,
    Logo,
    Patch,
    LogoAndPatch,
}

/// All that is chosen for a person.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Outfit {
    skin: Colour,
    hair: Colour,
    /// How far the hair reaches down the back of the head, from its top: 0 to 1.
    hair_length: f32,
    shirt: Colour,
    second: Colour,
    pattern: Pattern,
    /// Texel rows of a stripe.
    stripe: usize,
    /// Share of the arm that is covered, upper arm and forearm together from 0 to 2.
    sleeve: f32,
    trousers: Colour,
    /// Share of the leg that is covered, 0 to 2.
    leg: f32,
    side_stripe: Option<Colour>,
    belt: Colour,
    shoes: Colour,
    socks: Option<Colour>,
}

const SKIN: [Colour; 6] = [
    [0.96, 0.80, 0.69],
    [0.90, 0.70, 0.56],
    [0.80, 0.58, 0.43],
    [0.66, 0.45, 0.32],
    [0.48, 0.32, 0.22],
    [0.33, 0.22, 0.16],
];
const HAIR: [Colour; 7] = [
    [0.07, 0.06, 0.06],
    [0.18, 0.11, 0.07],
    [0.34, 0.21, 0.11],
    [0.55, 0.36, 0.18],
    [0.82, 0.68, 0.40],
    [0.62, 0.26, 0.12],
    [0.70, 0.70, 0.70],
];
/// Black, greys, white, navy, denim, khaki, brown: what many people wear.
const MUTED: [Colour; 9] = [
    [0.08, 0.08, 0.09],
    [0.28, 0.28, 0.30],
    [0.55, 0.55, 0.56],
    [0.92, 0.92, 0.90],
    [0.10, 0.13, 0.30],
    [0.25, 0.36, 0.55],
    [0.62, 0.56, 0.40],
    [0.36, 0.24, 0.16],
    [0.80, 0.74, 0.62],
];

/// A colour of cloth: of `muted` with this probability, otherwise any hue.
pub(super) fn cloth(rng: &mut Rng, muted: f64) -> Colour {
    if rng.random_bool(muted) {
        let base = MUTED.choose(rng).expect("not empty");
        return base.map(|v| (v + rng.random_range(-0.05..0.05)).clamp(0.02, 0.97));
    }
    let (hue, saturation, value) = (
        rng.random_range(0.0..6.0f32),
        rng.random_range(0.55..0.95f32),
        rng.random_range(0.4..0.95f32),
    );
    // From hue, saturation and value: each channel falls off around its own hue.
    [0.0, 4.0, 2.0].map(|shift: f32| {
        let t = (hue + shift).rem_euclid(6.0);
        let full = ((t - 3.0).abs() - 1.0).clamp(0.0, 1.0);
        value * (1.0 - saturation * (1.0 - full))
    })
}

/// A colour of skin.
pub(super) fn skin(rng: &mut Rng) -> Colour {
    let k = rng.random_range(0.0..(SKIN.len() - 1) as f32);
    let (below, part) = (k as usize, k.fract());
    [0, 1, 2].map(|c| SKIN[below][c] * (1.0 - part) + SKIN[below + 1][c] * part)
}

fn far_apart(a: Colour, b: Colour) -> bool {
    let gap: f32 = a.iter().zip(&b).map(|(a, b)| (a - b).abs()).sum();
    gap > 0.6
}

/// A colour that one tells from another.
fn other(rng: &mut Rng, than: Colour, muted: f64) -> Colour {
    loop {
        let new = cloth(rng, muted);
        if far_apart(new, than) {
            return new;
        }
    }
}

impl Outfit {
    /// That of a number.
    pub fn of(seed: u64, identity: u32, hard_pairs: f64) -> Outfit {
        let mut rng = stream(seed, Use::Clothes, identity.into(), 0);
        // Drawn in any case: what follows does not depend on the probability.
        let hard = rng.random::<f64>() < hard_pairs;
        if identity % 2 == 1 && hard {
            let mut outfit = Outfit::of(seed, identity - 1, 0.0);
            outfit.change_one(&mut rng);
            return outfit;
        }
        Outfit::random(&mut rng)
    }

    fn random(rng: &mut Rng) -> Outfit {
        let shirt = cloth(rng, 0.4);
        let trousers = cloth(rng, 0.7);
        let patterns = [
            (Pattern::Plain, 3),
            (Pattern::Stripes, 2),
            (Pattern::Upright, 2),
            (Pattern::TwoTone, 2),
            (Pattern::Logo, 3),
            (Pattern::Patch, 3),
            (Pattern::LogoAndPatch, 2),
        ];
        let pattern = patterns.choose_weighted(rng, |p| p.1).expect("positive").0;
        let sleeve = *[0.25, 0.7, 0.7, 1.1, 1.7, 1.7, 1.7]
            .choose(rng)
            .expect("some");
        let leg = *[0.7, 1.1, 2.0, 2.0, 2.0, 2.0].choose(rng).expect("some");
        let side_stripe = rng.random_bool(0.2).then(|| other(rng, trousers, 0.5));
        let socks = rng.random_bool(0.4).then(|| cloth(rng, 0.6));
        let hair = HAIR.choose(rng).expect("not empty");
        Outfit {
            skin: skin(rng),
            hair: hair.map(|v| (v + rng.random_range(-0.03..0.03)).clamp(0.02, 0.95)),
            hair_length: *[0.0, 0.45, 0.5, 0.6, 0.95].choose(rng).expect("some"),
            shirt,
            second: other(rng, shirt, 0.4),
            pattern,
            stripe: rng.random_range(2..5),
            sleeve,
            trousers,
            leg,
            side_stripe,
            belt: cloth(rng, 0.8),
            shoes: cloth(rng, 0.6),
            socks,
        }
    }

    /// Changes one item so that one sees it.
    fn change_one(&mut self, rng: &mut Rng) {
        match rng.random_range(0..5) {
            0 => self.shoes = other(rng, self.shoes, 0.3),
            1 => self.trousers = other(rng, self.trousers, 0.5),
            2 => self.hair_length = if self.hair_length > 0.8 { 0.0 } else { 0.95 },
            3 if self.pattern != Pattern::Plain => self.second = other(rng, self.second, 0.4),
            _ => {
                self.pattern = match self.pattern {
                    Pattern::Plain => Pattern::Logo,
                    Pattern::Logo => Pattern::Patch,
                    _ => Pattern::Plain,
                }
            }
        }
    }

    /// The colours of the atlas.
    pub fn texture(&self) -> Texture {
        let mut rgb = vec![128; SIDE * SIDE * 3];
        for (index, (part, [top, left, height, width])) in ATLAS.into_iter().enumerate() {
            for row in 0..height {
                for column in 0..width {
                    // -1 and 1 at the back, 0 in front.
                    let turn = 2.0 * (column as f32 + 0.5) / width as f32 - 1.0;
                    let texel = Texel {
                        row,
                        height,
                        turn,
                        left_side: index % 2 == 0,
                    };
                    let colour = match part {
                        Part::Head => self.head(texel),
                        Part::Torso => self.torso(texel),
                        Part::UpperArm | Part::Forearm => self.arm(texel, part == Part::Forearm),
                        Part::Thigh | Part::Shin => self.leg(texel, part == Part::Shin),
                    };
                    let at = ((top + row) * SIDE + left + column) * 3;
                    let bytes = colour.map(|v| (v.clamp(0.0, 1.0) * 255.0).round() as u8);
                    rgb[at..at + 3].copy_from_slice(&bytes);
                }
            }
        }
        Texture { side: SIDE, rgb }
    }

    fn head(&self, t: Texel) -> Colour {
        let (down, turn) = (t.down(), t.turn.abs());
        // The hairline falls from the forehead to the nape.
        let hairline = match turn {
            _ if self.hair_length == 0.0 => 0.16,
            turn if turn < 0.28 => 0.30,
            turn if turn < 0.45 => 0.30 + 0.5 * self.hair_length,
            _ => 0.35 + 0.65 * self.hair_length,
        };
        let eye = (0.09..0.19).contains(&turn) && (0.42..0.50).contains(&down);
        let mouth = turn < 0.11 && (0.66..0.72).contains(&down);
        if down < hairline {
            self.hair
        } else if eye {
            [0.08, 0.07, 0.09]
        } else if mouth {
            [0.62, 0.22, 0.22]
        } else {
            self.skin
        }
    }

    fn torso(&self, t: Texel) -> Colour {
        let (down, turn) = (t.down(), t.turn.abs());
        if down > 0.84 {
            return self.trousers;
        }
        if down > 0.80 {
            return self.belt;
        }
        // The collar lies open in front.
        if down < 0.13 && turn < 0.12 {
            return self.skin;
        }
        let front = turn < 0.26 && (0.26..0.52).contains(&down);
        let back = turn > 0.62 && (0.24..0.62).contains(&down);
        let second = match self.pattern {
            Pattern::Plain => false,
            Pattern::Stripes => (t.row / self.stripe) % 2 == 1,
            Pattern::Upright => ((t.turn + 1.0) * 10.0) as usize % 2 == 1,
            Pattern::TwoTone => down > 0.46,
            Pattern::Logo => front,
            Pattern::Patch => back,
            Pattern::LogoAndPatch => front || back,
        };
        if second { self.second } else { self.shirt }
    }

    fn arm(&self, t: Texel, lower: bool) -> Colour {
        let down = t.down() + if lower { 1.0 } else { 0.0 };
        if (lower && t.row >= t.height - HAND) || down > self.sleeve {
            return self.skin;
        }
        match self.pattern {
            Pattern::Stripes if (t.row / self.stripe) % 2 == 1 => self.second,
            // Raglan: the sleeves have the other colour.
            Pattern::TwoTone => self.second,
            _ => self.shirt,
        }
    }

    fn leg(&self, t: Texel, lower: bool) -> Colour {
        let down = t.down() + if lower { 1.0 } else { 0.0 };
        if lower && t.row + 3 >= t.height {
            return self.shoes;
        }
        if down > self.leg {
            return match self.socks {
                Some(socks) if lower && t.row + 6 >= t.height => socks,
                _ => self.skin,
            };
        }
        // Outside: at the left for the left leg.
        let outside = if t.left_side { t.turn } else { -t.turn };
        match self.side_stripe {
            Some(stripe) if (0.35..0.65).contains(&outside) => stripe,
            _ => self.trousers,
        }
    }
}

/// A place on a part.
#[derive(Clone, Copy)]
struct Texel {
    row: usize,
    height: usize,
    turn: f32,
    left_side: bool,
}

impl Texel {
    /// From 0 at the upper end to 1 at the lower one.
    fn down(self) -> f32 {
        (self.row as f32 + 0.5) / self.height as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn a_thousand_persons_wear_a_thousand_textures() {
        let all: HashSet<Vec<u8>> = (0..1000)
            .map(|i| Outfit::of(1, i, 0.1).texture().rgb)
            .collect();
        assert_eq!(all.len(), 1000);
    }

    #[test]
    fn hard_pairs_differ_in_little_and_others_in_much() {
        let texels = |a: u32, b: u32, hard: f64| {
            let (a, b) = (
                Outfit::of(4, a, hard).texture(),
                Outfit::of(4, b, hard).texture(),
            );
            let pairs = a.rgb.chunks(3).zip(b.rgb.chunks(3));
            pairs.filter(|(a, b)| a != b).count()
        };
        for pair in 0..200 {
            let hard = texels(2 * pair, 2 * pair + 1, 1.0);
            assert!((1..=1900).contains(&hard), "pair {pair}: {hard} texels");
            assert!(texels(2 * pair, 2 * pair + 1, 0.0) > 2000);
        }
    }

    #[test]
    fn fronts_often_differ_from_backs() {
        let differ = (0..300).filter(|&i| {
            let rgb = Outfit::of(2, i, 0.0).texture().rgb;
            let [top, left, height, width] = ATLAS[1].1;
            let colour =
                |row: usize, column: usize| &rgb[((top + row) * SIDE + left + column) * 3..][..3];
            // The middle of the front against the seam at the back.
            (height / 4..height * 3 / 5).any(|row| colour(row, width / 2) != colour(row, 0))
        });
        assert!(differ.count() > 120);
    }

    #[test]
    fn hands_and_heads_of_bare_headed_people_are_skin() {
        let mut outfit = Outfit::of(0, 0, 0.0);
        outfit.hair_length = 0.0;
        let rgb = outfit.texture().rgb;
        let skin = outfit.skin.map(|v| (v * 255.0).round() as u8);
        // The temple, and the ends of both forearms.
        for (row, column) in [(10, 5), (31, 45), (31, 63)] {
            let at = (row * SIDE + column) * 3;
            assert_eq!(rgb[at..at + 3], skin, "{row} {column}");
        }
    }
}
