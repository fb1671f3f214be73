//! A picture of a window at one moment.
//!
//! For: questions that do not depend on fonts, such as whether the window is blank, or how long the
//! bar is. Not for: comparing with a picture made elsewhere; a person looks at the files.

use std::{collections::HashSet, fs, io::BufWriter, path::Path};

/// A colour: red, green, blue.
pub type Colour = [u8; 3];

/// Pixels in rows.
pub struct Picture {
    width: usize,
    pixels: Vec<Colour>,
}

impl Picture {
    /// Converts the X server's pixels: blue, green, red and a padding byte.
    #[must_use]
    pub fn from_bgrx(width: u16, bytes: &[u8]) -> Self {
        let pixels = bytes.chunks_exact(4).map(|pixel| [pixel[2], pixel[1], pixel[0]]).collect();
        Self { width: usize::from(width).max(1), pixels }
    }

    /// The number of pixels in a row.
    #[must_use]
    pub fn width(&self) -> usize {
        self.width
    }

    /// The number of colours. One: it is blank.
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

    /// Whether it is drawn to its corners: the first and the last pixel have the same background
    /// colour, and not the empty one of a new part of a window.
    #[must_use]
    pub fn is_drawn(&self) -> bool {
        let ends = self.pixels.first().zip(self.pixels.last());
        self.colours() > 10 && ends.is_some_and(|(first, last)| first == last && *first != [0, 0, 0])
    }

    /// Saves it as a PNG file.
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
