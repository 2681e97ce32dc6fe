//! Batches of P people with K pictures each, as losses that compare pictures need them.

use rand::Rng as _;
use rand::seq::SliceRandom;

use crate::error::{Error, Result};
use crate::tensors::Rng;

/// Draws batches of `people` different persons with `pictures` pictures each. Of somebody with fewer pictures some come
/// more than once.
///
/// Source: Hermans et al., [arXiv:1703.07737](https://arxiv.org/abs/1703.07737), section 2 ("PK-style batches").
///
/// ```
/// use rebit::data::people::PersonSampler;
/// let labels = [0, 0, 1, 1, 2, 7, 7];
/// let sampler = PersonSampler::new(&labels, 3, 2)?;
/// let batch = sampler.draw(&mut rebit::rng(0));
/// assert_eq!(batch.len(), 6);
/// assert_eq!(labels[batch[0]], labels[batch[1]]);
/// # Ok::<(), rebit::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PersonSampler {
    /// Indices of the pictures of each person.
    of: Vec<Vec<usize>>,
    people: usize,
    pictures: usize,
}

impl PersonSampler {
    /// A sampler for pictures with these labels.
    ///
    /// # Errors
    /// [`Error::Invalid`] for fewer identities than `people`, and for batches of nothing.
    pub fn new(labels: &[u32], people: usize, pictures: usize) -> Result<PersonSampler> {
        let mut sorted: Vec<(u32, usize)> = labels.iter().copied().zip(0..).collect();
        sorted.sort_unstable();
        let of: Vec<Vec<usize>> = sorted
            .chunk_by(|a, b| a.0 == b.0)
            .map(|part| part.iter().map(|p| p.1).collect())
            .collect();
        if people == 0 || pictures == 0 {
            let what = format!("batches of {people} people with {pictures} pictures");
            return Err(Error::invalid(what, "both must be at least 1"));
        }
        if of.len() < people {
            let what = format!("batches of {people} people");
            let why = format!("there are only {} in the data; take fewer", of.len());
            return Err(Error::invalid(what, why));
        }
        Ok(PersonSampler {
            of,
            people,
            pictures,
        })
    }

    /// Indices of the pictures of a batch, person by person.
    pub fn draw(&self, rng: &mut Rng) -> Vec<usize> {
        let mut persons: Vec<usize> = (0..self.of.len()).collect();
        let (drawn, _) = persons.partial_shuffle(rng, self.people);
        let mut batch = Vec::with_capacity(self.people * self.pictures);
        for person in drawn {
            let mut pictures = self.of[*person].clone();
            let most = pictures.len().min(self.pictures);
            let (first, _) = pictures.partial_shuffle(rng, most);
            batch.extend_from_slice(first);
            for _ in most..self.pictures {
                let k = rng.random_range(0..self.of[*person].len());
                batch.push(self.of[*person][k]);
            }
        }
        batch
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensors::rng;

    #[test]
    fn people_and_their_pictures_differ_as_far_as_there_are_any() {
        let labels: Vec<u32> = (0..40).map(|k| k % 10 * 3).collect();
        let sampler = PersonSampler::new(&labels, 5, 4).unwrap();
        let mut rng = rng(1);
        for _ in 0..20 {
            let batch = sampler.draw(&mut rng);
            let mut people: Vec<u32> = batch.chunks(4).map(|c| labels[c[0]]).collect();
            assert!(
                batch
                    .chunks(4)
                    .all(|c| c.iter().all(|&k| labels[k] == labels[c[0]]))
            );
            people.sort_unstable();
            people.dedup();
            assert_eq!(people.len(), 5);
            let mut each = batch.clone();
            each.sort_unstable();
            each.dedup();
            assert_eq!(each.len(), 20);
        }
        let few = PersonSampler::new(&[4, 4, 9], 2, 3).unwrap().draw(&mut rng);
        assert_eq!(few.iter().filter(|k| **k == 2).count(), 3);
    }

    #[test]
    fn fewer_people_than_asked_for_are_refused() {
        let error = PersonSampler::new(&[1, 1, 2], 3, 2)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("3 people") && error.contains("only 2"),
            "{error}"
        );
        assert!(PersonSampler::new(&[1], 1, 0).is_err());
        assert!(PersonSampler::new(&[], 1, 1).is_err());
    }
}
