//! Data sets as the value that ends a cell.

use super::{Cifar10, Dataset, FashionMnist};
use crate::show::{MimeBundle, Show, Table};

impl Dataset {
    /// Images of each class, with name and size in the caption.
    pub fn summary(&self) -> Table {
        let mut table = Table::new(["class", "images"]).caption(format!("{self:?}"));
        for (class, count) in self.classes.iter().zip(self.class_counts()) {
            table.push((class, count));
        }
        table
    }
}

/// Images of each class in both parts.
fn both(train: &Dataset, test: &Dataset) -> Table {
    let (n, m) = (train.len(), test.len());
    let (c, h, w) = (train.channels, train.height, train.width);
    let name = train.name.trim_end_matches(" train");
    let caption = format!("{name}: {n} + {m} images, {c} x {h} x {w}");
    let mut table = Table::new(["class", "train", "test"]).caption(caption);
    let counts = train.class_counts().into_iter().zip(test.class_counts());
    for (class, (train, test)) in train.classes.iter().zip(counts) {
        table.push((class, train, test));
    }
    table
}

impl Show for Dataset {
    fn bundle(&self) -> MimeBundle {
        self.summary().bundle()
    }
}

impl Show for Cifar10 {
    fn bundle(&self) -> MimeBundle {
        both(&self.train, &self.test).bundle()
    }
}

impl Show for FashionMnist {
    fn bundle(&self) -> MimeBundle {
        both(&self.train, &self.test).bundle()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_counts_the_images_of_each_class() {
        let data = Dataset {
            name: "small".into(),
            images: vec![0; 5],
            labels: vec![0, 1, 1, 1, 0],
            classes: vec!["cat".into(), "dog".into(), "emu".into()],
            channels: 1,
            height: 1,
            width: 1,
        };
        let expected = "small: 5 images, 1 x 1 x 1, 3 classes\n\
                        class  images\n-----  ------\ncat         2\ndog         3\nemu         0\n";
        assert_eq!(data.summary().to_string(), expected);
        let text = both(&data, &data.subset(0..2)).to_string();
        assert!(text.contains("cat        2     1\n"), "{text}");
    }
}
