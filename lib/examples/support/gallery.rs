//! A scene of the made world as a gallery that was searched.

use rebit::data::Scene;
use rebit::metrics::{Detection, GalleryScene, Person};

/// Its annotated boxes are the detections, all of one score; `feature` gives what somebody, or somebody unknown, looks like.
pub fn gallery_scene(
    scene: &Scene,
    mut feature: impl FnMut(Option<u32>) -> Vec<f32>,
) -> GalleryScene {
    let people = scene.boxes.iter().zip(&scene.identities);
    let detections = scene.annotated.iter();
    GalleryScene {
        camera: scene.camera,
        people: people
            .map(|(&at, &identity)| Person { identity, at })
            .collect(),
        detections: detections.map(|&at| Detection { at, score: 0.9 }).collect(),
        features: scene
            .identities
            .iter()
            .flat_map(|id| feature(*id))
            .collect(),
    }
}
