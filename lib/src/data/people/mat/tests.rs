use super::*;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("src/data/people/fixtures")
        .join(name)
}

#[test]
fn what_scipy_writes_is_read_packed_and_unpacked() {
    for name in ["odd.mat", "odd_unpacked.mat"] {
        let file = MatFile::read(&fixture(name)).unwrap();
        let get = |variable: &str| file.get(variable).unwrap();
        let rows = get("numbers").rows(3).unwrap();
        assert_eq!(rows, [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]);
        assert_eq!(
            get("numbers").numbers().unwrap(),
            [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]
        );
        assert_eq!(get("small").numbers().unwrap(), [-1.0, 2.0]);
        assert_eq!(get("single").numbers().unwrap(), [0.5]);
        assert_eq!(get("text").text().unwrap(), "café");
        assert_eq!(get("empty").text().unwrap(), "");
        assert_eq!(get("truth").numbers().unwrap(), [1.0, 0.0]);
        let nested = get("nested").cells().unwrap();
        assert_eq!(nested[0].cells().unwrap()[0].text().unwrap(), "a");
        assert_eq!(nested[1].numbers().unwrap(), [3.0]);
        let missing = file.get("nothing").unwrap_err().to_string();
        assert!(
            missing.contains("`nothing`") && missing.contains("\"text\"") && missing.contains(name)
        );
        assert!(
            get("text")
                .numbers()
                .unwrap_err()
                .contains("found characters")
        );
        assert!(get("numbers").rows(4).unwrap_err().contains("[2, 3]"));
    }
}

#[test]
fn cut_and_damaged_files_are_errors_and_never_panic() {
    let mut refused = 0;
    for name in ["odd.mat", "odd_unpacked.mat", "cuhk/annotation/Images.mat"] {
        let bytes = std::fs::read(fixture(name)).unwrap();
        for length in 0..bytes.len() {
            // A file that ends between two variables is whole, as far as one can tell.
            refused += usize::from(variables(&bytes[..length]).is_err());
        }
        for at in 0..bytes.len() {
            for flip in [1, 0x80, 0xff] {
                let mut damaged = bytes.clone();
                damaged[at] ^= flip;
                refused += usize::from(variables(&damaged).is_err());
            }
        }
    }
    assert!(refused > 3000, "{refused}");
}

#[test]
fn other_versions_are_named() {
    let mut header = [b' '; 200];
    header[..10].copy_from_slice(b"MATLAB 7.3");
    assert!(variables(&header).unwrap_err().contains("7.3"));
    assert!(
        variables(b"\x89HDF\r\n\x1a\n")
            .unwrap_err()
            .contains("shorter")
    );
    let mut header = [0; 128];
    header[126..].copy_from_slice(b"MI");
    assert!(variables(&header).unwrap_err().contains("big-endian"));
    assert!(variables(&[0; 128]).unwrap_err().contains("version 5"));
}

#[test]
fn nests_without_an_end_are_refused() {
    // A cell in a cell in a cell.
    let mut inner: Vec<u8> = Vec::new();
    for _ in 0..200 {
        let mut body = Vec::new();
        for (kind, data) in [
            (6u32, &[1u8, 0, 0, 0, 0, 0, 0, 0][..]),
            (5, &[1, 0, 0, 0, 1, 0, 0, 0]),
            (1, &[]),
        ] {
            body.extend(kind.to_le_bytes());
            body.extend((data.len() as u32).to_le_bytes());
            body.extend(data);
        }
        body.extend(14u32.to_le_bytes());
        body.extend((inner.len() as u32).to_le_bytes());
        body.extend(&inner);
        inner = body;
    }
    assert!(matrix(&inner, 0).unwrap_err().contains("deeper"));
}
