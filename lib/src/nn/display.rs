//! What a reader sees of a network.

use super::Net;
use crate::show::{MimeBundle, Show, Table};

/// A network ends a cell as a table of its layers.
impl Show for Net {
    fn bundle(&self) -> MimeBundle {
        let mut table = Table::new(["layer", "weights", "multiply-adds a sample", "bits"]);
        for layer in self.layers() {
            let bits = layer.bits.unwrap_or(32);
            table.push((layer.name, layer.weights, layer.macs, bits));
        }
        let count = self.parameter_count();
        table
            .caption(format!("Network with {count} trainable parameters"))
            .bundle()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::resnet20;
    use crate::tensors::rng;

    #[test]
    fn a_network_is_a_table_of_its_layers() {
        let bundle = resnet20(10, rng(0)).bundle();
        let text = bundle["text/plain"].as_str().unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].ends_with("trainable parameters"), "{text}");
        assert!(lines[1].starts_with("layer"), "{text}");
        assert_eq!(lines.len(), 3 + 22, "{text}");
        assert!(bundle["text/html"].as_str().unwrap().contains("<table>"));
    }
}
