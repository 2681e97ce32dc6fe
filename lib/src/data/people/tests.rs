use super::*;
use std::fs;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("src/data/people/fixtures")
        .join(name)
}

fn photo(path: &Path) {
    let photo = Photo {
        name: String::new(),
        height: 4,
        width: 6,
        rgb: vec![9; 72],
    };
    photo.save(path).unwrap();
}

#[test]
fn cuhk_sysu_from_files_of_scipy() {
    let data = cuhk_sysu(fixture("cuhk"), 50).unwrap();
    assert_eq!(data.persons, ["p1", "p2", "p9"]);
    let names =
        |files: &SceneFiles| -> Vec<String> { files.files.iter().map(|f| stem(&f.path)).collect() };
    assert_eq!(names(&data.train), ["s1", "s2"]);
    assert_eq!(names(&data.test), ["s3", "s4", "s5"]);
    // The box without area is gone; p2's box is half a pixel off, so nobody knows whose it is.
    let first = &data.train.files[0];
    assert_eq!(
        first.boxes,
        [[10.0, 20.0, 40.0, 80.0], [70.5, 15.0, 95.5, 65.0]]
    );
    assert_eq!(first.identities, [Some(0), None]);
    assert_eq!(data.train.files[1].identities, [Some(0)]);
    let test = &data.test.files;
    // The query's own box and that of the gallery belong to p9; the same box in another picture does not.
    assert_eq!(test[0].identities, [Some(2), None]);
    assert_eq!(test[1].identities, [Some(2)]);
    assert!(test[2].boxes.is_empty());
    let query = PersonQuery {
        identity: 2,
        scene: 0,
        at: [10.0, 20.0, 40.0, 80.0],
    };
    assert_eq!(data.queries, [query]);
    assert_eq!(data.galleries, [[1, 2]]);
    assert!(first.path.ends_with("cuhk/Image/SSM/s1.jpg"));
}

#[test]
fn what_is_wrong_with_cuhk_sysu_is_named() {
    let lacks_box = cuhk_sysu(fixture("cuhk"), 100).unwrap_err().to_string();
    assert!(
        lacks_box.contains("TestG100.mat")
            && lacks_box.contains("TestG100(1)")
            && lacks_box.contains("no box"),
        "{lacks_box}"
    );
    let absent = cuhk_sysu(fixture("cuhk"), 500).unwrap_err();
    assert!(matches!(absent, Error::Io { .. }));
    // Every file cut short in its middle.
    let folder = tempfile::tempdir().unwrap();
    let protocol = "annotation/test/train_test";
    let all = [
        "annotation/Images.mat",
        "annotation/pool.mat",
        "annotation/test/train_test/Train.mat",
        "annotation/test/train_test/TestG50.mat",
    ];
    fs::create_dir_all(folder.path().join(protocol)).unwrap();
    for cut in all {
        for name in all {
            let bytes = fs::read(fixture("cuhk").join(name)).unwrap();
            let length = if name == cut {
                bytes.len() / 2
            } else {
                bytes.len()
            };
            fs::write(folder.path().join(name), &bytes[..length]).unwrap();
        }
        let error = cuhk_sysu(folder.path(), 50).unwrap_err().to_string();
        assert!(error.contains(cut.rsplit('/').next().unwrap()), "{error}");
    }
}

#[test]
fn prw_from_files_of_scipy() {
    let data = prw(fixture("prw")).unwrap();
    let [first, second] = &data.train.files[..] else {
        panic!()
    };
    assert_eq!((first.camera, second.camera), (1, 2));
    assert_eq!(
        first.boxes,
        [[10.0, 20.0, 40.0, 80.0], [0.0, 5.0, 20.5, 45.0]]
    );
    assert_eq!(first.identities, [Some(7), None]);
    // The second variable's name, whole numbers, and a box without area.
    assert_eq!((second.boxes.len(), second.identities[0]), (1, Some(932)));
    assert_eq!(data.test.files[0].identities, [Some(5)]);
    assert!(data.test.files[1].boxes.is_empty());
    assert_eq!(
        data.queries[0],
        PersonQuery {
            identity: 5,
            scene: 0,
            at: [1.5, 2.0, 4.5, 6.0]
        }
    );
    assert_eq!(data.queries[1].at, [0.0, 2.0, 3.0, 6.0]);
}

#[test]
fn broken_lines_of_prw_queries_are_named() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["frame_train.mat", "frame_test.mat"] {
        fs::copy(fixture("prw").join(name), folder.path().join(name)).unwrap();
    }
    fs::create_dir(folder.path().join("annotations")).unwrap();
    for name in ["c1s1_000001", "c2s1_000002", "c3s1_000003", "c6s1_000004"] {
        let name = format!("annotations/{name}.jpg.mat");
        fs::copy(fixture("prw").join(&name), folder.path().join(&name)).unwrap();
    }
    for (line, part) in [
        ("5 1 2 3 c3s1_000003", "6 values expected, found 5"),
        ("5 1 2 x 4 c3s1_000003", "\"x\" is no number"),
        ("a 1 2 3 4 c3s1_000003", "\"a\" is no identity"),
        ("5 1 2 3 4 c9s9_000003", "\"c9s9_000003\" is no test frame"),
    ] {
        fs::write(
            folder.path().join("query_info.txt"),
            format!("\n5 1 2 3 4 c3s1_000003\n{line}\n"),
        )
        .unwrap();
        let error = prw(folder.path()).unwrap_err().to_string();
        assert!(
            error.contains("query_info.txt") && error.contains("line 3") && error.contains(part),
            "{error}"
        );
    }
}

#[test]
fn motchallenge_of_both_forms() {
    let folder = tempfile::tempdir().unwrap();
    let frames = folder.path().join("img1");
    fs::create_dir(&frames).unwrap();
    for k in [0, 3] {
        photo(&frames.join(format!("{k:06}.png")));
    }
    let gt = folder.path().join("gt.txt");
    // 2015's form; frame 2 has no file; the fourth box has no area, the fifth is not to be considered.
    let lines = "1,3,10,20,5,15,1,-1.5,2,0\n2,3,11,20,5,15,1,0,0,0\n4,3,12.5,20,5,15,1,0,0,0\r\n4,4,1,1,0,9,1,0,0,0\n4,5,1,1,9,9,0,0,0,0\n";
    fs::write(&gt, lines).unwrap();
    let scenes = motchallenge(&gt, &frames, 1).unwrap();
    let all: Vec<_> = scenes.iter().map(|s| s.unwrap()).collect();
    assert_eq!(all.len(), 2);
    assert_eq!(all[0].boxes, [[10.0, 20.0, 15.0, 35.0]]);
    assert_eq!(all[1].boxes, [[12.5, 20.0, 17.5, 35.0]]);
    assert_eq!(all[1].annotated, all[1].boxes);
    assert_eq!(all[1].identities, [Some(3)]);
    assert_eq!((all[0].image.height, all[0].image.width), (4, 6));
    // The later form: class and visibility.
    fs::write(&gt, "1,3,10,20,5,15,1,1,0.25\n1,4,10,20,5,15,1,7,1\n").unwrap();
    let scenes = motchallenge(&gt, &frames, 1).unwrap();
    assert_eq!(scenes.files[0].visible, [0.25]);
    assert_eq!(scenes.files[0].identities, [Some(3)]);
}

#[test]
fn broken_lines_of_gt_are_named() {
    let folder = tempfile::tempdir().unwrap();
    photo(&folder.path().join("1.png"));
    let gt = folder.path().join("gt.txt");
    for (line, part) in [
        ("1,2,3,4", "at least 7"),
        ("1,2,x,4,5,6,1", "\"x\" is no number"),
        ("1,2.5,3,4,5,6,1", "whole numbers"),
        ("1,-3,3,4,5,6,1", "whole numbers"),
        ("1,2,nan,4,5,6,1", "finite"),
        ("1,1,3,4,5,6,1", "person 1 is twice in frame 1"),
    ] {
        fs::write(&gt, format!("1,1,3,4,5,6,1\n{line}\n")).unwrap();
        let error = motchallenge(&gt, folder.path(), 0).unwrap_err().to_string();
        assert!(
            error.contains("gt.txt") && error.contains("line 2") && error.contains(part),
            "{error}"
        );
    }
    fs::write(&gt, "").unwrap();
    photo(&folder.path().join("01.png"));
    let error = motchallenge(&gt, folder.path(), 0).unwrap_err().to_string();
    assert!(error.contains("frame 1, as is"), "{error}");
    fs::remove_file(folder.path().join("01.png")).unwrap();
    photo(&folder.path().join("x.png"));
    assert!(
        motchallenge(&gt, folder.path(), 0)
            .unwrap_err()
            .to_string()
            .contains("number")
    );
}

#[test]
fn market1501_by_its_names() {
    let folder = tempfile::tempdir().unwrap();
    for name in [
        "0002_c1s1_000451_03",
        "0000_c6s4_000001_01",
        "-1_c3s2_000001_00",
    ] {
        // Read by what is in it, not by its ending.
        photo(&folder.path().join(format!("{name}.jpg")));
    }
    fs::write(folder.path().join("Thumbs.db"), "x").unwrap();
    let data = market1501(folder.path()).unwrap();
    assert_eq!((data.files.len(), data.junk), (2, 1));
    let all: Vec<_> = data.iter().map(|s| s.unwrap()).collect();
    assert_eq!((all[0].identity, all[0].camera), (None, 6));
    assert_eq!((all[1].identity, all[1].camera), (Some(2), 1));
    for wrong in [
        "0002_c1_000451_03",
        "0002_c1s1_000451",
        "x_c1s1_000451_03",
        "2_c1s1_4_3_2",
        "-7_c1s1_000001_00",
    ] {
        assert!(MarketName::parse(wrong).is_none(), "{wrong}");
    }
    photo(&folder.path().join("me.jpg"));
    let error = market1501(folder.path()).unwrap_err().to_string();
    assert!(
        error.contains("me.jpg") && error.contains("PPPP_cCsS"),
        "{error}"
    );
    let empty = tempfile::tempdir().unwrap();
    assert!(
        market1501(empty.path())
            .unwrap_err()
            .to_string()
            .contains("no pictures")
    );
}

/// Real frames; they are not part of the repository. PETS09-S2L1, every third frame, is looked for in `REBIT_PETS09`,
/// otherwise in `../shared/data` beside the repository.
#[test]
fn frames_of_pets09_where_present() {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/pets09_s2l1");
    let folder = std::env::var_os("REBIT_PETS09").map_or(beside, PathBuf::from);
    if !folder.is_dir() {
        eprintln!("{} is not there: skipped", folder.display());
        return;
    }
    let frames = ["img", "img1"]
        .map(|f| folder.join(f))
        .into_iter()
        .find(|f| f.is_dir());
    let scenes = motchallenge(folder.join("gt.txt"), frames.unwrap_or(folder), 1).unwrap();
    assert_eq!(scenes.len(), 265);
    let mut ids: Vec<u32> = scenes
        .files
        .iter()
        .flat_map(|f| &f.identities)
        .map(|i| i.unwrap())
        .collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 19);
    let first = scenes.files[0].read().unwrap();
    assert_eq!((first.image.height, first.image.width), (576, 768));
    let heights = scenes
        .files
        .iter()
        .flat_map(|f| &f.boxes)
        .map(|b| b[3] - b[1]);
    assert!(heights.clone().all(|h| (40.0..170.0).contains(&h)));
}
