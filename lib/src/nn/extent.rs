//! The size of one sample's activation.

/// Channels, height and width of one sample at a node of a network.
///
/// ```
/// use rebit::nn::Extent;
/// let e = Extent::new(3, 32, 16);
/// assert_eq!((e.len(), e.pixels(), e.to_string().as_str()), (1536, 512, "3x32x16"));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Extent {
    /// Channels.
    pub channels: usize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

impl Extent {
    /// `channels` x `height` x `width`.
    pub fn new(channels: usize, height: usize, width: usize) -> Self {
        Extent {
            channels,
            height,
            width,
        }
    }

    /// A vector: height and width 1.
    pub fn vector(channels: usize) -> Self {
        Extent::new(channels, 1, 1)
    }

    /// Numbers of a sample.
    pub fn len(self) -> usize {
        self.channels * self.pixels()
    }

    /// Whether a sample has no number.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// Height times width.
    pub fn pixels(self) -> usize {
        self.height * self.width
    }

    /// The same pixels with other channels.
    pub fn with_channels(self, channels: usize) -> Self {
        Extent { channels, ..self }
    }
}

impl std::fmt::Display for Extent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}x{}x{}", self.channels, self.height, self.width)
    }
}
