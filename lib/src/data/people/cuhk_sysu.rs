//! CUHK-SYSU: scenes of streets and films, queries with galleries of several sizes.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use super::mat::{Mat, MatFile};
use super::{PersonQuery, SceneFile, SceneFiles};
use crate::error::Result;

/// The data set.
#[derive(Clone, Debug, PartialEq)]
pub struct CuhkSysu {
    /// Scenes for training: all that are not in `pool.mat`.
    pub train: SceneFiles,
    /// Scenes for tests.
    pub test: SceneFiles,
    /// The queries; scenes are those of `test`.
    pub queries: Vec<PersonQuery>,
    /// For each query the scenes of `test` in which it is looked for.
    pub galleries: Vec<Vec<usize>>,
    /// The names of the persons, by number: those for training first.
    pub persons: Vec<String>,
}

/// CUHK-SYSU from its folder, with galleries of `gallery` scenes: 50, 100 (the usual size), 500, 1000, 2000 or 4000.
///
/// Boxes without area are dropped. A box belongs to a person when `Train.mat` or the file of the galleries names exactly
/// this box; everybody else is a person nobody knows.
///
/// ```no_run
/// let data = rebit::data::people::cuhk_sysu("CUHK-SYSU", 100)?;
/// assert_eq!((data.train.len(), data.test.len()), (11_206, 6_978));
/// # Ok::<(), rebit::Error>(())
/// ```
///
/// # Errors
/// [`Error::Io`](crate::Error::Io) for a file that cannot be read; [`Error::Data`](crate::Error::Data) for one that is damaged, of another version, or lacks
/// what is expected: it is named, with its place.
pub fn cuhk_sysu(folder: impl AsRef<Path>, gallery: usize) -> Result<CuhkSysu> {
    let folder = folder.as_ref();
    let annotation = folder.join("annotation");
    let open = |name: &str| MatFile::read(&annotation.join(name));
    let protocol = annotation.join("test/train_test");
    let test_name = format!("TestG{gallery}");
    let mut persons = Persons::default();
    let train_file = MatFile::read(&protocol.join("Train.mat"))?;
    persons.train(&train_file)?;
    let test_file = MatFile::read(&protocol.join(format!("{test_name}.mat")))?;
    let tests = persons.test(&test_file, &test_name)?;

    let pool_file = open("pool.mat")?;
    let pool: HashSet<&str> = pool_file
        .get("pool")?
        .cells()
        .and_then(|cells| cells.iter().map(Mat::text).collect())
        .map_err(|why| pool_file.wrong(format!("pool: {why}")))?;
    let images = open("Images.mat")?;
    let all = images.get("Img")?;
    let (mut train, mut test) = (Vec::new(), Vec::new());
    let mut index = HashMap::new();
    let count = all
        .elements()
        .map_err(|why| images.wrong(format!("Img: {why}")))?;
    for k in 0..count {
        let place = |why: String| images.wrong(format!("Img({}): {why}", k + 1));
        let name = all.field(k, "imname").and_then(Mat::text).map_err(place)?;
        let list = all.field(k, "box").map_err(place)?;
        let mut file = SceneFile {
            path: folder.join("Image/SSM").join(name),
            camera: 0,
            boxes: Vec::new(),
            identities: Vec::new(),
            visible: Vec::new(),
        };
        for b in 0..list.elements().map_err(place)? {
            let Some(at) = located(list, b).map_err(place)? else {
                continue;
            };
            let [x, y, w, h] = at;
            if w <= 0.0 || h <= 0.0 {
                continue;
            }
            file.boxes.push([x, y, x + w, y + h].map(|v| v as f32));
            file.identities.push(persons.at(name, at));
            file.visible.push(1.0);
        }
        if pool.contains(name) {
            index.insert(name.to_string(), test.len());
            test.push(file);
        } else {
            train.push(file);
        }
    }
    let find = |name: &str, what: String| {
        index.get(name).copied().ok_or_else(|| {
            test_file.wrong(format!(
                "{what}: {name:?} is no test image of pool.mat and Images.mat"
            ))
        })
    };
    let (mut queries, mut galleries) = (Vec::new(), Vec::new());
    for (k, (identity, name, at, list)) in tests.iter().enumerate() {
        let what = format!("{test_name}({})", k + 1);
        let [x, y, w, h] = *at;
        queries.push(PersonQuery {
            identity: *identity,
            scene: find(name, what.clone())?,
            at: [x, y, x + w, y + h].map(|v| v as f32),
        });
        let scenes = list.iter().map(|name| find(name, what.clone()));
        galleries.push(scenes.collect::<Result<_>>()?);
    }
    let scenes = |name: &str, files| SceneFiles {
        name: format!("CUHK-SYSU {name}"),
        files,
    };
    Ok(CuhkSysu {
        train: scenes("train", train),
        test: scenes("test", test),
        queries,
        galleries,
        persons: persons.names,
    })
}

/// The box of an element, `None` where it is empty.
fn located(list: &Mat, element: usize) -> std::result::Result<Option<[f64; 4]>, String> {
    match list.field(element, "idlocate")?.numbers()? {
        [] => Ok(None),
        &[x, y, w, h] => Ok(Some([x, y, w, h])),
        other => Err(format!(
            "idlocate: x, y, width and height expected, found {other:?}"
        )),
    }
}

/// Who is where, by the name of the picture and the box.
#[derive(Default)]
struct Persons {
    names: Vec<String>,
    places: HashMap<(String, [u64; 4]), u32>,
}

type Test = (u32, String, [f64; 4], Vec<String>);

impl Persons {
    fn at(&self, image: &str, at: [f64; 4]) -> Option<u32> {
        let key = (image.to_string(), at.map(f64::to_bits));
        self.places.get(&key).copied()
    }

    fn number(&mut self, name: &str) -> u32 {
        self.names.push(name.to_string());
        self.names.len() as u32 - 1
    }

    /// Puts a person at the boxes of a list, and returns the names of all pictures in it.
    fn put(&mut self, list: &Mat, identity: u32) -> std::result::Result<Vec<String>, String> {
        let mut images = Vec::new();
        for k in 0..list.elements()? {
            let image = list.field(k, "imname")?.text()?.to_string();
            if let Some(at) = located(list, k)? {
                self.places
                    .insert((image.clone(), at.map(f64::to_bits)), identity);
            }
            images.push(image);
        }
        Ok(images)
    }

    fn train(&mut self, file: &MatFile) -> Result<()> {
        let cells = file.get("Train")?.cells();
        for (k, person) in cells
            .map_err(|why| file.wrong(format!("Train: {why}")))?
            .iter()
            .enumerate()
        {
            let place = |why: String| file.wrong(format!("Train{{{}}}: {why}", k + 1));
            let name = person
                .field(0, "idname")
                .and_then(Mat::text)
                .map_err(place)?;
            let identity = self.number(name);
            let scenes = person.field(0, "scene").map_err(place)?;
            self.put(scenes, identity).map_err(place)?;
        }
        Ok(())
    }

    fn test(&mut self, file: &MatFile, variable: &str) -> Result<Vec<Test>> {
        let tests = file.get(variable)?;
        let mut out = Vec::new();
        let count = tests
            .elements()
            .map_err(|why| file.wrong(format!("{variable}: {why}")))?;
        for k in 0..count {
            let place = |why: String| file.wrong(format!("{variable}({}): {why}", k + 1));
            let query = tests.field(k, "Query").map_err(place)?;
            let name = query
                .field(0, "idname")
                .and_then(Mat::text)
                .map_err(place)?;
            let image = query
                .field(0, "imname")
                .and_then(Mat::text)
                .map_err(place)?;
            let identity = self.number(name);
            let at = located(query, 0).map_err(place)?;
            let at = at.ok_or_else(|| place("the query has no box".to_string()))?;
            self.put(query, identity).map_err(place)?;
            let gallery = tests.field(k, "Gallery").map_err(place)?;
            let list = self.put(gallery, identity).map_err(place)?;
            out.push((identity, image.to_string(), at, list));
        }
        Ok(out)
    }
}
