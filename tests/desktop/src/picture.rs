//! What a window looks like at one moment.
//!
//! For: questions that do not depend on fonts: is anything there, how long is the bar. Not for: comparing with a picture
//! made elsewhere. A person looks at the files.

use std::{collections::HashSet, fs, io::BufWriter, path::Path};

/// A colour: red, green, blue.
pub type Colour = [u8; 3];

/// Pixels in rows.
pub struct Picture {
    width: usize,
    pixels: Vec<Colour>,
}

impl Picture {
    /// From what the X server gives: blue, green, red and a byte of nothing.
    #[must_use]
    pub fn from_bgrx(width: u16, bytes: &[u8]) -> Self {
        let pixels = bytes.chunks_exact(4).map(|pixel| [pixel[2], pixel[1], pixel[0]]).collect();
        Self { width: usize::from(width).max(1), pixels }
    }

    /// How many pixels there are in a row.
    #[must_use]
    pub fn width(&self) -> usize {
        self.width
    }

    /// How many colours are in it. One: it is blank.
    #[must_use]
    pub fn colours(&self) -> usize {
        self.pixels.iter().collect::<HashSet<_>>().len()
    }

    /// The longest unbroken row of exactly this colour.
    #[must_use]
    pub fn longest_run(&self, colour: Colour) -> usize {
        let rows = self.pixels.chunks(self.width);
        let runs = rows.flat_map(|row| row.split(|pixel| *pixel != colour).map(<[Colour]>::len));
        runs.max().unwrap_or(0)
    }

    /// Is it drawn to its corners? The first and the last pixel are of the same ground, and not the nothing that a new part
    /// of a window is.
    #[must_use]
    pub fn is_drawn(&self) -> bool {
        let ends = self.pixels.first().zip(self.pixels.last());
        self.colours() > 10 && ends.is_some_and(|(first, last)| first == last && *first != [0, 0, 0])
    }

    /// As a PNG file.
    ///
    /// # Errors
    /// A sentence, when it cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), String> {
        let fail = |e: &dyn std::fmt::Display| format!("cannot write {}: {e}", path.display());
        fs::create_dir_all(path.parent().unwrap_or(path)).map_err(|e| fail(&e))?;
        let file = BufWriter::new(fs::File::create(path).map_err(|e| fail(&e))?);
        let (width, height) = (self.width as u32, (self.pixels.len() / self.width) as u32);
        let mut encoder = png::Encoder::new(file, width, height);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_compression(png::Compression::High);
        let mut writer = encoder.write_header().map_err(|e| fail(&e))?;
        writer.write_image_data(self.pixels.as_flattened()).map_err(|e| fail(&e))
    }
}
