//! PSNR and SSIM of two pictures on the luminance.
//!
//! ```text
//! cargo run --release -p rebit --example measure_pair -- BORDER ONE.png OTHER.png [ONE.png OTHER.png]...
//! ```

use rebit::data::Photo;
use rebit::metrics::{psnr_y, ssim_y};

fn main() -> rebit::Result<()> {
    let mut args = std::env::args().skip(1);
    let border = args.next().and_then(|a| a.parse().ok()).expect("a border");
    let files: Vec<String> = args.collect();
    for pair in files.chunks_exact(2) {
        let (a, b) = (Photo::read(&pair[0])?, Photo::read(&pair[1])?);
        println!(
            "{:.7} {:.7}",
            psnr_y(&a, &b, border)?,
            ssim_y(&a, &b, border)?
        );
    }
    Ok(())
}
